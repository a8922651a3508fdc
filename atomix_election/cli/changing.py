"""What anoint, promote and evict have in common: the queue is shown as it would be, and somebody agrees.

With ``--json`` they print the term after it, as ``term`` does.
"""

import sys
from collections.abc import Awaitable, Callable, Iterator
from itertools import zip_longest

import anyio
import click

from atomix_election.cli.asking import agrees, check_can_ask
from atomix_election.cli.frame import Command, subcommand
from atomix_election.cli.options import (
    Where,
    client_options,
    election_argument,
    json_option,
    term_json,
    term_line,
    yes_option,
)
from atomix_election.cli.statuses import DONE, FAILED
from atomix_election.cli.term import get_term
from atomix_election.core.commands import Anoint, Evict, Promote
from atomix_election.core.election import Election, apply
from atomix_election.model import Candidate, SessionId, Term, check_candidate_id
from atomix_election.service import Call, Service

SHOWN = 10
"""Places of a queue that are shown beside the first one."""

Change = Anoint | Promote | Evict
Send = Callable[[Service, Call, str], Awaitable[Term]]

_MORE = (
    "On a terminal it shows the queue as it is and as it would be, and asks. The queue may change between the question "
    "and the answer; what is printed is the queue after it."
)


def change_command(name: str, change: Callable[[str], Change], send: Send) -> Command:
    """Return a command that changes a queue.

    Args:
        name: as it stands in ``COMMANDS``.
        change: makes the core's command of the id of a candidate.
        send: does it.
    """

    @subcommand(name, _MORE)
    @election_argument
    @click.argument("candidate", metavar="CANDIDATE", help="id of the candidate")
    @yes_option
    @json_option
    @client_options
    def command(election: str, candidate: str, where: Where, yes: bool, as_json: bool) -> int:
        call = where.call(election)
        check_candidate_id(candidate)
        if not yes and not _agree(f"{name} {candidate} in {election}", where, call, change(candidate)):
            print(f"{election} stays as it is", file=sys.stderr)
            return FAILED
        term = anyio.run(_change, where, call, candidate, send)
        print(term_json(election, term) if as_json else f"{election}: {term_line(term)}")
        return DONE

    return command


def resulting(term: Term, change: Change) -> Term:
    """Return the term that a change leads to; its number is the least that it can have.

    Raises:
        NotACandidate: there is none of that id.
    """
    # Whose session is whose does not matter to these rules.
    candidates = tuple([Candidate(each, SessionId("", each, 0)) for each in term.candidates])
    transition = apply(Election(candidates, term.number, term.revision), change)
    if transition.refusal is not None:
        raise transition.refusal
    return transition.election.term


def preview(before: Term, after: Term) -> Iterator[str]:
    """Say in lines how a queue changes: its first place, and those around the first one that differs."""
    queues = list(zip_longest(before.candidates, after.candidates, fillvalue="-"))
    first = next(place for place, (now, then) in enumerate(queues) if now != then)
    last = min(len(queues), first + SHOWN)
    places = sorted({0, *range(max(first - 1, 0), last)})
    width = max(len("NOW"), *(len(queues[place][0]) for place in places))
    yield f"      {'NOW':{width}}  THEN"
    for place, following in zip_longest(places, places[1:], fillvalue=last):
        now, then = queues[place]
        yield f"{place + 1:4}  {now:{width}}  {then}"
        if following > place + 1:
            yield f"      ({following - place - 1} more)"
    if len(queues) > last:
        yield f"      ({len(queues) - last} more)"
    if after.leader == before.leader:
        yield f"{after.leader} keeps the lead"
    elif after.leader is None:
        yield "nobody leads then"
    else:
        yield f"{after.leader} takes the lead from {before.leader}, under a new token"


def _agree(what: str, where: Where, call: Call, change: Change) -> bool:
    """Show what would come of it, and ask, unless nothing would."""
    check_can_ask(what)
    before = anyio.run(get_term, where, call.election)
    after = resulting(before, change)
    if after == before:
        return True
    print("\n".join(preview(before, after)), file=sys.stderr)
    return agrees(f"{what[:1].upper()}{what[1:]}, namespace {call.namespace}?")


async def _change(where: Where, call: Call, candidate: str, send: Send) -> Term:
    async with where.connecting() as service:
        return await send(service, call, candidate)
