"""Whether what was refused could not be done: a refusal says something of the queue at some moment of its call."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from atomix_election.testing.checker.findings import Finding, Rule, found
from atomix_election.testing.checker.owners import Ownership
from atomix_election.testing.checker.sessions import Sessions
from atomix_election.testing.checker.spec import REFUSALS, refused
from atomix_election.testing.checker.timeline import Timeline
from atomix_election.testing.history import Answered, Entry


def check_refusals(
    election: str,
    entries: Iterable[Entry],
    timeline: Timeline,
    earliest: list[float],
    owners: Ownership,
    sessions: Sessions,
) -> Iterator[Finding]:
    """Return the refusals that no term explains which may have been there at the time.

    Args:
        election: where.
        entries: its records.
        timeline: its terms.
        earliest: before when each of them has not begun, also as nobody had asked for it.
        owners: of the candidates.
        sessions: when they have ended.
    """
    for each in entries:
        if not isinstance(each, Answered) or each.outcome not in REFUSALS:
            continue
        first, last = timeline.first_at(each.begun), bisect_right(earliest, each.ended) - 1
        if first < 0 or each.ended > timeline.certain_until or not timeline.whole(first, last):
            continue  # it may have been about a term that nobody saw
        if not any(_explains(each, timeline, place, owners, sessions) for place in range(first, last + 1)):
            shown = [*timeline.evidence(*range(first, last + 2)), each]
            for place in range(first, min(last + 2, len(timeline))):
                shown += owners.evidence(each.candidate, place)
            yield found(Rule.REFUSED, election, f"no term explains what was refused: {each.outcome}", shown)


def _explains(call: Answered, timeline: Timeline, place: int, owners: Ownership, sessions: Sessions) -> bool:
    others = owners.of(call.candidate, place) - ({call.session} if call.session else set[str]())
    if call.outcome == "CandidateTaken":  # its place is taken of one that has ended, which still owns it for others
        others = {each for each in others if not sessions.is_over(each, call.begun)}
    return refused(call.outcome, call.candidate, timeline.terms[place], others=bool(others))
