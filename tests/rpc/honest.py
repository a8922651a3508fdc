"""A client that behaves well, in a process of its own, and tells how long its worst call took.

It reads lines: the port of a server begins a round, an empty line ends it. A file after the port has the certificate of
the authority that the server's is signed by, where that speaks TLS. It prints a line after the first call, and
at the end how many calls it made and the longest time that one took, in milliseconds.
"""

import asyncio
import ssl
import sys
import time

from tests.rpc.raw import RawConnection, about, headers_of

PAUSE_S = 0.005


async def call_until(port: int, tls: ssl.SSLContext | None, over: asyncio.Event) -> None:
    """Call the server again and again."""
    worst_s, count = 0.0, 0
    async with RawConnection(port, tls) as connection:
        while not over.is_set() or not count:
            begun = time.perf_counter()
            answer = await connection.call(headers_of("GetTerm", *about("honest")))
            worst_s = max(worst_s, time.perf_counter() - begun)
            assert answer.status == 0, answer
            if not count:
                say("begun")
            count += 1
            await asyncio.sleep(PAUSE_S)
    say(f"{count} {worst_s * 1000}")


def say(line: str) -> None:
    """Print it at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main() -> None:
    """Serve rounds until the input ends."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := (await lines.readline()).decode().strip():
        port, _, ca = line.partition(" ")
        tls = ssl.create_default_context(cafile=ca) if ca else None
        over = asyncio.Event()
        calling = asyncio.create_task(call_until(int(port), tls, over))
        await lines.readline()
        over.set()
        await calling


if __name__ == "__main__":
    asyncio.run(main())
