"""The sessions of ``benchmarks.sessions``, in a process of their own.

``python -m benchmarks.sessions_load KIND TARGET``, where KIND is ``ours`` or ``stock``. Each session has a connection
with one stream, as that of a real client. It obeys:

    open NUMBER         have so many sessions in all
    renew SECONDS       renew all of them, each as soon as it was answered; how many renewals a second there were
"""

import asyncio
import sys
import time

import anyio

from benchmarks.etcd_election import number as number_field
from benchmarks.processes import obey
from benchmarks.raw import RawConnection, Request
from benchmarks.stock import SERVICE

TTL_MS = 60_000


def renewal(number: int) -> bytes:
    """Return the message of a renewal, the first of which opens the session."""
    first = number_field(2, 1) + number_field(3, TTL_MS) if number == 1 else b""
    return number_field(1, number) + first


class Session:
    """One stream, on a connection of its own."""

    def __init__(self, kind: str, connection: RawConnection, number: int) -> None:
        self._is_ours = kind == "ours"
        self._connection = connection
        self._renewals = 0
        self._answered = asyncio.get_running_loop().create_future()
        self._until = 0.0
        request = Request(f"{SERVICE}Echo")
        if self._is_ours:
            request = Request("/atomix_election.v1.Sessions/KeepAlive", [("session-id", f"session-{number}")])
        connection.on_data = self._on_data
        connection.on_end = _on_end
        self._stream = connection.begin(request, end=False)

    async def renew(self, until: float) -> int:
        """Renew until that time, at least once, and return how often that was."""
        before = self._renewals
        self._until = until
        self._answered = asyncio.get_running_loop().create_future()
        self._send()
        self._connection.flush()
        await self._answered
        return self._renewals - before

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _send(self) -> None:
        self._renewals += 1
        self._connection.send_data(self._stream, renewal(self._renewals) if self._is_ours else b"")

    def _on_data(self, _: int) -> None:
        if time.monotonic() < self._until:
            self._send()
        else:
            self._answered.set_result(None)


def _on_end(stream: int) -> None:
    raise AssertionError(f"the server has ended stream {stream}")


async def main(kind: str, target: str) -> None:
    """See the module."""
    address = f"127.0.0.1:{target}" if kind == "stock" else target
    sessions: list[Session] = []

    async def open_sessions(number: int) -> None:
        for each in range(len(sessions), number):
            session = Session(kind, await RawConnection.connect(address), each)
            sessions.append(session)
            await session.renew(0)

    async def renew(seconds: float) -> float:
        began = time.monotonic()
        done = await asyncio.gather(*[each.renew(began + seconds) for each in sessions])
        return sum(done) / (time.monotonic() - began)

    await obey({"open": open_sessions, "renew": renew})
    for each in sessions:
        each.close()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2])
