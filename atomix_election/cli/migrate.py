"""``atomix-election migrate``: move the elections of an SQLite file into etcd, with tokens that keep growing.

With ``--json`` it prints one object, whose ``moved`` is false where they had been moved before::

    {"source": str, "store": str, "moved": bool}
"""

import json

import anyio
import click

from atomix_election.addresses import path_of_file
from atomix_election.cli.copying import Report
from atomix_election.cli.etcd_options import EtcdOptions, etcd_argument, etcd_options
from atomix_election.cli.frame import subcommand
from atomix_election.cli.options import json_option


@subcommand("migrate")
@click.argument("source", metavar="SQLITE_STORE", help="the file: a path, or sqlite:///FILE")
@etcd_argument
@json_option
@etcd_options
def command(source: str, store: str, etcd: EtcdOptions, as_json: bool) -> int:
    """Run it, and return the exit status."""
    source = path_of_file(source)
    moved = anyio.run(_move, source, store, etcd)
    if as_json:
        print(json.dumps({"source": source, "store": store, "moved": moved}))
        return 0
    if moved:
        print(f"moved the elections of {source} to {store}, without anybody in them; their tokens go on there")
    else:
        print(f"the elections of {source} were moved to {store} before: there was nothing left to do")
    print(f"serve {store}; {source} is marked, and no server takes it for a store any more")
    return 0


async def _move(source: str, store: str, etcd: EtcdOptions) -> bool:
    from atomix_election.stores.sqlite_move import leaving_file  # needed by nothing that only reads help
    from atomix_election.stores.sqlite_to_etcd import move

    async with etcd.opening(store) as (client, prefix):
        with leaving_file(source) as file, Report("moved", "elections") as report:
            return await move(file, client, store, prefix=prefix, progress=report)
