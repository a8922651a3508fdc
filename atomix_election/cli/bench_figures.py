"""What ``bench`` has measured, and how it is printed."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, NamedTuple

BUSY = 0.9
"""From this share on it is said that the process that measures may be what limits."""

_MS = 1000.0
_HEAD = ("", "COUNT", "A SECOND", "P50 MS", "P99 MS", "LONGEST MS")
_OWN_SERVER = "one of its own in this process, in memory"


@dataclass(frozen=True, slots=True)
class Latencies:
    """How long something took, each time."""

    count: int
    p50_ms: float
    p99_ms: float
    longest_ms: float


class Load(NamedTuple):
    """Calls over and over, by several clients at once.

    Args:
        latencies: of each call.
        took_s: all of it.
        processor_use: the share of that time for which this process kept a processor busy.
    """

    latencies: Latencies
    took_s: float
    processor_use: float

    @property
    def per_second(self) -> float:
        """How many calls were answered."""
        return self.latencies.count / self.took_s


class Figures(NamedTuple):
    """All that was measured.

    Args:
        commands: Enter and Withdraw, in turns, behind a leader.
        get_term: GetTerm alone.
        handover: from the end of a leader's block until that of the next one begins.
    """

    commands: Load
    get_term: Load
    handover: Latencies


def latencies_of(seconds: Sequence[float]) -> Latencies:
    """Return what is said of several times; a percentile is one of them, the least that so many do not exceed."""
    ordered = sorted(seconds)
    p50, p99 = (ordered[ceil(len(ordered) * part / 100) - 1] * _MS for part in (50, 99))
    return Latencies(len(ordered), p50, p99, ordered[-1] * _MS)


def figures_json(figures: Figures, target: str | None, namespace: str, clients: int, duration_s: float) -> str:
    """Return the figures as one line of JSON.

    Args:
        figures: what was measured.
        target: where; None for a server of its own.
        namespace: in which.
        clients: how many there were.
        duration_s: how long each part was to take.
    """
    about = {"target": target, "namespace": namespace, "clients": clients, "duration_s": duration_s}
    return json.dumps(
        {
            **about,
            "rounds_per_second": round(figures.commands.per_second / 2, 1),
            "commands": _load_json(figures.commands),
            "get_term": _load_json(figures.get_term),
            "handover": _latencies_json(figures.handover),
        }
    )


def _load_json(load: Load) -> dict[str, Any]:
    rate = {"per_second": round(load.per_second, 1), "processor_use": round(load.processor_use, 3)}
    return _latencies_json(load.latencies) | rate


def _latencies_json(latencies: Latencies) -> dict[str, Any]:
    return {name: round(value, 3) for name, value in asdict(latencies).items()}


def figures_lines(figures: Figures, target: str | None, clients: int) -> Iterator[str]:
    """Say the figures in lines, see ``figures_json``."""
    yield f"server   {target or _OWN_SERVER}"
    yield f"clients  {clients} at once behind the leader of one election, each with a connection and a session"
    yield f"rounds   {figures.commands.per_second / 2:,.1f} a second of Enter and Withdraw"
    yield ""
    rows = [
        _HEAD,
        _row("Enter, Withdraw", figures.commands.latencies, f"{figures.commands.per_second:,.1f}"),
        _row("GetTerm", figures.get_term.latencies, f"{figures.get_term.per_second:,.1f}"),
        _row("hand-over", figures.handover, "-"),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    for name, *numbers in rows:
        yield "  ".join(
            [name.ljust(widths[0]), *(each.rjust(width) for each, width in zip(numbers, widths[1:], strict=True))]
        )
    busiest = max(figures.commands.processor_use, figures.get_term.processor_use)
    if busiest >= BUSY:
        yield ""
        yield f"This process kept a processor busy for up to {busiest:.0%} of the time: it may be what limits."


def _row(name: str, latencies: Latencies, rate: str) -> tuple[str, ...]:
    milliseconds = (latencies.p50_ms, latencies.p99_ms, latencies.longest_ms)
    return (name, f"{latencies.count:,}", rate, *(f"{each:,.2f}" for each in milliseconds))
