"""What copies of stores have in common, whatever these are kept in: where tokens begin after a restore, and progress.

The first is explained in ``core.floors``.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from atomix_election.core.floors import MAX_FLOOR, Floors, time_of_ms
from atomix_election.errors import InvalidRequest, StoreError

Progress = Callable[[int, int], None]
"""Is told how much has been copied, and of how much: pages of a file, or elections."""


def no_progress(_: int, __: int) -> None:
    """Tell nobody."""


def check_token(above: int | None) -> None:
    """Refuse a highest token that is none.

    Raises:
        InvalidRequest: it is out of range.
    """
    if above is not None and not 0 <= above <= MAX_FLOOR:
        raise InvalidRequest(f"token {above} is not between 0 and {MAX_FLOOR}")


def restored_floors(known: Floors, now_ms: int, *, reached: int = 0, above: int | None = None) -> Floors:
    """Return below what nothing begins in a restored store.

    Args:
        known: what no number and no revision is above, as far as anybody knows.
        now_ms: milliseconds since 1970 by the wall clock.
        reached: what is known of the clock.
        above: the highest token that is known to have been given, if somebody vouches for it.

    Raises:
        StoreError: the clock cannot be relied on and nobody vouches for a token, or there are no numbers left.
    """
    floors = known.restored(now_ms, reached=reached, above=above)
    if floors is None:
        highest = max(*known, reached)
        raise StoreError(
            f"the clock of this machine shows {_date(now_ms)}, but tokens up to {highest} may have been given, which "
            f"is up to {_date(time_of_ms(highest))}: set the clock right and try again; where it is right, repeat this "
            "with --above and the highest token that any of these stores has ever given"
        )
    if max(floors) > MAX_FLOOR:
        raise StoreError(f"the numbers in the backup are used up: {max(floors)}; begin with a new store")
    return floors


def _date(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):  # further away than calendars go
        return f"{ms} ms after 1970"
