"""Old and new, side by side or refused by name: both sides against peers of other versions that are made by hand."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import h2.events
import pytest

from atomix_election.errors import InvalidRequest
from atomix_election.rpc import protocol
from atomix_election.rpc.client import RpcClient
from atomix_election.rpc.methods import ADMINISTRATION_METHODS, ELECTION_METHODS, SESSION_METHODS
from atomix_election.rpc.protocol import SPOKEN, Versions, agree, check_agreed, is_ours
from atomix_election.service import Call, Renewal
from tests.rpc.conftest import Served
from tests.rpc.fake import OK, RESPONSE, Script, Speaker, answering, listening
from tests.rpc.raw import RawConnection, about, headers_of, message

KEY = "atomix-election-protocol"
END, KEEP_ALIVE = "/atomix_election.v1.Sessions/End", "/atomix_election.v1.Sessions/KeepAlive"
SESSION = [("application-id", ""), ("session-id", "s")]
INVALID_ARGUMENT, UNIMPLEMENTED = 3, 12
REFUSED = r"the server.* speaks version {} of the protocol atomix_election, and this client 1: update the client"


@pytest.mark.parametrize(
    ("ours", "offered", "version"),
    [
        (Versions(1, 1), "", 1),
        (Versions(1, 1), "1", 1),
        (Versions(1, 1), "1-9", 1),
        (Versions(1, 3), "", 1),
        (Versions(1, 3), "1-2", 2),
        (Versions(1, 3), "2-9", 3),
        (Versions(2, 3), "1-2", 2),
    ],
)
def test_the_newest_that_both_speak_is_spoken(
    monkeypatch: pytest.MonkeyPatch, ours: Versions, offered: str, version: int
) -> None:
    """Who says nothing speaks version 1."""
    monkeypatch.setattr(protocol, "SPOKEN", ours)
    assert agree(offered) == version


@pytest.mark.parametrize(
    ("ours", "offered", "who"),
    [
        (Versions(1, 1), "2", "server"),
        (Versions(1, 2), "3-4", "server"),
        (Versions(2, 3), "1", "client"),
        (Versions(2, 3), "", "client"),
    ],
)
def test_where_they_have_none_in_common_both_are_named(
    monkeypatch: pytest.MonkeyPatch, ours: Versions, offered: str, who: str
) -> None:
    """And which of them is to be updated."""
    monkeypatch.setattr(protocol, "SPOKEN", ours)
    named = rf"client speaks version {offered or '1'} of .*, and this server {ours}: update the {who}, or use an older"
    with pytest.raises(InvalidRequest, match=named):
        agree(offered)


@pytest.mark.parametrize("said", ["0", "01", "-1", "1-", "2-1", "1 - 2", "1-2-3", "one", "9999999999", "1,2"])
def test_what_is_no_version_is_refused(said: str) -> None:
    """By either side."""
    with pytest.raises(InvalidRequest, match="is no version"):
        agree(said)
    with pytest.raises(InvalidRequest, match="is no version"):
        check_agreed(said, "there:1")


def test_a_client_takes_only_an_answer_in_one_version_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is too old is refused too, once we do not speak it any more."""
    monkeypatch.setattr(protocol, "SPOKEN", Versions(2, 3))
    for version in ("2", "3"):
        check_agreed(version, "there:1")
    for version, who in (("", "server"), ("1", "server"), ("4", "client"), ("2-3", "server")):
        with pytest.raises(InvalidRequest, match=rf"the server there:1 speaks .* this client 2-3: update the {who}"):
            check_agreed(version, "there:1")


def test_only_our_own_services_have_versions() -> None:
    """Published clients and servers know nothing of them."""
    assert all(is_ours(method) for method in (*SESSION_METHODS.values(), *ADMINISTRATION_METHODS.values()))
    assert not any(is_ours(method) for method in ELECTION_METHODS.values())
    assert Versions(1, 1) == SPOKEN


@pytest.mark.anyio
@pytest.mark.parametrize("offer", [[], [(KEY, "1")], [(KEY, "1-7")]], ids=["older", "same", "newer"])
async def test_a_server_answers_older_and_newer_clients(served: Served, offer: list[tuple[str, str]]) -> None:
    """And says in which version."""
    async with RawConnection(served.port) as client:
        answer = await client.call(headers_of(END, *SESSION, *offer), message(b""))
        assert (answer.status, answer.headers[KEY]) == (0, "1")
        stream = client.begin(headers_of(KEEP_ALIVE, *SESSION, *offer))
        client.send(stream, message(b"\x08\x01\x10\x01"))
        await client.until(lambda: bool(client.answers[stream].messages))
        assert client.answers[stream].headers[KEY] == "1"


@pytest.mark.anyio
async def test_a_server_refuses_a_client_that_is_too_new_by_name(served: Served) -> None:
    """Before it does anything; and what is no version."""
    async with RawConnection(served.port) as client:
        for path in (END, KEEP_ALIVE):
            answer = await client.call(headers_of(path, *SESSION, (KEY, "2-3")), message(b"\x08\x01\x10\x01"))
            assert (answer.status, answer.error) == (INVALID_ARGUMENT, "InvalidRequest")
            assert "speaks version 2-3 of the protocol" in answer.headers["grpc-message"]
            assert "this server 1: update the server" in answer.headers["grpc-message"]
        for pairs in ([(KEY, "x")], [(KEY, "1"), (KEY, "1")]):
            answer = await client.call(headers_of(END, *SESSION, *pairs), message(b""))
            assert (answer.status, answer.error) == (INVALID_ARGUMENT, "InvalidRequest")
        await served.check_serves(client)


