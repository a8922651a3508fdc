"""The exit statuses of the command: one table, which help and docs/cli.md show."""

from atomix_election.errors import ElectionError, InvalidRequest

DONE = 0
FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130

STATUSES = {
    DONE: "done",
    FAILED: "refused or failed, or kept after a question, or nobody read the output",
    WRONG_USAGE: "the command line or a setting is wrong or does not fit what is there (a file that exists, an election"
    " in use), or what it needs is not installed",
    INTERRUPTED: "interrupted from the keyboard",
}
"""What each says."""


def status_of(error: ElectionError) -> int:
    """Return the exit status of a command that ended with an error."""
    return WRONG_USAGE if isinstance(error, InvalidRequest) else FAILED
