"""Clients that open every window and then read nothing: what the server keeps for them is bounded, and it can close."""

import asyncio

import h2.settings
import pytest

from atomix_election.service import Call
from tests.rpc.conftest import Served
from tests.rpc.raw import WAIT_S, RawConnection, about, headers_of, message

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quiet")]

CALL = Call("raw", session="s")
CANDIDATES = [f"{number:0250d}" for number in range(100)]
CHANGES = 400
KEPT_BYTES = 256 * 1024


async def fill(served: Served, raw: RawConnection) -> None:
    """Make the server send ten megabytes to a watcher who does not read them."""
    widest = (1 << 31) - 1
    raw.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: widest})
    raw.h2.increment_flow_control_window(widest - raw.h2.inbound_flow_control_window)
    raw.flush()
    watch = raw.begin(headers_of("Events", *about()))
    raw.send(watch, message(b""), end=True)
    await raw.until(lambda: len(raw.answers[watch].messages) == 1)
    await served.inside.create(CALL)
    for each in CANDIDATES:
        await served.inside.enter(CALL, each)
    for number in range(CHANGES):
        await served.inside.anoint(CALL, CANDIDATES[number % len(CANDIDATES)])


async def test_what_is_kept_for_a_client_that_does_not_read_is_bounded(served: Served) -> None:
    """And the others are served as ever."""
    async with RawConnection(served.port) as raw:
        await fill(served, raw)
        buffered = [each.protocol.connection._transport.get_write_buffer_size() for each in served.rpc._connections]
        assert 0 < max(buffered) < KEPT_BYTES
        await served.check_serves()
    await served.until_idle()


async def test_a_server_closes_although_a_client_does_not_read(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while it cuts the connection off."""
    monkeypatch.setattr("atomix_election.rpc.server.CLOSE_TIMEOUT_S", 0.1)
    async with RawConnection(served.port) as raw:
        await fill(served, raw)
        async with asyncio.timeout(WAIT_S):
            await served.rpc.close()
        assert not served.rpc._connections
        assert not served.calls
