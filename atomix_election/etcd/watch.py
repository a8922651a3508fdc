"""Watching a range of keys: from a revision on, without a gap and without a repeat, whatever happens to connections."""

import logging
from itertools import count

import anyio
from grpclib.const import Status as Code

from atomix_election.etcd._generated import etcdserverpb as pb
from atomix_election.etcd.calls import Calls
from atomix_election.etcd.convert import event_of, header_of, range_request
from atomix_election.etcd.errors import Compacted, EtcdUnavailable, WentBack
from atomix_election.etcd.exchange import Exchange, Lost, Method, Refused
from atomix_election.etcd.refusals import error_of, is_stale_token, is_transient
from atomix_election.etcd.values import Get, Header, WatchBatch, WatchEvent

RANGE = Method("KV", "Range", pb.RangeResponse)
_WATCH = Method("Watch", "Watch", pb.WatchResponse)

log: logging.Logger = logging.getLogger(__name__)


class Watch:
    """An iterator of batches of changes. One task at a time may wait for the next one, and may be cancelled there.

    Args:
        calls: how to reach etcd.
        key: the key, or where the range begins.
        end: where it ends.
        start_revision: the first revision whose changes are wanted.
        previous: whether to tell what keys held before.
    """

    def __init__(self, calls: Calls, key: bytes, end: bytes, start_revision: int, *, previous: bool) -> None:
        self._calls = calls
        self._get = Get(key, end, count_only=True)
        self._next_revision = start_revision
        self._previous = previous
        self._cluster_id = 0
        self._exchange: Exchange[pb.WatchResponse] | None = None

    @property
    def next_revision(self) -> int:
        """The revision that it goes on from: the last one that was delivered, and one more."""
        return self._next_revision

    def __aiter__(self) -> "Watch":
        return self

    async def __anext__(self) -> WatchBatch:
        """Wait for changes, as long as it takes: etcd may be out of reach for any time.

        Raises:
            Compacted: what comes next is compacted away: read all, and begin a new watch from there.
            WentBack: the store is behind what was delivered, or another one.
            EtcdRefused: etcd refused the watch.
            EtcdUnavailable: the client is closed.
        """
        for number in count():
            try:
                return await self._next_batch()
            except (Lost, EtcdUnavailable) as error:
                self.close()
                if self._calls.connection.is_closed:
                    raise EtcdUnavailable(f"{_WATCH.name}: the client of etcd is closed") from error
                log.info("the watch of etcd was interrupted, trying again: %s", error)
            except Refused as refused:
                self.close()
                if not is_transient(refused) and not is_stale_token(refused):
                    raise error_of(_WATCH.name, self._calls.connection.endpoint, refused) from refused
                log.info("the watch of etcd was interrupted, trying again: %s", refused)
            except BaseException:
                self.close()  # what has come of a message is lost
                raise
            await self._calls.pause(number)
        raise AssertionError("the tries end with a batch or an error")

    def close(self) -> None:
        """End it: etcd forgets it with its stream."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.close()

    async def _next_batch(self) -> WatchBatch:
        exchange = self._exchange
        if exchange is None:
            self._exchange = exchange = await self._calls.stream(_WATCH)
            await self._begin(exchange)
        events: list[WatchEvent] = []
        while True:
            answer = await self._receive(exchange)
            events += map(event_of, answer.events)
            if events and not answer.fragment:
                batch = WatchBatch(header_of(answer.header), tuple(events))
                self._next_revision = batch.revision + 1
                return batch

    async def _begin(self, exchange: Exchange[pb.WatchResponse]) -> None:
        """Say what is wanted, and hear that it is there. Then what comes, comes when there is something."""
        request = pb.WatchCreateRequest(
            key=self._get.key,
            range_end=self._get.end,
            start_revision=self._next_revision,
            prev_kv=self._previous,
            fragment=True,
        )
        header: Header | None = None
        with anyio.move_on_after(self._calls.settings.attempt_timeout_s):
            await exchange.send(pb.WatchRequest(create_request=request))
            header = header_of((await self._receive(exchange)).header)
        if header is None:
            self._calls.move_on(exchange.protocol)
            raise Lost(f"{exchange.protocol.endpoint}: the watch did not begin in time")
        await self._check_store(header)

    async def _check_store(self, header: Header) -> None:
        """Find out whether this is the store that was watched. A member's own view may lag: ask for the newest."""
        if header.revision < self._next_revision - 1:
            answer = await self._calls.call(RANGE, range_request(self._get))
            header = header_of(answer.header)
        seen = self._next_revision - 1
        if header.revision < seen:
            raise WentBack(
                f"etcd is at revision {header.revision}, but was seen at {seen}: it was restored from an older copy "
                "or is another one; find out which before anything goes on",
                seen_revision=seen,
                found_revision=header.revision,
            )
        if self._cluster_id not in (0, header.cluster_id):
            raise WentBack(
                f"etcd's cluster is {header.cluster_id:x}, but was {self._cluster_id:x}: the endpoints lead to "
                "different ones, or it was made anew; find out which before anything goes on",
                seen_revision=seen,
                found_revision=header.revision,
            )
        self._cluster_id = header.cluster_id

    async def _receive(self, exchange: Exchange[pb.WatchResponse]) -> pb.WatchResponse:
        answer = await exchange.receive()
        if answer is None:
            raise Lost("etcd ended the stream")
        if answer.compact_revision:
            raise Compacted(
                f"{_WATCH.name}: revision {self._next_revision} is compacted away, the oldest is "
                f"{answer.compact_revision}: read all, and watch from there",
                compact_revision=answer.compact_revision,
            )
        if answer.canceled:
            raise Refused(Code.FAILED_PRECONDITION, answer.cancel_reason or "etcd gave no reason")
        return answer
