"""The least that a client of grpclib and betterproto2 does in a process of its own: import them, and make a call.

``python -m benchmarks.startup_stock PORT``, with the port of a stock server. What it needs is written out here, so that
nothing else is imported.
"""

import asyncio
import sys
from dataclasses import dataclass

import betterproto2
import grpclib.client


@dataclass(eq=False, repr=False)
class Nothing(betterproto2.Message):
    """A message without fields."""


async def main(port: int) -> None:
    """Make the call."""
    async with grpclib.client.Channel("127.0.0.1", port) as channel:
        call = grpclib.client.UnaryUnaryMethod(channel, "/benchmarks.Stock/Call", Nothing, Nothing)
        await call(Nothing())


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
