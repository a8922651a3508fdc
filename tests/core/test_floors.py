"""Where elections begin whose record is gone."""

from hypothesis import given
from hypothesis import strategies as st

from atomix_election.core.commands import Enter
from atomix_election.core.election import Election, apply
from atomix_election.core.floors import (
    EARLIEST_MS,
    MAX_FLOOR,
    RESTORE_JUMP,
    TOKENS_PER_MS,
    Floors,
    reached_by,
    time_of_ms,
)
from atomix_election.model import SessionId, Term

COUNTS = st.integers(0, MAX_FLOOR)
FLOORS = st.builds(Floors, COUNTS, COUNTS)
TIMES = st.integers(EARLIEST_MS, 8_204_889_600_000)
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
    assert both.number == max(one.number, other.number)
    assert max(one.revision, other.revision) <= both.revision <= max(one.revision, other.revision) + 1
    assert one.over(one) == one


@given(st.builds(Floors, st.integers(0, 3), st.integers(0, 3)), st.builds(Floors, st.integers(0, 3), st.integers(0, 3)))
def test_a_higher_number_comes_with_a_higher_revision(one: Floors, other: Floors) -> None:
    """Who has read an election at the one or the other is not told another term under the same revision."""
    both = one.over(other)
    for each in (one, other):
        assert both.number == each.number or both.revision > each.revision


@given(FLOORS, TIMES, COUNTS)
def test_a_restore_begins_where_the_clock_is_and_above_all_that_is_known(
    known: Floors, now_ms: int, reached: int
) -> None:
    """Or nowhere: a clock that is behind what the files know has been set back."""
    floors = known.restored(now_ms, reached=reached)
    if now_ms * TOKENS_PER_MS > max(*known, reached):
        assert floors == (now_ms * TOKENS_PER_MS,) * 2
    else:
        assert floors is None


@given(FLOORS, st.integers(-EARLIEST_MS, EARLIEST_MS - 1))
def test_a_clock_that_is_not_set_is_not_relied_on(known: Floors, now_ms: int) -> None:
    """As after the start of a machine whose battery is empty; with a token that somebody vouches for it goes up."""
    assert Floors().restored(now_ms) is None
    assert Floors().restored(now_ms, above=7) == (7 + RESTORE_JUMP,) * 2


@given(FLOORS, TIMES, COUNTS, COUNTS)
def test_a_token_that_somebody_vouches_for_is_below_all_that_come(
    known: Floors, now_ms: int, reached: int, above: int
) -> None:
    """The clock still counts where it is ahead of that too, so that other copies of the backup cannot come after."""
    floors = known.restored(now_ms, reached=reached, above=above)
    assert floors is not None
    assert min(floors) > max(*known, reached, above)
    if now_ms * TOKENS_PER_MS > max(*known, reached, above):
        assert floors == known.restored(now_ms, reached=reached)


@given(COUNTS)
def test_the_time_of_a_number_is_the_first_one_that_is_above_it(floor: int) -> None:
    """Which is what whoever has to wait for the clock is told."""
    assert reached_by(time_of_ms(floor)) > floor >= reached_by(time_of_ms(floor) - 1)


def test_numbers_are_exact_in_javascript_for_two_hundred_years() -> None:
    """Clients in any language compare tokens; the beginning of 2230."""
    assert reached_by(8_204_889_600_000) < 1 << 53
