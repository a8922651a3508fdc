"""What this package knows of h2 beyond its documented interface: how to tell it of frames that it did not write.

Its own way to write a frame costs as much as all the rest of a short call. The frames of a request and an answer are
always alike, so ``quick_calls``, ``fan_out`` and ``quick_client`` have them written here, and h2 only keeps account: of
the state of the stream, and of the windows. That goes by these names of h2, which are none of its documented ones:

* ``H2Connection.streams[id].state_machine.process_input(StreamInputs....)``
* ``H2Connection.outbound_flow_control_window`` and ``H2Stream.outbound_flow_control_window``
* for requests: ``H2Connection.state_machine``, ``H2Connection.highest_outbound_stream_id``, and the class ``H2Stream``
  with ``max_outbound_frame_size`` and ``request_method``
* ``H2Connection.encoder.header_table.resized``

Where they are not what they were, ``are_known`` and ``are_known_to_clients`` say so, and all goes the plain way; a test
fails then.
"""

import struct
from collections.abc import Callable
from functools import cache

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2Connection
from h2.events import Event
from h2.stream import H2Stream, StreamInputs
from hpack import Encoder, NeverIndexedHeaderTuple

_REQUEST = [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "localhost")]
_HEADERS = [(":status", "200"), ("content-type", "application/grpc")]
_TRAILERS = [("grpc-status", "0")]

# RFC 7541, appendix A: 8 is ``:status: 200``, and 31 ``content-type``, with a literal value that is not indexed.
_HEADER_BLOCK = b"\x88\x0f\x10\x10application/grpc"
_TRAILER_BLOCK = b"\x00\x0bgrpc-status\x010"
# Length, kind and flags of frames, RFC 9113, section 4.1 and 6.
_FRAME = struct.Struct(">BHBB")
_STREAM_ID = struct.Struct(">L")
_DATA, _HEADERS_KIND = 0, 1
_END_STREAM, _END_HEADERS = 1, 4


def _start(length: int, kind: int, flags: int) -> bytes:
    return _FRAME.pack(length >> 16, length & 0xFFFF, kind, flags)


_HEADERS_START = _start(len(_HEADER_BLOCK), _HEADERS_KIND, _END_HEADERS)
_TRAILERS_START = _start(len(_TRAILER_BLOCK), _HEADERS_KIND, _END_HEADERS | _END_STREAM)


def can_take(h2: H2Connection, stream_id: int, size: int) -> bool:
    """Return whether a stream is open, and it and the connection have room for so many bytes in one frame."""
    stream = h2.streams.get(stream_id)
    return (
        stream is not None
        and size <= h2.max_outbound_frame_size
        and size <= h2.outbound_flow_control_window
        and size <= stream.outbound_flow_control_window
        and h2.state_machine.state is not ConnectionState.CLOSED
        and not stream.closed
    )


def can_answer(h2: H2Connection, stream_id: int, size: int) -> bool:
    """Return whether the same is so, and a block of headers may be sent that says nothing of the table.

    When the peer has changed how large that may be, the next block has to begin with it (RFC 7541, section 4.2).
    """
    return not h2.encoder.header_table.resized and can_take(h2, stream_id, size)


def answer(h2: H2Connection, stream_id: int, message: bytes) -> bytes:
    """Return the frames of a whole answer: headers, one message, and trailers that say that all went well.

    h2 counts them as sent. It must be possible (``can_answer``), and nothing may have been sent on the stream.

    Args:
        h2: the connection.
        stream_id: which stream.
        message: with its prefix.
    """
    size = len(message)
    stream = h2.streams[stream_id]
    said = stream.state_machine.process_input
    said(StreamInputs.SEND_HEADERS)
    said(StreamInputs.SEND_HEADERS)  # the trailers
    said(StreamInputs.SEND_END_STREAM)
    h2.outbound_flow_control_window -= size
    stream.outbound_flow_control_window -= size
    number = _STREAM_ID.pack(stream_id)
    return b"".join(
        (
            _HEADERS_START,
            number,
            _HEADER_BLOCK,
            _FRAME.pack(0, size, _DATA, 0),
            number,
            message,
            _TRAILERS_START,
            number,
            _TRAILER_BLOCK,
        )
    )


def data(h2: H2Connection, stream_id: int, message: bytes) -> bytes:
    """Return the frame of one more message on a stream that has its headers and has room, which h2 counts as sent.

    Args:
        h2: the connection.
        stream_id: which stream.
        message: with its prefix.
    """
    size = len(message)
    h2.outbound_flow_control_window -= size
    h2.streams[stream_id].outbound_flow_control_window -= size
    return _FRAME.pack(0, size, _DATA, 0) + _STREAM_ID.pack(stream_id) + message


def can_request(h2: H2Connection, block: bytes, message: bytes) -> bool:
    """Return whether the connection has room for a request of one frame of headers and one of data.

    It is not looked whether a new stream has room (``remote_settings.initial_window_size``) and may be opened, which
    the caller knows. Where the size of h2's table of headers has changed, its own next block has to say so first.
    """
    size = len(message)
    return (
        size <= h2.outbound_flow_control_window
        and size <= h2.max_outbound_frame_size
        and len(block) <= h2.max_outbound_frame_size
        and h2.highest_outbound_stream_id + 2 <= h2.HIGHEST_ALLOWED_STREAM_ID
        and h2.state_machine.state is not ConnectionState.CLOSED
        and not h2.encoder.header_table.resized
    )


