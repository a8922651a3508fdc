"""What may be said of a store in a target, beside where it is. How it is opened is in the tests of targets."""

from pathlib import Path

import pytest

from atomix_election import ElectionServer, InvalidRequest, connect, engines


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("target", ["grpc://a:1", "http://a", "nothing"])
async def test_a_server_cannot_be_a_store(target: str) -> None:
    """Elections run on a store; another server is none."""
    with pytest.raises(InvalidRequest, match="is not known"):
        async with ElectionServer(target):
            pass


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("in_a_file", [False, True])
@pytest.mark.parametrize("text", ["secret", ":secret", "secret:", ":", ""])
async def test_a_token_for_etcd_is_user_and_password(text: str, in_a_file: bool, tmp_path: Path) -> None:
    """The message says so, and shows nothing of it."""
    token = tmp_path / "token"
    token.write_text(text)
    for opening in (
        connect("etcds://127.0.0.1:1", token=token if in_a_file else text),
        ElectionServer("etcd://127.0.0.1:1", store_token=token if in_a_file else text),
    ):
        with pytest.raises(InvalidRequest, match="is not USER:PASSWORD") as refused:
            async with opening:
                pass
        assert "secret" not in str(refused.value)
        assert (str(token) in str(refused.value)) == in_a_file


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_file_for_etcd_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """And nothing of what is in it."""
    with pytest.raises(InvalidRequest, match=r"token file .*absent cannot be read"):
        async with connect("etcd://127.0.0.1:1", token=tmp_path / "absent"):
            pass
    (tmp_path / "binary").write_bytes(b"user:\xffsecret")
    with pytest.raises(InvalidRequest, match=r"token file .*binary is not text") as refused:
        async with connect("etcd://127.0.0.1:1", token=tmp_path / "binary"):
            pass
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("token", ["user:pass:word ", Path("token")])
def test_user_and_password_are_read(token: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The password may have colons; space around what is in a file does not count."""
    monkeypatch.chdir(tmp_path)
    Path("token").write_text("user:pass:word\n")
    expected = "pass:word " if isinstance(token, str) else "pass:word"
    assert engines._user_and_password(token) == ("user", expected)
