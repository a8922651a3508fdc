"""The client's side of one call: send it, and make the answer, or the lack of one, a message or an error."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar, cast

import anyio
import betterproto2
from grpclib.const import Status
from grpclib.metadata import decode_grpc_message
from grpclib.protocol import Stream
from grpclib.utils import Wrapper
from h2.exceptions import ProtocolError

from atomix_election.errors import (
    ElectionError,
    InvalidRequest,
    LimitExceeded,
    OutcomeUnknown,
    Unauthenticated,
    Unavailable,
)
from atomix_election.rpc import wire
from atomix_election.rpc.call import PROTOCOL_KEY, TIMEOUT_KEY, encode_timeout
from atomix_election.rpc.client_connection import ClientConnection
from atomix_election.rpc.frames import frame, read_frame
from atomix_election.rpc.http2 import Headers, Http2Protocol, Termination, reset
from atomix_election.rpc.methods import Method
from atomix_election.rpc.protocol import SPOKEN, check_agreed, is_ours
from atomix_election.rpc.status import ERROR_NAME_KEY, Failure, Rejected, error_of

MAX_RESPONSE_BYTES = 16 * 1024 * 1024
"""The largest answer that is read: a term of tens of thousands of candidates."""

_UNIMPLEMENTED = str(Status.UNIMPLEMENTED.value)
_DEADLINE_EXCEEDED = str(Status.DEADLINE_EXCEEDED.value)
_MessageT = TypeVar("_MessageT", bound=betterproto2.Message)


class ClientCall:
    """One call on one connection.

    Args:
        connection: where to send it.
        method: what is called.
        metadata: what the call says of itself.
        write: whether it may change something, so that a lost answer is an unknown outcome.
    """

    def __init__(self, connection: ClientConnection, method: Method, metadata: Headers, *, write: bool) -> None:
        self._connection = connection
        self._method = method
        self._metadata = metadata
        self._write = write
        self.connected = False
        """Whether there was a connection to send it on."""
        self.timed_out = False
        """Whether nothing was heard in time, of an end of the connection neither."""
        self._sent = False
        self._credentials: Headers = []
        self._stream: Stream | None = None

    @property
    def credentials_changed(self) -> bool:
        """Whether a call made now would carry other credentials than this one did."""
        try:
            return self._credentials != self._connection.credentials
        except Unauthenticated:
            return False

    async def unary(self, request: betterproto2.Message, response: type[_MessageT], timeout_s: float) -> _MessageT:
        """Send the request and return the one response.

        Raises:
            ElectionError: the server refused; or Unavailable or OutcomeUnknown, as there was no answer in time.
        """
        scope = anyio.move_on_after(timeout_s)
        termination = Termination(scope)
        with scope:
            return await self._exchange(request, response, timeout_s, termination)
        self._raise_status()
        self.timed_out = termination.reason is None
        raise self._no_answer(termination.reason or f"no answer within {timeout_s:g} s")

    async def watch(
        self,
        request: betterproto2.Message,
        response: type[_MessageT],
        receive: Callable[[_MessageT, dict[str, str]], None],
    ) -> None:
        """Send the request and hand on every response, until the stream ends, which is always an error.

        Args:
            request: the one message that is sent.
            response: what comes back.
            receive: is given each of them, and the response's headers.

        Raises:
            ElectionError: the server ended the stream; or Unavailable, as the connection was lost.
        """
        scope = anyio.CancelScope()
        termination = Termination(scope)
        with scope:
            protocol = await self._connection.get()
            stream = await self._open(protocol, termination, None)
            try:
                await self._send(stream, request)
                headers = dict(await stream.recv_headers())
                self._raise_refusal()
                while (message := await self._read(stream, response)) is not None:
                    receive(message, headers)
            finally:
                self._release(stream)
        self._raise_status()
        raise self._no_answer(termination.reason or "the server ended the stream")

    @asynccontextmanager
    async def duplex(self, response: type[_MessageT]) -> AsyncGenerator["Duplex[_MessageT]"]:
        """Open a stream in both directions, for the length of the block.

        Raises:
            ElectionError: the server ended the stream; or Unavailable, as the connection was lost. Out of the block.
        """
        scope = anyio.CancelScope()
        termination = Termination(scope)
        with scope:
            protocol = await self._connection.get()
            stream = await self._open(protocol, termination, None)
            try:
                yield Duplex(stream, response, self._read_answer)
            finally:
                self._release(stream)
        if scope.cancelled_caught:
            self._raise_status()
            raise self._no_answer(termination.reason or "the stream was broken off")

    async def _read_answer(self, stream: Stream, response: type[_MessageT]) -> _MessageT:
        await stream.recv_headers()
        self._raise_refusal()
        message = await self._read(stream, response)
        if message is None:
            self._raise_status()
            raise self._no_answer("the server ended the stream")
        return message

    async def _exchange(
        self, request: betterproto2.Message, response: type[_MessageT], timeout_s: float, termination: Termination
    ) -> _MessageT:
        protocol = await self._connection.get()
        stream = await self._open(protocol, termination, timeout_s)
        try:
            await self._send(stream, request)
            await stream.recv_headers()
            self._raise_refusal()
            message = await self._read(stream, response)
            rest = None if message is None else await self._read(stream, response)
            self._raise_status()
        finally:
            self._release(stream)
        if message is None or rest is not None or stream.trailers is None:
            raise self._no_answer("the server's answer is not one message with a status")
        return message

    async def _open(self, protocol: Http2Protocol, termination: Termination, timeout_s: float | None) -> Stream:
        self.connected = True
        self._credentials = self._connection.credentials
        stream = protocol.processor.connection.create_stream(wrapper=cast(Wrapper, termination))
        headers = [
            (":method", "POST"),
            (":scheme", self._connection.scheme),
            (":path", self._method.path),
            (":authority", self._connection.authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *self._metadata,
            *self._credentials,
        ]
        if is_ours(self._method):
            headers.append((PROTOCOL_KEY, str(SPOKEN)))
        if timeout_s is not None:
            headers.append((TIMEOUT_KEY, encode_timeout(timeout_s)))
        try:
            self._release_stream = await stream.send_request(headers, _processor=protocol.processor)
        except ProtocolError as error:
            raise Unavailable(f"the connection takes no more calls: {error}") from error
        self._stream = stream
        return stream

    async def _send(self, stream: Stream, request: betterproto2.Message) -> None:
        self._sent = True
        try:
            await stream.send_data(frame(wire.encode(request)), end_stream=True)
        except ProtocolError as error:
            self._raise_status()
            raise self._no_answer(f"the request could not be sent: {error}") from error

    async def _read(self, stream: Stream, response: type[_MessageT]) -> _MessageT | None:
        try:
            data = await read_frame(stream, MAX_RESPONSE_BYTES)
            return None if data is None else wire.decode(data, response)
        except (InvalidRequest, LimitExceeded, Rejected) as error:
            raise self._no_answer(f"the server's answer is malformed: {error}") from error

    def _release(self, stream: Stream) -> None:
        reset(stream)
        self._release_stream()

    def _raise_refusal(self) -> None:
        """Raise what the server has said, if its answer has no messages; what comes after messages is for later."""
        first = {} if self._stream is None else dict(self._stream.headers or ())
        if first.get(":status") != "200" or "grpc-status" in first:
            self._raise_status()
        elif is_ours(self._method):
            check_agreed(first.get(PROTOCOL_KEY, ""), self._connection.authority)

    def _raise_status(self) -> None:
        """Raise what the server has said, if it has said that the call failed."""
        if self._stream is None:
            return
        first = dict(self._stream.headers or ())
        last = dict(self._stream.trailers or ())
        if first and first.get(":status") != "200":
            raise self._no_answer(f"it answered with HTTP status {first.get(':status')}, which is not gRPC")
        status = last.get("grpc-status") or first.get("grpc-status")
        if status is None and last:
            raise self._no_answer("the server's answer ended without a status")
        if status is None or status == "0":
            return
        self.timed_out = status == _DEADLINE_EXCEEDED  # the server may notice first that there is no more time
        last = last or first
        message = decode_grpc_message(last.get("grpc-message", ""))
        if status == _UNIMPLEMENTED and is_ours(self._method):
            message = f"the server {self._connection.authority} is too old for this, or of another make: {message}"
        raise error_of(Failure(_status(status), message, last.get(ERROR_NAME_KEY, "")), write=self._write)

    def _no_answer(self, why: str) -> ElectionError:
        if self._write and self._sent:
            return OutcomeUnknown(f"{self._method.name}: {why}; read the term to find out whether it was applied")
        return Unavailable(f"{self._method.name}: {why}")


class Duplex(Generic[_MessageT]):
    """A stream in both directions."""

    def __init__(
        self,
        stream: Stream,
        response: type[_MessageT],
        read: Callable[[Stream, type[_MessageT]], Awaitable[_MessageT]],
    ) -> None:
        self._stream = stream
        self._response = response
        self._read = read

    async def send(self, message: betterproto2.Message) -> None:
        """Send a message."""
        try:
            await self._stream.send_data(frame(wire.encode(message)))
        except ProtocolError as error:
            raise Unavailable(f"the stream is closed: {error}") from error

    async def receive(self) -> _MessageT:
        """Return the next message."""
        return await self._read(self._stream, self._response)


def _status(value: str) -> Status:
    try:
        return Status(int(value))
    except ValueError:
        return Status.UNKNOWN
