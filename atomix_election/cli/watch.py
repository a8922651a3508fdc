"""``atomix-election watch``: print each change of an election as it comes."""

import argparse
import logging
import time

import anyio

from atomix_election.cli.options import Commands, add_client_options, add_command, connecting, term_json
from atomix_election.model import Event


def add_to(commands: Commands) -> None:
    """Add the command."""
    add_client_options(add_command(commands, "watch", "Print the term of an election, and each change of it.", _run))


def _run(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="atomix-election: %(message)s")  # interruptions, to stderr
    anyio.run(_watch, options)
    return 0


async def _watch(options: argparse.Namespace) -> None:
    async with connecting(options) as client, client.election(options.election).events() as events:
        async for event in events:
            if options.json:
                print(term_json(options.election, event.term, type=event.type.name), flush=True)
            else:
                print(_line(event), flush=True)


def _line(event: Event) -> str:
    term = event.term
    leader = f"{term.leader} leads" if term.leader else "nobody leads"
    waiting = f", waiting: {', '.join(term.candidates[1:])}" if term.candidates[1:] else ""
    return f"{time.strftime('%H:%M:%S')}  term {term.number} revision {term.revision}  {leader}{waiting}"
