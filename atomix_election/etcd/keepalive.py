"""Renewing leases: one stream carries the renewals of all of them."""

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

import anyio

from atomix_election.etcd._generated import etcdserverpb as pb
from atomix_election.etcd.calls import Calls
from atomix_election.etcd.errors import EtcdUnavailable
from atomix_election.etcd.exchange import Exchange, Garbled, Lost, Method, Refused
from atomix_election.etcd.refusals import error_of, is_stale_token, is_transient

_KEEP_ALIVE = Method("Lease", "LeaseKeepAlive", pb.LeaseKeepAliveResponse)


@dataclass(eq=False, slots=True)
class _Renewal:
    """One renewal. It keeps its place among those of its lease also when nobody waits for it any more."""

    lease_id: int
    answer: asyncio.Future[pb.LeaseKeepAliveResponse] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def fail(self, error: Exception) -> None:
        """Tell whoever waits, if somebody does."""
        if not self.answer.done():
            self.answer.set_exception(error)


class _Link:
    """A stream, and who waits for an answer on it.

    Etcd answers the renewals of a stream in order, so that one that hangs holds up all that follow it.

    Args:
        exchange: the stream.
        scope: cancelled when it is over, and at its deadline: when no answer has come for too long.
        limit_s: how long that is.
    """

    def __init__(self, exchange: Exchange[pb.LeaseKeepAliveResponse], scope: anyio.CancelScope, limit_s: float) -> None:
        self.exchange = exchange
        self.failure: Lost | Refused | None = None
        self._scope = scope
        self._limit_s = limit_s
        self._waiting: dict[int, deque[_Renewal]] = defaultdict(deque)

    @property
    def silence(self) -> Lost:
        """Why it is over when its scope has reached its deadline."""
        return Lost(f"{self.exchange.protocol.endpoint}: no answer within {self._limit_s:g} s")

    @property
    def unanswered(self) -> list[_Renewal]:
        """Those that still wait."""
        return [each for renewals in self._waiting.values() for each in renewals]

    async def send(self, renewal: _Renewal) -> None:
        """Send a renewal."""
        if not self._waiting:
            self._scope.deadline = anyio.current_time() + self._limit_s
        self._waiting[renewal.lease_id].append(renewal)
        await self.exchange.send(pb.LeaseKeepAliveRequest(id=renewal.lease_id))

    def take(self, answer: pb.LeaseKeepAliveResponse) -> None:
        """Hand an answer to the one who has waited for it the longest.

        Raises:
            Garbled: nobody does.
        """
        renewals = self._waiting.get(answer.id)
        if not renewals:
            raise Garbled(f"an answer for lease {answer.id:x}, which was not renewed")
        renewal = renewals.popleft()
        if not renewals:
            del self._waiting[answer.id]
        self._scope.deadline = anyio.current_time() + self._limit_s if self._waiting else math.inf
        if not renewal.answer.done():
            renewal.answer.set_result(answer)

    def fail(self, failure: Lost | Refused) -> None:
        """End it."""
        self.failure = failure
        self._scope.cancel()


class KeepAlives:
    """Renews leases; ``run`` does it, in a task of its own, so that no caller's cancellation breaks the stream."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._limit_s = calls.settings.attempt_timeout_s
        self._outbox: deque[_Renewal] = deque()
        self._wanted = anyio.Event()
        self._is_over = False

    async def renew(self, lease_id: int, timeout_s: float | None) -> pb.LeaseKeepAliveResponse:
        """Renew a lease, and repeat that until it is answered.

        Raises:
            EtcdUnavailable: it was not answered in time; the lease may have been renewed.
            EtcdRefused: etcd refused it.
        """
        timeout_s = self._calls.settings.call_timeout_s if timeout_s is None else timeout_s
        why = f"{self._calls.connection.endpoint}: no answer"
        with anyio.move_on_after(timeout_s):
            for number in count():
                renewal = _Renewal(lease_id)
                self._outbox.append(renewal)
                self._wanted.set()
                try:
                    return await renewal.answer
                except (Lost, EtcdUnavailable) as error:
                    why = str(error)
                if self._is_over:
                    raise EtcdUnavailable(f"{_KEEP_ALIVE.name}: the client of etcd is closed")
                await self._calls.pause(number)
        raise EtcdUnavailable(f"{_KEEP_ALIVE.name}: etcd did not answer within {timeout_s:g} s ({why})")

    async def run(self) -> None:
        """Send what is asked for, and hand out the answers, until cancelled."""
        failed = 0
        try:
            while True:
                await self._wanted.wait()
                try:
                    exchange = await self._calls.stream(_KEEP_ALIVE)
                except (Lost, Refused, EtcdUnavailable) as error:
                    self._fail(self._outbox, error)
                    self._outbox.clear()
                    self._wanted = anyio.Event()
                    await self._calls.pause(failed)
                    failed += 1
                else:
                    failed = 0
                    await self._serve(exchange)
        finally:
            self._is_over = True
            self._fail(self._outbox, Lost("the client of etcd is closed"))

    async def _serve(self, exchange: Exchange[pb.LeaseKeepAliveResponse]) -> None:
        link: _Link | None = None
        try:
            async with anyio.create_task_group() as tasks:
                link = _Link(exchange, tasks.cancel_scope, self._limit_s)
                tasks.start_soon(self._send, link)
                tasks.start_soon(self._receive, link)
            if link is not None and link.failure is None:
                self._calls.move_on(exchange.protocol)
        finally:
            exchange.close()
            if link is not None:
                self._fail(link.unanswered, link.failure or link.silence)

    async def _send(self, link: _Link) -> None:
        try:
            while True:
                while self._outbox:
                    renewal = self._outbox.popleft()
                    if not renewal.answer.done():  # else its caller did not wait so long
                        await link.send(renewal)
                self._wanted = anyio.Event()
                await self._wanted.wait()
        except (Lost, Refused) as error:
            link.fail(error)

    async def _receive(self, link: _Link) -> None:
        try:
            while (answer := await link.exchange.receive()) is not None:
                link.take(answer)
            link.fail(Lost("etcd ended the stream"))
        except (Lost, Refused) as error:
            link.fail(error)

    def _fail(self, renewals: Iterable[_Renewal], error: Lost | Refused | EtcdUnavailable) -> None:
        """Tell those who wait; they try again, unless etcd refused it for good."""
        told: Exception = error
        if isinstance(error, Refused):
            again = is_transient(error) or is_stale_token(error)
            told = Lost(str(error)) if again else error_of(_KEEP_ALIVE.name, self._calls.connection.endpoint, error)
        for renewal in renewals:
            renewal.fail(told)