@pytest.mark.anyio
async def test_the_published_service_looks_at_no_version_and_names_none(served: Served) -> None:
    """Whatever a client of another make may send under that name."""
    async with RawConnection(served.port) as client:
        for offer in ([], [(KEY, "99")], [(KEY, "nonsense")]):
            answer = await client.call(headers_of("GetTerm", *about(), *offer), message(b""))
            assert answer.status == 0
            assert KEY not in answer.headers


@pytest.mark.anyio
async def test_a_method_of_a_later_release_is_refused_by_name(served: Served) -> None:
    """As of now, for a client of that release to know."""
    async with RawConnection(served.port) as client:
        answer = await client.call(headers_of("/atomix_election.v1.Sessions/Migrate", *SESSION), message(b""))
        assert answer.status == UNIMPLEMENTED
        assert "there is no method '/atomix_election.v1.Sessions/Migrate'" in answer.headers["grpc-message"]


def in_version(version: str) -> Callable[[Speaker, int], None]:
    """Answer every call in a version; "": say nothing of it."""

    def answer(speaker: Speaker, stream: int) -> None:
        speaker.h2.send_headers(stream, [*RESPONSE, *([(KEY, version)] if version else [])])
        speaker.h2.send_data(stream, message(b""))
        speaker.h2.send_headers(stream, OK, end_stream=True)

    return answer


def refusing(status: int, text: str, error: str = "InvalidRequest") -> Callable[[Speaker, int], None]:
    """Refuse every call."""

    def answer(speaker: Speaker, stream: int) -> None:
        refusal = [("grpc-status", str(status)), ("grpc-message", text), ("atomix-election-error", error)]
        speaker.h2.send_headers(stream, [*RESPONSE, *refusal], end_stream=True)

    return answer


def at_once(answer: Callable[[Speaker, int], None], heard: dict[str, list[str]]) -> Script:
    """Return a script that answers each request before it is complete, and notes the versions that it offers."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        speaker = Speaker(reader, writer)
        while data := await reader.read(1 << 16):
            for event in speaker.h2.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    headers = [(str(name), str(value)) for name, value in event.headers]
                    method = dict(headers)[":path"].rpartition("/")[2]
                    heard[method] = [value for name, value in headers if name == KEY]
                    answer(speaker, event.stream_id)
            speaker.flush()

    return script


async def _open_session(client: RpcClient) -> None:
    async with client.keep_alive("default", "s") as stream:
        await stream.send(Renewal(1, open=True))
        await stream.receive()


@asynccontextmanager
async def client_of(answer: Callable[[Speaker, int], None]) -> AsyncGenerator[RpcClient]:
    """Connect our client to a server that gives each call that answer."""
    async with listening(answering(answer)) as endpoint, RpcClient([endpoint]) as client:
        yield client


@pytest.mark.anyio
@pytest.mark.parametrize("version", ["", "1"], ids=["older", "same"])
async def test_a_client_goes_on_with_older_servers(version: str) -> None:
    """One from before there were versions says nothing of them."""
    async with client_of(in_version(version)) as client:
        await client.end_session("default", "s")


@pytest.mark.anyio
async def test_a_client_refuses_a_server_that_is_too_new_by_name() -> None:
    """In a call and in a stream, before it believes anything that it says."""
    async with client_of(in_version("2")) as client:
        with pytest.raises(InvalidRequest, match=REFUSED.format(2)):
            await client.end_session("default", "s")

    async with listening(at_once(in_version("3"), {})) as endpoint, RpcClient([endpoint]) as client:
        with pytest.raises(InvalidRequest, match=REFUSED.format(3)):
            await _open_session(client)


@pytest.mark.anyio
async def test_a_client_says_what_a_newer_server_says_of_it() -> None:
    """Where that one refuses it."""
    text = "the client speaks version 1 of the protocol atomix_election, and this server 5-6: update the client"
    async with client_of(refusing(INVALID_ARGUMENT, text)) as client:
        with pytest.raises(InvalidRequest, match=text):
            await client.end_session("default", "s")


@pytest.mark.anyio
async def test_a_client_says_that_a_server_is_too_old_for_a_method() -> None:
    """Or that it is of another make, as one of the published service alone is."""
    async with client_of(refusing(UNIMPLEMENTED, "there is no method x")) as client:
        with pytest.raises(InvalidRequest, match=r"the server 127.* is too old for this, .*: there is no method x"):
            await client.end_session("default", "s")
        with pytest.raises(InvalidRequest, match=r"the server 127.* is too old for this, .*: there is no method x"):
            await client.forget(Call("e"))
        with pytest.raises(InvalidRequest, match=r"^there is no method x$"):
            await client.get_term(Call("e"))


@pytest.mark.anyio
async def test_a_client_says_its_versions_to_our_own_services_alone() -> None:
    """A published server gets no header that it does not know."""
    heard: dict[str, list[str]] = {}
    async with listening(at_once(refusing(UNIMPLEMENTED, "no"), heard)) as endpoint, RpcClient([endpoint]) as client:
        call = Call("e", session="s")
        for ask in (
            lambda: client.create(call),
            lambda: client.get_term(call),
            lambda: client.enter(call, "a"),
            lambda: client.end_session("default", "s"),
        ):
            with pytest.raises(InvalidRequest):
                await ask()
        with pytest.raises(InvalidRequest):
            await _open_session(client)
    assert heard == {"Create": [], "GetTerm": [], "Enter": [], "End": ["1"], "KeepAlive": ["1"]}
