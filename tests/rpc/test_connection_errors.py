"""A peer that breaks HTTP/2 is told which rule that was, by the error that RFC 9113 names, and loses its connection."""

import asyncio
import struct
from collections.abc import Iterable

import h2.events
import pytest

from tests.rpc.attacks import http2_frame
from tests.rpc.conftest import Served
from tests.rpc.raw import RawConnection, about, headers_of, message
from tests.rpc.violations import PROTOCOL_ERROR, VIOLATIONS, Violation

GOAWAY = 7

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quiet")]


class Listening(RawConnection):
    """A raw client that remembers the good-bye of the server."""

    code: int | None = None

    def _take(self, events: Iterable[h2.events.Event]) -> None:
        known = list(events)
        for event in known:
            if isinstance(event, h2.events.ConnectionTerminated):
                self.code = event.error_code
        super()._take(known)


@pytest.mark.parametrize("cut", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("violation", VIOLATIONS.values(), ids=VIOLATIONS)
async def test_the_error_is_the_one_that_the_rule_names(served: Served, violation: Violation, cut: bool) -> None:
    """However the bytes come in; nobody else notices."""
    async with Listening(served.port) as raw:
        answer = await raw.call(headers_of("GetTerm", *about()), message(b""))
        assert answer.status == 0
        data = violation.frames(3)
        for piece in [data[place : place + 1] for place in range(len(data))] if cut else [data]:
            raw.send_bytes(piece)
        await raw.until_closed()
        assert raw.code == violation.code
    await served.check_serves()
    assert served.observer.closings == ["protocol_error"]


async def test_who_does_not_begin_with_the_preface_is_told_so(served: Served) -> None:
    """RFC 9113, section 3.4, leaves that open; but it costs nothing, and is the same for whatever goes wrong."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"PRI * HTTP/3.0\r\n\r\n")
    said = await reader.read()
    writer.transport.abort()
    assert said.endswith(http2_frame(GOAWAY, 0, 0, struct.pack(">LL", 0, PROTOCOL_ERROR)))
