"""The exit statuses of the command: one table, which help and docs/cli.md show."""

from atomix_election.errors import (
    ElectionError,
    InvalidRequest,
    NotACandidate,
    OutcomeUnknown,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)

DONE = 0
FAILED = 1
WRONG_USAGE = 2
UNREACHABLE = 3
NOT_ALLOWED = 4
NOT_FOUND = 5
OUTCOME_UNKNOWN = 6
INTERRUPTED = 130

STATUSES = {
    DONE: "done",
    FAILED: "refused or failed, or kept after a question, or nobody read the output",
    WRONG_USAGE: "the command line or a setting is wrong, or what it needs is not installed",
    UNREACHABLE: "no server answered in time",
    NOT_ALLOWED: "the credentials are missing or bad, or do not allow it",
    NOT_FOUND: "no such candidate stands in the election",
    OUTCOME_UNKNOWN: "it may or may not have been done: look with term",
    INTERRUPTED: "interrupted from the keyboard",
}
"""What each says."""

_OF_ERRORS: tuple[tuple[type[ElectionError], int], ...] = (
    (InvalidRequest, WRONG_USAGE),
    (Unavailable, UNREACHABLE),
    (Unauthenticated, NOT_ALLOWED),
    (PermissionDenied, NOT_ALLOWED),
    (NotACandidate, NOT_FOUND),
    (OutcomeUnknown, OUTCOME_UNKNOWN),
)


def status_of(error: ElectionError) -> int:
    """Return the exit status of a command that ended with an error."""
    for kind, status in _OF_ERRORS:
        if isinstance(error, kind):
            return status
    return FAILED
