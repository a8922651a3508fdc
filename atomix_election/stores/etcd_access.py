"""How a store calls etcd: every answer is checked, and what can go wrong is said in this package's own errors.

An answer shows that etcd went back in time, or is another one, when its revision is lower than one seen before the call
began (reads and transactions are linearizable), or when its cluster has another id. Where neither shows it, as after a
restore that bumped revisions, an operator confirms the restore, which gives the store another identity: every
transaction checks that one. From then on every call is refused, as nothing known of the store holds any more.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import NoReturn, TypeVar

import anyio

from atomix_election.errors import OutcomeUnknown, StoreError
from atomix_election.etcd import (
    Compacted,
    Compare,
    EtcdError,
    EtcdOutcomeUnknown,
    Get,
    GetResult,
    Header,
    KeyValue,
    Operation,
    TxnResult,
    WentBack,
    prefix_end,
    unchanged,
)
from atomix_election.etcd.interface import Etcd
from atomix_election.stores.etcd_keys import Identity, Layout, decode_identity
from atomix_election.tasks import Pauses

READ_S = 5.0
"""How long a read may take, with all its tries."""
PAGE = 500
"""Keys that are read at once when many are wanted."""
MAX_GETS = 100
"""Keys that are read in one transaction: etcd allows 128 operations."""

_T = TypeVar("_T")


class Access:
    """Calls to etcd on behalf of one store.

    Args:
        etcd: a client, which is open.
        layout: the names of the keys.
        identity: what store it is.
        header: of an answer of this etcd.
    """

    def __init__(self, etcd: Etcd, layout: Layout, identity: Identity, header: Header) -> None:
        self.etcd = etcd
        self.layout = layout
        self.identity = identity
        self._cluster_id = header.cluster_id
        self._seen = header.revision
        self._failure: str | None = None
        self._told: list[Callable[[], None]] = []

    def on_failure(self, tell: Callable[[], None]) -> None:
        """Have something called when the store cannot be relied on any more."""
        self._told.append(tell)

    def check(self) -> None:
        """Do nothing as long as the store can be relied on.

        Raises:
            StoreError: it has gone back in time, or is another one; so do all methods.
        """
        if self._failure is not None:
            raise StoreError(self._failure)

    def saw(self, revision: int) -> None:
        """Take note of a revision that etcd has reached."""
        self._seen = max(self._seen, revision)

    def gone_back(self, why: str) -> NoReturn:
        """Refuse everything from now on."""
        if self._failure is None:
            self._failure = (
                f"{why}: it was restored from an older copy, or is another one, and nothing that this server knows "
                "holds any more. Stop all servers, confirm the restore with `atomix-election recover` (that raises the "
                "tokens and ends all sessions), and start them again"
            )
            for tell in self._told:
                tell()
        raise StoreError(self._failure)

    async def call(self, call: Awaitable[_T]) -> _T:
        """Make a call whose answer need not be the newest.

        Raises:
            StoreError: nothing was changed, unless EtcdOutcomeUnknown passes.
        """
        try:
            return await call
        except WentBack as error:
            self.gone_back(str(error))
        except EtcdOutcomeUnknown:
            raise
        except EtcdError as error:
            raise StoreError(str(error)) from error

    async def read(self, gets: Sequence[Get], *, timeout_s: float = READ_S) -> tuple[Header, tuple[GetResult, ...]]:
        """Read some keys or ranges at one moment, no earlier than this call. There are at most ``MAX_GETS``.

        Raises:
            StoreError: see ``check``; or they could not be read.
        """
        self.check()
        seen = self._seen
        answer = await self.call(self.etcd.txn([], [*gets, Get(self.layout.store)], timeout_s=timeout_s))
        return self._checked(answer, seen)

    async def write(
        self,
        compares: Iterable[Compare],
        success: Iterable[Operation],
        failure: Iterable[Get] = (),
        *,
        timeout_s: float,
    ) -> tuple[TxnResult, tuple[GetResult, ...]]:
        """Carry out operations if all conditions hold and the store is still this one; else read.

        Returns:
            What became of it, and what was read if the conditions did not hold.

        Raises:
            StoreError: see ``check``; or nothing was changed.
            EtcdOutcomeUnknown: it may have been carried out, or may still be.
        """
        self.check()
        seen = self._seen
        answer = await self.call(
            self.etcd.txn(
                [unchanged(self.layout.store, self.identity.version), *compares],
                success,
                [*failure, Get(self.layout.store)],
                timeout_s=timeout_s,
            )
        )
        if answer.succeeded:
            self._check_header(answer.header, seen)
            return answer, ()
        return answer, self._checked(answer, seen)[1]

    async def read_all(self, start: bytes, *, revision: int = 0) -> AsyncIterator[Sequence[KeyValue]]:
        """Read everything that begins so, page by page.

        Args:
            start: what the keys begin with.
            revision: as of when; 0 to read each page as it is now.

        Raises:
            Compacted: that revision is compacted away.
            StoreError: see ``read``.
        """
        key, end = start, prefix_end(start)
        while True:
            self.check()
            seen = self._seen
            try:
                result = await self.etcd.get(Get(key, end, revision=revision, limit=PAGE), timeout_s=READ_S)
            except Compacted:
                raise
            except EtcdError as error:
                raise StoreError(str(error)) from error
            self._check_header(result.header, seen)
            yield result.items
            if not result.more:
                return
            key = result.items[-1].key + b"\0"

    def check_identity(self, found: Sequence[KeyValue]) -> None:
        """Refuse everything from now on, if the key of the store is not what it was."""
        if not found:
            self.gone_back("the key of the store is gone from etcd")
        if found[0].mod_revision != self.identity.version:
            self.gone_back(f"the store in etcd is {decode_identity(found[0]).id} now, and was {self.identity.id}")

    def _checked(self, answer: TxnResult, seen: int) -> tuple[Header, tuple[GetResult, ...]]:
        self._check_header(answer.header, seen)
        results = tuple(each for each in answer.responses if isinstance(each, GetResult))
        self.check_identity(results[-1].items)
        return answer.header, results[:-1]

    def _check_header(self, header: Header, seen: int) -> None:
        self.check()
        if header.cluster_id != self._cluster_id:
            self.gone_back(f"the cluster of etcd is {header.cluster_id:x} now, and was {self._cluster_id:x}")
        if header.revision < seen:
            self.gone_back(f"etcd is at revision {header.revision}, and was at {seen}")
        self.saw(header.revision)


class Tries:
    """How often something is tried: until its time is over, with pauses.

    Args:
        limit_s: how long it may take.
        pauses: how long to wait between tries.
    """

    def __init__(self, limit_s: float, pauses: Pauses) -> None:
        self._limit_s = limit_s
        self._until = anyio.current_time() + limit_s
        self._pauses = pauses
        self._number = 0
        self.is_unknown: bool = False

    @property
    def left_s(self) -> float:
        """How long one more try may take, in seconds."""
        return max(self._until - anyio.current_time(), 0.001)

    @property
    def is_over(self) -> bool:
        """Whether there is no time for one more."""
        return anyio.current_time() >= self._until

    async def unknown(self, what: str, error: EtcdOutcomeUnknown) -> None:
        """A try has an unknown outcome: wait before the next one.

        Raises:
            OutcomeUnknown: there is no time for one.
        """
        self.is_unknown = True
        pause_s = self._pauses.after(self._number)
        self._number += 1
        if anyio.current_time() + pause_s >= self._until:
            raise OutcomeUnknown(
                f"{what}: what became of it could not be found out within {self._limit_s:g} s ({error}); read to see"
            ) from error
        await anyio.sleep(pause_s)

    def failed(self, what: str, error: StoreError) -> StoreError | OutcomeUnknown:
        """Return what to raise for a try that changed nothing: those before it may have."""
        if not self.is_unknown:
            return error
        return OutcomeUnknown(f"{what}: what became of it could not be found out ({error}); read to see")
