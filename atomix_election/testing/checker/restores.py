"""What holds where a store was made of a backup: nobody is admitted too soon, and nothing comes a second time."""

from collections.abc import Iterable, Iterator, Sequence

from atomix_election.testing.checker.findings import Finding, Rule, found
from atomix_election.testing.checker.timeline import Told
from atomix_election.testing.history import DONE, Answered, Entry, Led, Restored


def check_hold(history: Sequence[Entry], restored: Restored) -> Iterator[Finding]:
    """Nobody enters and nobody begins to lead before those who led by the former store have ended."""
    until = restored.begun + restored.hold_s
    for each in history:
        if isinstance(each, Led) and restored.begun < each.begun < until and not _was_granted_before(each, restored):
            yield found(Rule.HOLD, each.election, "a leadership began during the hold", [restored, each])
        elif (
            isinstance(each, Answered)
            and (each.what, each.outcome) == ("enter", DONE)
            and each.begun > restored.ended
            and each.ended < until
        ):
            yield found(Rule.HOLD, each.election, "somebody was admitted during the hold", [restored, each])


def check_floor(election: str, told: Iterable[Told], led: Iterable[Led], restored: Restored) -> Iterator[Finding]:
    """All that was told before is below the floor, and all that is told after it is not."""
    for each in told:
        lowest, highest = sorted((each.term.number, each.term.revision))
        if each.ended < restored.ended and highest >= restored.floor:
            what = f"a term from before is not below the floor {restored.floor}"
            yield found(Rule.FLOOR, election, what, [restored, each.entry])
        if each.begun > restored.begun and lowest < restored.floor:
            what = f"a term from after it is below the floor {restored.floor}"
            yield found(Rule.FLOOR, election, what, [restored, each.entry])
    for each in led:
        is_after = each.begun > restored.begun and not _was_granted_before(each, restored)
        if (each.token > restored.floor) != is_after:
            what = f"a token is on the wrong side of the floor {restored.floor}"
            yield found(Rule.FLOOR, election, what, [restored, each])


def _was_granted_before(led: Led, restored: Restored) -> bool:
    """Return whether a leadership may be one that the former store granted, and its client heard of late.

    Its lease counts from when the client asked for it, so that it is over with the hold.
    """
    hold_ends = restored.begun + restored.hold_s
    return led.token <= restored.floor and led.begun < hold_ends and led.until is not None and led.until <= hold_ends
