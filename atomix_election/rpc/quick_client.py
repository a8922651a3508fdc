"""Calls that a client makes without a scope and a stream of grpclib's, as most are: one future each.

Such a call is short, and is sent whole and at once, as two frames; what its headers say is encoded once. An answer
that is as it should be, one short message and a good status, is the result of the future. Anything else, and be it
that nothing comes in time, is not judged here: the stream is handed on with all that came, and ``client_call`` goes on
as if it had made the call. Where a call cannot be sent at once, ``begin`` leaves it to that too.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from grpclib.protocol import Stream
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

from atomix_election.rpc import internals
from atomix_election.rpc.call import metadata_of, token_metadata
from atomix_election.rpc.frames import frame, whole_message
from atomix_election.rpc.header_blocks import lasting_block, operation_field
from atomix_election.rpc.http2_connection import Http2Connection, Processor, RawHeaders, Termination, reset
from atomix_election.rpc.methods import Method
from atomix_election.rpc.requests import request_headers
from atomix_election.service import Call

MAX_QUICK_RESPONSE_BYTES = 64 * 1024
"""A longer answer comes in several frames anyway, and is for the plain way."""
MAX_HEADS = 1024
"""Kinds of calls whose encoded headers are kept for a connection; then it begins anew."""
UNACKNOWLEDGED_BYTES = 64 * 1024
"""What is received at most, of the window of the whole connection, before the server may send as much again."""
MIN_ENDED_STREAMS = 128
"""With fewer streams it is not looked for those that have ended."""

_Head = tuple[str, str, str, str, str | None, float]
_ANSWERS = {ResponseReceived, DataReceived, TrailersReceived, StreamEnded, StreamReset}
_RESPONSE = [(b":status", b"200"), (b"content-type", b"application/grpc")]
_TRAILERS = [(b"grpc-status", b"0")]


class QuickCall:
    """A call that was sent. Made by ``QuickCalls.begin``; ``answer`` is to be awaited at once.

    Args:
        calls: those that it is one of.
        stream_id: where it goes on.
        began: when it was sent, by the loop's clock.
        timeout_s: how long it may take.
    """

    def __init__(self, calls: "QuickCalls", stream_id: int, began: float, timeout_s: float) -> None:
        self.stream_id = stream_id
        self.began = began
        self.timeout_s = timeout_s
        self.taken: list[Event] = []
        """What came of the answer, and was not handed on."""
        self.message: bytes | None = None
        """The message of the answer, once that has come."""
        self.stream: Stream | None = None
        """How grpclib sees the stream, after it was handed on."""
        self.termination: Termination = Termination()
        self.release: Callable[[], None] = _nothing
        self._calls = calls
        loop = calls.loop
        self._future: asyncio.Future[bytes | None] = loop.create_future()
        self._timer = loop.call_at(began + timeout_s, calls.hand_on, self)

    @property
    def deadline(self) -> float:
        """When it has to be answered, by the loop's clock."""
        return self.began + self.timeout_s

    async def answer(self) -> bytes | None:
        """Return the one message of a good answer; or None, and the plain way has to go on with ``stream``."""
        try:
            return await self._future
        except BaseException:
            self._calls.abandon(self)
            raise

    def end(self, message: bytes | None) -> None:
        """Wake who waits for the answer."""
        self._timer.cancel()
        if not self._future.done():
            self._future.set_result(message)