def request(h2: H2Connection, block: bytes, message: bytes, windows: tuple[int, int]) -> tuple[int, bytes]:
    """Return a new stream and the frames of a whole request on it, which h2 counts as sent.

    There must be room (``can_request``).

    Args:
        h2: the connection, on the client's side.
        block: the headers, encoded so that they touch no table.
        message: the one message, with its prefix.
        windows: those that a new stream has: for what comes in and for what goes out.
    """
    size = len(message)
    stream_id = h2.get_next_available_stream_id()
    h2.state_machine.process_input(ConnectionInputs.SEND_HEADERS)
    stream = H2Stream(stream_id, h2.config, *windows)
    stream.max_outbound_frame_size = h2.max_outbound_frame_size
    stream.request_method = b"POST"
    h2.streams[stream_id] = stream
    h2.highest_outbound_stream_id = stream_id
    said = stream.state_machine.process_input
    said(StreamInputs.SEND_HEADERS)
    said(StreamInputs.SEND_END_STREAM)
    h2.outbound_flow_control_window -= size
    stream.outbound_flow_control_window -= size
    number = _STREAM_ID.pack(stream_id)
    return stream_id, b"".join(
        (
            _start(len(block), _HEADERS_KIND, _END_HEADERS),
            number,
            block,
            _FRAME.pack(0, size, _DATA, _END_STREAM),
            number,
            message,
        )
    )


@cache
def are_known() -> bool:
    """Return whether h2 is as this module knows it: after an answer of ours it is as after one of its own."""
    return _is_alike(_answered)


@cache
def are_known_to_clients() -> bool:
    """Return the same of requests."""
    return _is_alike(_asked)


def _is_alike(look: Callable[..., tuple[object, ...]]) -> bool:
    try:
        return look(by_hand=True) == look(by_hand=False)
    except Exception:  # noqa: BLE001 - whatever it is, the plain way is there
        return False


def _asked(*, by_hand: bool) -> tuple[object, ...]:
    """Return what both sides look like after a request and its answer, and what the client thinks of the next."""
    server, client = (
        H2Connection(H2Configuration(client_side=side, header_encoding="utf-8")) for side in (False, True)
    )
    client.initiate_connection()
    server.initiate_connection()
    server.receive_data(client.data_to_send())
    client.receive_data(server.data_to_send())
    frames = client.data_to_send()
    message = b"\0\0\0\0\3abc"
    if by_hand:
        windows = client.local_settings.initial_window_size, client.remote_settings.initial_window_size
        block = Encoder().encode([NeverIndexedHeaderTuple(*header) for header in _REQUEST])
        frames += request(client, block, message, windows)[1]
    else:
        client.send_headers(1, _REQUEST)
        client.send_data(1, message, end_stream=True)
        frames += client.data_to_send()
    events = _seen(server.receive_data(frames))
    looks = [_look(client), _look(server)]
    server.send_headers(1, _HEADERS)
    server.send_data(1, message)
    server.send_headers(1, _TRAILERS, end_stream=True)
    events += _seen(client.receive_data(server.data_to_send()))
    looks += [_look(client), _look(server)]
    rest = client.open_outbound_streams, len(client.streams), client.get_next_available_stream_id()
    return events, looks, rest


def _look(h2: H2Connection) -> tuple[object, ...]:
    """Return what h2 knows of its connection and its streams."""
    streams = [
        (
            number,
            vars(each.state_machine),
            each.inbound_flow_control_window,
            each.outbound_flow_control_window,
            each.max_outbound_frame_size,
            each.request_method,
            sorted(vars(each)),
        )
        for number, each in h2.streams.items()
    ]
    return streams, h2.outbound_flow_control_window, h2.inbound_flow_control_window, h2.state_machine.state


def _seen(events: list[Event]) -> list[object]:
    return [(type(each), getattr(each, "headers", None), getattr(each, "data", None)) for each in events]


def _answered(*, by_hand: bool) -> tuple[object, ...]:
    """Return what a server's and a client's side look like after two messages."""
    server, client = (
        H2Connection(H2Configuration(client_side=side, header_encoding="utf-8")) for side in (False, True)
    )
    client.initiate_connection()
    client.send_headers(1, _REQUEST)
    client.send_headers(3, _REQUEST, end_stream=True)
    server.initiate_connection()
    server.receive_data(client.data_to_send())
    frames = server.data_to_send()
    server.send_headers(1, _HEADERS)
    frames += server.data_to_send()
    message = b"\0\0\0\0\3abc"
    if by_hand and not (can_take(server, 1, len(message)) and can_answer(server, 3, len(message))):
        raise ValueError("there is room, and h2 is not known to say so")
    if by_hand:
        frames += data(server, 1, message) + answer(server, 3, message)
    else:
        server.send_data(1, message)
        server.send_headers(3, _HEADERS)
        server.send_data(3, message)
        server.send_headers(3, _TRAILERS, end_stream=True)
        frames += server.data_to_send()
    events = _seen(client.receive_data(frames))
    streams = [(s.state_machine.state, s.closed_by, s.outbound_flow_control_window) for s in server.streams.values()]
    sent = [(s.state_machine.headers_sent, s.state_machine.trailers_sent) for s in server.streams.values()]
    return events, streams, sent, server.outbound_flow_control_window, server.state_machine.state
