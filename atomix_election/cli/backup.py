"""``atomix-election backup``: copy a store's file while its server goes on.

With ``--json`` it prints one object::

    {"source": str, "destination": str}
"""

import json

import click

from atomix_election.addresses import path_of_file
from atomix_election.cli.copying import Report
from atomix_election.cli.frame import subcommand
from atomix_election.cli.options import json_option


@subcommand("backup")
@click.argument("source", metavar="SOURCE", help="the store: a path, or sqlite:///FILE")
@click.argument("destination", metavar="DEST", help="where the backup is to be; nothing may be there")
@json_option
def command(source: str, destination: str, as_json: bool) -> int:
    """Run it, and return the exit status."""
    from atomix_election.stores.sqlite_backup import back_up  # needed by nothing that only reads help

    source, destination = path_of_file(source), path_of_file(destination)
    with Report() as report:
        back_up(source, destination, report)
    if as_json:
        print(json.dumps({"source": source, "destination": destination}))
    else:
        print(f"backed up {source} to {destination}")
    return 0
