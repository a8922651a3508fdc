"""A command that runs only while this process leads: what ``atomix-election run`` is made of."""

from atomix_election.supervise.probe import serve_probe as serve_probe
from atomix_election.supervise.rules import LOST as LOST
from atomix_election.supervise.rules import Lease as Lease
from atomix_election.supervise.rules import Mode as Mode
from atomix_election.supervise.rules import Phase as Phase
from atomix_election.supervise.runner import Plan as Plan
from atomix_election.supervise.runner import Runner as Runner
from atomix_election.supervise.runner import Status as Status

__all__ = ["LOST", "Lease", "Mode", "Phase", "Plan", "Runner", "Status", "serve_probe"]
