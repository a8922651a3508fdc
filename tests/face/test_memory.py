"""What only elections inside a process have: names, privacy, one event loop."""

import functools
import threading

import anyio
import pytest

from atomix_election import ElectionServer, InvalidRequest, LeaderElection, Term, connect, engines
from atomix_election.engine import SessionLimits
from atomix_election.service import Call
from tests.face.party import open_bare, until

pytestmark = pytest.mark.anyio

memory = pytest.mark.parametrize("face", ["memory-asyncio", "memory-trio"], indirect=True)
on_trio = pytest.mark.parametrize("face", ["memory-trio"], indirect=True)
on_asyncio = pytest.mark.parametrize("face", ["memory-asyncio"], indirect=True)


@memory
async def test_terms_keep_growing_after_all_have_left(target: str) -> None:
    """Tokens of a named memory never come back while the process lives."""
    for number in range(1, 4):
        async with LeaderElection("e", target=target, candidate_id="a") as election:
            assert await election.enter() == Term(("a",), number, 2 * number - 1)


@memory
async def test_memory_without_a_name_is_private(anyio_backend: str) -> None:
    """Two clients of it never meet."""
    async with connect("memory://") as one, connect("memory://") as two:
        assert (await one.election("e", candidate_id="a").enter()).candidates == ("a",)
        assert await two.election("e").get_term() == Term()


@memory
async def test_names_are_separate(target: str) -> None:
    """Another name is another memory."""
    async with connect(target) as one, connect(target + "-other") as two:
        await one.election("e", candidate_id="a").enter()
        assert await two.election("e").get_term() == Term()


def test_terms_keep_growing_from_one_event_loop_to_the_next() -> None:
    """Event loops may use a named memory one after the other, whatever their kind."""
    numbers: list[int] = []

    async def stand() -> None:
        async with LeaderElection("e", target="memory://many-loops", candidate_id="a") as election:
            numbers.append((await election.enter()).number)

    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(stand, backend=backend)
    assert numbers == [1, 2, 3]


@memory
async def test_a_second_event_loop_is_refused(target: str, anyio_backend: str) -> None:
    """While one uses a named memory, another thread's loop is told so, and what to do."""
    messages: list[str] = []

    async def intrude() -> None:
        try:
            async with connect(target):
                messages.append("let in")
        except InvalidRequest as error:
            messages.append(str(error))

    async with LeaderElection("e", target=target, candidate_id="a") as election:
        await election.enter()
        thread = threading.Thread(target=anyio.run, args=(intrude,), kwargs={"backend": anyio_backend})
        thread.start()
        await anyio.to_thread.run_sync(thread.join)
        assert (await election.get_term()).leader == "a"
    assert messages == [f"{target} is in use by another event loop: run an ElectionServer and connect to it"]


@memory
async def test_who_gives_up_connecting_has_not_used_it(target: str, anyio_backend: str) -> None:
    """A connection that was cancelled on its way counts for nothing: another event loop may use the name."""
    for moment in range(4):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:

                async def connecting() -> None:
                    async with connect(target):
                        await anyio.sleep_forever()

                tasks.start_soon(connecting)
                for _ in range(moment):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()

    async def stand() -> Term:
        async with LeaderElection("e", target=target, candidate_id="a") as election:
            return await election.enter()

    run = functools.partial(anyio.run, stand, backend=anyio_backend)
    assert (await anyio.to_thread.run_sync(run)).leader == "a"


@memory
async def test_who_comes_while_the_last_one_leaves_is_served(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At whatever moment of the other's leaving a client comes: it works, and sessions still expire."""
    ttl_s = 0.1
    monkeypatch.setattr(engines, "SessionLimits", lambda _: SessionLimits(ttl_s, ttl_s))

    async def stay(name: str, leave: anyio.Event) -> None:
        async with connect(name, session_ttl=ttl_s):
            await leave.wait()

    for moment in range(12):
        name = f"{target}-{moment}"
        leave = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stay, name, leave)
            await anyio.wait_all_tasks_blocked()
            leave.set()
            for _ in range(moment):
                await anyio.lowlevel.checkpoint()
            async with connect(name, session_ttl=ttl_s) as client:
                async with open_bare(name) as mortal:
                    await mortal.create(Call("e", session="m"))
                    await mortal.enter(Call("e", session="m"), "m")
                with anyio.fail_after(2):
                    async with client.election("e").events() as events:
                        await until(events, lambda term: not term.candidates)


@on_trio
async def test_a_server_in_the_network_is_refused_under_trio(anyio_backend: str) -> None:
    """grpclib needs asyncio: said at once, with what to use instead."""
    with pytest.raises(InvalidRequest, match="needs asyncio"):
        async with connect("grpc://127.0.0.1:1"):
            pass


@on_trio
async def test_serving_is_refused_under_trio(anyio_backend: str) -> None:
    """An ElectionServer says that it needs asyncio, as an error of this package."""
    with pytest.raises(InvalidRequest, match="needs asyncio"):
        async with ElectionServer():
            pass


@on_asyncio
async def test_a_server_shares_a_named_memory(target: str) -> None:
    """What is entered over the wire is seen inside the process, and the other way round."""
    async with ElectionServer(target) as server, connect(server.target) as far, connect(target) as near:
        await far.election("e", candidate_id="far").enter()
        assert (await near.election("e", candidate_id="near").enter()).candidates == ("far", "near")
        assert (await far.election("e").get_term()).candidates == ("far", "near")
