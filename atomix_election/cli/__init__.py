"""The command ``atomix-election``: a module per command, this one chooses.

Exit statuses: 0 all well, 1 refused or failed, 2 a wrong command line, 130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from atomix_election.cli import (
    backup,
    demo,
    describe,
    forget,
    list,  # noqa: A004 - named as the command
    migrate,
    new_token,
    raise_floor,
    recover,
    restore,
    serve,
    term,
    watch,
)
from atomix_election.errors import ElectionError, InvalidRequest

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status.

    Args:
        arguments: the command line without the program's name; by default that of this process.
    """
    parser = argparse.ArgumentParser(prog="atomix-election", description="Leader election: serve it, and look at it.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (
        serve,
        backup,
        restore,
        migrate,
        recover,
        raise_floor,
        list,
        term,
        describe,
        watch,
        forget,
        new_token,
        demo,
    ):
        command.add_to(commands)
    options = parser.parse_args(arguments)
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
