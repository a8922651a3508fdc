"""``atomix-election forget``: remove what a store keeps of an election that is no longer used.

With ``--json`` it prints the term that the election would go on from.
"""

import sys

import anyio

from atomix_election.cli.asking import agrees, check_can_ask
from atomix_election.cli.frame import subcommand
from atomix_election.cli.options import Where, client_options, election_argument, json_option, term_json, yes_option
from atomix_election.cli.term import get_term
from atomix_election.model import Term


@subcommand("forget")
@election_argument
@yes_option
@json_option
@client_options
def command(election: str, where: Where, yes: bool, as_json: bool) -> int:
    """Run it, and return the exit status."""
    if not yes:
        check_can_ask(f"forget {election}")
        term = anyio.run(get_term, where, election)
        if not agrees(f"Forget {election} in namespace {where.namespace}, term {term.number}?"):
            print(f"{election} is kept", file=sys.stderr)
            return 1
    left = anyio.run(_forget, where, election)
    if as_json:
        print(term_json(election, left))
    else:
        print(f"forgot {election}; should it come back, its tokens go on above {left.number}")
    return 0


async def _forget(where: Where, election: str) -> Term:
    call = where.call(election)
    async with where.connecting() as service:
        return await service.forget(call)
