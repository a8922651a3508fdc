"""The same script, with the same reads, played to a server that does what it can at once and to one that does not.

Both run in a thread of this process, on sockets. How much a server reads at a time is what it itself decides: here a
script does, so that it is read in exactly the pieces that it is cut into, however they come over the network.
"""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from atomix_election.clock import SystemClock
from atomix_election.engine import Engine
from atomix_election.rpc.http2 import Http2Protocol
from atomix_election.service import Call
from atomix_election.stores.memory import MemoryStore
from tests.fuzz.errors import Errors
from tests.fuzz.headers import NAMESPACE
from tests.fuzz.heard import Answer, Fault, Heard
from tests.fuzz.playing import play
from tests.fuzz.scripts import FINISH, Script
from tests.rpc.raw import eventually
from tests.rpc.ways import AT_ONCE, BY_TASKS, reading, serving

IN_ORDER = "pipelines"
"""The kind of scripts that have nothing but short calls, which take place in the order in which they are sent."""
ELECTIONS, SESSIONS = ("e", "f", "g"), ("s", "t")
TURNS = 50
"""Of the event loop: more than any call of a store in memory takes."""


class Stopped(SystemClock):
    """A clock that stands still, so that leases do not tell two runs apart."""

    def now(self) -> float:
        """See ``Clock.now``."""
        return 1e6


@asynccontextmanager
async def _seen_by(way: str, script: Script) -> AsyncGenerator[tuple[int, dict[str, Any]]]:
    """Run a server that goes one way and reads as the script says; what it leaves behind is known after the block."""
    left: dict[str, Any] = {}
    before = asyncio.all_tasks()
    store = MemoryStore()
    store._id = "0" * 32
    with pytest.MonkeyPatch.context() as patch, Errors() as errors:
        patch.setattr(Http2Protocol, "peer", "the client")  # which is shown to operators
        patch.setattr("tests.rpc.ways.Engine", partial(Engine, clock=Stopped(), wall_clock=lambda: 1e9))
        async with serving(way, store) as server:
            for session in SESSIONS:
                await server.inside.create(Call("e", NAMESPACE, session))
            with reading(len(each) for each in script.pieces if each):
                yield server.port, left
            await eventually(lambda: not server.calls and not server.rpc._connections)
            terms = [await server.inside.get_term(Call(each, NAMESPACE)) for each in ELECTIONS]
            left |= {"terms": terms, "counts": dict(server.seen.counts), "at once": server.at_once["calls"]}
        left |= {"errors": errors.messages, "tasks": len(asyncio.all_tasks() - before)}


def seen(portal: BlockingPortal, way: str, script: Script) -> tuple[Heard, dict[str, Any]]:
    """Return what a client has heard, and what is left behind."""
    with portal.wrap_async_context_manager(_seen_by(way, script)) as (port, left):
        heard = play(port, replace(script, cuts=()), settled=lambda: portal.call(_take_turns))
    return heard, left


async def _take_turns() -> None:
    """Let all tasks of the server go on until they wait for something."""
    for _ in range(TURNS):
        await anyio.lowlevel.checkpoint()


@contextmanager
def in_a_thread() -> Generator[BlockingPortal]:
    """Run an event loop for servers."""
    with start_blocking_portal("asyncio") as portal:
        yield portal


def compare(portal: BlockingPortal, script: Script) -> int:
    """Fail unless both ways are seen alike, and return how many calls were answered at once.

    Where the connection is closed, for what a client has sent or because it has gone, it is a matter of luck which of
    its calls were answered before; but no answer may be another one. Where there is nothing but short calls, it makes
    no difference either where they are cut.

    Raises:
        Fault: they are not.
    """
    if script.ending != FINISH or script.says_good_bye:
        return 0  # what was answered by then is a matter of luck too
    heard, left = seen(portal, AT_ONCE, script)
    at_once = left.pop("at once")
    others = {"by tasks": script, "by tasks, uncut": replace(script, cuts=())}
    if script.kind != IN_ORDER or not script.cuts:
        del others["by tasks, uncut"]
    for name, each in others.items():
        plain, plain_left = seen(portal, BY_TASKS, each)
        if plain_left.pop("at once"):
            raise AssertionError("the plain way is not what it is to be")
        _compare(name, (heard, left), (plain, plain_left), lasts=heard.goaway is None and script.is_whole)
    return at_once


def _compare(name: str, one: tuple[Heard, dict[str, Any]], other: tuple[Heard, dict[str, Any]], *, lasts: bool) -> None:
    """Fail unless two ways have come to the same.

    Args:
        name: of the other one.
        one: what was heard, and left, of the calls that are answered at once.
        other: the same of the other way.
        lasts: whether the connection was not closed for anything.
    """
    (heard, left), (plain, plain_left) = one, other
    for each in (left, plain_left):
        if each["errors"] or each["tasks"]:
            raise Fault(f"{each['tasks']} tasks are left, and these errors were logged: {each['errors']}")
    _check_equal("good-byes", name, heard.goaway, plain.goaway)
    for stream in {*heard.answers, *plain.answers}:
        answer, expected = heard.answers.get(stream, Answer()), plain.answers.get(stream, Answer())
        if lasts or (answer.over and expected.over):
            _check_equal(f"answers on stream {stream}", name, answer, expected)
    for what in left if lasts else ():
        _check_equal(what, name, left[what], plain_left[what])


def _check_equal(what: str, name: str, at_once: object, other: object) -> None:
    if at_once != other:
        raise Fault(f"the {what} differ:\n  at once:  {at_once}\n  {name}: {other}")
