"""Below what nothing begins: the numbers and revisions of elections that a store keeps no record of.

An election that was forgotten, or whose terms after the last backup are lost, may come back. It goes on above whatever
anybody may have seen of it, so that its tokens never repeat.
"""

from typing import NamedTuple

from atomix_election.core.election import Election

TOKENS_PER_MS = 1 << 10
"""How many numbers a restore allows for each millisecond since 1970, by the clock of the machine that restores.

What is restored later begins higher, from whichever backup, and nothing in the files has to know of the other: a store
that was restored, and changes its leaders slower than that, stays below the clock and so below whatever is restored
after it. The fastest election that was measured is ten times slower. JSON and JavaScript hold numbers up to 2**53
exactly, which the clock reaches in the year 2248.
"""
EARLIEST_MS = 1_735_689_600_000
"""The beginning of 2025: a clock that shows an earlier time is not set."""
RESTORE_JUMP = 1 << 40
"""How far a restore that cannot go by a clock goes up from the highest number that it was told: somewhat more may have
been given by then."""
MAX_FLOOR = 1 << 62
"""The highest floor: the next restores still fit into 63 bits, as databases have them."""


class Floors(NamedTuple):
    """The highest number and revision that an election without a record may have had."""

    number: int = 0
    revision: int = 0

    def over(self, other: "Floors | Election") -> "Floors":
        """Return the floors that are no lower than these and what the other one has.

        Where one of them gets a higher number it gets a higher revision too, as one revision is one term.
        """
        number, revision = max(self.number, other.number), max(self.revision, other.revision)
        two_terms = any(each.number < number and each.revision == revision for each in (self, other))
        return Floors(number, revision + two_terms)

    def begin(self) -> Election:
        """Return what an election without a record is: nobody is there, and the next leader gets a higher number."""
        return Election(number=self.number, revision=self.revision)

    def restored(self, now_ms: int, *, reached: int = 0, above: int | None = None) -> "Floors | None":
        """Return the floors of what is restored, where these are of all files that are known.

        The clock tells, as long as it is ahead of everything that is known; one that is not has been set back.

        Args:
            now_ms: milliseconds since 1970 by the wall clock.
            reached: what the files know of the clock: see ``reached_by``.
            above: the highest token that is known to have been given, if somebody vouches for it: then the clock need
                not be ahead.

        Returns:
            None if the clock cannot be relied on, and nobody vouches for a token.
        """
        known = max(*self, reached, above or 0)
        by_clock = reached_by(now_ms)
        if now_ms >= EARLIEST_MS and by_clock > known:
            return Floors(by_clock, by_clock)
        return None if above is None else Floors(known + RESTORE_JUMP, known + RESTORE_JUMP)


def reached_by(now_ms: int) -> int:
    """Return below what everything is that was given by then, and where a restore at that time begins."""
    return max(now_ms, 0) * TOKENS_PER_MS


def time_of_ms(floor: int) -> int:
    """Return from when on, in milliseconds since 1970, a clock is ahead of a number."""
    return floor // TOKENS_PER_MS + 1
