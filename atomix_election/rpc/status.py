"""Errors as gRPC statuses, and back. The table is that of the wire contract; nothing else maps errors."""

from dataclasses import dataclass

from grpclib.const import Status

from atomix_election import errors
from atomix_election.errors import ElectionError

ERROR_NAME_KEY = "atomix-election-error"
"""Trailing metadata with the name of the error's class, as several share a status."""

_STATUSES: dict[type[ElectionError], Status] = {
    errors.InvalidRequest: Status.INVALID_ARGUMENT,
    errors.NotACandidate: Status.INVALID_ARGUMENT,
    errors.CandidateTaken: Status.ALREADY_EXISTS,
    errors.NotOwner: Status.PERMISSION_DENIED,
    errors.SessionEnded: Status.NOT_FOUND,
    errors.LeadershipLost: Status.FAILED_PRECONDITION,
    errors.LimitExceeded: Status.RESOURCE_EXHAUSTED,
    errors.Unavailable: Status.UNAVAILABLE,
    errors.OutcomeUnknown: Status.ABORTED,
    errors.Unauthenticated: Status.UNAUTHENTICATED,
    errors.PermissionDenied: Status.PERMISSION_DENIED,
    errors.NotSessionOwner: Status.PERMISSION_DENIED,
    errors.StoreError: Status.UNAVAILABLE,
    errors.StaleToken: Status.FAILED_PRECONDITION,
    ElectionError: Status.INTERNAL,
}
_OF_THIS_SIDE = {errors.LeadershipLost, errors.StaleToken}
"""Raised by clients and resources: no server sends them."""
_BY_NAME = {kind.__name__: kind for kind in _STATUSES if kind not in _OF_THIS_SIDE}
_BY_STATUS: dict[Status, type[ElectionError]] = {
    Status.INVALID_ARGUMENT: errors.InvalidRequest,
    Status.UNIMPLEMENTED: errors.InvalidRequest,
    Status.OUT_OF_RANGE: errors.InvalidRequest,
    Status.ALREADY_EXISTS: errors.CandidateTaken,
    Status.NOT_FOUND: errors.SessionEnded,
    Status.PERMISSION_DENIED: errors.PermissionDenied,
    Status.UNAUTHENTICATED: errors.Unauthenticated,
    Status.RESOURCE_EXHAUSTED: errors.LimitExceeded,
    Status.UNAVAILABLE: errors.Unavailable,
    Status.ABORTED: errors.OutcomeUnknown,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """An error on the wire.

    Args:
        status: what every gRPC client sees.
        message: for a person.
        error: name of the class in ``errors``.
        limit: name of the limit that was reached, "" where there is none. It is counted, and not sent.
    """

    status: Status
    message: str
    error: str = ElectionError.__name__
    limit: str = ""


INTERNAL_FAULT = Failure(Status.INTERNAL, "a fault of the server; its log says more")
"""Something is wrong with this package."""


class Rejected(Exception):
    """A call that ends with a status which no error of the package stands for."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def unimplemented(message: str) -> Rejected:
    """The call asks for something that this server does not do."""
    return Rejected(Failure(Status.UNIMPLEMENTED, message, errors.InvalidRequest.__name__))


def shutting_down(*, may_have_been_applied: bool) -> Failure:
    """The server goes: clients are to use another one, or to come back."""
    if may_have_been_applied:
        message = "the server is shutting down, the outcome is not known: read the term to find out"
        return Failure(Status.ABORTED, message, errors.OutcomeUnknown.__name__)
    return Failure(Status.UNAVAILABLE, "the server is shutting down", errors.Unavailable.__name__)


def deadline_exceeded(*, may_have_been_applied: bool) -> Failure:
    """The caller's time is over."""
    if may_have_been_applied:
        message = "the deadline passed before the outcome was known: read the term to find out"
        return Failure(Status.DEADLINE_EXCEEDED, message, errors.OutcomeUnknown.__name__)
    return Failure(Status.DEADLINE_EXCEEDED, "the deadline passed", errors.Unavailable.__name__)


def failure_of(error: ElectionError) -> Failure:
    """Return what an error looks like on the wire."""
    limit = error.limit if isinstance(error, errors.LimitExceeded) else ""
    return Failure(_STATUSES[type(error)], str(error), type(error).__name__, limit)


def error_of(failure: Failure, *, write: bool) -> ElectionError:
    """Return the error that a failure of a call stands for.

    Args:
        failure: what came over the wire; its ``error`` is "" when the server is not ours.
        write: whether the call may have changed something.
    """
    kind = _BY_NAME.get(failure.error) or _BY_STATUS.get(failure.status)
    if kind is None:
        kind = errors.OutcomeUnknown if write else errors.Unavailable
    return kind(failure.message or f"the server answered {failure.status.name}")
