"""``atomix-election forget``: remove what a store keeps of an election that is no longer used."""

import argparse
import sys

import anyio

from atomix_election.cli.options import add_client_options, call_of, connecting, term_json
from atomix_election.errors import InvalidRequest
from atomix_election.model import Term


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_client_options(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask; needed where nobody can be asked")


def run(options: argparse.Namespace) -> int:
    """Run it, and return the exit status."""
    if not options.yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise InvalidRequest(f"forget {options.election} needs --yes where nobody can be asked")
        term = anyio.run(_get_term, options)
        where = f"{options.election} in namespace {options.namespace}"
        print(f"Forget {where}, term {term.number}? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            print(f"{options.election} is kept", file=sys.stderr)
            return 1
    left = anyio.run(_forget, options)
    if options.json:
        print(term_json(options.election, left))
    else:
        print(f"forgot {options.election}; should it come back, its tokens go on above {left.number}")
    return 0


async def _get_term(options: argparse.Namespace) -> Term:
    call = call_of(options)
    async with connecting(options) as service:
        return await service.get_term(call)


async def _forget(options: argparse.Namespace) -> Term:
    call = call_of(options)
    async with connecting(options) as service:
        return await service.forget(call)
