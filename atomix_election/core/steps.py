"""From one term to the next, said briefly: who left the queue, and who came to which place in it.

What leads from one term of a long queue to another is nearly always one candidate. A store that tells others of all
terms of a batch so needs no copy of the queue for each of them.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from atomix_election.model import Term


class Step(NamedTuple):
    """What leads from a term to another one.

    Args:
        number: of the term after it.
        revision: of the term after it.
        removed: places in the queue before it, in order, of those who left or were moved.
        inserted: places in the queue after it, in order, and who stands there: those who came or were moved.
    """

    number: int
    revision: int
    removed: tuple[int, ...] = ()
    inserted: tuple[tuple[int, str], ...] = ()


def step_between(before: Term, after: Term) -> Step:
    """Return the step from one term to another; as few candidates are named as can be."""
    former, queue = before.candidates, after.candidates
    start = _common(former, queue)
    end = _common(former[start:][::-1], queue[start:][::-1])
    places = {each: place for place, each in enumerate(former[start : len(former) - end], start)}
    changed = range(start, len(queue) - end)
    stayed = _longest_rise([(places[queue[place]], place) for place in changed if queue[place] in places])
    kept_before, kept_after = {each for each, _ in stayed}, {each for _, each in stayed}
    removed = tuple(place for place in range(start, len(former) - end) if place not in kept_before)
    inserted = tuple((place, queue[place]) for place in changed if place not in kept_after)
    return Step(after.number, after.revision, removed, inserted)


def take_step(before: Term, step: Step) -> Term:
    """Return the term that a step leads to.

    Raises:
        ValueError: the step does not begin at this term.
    """
    queue = list(before.candidates)
    for place in reversed(step.removed):
        if place >= len(queue):
            raise ValueError(f"candidate {place} leaves a queue of {len(queue)}")
        del queue[place]
    for place, candidate_id in step.inserted:
        if place > len(queue):
            raise ValueError(f"a candidate comes to place {place} of a queue of {len(queue)}")
        queue.insert(place, candidate_id)
    if len(set(queue)) != len(queue):
        raise ValueError("a candidate stands in the queue twice")
    return Term(tuple(queue), step.number, step.revision)


def steps_through(before: Term, terms: Iterable[Term]) -> tuple[Step, ...]:
    """Return the steps from a term through others."""
    steps: list[Step] = []
    for term in terms:
        steps.append(step_between(before, term))
        before = term
    return tuple(steps)


def replay(before: Term, steps: Iterable[Step]) -> tuple[Term, ...]:
    """Return the terms that steps lead through.

    Raises:
        ValueError: they do not begin at this term.
    """
    terms: list[Term] = []
    for step in steps:
        before = take_step(before, step)
        terms.append(before)
    return tuple(terms)


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many candidates two queues begin with alike."""
    if (shortest := min(len(one), len(other))) and one[:shortest] == other[:shortest]:
        return shortest
    return next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), shortest)


def _longest_rise(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the longest part of the pairs in which the first numbers rise: patience sorting."""
    tops: list[int] = []
    piles: list[int] = []
    below: list[int | None] = []
    for index, (number, _) in enumerate(pairs):
        pile = bisect_left(tops, number)
        below.append(piles[pile - 1] if pile else None)
        if pile == len(tops):
            tops.append(number)
            piles.append(index)
        else:
            tops[pile], piles[pile] = number, index
    rise: list[tuple[int, int]] = []
    index = piles[-1] if piles else None
    while index is not None:
        rise.append(pairs[index])
        index = below[index]
    return rise[::-1]
