"""The command ``atomix-election``: a module per command, imported when that command is asked for.

It needs the extra ``cli``. This module does without, so that who lacks it is told so.

A command is added in two places: a line in ``COMMANDS``, and a module of that name (``_`` for ``-``) whose ``command``
was made by ``frame.subcommand``. It gets its options through the decorators of ``options``, prints JSON where
``json_option`` says so, and returns its exit status; an ``ElectionError`` that comes out of it becomes a message and
the status that ``statuses`` has for it; ``run`` has exit statuses of its own. A command that handles signals does so
itself, as ``serve`` does.
"""

import gc
import sys
from collections.abc import Callable, Sequence

PROGRAM = "atomix-election"
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
    "anoint": "Make a candidate the leader, whoever leads now.",
    "promote": "Move a candidate one place forward in the queue.",
    "evict": "Remove a candidate from an election, whoever entered it.",
    "forget": "Remove what is kept of an election that is no longer used.",
    "new-token": "Write a new token into a file, and print its line for the access file.",
    "bench": "Measure how fast a server is, in an election that it removes again.",
    "demo": "Show a server and candidates at work; the leader is killed, another takes over.",
}
"""What each command does. Its module has the rest, and is imported when it is asked for: none pays for the others."""

_NOT_INSTALLED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status.

    Args:
        arguments: the command line without the program's name; by default that of this process, which then is the
            command's own.
    """
    if arguments is not None:
        return _run(arguments, _do_nothing)
    gc.disable()
    try:
        return _run(sys.argv[1:], _collect_again)
    finally:
        gc.enable()


def _run(arguments: Sequence[str], when_loaded: Callable[[], None]) -> int:
    try:
        from atomix_election.cli.frame import run
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        print(f"{PROGRAM}: the command needs its extra: pip install 'atomix-election[cli]'", file=sys.stderr)
        return _NOT_INSTALLED
    return run(arguments, when_loaded)


def _collect_again() -> None:
    """Look for garbage from now on, but never among what was imported so far, which stays to the end.

    It would take a tenth of the time of a short command, in the end once more.
    """
    gc.freeze()
    gc.enable()


def _do_nothing() -> None:
    """The collector of a caller is the caller's."""
