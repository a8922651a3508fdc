"""Errors on the wire: the status table, and every class there and back."""

import pytest
from grpclib.const import Status

from atomix_election import errors
from atomix_election.errors import ElectionError, LeadershipLost, LossReason, StaleToken
from atomix_election.rpc.status import Failure, error_of, failure_of

TABLE = {
    errors.InvalidRequest: 3,
    errors.NotACandidate: 3,
    errors.SessionEnded: 5,
    errors.CandidateTaken: 6,
    errors.NotOwner: 7,
    errors.PermissionDenied: 7,
    errors.NotSessionOwner: 7,
    errors.LimitExceeded: 8,
    errors.OutcomeUnknown: 10,
    errors.Unavailable: 14,
    errors.StoreError: 14,
    errors.Unauthenticated: 16,
}
TRAVELLING = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ElectionError)]


@pytest.mark.parametrize(("kind", "code"), TABLE.items(), ids=lambda each: getattr(each, "__name__", str(each)))
def test_statuses_are_those_of_the_wire_contract(kind: type[ElectionError], code: int) -> None:
    """As wire.md has them."""
    assert failure_of(kind("why")) == Failure(Status(code), "why", kind.__name__)


@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize("kind", TRAVELLING)
def test_every_error_comes_out_as_it_went_in(kind: type[ElectionError], write: bool) -> None:
    """Every class of the tree has a status; its name brings it back, with its message."""
    if kind is LeadershipLost:
        assert failure_of(LeadershipLost("why", reason=LossReason.EXPIRED)).error == "LeadershipLost"
        return
    if kind is StaleToken:
        assert failure_of(StaleToken(1, 2)).error == "StaleToken"
        return
    error = error_of(failure_of(kind("why: \N{SNOWMAN}")), write=write)
    assert type(error) is kind
    assert str(error) == "why: \N{SNOWMAN}"


@pytest.mark.parametrize("name", ["", "NoSuchError", "Exception", "LeadershipLost", "InvalidRequest "])
@pytest.mark.parametrize("status", Status)
def test_every_status_of_another_server_is_an_error_of_ours(status: Status, name: str) -> None:
    """With a message, also where it has none; never one that claims too much of a write."""
    for write in (True, False):
        error = error_of(Failure(status, "", name), write=write)
        assert isinstance(error, ElectionError)
        assert status.name in str(error)
        if write and status in (Status.UNKNOWN, Status.DEADLINE_EXCEEDED, Status.CANCELLED, Status.INTERNAL):
            assert type(error) is errors.OutcomeUnknown


def test_statuses_that_name_one_error_bring_it_back() -> None:
    """From a server that does not send the name of the class."""
    for kind, code in TABLE.items():
        error = error_of(Failure(Status(code), "why", ""), write=False)
        assert TABLE[type(error)] == code, kind
