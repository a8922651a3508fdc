"""``atomix-election watch``: print each change of an election as it comes."""

import argparse
import time

import anyio

from atomix_election.cli.options import Commands, add_client_options, add_command, term_json
from atomix_election.client import connect
from atomix_election.model import Event


def add_to(commands: Commands) -> None:
    """Add the command."""
    add_client_options(add_command(commands, "watch", "Print the term of an election, and each change of it.", _run))


def _run(options: argparse.Namespace) -> int:
    anyio.run(_watch, options.election, options.target, options.namespace, options.json)
    return 0


async def _watch(election: str, target: str, namespace: str, as_json: bool) -> None:
    async with connect(target, namespace=namespace) as client, client.election(election).events() as events:
        async for event in events:
            print(term_json(election, event.term, type=event.type.name) if as_json else _line(event), flush=True)


def _line(event: Event) -> str:
    term = event.term
    leader = f"{term.leader} leads" if term.leader else "nobody leads"
    waiting = f", waiting: {', '.join(term.candidates[1:])}" if term.candidates[1:] else ""
    return f"{time.strftime('%H:%M:%S')}  term {term.number} revision {term.revision}  {leader}{waiting}"
