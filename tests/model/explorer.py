"""Goes through all states that can be reached, the nearest first: so a fault is shown by the shortest way to it.

It knows nothing of what is explored: a state is anything that can be hashed, and a move is a label with the state that
it leads to.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

State = TypeVar("State", bound=Hashable)
Label = TypeVar("Label")

MOST_STATES = 2_000_000
"""An exploration that has not ended by then is broken off, as what was not looked at proves nothing."""


@dataclass(frozen=True)
class Exploration(Generic[State, Label]):
    """What was found.

    Args:
        states: how many states were reached, the first ones included.
        moves: how many moves were made from them.
        depth: how many moves the farthest state is away from the nearest first one.
        fault: what is wrong in the nearest state with which something is wrong, or None.
        path: the shortest way there: each state with the label of the move that led to it, None for the first one.
    """

    states: int
    moves: int
    depth: int
    fault: str | None = None
    path: tuple[tuple[Label | None, State], ...] = ()


class TooManyStates(Exception):
    """The exploration was broken off, so that nothing is known."""


def explore(
    first: Iterable[State],
    moves_from: Callable[[State], Iterable[tuple[Label, State]]],
    fault_in: Callable[[State], str | None],
    *,
    most_states: int = MOST_STATES,
    visit: Callable[[State], None] | None = None,
) -> Exploration[State, Label]:
    """Explore breadth first, until everything was seen or a fault was found.

    Args:
        first: where to begin.
        moves_from: what can happen in a state.
        fault_in: says what is wrong with a state, or None. Each state is looked at once.
        most_states: how many states there may be.
        visit: is shown each state, in the order in which they are reached.

    Raises:
        TooManyStates: there are more.
    """
    came_by: dict[State, tuple[Label, State] | None] = dict.fromkeys(first)
    level = list(came_by)
    moves = depth = 0
    while level:
        for state in level:
            if visit is not None:
                visit(state)
            fault = fault_in(state)
            if fault is not None:
                return Exploration(len(came_by), moves, depth, fault, _path(came_by, state))
        following: list[State] = []
        for state in level:
            for label, reached in moves_from(state):
                moves += 1
                if reached not in came_by:
                    came_by[reached] = (label, state)
                    following.append(reached)
            if len(came_by) > most_states:
                more = f"more than {most_states} states after {depth} moves"
                raise TooManyStates(f"{more}: explore less, or raise the limit")
        level = following
        depth += bool(following)
    return Exploration(len(came_by), moves, depth)


def _path(came_by: dict[State, tuple[Label, State] | None], state: State) -> tuple[tuple[Label | None, State], ...]:
    path: list[tuple[Label | None, State]] = []
    step = came_by[state]
    while step is not None:
        path.append((step[0], state))
        state = step[1]
        step = came_by[state]
    return ((None, state), *reversed(path))
