"""``atomix-election raise-floor``: let no new term of a store in etcd have a token that is lower.

With ``--json`` it prints one object, with the lowest token that may still be given::

    {"store": str, "floor": int}
"""

import json

import anyio
import click

from atomix_election.cli.etcd_options import EtcdOptions, etcd_argument, etcd_options
from atomix_election.cli.frame import subcommand
from atomix_election.cli.options import json_option


@subcommand("raise-floor")
@click.argument("token", metavar="TOKEN", type=int, help="the lowest token that may still be given")
@etcd_argument
@json_option
@etcd_options
def command(token: int, store: str, etcd: EtcdOptions, as_json: bool) -> int:
    """Run it, and return the exit status."""
    floor = anyio.run(_raise, token, store, etcd)
    if as_json:
        print(json.dumps({"store": store, "floor": floor}))
        return 0
    higher = " as it was raised to before" if floor > token else ""
    print(f"new leaders in {store} get tokens of {floor} or more{higher}")
    return 0


async def _raise(token: int, store: str, etcd: EtcdOptions) -> int:
    from atomix_election.stores.etcd_restore import raise_floor  # needed by nothing that only reads help

    async with etcd.opening(store) as (client, prefix):
        return await raise_floor(client, token, prefix=prefix)
