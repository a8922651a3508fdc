"""Below what nothing begins: the numbers and revisions of elections that a store keeps no record of.

An election that was forgotten, or whose terms after the last backup are lost, may come back. It goes on above whatever
anybody may have seen of it, so that its tokens never repeat.
"""

from typing import NamedTuple

from atomix_election.core.election import Election

RESTORE_JUMP = 1 << 40
"""How far a restore goes up from the highest number and revision in a backup.

More than can have been given since: no clock is asked, as a wrong one would make tokens repeat. The fastest election
that was measured changes its leader 100,000 times a second, and would need four months of nothing else. JSON and
JavaScript hold numbers up to 2**53 exactly, which is room for 8,000 restores in a row.
"""
MAX_FLOOR = 1 << 62
"""The highest floor: the next restores still fit into 63 bits, as databases have them."""


class Floors(NamedTuple):
    """The highest number and revision that an election without a record may have had."""

    number: int = 0
    revision: int = 0

    def over(self, other: "Floors | Election") -> "Floors":
        """Return the floors that are no lower than these and what the other one has."""
        return Floors(max(self.number, other.number), max(self.revision, other.revision))

    def begin(self) -> Election:
        """Return what an election without a record is: nobody is there, and the next leader gets a higher number."""
        return Election(number=self.number, revision=self.revision)

    def restored(self, times: int, tokens_seen: int = 0) -> "Floors":
        """Return the floors of what is restored from a backup.

        Args:
            times: how often this backup was restored, this time included: each time goes above the former ones.
            tokens_seen: the highest token that is known to have been given, if it is known.
        """
        jump = times * RESTORE_JUMP
        return Floors(max(self.number + jump, tokens_seen), self.revision + jump)
