"""An honest client in a process of its own, which must notice nothing.

``python -m tests.fuzz.honest TARGET TTL_S LONGEST_CALL_S``: seconds.

It leads an election all the time, watches another one in which it enters and withdraws, asks for terms, and renews a
session by hand. It prints a line when all that goes on. When its stdin ends, or it has noticed something, it prints
what it has seen, as JSON, and ends.
"""

import json
import logging
import math
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import TypeVar

import anyio
from anyio.abc import TaskStatus

from atomix_election import Client, EventType, Leadership, Term, connect
from atomix_election.addresses import parse_endpoints
from atomix_election.rpc.client import RpcClient
from atomix_election.service import Renewal

BEGUN = "begun"
LEAST_REMAINING = 1 / 3
"""Which part of a time-to-live is left of a leadership at least when every renewal is answered, on a busy machine: they
are sent every third of it, so that two thirds are left, less the margin, when one is due."""
HANGS_S = 10.0
"""Then it is not waited for any longer."""
PAUSE_S = 0.01
RENEW_S = 0.2
WATCH_S = 0.05
NAMESPACE = "honest"
LED, WATCHED = "led", "watched"

_ResultT = TypeVar("_ResultT")


@dataclass(slots=True)
class Report:
    """What it has seen.

    Args:
        ttl_s: time-to-live of its sessions.
        longest_call_s: what a call may take, and what may pass from a command to its event.
    """

    ttl_s: float
    longest_call_s: float
    calls: int = 0
    slowest_s: float = 0.0
    slowest: str = ""
    """Which call that was."""
    commands: int = 0
    events: int = 0
    renewals: int = 0
    least_remaining_s: float = math.inf
    token: int = 0
    faults: list[str] = field(default_factory=list[str])

    def judge(self) -> list[str]:
        """Return what it has noticed."""
        found = list(self.faults)
        if self.slowest_s > self.longest_call_s:
            found.append(f"{self.slowest} took {self.slowest_s:.2f} s")
        if self.least_remaining_s < self.ttl_s * LEAST_REMAINING:
            found.append(f"only {self.least_remaining_s:.2f} s were left of the leadership")
        return found

    @staticmethod
    def read(line: str) -> "Report":
        """Return what was printed."""
        return Report(**json.loads(line))

    def __str__(self) -> str:
        """Return it in figures."""
        return (
            f"honest: {self.calls} calls, the slowest took {self.slowest_s * 1000:.0f} ms ({self.slowest}); "
            f"{self.commands} commands, {self.events} events, {self.renewals} renewals by hand; it led under token "
            f"{self.token} all the time, with {self.least_remaining_s:.2f} s left at least"
        )


class Honest:
    """The client.

    Args:
        target: the server.
        report: what it has seen is noted there.
    """

    def __init__(self, target: str, report: Report) -> None:
        self.report = report
        self._target = target

    async def run(self, over: anyio.Event, say: Callable[[str], None]) -> None:
        """Do all that until somebody says that it is over."""
        async with (
            connect(self._target, namespace=NAMESPACE, session_ttl=self.report.ttl_s) as client,
            client.election(LED, candidate_id="honest").lead() as leadership,
        ):
            self.report.token = leadership.token
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._lead, client, leadership, over)
                await tasks.start(self._renew)
                await self._enter_and_withdraw(client, over, lambda: say(BEGUN))
                tasks.cancel_scope.cancel()

    async def timed(self, what: str, attempt: Awaitable[_ResultT]) -> _ResultT:
        """Return what comes of a call, and note how long it took."""
        begun = time.perf_counter()
        with anyio.fail_after(HANGS_S):
            result = await attempt
        took_s = time.perf_counter() - begun
        self.report.calls += 1
        if took_s > self.report.slowest_s:
            self.report.slowest_s, self.report.slowest = took_s, what
        return result

    async def _lead(self, client: Client, leadership: Leadership, over: anyio.Event) -> None:
        """Look at the leadership and its term, until something was noticed."""
        election = client.election(LED, candidate_id="honest")
        while not self.report.judge():
            self.report.least_remaining_s = min(self.report.least_remaining_s, leadership.remaining)
            leadership.ensure()
            term = await self.timed("GetTerm", election.get_term())
            if (term.leader, term.number) != ("honest", leadership.token):
                self.report.faults.append(f"the term of the election that it leads was {term}")
            await anyio.sleep(WATCH_S)
        over.set()

    async def _enter_and_withdraw(self, client: Client, over: anyio.Event, begun: Callable[[], None]) -> None:
        """Enter and withdraw, and wait for the event of each."""
        election = client.election(WATCHED, candidate_id="honest")
        async with connect(self._target, namespace=NAMESPACE) as other, other.election(WATCHED).events() as events:
            seen = (await anext(events)).term
            begun()
            while not over.is_set():
                for what, command in (("Enter", election.enter), ("Withdraw", election.withdraw)):
                    term = await self.timed(what, command())
                    self.report.commands += 1
                    event = await self.timed(f"the event of {what}", anext(events))
                    self._compare(event.type, event.term, term, seen)
                    seen = event.term
                await anyio.sleep(PAUSE_S)

    def _compare(self, kind: EventType, told: Term, answered: Term, before: Term) -> None:
        self.report.events += 1
        if kind is not EventType.CHANGED or told != answered or told.revision != before.revision + 1:
            self.report.faults.append(f"after {before} came {kind.name} {told}, and the answer was {answered}")

    async def _renew(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep a session by hand: each renewal is answered, under its number."""
        endpoints = parse_endpoints(self._target, self._target.partition("://")[2])
        async with RpcClient(endpoints) as client, client.keep_alive(NAMESPACE, "by hand") as stream:
            for number in count(1):
                await stream.send(Renewal(number, open=number == 1, ttl_s=self.report.ttl_s))
                answer = await self.timed("a renewal", stream.receive())
                if answer.renewal != number or answer.ended:
                    self.report.faults.append(f"renewal {number} was answered with {answer}")
                    return
                self.report.renewals = number
                if number == 1:
                    task_status.started()
                await anyio.sleep(RENEW_S)


class _Noting(logging.Handler):
    """Notes what the client warns of, and that something was broken off."""

    def __init__(self, report: Report) -> None:
        super().__init__(logging.INFO)
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if record.levelno >= logging.WARNING or "interrupted" in text or "could not" in text:
            self._report.faults.append(f"{record.levelname}: {text}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(target: str, ttl_s: float, longest_call_s: float) -> None:
    """Run until stdin ends, or something was noticed."""
    honest, over = Honest(target, Report(ttl_s, longest_call_s)), anyio.Event()
    logging.getLogger().setLevel(logging.INFO)
    logging.getLogger().addHandler(_Noting(honest.report))

    async def wait() -> None:
        await anyio.wait_readable(sys.stdin)
        over.set()

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await honest.run(over, _say)
            tasks.cancel_scope.cancel()
    except BaseException as error:
        honest.report.faults.append(f"it broke: {error!r}")
        raise
    finally:
        _say(json.dumps(asdict(honest.report)))


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
