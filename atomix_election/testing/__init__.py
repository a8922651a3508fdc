"""For the tests of those who use this package: time that passes at once."""

from atomix_election.testing.clock import VirtualClock as VirtualClock

__all__ = ["VirtualClock"]
