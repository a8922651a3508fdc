"""The caller of ``benchmarks.queue_length``, in a process of its own: ``python -m benchmarks.queue_load TARGET``.

It obeys:

fill CANDIDATES                 make an election with so many of them
reply_bytes CANDIDATES          how long the reply to a change of it is
change CANDIDATES SECONDS       enter and withdraw another one at its back, one call at a time; calls a second
"""

import sys

import anyio

from benchmarks import raw
from benchmarks.call_load import ELECTIONS
from benchmarks.etcd_election import text
from benchmarks.processes import obey
from benchmarks.raw import RawConnection, Request


def requests(method: str, candidates: int, candidate: str) -> Request:
    """Return a call for the election of that length."""
    metadata = [("primitive-id", f"q{candidates}"), ("session-id", "session")]
    return Request(f"{ELECTIONS}{method}", metadata, text(1, candidate.encode()))


async def main(target: str) -> None:
    """See the module."""
    connection = await RawConnection.connect(target)

    async def fill(candidates: int) -> None:
        await connection.call(requests("Create", candidates, ""))
        for each in range(candidates):
            await connection.call(requests("Enter", candidates, f"node-{each:08}-{each:05}"))

    def changes(candidates: int) -> list[Request]:
        return [requests(method, candidates, "node-at-the-back") for method in ("Enter", "Withdraw")]

    async def reply_bytes(candidates: int) -> float:
        before, calls = connection.data_bytes, changes(candidates)
        for each in calls:
            await connection.call(each)
        return (connection.data_bytes - before) / len(calls)

    async def change(candidates: int, seconds: float) -> float:
        return await raw.rate(connection, [connection.prepare(changes(candidates))], seconds)

    await obey({"fill": fill, "reply_bytes": reply_bytes, "change": change})
    connection.close()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
