"""``atomix-election watch``: print each change of an election as it comes."""

import argparse
import logging
import time

import anyio

from atomix_election.cli.options import add_client_options, call_of, connecting, term_json
from atomix_election.model import Event


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_client_options(parser)


def run(options: argparse.Namespace) -> int:
    """Run it, and return the exit status."""
    logging.basicConfig(level=logging.INFO, format="atomix-election: %(message)s")  # interruptions, to stderr
    anyio.run(_watch, options)
    return 0


async def _watch(options: argparse.Namespace) -> None:
    call = call_of(options)
    async with connecting(options) as service, service.events(call) as events:
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
