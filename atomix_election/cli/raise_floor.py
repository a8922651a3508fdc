"""``atomix-election raise-floor``: let no new term of a store in etcd have a token that is lower."""

import argparse

import anyio

from atomix_election.cli.etcd_options import add_etcd_target, opening_etcd


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("token", metavar="TOKEN", type=int, help="the lowest token that may still be given")
    add_etcd_target(parser)


def run(options: argparse.Namespace) -> int:
    """Run it, and return the exit status."""
    floor = anyio.run(_raise, options)
    higher = " as it was raised to before" if floor > options.token else ""
    print(f"new leaders in {options.store} get tokens of {floor} or more{higher}")
    return 0


async def _raise(options: argparse.Namespace) -> int:
    from atomix_election.stores.etcd_restore import raise_floor  # the other commands do not need it

    async with opening_etcd(options) as (etcd, prefix):
        return await raise_floor(etcd, options.token, prefix=prefix)
