"""Which of etcd's own words mean what, and above all which leave open whether a write was carried out."""

import pytest
from grpclib.const import Status as Code

from atomix_election.etcd import (
    Compacted,
    EtcdPermissionDenied,
    EtcdRefused,
    EtcdUnauthenticated,
    FutureRevision,
    LeaseExists,
    LeaseNotFound,
)
from atomix_election.etcd.exchange import Refused
from atomix_election.etcd.refusals import error_of, is_before_anything, is_stale_token, is_transient


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", Compacted),
        (Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision", FutureRevision),
        (Code.NOT_FOUND, "etcdserver: requested lease not found", LeaseNotFound),
        (Code.FAILED_PRECONDITION, "etcdserver: lease already exists", LeaseExists),
        (Code.INVALID_ARGUMENT, "etcdserver: user name is empty", EtcdUnauthenticated),
        (
            Code.INVALID_ARGUMENT,
            "etcdserver: authentication failed, invalid user ID or password",
            EtcdUnauthenticated,
        ),
        (Code.UNAUTHENTICATED, "etcdserver: invalid auth token", EtcdUnauthenticated),
        (Code.UNAUTHENTICATED, "etcdserver: something new", EtcdUnauthenticated),
        (Code.PERMISSION_DENIED, "etcdserver: permission denied", EtcdPermissionDenied),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", EtcdRefused),
        (Code.INVALID_ARGUMENT, "etcdserver: request is too large", EtcdRefused),
        (Code.UNIMPLEMENTED, "unknown service etcdserverpb.KV", EtcdRefused),
    ],
)
def test_what_is_refused_for_good(code: Code, text: str, kind: type[EtcdRefused]) -> None:
    refused = Refused(code, text)
    assert not is_transient(refused)
    error = error_of("Put", "a:1", refused)
    assert type(error) is kind
    assert "a:1" in str(error)


@pytest.mark.parametrize(
    ("code", "text", "before_anything"),
    [
        (Code.UNAVAILABLE, "etcdserver: no leader", True),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests", True),
        (Code.UNAVAILABLE, "etcdserver: rpc not supported for learner", True),
        (Code.UNAVAILABLE, "etcdserver: request timed out", False),
        (Code.UNAVAILABLE, "etcdserver: request timed out, possibly due to previous leader failure", False),
        (Code.UNAVAILABLE, "etcdserver: leader changed", False),
        (Code.UNAVAILABLE, "etcdserver: server stopped", False),
        (Code.UNKNOWN, "raft proposal dropped", False),
        (Code.DEADLINE_EXCEEDED, "context deadline exceeded", False),
        (Code.CANCELLED, "context canceled", False),
    ],
)
def test_what_may_go_better_the_next_time(code: Code, text: str, before_anything: bool) -> None:
    refused = Refused(code, text)
    assert is_transient(refused)
    assert is_before_anything(refused) is before_anything
    assert not is_stale_token(refused)


@pytest.mark.parametrize("text", ["invalid auth token", "revision of auth store is old"])
def test_what_another_token_would_mend(text: str) -> None:
    assert is_stale_token(Refused(Code.UNAUTHENTICATED, f"etcdserver: {text}"))
