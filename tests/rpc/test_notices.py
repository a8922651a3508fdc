"""Lines that peers can cause are written seldom."""

import logging

import pytest

from atomix_election.rpc.notices import NOTICE_INTERVAL_S, Notices


def test_the_first_line_is_written_and_the_rest_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Until an interval has passed."""
    notices = Notices(logging.getLogger("atomix_election.test"), logging.WARNING)
    for number in range(4):
        notices.write(f"line {number}", now=5.0 + number)
    notices.write("line 4", now=5.0 + NOTICE_INTERVAL_S)
    notices.write("line 5", now=5.0 + 2 * NOTICE_INTERVAL_S)
    assert [record.getMessage() for record in caplog.records] == [
        "line 0",
        "line 4 (3 such lines before it were left out)",
        "line 5",
    ]
