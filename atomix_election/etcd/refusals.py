"""What etcd means by its refusals, and which of them leave open whether a write was carried out.

Source: ``api/v3rpc/rpctypes/error.go`` of etcd, whose texts have stayed the same from 3.4 on.
"""

from grpclib.const import Status as Code

from atomix_election.etcd.errors import (
    Compacted,
    EtcdPermissionDenied,
    EtcdRefused,
    EtcdUnauthenticated,
    FutureRevision,
    LeaseExists,
    LeaseNotFound,
)
from atomix_election.etcd.exchange import Refused

AUTH_NOT_ENABLED = "authentication is not enabled"

_STALE_TOKEN = ("invalid auth token", "revision of auth store is old", "user name is empty")
_BEFORE_ANYTHING = ("no leader", "too many requests", "not capable", "not supported for learner")
_TRANSIENT = {
    Code.CANCELLED,
    Code.UNKNOWN,
    Code.DEADLINE_EXCEEDED,
    Code.ABORTED,
    Code.INTERNAL,
    Code.UNAVAILABLE,
    Code.DATA_LOSS,
}
_NAMED: tuple[tuple[str, type[EtcdRefused]], ...] = (
    ("revision has been compacted", Compacted),
    ("is a future revision", FutureRevision),
    ("lease not found", LeaseNotFound),
    ("lease already exists", LeaseExists),
    ("invalid user ID or password", EtcdUnauthenticated),
    ("user name is empty", EtcdUnauthenticated),
    ("invalid auth token", EtcdUnauthenticated),
    ("permission denied", EtcdPermissionDenied),
)
_ADVICE: tuple[tuple[str, str], ...] = (
    ("invalid user ID or password", "check user and password"),
    ("user name is empty", "this etcd wants a user and password, or a certificate of the client's"),
    ("permission denied", "grant the user a role for these keys (etcdctl role grant-permission)"),
    ("database space exceeded", "compact and defragment etcd, then disarm its alarm; auto-compaction prevents it"),
    ("request is too large", "etcd's limit is --max-request-bytes"),
    ("too many operations", "etcd's limit is --max-txn-ops"),
)


def is_stale_token(refused: Refused) -> bool:
    """Whether another token would do; nothing was changed."""
    return any(text in refused.message for text in _STALE_TOKEN)


def is_before_anything(refused: Refused) -> bool:
    """Whether a member could not take the call, so that nothing was changed, and another one may."""
    return any(text in refused.message for text in _BEFORE_ANYTHING)


def is_transient(refused: Refused) -> bool:
    """Whether the call was broken off rather than refused: a write may have been carried out."""
    return refused.code in _TRANSIENT or is_before_anything(refused)


def error_of(what: str, endpoint: object, refused: Refused) -> EtcdRefused:
    """Return the error for a refusal.

    Args:
        what: the method.
        endpoint: who refused.
        refused: what it said.
    """
    kind = _kind(refused)
    advice = next((f": {advice}" for part, advice in _ADVICE if part in refused.message), "")
    if refused.code is Code.UNIMPLEMENTED:
        advice = ": is that etcd, and 3.4 or newer?"
    return kind(f"{what}: etcd at {endpoint} refused it, {refused.message.removeprefix('etcdserver: ')}{advice}")


def _kind(refused: Refused) -> type[EtcdRefused]:
    for text, kind in _NAMED:
        if text in refused.message:
            return kind
    return {
        Code.UNAUTHENTICATED: EtcdUnauthenticated,
        Code.PERMISSION_DENIED: EtcdPermissionDenied,
    }.get(refused.code, EtcdRefused)
