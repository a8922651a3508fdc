"""What a run of the fuzz has done and found, in figures."""

from collections import Counter
from dataclasses import dataclass, field

from tests.fuzz.heard import Heard


@dataclass
class Totals:
    """What was done."""

    inputs: Counter[str] = field(default_factory=Counter[str])
    connections: int = 0
    statuses: Counter[str] = field(default_factory=Counter[str])
    goodbyes: Counter[str] = field(default_factory=Counter[str])
    calls_beside: int = 0
    at_once: int = 0
    pages: Counter[str] = field(default_factory=Counter[str])
    outcomes: Counter[str] = field(default_factory=Counter[str])
    servers: list[str] = field(default_factory=list[str])
    doing: str = ""
    """What was done last."""
    found: list[str] = field(default_factory=list[str])

    def heard(self, heard: Heard) -> None:
        """Count what a server has said."""
        self.connections += 1
        for answer in heard.answers.values():
            other = "no status" if answer.reset is None else "reset"
            self.statuses[other if answer.status is None else str(answer.status)] += 1
        if heard.goaway is not None:
            self.goodbyes[str(heard.goaway[0])] += 1

    def __str__(self) -> str:
        """Return it in figures."""
        lines = [
            f"{self.inputs.total()} inputs: {_counts(self.inputs)}",
            f"{self.connections} connections to servers, {self.calls_beside} calls of a neighbour between their writes",
            f"statuses of gRPC: {_counts(self.statuses)}",
            f"errors of HTTP/2: {_counts(self.goodbyes)}",
            f"calls that were answered at once where both ways were compared: {self.at_once}",
            f"answers of the metrics: {_counts(self.pages)}",
            f"what our client made of hostile servers: {_counts(self.outcomes)}",
            *self.servers,
            *self.found,
            f"{len(self.found)} found",
        ]
        return "\n".join(lines)


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counter.most_common()) or "none"
