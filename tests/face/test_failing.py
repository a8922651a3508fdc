"""Servers that are not there, go away, or never answer."""

import anyio
import pytest

from atomix_election import (
    ElectionServer,
    InvalidRequest,
    LeaderElection,
    OutcomeUnknown,
    SessionEnded,
    Term,
    Unavailable,
    connect,
    engines,
)
from atomix_election.engine import Connection
from atomix_election.service import Call
from tests.face.party import until

pytestmark = pytest.mark.anyio

on_grpc = pytest.mark.parametrize("face", ["grpc"], indirect=True)


@on_grpc
async def test_nobody_there_is_unavailable_and_named(anyio_backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the address; leaving the block is no second failure."""
    monkeypatch.setattr("atomix_election.leadership.session.OPEN_TIMEOUT_S", 0.3)
    async with ElectionServer() as server:
        target = server.target
    async with LeaderElection("e", target=target) as election:
        for call in (election.get_term, election.enter):
            with pytest.raises(Unavailable, match=target.removeprefix("grpc://")):
                await call()
        with pytest.raises(Unavailable, match=target.removeprefix("grpc://")):
            async with election.events():
                pass


@on_grpc
async def test_the_next_endpoint_is_tried(target: str) -> None:
    """With two endpoints, one that refuses is passed over."""
    async with ElectionServer() as gone:
        nowhere = gone.target
    async with connect(f"{nowhere},{target.removeprefix('grpc://')}") as client:
        assert (await client.election("e", candidate_id="a").enter()).leader == "a"


@on_grpc
async def test_watches_outlive_the_connection(anyio_backend: str) -> None:
    """When the server comes back, what differs is one change, also if it begins anew; then they go on."""
    close = anyio.Event()

    async def serve(*, task_status: anyio.abc.TaskStatus[str]) -> None:
        async with ElectionServer() as server:
            task_status.started(server.target)
            await close.wait()

    async with anyio.create_task_group() as servers:
        target = await servers.start(serve)
        async with connect(target) as watching, connect(target) as acting:
            election = watching.election("e")
            async with election.events() as one, election.events() as two:
                await acting.election("e", candidate_id="a").enter()
                for events in (one, two):
                    assert (await until(events, lambda term: term.leader == "a")).revision == 1
                await acting.election("e", candidate_id="a").withdraw()
                close.set()
                async with ElectionServer(port=int(target.rpartition(":")[2])), connect(target) as newcomer:
                    await newcomer.election("e", candidate_id="b").enter()
                    for events in (one, two):
                        assert (await until(events, lambda term: term.leader == "b")).revision == 1


@on_grpc
async def test_a_servers_target_is_there_while_it_runs(anyio_backend: str) -> None:
    """Before and after, asking for it is Unavailable."""
    server = ElectionServer()
    for _ in range(2):
        with pytest.raises(Unavailable, match="not running"):
            _ = server.target
        async with server:
            assert server.target.startswith("grpc://127.0.0.1:")


@on_grpc
async def test_a_port_in_use_is_unavailable(target: str) -> None:
    """The message names host and port."""
    port = int(target.rpartition(":")[2])
    with pytest.raises(Unavailable, match=f"cannot listen on 127.0.0.1:{port}"):
        async with ElectionServer(port=port):
            pass


@on_grpc
@pytest.mark.parametrize("settings", [{"port": 65536}, {"port": -1}, {"session_ttl": 0}, {"session_ttl": float("nan")}])
async def test_settings_of_a_server_are_checked(anyio_backend: str, settings: dict[str, float]) -> None:
    """What cannot be is InvalidRequest, not some error of the network."""
    with pytest.raises(InvalidRequest):
        async with ElectionServer(**settings):  # pyright: ignore[reportArgumentType] - as a caller without types might
            pass


@on_grpc
async def test_a_host_name_that_cannot_be_is_unavailable(anyio_backend: str) -> None:
    """Names that DNS cannot carry are an error of this package too."""
    for host in ("a..b", "x" * 64 + ".example"):
        async with LeaderElection("e", target=f"grpc://{host}:1") as election:
            with pytest.raises((Unavailable, InvalidRequest)):
                await election.get_term()


class _Mute(Connection):
    """A service that takes everything, but never answers that somebody has left."""

    async def close(self, call: Call) -> None:
        await anyio.sleep_forever()

    async def withdraw(self, call: Call, candidate_id: str) -> Term:
        await anyio.sleep_forever()
        raise AssertionError

    async def end_session(self, namespace: str, session: str) -> None:
        await anyio.sleep_forever()


@pytest.mark.parametrize("face", ["memory-asyncio", "memory-trio"], indirect=True)
async def test_leaving_is_bounded_however_many_elections(
    anyio_backend: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that does not answer holds the end of a block up for LEAVE_TIMEOUT_S, not for that much per election."""
    monkeypatch.setattr("atomix_election.leadership.session.LEAVE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(engines, "Connection", _Mute)
    async with connect() as client:
        for number in range(10):
            await client.election(f"e{number}", candidate_id="a").enter()
        began = anyio.current_time()
    assert 0.2 <= anyio.current_time() - began < 1
    assert len(caplog.records) == 1


@pytest.mark.parametrize(("tried_before", "sent"), [(False, [True, False]), (True, [True])])
@pytest.mark.parametrize("face", ["memory-asyncio"], indirect=True)
async def test_what_may_have_been_done_is_not_done_again(
    target: str, tried_before: bool, sent: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One promote moves one place, also where the session ended between its tries; a command needs no session."""
    promote, with_session = Connection.promote, list[bool]()

    async def ended(self: Connection, call: Call, candidate_id: str) -> Term:
        with_session.append(bool(call.session))
        if call.session:
            raise SessionEnded("it has ended", tried_before=tried_before)
        return await promote(self, call, candidate_id)

    monkeypatch.setattr(Connection, "promote", ended)
    async with connect(target) as client:
        for candidate_id in ("a", "b", "c"):
            await client.election("e", candidate_id=candidate_id).enter()
        if tried_before:
            with pytest.raises(OutcomeUnknown, match="an earlier try may have been applied"):
                await client.election("e").promote("c")
        else:
            assert (await client.election("e").promote("c")).candidates == ("a", "c", "b")
    assert with_session == sent
