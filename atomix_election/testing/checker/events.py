"""Whether watches were given every change in order, or told that some were left out."""

from collections.abc import Iterable, Iterator

from atomix_election.testing.checker.findings import Finding, Rule, found
from atomix_election.testing.history import Entry, Seen


def check_events(entries: Iterable[Entry]) -> Iterator[Finding]:
    """Return where a watch did not begin with a snapshot, went back, or left something out without a word.

    What comes after the last event that a watch was given is for ``silences``.
    """
    last: dict[tuple[str, str, float], Seen] = {}
    for each in entries:
        if not isinstance(each, Seen):
            continue
        watch = (each.watch, each.election, each.begun)
        before = last.get(watch)
        last[watch] = each
        what = _wrong(before, each)
        if what:
            yield found(Rule.EVENTS, each.election, what, [before, each])


def _wrong(before: Seen | None, event: Seen) -> str:
    """Return what is wrong with an event, or nothing."""
    if before is None:
        return "" if event.snapshot else "a watch began without a snapshot"
    if event.snapshot:
        return "a watch was given a second snapshot"
    if event.term.revision <= before.term.revision:
        return "a watch went back"
    if event.term.revision > before.term.revision + 1 and not event.skipped:
        return "a watch left changes out, and did not say so"
    if event.term.revision == before.term.revision + 1 and event.skipped:
        return "a watch left nothing out, and said that it did"
    return ""
