"""Whatever a server answers, our client raises an ElectionError and leaves nothing behind."""

import asyncio
from collections.abc import Generator

import pytest

from atomix_election.rpc.client_call import ClientCall
from tests.fuzz.heard import Fault
from tests.fuzz.hostile import ASKED, LEAD, OF_THE_CALL, Answering, Frame, answering, answerings
from tests.fuzz.hunting import Hunt, hunt
from tests.fuzz.victim import ATTEMPTS, Victim
from tests.rpc.attacks import DATA, END_HEADERS, END_STREAM, HEADERS, block, settings
from tests.rpc.raw import message

EXAMPLES = 20
NOTHING = Answering("get_term", settings(), (), (), hangs_up=True)


@pytest.fixture
def victim() -> Generator[Victim]:
    """A client."""
    with Victim() as victim:
        yield victim


def test_a_client_survives_hostile_servers(victim: Victim) -> None:
    """A few of them."""
    found = hunt(Hunt(answerings(), victim.meet, Answering.replay, str), 0, EXAMPLES, shrinks=False)
    assert found.fault is None, found
    assert victim.outcomes["Unavailable"] > 0


def test_everything_that_a_client_can_ask_is_asked() -> None:
    """By the same names, and each of another method."""
    assert list(ASKED) == list(ATTEMPTS)
    assert LEAD not in ASKED
    assert len(set(ASKED.values())) == len(ASKED)


FOUND = {
    "a stream of the server": Answering("get_term", settings(), (Frame(HEADERS, END_HEADERS, 2, b"\x88"),), (), False),
    "an empty answer to a renewal": Answering(
        LEAD,
        settings(),
        (
            Frame(HEADERS, END_HEADERS, OF_THE_CALL, block([(":status", "200"), ("content-type", "application/grpc")])),
            Frame(DATA, 0, OF_THE_CALL, message(b"")),
            Frame(HEADERS, END_HEADERS | END_STREAM, OF_THE_CALL, block([("grpc-status", "0")])),
        ),
        (),
        False,
    ),
}
"""By what an assertion was reached."""


@pytest.mark.parametrize("once", FOUND.values(), ids=FOUND)
def test_what_was_found_once_does_no_harm(victim: Victim, once: Answering) -> None:
    """Also as it is printed."""
    victim.meet(once)
    victim.meet(answering(once.replay()))


def test_another_exception_is_found(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever it is."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(ClientCall, "_no_answer", broken)
    with pytest.raises(Fault, match="get_term raised ZeroDivisionError"):
        victim.meet(NOTHING)


def test_a_task_that_is_left_is_found(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whatever."""
    left: list[asyncio.Task[None]] = []

    async def leaky(client: object) -> None:
        left.append(asyncio.create_task(asyncio.sleep(60)))

    monkeypatch.setitem(ATTEMPTS, "get_term", leaky)
    with pytest.raises(Fault, match="tasks are left"):
        victim.meet(NOTHING)


def test_what_the_event_loop_is_told_is_found(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a callback that fails."""

    def broken() -> None:
        raise RuntimeError("planted")

    async def careless(client: object) -> None:
        asyncio.get_running_loop().call_soon(broken)

    monkeypatch.setitem(ATTEMPTS, "get_term", careless)
    with pytest.raises(Fault, match="planted"):
        victim.meet(NOTHING)
