"""Whether the numbers of terms rise."""

from collections.abc import Iterator

from atomix_election.testing.checker.findings import Finding, Rule, found
from atomix_election.testing.checker.timeline import Timeline


def check_numbers(election: str, timeline: Timeline) -> Iterator[Finding]:
    """Return where the number fell, and numbers that are of two leaders."""
    for place in range(1, len(timeline)):
        if timeline.terms[place].number < timeline.terms[place - 1].number:
            shown = [timeline.shown(place - 1), timeline.shown(place)]
            yield found(Rule.NUMBERS_RISE, election, "the number fell", shown)
    leaders: dict[int, int] = {}
    for place, term in enumerate(timeline.terms):
        if term.leader and timeline.terms[first := leaders.setdefault(term.number, place)].leader != term.leader:
            what = f"number {term.number} was of two leaders"
            yield found(Rule.ONE_LEADER, election, what, [timeline.shown(first), timeline.shown(place)])
