"""Real processes: Ctrl-C, SIGTERM, forks, and the end of one with a block open."""

import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from atomix_election.sync import Client, ElectionServer, InvalidRequest, LeaderElection, LeadershipLost, connect
from tests.forking import in_child, outcome
from tests.sync.waiting import WAIT_S, eventually

# Python warns of forks beside threads since 3.12: what becomes of them is what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

START = """
import logging, signal, sys, threading, time
from atomix_election.sync import LeaderElection
logging.getLogger("asyncio").setLevel(logging.ERROR)  # its debug mode reports steps that a busy machine delays
say = lambda *words: print(*words, flush=True)
handled = len(sys.argv) > 2
election = LeaderElection("e", target=sys.argv[1], candidate_id="child", session_ttl=20.0, handle_signals=handled)
"""
WAITS = {
    "the lead": "with election, election.lead(): say('leads')",
    "events": "with election, election.events() as events:\n    election.enter()\n    for event in events: pass",
    "its work": "with election, election.lead() as leadership:\n    say('leads')\n    leadership.lost.wait()",
    "run": "with election: election.run(lambda leadership: time.sleep(60))",
}
"""What a process waits in, by what it waits for."""


@contextmanager
def started(code: str, *arguments: str) -> Generator["subprocess.Popen[str]"]:
    """Run a process."""
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", START + code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("what", WAITS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_waits_can_be_ended(
    server: ElectionServer, election: LeaderElection, what: str, number: signal.Signals
) -> None:
    """By Ctrl-C, and by SIGTERM where it is handled: it leaves the queue, and dies of the signal."""
    if what == "the lead":
        election.enter()
    handled = ["handled"] if number is signal.SIGTERM else []
    with started(WAITS[what], server.target, *handled) as child:
        eventually(lambda: "child" in election.get_term().candidates)
        if what == "its work":
            assert child.stdout is not None
            assert child.stdout.readline() == "leads\n"
        child.send_signal(number)
        _, said = child.communicate(timeout=WAIT_S)
        assert child.returncode == -number
        assert said.strip().endswith("KeyboardInterrupt") or (number, said) == (signal.SIGTERM, "")
    assert "child" not in election.get_term().candidates


def test_a_leader_that_is_terminated_drains_first(server: ElectionServer, election: LeaderElection) -> None:
    """The candidate is in the queue until the block has ended; another signal changes nothing."""
    code = """
with election, election.lead():
    try:
        say("leads")
        time.sleep(60)
    except SystemExit as ending:
        say("draining", ending.code)
        sys.stdin.readline()
        raise
"""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", START + code, server.target, "handled"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "leads\n"
        child.send_signal(signal.SIGTERM)
        assert child.stdout.readline() == "draining 143\n"
        child.send_signal(signal.SIGTERM)
        assert election.get_term().leader == "child"
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.wait(WAIT_S) == -signal.SIGTERM
    assert election.get_term().leader is None


@pytest.mark.parametrize("own", [True, False], ids=["handler-of-its-own", "not-asked-for"])
def test_sigterm_is_left_alone_otherwise(server: ElectionServer, own: bool) -> None:
    """Where there is a handler, and where nobody asked."""
    code = """
heard = []
if len(sys.argv) > 2:
    signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
before = signal.getsignal(signal.SIGTERM)
with election:
    say(signal.getsignal(signal.SIGTERM) is before)
    if len(sys.argv) > 2:
        signal.raise_signal(signal.SIGTERM)
        say(heard)
"""
    with started(code, server.target, *(["handled"] if own else [])) as child:
        out, said = child.communicate(timeout=WAIT_S)
        assert (child.returncode, out, said) == (0, "True\n[1]\n" if own else "True\n", "")


def test_the_former_action_of_sigterm_is_restored(server: ElectionServer) -> None:
    """After blocks of the main thread; in another one nothing is installed."""
    code = """
def look():
    with election:
        say(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
look()
say(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
thread = threading.Thread(target=look)
thread.start()
thread.join()
"""
    with started(code, server.target, "handled") as child:
        out, said = child.communicate(timeout=WAIT_S)
        assert (child.returncode, out.split(), said) == (0, ["False", "True", "True"], "")


@pytest.mark.parametrize("kind", ["memory", "sqlite", "grpc"])
def test_a_process_may_end_with_blocks_open(kind: str, server: ElectionServer, tmp_path: Path) -> None:
    """Without a word, and at once; in the main thread and in others."""
    target = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/e.db", "grpc": server.target}[kind]
    code = """
election.__enter__()
lead = election.lead()
lead.__enter__()
events = election.events().__enter__()
next(events)
threading.Thread(target=lambda: next(events), daemon=True).start()
say("open")
"""
    with started(code, target) as child:
        out, said = child.communicate(timeout=WAIT_S)
        assert (child.returncode, out, said) == (0, "open\n", "")


def block(make: Callable[[], Any]) -> Callable[[], None]:
    """Return what enters a block."""

    def enter() -> None:
        with make():
            pass

    return enter


def test_a_forked_child_neither_leads_nor_calls(operator: Client, election: LeaderElection) -> None:
    """Each call says that it is to connect anew, and leaving blocks there does nothing; the parent goes on."""
    mine = operator.election("e", candidate_id="a")
    with mine.events() as events, mine.lead() as leadership:
        next(events)
        calls: dict[str, Callable[[], object]] = {
            "enter": mine.enter,
            "withdraw": mine.withdraw,
            "get_term": mine.get_term,
            "describe": mine.describe,
            "anoint": lambda: mine.anoint("a"),
            "lead": block(operator.election("e").lead),
            "run": lambda: operator.election("e").run(lambda _: None),
            "events": block(mine.events),
            "next": lambda: next(events),
            "list_elections": lambda: next(operator.list_elections()),
        }
        found = in_child(
            lambda: [mine.is_leader, leadership.remaining, {name: outcome(call) for name, call in calls.items()}]
        )
        assert found == [False, 0, dict.fromkeys(calls, InvalidRequest.__name__)]
        assert in_child(lambda: outcome(leadership.ensure)) == LeadershipLost.__name__
        leadership.ensure()
        assert election.get_term().leader == "a"


def test_a_child_that_leaves_the_blocks_of_its_parent(operator: Client, election: LeaderElection) -> None:
    """It is told that it does not lead, sends nothing, and waits for no thread, which it has not."""
    mine = operator.election("e", candidate_id="a")
    with mine.lead() as leadership, mine.events() as events:
        lead = operator.election("f", candidate_id="a").lead()
        lead.__enter__()
        found = in_child(
            lambda: [outcome(lambda each=each: each.__exit__(None, None, None)) for each in (events, lead)]
        )
        assert found == ["no error", LeadershipLost.__name__]
        assert operator.election("f").get_term().leader == election.get_term().leader == "a"
        lead.__exit__(None, None, None)
        leadership.ensure()


def test_a_child_can_connect_anew(server: ElectionServer) -> None:
    """With a thread of its own, which ends there."""

    def stand() -> list[str]:
        with LeaderElection("e", target=server.target, candidate_id="child") as mine:
            return list(mine.enter().candidates)

    with connect(server.target) as client, client.election("e", candidate_id="a").lead():
        assert in_child(stand) == ["a", "child"]
