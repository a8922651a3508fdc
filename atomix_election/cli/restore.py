"""``atomix-election restore``: make a store of a backup, whose tokens are above all that were ever given."""

import argparse

from atomix_election.addresses import path_of_file
from atomix_election.cli.copying import Report
from atomix_election.cli.restoring import ahead_until


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("backup", metavar="BACKUP", help="the backup: a path, or sqlite:///FILE")
    parser.add_argument("destination", metavar="DEST", help="where the store is to be; nothing may be there")
    parser.add_argument(
        "--replaces",
        metavar="STORE",
        action="append",
        default=[],
        help="the file of a former store, or another backup, where there is one that can be read; may be given several "
        "times: the new store begins above its tokens too, and is refused while a server uses that file",
    )
    parser.add_argument(
        "--above",
        metavar="TOKEN",
        type=int,
        help="the highest token that any store of these elections has ever given: only where the clock of this machine "
        "cannot be relied on, and dangerous where a higher one was given",
    )


def run(options: argparse.Namespace) -> int:
    """Run it, and return the exit status."""
    from atomix_election.stores.sqlite_backup import restore  # the other commands do not need it

    backup, destination = path_of_file(options.backup), path_of_file(options.destination)
    replaced = [path_of_file(each) for each in options.replaces]
    with Report() as report:
        floors = restore(backup, destination, replaced=replaced, above=options.above, progress=report)
    print(f"restored {backup} to {destination}")
    print(f"its tokens begin above {floors.number}; its server admits nobody for one maximum time-to-live")
    print(
        "serve this store and no other one of these elections: what was restored last has the highest tokens; where "
        "another one was served later, restore again and name it with --replaces"
    )
    until = ahead_until(floors.number)
    if until is not None:
        print(
            f"that is ahead of the clock: until {until}, name {destination} with --replaces in each restore, and give "
            "the highest token with --above"
        )
    return 0
