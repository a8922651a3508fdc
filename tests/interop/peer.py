"""A client of another make: grpcio, with what protoc itself generates from the published files."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
import pytest

WAIT_S = 20.0
"""Deadline of every call: none can hang."""
_numbers = itertools.count(1)

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Published:
    """The modules that protoc made."""

    messages: Any
    stubs: Any

    @property
    def methods(self) -> list[str]:
        """Names of the methods of the service."""
        return [each.name for each in self.messages.DESCRIPTOR.services_by_name["LeaderElection"].methods]


def fresh(word: str) -> str:
    """Return a name that no other test uses."""
    return f"{word}-{next(_numbers)}"


class Peer:
    """One channel with one connection, one session and one election. A context manager that closes the channel.

    Args:
        published: what protoc made.
        target: ``grpc://host:port``, or ``grpcs://host:port`` with credentials.
        election: its name; by default one of its own.
        session: its id; by default one of its own.
        namespace: as it is sent.
        credentials: certificates, a token.
    """

    def __init__(
        self,
        published: Published,
        target: str,
        election: str | None = None,
        *,
        session: str | None = None,
        namespace: str = "",
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self.election = fresh("election") if election is None else election
        self.session = fresh("session") if session is None else session
        self.namespace = namespace
        # A pool of its own: else all channels of a process share one connection.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
        self.channel_target = target.partition("://")[2]
        if credentials is None:
            self.channel = grpc.insecure_channel(self.channel_target, options)
        else:
            self.channel = grpc.secure_channel(self.channel_target, credentials, options)
        self._messages = published.messages
        self._stub = published.stubs.LeaderElectionStub(self.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.channel.close()

    @property
    def metadata(self) -> Metadata:
        """What every call says of itself; keys are sent also with empty values."""
        return (("primitive-id", self.election), ("application-id", self.namespace), ("session-id", self.session))

    def call(self, method: str, candidate_id: str = "", **options: Any) -> Any:
        """Make a unary call and return its response."""
        return self.begin(method, candidate_id, **options).result()

    def begin(self, method: str, candidate_id: str = "", **options: Any) -> Any:
        """Begin a unary call and return its future."""
        options = {"metadata": self.metadata, "timeout": WAIT_S} | options
        return getattr(self._stub, method).future(self._request(method, candidate_id), **options)

    def events(self, **options: Any) -> Any:
        """Open a watch and return the call, which is an iterator."""
        options = {"metadata": self.metadata, "timeout": WAIT_S} | options
        return self._stub.Events(self._messages.EventsRequest(), **options)

    def enter(self, *candidates: str) -> Any:
        """Open the session, enter candidates, and return the last term."""
        self.call("Create")
        terms = [self.call("Enter", each).term for each in candidates or ("",)]
        return terms[-1]

    def any(self, method: str, **options: Any) -> Any:
        """Make a call of any method as far as its first response."""
        return next(self.events(**options)) if method == "Events" else self.call(method, **options)

    def bare(self, path: str) -> bytes:
        """Make a unary call of another service, with an empty request, and return the bytes of its response."""
        return self.channel.unary_unary(path)(b"", metadata=self.metadata, timeout=WAIT_S)

    def _request(self, method: str, candidate_id: str) -> Any:
        kind = getattr(self._messages, f"{method}Request")
        if method == "Create":
            return kind(config=self._messages.LeaderElectionConfig())
        return kind(candidate_id=candidate_id) if "candidate_id" in kind.DESCRIPTOR.fields_by_name else kind()


def epoch(term: Any) -> tuple[int, int]:
    """Return number and revision of a term; it must have an epoch timestamp."""
    assert term.HasField("timestamp")
    assert term.timestamp.WhichOneof("timestamp") == "epoch_timestamp"
    return term.timestamp.epoch_timestamp.epoch, term.timestamp.epoch_timestamp.time


def shown(term: Any) -> tuple[str, list[str], tuple[int, int]]:
    """Return all that a term says."""
    return term.leader_id, list(term.candidates), epoch(term)


def refusal(attempt: Callable[[], object]) -> tuple[str, str]:
    """Return the status that a call ends with, and the name of the error's class."""
    with pytest.raises(grpc.RpcError) as raised:
        attempt()
    return failure(raised.value)


def failure(call: Any) -> tuple[str, str]:
    """Return status and class of a call that has failed; it must have a message."""
    assert call.details()
    return call.code().name, dict(call.trailing_metadata() or ()).get("atomix-election-error", "")


def changes(events: Iterator[Any], count: int) -> list[Any]:
    """Return the terms of the next so many events, which must be changes."""
    terms: list[Any] = []
    for event in itertools.islice(events, count):
        assert event.event.type == event.event.CHANGED
        terms.append(event.event.term)
    assert len(terms) == count
    return terms
