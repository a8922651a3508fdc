"""Leaves out of a violation what is not needed to show it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from atomix_election.testing.checker.findings import Finding, Violation
from atomix_election.testing.history import Entry

MAX_RECORDS = 60
"""The most records of which it is looked for fewer."""


def shrunk(finding: Finding, look: Callable[[list[Entry]], Sequence[Finding]]) -> Violation:
    """Return the violation with no more records than are needed: without any of them the rule would not be broken.

    Args:
        finding: what was found in the whole history.
        look: returns what is found in a part of it.
    """
    violation = finding.violation

    def is_shown_by(entries: list[Entry]) -> bool:
        wanted = violation.rule, violation.election, violation.what
        return any(
            (each.violation.rule, each.violation.election, each.violation.what) == wanted for each in look(entries)
        )

    kept = list(violation.entries)
    if len(kept) > MAX_RECORDS or not is_shown_by(kept):
        return violation
    for each in violation.entries:
        rest = [other for other in kept if other is not each]
        if each not in finding.fixed and is_shown_by(rest):
            kept = rest
    return replace(violation, entries=tuple(kept))
