"""Requests to the port of the metrics, which is plain HTTP: as they should be, nearly, and not at all."""

import re
import socket
import time
from contextlib import suppress

from hypothesis import strategies as st

from tests.fuzz.heard import Fault

LONGEST_S = 10.0
"""How long an answer may take, on a busy machine."""
_FIRST_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2}) ")
_AT_FAULT = 500

methods = st.sampled_from([*[b"GET"] * 8, b"HEAD", b"POST", b"OPTIONS", b"PRI", b"get", b"", b"\xff", b"G" * 70_000])
targets = st.sampled_from(
    [*[b"/metrics"] * 8, b"", *b"/ * /favicon.ico http://[ http://[::1]:x/ // /% /%00%ff /\xff".split()]
) | st.binary(max_size=12)
queries = st.sampled_from(
    [b"", b"", b"?name[]=x", b"?name[]=%ff", b"?" + b"a=b&" * 2000, b"?name[]", b"?&&==", b"?name[]=" + b"x" * 5000]
)
versions = st.sampled_from([*[b" HTTP/1.1"] * 12, b" HTTP/1.0", b"", b" HTTP/0.9", b" HTTP/2.0", b" HTTP/9", b" x y"])
header_lines = st.one_of(
    st.sampled_from(
        [
            b"host: x",
            b"host: [",
            b"accept: application/openmetrics-text; version=1.0.0",
            b"accept: " + b"," * 500,
            b"accept: application/openmetrics-text; version=;;q=\xff; escaping=x",
            b"accept-encoding: gzip",
            b"accept-encoding: " + b"gzip;q=0," * 100,
            b"content-length: 5",
            b"content-length: -1",
            b"content-length: x",
            b"transfer-encoding: chunked",
            b"expect: 100-continue",
            b"connection: keep-alive",
            b" folded",
            b"no colon",
            b": no name",
            b"x\0y: z",
            b"x: " + b"v" * 70_000,
            b"content-type: \xff\xfe",
        ]
    ),
    st.binary(max_size=16),
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """What is sent on one connection."""
    data = draw(methods) + b" " + draw(targets) + draw(queries) + draw(versions)
    newline = draw(st.sampled_from([*[b"\r\n"] * 6, b"\n", b"\r"]))
    many = draw(st.sampled_from([False] * 9 + [True]))
    lines = [b"x-%d: y" % number for number in range(150)] if many else draw(st.lists(header_lines, max_size=4))
    data += newline + b"".join(line + newline for line in lines) + newline
    data += draw(st.binary(max_size=8))
    return draw(st.sampled_from([data, data, data, data[: len(data) // 2], draw(st.binary(max_size=30))]))


def ask(port: int, data: bytes) -> int | None:
    """Send it, and return the status of the answer; None where it has none, as that to HTTP/0.9.

    Raises:
        Fault: there is none in time, or it says that the server is at fault.
    """
    said = b""
    with socket.create_connection(("127.0.0.1", port), timeout=LONGEST_S) as connection:
        begun = time.monotonic()
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):  # it was closed with something unread
                while piece := connection.recv(1 << 16):
                    said += piece
        except TimeoutError:
            raise Fault(f"no answer within {LONGEST_S:g} s to {data!r}") from None
        except OSError:
            pass  # it was closed before all was sent
        if time.monotonic() > begun + LONGEST_S:
            raise Fault(f"the answer took {time.monotonic() - begun:.1f} s")
    found = _FIRST_LINE.match(said)
    if found is None:
        return None
    if int(found[1]) == _AT_FAULT:
        raise Fault(f"the server says that it is at fault: {said[:200]!r}")
    return int(found[1])
