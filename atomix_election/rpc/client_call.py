"""The client's side of one call: send it, and make the answer, or the lack of one, a message or an error."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar, cast

import anyio
from grpclib.const import Status
from grpclib.metadata import decode_grpc_message
from grpclib.protocol import Stream
from grpclib.utils import Wrapper
from h2.exceptions import NoAvailableStreamIDError, ProtocolError

from atomix_election.errors import (
    ElectionError,
    InvalidRequest,
    LimitExceeded,
    OutcomeUnknown,
    Unauthenticated,
    Unavailable,
)
from atomix_election.rpc.call import PROTOCOL_KEY
from atomix_election.rpc.client_connection import ClientConnection
from atomix_election.rpc.frames import frame, read_frame
from atomix_election.rpc.http2 import Http2Protocol
from atomix_election.rpc.http2_connection import Headers, Termination, reset
from atomix_election.rpc.methods import Method
from atomix_election.rpc.protocol import check_agreed, is_ours
from atomix_election.rpc.quick_client import QuickCall
from atomix_election.rpc.requests import lasting_only, request_headers
from atomix_election.rpc.status import ERROR_NAME_KEY, Failure, Rejected, error_of

MAX_RESPONSE_BYTES = 16 * 1024 * 1024
"""The largest answer that is read: a term of tens of thousands of candidates."""

_UNIMPLEMENTED = str(Status.UNIMPLEMENTED.value)
_DEADLINE_EXCEEDED = str(Status.DEADLINE_EXCEEDED.value)
_ResponseT = TypeVar("_ResponseT")

Decode = Callable[[bytes], _ResponseT]
"""Returns what the bytes of a response say, or raises InvalidRequest where they are none."""


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
        self.connected: bool = False
        """Whether there was a connection to send it on."""
        self.timed_out: bool = False
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

    async def unary(self, request: bytes, decode: Decode[_ResponseT], timeout_s: float) -> _ResponseT:
        """Send the request and return the one response.

        Raises:
            ElectionError: the server refused; or Unavailable or OutcomeUnknown, as there was no answer in time.
        """
        scope = anyio.move_on_after(timeout_s)
        termination = Termination(scope)
        with scope:
            return await self._exchange(request, decode, timeout_s, termination)
        raise self._broken_off(termination, timeout_s)

    async def resume(self, quick: QuickCall, decode: Decode[_ResponseT]) -> _ResponseT:
        """Go on with a call that was sent already, and return the one response.

        Raises:
            ElectionError: as for ``unary``.
        """
        self.connected = self._sent = True
        if quick.message is not None:
            return self._decode(quick.message, decode)
        scope = anyio.CancelScope(deadline=quick.deadline)
        quick.termination.ends(scope)
        self._release_stream, self._stream = quick.release, quick.stream
        assert self._stream is not None
        with scope:
            return await self._receive(self._stream, decode)
        raise self._broken_off(quick.termination, quick.timeout_s)

    def _broken_off(self, termination: Termination, timeout_s: float) -> ElectionError:
        self._raise_status()
        self.timed_out = termination.reason is None
        return self._no_answer(termination.reason or f"no answer within {timeout_s:g} s")

    async def watch(
        self,
        request: bytes,
        decode: Decode[_ResponseT],
        receive: Callable[[_ResponseT, dict[str, str]], None],
    ) -> None:
        """Send the request and hand on every response, until the stream ends, which is always an error.

        Args:
            request: the one message that is sent.
            decode: see ``Decode``.
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
                while (message := await self._read(stream, decode)) is not None:
                    receive(message, headers)
            finally:
                self._release(stream)
        self._raise_status()
        raise self._no_answer(termination.reason or "the server ended the stream")

    @asynccontextmanager
    async def duplex(self, decode: Decode[_ResponseT]) -> AsyncGenerator["Duplex[_ResponseT]"]:
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
                yield Duplex(stream, decode, self._read_answer)
            finally:
                self._release(stream)
        if scope.cancelled_caught:
            self._raise_status()
            raise self._no_answer(termination.reason or "the stream was broken off")

    async def _read_answer(self, stream: Stream, decode: Decode[_ResponseT]) -> _ResponseT:
        await stream.recv_headers()
        self._raise_refusal()
        message = await self._read(stream, decode)
        if message is None:
            self._raise_status()
            raise self._no_answer("the server ended the stream")
        return message

    async def _exchange(
        self, request: bytes, decode: Decode[_ResponseT], timeout_s: float, termination: Termination
    ) -> _ResponseT:
        protocol = await self._connection.get()
        stream = await self._open(protocol, termination, timeout_s)
        return await self._receive(stream, decode, request)

    async def _receive(self, stream: Stream, decode: Decode[_ResponseT], request: bytes | None = None) -> _ResponseT:
        """Return the one response, after sending the request where that is still to do."""
        try:
            if request is not None:
                await self._send(stream, request)
            await stream.recv_headers()
            self._raise_refusal()
            message = await self._read(stream, decode)
            rest = None if message is None else await self._read(stream, decode)
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
        connection = self._connection
        headers = request_headers(
            self._method, connection.scheme, connection.authority, self._metadata, self._credentials, timeout_s
        )
        try:
            self._release_stream = await stream.send_request(
                cast(Headers, lasting_only(headers)), _processor=protocol.processor
            )
        except ProtocolError as error:
            if isinstance(error, NoAvailableStreamIDError):
                self._connection.give_up()
            raise Unavailable(f"the connection takes no more calls: {error}") from error
        self._stream = stream
        return stream

    async def _send(self, stream: Stream, request: bytes) -> None:
        self._sent = True
        try:
            await stream.send_data(frame(request), end_stream=True)
        except ProtocolError as error:
            self._raise_status()
            raise self._no_answer(f"the request could not be sent: {error}") from error

    async def _read(self, stream: Stream, decode: Decode[_ResponseT]) -> _ResponseT | None:
        try:
            data = await read_frame(stream, MAX_RESPONSE_BYTES)
        except (InvalidRequest, LimitExceeded, Rejected) as error:
            raise self._malformed(error) from error
        return None if data is None else self._decode(data, decode)

    def _decode(self, data: bytes, decode: Decode[_ResponseT]) -> _ResponseT:
        try:
            return decode(data)
        except InvalidRequest as error:
            raise self._malformed(error) from error

    def _malformed(self, error: Exception) -> ElectionError:
        return self._no_answer(f"the server's answer is malformed: {error}")

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


class Duplex(Generic[_ResponseT]):
    """A stream in both directions."""

    def __init__(
        self,
        stream: Stream,
        decode: Decode[_ResponseT],
        read: Callable[[Stream, Decode[_ResponseT]], Awaitable[_ResponseT]],
    ) -> None:
        self._stream = stream
        self._decode = decode
        self._read = read

    async def send(self, message: bytes) -> None:
        """Send a message."""
        try:
            await self._stream.send_data(frame(message))
        except ProtocolError as error:
            raise Unavailable(f"the stream is closed: {error}") from error

    async def receive(self) -> _ResponseT:
        """Return the next message."""
        return await self._read(self._stream, self._decode)


def _status(value: str) -> Status:
    try:
        return Status(int(value))
    except ValueError:
        return Status.UNKNOWN
