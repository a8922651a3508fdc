"""What may be said of a store in a target, beside where it is, and stores that are handed over instead of a target.

How the store of a target is opened is in the tests of targets.
"""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest

from atomix_election import ClientTls, ElectionServer, InvalidRequest, LeaderElection, connect, engines
from atomix_election.stores import Store
from atomix_election.stores.etcd import open_etcd_store
from atomix_election.stores.memory import MemoryStore
from atomix_election.testing import VirtualClock
from atomix_election.testing.etcd import SimulatedEtcd


class OwnStore(MemoryStore):
    """A store of somebody's own, which is no key of a dictionary."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnStore)

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_all_who_are_given_a_store_share_it() -> None:
    """They meet in its elections, leave in any order, and whoever comes later goes on from what it keeps."""
    store, another = OwnStore(), OwnStore()
    async with connect(store) as later:
        async with connect(store) as first, first.election("e", candidate_id="a").lead() as leadership:
            assert leadership.token == 1
            assert (await later.election("e", candidate_id="b").enter()).candidates == ("a", "b")
            async with LeaderElection("e", target=another) as election:
                assert (await election.get_term()).number == 0
        async with later.election("e", candidate_id="b").lead() as leadership:
            assert leadership.token == 2
    async with LeaderElection("e", target=store, candidate_id="c") as election:
        assert (await election.enter()).number == 3


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_server_runs_on_a_store_of_ones_own() -> None:
    """Beside clients in this process that are given the same; another server goes on from what the store keeps."""
    store = OwnStore()
    async with ElectionServer(store) as server, connect(server.target) as remote, connect(store) as local:
        await remote.election("e", candidate_id="a").enter()
        assert (await local.election("e").get_term()).candidates == ("a",)
    async with ElectionServer(store) as server, LeaderElection("e", target=server.target) as election:
        assert (await election.enter()).number == 2


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_several_servers_run_on_a_shared_store_of_ones_own() -> None:
    """Each has opened it for itself."""
    async with (
        SimulatedEtcd(VirtualClock()) as etcd,
        open_etcd_store(etcd.client()) as one,
        open_etcd_store(etcd.client()) as other,
        ElectionServer(one) as server,
        connect(server.target) as client,
        connect(other) as elsewhere,
    ):
        await client.election("e", candidate_id="a").enter()
        term = await elsewhere.election("e", candidate_id="b").enter()
        assert term.candidates == ("a", "b")
        assert await client.election("e").get_term() == term


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_an_open_shared_store_has_one_user_at_a_time() -> None:
    """Who comes too is refused, and disturbs nobody; it can be used again afterwards."""
    async with SimulatedEtcd(VirtualClock()) as etcd, open_etcd_store(etcd.client()) as store:
        for _ in range(2):
            async with connect(store) as client:
                with pytest.raises(InvalidRequest, match="this EtcdStore is in use by another client or server"):
                    async with connect(store):
                        pass
                await client.election("e", candidate_id="a").enter()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_store_is_used_by_one_event_loop() -> None:
    """Another one is told what to do instead."""
    store = MemoryStore()

    async def fail() -> None:
        with pytest.raises(InvalidRequest, match="this MemoryStore is in use by another event loop"):
            async with connect(store):
                pass

    async with connect(store):
        await anyio.to_thread.run_sync(anyio.run, fail)


class HalfAStore:
    """What lacks some of it."""

    id = "half"
    hold_s = None
    read_now = MemoryStore.read_now
    read = MemoryStore.read
    write = MemoryStore.write
    write_now = MemoryStore.write_now
    elections = MemoryStore.elections
    sessions = MemoryStore.sessions
    open_session = MemoryStore.open_session
    end_session = MemoryStore.end_session


class HalfASharedStore(MemoryStore):
    """What lacks some of what several engines need."""

    changes = look = confirm = renew = known = catch_up = rank = MemoryStore.sessions


def _users(store: Any) -> list[AbstractAsyncContextManager[object]]:
    return [connect(store), LeaderElection("e", target=store), ElectionServer(store)]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("store", "missing"),
    [
        (HalfAStore(), r"end_hold, forget, page \(see atomix_election.stores.Store\)"),
        (
            HalfASharedStore(),
            r"latest, lease_left_s, longest_failover_s, ttl_s \(see .*\.SharedStore\)",
        ),
        (Path("elections.db"), "elections, .*write_now"),
    ],
)
async def test_what_is_no_store_is_refused(store: object, missing: str) -> None:
    """The message says what it lacks, before anything is asked of it."""
    for opening in _users(store):
        with pytest.raises(InvalidRequest, match=f"neither a target nor a store: it has no .*{missing}"):
            async with opening:
                pass


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("settings", [{"tls": ClientTls()}, {"token": "t"}])
async def test_a_store_takes_neither_certificates_nor_token(settings: dict[str, Any]) -> None:
    """Whoever opened it has used them."""
    store: Store = MemoryStore()
    with pytest.raises(InvalidRequest, match="neither certificates nor a token"):
        LeaderElection("e", target=store, **settings)
    of_server = {f"store_{name}": value for name, value in settings.items()}
    for opening in (connect(store, **settings), ElectionServer(store, **of_server)):
        with pytest.raises(InvalidRequest, match="neither certificates nor a token"):
            async with opening:
                pass


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
