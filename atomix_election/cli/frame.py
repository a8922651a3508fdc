"""What carries the commands: finds the one that is asked for, and says how it ended."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar

import click

from atomix_election.cli import COMMANDS, PROGRAM
from atomix_election.cli.statuses import FAILED, INTERRUPTED, STATUSES, status_of
from atomix_election.errors import ElectionError

COMPLETING = "_ATOMIX_ELECTION_COMPLETE"
"""The variable by which the script of a shell asks for completions."""


class Option(click.Option):
    """An option of a command.

    Args:
        section: under which title help shows it.
        declarations, more: see ``click.Option``.
    """

    def __init__(self, *declarations: Any, section: str = "Options", **more: Any) -> None:
        super().__init__(*declarations, **more)
        self.section = section


class Command(click.Command):
    """One command. What it is called with are its options and arguments, and it returns its exit status."""

    statuses: ClassVar[Mapping[int, str] | Mapping[str, str]] = STATUSES
    """What its help says of each."""

    def invoke(self, ctx: click.Context) -> int:
        """Run it. All modules that it needs to read its command line have been imported."""
        ctx.obj()
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options into its help, section by section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                section = parameter.section if isinstance(parameter, Option) else "Options"
                sections.setdefault(section, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit statuses into its help."""
        _write_statuses(formatter, self.statuses)


def subcommand(name: str, more: str = "", cls: type[Command] = Command) -> Callable[[Callable[..., int]], Command]:
    """Return a decorator that makes a command of a function, which returns its exit status.

    Args:
        name: as it stands in ``COMMANDS``.
        more: what its help says beyond that.
        cls: a class of its own, where it reads its command line or ends in another way than all others.
    """
    return click.command(name, cls=cls, help="\n\n".join(filter(None, [COMMANDS[name], more])))


class Commands(click.Group):
    """All commands. What is known of one without its module is enough to list and to complete its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        return import_module(f"{__package__}.{cmd_name.replace('-', '_')}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first argument names."""
        if not args[0].startswith("-") and args[0] not in COMMANDS and not ctx.resilient_parsing:
            raise click.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Return the names that begin so, and the options."""
        from click.shell_completion import CompletionItem

        names = [name for name in COMMANDS if name.startswith(incomplete)]
        return [CompletionItem(name, help=COMMANDS[name]) for name in names] + click.Command.shell_complete(
            self, ctx, incomplete
        )

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each command does into the help."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit statuses into the help."""
        _write_statuses(formatter, STATUSES)


def _write_statuses(formatter: click.HelpFormatter, statuses: Mapping[int, str] | Mapping[str, str]) -> None:
    with formatter.section("Exit status"):
        formatter.write_dl([(str(status), what) for status, what in statuses.items()])


COMMAND = Commands(PROGRAM, help="Leader election: serve it, look at it, and change who leads.")
click.version_option(package_name=PROGRAM)(COMMAND)


def run(arguments: Sequence[str], when_loaded: Callable[[], None]) -> int:
    """Run a command line, and return the exit status; everything that may go wrong is said on stderr.

    Args:
        arguments: the command line without the program's name.
        when_loaded: called once, before the command begins.
    """
    if completing := os.environ.get(COMPLETING):
        from click.shell_completion import shell_complete

        return shell_complete(COMMAND, {}, PROGRAM, COMPLETING, completing)
    try:
        status = _invoke(arguments, when_loaded)
        sys.stdout.flush()
        return status
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ElectionError as error:
        say(error)
        return status_of(error)
    except BrokenPipeError:
        # Whoever read the output has gone. What is still in the buffer must not fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def say(error: ElectionError) -> None:
    """Say on stderr what was wrong, and what to do."""
    for line in (error, *getattr(error, "__notes__", ())):
        print(f"{PROGRAM}: {line}", file=sys.stderr)


def _invoke(arguments: Sequence[str], when_loaded: Callable[[], None]) -> int:
    try:
        with COMMAND.make_context(PROGRAM, list(arguments), obj=when_loaded) as context:
            return COMMAND.invoke(context)
    except click.exceptions.Exit as end:  # after help, or the version
        return end.exit_code
