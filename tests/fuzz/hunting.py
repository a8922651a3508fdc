"""Looks with Hypothesis for an input that a check does not survive, and makes it as short as it can."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import FlakyFailure, HypothesisWarning
from hypothesis.strategies import SearchStrategy

from tests.fuzz.heard import Fault


@dataclass(frozen=True, slots=True)
class Hunt:
    """What to look for.

    Args:
        inputs: what may be sent.
        check: sends one, and raises ``Fault`` when a promise was broken.
        replay: returns an input in one line.
        shown: returns an input for people.
    """

    inputs: SearchStrategy[Any]
    check: Callable[[Any], None]
    replay: Callable[[Any], str]
    shown: Callable[[Any], str]


@dataclass(slots=True)
class Found:
    """What came of it.

    Args:
        inputs: how many there were, those included that were tried to find a shorter one.
        fault: what was wrong, if anything was.
        replay: the shortest input that has shown it, in one line.
        shown: the same for people.
    """

    inputs: int = 0
    fault: str | None = None
    replay: str = ""
    shown: str = ""


def hunt(what: Hunt, seed: int, examples: int, *, shrinks: bool = True) -> Found:
    """Try so many inputs, the same ones for the same seed."""
    found = Found()

    @seeded(seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink] if shrinks else [Phase.generate],
        suppress_health_check=[HealthCheck(each) for each in HealthCheck],
    )
    @given(what.inputs)
    def look(given_input: Any) -> None:
        found.inputs += 1
        try:
            what.check(given_input)
        except Fault as fault:
            found.fault, found.replay, found.shown = str(fault), what.replay(given_input), what.shown(given_input)
            raise

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HypothesisWarning)  # of long inputs
        try:
            look()
        except Fault:
            pass
        except FlakyFailure:
            found.fault = f"{found.fault}\n  (not each time that this was sent)"
    return found
