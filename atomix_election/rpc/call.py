"""The server's side of one call: what it asks for, how long it may take, and its answer."""

import re
from collections.abc import Iterable
from typing import TypeVar

import betterproto2
from grpclib.metadata import encode_grpc_message
from grpclib.protocol import Stream

from atomix_election.errors import InvalidRequest, Unauthenticated
from atomix_election.model import DEFAULT_NAMESPACE
from atomix_election.rpc import wire
from atomix_election.rpc.frames import frame, read_frame
from atomix_election.rpc.http2 import Headers, reset
from atomix_election.rpc.status import ERROR_NAME_KEY, Failure
from atomix_election.service import Call

ELECTION_KEY = "primitive-id"
NAMESPACE_KEY = "application-id"
SESSION_KEY = "session-id"
OPERATION_KEY = "atomix-election-operation"
STORE_KEY = "atomix-election-store"
"""Response header of Events: identity of the store, by which a client that comes back knows whether it is the same."""
TIMEOUT_KEY = "grpc-timeout"
AUTHORIZATION_KEY = "authorization"

_MessageT = TypeVar("_MessageT", bound=betterproto2.Message)

_UNITS_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_OPERATION = re.compile(r"[1-9][0-9]{0,17}")
_BEARER = re.compile(r"[Bb]earer +(\S+)")
_MAX_MESSAGE_CHARACTERS = 1000
_RESPONSE_HEADERS: Headers = [(":status", "200"), ("content-type", "application/grpc")]


def timeout_s(headers: Headers) -> float | None:
    """Return how long a call may take, or None when it does not say.

    Source: "Timeout" in gRPC's description of its protocol over HTTP/2: up to eight digits and a unit.

    Raises:
        InvalidRequest: it says so in a form that is none.
    """
    value = _single(headers, TIMEOUT_KEY)
    if not value:
        return None
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise InvalidRequest(f"{TIMEOUT_KEY} {value!a} is not up to eight digits and a unit")
    return int(match[1]) * _UNITS_S[match[2]]


def encode_timeout(seconds: float) -> str:
    """Return a time limit as a header's value, rounded down to milliseconds, or microseconds when it is short."""
    if seconds >= 10:
        return f"{min(int(seconds * 1e3), 99_999_999)}m"
    return f"{max(int(seconds * 1e6), 0)}u"


def call_of(headers: Headers) -> Call:
    """Return what a call's metadata says.

    Raises:
        InvalidRequest: a value is missing, malformed, or given twice.
    """
    election = _single(headers, ELECTION_KEY)
    if not election:
        raise InvalidRequest(f"the call names no election: it needs metadata {ELECTION_KEY}")
    operation = _single(headers, OPERATION_KEY)
    if operation and not _OPERATION.fullmatch(operation):
        raise InvalidRequest(f"metadata {OPERATION_KEY} {operation!a} is not a number")
    return Call(
        election=election,
        namespace=namespace_of(headers),
        session=_single(headers, SESSION_KEY),
        operation=int(operation) if operation else None,
    )


def session_of(headers: Headers) -> tuple[str, str]:
    """Return the namespace and the id of the session that a call is about.

    Raises:
        InvalidRequest: the session is missing, or one of the two is given twice.
    """
    session = _single(headers, SESSION_KEY)
    if not session:
        raise InvalidRequest(f"the call names no session: it needs metadata {SESSION_KEY}")
    return namespace_of(headers), session


def namespace_of(headers: Headers) -> str:
    """Return the namespace that a call is about.

    Raises:
        InvalidRequest: it is given twice.
    """
    return _single(headers, NAMESPACE_KEY) or DEFAULT_NAMESPACE


