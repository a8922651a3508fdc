"""What this package knows of h2 beyond its documented interface: how to tell it of frames that it did not write.

Its own way to write a frame costs as much as all the rest of a short call. The frames of an answer are always alike, so
``quick_calls`` and ``fan_out`` write them themselves, and h2 only keeps account: of the state of the stream, and of the
windows. That goes by these names of h2, which are none of its documented ones:

* ``H2Connection.streams[id].state_machine.process_input(StreamInputs....)``
* ``H2Connection.outbound_flow_control_window`` and ``H2Stream.outbound_flow_control_window``
* ``H2Connection.encoder.header_table.resized``

Where they are not what they were, ``are_known`` says so, and all goes the plain way; a test fails then.
"""

import struct
from functools import cache

from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.stream import StreamInputs

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


@cache
def are_known() -> bool:
    """Return whether h2 is as this module knows it: after an answer of ours it is as after one of its own."""
    try:
        ours, own = (_answered(by_hand=by_hand) for by_hand in (True, False))
    except Exception:  # noqa: BLE001 - whatever it is, the plain way is there
        return False
    return ours == own


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
    events = [
        (type(event), getattr(event, "headers", None), getattr(event, "data", None))
        for event in client.receive_data(frames)
    ]
    streams = [(s.state_machine.state, s.closed_by, s.outbound_flow_control_window) for s in server.streams.values()]
    sent = [(s.state_machine.headers_sent, s.state_machine.trailers_sent) for s in server.streams.values()]
    return events, streams, sent, server.outbound_flow_control_window, server.state_machine.state
