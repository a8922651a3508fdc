"""A process in which clients connect and close, again and again: ``python -m tests.soak.connecting TARGET ...``.

It prints a line of JSON: how many came, and what it used before and after those.
"""

import argparse
import asyncio
import dataclasses
import json
import time

import anyio

from atomix_election import connect
from tests.soak.measured import Figures, measure

TTL_S = 10.0
LEAST = 100
"""Times, as fewer say nothing."""
LEFT = 64
"""Turns of the event loop that the last connection gets to end."""


async def come_and_go(target: str, number: int) -> None:
    """Connect, lead, watch, and close."""
    async with connect(target, session_ttl=TTL_S) as client:
        election = client.election(f"c{number % 8}", candidate_id=f"c{number}")
        async with election.events() as events, election.lead() as leadership:
            leadership.ensure()
            await anext(events)
        if number % 2:
            await client.election("other").enter()  # which the end of the session withdraws


async def main(target: str, warm_up: int, sessions: int, seconds: float) -> None:
    """Do so some times, measure, and do so many times more."""
    for number in range(warm_up):
        await come_and_go(target, number)
    before, until, come = await settled(), time.monotonic() + seconds, 0
    while come < sessions and (time.monotonic() < until or come < LEAST):
        await come_and_go(target, come)
        come += 1
    after = await settled()
    print(json.dumps([come, dataclasses.asdict(before), dataclasses.asdict(after)]))  # noqa: T201


async def settled() -> Figures:
    """Let the last connection end, and return what this process uses."""
    for _ in range(LEFT):
        await asyncio.sleep(0)
    return measure()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--warm-up", type=int, required=True)
    parser.add_argument("--sessions", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()
    anyio.run(main, given.target, given.warm_up, given.sessions, given.seconds)
