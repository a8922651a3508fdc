"""A demonstration with real processes: ``atomix-election demo``."""

from atomix_election.demo.show import run_demo as run_demo

__all__ = ["run_demo"]
