"""``atomix-election restore``: make a store of a backup, whose tokens are above all that were ever given."""

import argparse

from atomix_election.cli.copying import Report
from atomix_election.cli.options import Commands, add_command
from atomix_election.targets import path_of_file


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(commands, "restore", "Make a new store of a backup, without anybody in its elections.", _run)
    parser.add_argument("backup", metavar="BACKUP", help="the backup: a path, or sqlite:///FILE")
    parser.add_argument("destination", metavar="DEST", help="where the store is to be; nothing may be there")
    parser.add_argument(
        "--above",
        metavar="TOKEN",
        type=int,
        default=0,
        help="the highest token that is known to have been given: needed where another copy of this backup may have "
        "been restored before, as this one does not know of it",
    )


def _run(options: argparse.Namespace) -> int:
    from atomix_election.stores.sqlite_backup import restore  # the other commands do not need it

    backup, destination = path_of_file(options.backup), path_of_file(options.destination)
    with Report() as report:
        floors = restore(backup, destination, tokens_seen=options.above, progress=report)
    print(f"restored {backup} to {destination}")
    print(f"its tokens begin above {floors.number}; its server admits nobody for one maximum time-to-live")
    return 0
