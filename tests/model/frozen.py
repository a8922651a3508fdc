"""The real campaign as a value: frozen, it can be compared, hashed, and thawed to let something happen.

A frozen campaign has all its times counted from this moment, in ticks. So equal situations are equal values, whenever
they come about, and time passes by an addition.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

from atomix_election.core.campaign import Campaign
from tests.model.messages import TICKS_PER_S, TTL

Frozen = tuple[Hashable, ...]

FIELDS = tuple(vars(Campaign()))
"""The fields of a campaign, in the order in which a frozen one has them."""
EARLIEST = {"_renew_at": 0, "_refused_since": -TTL, "_deadlines": 0, "_sent": -TTL}
"""The fields that hold a time, or one for each key; and before when it makes no difference any more: what is due is
due, a deadline that has passed has passed, and what was sent a time-to-live ago grants nothing."""


def freeze(campaign: Campaign, now: float = 0.0) -> Frozen:
    """Return the state of a campaign whose clock shows so many seconds."""
    frozen = tuple(_frozen(name, value, now) for name, value in vars(campaign).items())
    return later(frozen, 0)


def thaw(frozen: Frozen, kind: type[Campaign] = Campaign) -> Campaign:
    """Return a campaign in that state, whose clock shows 0."""
    campaign = kind()
    for (name, empty), value in zip(list(vars(campaign).items()), frozen, strict=True):
        setattr(campaign, name, _thawed(name, empty, value))
    return campaign


def later(frozen: Frozen, ticks: int) -> Frozen:
    """Return the state of a campaign when so many ticks of its clock have passed."""
    return tuple(
        _with_times(value, lambda time, earliest=EARLIEST[name]: max(time - ticks, earliest))
        if name in EARLIEST
        else value
        for name, value in zip(FIELDS, frozen, strict=True)
    )


def _frozen(name: str, value: Any, now: float) -> Hashable:
    if isinstance(value, Counter):
        value = tuple(sorted((key, count) for key, count in value.items() if count))
    elif isinstance(value, dict):
        value = tuple(sorted(value.items()))
    elif isinstance(value, set):
        value = tuple(sorted(value))
    return _with_times(value, lambda time: _in_ticks(time - now)) if name in EARLIEST else value


def _thawed(name: str, empty: Any, value: Any) -> Any:
    if name in EARLIEST:
        value = _with_times(value, lambda time: time / TICKS_PER_S)
    if isinstance(empty, dict):
        return type(empty)(dict(value))
    return set(value) if isinstance(empty, set) else value


def _with_times(value: Any, change: Callable[[float], float]) -> Any:
    return tuple((key, change(time)) for key, time in value) if isinstance(value, tuple) else change(value)


def _in_ticks(seconds: float) -> float:
    """Return a time without what rounding a margin in seconds has left behind; it may end on half a tick."""
    return seconds if math.isinf(seconds) else round(2 * seconds * TICKS_PER_S) / 2
