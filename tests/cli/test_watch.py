"""``watch``: a line for the term, and one for each change, until somebody has had enough."""

import json
import re
import signal

from tests.cli.processes import Running, anoint, enter


def test_json_is_one_object_a_line(target: str) -> None:
    """The snapshot first, then each change as it comes; SIGINT ends it, with the status of an interrupt."""
    enter(target, "w", "a")
    with Running("watch", "w", "--target", target, "--json") as watch:
        first = {"type": "NONE", "election": "w", "leader": "a", "candidates": ["a"], "number": 1, "revision": 1}
        assert json.loads(watch.line()) == first
        enter(target, "w", "b")
        assert json.loads(watch.line()) == first | {"type": "CHANGED", "candidates": ["a", "b"], "revision": 2}
        anoint(target, "w", "b")
        anointed = {"type": "CHANGED", "leader": "b", "candidates": ["b", "a"], "number": 2, "revision": 3}
        assert json.loads(watch.line()) == first | anointed
        assert watch.end(signal.SIGINT) == (130, "", "")


def test_for_people(target: str) -> None:
    """Each line says when, who leads, under which number, and who waits."""
    with Running("watch", "people", "--target", target) as watch:
        assert re.fullmatch(r"\d\d:\d\d:\d\d  term 0 revision 0  nobody leads", watch.line())
        enter(target, "people", "anna", "bruno")
        assert watch.line().endswith("  term 1 revision 1  anna leads")
        assert watch.line().endswith("  term 1 revision 2  anna leads, waiting: bruno")


def test_a_reader_that_goes_away_ends_it(target: str) -> None:
    """As ``watch | head -1``: no traceback, at the next line."""
    with Running("watch", "pipe", "--target", target) as watch:
        watch.line()
        watch.stop_reading()
        enter(target, "pipe", "a")
        status, _, err = watch.end()
    assert (status, err) == (1, "")


def test_a_server_that_goes_away_is_no_traceback() -> None:
    """It waits for the server to come back, says so in words, and can be interrupted."""
    with (
        Running("serve", "--listen", "127.0.0.1:0", "--store", "memory://") as server,
        Running("watch", "e", "--target", server.target()) as watch,
    ):
        watch.line()
        server.end(signal.SIGKILL)
        status, out, err = watch.end(signal.SIGINT)
    assert (status, out) == (130, "")
    assert err == "" or err.startswith("atomix-election: the watch of election e was interrupted, trying again")
    assert "Traceback" not in err
