"""``atomix-election evict``: remove a candidate."""

from atomix_election.cli.changing import change_command
from atomix_election.cli.frame import Command
from atomix_election.core.commands import Evict

command: Command = change_command("evict", Evict, lambda service, call, candidate: service.evict(call, candidate))
