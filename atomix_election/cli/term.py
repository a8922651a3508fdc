"""``atomix-election term``: print the current term of an election."""

import argparse

import anyio

from atomix_election.cli.options import add_client_options, call_of, connecting, term_json
from atomix_election.model import Term


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_client_options(parser)


def run(options: argparse.Namespace) -> int:
    """Run it, and return the exit status."""
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
    call = call_of(options)
    async with connecting(options) as service:
        return await service.get_term(call)
