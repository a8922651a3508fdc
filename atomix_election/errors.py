"""Every error of this package: one tree, so that one ``except ElectionError`` catches all of it.

    ElectionError
    ├── InvalidRequest      the call itself is wrong: mend the call
    ├── NotACandidate       the named candidate is not in the queue
    ├── CandidateTaken      the candidate id belongs to another live session: choose another id, or wait
    ├── NotOwner            the candidate belongs to another session: only Evict removes it
    ├── SessionEnded        the session is not open (never opened, closed or expired): open a new one
    ├── LeadershipLost      this process no longer leads: stop the work
    ├── LimitExceeded       a limit of the server is reached: try later, or raise the limit
    ├── Unavailable         nobody answered, or the server is going away: try again
    ├── OutcomeUnknown      a write may or may not have been applied: read the term to find out
    ├── Unauthenticated     no credentials, or bad ones
    ├── PermissionDenied    the credentials do not allow this call
    │   └── NotSessionOwner     the session belongs to another principal: open one of your own
    ├── StoreError          the store failed: nothing of the call was applied
    └── StaleToken          a resource has seen a newer token: stop the work, another one leads

How each travels over the wire is in ``rpc/status.py``.
"""

from enum import Enum
from typing import Self


class ElectionError(Exception):
    """The root of the tree. Raised itself only for a fault inside this package or its server."""


class InvalidRequest(ElectionError):
    """The call is malformed: a missing, empty, over-long or unprintable id, or settings that contradict."""


class NotACandidate(ElectionError):
    """Anoint, Promote or Evict named somebody who is not a candidate of the election."""


class CandidateTaken(ElectionError):
    """Enter named a candidate id that another live session has entered."""


class NotOwner(ElectionError):
    """Withdraw named a candidate that another session entered; Evict removes anybody's."""


class SessionEnded(ElectionError):
    """The caller's session is not open: it was never opened, was closed, or expired.

    Args:
        message: what happened, for a person.
        tried_before: whether an earlier try of the same call may have been carried out while the session was open.
    """

    def __init__(self, message: str, *, tried_before: bool = False) -> None:
        super().__init__(message)
        self.tried_before = tried_before


class LossReason(Enum):
    """Why a leadership ended before its holder gave it up."""

    EXPIRED = "expired"
    EVICTED = "evicted"
    SUPERSEDED = "superseded"
    SESSION_ENDED = "session ended"
    STORE_CHANGED = "store changed"
    WITHDRAWN = "withdrawn"


class LeadershipLost(ElectionError):
    """This process no longer leads.

    Args:
        message: what happened, for a person.
        reason: the same as a value to branch on.
        leadership: the one that was lost.
    """

    def __init__(self, message: str, *, reason: LossReason, leadership: object = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.leadership = leadership


class LimitExceeded(ElectionError):
    """A named limit of the engine or the server is reached; the message gives its name and value.

    Args:
        message: what happened, for a person.
        limit: name of the limit; "" where only the message has it, as in a client.
    """

    def __init__(self, message: str, *, limit: str = "") -> None:
        super().__init__(message)
        self.limit = limit


class Unavailable(ElectionError):
    """The service could not be reached, did not answer in time, or is shutting down.

    A write that raises this was not sent, or was refused before it had any effect.
    """


class OutcomeUnknown(ElectionError):
    """A write was sent, and whether it was applied could not be found out in time."""

    @classmethod
    def after(cls, error: ElectionError) -> Self:
        """Return what a write has come to whose last try met an error that tells nothing of an earlier one."""
        return cls(f"{error}; an earlier try may have been applied")


class Unauthenticated(ElectionError):
    """The call carried no credentials, or bad ones."""


class PermissionDenied(ElectionError):
    """The caller's credentials do not allow the call."""


class NotSessionOwner(PermissionDenied):
    """The session belongs to another principal than the caller, who may have one of its own.

    A client hears it of its own session when the server takes it for another principal than before: when access control
    was switched on, or the principal was given another name.
    """


class StoreError(ElectionError):
    """The store failed; the call was not acknowledged and had no effect."""


class StaleToken(ElectionError):
    """The resource has seen a newer token: the caller no longer leads, and must stop. Raised by ``fencing``.

    Args:
        token: what the caller sent.
        newest: the newest token that the resource is known to have seen.
    """

    def __init__(self, token: int, newest: int) -> None:
        super().__init__(token, newest)
        self.token = token
        self.newest = newest

    def __str__(self) -> str:
        return (
            f"token {self.token} is stale, the resource has seen {self.newest}: this caller no longer leads. "
            "Stop the work and undo the transaction; trying again with this token cannot succeed"
        )


def doubt(error: ElectionError, *, tried_before: bool) -> None:
    """Let a refusal of a write say that an earlier try may have been carried out, of which it tells nothing.

    Args:
        error: the refusal. It is about who calls or when, and not about the election, as then it would count.
        tried_before: whether there was such a try.

    Raises:
        OutcomeUnknown: there was, and the refusal is not about the session. SessionEnded has a field for it.
    """
    if isinstance(error, SessionEnded):
        error.tried_before = tried_before
    elif tried_before:
        raise OutcomeUnknown.after(error) from error
