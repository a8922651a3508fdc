"""``atomix-election recover``: confirm a restore of etcd from a snapshot, and raise all tokens above those given.

With ``--json`` it prints one object; ``ahead_until`` is null unless tokens are ahead of the clock, and else when the
clock reaches them, in ISO 8601 and UTC::

    {"store": str, "store_id": str, "tokens_above": int, "ahead_until": str or null}
"""

import json

import anyio
import click

from atomix_election.cli.etcd_options import EtcdOptions, etcd_argument, etcd_options
from atomix_election.cli.frame import Option, subcommand
from atomix_election.cli.options import json_option
from atomix_election.cli.restoring import ahead_until
from atomix_election.cli.values import seconds
from atomix_election.clock import wall_clock_s
from atomix_election.core.floors import Floors
from atomix_election.model import MIN_SESSION_TTL_S

DEFAULT_WAIT_S = 12.0
"""Longer than a server counts that was killed, or is only in the snapshot."""


@subcommand("recover")
@etcd_argument
@click.option(
    "--above",
    cls=Option,
    metavar="TOKEN",
    type=int,
    help="the highest token that was ever given in these elections: only where the clock of this machine cannot be "
    "relied on, and dangerous where a higher one was given",
)
@click.option(
    "--wait",
    "wait_s",
    cls=Option,
    metavar="SECONDS",
    type=seconds,
    default=DEFAULT_WAIT_S,
    show_default=True,
    help="how long to wait for servers that are registered in the snapshot; those that run are to be stopped",
)
@json_option
@etcd_options
def command(store: str, etcd: EtcdOptions, above: int | None, wait_s: float, as_json: bool) -> int:
    """Run it, and return the exit status."""
    store_id, floors = anyio.run(_recover, store, etcd, above, wait_s)
    until = ahead_until(floors.number)
    if as_json:
        about = {"store": store, "store_id": store_id, "tokens_above": floors.number, "ahead_until": until}
        print(json.dumps(about))
        return 0
    print(f"recovered {store}, which is store {store_id} from now on, without anybody in its elections")
    print(f"its tokens begin above {floors.number}; its servers admit nobody for one maximum time-to-live")
    if until is not None:
        print(
            f"that is ahead of the clock: until {until}, give the highest token, --above, each time they are recovered"
        )
    return 0


async def _recover(store: str, etcd: EtcdOptions, above: int | None, wait_s: float) -> tuple[str, Floors]:
    from atomix_election.stores.etcd_restore import known_floors, longest_ttl_s, recover, wait_until_unused
    from atomix_election.stores.restored import check_token, restored_floors

    check_token(above)
    async with etcd.opening(store) as (client, prefix):
        await wait_until_unused(client, prefix=prefix, within_s=wait_s)
        hold_s = max(await longest_ttl_s(client, prefix=prefix), MIN_SESSION_TTL_S)
        known = await known_floors(client, prefix=prefix)
        floors = restored_floors(known, int(wall_clock_s() * 1000), above=above)
        return await recover(client, floors, hold_s=hold_s, prefix=prefix), floors
