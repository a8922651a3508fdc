"""``atomix-election term``: print the current term of an election."""

import anyio

from atomix_election.cli.frame import subcommand
from atomix_election.cli.options import Where, client_options, election_argument, json_option, term_json
from atomix_election.model import Term


@subcommand("term")
@election_argument
@json_option
@client_options
def command(election: str, where: Where, as_json: bool) -> int:
    """Run it, and return the exit status."""
    term = anyio.run(get_term, where, election)
    if as_json:
        print(term_json(election, term))
        return 0
    print(f"election  {election}")
    print(f"leader    {term.leader or '(nobody)'}")
    print(f"waiting   {', '.join(term.candidates[1:]) or '(nobody)'}")
    print(f"term      {term.number}")
    print(f"revision  {term.revision}")
    return 0


async def get_term(where: Where, election: str) -> Term:
    """Return the current term."""
    call = where.call(election)
    async with where.connecting() as service:
        return await service.get_term(call)
