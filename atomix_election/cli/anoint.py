"""``atomix-election anoint``: make a candidate the leader."""

from atomix_election.cli.changing import change_command
from atomix_election.cli.frame import Command
from atomix_election.core.commands import Anoint

command: Command = change_command("anoint", Anoint, lambda service, call, candidate: service.anoint(call, candidate))
