"""A matching is found where there is one, and else steps or calls of which there are too many."""

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from atomix_election.testing.checker.matching import Matching

SIZE = 5
places = st.integers(0, SIZE - 1)
pairs = st.frozensets(st.tuples(places, places))
some = st.frozensets(places)


def is_possible(edges: frozenset[tuple[int, int]], required: frozenset[int], side: int) -> bool:
    """Return whether all of one side can have one each of the other, by trying everything."""
    others = [[edge[1 - side] for edge in edges if edge[side] == each] for each in required]
    return any(len(set(chosen)) == len(chosen) for chosen in product(*others))


@given(pairs, some, some, st.booleans())
@settings(max_examples=300, deadline=None)
def test_it_is_found_if_there_is_one(
    edges: frozenset[tuple[int, int]], steps: frozenset[int], calls: frozenset[int], steps_first: bool
) -> None:
    """In whichever order; what is matched stays so."""
    matching = Matching[int, int](
        lambda step: sorted(call for each, call in edges if each == step),
        lambda call: sorted(step for step, each in edges if each == call),
        lambda step: step not in steps,
        lambda call: call not in calls,
    )
    failed = False
    for is_step in (steps_first, not steps_first):
        for each in sorted(steps if is_step else calls):
            if each in (matching.call_of if is_step else matching.step_of):
                continue
            many, few = matching.cover_step(each) if is_step else matching.cover_call(each)
            if many:
                failed = True
                assert len(few) < len(many)
                side = 0 if is_step else 1
                assert {edge[1 - side] for edge in edges if edge[side] in many} <= set(few)
    assert failed is not (is_possible(edges, steps, 0) and is_possible(edges, calls, 1))
    assert {(step, call) for step, call in matching.call_of.items()} <= edges
    assert {call: step for step, call in matching.call_of.items()} == matching.step_of
    if not failed:
        assert steps <= matching.call_of.keys()
        assert calls <= matching.step_of.keys()
