"""The command ``atomix-election``: a module per command, this one chooses.

Exit statuses: 0 all well, 1 refused or failed, 2 a wrong command line, 130 interrupted. ``run`` has others.
"""

import argparse
import gc
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from atomix_election.errors import ElectionError, InvalidRequest

COMMANDS = {
    "serve": "Serve elections over gRPC until SIGTERM or SIGINT.",
    "run": "Run a command only while this process leads an election.",
    "backup": "Copy the file of a store, also while a server uses it.",
    "restore": "Make a new store of a backup, without anybody in its elections.",
    "migrate": "Move the elections of an SQLite file, which nobody serves, into etcd for good.",
    "recover": "Confirm a restore of etcd from a snapshot: nobody leads, and all tokens are new.",
    "raise-floor": "Let no new leader in a store in etcd get a lower token than this one.",
    "list": "List the elections of a namespace, with who leads each.",
    "term": "Print who leads an election, who waits, and the token.",
    "describe": "Print who stands in an election, since when, and how.",
    "watch": "Print the term of an election, and each change of it.",
    "forget": "Remove what is kept of an election that is no longer used.",
    "new-token": "Write a new token into a file, and print its line for the access file.",
    "demo": "Show a server and candidates at work; the leader is killed, another takes over.",
}
"""What each command does. Its module has the rest, and is imported when it is asked for: none pays for the others."""

_INTERRUPTED = 130


class _Command(argparse.ArgumentParser):
    """Parses the arguments of one command, and asks its module for them when there are any to parse."""

    def parse_known_args(self, *arguments: Any, **more: Any) -> Any:
        name = self.prog.rpartition(" ")[2]
        module = import_module(f"{__name__}.{name.replace('-', '_')}")
        module.add_arguments(self)
        self.set_defaults(run=module.run)
        words, *rest = arguments
        if name == "run" and "--" in words:  # argparse would take a further -- out of the other command's words
            split = words.index("--")
            self.set_defaults(command=words[split + 1 :])
            words = words[:split]
        return super().parse_known_args(words, *rest, **more)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status.

    Args:
        arguments: the command line without the program's name; by default that of this process, which then is the
            command's own.
    """
    if arguments is None:
        with _collecting_later():
            options = _parse(sys.argv[1:])
    else:
        options = _parse(arguments)
    try:
        status = options.run(options)
        sys.stdout.flush()
        return status
    except InvalidRequest as error:
        print(f"atomix-election: {error}", file=sys.stderr)
        return 2
    except ElectionError as error:
        print(f"atomix-election: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read the output has gone. What is still in the buffer must not fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="atomix-election", description="Leader election: serve it, and look at it.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Command)
    asked_for = [name for name in arguments[:1] if name in COMMANDS]
    for name in asked_for or COMMANDS:  # making a parser for each takes as long as all else here
        commands.add_parser(name, help=COMMANDS[name], description=COMMANDS[name])
    return parser.parse_args(arguments)


@contextmanager
def _collecting_later() -> Generator[None]:
    """Look for no garbage while modules are imported, and never among what they have made, which stays to the end.

    It would take a tenth of the time of a short command, in the end once more.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
