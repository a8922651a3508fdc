"""``atomix-election restore``: make a store of a backup, whose tokens are above all that were ever given.

With ``--json`` it prints one object; ``ahead_until`` is null unless tokens are ahead of the clock, and else when the
clock reaches them, in ISO 8601 and UTC::

    {"backup": str, "destination": str, "tokens_above": int, "ahead_until": str or null}
"""

import json

import click

from atomix_election.addresses import path_of_file
from atomix_election.cli.copying import Report
from atomix_election.cli.frame import Option, subcommand
from atomix_election.cli.options import json_option
from atomix_election.cli.restoring import ahead_until


@subcommand("restore")
@click.argument("backup", metavar="BACKUP", help="the backup: a path, or sqlite:///FILE")
@click.argument("destination", metavar="DEST", help="where the store is to be; nothing may be there")
@click.option(
    "--replaces",
    cls=Option,
    metavar="STORE",
    multiple=True,
    help="the file of a former store, or another backup, where there is one that can be read; may be given several "
    "times: the new store begins above its tokens too, and is refused while a server uses that file",
)
@click.option(
    "--above",
    cls=Option,
    metavar="TOKEN",
    type=int,
    help="the highest token that any store of these elections has ever given: only where the clock of this machine "
    "cannot be relied on, and dangerous where a higher one was given",
)
@json_option
def command(backup: str, destination: str, replaces: tuple[str, ...], above: int | None, as_json: bool) -> int:
    """Run it, and return the exit status."""
    from atomix_election.stores.sqlite_backup import restore  # needed by nothing that only reads help

    backup, destination = path_of_file(backup), path_of_file(destination)
    replaced = [path_of_file(each) for each in replaces]
    with Report() as report:
        floors = restore(backup, destination, replaced=replaced, above=above, progress=report)
    until = ahead_until(floors.number)
    if as_json:
        about = {"backup": backup, "destination": destination, "tokens_above": floors.number, "ahead_until": until}
        print(json.dumps(about))
    else:
        _print(backup, destination, floors.number, until)
    return 0


def _print(backup: str, destination: str, number: int, until: str | None) -> None:
    print(f"restored {backup} to {destination}")
    print(f"its tokens begin above {number}; its server admits nobody for one maximum time-to-live")
    print(
        "serve this store and no other one of these elections: what was restored last has the highest tokens; where "
        "another one was served later, restore again and name it with --replaces"
    )
    if until is not None:
        print(
            f"that is ahead of the clock: until {until}, name {destination} with --replaces in each restore, and give "
            "the highest token with --above"
        )
