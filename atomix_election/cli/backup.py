"""``atomix-election backup``: copy a store's file while its server goes on."""

import argparse

from atomix_election.addresses import path_of_file
from atomix_election.cli.copying import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("source", metavar="SOURCE", help="the store: a path, or sqlite:///FILE")
    parser.add_argument("destination", metavar="DEST", help="where the backup is to be; nothing may be there")


def run(options: argparse.Namespace) -> int:
    """Run it, and return the exit status."""
    from atomix_election.stores.sqlite_backup import back_up  # the other commands do not need it

    source, destination = path_of_file(options.source), path_of_file(options.destination)
    with Report() as report:
        back_up(source, destination, report)
    print(f"backed up {source} to {destination}")
    return 0
