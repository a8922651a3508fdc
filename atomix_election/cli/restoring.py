"""What is said of a store that was restored."""

from datetime import UTC, datetime

from atomix_election.clock import wall_clock_s
from atomix_election.core.floors import time_of_ms


def ahead_until(number: int) -> str | None:
    """Return until when tokens above a number are ahead of the clock, for a person; None if they are not."""
    if time_of_ms(number) <= (wall_clock_s() + 1) * 1000:
        return None
    return datetime.fromtimestamp(time_of_ms(number) / 1000, UTC).isoformat(timespec="seconds")
