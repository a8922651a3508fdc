"""What each command does to a queue: said here once more, not taken from ``core.election``, which is what is judged.

Queues are those of a term: candidate ids, the leader first.
"""

from collections.abc import Iterator
from typing import NamedTuple

from atomix_election.model import Term

Queue = tuple[str, ...]
ENTER, WITHDRAW, ANOINT, PROMOTE, EVICT = "enter", "withdraw", "anoint", "promote", "evict"
FORGET, CLOSE = "forget", "close"
END = "end"
"""The end of a session, which nobody has to ask for, or what ``close`` does: all of its candidates leave."""
WRITES = frozenset({ENTER, WITHDRAW, ANOINT, PROMOTE, EVICT, FORGET, CLOSE})


class Change(NamedTuple):
    """What may have made one term of the one before it.

    Args:
        what: a command, or END.
        candidates: whom it was about.
        anew: whether somebody leads anew by it, and so under another number.
    """

    what: str
    candidates: tuple[str, ...]
    anew: bool


def queue_after(what: str, candidate: str, queue: Queue, *, own: bool) -> Queue | None:
    """Return the queue after a command, or None where it is refused.

    Args:
        what: the command.
        candidate: whom it names.
        queue: before it.
        own: whether the candidate that is there was entered by the session of the command. An enter takes the place of
            that of another session, which has ended then; a withdraw is refused.
    """
    rest = tuple(each for each in queue if each != candidate)
    present = len(rest) < len(queue)
    match what:
        case "enter":
            return queue if present and own else (*rest, candidate)
        case "withdraw":
            return None if present and not own else rest
        case "evict":
            return rest if present else None
        case "anoint":
            return (candidate, *rest) if present else None
        case "promote":
            place = max(queue.index(candidate) - 1, 0) if present else 0
            return (*rest[:place], candidate, *rest[place:]) if present else None
        case _:
            return queue


def changes(before: Queue, after: Queue) -> list[Change]:
    """Return what may have made one queue of another, in one step that raises the revision."""
    found: list[Change] = []
    for what, candidate, own in _suggested(before, after):
        if queue_after(what, candidate, before, own=own) == after:
            again = what == ENTER and before[:1] == (candidate,)
            found.append(Change(what, (candidate,), bool(after) and (again or before[:1] != after[:1])))
    gone = tuple(each for each in before if each not in after)
    if gone and after == tuple(each for each in before if each in after):
        found.append(Change(END, gone, bool(after) and before[:1] != after[:1]))
    if not before and not after:
        found.append(Change(FORGET, (), False))
    return found


def _suggested(before: Queue, after: Queue) -> Iterator[tuple[str, str, bool]]:
    """Suggest commands; those that make something else of it are left out afterwards."""
    if len(after) > len(before):
        yield ENTER, after[-1], False
    elif len(after) < len(before):
        (gone, *others) = set(before).difference(after)
        if not others:
            yield WITHDRAW, gone, True
            yield EVICT, gone, True
    elif after:
        place = next((place for place, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]), -1)
        yield ENTER, before[place], False  # the last one, where nothing is to be seen of it
        if place >= 0:
            yield ANOINT, after[0], True
            yield PROMOTE, after[place], True


def number_fits(before: int, after: int, *, anew: bool, jumps: bool) -> bool:
    """Return whether a number follows another: by one where somebody leads anew, or by more where numbers jump."""
    if not anew:
        return after == before
    return after > before if jumps else after == before + 1


def changes_nothing(what: str, candidate: str, queue: Queue, *, own: bool) -> bool:
    """Return whether a command is carried out without any change where this is the queue."""
    match what:
        case "forget":
            return not queue
        case "close":
            return not own
        case _:
            return queue_after(what, candidate, queue, own=own) == queue


def may_leave(what: str, candidate: str, queue: Queue) -> bool:
    """Return whether a command that changes something can leave this queue, whatever was there before it."""
    match what:
        case "enter":
            return queue[-1:] == (candidate,)
        case "withdraw" | "evict":
            return candidate not in queue
        case "anoint":
            return queue[:1] == (candidate,)
        case "promote":
            return candidate in queue
        case _:
            return False


def refused(error: str, candidate: str, term: Term, *, others: bool) -> bool:
    """Return whether a refusal is right where this is the term.

    Args:
        error: the name of the refusal.
        candidate: whom the command named.
        term: then.
        others: whether the candidate may belong to another session; of CandidateTaken: which is open.
    """
    present = candidate in term.candidates
    return not present if error == "NotACandidate" else present and others


REFUSALS = frozenset({"NotACandidate", "CandidateTaken", "NotOwner"})
"""Those that say something of the queue."""
