"""The client of etcd."""

import random
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Self, TypeVar

import betterproto2

from atomix_election.etcd._generated import etcdserverpb as pb
from atomix_election.etcd.calls import Calls
from atomix_election.etcd.convert import (
    compare_message,
    delete_request,
    delete_result,
    get_result,
    header_of,
    operation_result,
    put_request,
    put_result,
    range_request,
    request_op,
)
from atomix_election.etcd.errors import EtcdMalformed, EtcdOutcomeUnknown, EtcdUnavailable
from atomix_election.etcd.exchange import Method
from atomix_election.etcd.keepalive import KeepAlives
from atomix_election.etcd.settings import Settings
from atomix_election.etcd.values import (
    Compare,
    Delete,
    DeleteResult,
    Endpoint,
    Get,
    GetResult,
    Header,
    Lease,
    LeaseState,
    Operation,
    OperationResult,
    Put,
    PutResult,
    Status,
    TxnResult,
)
from atomix_election.etcd.watch import RANGE, Watch
from atomix_election.tasks import LONGEST_PAUSE_S, background_tasks
from atomix_election.tls import ClientTls

MAX_WATCHES = 15
"""How many watches a client may have open: what they do not read must leave the connection room for calls."""

_PUT = Method("KV", "Put", pb.PutResponse)
_DELETE = Method("KV", "DeleteRange", pb.DeleteRangeResponse)
_TXN = Method("KV", "Txn", pb.TxnResponse)
_COMPACT = Method("KV", "Compact", pb.CompactionResponse)
_GRANT = Method("Lease", "LeaseGrant", pb.LeaseGrantResponse)
_REVOKE = Method("Lease", "LeaseRevoke", pb.LeaseRevokeResponse)
_TIME_TO_LIVE = Method("Lease", "LeaseTimeToLive", pb.LeaseTimeToLiveResponse)
_LEASES = Method("Lease", "LeaseLeases", pb.LeaseLeasesResponse)
_STATUS = Method("Maintenance", "Status", pb.StatusResponse)

_MessageT = TypeVar("_MessageT", bound=betterproto2.Message)


