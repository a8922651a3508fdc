"""``atomix-election migrate``: move the elections of an SQLite file into etcd, with tokens that keep growing."""

import argparse

import anyio

from atomix_election.addresses import path_of_file
from atomix_election.cli.copying import Report
from atomix_election.cli.etcd_options import add_etcd_target, opening_etcd


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("source", metavar="SQLITE_STORE", help="the file: a path, or sqlite:///FILE")
    add_etcd_target(parser)


def run(options: argparse.Namespace) -> int:
    """Run it, and return the exit status."""
    source = path_of_file(options.source)
    if anyio.run(_move, source, options):
        print(f"moved the elections of {source} to {options.store}, without anybody in them; their tokens go on there")
    else:
        print(f"the elections of {source} were moved to {options.store} before: there was nothing left to do")
    print(f"serve {options.store}; {source} is marked, and no server takes it for a store any more")
    return 0


async def _move(source: str, options: argparse.Namespace) -> bool:
    from atomix_election.stores.sqlite_move import leaving_file  # the other commands do not need these
    from atomix_election.stores.sqlite_to_etcd import move

    async with opening_etcd(options) as (etcd, prefix):
        with leaving_file(source) as file, Report("moved", "elections") as report:
            return await move(file, etcd, options.store, prefix=prefix, progress=report)
