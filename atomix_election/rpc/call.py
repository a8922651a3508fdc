"""The server's side of one call: what it asks for, how long it may take, and its answer."""

import asyncio
import re
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import TypeVar, cast

import betterproto2
from grpclib.metadata import encode_grpc_message
from grpclib.protocol import Stream

from atomix_election.errors import InvalidRequest, LimitExceeded, Unauthenticated
from atomix_election.model import DEFAULT_NAMESPACE
from atomix_election.rpc import internals, wire
from atomix_election.rpc.frames import frame, read_frame, whole_message
from atomix_election.rpc.header_blocks import OPERATION_KEY
from atomix_election.rpc.http2_connection import Headers, Http2Connection, ready_to_send, reset
from atomix_election.rpc.limits import Outbox, Shared, reached
from atomix_election.rpc.status import ERROR_NAME_KEY, Failure
from atomix_election.service import Call

ELECTION_KEY = "primitive-id"
NAMESPACE_KEY = "application-id"
SESSION_KEY = "session-id"
STORE_KEY = "atomix-election-store"
"""Response header of Events: identity of the store, by which a client that comes back knows whether it is the same."""
PROTOCOL_KEY = "atomix-election-protocol"
"""Of calls of our own services: the versions that the client speaks, and the one that the server answers in."""
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


def path_of(headers: Headers) -> str:
    """Return which method a call is for.

    Raises:
        InvalidRequest: it says so twice.
    """
    return _single(headers, ":path")


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


def protocol_of(headers: Headers) -> str:
    """Return what a client says of the versions that it speaks; "" where it says nothing.

    Raises:
        InvalidRequest: it says so twice.
    """
    return _single(headers, PROTOCOL_KEY)


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
        shared: what it shares with all others.
        outbox: what its peer has not read.
    """

    def __init__(self, stream: Stream, headers: Headers, shared: Shared, outbox: Outbox) -> None:
        self.headers = headers
        self._stream = stream
        self._shared = shared
        self._outbox = outbox
        self._begun = False
        self.was_read: bool = False
        """Whether the one message of the request has come in."""
        self.is_over = False
        """Whether it was ended before its time: nothing more is sent or taken at once, even before its task knows."""
        self._response_headers = list(_RESPONSE_HEADERS)
        self._reads_since: float | None = _now()
        self._sends_since: float | None = None
        self._read_waits = False

    def overdue(self, now: float) -> LimitExceeded | None:
        """Return which limit of time the peer has passed, or None."""
        limits = self._shared.limits
        if self._sends_since is not None and now >= self._sends_since + limits.send_timeout_s:
            return reached("send_timeout_s", limits.send_timeout_s, "seconds for an answer or event to be read")
        if self._reads_since is not None and now >= self._reads_since + limits.request_timeout_s:
            return reached("request_timeout_s", limits.request_timeout_s, "seconds for a request to be complete")
        return None

    @property
    def path(self) -> str:
        """Which method is called."""
        return path_of(self.headers)

    async def read_next(self) -> bytes | None:
        """Return the next message of a request that is a stream, still encoded, or None at its end.

        It may take as long as it likes to begin, unless it is the first.

        Raises:
            InvalidRequest: the stream ended inside it.
            LimitExceeded: it is too large.
            Rejected: it is compressed.
        """
        self._read_waits = True
        data = await self._read(on_begun=self._wait)
        self._read_waits = False
        self._reads_since = None
        return data

    async def read(self, kind: type[_MessageT]) -> _MessageT:
        """Return the one message of the request.

        Raises:
            InvalidRequest: there is none, more than one, or it is malformed.
            LimitExceeded: it is too large.
            Rejected: it is compressed.
        """
        data = await self._read()
        if data is None:
            raise InvalidRequest("the request has no message")
        message = wire.decode(data, kind)
        if await self._read() is not None:
            raise InvalidRequest("the request has more than one message")
        self.received()
        return message

    def received(self) -> None:
        """The one message of the request is there."""
        self.was_read = True
        self._reads_since = None

    async def _read(self, on_begun: Callable[[], None] | None = None) -> bytes | None:
        limit_bytes = self._shared.limits.max_message_bytes
        return await read_frame(self._stream, limit_bytes, room=self._shared.room, on_begun=on_begun)

    def _wait(self) -> None:
        """The peer has to do something from now on."""
        self._read_waits = False
        if self._reads_since is None:
            self._reads_since = _now()

    def add_header(self, name: str, value: str) -> None:
        """Add to the headers that go out before the first message."""
        self._response_headers.append((name, value))

    async def send(self, make: Callable[[], betterproto2.Message]) -> None:
        """Send a message, after the headers where it is the first.

        Args:
            make: makes the message, once the peer reads: many may wait for that.
        """
        await self.send_framed(lambda: frame(wire.encode(make())))

    async def send_framed(self, make: Callable[[], bytes]) -> None:
        """Send a message that is encoded and has its prefix. See ``send``."""
        self._sends_since = _now()
        try:
            if not self._begun:
                await ready_to_send(self._stream, data=False)
                await self._stream.send_headers(self._response_headers)
                self._begun = True
            await ready_to_send(self._stream)
            data = make()
            with self._outbox.hold(len(data)):
                await self._stream.send_data(data)
        finally:
            self._sends_since = None

    def send_now(self, message: bytes) -> bool:
        """Send a message with its prefix, and return whether it was possible at once; else nothing is done.

        It is not while another one is being sent, before the headers, or when the peer does not read.
        """
        if self._sends_since is not None or not self._begun or self.is_over or not internals.are_known():
            return False
        assert self._stream.id is not None
        return cast(Http2Connection, self._stream.connection).send(self._stream.id, message)

    @contextmanager
    def take_at_once(self, take: Callable[[bytes], bool]) -> Generator[None]:
        """Offer messages that come in whole to somebody, for the length of the block, while ``read_next`` waits.

        Args:
            take: is told the message, and returns whether it has taken it; else ``read_next`` returns it.
        """
        connection = cast(Http2Connection, self._stream.connection)
        stream_id = self._stream.id
        assert stream_id is not None

        def offer(data: bytes) -> bool:
            waits = self._read_waits and not self.is_over
            message = whole_message(data, self._shared.limits.max_message_bytes) if waits else None
            try:
                taken = message is not None and take(message)
            except Exception:  # noqa: BLE001 - whoever reads it meets the same, and it is the fault of this call alone
                taken = False
            self._read_waits = self._read_waits and taken  # what is to be read goes before what comes after it
            return taken

        connection.readers[stream_id] = offer
        try:
            yield
        finally:
            del connection.readers[stream_id]

    async def finish(self, failure: Failure | None = None) -> None:
        """End the call, well or with a failure."""
        headers = [] if self._begun else list(_RESPONSE_HEADERS)
        headers += _trailers(failure)
        await ready_to_send(self._stream, data=False)
        await self._stream.send_headers(headers, end_stream=True)
        reset(self._stream)


def refusal_headers(failure: Failure) -> Headers:
    """Return the headers that answer a call which is not served at all."""
    return [*_RESPONSE_HEADERS, *_trailers(failure)]


def _trailers(failure: Failure | None) -> Headers:
    if failure is None:
        return [("grpc-status", "0")]
    return [
        ("grpc-status", str(failure.status.value)),
        ("grpc-message", encode_grpc_message(failure.message[:_MAX_MESSAGE_CHARACTERS])),
        (ERROR_NAME_KEY, failure.error),
    ]


def _now() -> float:
    return asyncio.get_running_loop().time()