class EtcdClient:
    """A client of etcd 3.4 or newer. An async context manager; on asyncio only.

    It has one connection, to one of the members, and moves to another when that one does not answer. Reads are repeated
    until their time is over. Writes are repeated only while they have certainly not been carried out.

    Every method raises, besides what it names, ``EtcdUnavailable`` where no member answered in time, ``EtcdRefused``
    (or one below it) where etcd said no, and ``EtcdMalformed`` where the answer is not etcd's. A write raises
    ``EtcdOutcomeUnknown`` where it was sent and its answer is lost. ``timeout_s`` is how long a call may take with all
    its tries; None for ``call_timeout_s``.

    Args:
        endpoints: host and port of each member.
        tls: how to speak to them; None for plain text.
        user: who calls; "" for nobody in particular.
        password: that user's.
        call_timeout_s: how long a call may take with all its tries, unless it says otherwise.
        attempt_timeout_s: how long one try may take, connecting included, before another member is tried; no more than
            the member's share of the call's time. A write that was sent and is not answered by then has an unknown
            outcome.
        longest_pause_s: the most between two rounds of tries.
        chance: returns numbers from 0 to 1: for pauses, and for the member to begin with.

    Raises:
        ValueError: they contradict each other.
    """

    def __init__(
        self,
        endpoints: Sequence[tuple[str, int]],
        *,
        tls: ClientTls | None = None,
        user: str = "",
        password: str = "",
        call_timeout_s: float = 5.0,
        attempt_timeout_s: float = 1.0,
        longest_pause_s: float = LONGEST_PAUSE_S,
        chance: Callable[[], float] = random.random,
    ) -> None:
        settings = Settings(
            tuple(Endpoint(*each) for each in endpoints),
            tls,
            user,
            password,
            call_timeout_s,
            attempt_timeout_s,
            longest_pause_s,
            chance,
        )
        self._calls = Calls(settings)
        self._keep_alives = KeepAlives(self._calls)
        self._watches = 0
        self._running = AsyncExitStack()
        self._is_open = False

    async def __aenter__(self) -> Self:
        await self._running.__aenter__()
        self._running.push_async_callback(self._calls.connection.close)
        tasks = await self._running.enter_async_context(background_tasks())
        tasks.start_soon(self._keep_alives.run)
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._is_open = False
        return await self._running.__aexit__(kind, error, trace)

    @property
    def endpoint(self) -> Endpoint:
        """The member that is connected, or the one to be tried next."""
        return self._calls.connection.endpoint

    async def get(self, get: Get, *, timeout_s: float | None = None) -> GetResult:
        """Read. Unless it says serializable, the answer is no older than this call.

        Raises:
            Compacted: that revision is compacted away.
            FutureRevision: there is no such revision yet.
        """
        return get_result(await self._read(RANGE, range_request(get), timeout_s, leader=not get.serializable))

    async def put(self, put: Put, *, timeout_s: float | None = None) -> PutResult:
        """Write.

        Raises:
            LeaseNotFound: there is no such lease.
        """
        return put_result(await self._write(_PUT, put_request(put), timeout_s))

    async def delete(self, delete: Delete, *, timeout_s: float | None = None) -> DeleteResult:
        """Delete."""
        return delete_result(await self._write(_DELETE, delete_request(delete), timeout_s))

    async def txn(
        self,
        compares: Iterable[Compare],
        success: Iterable[Operation],
        failure: Iterable[Operation] = (),
        *,
        timeout_s: float | None = None,
    ) -> TxnResult:
        """Carry out operations in one step, if all conditions hold, or others if not.

        One that only reads is a read, and repeated as such; its answer is no older than this call.

        Raises:
            LeaseNotFound: there is no lease that an operation names; no operation was carried out.
        """
        success, failure = tuple(success), tuple(failure)
        request = pb.TxnRequest(
            compare=[compare_message(each) for each in compares],
            success=[request_op(each) for each in success],
            failure=[request_op(each) for each in failure],
        )
        write = not all(isinstance(each, Get) for each in (*success, *failure))
        answer = await (self._write if write else self._read)(_TXN, request, timeout_s)
        responses = _results(answer, success if answer.succeeded else failure, write=write)
        return TxnResult(header_of(answer.header), answer.succeeded, responses)

    async def compact(self, revision: int, *, timeout_s: float | None = None) -> Header:
        """Forget what keys held before a revision.

        Raises:
            Compacted: that has been done.
            FutureRevision: there is no such revision yet.
        """
        answer = await self._write(_COMPACT, pb.CompactionRequest(revision=revision), timeout_s)
        return header_of(answer.header)

    async def grant(self, ttl_s: int, lease_id: int = 0, *, timeout_s: float | None = None) -> Lease:
        """Open a lease. If its outcome is unknown there may be one, which then expires by itself.

        Args:
            ttl_s: the time-to-live that is wished for; etcd's own minimum is 1.5 election timeouts.
            lease_id: the number it shall have; 0 for one of etcd's choice.
            timeout_s: see the class.

        Raises:
            LeaseExists: the number is taken.
        """
        answer = await self._write(_GRANT, pb.LeaseGrantRequest(ttl=ttl_s, id=lease_id), timeout_s)
        return Lease(header_of(answer.header), answer.id, answer.ttl)

    async def revoke(self, lease_id: int, *, timeout_s: float | None = None) -> Header:
        """End a lease, and delete its keys.

        Raises:
            LeaseNotFound: there is no such lease.
        """
        return header_of((await self._write(_REVOKE, pb.LeaseRevokeRequest(id=lease_id), timeout_s)).header)

    async def keep_alive(self, lease_id: int, *, timeout_s: float | None = None) -> Lease:
        """Renew a lease. All renewals of a client go over one stream.

        Returns:
            The lease; ``ttl_s`` is 0 where it is gone. Else it lasts for as long from some time after this call began.

        Raises:
            EtcdUnavailable: there was no answer in time; the lease may have been renewed.
        """
        self._check_open()
        answer = await self._keep_alives.renew(lease_id, timeout_s)
        return Lease(header_of(answer.header), answer.id, max(answer.ttl, 0))

    async def time_to_live(self, lease_id: int, *, keys: bool = False, timeout_s: float | None = None) -> LeaseState:
        """Tell how a lease is, and its keys if they are asked for. One that is gone is no error: see ``is_gone``."""
        request = pb.LeaseTimeToLiveRequest(id=lease_id, keys=keys)
        answer = await self._read(_TIME_TO_LIVE, request, timeout_s)
        return LeaseState(
            header_of(answer.header), answer.id, max(answer.ttl, 0), answer.granted_ttl, tuple(answer.keys)
        )

    async def leases(self, *, timeout_s: float | None = None) -> tuple[int, ...]:
        """Return the numbers of all leases, as the member that is asked knows them."""
        answer = await self._read(_LEASES, pb.LeaseLeasesRequest(), timeout_s)
        return tuple(each.id for each in answer.leases)

    async def status(self, *, timeout_s: float | None = None) -> Status:
        """Return how the member is that answers, also while it knows of no leader."""
        answer = await self._read(_STATUS, pb.StatusRequest(), timeout_s, leader=False)
        return Status(
            header_of(answer.header),
            answer.version,
            answer.leader,
            answer.db_size,
            tuple(answer.errors),
        )

    @asynccontextmanager
    async def watch(
        self, key: bytes, end: bytes = b"", *, start_revision: int, previous: bool = False
    ) -> AsyncGenerator[Watch]:
        """Watch keys for the length of the block: see ``Watch``.

        A watch has no limit of time and goes on after any loss: it neither leaves out nor repeats a change. Nothing is
        sent before its first batch is waited for.

        Args:
            key: the key, or where the range begins.
            end: where it ends: see ``prefix_end``; b"" for the one key.
            start_revision: the first revision whose changes are wanted: that of a read, and one more. No higher, as
                the store would seem to have gone back.
            previous: whether to tell what keys held before.

        Raises:
            ValueError: it has no start, or there are ``MAX_WATCHES`` already.
        """
        self._check_open()
        if start_revision < 1:
            raise ValueError(
                f"a watch from revision {start_revision} would miss changes: read first, and watch from there"
            )
        if self._watches >= MAX_WATCHES:
            raise ValueError(f"this client has {MAX_WATCHES} watches, which is the most (MAX_WATCHES): use another one")
        watch = Watch(self._calls, key, end, start_revision, previous=previous)
        self._watches += 1
        try:
            yield watch
        finally:
            self._watches -= 1
            watch.close()

    async def _read(
        self, method: Method[_MessageT], request: betterproto2.Message, timeout_s: float | None, *, leader: bool = True
    ) -> _MessageT:
        self._check_open()
        return await self._calls.call(method, request, leader=leader, timeout_s=timeout_s)

    async def _write(
        self, method: Method[_MessageT], request: betterproto2.Message, timeout_s: float | None
    ) -> _MessageT:
        self._check_open()
        return await self._calls.call(method, request, write=True, timeout_s=timeout_s)

    def _check_open(self) -> None:
        if not self._is_open:
            raise EtcdUnavailable("the client of etcd is not open: use it inside its async with block")


def _results(answer: pb.TxnResponse, operations: Sequence[Operation], *, write: bool) -> tuple[OperationResult, ...]:
    """Return what each operation did, and check that the answer is about them."""
    found = [operation_result(each) for each in answer.responses]
    wanted = [_RESULT_OF[type(each)] for each in operations]
    if [type(each) for each in found] != wanted:
        error = EtcdOutcomeUnknown if write else EtcdMalformed
        raise error(f"{_TXN.name}: the answer is not about the operations that were sent: is that etcd?")
    return tuple(each for each in found if each is not None)


_RESULT_OF: dict[type[Operation], type[OperationResult]] = {Get: GetResult, Put: PutResult, Delete: DeleteResult}
