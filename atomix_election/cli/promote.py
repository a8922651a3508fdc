"""``atomix-election promote``: move a candidate one place forward."""

from atomix_election.cli.changing import change_command
from atomix_election.cli.frame import Command
from atomix_election.core.commands import Promote

command: Command = change_command("promote", Promote, lambda service, call, candidate: service.promote(call, candidate))
