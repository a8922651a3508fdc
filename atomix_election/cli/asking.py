"""The question before something is done that cannot be undone."""

import sys

from atomix_election.errors import InvalidRequest


def check_can_ask(what: str) -> None:
    """See that somebody can be asked.

    Args:
        what: the command and what it is about.

    Raises:
        InvalidRequest: there is no terminal.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidRequest(f"{what} needs --yes where nobody can be asked")


def agrees(question: str) -> bool:
    """Ask on the terminal, and return whether the answer is yes; no answer is a no."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
