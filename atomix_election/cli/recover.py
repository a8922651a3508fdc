"""``atomix-election recover``: confirm a restore of etcd from a snapshot, and raise all tokens above those given."""

import argparse

import anyio

from atomix_election.cli.etcd_options import add_etcd_target, opening_etcd
from atomix_election.cli.restoring import ahead_until
from atomix_election.cli.values import seconds
from atomix_election.clock import wall_clock_s
from atomix_election.core.floors import Floors
from atomix_election.model import MIN_SESSION_TTL_S

DEFAULT_WAIT_S = 12.0
"""Longer than a server counts that was killed, or is only in the snapshot."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_etcd_target(parser)
    parser.add_argument(
        "--above",
        metavar="TOKEN",
        type=int,
        help="the highest token that was ever given in these elections: only where the clock of this machine cannot be "
        "relied on, and dangerous where a higher one was given",
    )
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=seconds,
        default=DEFAULT_WAIT_S,
        help="how long to wait for servers that are registered in the snapshot, default %(default)s; those that run "
        "are to be stopped",
    )


def run(options: argparse.Namespace) -> int:
    """Run it, and return the exit status."""
    store_id, floors = anyio.run(_recover, options)
    print(f"recovered {options.store}, which is store {store_id} from now on, without anybody in its elections")
    print(f"its tokens begin above {floors.number}; its servers admit nobody for one maximum time-to-live")
    until = ahead_until(floors.number)
    if until is not None:
        print(
            f"that is ahead of the clock: until {until}, give the highest token, --above, each time they are recovered"
        )
    return 0


async def _recover(options: argparse.Namespace) -> tuple[str, Floors]:
    from atomix_election.stores.etcd_restore import known_floors, longest_ttl_s, recover, wait_until_unused
    from atomix_election.stores.restored import check_token, restored_floors

    check_token(options.above)
    async with opening_etcd(options) as (etcd, prefix):
        await wait_until_unused(etcd, prefix=prefix, within_s=options.wait)
        hold_s = max(await longest_ttl_s(etcd, prefix=prefix), MIN_SESSION_TTL_S)
        known = await known_floors(etcd, prefix=prefix)
        floors = restored_floors(known, int(wall_clock_s() * 1000), above=options.above)
        return await recover(etcd, floors, hold_s=hold_s, prefix=prefix), floors
