"""``atomix-election demo``: real processes elect a leader, lose it, and elect the next one."""

import argparse

from atomix_election.cli.options import Commands, add_command
from atomix_election.demo.show import run_demo


def add_to(commands: Commands) -> None:
    """Add the command."""
    add_command(
        commands, "demo", "Show a server and candidates at work; the leader is killed, another takes over.", _run
    )


def _run(_: argparse.Namespace) -> int:
    return run_demo()
