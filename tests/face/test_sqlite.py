"""What only elections in a file have: they outlive their users, belong to one process, and have several names."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from atomix_election import (
    ElectionServer,
    InvalidRequest,
    LeaderElection,
    StoreError,
    Term,
    connect,
    sharing,
)
from atomix_election.addresses import check_target

pytestmark = pytest.mark.anyio

OWN = """
import sys
import anyio
from atomix_election import connect

async def own():
    async with connect(sys.argv[1]) as client:
        print((await client.election("e", candidate_id="a").enter()).number, flush=True)
        sys.stdin.read()

anyio.run(own)
"""


@pytest.fixture
def face() -> str:
    """Elections in a file."""
    return "sqlite"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file will be."""
    return tmp_path / "store.db"


@pytest.fixture
def target(path: Path) -> str:
    """Its absolute name."""
    return f"sqlite:///{path}"


async def enter(target: str) -> Term:
    """Enter as a client of its own, and leave."""
    async with LeaderElection("e", target=target, candidate_id="a") as election:
        return await election.enter()


async def test_terms_keep_growing_after_all_have_left(target: str) -> None:
    """Tokens never come back, and the file is free in between."""
    for number in range(1, 4):
        assert await enter(target) == Term(("a",), number, 2 * number - 1)
        assert not sharing._shared


def test_terms_keep_growing_from_one_event_loop_and_process_to_the_next(target: str) -> None:
    """Whatever their kind."""
    numbers = [anyio.run(enter, target, backend=backend).number for backend in ("asyncio", "trio")]
    ended = subprocess.run([sys.executable, "-c", OWN, target], input="", capture_output=True, text=True, check=True)
    assert [*numbers, int(ended.stdout), anyio.run(enter, target).number] == [1, 2, 3, 4]


async def test_clients_of_one_process_share_it_by_whatever_name(
    target: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path, an absolute one, and one through a symbolic link."""
    monkeypatch.chdir(path.parent)
    (path.parent / "link.db").symlink_to(path)
    candidates: list[str] = []
    async with connect(target) as one, connect("sqlite:///store.db") as two, connect("sqlite:///link.db") as three:
        for client in (one, two, three):
            candidates.append(f"c{len(candidates)}")
            term = await client.election("e", candidate_id=candidates[-1]).enter()
            assert term.candidates == tuple(candidates)
        async with connect(f"{target}-other") as other:
            assert await other.election("e").get_term() == Term()


async def test_a_server_shares_it_with_clients_of_its_process(target: str) -> None:
    """What is entered over the wire is seen inside the process, and the other way round."""
    async with ElectionServer(target) as server, connect(server.target) as far, connect(target) as near:
        await far.election("e", candidate_id="far").enter()
        assert (await near.election("e", candidate_id="near").enter()).candidates == ("far", "near")


async def test_another_process_is_refused(target: str) -> None:
    """It is told who has it, and what to do; with the end of that one it is free."""
    process = await anyio.open_process([sys.executable, "-c", OWN, target])
    async with process:
        assert process.stdout is not None
        assert await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 10) == b"1"
        with pytest.raises(StoreError, match=rf"in use by process {process.pid}: end that one first, or connect to"):
            await enter(target)
        process.kill()
        await process.wait()
        async with connect(target) as client:  # the session of the one that was killed goes on for its time-to-live
            assert await client.election("e").get_term() == Term(("a",), 1, 1)


async def test_a_second_event_loop_is_refused(target: str) -> None:
    """While one uses the file, another thread's loop is told so, and what to do."""
    messages: list[str] = []

    async def intrude() -> None:
        with pytest.raises(InvalidRequest) as refused:
            await enter(target)
        messages.append(str(refused.value))

    async with connect(target):
        thread = threading.Thread(target=anyio.run, args=(intrude,))
        thread.start()
        await anyio.to_thread.run_sync(thread.join)
    assert messages == [f"{target} is in use by another event loop: run an ElectionServer and connect to it"]


async def test_who_comes_while_the_last_one_leaves_is_served(target: str) -> None:
    """At whatever moment of the other's leaving: with the same engine or another, never with a refusal."""
    for moment in range(25):
        leave = anyio.Event()

        async def stay(leave: anyio.Event) -> None:
            async with connect(target):
                await leave.wait()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stay, leave)
            await anyio.wait_all_tasks_blocked()
            leave.set()
            for _ in range(moment):
                await anyio.lowlevel.checkpoint()
            assert (await enter(target)).number == moment + 1
    assert not sharing._shared


@pytest.mark.parametrize("native", [False, True])
async def test_who_is_cancelled_while_opening_it_has_not_used_it(target: str, native: bool) -> None:
    """At whatever moment: others can, in this event loop and the next."""
    for moment in range(20):
        scope = anyio.CancelScope()

        async def stay(scope: anyio.CancelScope) -> None:
            with scope:
                async with connect(target):
                    await anyio.sleep_forever()

        task = asyncio.create_task(stay(scope))
        for _ in range(moment):
            await asyncio.sleep(0)
        if native:
            task.cancel()
        else:
            scope.cancel()
        await asyncio.wait([task])
        assert not sharing._shared
    terms: list[Term] = []
    await anyio.to_thread.run_sync(lambda: terms.append(anyio.run(enter, target)))
    assert terms[0].leader == "a"


async def test_what_cannot_be_opened_is_a_store_error_and_leaves_nothing(target: str, path: Path) -> None:
    """It can be used as soon as it can be opened."""
    await anyio.Path(path).write_bytes(b"garbage")
    for _ in range(2):
        with pytest.raises(StoreError, match="restore a backup"):
            await enter(target)
        with pytest.raises(StoreError, match="restore a backup"):
            async with ElectionServer(target):
                pass
    assert not sharing._shared
    await anyio.Path(path).unlink()
    assert (await enter(target)).number == 1


@pytest.mark.parametrize(
    "target", ["sqlite://", "sqlite:///", "sqlite://file.db", "sqlite:///:memory:", "sqlite:///a\0b"]
)
async def test_a_target_that_names_no_file_is_refused(target: str, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Before anything is opened; the message quotes it, and says how a file is named."""
    monkeypatch.chdir(path.parent)
    with pytest.raises(InvalidRequest, match=r"sqlite:///relative\.db") as refused:
        check_target(target)
    assert repr(target) in str(refused.value)
    with pytest.raises(InvalidRequest):
        await enter(target)
    assert list(path.parent.iterdir()) == []
