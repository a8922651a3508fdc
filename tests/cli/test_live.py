"""``watch`` on a terminal shows the election as it is, without reading a clock of its own."""

import io
import os
import pty
import re
import signal
import subprocess

import pytest
from rich.console import Console

from atomix_election import Term
from atomix_election.cli.live import CHANGES, Picture
from tests.cli.processes import WAIT_S, anoint, command, enter, environment, killing, read_until

NOW_S = 1_700_000_000.0
HEIGHT = 40


def lines(picture: Picture, now_s: float, height: int = HEIGHT, width: int = 80) -> list[str]:
    """Return what is shown."""
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as capture:
        console.print(picture.drawn(now_s, height))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_it_shows_the_queue_and_the_change() -> None:
    """Who leads, for how long, the token, who waits, and what was told."""
    picture = Picture("e", "default")
    assert lines(picture, NOW_S) == ["connecting"]
    picture.see(Term(("[red]a", "b"), 4, 9), NOW_S)
    picture.began(4, NOW_S - 3700)
    shown = lines(picture, NOW_S + 5)
    assert shown[0].split() == ["election", "e", "namespace", "default"]
    assert shown[1].split() == ["leader", "[red]a", "for", "1", "h", "1", "min"]
    assert shown[2].split() == ["token", "4", "revision", "9"]
    assert shown[3:7] == ["", "   1  [red]a", "   2  b", ""]
    (change,) = shown[7:]
    assert change.endswith("term 4 revision 9  [red]a leads, waiting: b")


def test_how_long_a_leader_leads() -> None:
    """Not shown until it is known; from the change on that was seen; never below nothing."""
    picture = Picture("e", "default")
    picture.see(Term(("a",), 1, 1), NOW_S)
    assert "for" not in lines(picture, NOW_S)[1]
    picture.began(2, NOW_S)
    assert "for" not in lines(picture, NOW_S)[1], "that is another term"
    picture.see(Term(("a", "b"), 1, 2), NOW_S + 1)
    assert "for" not in lines(picture, NOW_S)[1]
    picture.see(Term(("b",), 2, 3), NOW_S + 10)
    picture.began(2, NOW_S - 1000)
    assert lines(picture, NOW_S + 12)[1].endswith("for 2 s")
    assert lines(picture, NOW_S)[1].endswith("for 0 s")
    picture.see(Term((), 2, 4), NOW_S + 20)
    assert lines(picture, NOW_S + 85)[1].split() == ["leader", "(nobody)", "for", "1", "min", "5", "s"]


def test_it_fits_the_terminal() -> None:
    """Those who do not fit are counted, old changes go, and a long line is cut."""
    picture = Picture("e", "default")
    for revision in range(1, 101):
        picture.see(Term(tuple(f"c{each}" for each in range(revision)), 1, revision), NOW_S)
    for height in (24, HEIGHT):
        shown = lines(picture, NOW_S, height)
        assert len(shown) < height
        assert sum("revision" in line for line in shown) == CHANGES + 1
        places = sum(bool(re.match(r" +\d+  c", line)) for line in shown)
        assert f"      ({100 - places} more)" in shown


def test_an_interruption_is_shown_until_it_is_over() -> None:
    """As what is shown may be old."""
    picture = Picture("e", "default")
    picture.see(Term(("a",), 1, 1), NOW_S)
    picture.interrupted("trying again")
    assert lines(picture, NOW_S)[-1] == "trying again"
    picture.see(Term(("a",), 1, 1), NOW_S)
    assert "trying again" not in lines(picture, NOW_S)


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_on_a_terminal(term: str, target: str) -> None:
    """It draws where it can, and else prints lines; SIGINT ends it, and the cursor is there again."""
    election = f"live-{term}"
    enter(target, election, "anna", "bruno")
    ours, theirs = pty.openpty()
    with (
        os.fdopen(ours, "r+b", buffering=0) as terminal,
        subprocess.Popen(
            command("watch", election, "--target", target),
            env=environment({"TERM": term}),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        ) as process,
        killing(process),
    ):
        seen = read_until(b"anna leads, waiting: bruno", terminal)
        if term == "xterm":
            seen = read_until(rb"for \d+ s", terminal, seen)  # which is known only after it was drawn
        anoint(target, election, "bruno")
        seen = read_until(b"bruno leads, waiting: anna", terminal, seen)
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 130
        os.close(theirs)
        seen = read_until(rb"\x1b\[\?25h" if term == "xterm" else b"", terminal, seen)
    assert (b"election" in seen) is (b"\x1b" in seen) is (term == "xterm")
    assert b"Traceback" not in seen
