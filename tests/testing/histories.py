"""Histories as text, a record in each line, for tests of the checker.

1-2  A: enter a -> 1/1 a        a call of a client with a session of its name: to term 1, revision 1, candidates a
2-3  b: evict a -> NotACandidate   of one without a session; with ``#4`` before the arrow, numbered 4
3-   A: withdraw a              one that never ended
3-4  A: close -> done           one without a term
1-2  A: renewed 6               a renewal of its session, for 6 s, and ``opens`` it; ``over``: it had ended
1-2  A/2: enter a -> 1/1 a      with another session of the same client
2-3  w: snapshot 1/1 a          of a watch that was opened at 2; then: change 1/2 a b, or skipped 1/4 a, at a time, or
                                from when it was waited for to when it came
5-9  w: waits                   for the next one, which does not come; the watch ``A/1`` is one of A's
1-4  A: leads 1                 under a token; ``lost EXPIRED`` and ``until 9``, its deadline, may follow
1-4  A: wants                   to lead
5    A: gone 6                  with its time-to-live
1-9  -: up, or the name of a fault; ``A: stopped`` is one of a client
5-7  -: emptied                 the store was lost with its server
5-6  -: restored 100 10         above a floor, with a hold of 10 s
"""

import re
from dataclasses import replace
from math import inf

from atomix_election import Term
from atomix_election.testing.history import (
    DONE,
    Called,
    Emptied,
    Entry,
    Fault,
    Gone,
    Led,
    Renewed,
    Restored,
    Seen,
    Stood,
    Up,
    Waited,
)

TTL_S = 6.0
_LINE = re.compile(r"([\d.]+)(-?)([\d.]*) +(\S+): (.+)")
_COMMANDS = {"enter", "withdraw", "anoint", "promote", "evict", "forget", "get_term", "create", "close", "end_session"}


def history(text: str, election: str = "e") -> list[Entry]:
    """Return the records of a text; the order of its lines is that of the records."""
    opened: dict[str, float] = {}
    return [_record(line.strip(), election, opened) for line in text.splitlines() if line.strip()]


def term(text: str) -> Term:
    """Return a term."""
    numbers, *candidates = text.split()
    number, revision = numbers.split("/")
    return Term(tuple(candidates), int(number), int(revision))


def _record(line: str, election: str, opened: dict[str, float]) -> Entry:
    match = _LINE.fullmatch(line)
    assert match, line
    begun, who, what = float(match[1]), match[4], match[5]
    ended = float(match[3]) if match[3] else inf if match[2] else begun
    kind, *rest = what.split()
    if kind in ("snapshot", "change", "skipped"):
        since = opened.setdefault(who, begun)
        seen = Seen(
            who.replace("/", " "), election, since, ended, term(" ".join(rest)), kind == "snapshot", kind == "skipped"
        )
        return replace(seen, since=begun) if match[2] else seen
    if kind == "waits":
        return Waited(who.replace("/", " "), election, opened[who], begun, ended)
    if kind in _COMMANDS:
        return _call(begun, ended, who, what, election)
    return _other(begun, ended, who, kind, rest, election)


def _call(begun: float, ended: float, who: str, what: str, election: str) -> Entry:
    asked, _, answer = (part.strip() for part in what.partition("->"))
    command, *named = asked.split()
    operation = int(named.pop()[1:]) if named and named[-1].startswith("#") else None
    where = "" if command == "end_session" else election
    client = who.partition("/")[0]
    called = Called(client, command, where, "".join(named), begun, who if who.isupper() else "", operation)
    if not answer:
        return called
    if "/" in answer:
        return called.answered(ended, DONE, term(answer))
    return called.answered(ended, answer)


def _other(begun: float, ended: float, who: str, kind: str, rest: list[str], election: str) -> Entry:
    until = None if ended == inf else ended
    match kind:
        case "renewed" | "over":
            ttl_s = float(rest[0]) if rest else 0.0
            return Renewed(
                who.partition("/")[0], who, begun, ended, ttl_s, kind == "renewed", "releases" in rest, "opens" in rest
            )
        case "leads":
            led = Led(who, election, who.lower(), int(rest[0]), TTL_S, begun, until)
            words = dict(zip(rest[1::2], rest[2::2], strict=True))
            return replace(led, lost=words.get("lost", ""), deadline=float(words.get("until", inf)))
        case "wants":
            return Stood(who, election, begun, until)
        case "gone":
            return Gone(who, float(rest[0]), begun)
        case "restored":
            return Restored(begun, ended, float(rest[1]), int(rest[0]))
        case "emptied":
            return Emptied(begun, ended)
        case "up":
            return Up(begun, ended)
        case _:
            return Fault(" ".join([kind, *rest]), begun, ended, "" if who == "-" else who)
