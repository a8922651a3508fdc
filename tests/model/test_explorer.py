"""The explorer sees everything once, shows the shortest way, and says so where it did not get through."""

from collections.abc import Iterator

import pytest

from tests.model.explorer import Exploration, TooManyStates, explore

Jugs = tuple[int, int]
SIZES = (3, 5)


def pour(jugs: Jugs) -> Iterator[tuple[str, Jugs]]:
    """Two jugs of 3 and 5 litres, a well, and no marks on either."""
    small, large = jugs
    yield "fill the small one", (SIZES[0], large)
    yield "fill the large one", (small, SIZES[1])
    yield "empty the small one", (0, large)
    yield "empty the large one", (small, 0)
    over = min(small, SIZES[1] - large)
    yield "pour into the large one", (small - over, large + over)
    over = min(large, SIZES[0] - small)
    yield "pour into the small one", (small + over, large - over)


def test_it_finds_the_shortest_way() -> None:
    """To four litres, with what leads from each state to the next one."""
    found = explore([(0, 0)], pour, lambda jugs: "four litres" if jugs[1] == 4 else None)
    assert found.fault == "four litres"
    assert found.path == (
        (None, (0, 0)),
        ("fill the large one", (0, 5)),
        ("pour into the small one", (3, 2)),
        ("empty the small one", (0, 2)),
        ("pour into the small one", (2, 0)),
        ("fill the large one", (2, 5)),
        ("pour into the small one", (3, 4)),
    )


def test_it_sees_each_state_once() -> None:
    """All that can be reached, and nothing else: one of the jugs is full or empty at any time."""
    seen: list[Jugs] = []
    found = explore([(0, 0), (0, 0)], pour, lambda _: None, visit=seen.append)
    expected = {(small, large) for small in range(4) for large in range(6) if small in (0, 3) or large in (0, 5)}
    assert len(seen) == len(expected)
    assert set(seen) == expected
    assert found == Exploration(len(expected), 6 * len(expected), 7)


def test_the_nearest_first_state_counts() -> None:
    """And one that is wrong itself is a way of no steps."""
    found = explore([(0, 0), (2, 5)], pour, lambda jugs: "four litres" if jugs[1] == 4 else None)
    assert [label for label, _ in found.path] == [None, "pour into the small one"]
    found = explore([(0, 0)], pour, lambda _: "wrong")
    assert (found.states, found.moves, found.path) == (1, 0, ((None, (0, 0)),))


def test_what_was_not_explored_to_the_end_proves_nothing() -> None:
    """The limit is as many states as there may be."""
    assert explore([(0, 0)], pour, lambda _: None, most_states=16).states == 16
    with pytest.raises(TooManyStates, match="more than 15 states after 6 moves"):
        explore([(0, 0)], pour, lambda _: None, most_states=15)


def test_without_a_state_there_is_nothing() -> None:
    """Which a floor for the number of states has to catch."""
    assert explore(list[Jugs](), pour, lambda _: "wrong") == Exploration(0, 0, 0)