class QuickCalls:
    """Those of one connection.

    Args:
        connection: the connection.
        processor: what all else that the server says is handed on to.
        hand_on: does so.
        scheme: the URL scheme of requests.
        authority: which server they are for.
    """

    def __init__(
        self,
        connection: Http2Connection,
        processor: Processor,
        hand_on: Callable[[list[Event]], None],
        *,
        scheme: str,
        authority: str,
    ) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._connection = connection
        self._processor = processor
        self._hand_on = hand_on
        self._scheme = scheme
        self._authority = authority
        self._heads: dict[_Head, bytes] = {}
        self._calls: dict[int, QuickCall] = {}
        self._unacknowledged_bytes = 0
        self._look_at = MIN_ENDED_STREAMS
        self._closed = not internals.are_known_to_clients()
        self._settings_changed()
        processor.on_close = self._close

    def __len__(self) -> int:
        """Return how many wait for their answers."""
        return len(self._calls)

    def begin(
        self, method: Method, call: Call, token: str | None, message: bytes, timeout_s: float
    ) -> QuickCall | None:
        """Send a call, and return it; None where it cannot be sent at once or not in this way.

        Args:
            method: what is called.
            call: what it says of itself.
            token: what proves who makes it; None for nothing.
            message: the request, encoded.
            timeout_s: how long it may take.
        """
        data = frame(message)
        open_streams = len(self._calls) + len(self._processor.streams)
        if self._closed or open_streams >= self._max_streams or len(data) > self._windows[1]:
            return None
        key = (method.path, call.election, call.namespace, call.session, token, timeout_s)
        block = self._heads.get(key)
        if block is None:
            block = self._make_head(key, method, call)
        if call.operation is not None:
            block += operation_field(call.operation)
        if self._connection.is_closing():
            return None
        stream_id = self._connection.request(block, data, self._windows, at_once=not self._calls)
        if stream_id is None:
            return None
        quick = self._calls[stream_id] = QuickCall(self, stream_id, self.loop.time(), timeout_s)
        return quick

    def take(self, events: list[Event]) -> list[Event]:
        """Take what is for calls of this kind, and return the rest, which is not."""
        others: list[Event] = []
        for event in events:
            kind = type(event)
            if kind is RemoteSettingsChanged:
                self._settings_changed()
            call = self._calls.get(event.stream_id) if kind in _ANSWERS else None  # type: ignore[attr-defined]
            if call is None:
                others.append(event)
            elif self._is_as_it_should_be(call, event):
                call.taken.append(event)
            else:
                self._adopt(call)
                others += call.taken
                others.append(event)
        return others

    def hand_on(self, call: QuickCall) -> None:
        """Leave a call to the plain way, which judges what came and what is still to come."""
        self._adopt(call)
        self._hand_on(call.taken)

    def abandon(self, call: QuickCall) -> None:
        """Nobody waits for a call any more."""
        if self._calls.get(call.stream_id) is call:
            self._adopt(call)
        if call.stream is not None:
            reset(call.stream)
            call.release()

    def _is_as_it_should_be(self, call: QuickCall, event: Event) -> bool:
        """Return whether an answer goes on as a good one does, and end the call when it is complete."""
        if isinstance(event, DataReceived):
            if not event.flow_controlled_length:
                return True
            if call.message is not None:
                return False
            call.message = whole_message(event.data, MAX_QUICK_RESPONSE_BYTES)
            return call.message is not None
        if isinstance(event, ResponseReceived):
            return event.headers == _RESPONSE or _begins_well(event.headers)
        if not isinstance(event, TrailersReceived) or call.message is None:
            return False
        if event.headers != _TRAILERS and not _ended_well(event.headers):
            return False
        self._complete(call)
        return True

    def _complete(self, call: QuickCall) -> None:
        del self._calls[call.stream_id]
        for event in call.taken:
            if isinstance(event, DataReceived):
                self._unacknowledged_bytes += event.flow_controlled_length
        h2 = self._connection.h2
        if self._unacknowledged_bytes >= UNACKNOWLEDGED_BYTES:
            h2.acknowledge_received_data(self._unacknowledged_bytes, call.stream_id)
            self._unacknowledged_bytes = 0
        if len(h2.streams) >= self._look_at:
            self._look_at = 2 * h2.open_outbound_streams + MIN_ENDED_STREAMS  # it forgets those that have ended
        self._connection.stream_close_waiter.set()
        call.end(call.message)

    def _adopt(self, call: QuickCall) -> None:
        """Let grpclib take care of a stream from now on."""
        del self._calls[call.stream_id]
        call.stream = self._connection.stream_of(call.stream_id, call.termination)
        call.release = self._processor.register(call.stream)
        call.message = None
        call.end(None)

    def _close(self) -> None:
        self._closed = True
        for call in list(self._calls.values()):
            self.hand_on(call)

    def _settings_changed(self) -> None:
        h2 = self._connection.h2
        self._max_streams = h2.remote_settings.max_concurrent_streams
        self._windows = h2.local_settings.initial_window_size, h2.remote_settings.initial_window_size

    def _make_head(self, key: _Head, method: Method, call: Call) -> bytes:
        *_, token, timeout_s = key
        credentials = [] if token is None else token_metadata(token)
        metadata = metadata_of(replace(call, operation=None))
        headers = request_headers(method, self._scheme, self._authority, metadata, credentials, timeout_s)
        if len(self._heads) >= MAX_HEADS:
            self._heads.clear()
        head = self._heads[key] = lasting_block(headers)
        return head


def _begins_well(headers: RawHeaders) -> bool:
    first = dict(headers)
    return first.get(b":status") == b"200" and b"grpc-status" not in first


def _ended_well(trailers: RawHeaders) -> bool:
    return dict(trailers).get(b"grpc-status") == b"0"


def _nothing() -> None:
    """What is done before there is anything to do."""
