"""The watchers of ``benchmarks.fanout``, in a process of their own: ``python -m benchmarks.fanout_load KIND TARGET``.

KIND is ``ours`` or ``stock``. They read as cheaply as possible, and so does who makes the changes. It obeys:

    watch NUMBER        have so many watchers in all, on ten connections
    change SECONDS      make one change after the other; the median time until the last watcher has it, in milliseconds
"""

import asyncio
import sys
import time
from itertools import cycle
from statistics import median

import anyio

from benchmarks.call_load import ELECTIONS
from benchmarks.processes import obey
from benchmarks.raw import RawConnection, Request
from benchmarks.stock import SERVICE

CONNECTIONS = 10
MILLISECONDS = 1000.0

_CALLER = [("primitive-id", "fanout"), ("session-id", "session")]
_WATCH = {"ours": Request(f"{ELECTIONS}Events", [("primitive-id", "fanout")]), "stock": Request(f"{SERVICE}Watch")}
_FIRST = {"ours": [Request(f"{ELECTIONS}Create", _CALLER, b"\n\0")], "stock": []}
_CHANGES = {
    "ours": [Request(f"{ELECTIONS}{name}", _CALLER) for name in ("Enter", "Withdraw")],
    "stock": [Request(f"{SERVICE}Publish")],
}


class Watchers:
    """All of them, and who makes the changes."""

    def __init__(self, kind: str, caller: RawConnection, connections: list[RawConnection]) -> None:
        self._request = _WATCH[kind]
        self._changes = _CHANGES[kind]
        self._caller = caller
        self._connections = connections
        self._number = 0
        self._missing = 0
        self._all_have_it = asyncio.Event()
        for each in connections:
            each.on_data = self._seen
            each.on_end = self._ended

    async def watch(self, number: int) -> None:
        """See the module."""
        self._expect(number - self._number)
        for each in range(self._number, number):
            self._connections[each % CONNECTIONS].begin(self._request)
        for each in self._connections:
            each.flush()
        await self._all_have_it.wait()
        self._number = number

    async def change(self, seconds: float) -> float:
        """See the module."""
        for request in self._changes:  # makes their headers known, and leaves all as it was
            self._expect(self._number)
            await self._caller.call(request)
            await self._all_have_it.wait()
        taken_s: list[float] = []
        until = time.monotonic() + seconds
        for change in cycle(self._caller.prepare(self._changes)):
            answered = asyncio.get_running_loop().create_future()
            self._caller.on_end = answered.set_result
            self._expect(self._number)
            began = time.perf_counter()
            self._caller.send(change)
            self._caller.flush()
            await self._all_have_it.wait()
            taken_s.append(time.perf_counter() - began)
            await answered
            if time.monotonic() >= until and len(taken_s) % len(self._changes) == 0:
                return median(taken_s) * MILLISECONDS
        raise AssertionError("the changes go on for ever")

    def _expect(self, number: int) -> None:
        assert self._missing == 0
        self._missing = number
        self._all_have_it.clear()

    def _seen(self, _: int) -> None:
        self._missing -= 1
        if not self._missing:
            self._all_have_it.set()

    def _ended(self, stream: int) -> None:
        raise AssertionError(f"the server has ended the watch on stream {stream}")


async def main(kind: str, target: str) -> None:
    """See the module."""
    address = f"127.0.0.1:{target}" if kind == "stock" else target
    caller, *connections = [await RawConnection.connect(address) for _ in range(1 + CONNECTIONS)]
    for request in _FIRST[kind]:
        await caller.call(request)
    watchers = Watchers(kind, caller, connections)
    await obey({"watch": watchers.watch, "change": watchers.change})


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2])
