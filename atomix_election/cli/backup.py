"""``atomix-election backup``: copy a store's file while its server goes on."""

import argparse

from atomix_election.cli.copying import Report
from atomix_election.cli.options import Commands, add_command
from atomix_election.targets import path_of_file


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(commands, "backup", "Copy the file of a store, also while a server uses it.", _run)
    parser.add_argument("source", metavar="SOURCE", help="the store: a path, or sqlite:///FILE")
    parser.add_argument("destination", metavar="DEST", help="where the backup is to be; nothing may be there")


def _run(options: argparse.Namespace) -> int:
    from atomix_election.stores.sqlite_backup import back_up  # the other commands do not need it

    source, destination = path_of_file(options.source), path_of_file(options.destination)
    with Report() as report:
        back_up(source, destination, report)
    print(f"backed up {source} to {destination}")
    return 0
