"""Where an election may go on from a floor, above what was told of it last, although nobody did anything there."""

from collections.abc import Sequence

from atomix_election.testing.checker.timeline import Timeline


class Jumps:
    """What forgets and restores mean for one election.

    Args:
        timeline: its terms.
        forgotten: whether it may have been forgotten.
        raised: whether others may have been: it goes on from what they had as long as nobody has entered it.
        floors: of the restored stores.
    """

    def __init__(self, timeline: Timeline, *, forgotten: bool, raised: bool, floors: Sequence[int]) -> None:
        self._timeline = timeline
        self._forgotten = forgotten
        self._floors = floors
        self._unentered = self._before_anybody_entered() if raised else set[int]()

    def is_restored(self, place: int) -> bool:
        """Return whether the store was made of a backup before the term at a place, and after the one before it."""
        if not place:
            return False
        before, after = self._timeline.revisions[place - 1 : place + 1]
        return any(before < floor <= after for floor in self._floors)

    def may_go_on_from_a_floor(self, place: int) -> bool:
        """Return whether what is kept of it may not have been there before the term at a place."""
        return self._forgotten or place in self._unentered

    def _before_anybody_entered(self) -> set[int]:
        """Return the places of terms before which nobody had entered, since the beginning or since a restore."""
        found: set[int] = set()
        unentered = True
        for place, term in enumerate(self._timeline.terms):
            unentered = unentered or self.is_restored(place)
            if unentered:
                found.add(place)
            unentered = unentered and not term.candidates
        return found
