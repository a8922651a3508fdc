"""``atomix-election term``: print the current term of an election."""

import argparse

import anyio

from atomix_election.cli.options import Commands, add_client_options, add_command, connecting, term_json
from atomix_election.model import Term


def add_to(commands: Commands) -> None:
    """Add the command."""
    add_client_options(add_command(commands, "term", "Print who leads an election, who waits, and the token.", _run))


def _run(options: argparse.Namespace) -> int:
    term = anyio.run(_get_term, options)
    if options.json:
        print(term_json(options.election, term))
        return 0
    print(f"election  {options.election}")
    print(f"leader    {term.leader or '(nobody)'}")
    print(f"waiting   {', '.join(term.candidates[1:]) or '(nobody)'}")
    print(f"term      {term.number}")
    print(f"revision  {term.revision}")
    return 0


async def _get_term(options: argparse.Namespace) -> Term:
    async with connecting(options) as client:
        return await client.election(options.election).get_term()
