"""How the progress of a long copy is shown."""

import io

import pytest

from atomix_election.cli import copying
from atomix_election.cli.copying import PAUSE_S, QUIET_S, Report


class Terminal(io.StringIO):
    """What takes itself for one."""

    def isatty(self) -> bool:
        """See ``IOBase.isatty``."""
        return True


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is."""
    now = [100.0]
    monkeypatch.setattr(copying.time, "monotonic", lambda: now[0])
    return now


def test_a_long_copy_says_on_a_terminal_how_far_it_is(monkeypatch: pytest.MonkeyPatch, now: list[float]) -> None:
    """Not before it is long, and not too often; the line is ended."""
    terminal = Terminal()
    monkeypatch.setattr(copying.sys, "stderr", terminal)
    with Report() as report:
        report(1, 4000)
        assert terminal.getvalue() == ""
        now[0] += QUIET_S
        report(1000, 4000)
        report(1001, 4000)
        now[0] += PAUSE_S
        report(2000, 4000)
    assert terminal.getvalue() == "\rcopied 1,000 of 4,000 pages (25 %)\rcopied 2,000 of 4,000 pages (50 %)\n"


def test_nothing_is_said_elsewhere(monkeypatch: pytest.MonkeyPatch, now: list[float]) -> None:
    """As in a log of cron."""
    log = io.StringIO()
    monkeypatch.setattr(copying.sys, "stderr", log)
    with Report() as report:
        now[0] += 2 * QUIET_S
        report(1000, 4000)
    assert log.getvalue() == ""
