"""Renewing leases: one stream carries the renewals of all of them."""

import asyncio
from collections import defaultdict, deque
from dataclasses import dataclass, field
from itertools import count

import anyio

from atomix_election.etcd._generated import etcdserverpb as pb
from atomix_election.etcd.calls import Calls
from atomix_election.etcd.errors import EtcdUnavailable
from atomix_election.etcd.exchange import Exchange, Garbled, Lost, Method, Refused
from atomix_election.etcd.refusals import error_of, is_stale_token, is_transient
from atomix_election.tasks import native_cancellations, raise_native_cancellation

_KEEP_ALIVE = Method("Lease", "LeaseKeepAlive", pb.LeaseKeepAliveResponse)


@dataclass(eq=False, slots=True)
class _Link:
    """A stream, and who waits for an answer on it. Etcd answers the renewals of a stream in order."""

    exchange: Exchange[pb.LeaseKeepAliveResponse]
    scope: anyio.CancelScope
    waiting: dict[int, deque["_Renewal"]] = field(default_factory=lambda: defaultdict(deque))
    failure: Lost | Refused = field(default_factory=lambda: Lost("the stream was broken off"))

    def take(self, answer: pb.LeaseKeepAliveResponse) -> None:
        """Hand an answer to the one who has waited for it the longest.

        Raises:
            Garbled: nobody does.
        """
        renewals = self.waiting.get(answer.id)
        if not renewals:
            raise Garbled(f"an answer for lease {answer.id:x}, which was not renewed")
        renewal = renewals.popleft()
        if not renewals:
            del self.waiting[answer.id]
        if not renewal.answer.done():
            renewal.answer.set_result(answer)

    def fail(self, failure: Lost | Refused) -> None:
        """End it."""
        self.failure = failure
        self.scope.cancel()


@dataclass(eq=False, slots=True)
class _Renewal:
    """One renewal. It keeps its place among those of its lease also when nobody waits for it any more."""

    lease_id: int
    answer: asyncio.Future[pb.LeaseKeepAliveResponse] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    link: _Link | None = None

    def fail(self, error: Exception) -> None:
        """Tell whoever waits, if somebody does."""
        if not self.answer.done():
            self.answer.set_exception(error)


class KeepAlives:
    """Renews leases; ``run`` does it, in a task of its own, so that no caller's cancellation breaks the stream."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._outbox: deque[_Renewal] = deque()
        self._wanted = anyio.Event()

    async def renew(self, lease_id: int, timeout_s: float | None) -> pb.LeaseKeepAliveResponse:
        """Renew a lease, and repeat that until it is answered.

        Raises:
            EtcdUnavailable: it was not answered in time; the lease may have been renewed.
            EtcdRefused: etcd refused it.
        """
        settings = self._calls.settings
        timeout_s = settings.call_timeout_s if timeout_s is None else timeout_s
        why = "no answer"
        native = native_cancellations()
        with anyio.move_on_after(timeout_s):
            for number in count():
                renewal = _Renewal(lease_id)
                self._outbox.append(renewal)
                self._wanted.set()
                with anyio.move_on_after(settings.attempt_timeout_s):
                    try:
                        return await renewal.answer
                    except (Lost, EtcdUnavailable) as error:
                        why = str(error)
                if not renewal.answer.done() or renewal.answer.cancelled():
                    raise_native_cancellation(native)
                    why = f"{self._calls.connection.endpoint}: no answer within {settings.attempt_timeout_s:g} s"
                    self._break_off(renewal)
                if self._calls.connection.is_closed:
                    raise EtcdUnavailable(f"{_KEEP_ALIVE.name}: the client of etcd is closed")
                await self._calls.pause(number)
        raise_native_cancellation(native)
        raise EtcdUnavailable(f"{_KEEP_ALIVE.name}: etcd did not answer within {timeout_s:g} s ({why})")

    async def run(self) -> None:
        """Send what is asked for, and hand out the answers, until cancelled."""
        try:
            for number in count():
                await self._wanted.wait()
                try:
                    exchange = await self._calls.stream(_KEEP_ALIVE)
                except (Lost, Refused, EtcdUnavailable) as error:
                    self._fail(self._outbox, self._told(error))
                    self._outbox.clear()
                    self._wanted = anyio.Event()
                    await self._calls.pause(number)
                else:
                    await self._serve(exchange)
        finally:
            self._fail(self._outbox, Lost("the client of etcd is closed"))

    async def _serve(self, exchange: Exchange[pb.LeaseKeepAliveResponse]) -> None:
        link: _Link | None = None
        try:
            async with anyio.create_task_group() as tasks:
                link = _Link(exchange, tasks.cancel_scope)
                tasks.start_soon(self._send, link)
                tasks.start_soon(self._receive, link)
        finally:
            exchange.close()
            if link is not None:
                for renewals in link.waiting.values():
                    self._fail(renewals, self._told(link.failure))

    async def _send(self, link: _Link) -> None:
        try:
            while True:
                while self._outbox:
                    renewal = self._outbox.popleft()
                    if renewal.answer.done():
                        continue  # its caller did not wait so long
                    renewal.link = link
                    link.waiting[renewal.lease_id].append(renewal)
                    await link.exchange.send(pb.LeaseKeepAliveRequest(id=renewal.lease_id))
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

    def _break_off(self, renewal: _Renewal) -> None:
        """A renewal took too long, and with it all that were sent after it: try another member."""
        if renewal.link is not None:
            renewal.link.fail(Lost(f"{renewal.link.exchange.protocol.endpoint}: too slow"))
            self._calls.move_on(renewal.link.exchange.protocol)

    def _told(self, error: Lost | Refused | EtcdUnavailable) -> Exception:
        """Return what callers are told: whatever is not a refusal for good, they try again."""
        if not isinstance(error, Refused):
            return error
        if is_transient(error) or is_stale_token(error):
            return Lost(str(error))
        return error_of(_KEEP_ALIVE.name, self._calls.connection.endpoint, error)

    def _fail(self, renewals: deque[_Renewal], error: Exception) -> None:
        for renewal in renewals:
            renewal.fail(error)
