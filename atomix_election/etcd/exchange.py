"""One call on one connection: what is sent, what comes back, and how it ends."""

import struct
from collections.abc import Generator
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar, cast

import anyio
import anyio.lowlevel
import betterproto2
from grpclib.const import Status as Code
from grpclib.metadata import decode_grpc_message
from grpclib.protocol import Stream
from grpclib.utils import Wrapper
from h2.exceptions import ProtocolError

from atomix_election.etcd._generated import etcdserverpb as pb
from atomix_election.etcd.connection import Protocol

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""The largest message that is read. Etcd's own limit is that of a request, 1.5 MiB, for each operation."""

_PREFIX = struct.Struct(">BI")
_PARSE_ERRORS = (
    ValueError,
    EOFError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    struct.error,
)
_MessageT = TypeVar("_MessageT", bound=betterproto2.Message)


class Lost(Exception):
    """There is no answer, or none that is etcd's."""


class Garbled(Lost):
    """What came is not an answer of etcd's."""


class Refused(Exception):
    """Etcd answered with a status other than OK."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(f"{message} ({code.name})")
        self.code = code
        self.message = message


class Method(NamedTuple, Generic[_MessageT]):
    """What is called.

    Args:
        service: its name without the package.
        name: that of the method.
        answer: what comes back.
    """

    service: str
    name: str
    answer: type[_MessageT]

    @property
    def path(self) -> str:
        """Its path in HTTP."""
        return f"/etcdserverpb.{self.service}/{self.name}"


class _Termination:
    """Stands in for grpclib's ``Wrapper``, which would cancel tasks: this cancels scopes, which tell it from others."""

    def __init__(self) -> None:
        self._reason: str | None = None
        self._scopes: set[anyio.CancelScope] = set()

    def cancel(self, error: Exception) -> None:
        """Called by grpclib when the stream ends before its time."""
        self._reason = str(error)
        for scope in self._scopes:
            scope.cancel()

    @contextmanager
    def waiting(self) -> Generator[None]:
        """Wait for the stream inside; raises Lost out of it when the stream ends."""
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                if self._reason is None:
                    yield
            finally:
                self._scopes.discard(scope)
        if self._reason is not None:
            raise Lost(self._reason)


class Exchange(Generic[_MessageT]):
    """A stream of HTTP/2.

    Args:
        protocol: the connection.
        method: what is called.
        headers: scheme and metadata.
    """

    def __init__(self, protocol: Protocol, method: Method[_MessageT], headers: list[tuple[str, str]]) -> None:
        self.protocol = protocol
        self.sent: bool = False
        """Whether a message may have reached etcd."""
        self._method = method
        self._headers = [
            (":method", "POST"),
            (":path", method.path),
            (":authority", str(protocol.endpoint)),
            *headers,
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        self._termination = _Termination()
        self._stream: Stream | None = None

    async def open(self) -> None:
        """Send the headers.

        Raises:
            Lost: the connection takes no more calls.
        """
        try:
            stream = self.protocol.processor.connection.create_stream(wrapper=cast(Wrapper, self._termination))
            with self._termination.waiting():
                self._release = await stream.send_request(self._headers, _processor=self.protocol.processor)
                self._stream = stream
        except (ProtocolError, AttributeError) as error:  # grpclib takes closed connections apart
            self.close()
            raise Lost(f"the connection takes no more calls: {error}") from error

    async def send(self, message: betterproto2.Message, *, end: bool = False) -> None:
        """Send a message.

        Raises:
            Lost: the stream is closed.
            Refused: etcd has ended the call.
        """
        assert self._stream is not None
        data = bytes(message)
        self.sent = True
        try:
            with self._termination.waiting():
                await self._stream.send_data(_PREFIX.pack(0, len(data)) + data, end_stream=end)
        except (Lost, ProtocolError) as error:
            self._raise_status()
            raise Lost(f"the request could not be sent: {error}") from error

    async def receive(self) -> _MessageT | None:
        """Return the next message, or None when etcd has ended the call, and all is well.

        Raises:
            Lost: the call was broken off.
            Garbled: what came is not what etcd sends.
            Refused: etcd has ended the call.
        """
        assert self._stream is not None
        await anyio.lowlevel.checkpoint()  # as there may be thousands to be had without waiting
        try:
            with self._termination.waiting():
                self._check_begin(dict(await self._stream.recv_headers()))
                data = await self._read(self._stream)
        except (Lost, AssertionError) as error:
            self._raise_status()
            raise Lost(str(error) or "the answer ended early") from error
        if data is not None:
            return self._parse(data)
        self._raise_status()
        if "grpc-status" not in self._end:
            raise Lost("the answer ended without a status")
        return None

    def close(self) -> None:
        """Tell etcd that nobody cares any more, if it has not ended the call itself."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        if stream.closable:
            stream.reset_nowait()
        self._release()

    @property
    def _end(self) -> dict[str, str]:
        """What ended the call; empty while it goes on."""
        if self._stream is None:
            return {}
        begin, end = dict(self._stream.headers or ()), dict(self._stream.trailers or ())
        return end or (begin if "grpc-status" in begin else {})

    def _raise_status(self) -> None:
        status = self._end.get("grpc-status", "0")
        if status != "0":
            message = decode_grpc_message(self._end.get("grpc-message", ""))
            raise Refused(_code(status), message or "etcd gave no reason")

    def _check_begin(self, headers: dict[str, str]) -> None:
        if headers.get(":status") != "200" or not headers.get("content-type", "").startswith("application/grpc"):
            raise Garbled(f"it answered with HTTP status {headers.get(':status')} and not as gRPC: is that etcd?")

    async def _read(self, stream: Stream) -> bytes | None:
        prefix = await stream.recv_data(_PREFIX.size)
        if not prefix:
            return None
        compressed, size = _PREFIX.unpack(prefix)
        if compressed or size > MAX_ANSWER_BYTES:
            raise Garbled(f"a message of {size} bytes{', compressed' if compressed else ''}: is that etcd?")
        data = await stream.recv_data(size)
        if len(data) < size:
            raise Garbled("the answer ended inside a message")
        return data

    def _parse(self, data: bytes) -> _MessageT:
        try:
            message = self._method.answer.parse(data)
        except _PARSE_ERRORS as error:
            raise Garbled(f"the answer is not a {self._method.answer.__name__}: {error}") from error
        # betterproto2 takes bytes for a message that are none. Every answer of etcd's has a header, which they lack.
        header: pb.ResponseHeader | None = getattr(message, "header", None)
        if header is None or not header.cluster_id:
            raise Garbled(f"the answer is not a {self._method.answer.__name__}: it does not name its cluster")
        return message


def _code(status: str) -> Code:
    try:
        return Code(int(status))
    except ValueError:
        return Code.UNKNOWN
