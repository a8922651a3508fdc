"""A server process that says what it uses: ``python -m tests.soak.measured --store TARGET --listen HOST:PORT``.

For each line on its stdin it prints its figures as a line of JSON; it ends when its stdin is closed.
"""

import argparse
import asyncio
import dataclasses
import gc
import json
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import anyio

from atomix_election import ElectionServer
from atomix_election.core import leases
from atomix_election.observer import NoObserver
from atomix_election.rpc import header_blocks, quick_calls
from atomix_election.stores import etcd_mirror, etcd_sessions

LONGEST_TTL_S = 10.0
REMEMBERED = 20
"""Of sessions that are gone, and of their calls: what is remembered of them has limits, which are lowered so that they
are reached soon."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Figures:
    """What a server uses."""

    tasks: int
    threads: int
    descriptors: int
    objects: int
    """Python's own, of those that its garbage collector knows."""
    memory_bytes: int
    """Resident."""
    sessions: int = 0
    watches: int = 0
    connections: int = 0

    @property
    def serves_anybody(self) -> bool:
        """Whether there is anybody."""
        return bool(self.sessions or self.watches or self.connections)


class Counting(NoObserver):
    """Knows how many of these a server has at the moment."""

    def __init__(self) -> None:
        self.open_sessions = 0
        self.open_watches = 0
        self.open_connections = 0

    def sessions(self, renewals: int, connections: int) -> None:
        """See ``Observer.sessions``."""
        self.open_sessions = renewals + connections

    def watchers(self, count: int) -> None:
        """See ``Observer.watchers``."""
        self.open_watches = count

    def connections(self, count: int) -> None:
        """See ``Observer.connections``."""
        self.open_connections = count


def measure() -> Figures:
    """Return what this process uses."""
    gc.collect()
    return Figures(
        len(asyncio.all_tasks()),
        threading.active_count(),
        len(list(Path("/proc/self/fd").iterdir())),
        len(gc.get_objects()),
        int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES,
    )


async def main(store: str, listen: str, ttl_s: float) -> None:
    """Serve."""
    etcd_mirror.MAX_GONE = etcd_mirror.MAX_NEWER = etcd_sessions.MAX_OPENED = leases.SPARE_ENTRIES = REMEMBERED
    counting = Counting()
    header_blocks.MAX_KNOWN_BLOCKS = quick_calls.MAX_KNOWN_REQUESTS = REMEMBERED
    host, _, port = listen.rpartition(":")
    async with ElectionServer(
        store, host=host, port=int(port), session_ttl=ttl_s, max_session_ttl=LONGEST_TTL_S, observer=counting
    ) as server:
        print(f"listening on {server.target}", flush=True)  # noqa: T201
        while True:
            await anyio.wait_readable(sys.stdin)
            if not os.read(sys.stdin.fileno(), 1):
                return
            figures = dataclasses.replace(
                measure(),
                sessions=counting.open_sessions,
                watches=counting.open_watches,
                connections=counting.open_connections,
            )
            print(json.dumps(dataclasses.asdict(figures)), flush=True)  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", required=True)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--session-ttl", type=float, required=True)
    given = parser.parse_args()
    anyio.run(main, given.store, given.listen, given.session_ttl)
