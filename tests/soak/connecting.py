"""A process in which clients connect and close, again and again: ``python -m tests.soak.connecting TARGET ...``.

It prints a line of JSON: how many came in each round, and what it used before the first one and after each.
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


async def main(target: str, warm_up: int, sessions: int, rounds: int, seconds: float) -> None:
    """Do so some times, measure, and do so many times more, and for so long at least."""
    for number in range(warm_up):
        await come_and_go(target, number)
    come, figures = [0] * rounds, [await settled()]
    for this in range(rounds):
        until = time.monotonic() + seconds / rounds
        while come[this] < sessions // rounds or time.monotonic() < until:
            await come_and_go(target, come[this])
            come[this] += 1
        figures.append(await settled())
    print(json.dumps([come, [dataclasses.asdict(each) for each in figures]]))  # noqa: T201


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
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()
    anyio.run(main, given.target, given.warm_up, given.sessions, given.rounds, given.seconds)