def token_of(headers: Headers) -> str | None:
    """Return the bearer token that a call carries, or None.

    Raises:
        Unauthenticated: there are other credentials, or several. They are not quoted.
    """
    values = [value for name, value in headers if name == AUTHORIZATION_KEY]
    if not values:
        return None
    match = _BEARER.fullmatch(values[0])
    if len(values) > 1 or match is None:
        raise Unauthenticated(f"metadata {AUTHORIZATION_KEY} must be there once, as `Bearer TOKEN`")
    return match[1]


def token_metadata(token: str) -> Headers:
    """Return the header that carries a token."""
    return [(AUTHORIZATION_KEY, f"Bearer {token}")]


def namespace_metadata(namespace: str) -> Headers:
    """Return the header that names a namespace."""
    return [(NAMESPACE_KEY, namespace)]


def session_metadata(namespace: str, session: str) -> Headers:
    """Return the headers that name a session."""
    return [(NAMESPACE_KEY, namespace), (SESSION_KEY, session)]


def metadata_of(call: Call) -> Headers:
    """Return the headers that say the same; every key is sent, even when its value is empty."""
    headers = [(ELECTION_KEY, call.election), (NAMESPACE_KEY, call.namespace), (SESSION_KEY, call.session)]
    if call.operation is not None:
        headers.append((OPERATION_KEY, str(call.operation)))
    return headers


def _single(headers: Iterable[tuple[str, str]], key: str) -> str:
    values = [value for name, value in headers if name == key]
    if len(values) > 1:
        raise InvalidRequest(f"metadata {key} is given {len(values)} times")
    return values[0] if values else ""


class ServerCall:
    """One call as the server has it. Sending waits while the peer does not read.

    Args:
        stream: where it goes on.
        headers: what it began with.
        max_message_bytes: the largest request that is read.
    """

    def __init__(self, stream: Stream, headers: Headers, max_message_bytes: int) -> None:
        self.headers = headers
        self._stream = stream
        self._max_message_bytes = max_message_bytes
        self._begun = False
        self.was_read = False
        """Whether the one message of the request has come in."""
        self._response_headers = list(_RESPONSE_HEADERS)

    @property
    def path(self) -> str:
        """Which method is called."""
        return _single(self.headers, ":path")

    async def read_next(self, kind: type[_MessageT]) -> _MessageT | None:
        """Return the next message of a request that is a stream, or None at its end.

        Raises:
            InvalidRequest: it is malformed.
            LimitExceeded: it is too large.
            Rejected: it is compressed.
        """
        data = await read_frame(self._stream, self._max_message_bytes)
        return None if data is None else wire.decode(data, kind)

    async def read(self, kind: type[_MessageT]) -> _MessageT:
        """Return the one message of the request.

        Raises:
            InvalidRequest: there is none, more than one, or it is malformed.
            LimitExceeded: it is too large.
            Rejected: it is compressed.
        """
        message = await self.read_next(kind)
        if message is None:
            raise InvalidRequest("the request has no message")
        if await read_frame(self._stream, self._max_message_bytes) is not None:
            raise InvalidRequest("the request has more than one message")
        self.was_read = True
        return message

    def add_header(self, name: str, value: str) -> None:
        """Add to the headers that go out before the first message."""
        self._response_headers.append((name, value))

    async def send(self, message: betterproto2.Message) -> None:
        """Send a message, after the headers where it is the first."""
        data = frame(wire.encode(message))
        if not self._begun:
            self._begun = True
            await self._stream.send_headers(self._response_headers)
        await self._stream.send_data(data)

    async def finish(self, failure: Failure | None = None) -> None:
        """End the call, well or with a failure."""
        headers = [] if self._begun else list(_RESPONSE_HEADERS)
        if failure is None:
            headers.append(("grpc-status", "0"))
        else:
            headers.append(("grpc-status", str(failure.status.value)))
            headers.append(("grpc-message", encode_grpc_message(failure.message[:_MAX_MESSAGE_CHARACTERS])))
            headers.append((ERROR_NAME_KEY, failure.error))
        await self._stream.send_headers(headers, end_stream=True)
        reset(self._stream)
