"""However bytes are cut, a server that answers at once and one that leaves all to tasks are seen alike."""

from collections.abc import Generator

import pytest
from anyio.from_thread import BlockingPortal

from atomix_election.rpc import quick_calls
from atomix_election.rpc.http2 import Http2Protocol
from tests.fuzz.fuzzing import COMPARED
from tests.fuzz.heard import Fault
from tests.fuzz.hunting import Found, Hunt, hunt
from tests.fuzz.inputs import KINDS
from tests.fuzz.scripts import Script
from tests.fuzz.ways import compare, in_a_thread
from tests.rpc.attacks import GREETING, block, call
from tests.rpc.raw import about, headers_of, message

EXAMPLES = 12
LONGER = 150
"""So many are enough to find what is wrong for few inputs only."""


@pytest.fixture(scope="module")
def portal() -> Generator[BlockingPortal]:
    """Where servers run."""
    with in_a_thread() as portal:
        yield portal


def hunted(portal: BlockingPortal, kind: str, examples: int) -> tuple[Found, int]:
    """Return what is found, and how many calls were answered at once."""
    at_once = 0

    def check(script: Script) -> None:
        nonlocal at_once
        at_once += compare(portal, script)

    return hunt(Hunt(KINDS[kind], check, Script.replay, Script.shown), 0, examples, shrinks=False), at_once


@pytest.mark.parametrize("kind", COMPARED)
def test_both_ways_answer_alike(portal: BlockingPortal, kind: str) -> None:
    """Statuses, messages, good-byes, terms, and what is counted."""
    found, at_once = hunted(portal, kind, EXAMPLES)
    assert found.fault is None, found
    assert at_once > 0 or kind == "bytes"


def test_a_quick_way_that_takes_what_is_compressed_is_found(
    portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers what the plain way refuses."""
    monkeypatch.setattr(quick_calls, "whole_message", lambda data, limit: data[5:] if len(data) >= 5 else None)
    found, _ = hunted(portal, "messages", LONGER)
    assert found.fault is not None


def test_a_quick_way_that_overtakes_is_found(portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two calls, and the first one comes in two pieces."""
    enter = [
        call(stream, block(headers_of("Enter", *about("e", "s", "fuzz"))), message(b"\x0a\x01" + candidate))
        for stream, candidate in ((1, b"a"), (3, b"b"))
    ]
    script = Script("", GREETING + b"".join(enter), cuts=(len(GREETING) + len(enter[0]) - 3,), hoped=(1, 3))
    assert compare(portal, script) == 1
    monkeypatch.setattr(Http2Protocol, "_wake", lambda _: None)
    with pytest.raises(Fault, match="the answers on stream 1 differ"):
        compare(portal, script)


def test_an_error_that_is_logged_is_found(portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though clients see none."""

    def broken(_: Http2Protocol) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(Http2Protocol, "eof_received", broken)
    with pytest.raises(Fault, match="planted"):
        compare(portal, Script("", GREETING + call(1), hoped=(1,)))
