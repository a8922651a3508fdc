"""Where elections begin whose record is gone."""

from hypothesis import given
from hypothesis import strategies as st

from atomix_election.core.commands import Enter
from atomix_election.core.election import Election, apply
from atomix_election.core.floors import MAX_FLOOR, RESTORE_JUMP, Floors
from atomix_election.model import SessionId, Term

COUNTS = st.integers(0, MAX_FLOOR)
FLOORS = st.builds(Floors, COUNTS, COUNTS)
SESSION = SessionId("default", "s", 1)


def test_where_there_is_no_floor_an_election_is_new() -> None:
    """Term 0, revision 0."""
    assert Floors().begin() == Election()


@given(FLOORS)
def test_who_enters_first_gets_a_token_above_the_floor(floors: Floors) -> None:
    """And the term is newer than any that had the floor's revision."""
    election = floors.begin()
    assert election.term == Term((), floors.number, floors.revision)
    after = apply(election, Enter("a", SESSION)).election
    assert (after.number, after.revision) == (floors.number + 1, floors.revision + 1)


@given(FLOORS, FLOORS)
def test_floors_never_fall(one: Floors, other: Floors) -> None:
    """The higher of each, whichever way round; an election counts as its number and revision."""
    both = one.over(other)
    assert both == other.over(one) == one.over(other.begin())
    assert both == (max(one.number, other.number), max(one.revision, other.revision))


@given(FLOORS, st.integers(0, RESTORE_JUMP - 1), st.integers(1, 9))
def test_each_restore_of_a_backup_begins_above_what_the_former_ones_gave(
    highest: Floors, changes_since: int, times: int
) -> None:
    """As long as the store behind it, or made of it, has changed its leader less than 2**40 times since."""
    before, after = highest.restored(times - 1) if times > 1 else highest, highest.restored(times)
    assert after.number > before.number + changes_since
    assert after.revision > before.revision + changes_since


@given(FLOORS, COUNTS)
def test_a_token_that_was_seen_is_below_all_that_come(highest: Floors, seen: int) -> None:
    """Where that is more than the jump; else the jump holds."""
    assert highest.restored(1, seen).number == max(seen, highest.number + RESTORE_JUMP)
    assert highest.restored(1, seen).revision == highest.restored(1).revision
