"""A store in an SQLite file: what was acknowledged is on the disk."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint

from atomix_election.core.election import Election
from atomix_election.errors import ElectionError, OutcomeUnknown, StoreError
from atomix_election.model import ElectionId, SessionId
from atomix_election.stores.base import Record, StoredSession
from atomix_election.stores.codec import encode_election
from atomix_election.stores.sqlite_file import Change, InDoubt, Read, SqliteFile
from atomix_election.stores.sqlite_rows import (
    PAGE,
    EndHold,
    EndSession,
    ForgetElection,
    OpenSession,
    ReadElection,
    ReadNames,
    ReadPage,
    WriteElection,
    read_sessions,
)
from atomix_election.tasks import see_through

MAX_BATCH = 1000
"""Reads and changes that are carried out in one go."""
MAX_GATHERING_STEPS = 10
"""How often others may run before a batch begins, as long as each time somebody joins it."""
MAX_CACHED_ELECTIONS = 10_000
"""Elections whose newest state is kept in memory; those that were not used for the longest time go first."""
MAX_SETTLE_TRIES = 50
"""How often it is tried to find out whether a transaction took place, before its callers hear OutcomeUnknown."""
SETTLE_PAUSE_S = 0.1
"""Pause between these tries."""

_T = TypeVar("_T")


class Executor(Protocol):
    """How a store runs what blocks. It need not expect two calls at a time."""

    async def __call__(self, call: Callable[[], _T], /) -> _T:
        """Return what the call returns."""
        ...


class WorkerThread:
    """Runs what blocks in a worker thread, so that the event loop goes on."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(1)

    async def __call__(self, call: Callable[[], _T], /) -> _T:
        """See ``Executor``."""
        return await anyio.to_thread.run_sync(call, limiter=self._limiter)


async def inline(call: Callable[[], _T], /) -> _T:
    """Run what blocks on the spot: for virtual time, which would jump while a thread works."""
    return call()


@asynccontextmanager
async def open_sqlite_store(path: str, *, execute: Executor | None = None) -> AsyncGenerator["SqliteStore"]:
    """Own an SQLite file for as long as the block lasts; one that does not exist is made.

    Args:
        path: where it is.
        execute: how to run what blocks; by default in a worker thread.

    Raises:
        StoreError: the file is in use, damaged, of a newer release or of another application, or cannot be written.
    """
    execute = execute or WorkerThread()
    opened: list[SqliteStore] = []

    async def open_it() -> None:
        opened.append(SqliteStore(await execute(lambda: SqliteFile(path)), execute))

    try:
        await see_through(open_it)
        yield opened[0]
    finally:
        if opened:
            await see_through(opened[0].close)


class SqliteStore:
    """Elections and sessions in a file. Whoever waits while a transaction is written shares the next one.

    There is no task for that: one of those who wait carries out the batch of all, and then passes that on.

    Args:
        file: what it owns until ``close``.
        execute: how to run what blocks.
    """

    def __init__(self, file: SqliteFile, execute: Executor) -> None:
        self._file = file
        self._execute = execute
        self._cache: dict[ElectionId, Record] = {}
        self._waiting: list[_Waiting] = []
        self._next: _Waiting | None = None
        self._undo: list[Change] = []
        self._idle = anyio.Event()
        self._idle.set()

    @property
    def id(self) -> str:
        """See ``Store.id``."""
        return self._file.identity

    @property
    def hold_s(self) -> float | None:
        """See ``Store.hold_s``."""
        return self._file.hold_s

    async def end_hold(self) -> None:
        """See ``Store.end_hold``."""
        await self._change(EndHold())
        self._file.hold_s = None

    async def close(self) -> None:
        """Let others own the file, after the changes that are under way."""
        while not self._idle.is_set():
            await self._idle.wait()
        await self._execute(self._file.close)

    @property
    def never_waits(self) -> bool:
        """See ``Store.never_waits``."""
        return False

    def read_now(self, election_id: ElectionId) -> Record | None:
        """See ``Store.read_now``. It is known here, unless the election was not used for long."""
        record = self._cache.pop(election_id, None)
        if record is not None:
            self._cache[election_id] = record  # now the youngest
        return record

    async def read(self, election_id: ElectionId) -> Record:
        """See ``Store.read``."""
        return self.read_now(election_id) or await self._read(ReadElection(election_id))

    async def write(self, election_id: ElectionId, election: Election, *, expected: int) -> Record | None:
        """See ``Store.write``."""
        version = await self._change(WriteElection(election_id, election, encode_election(election), expected))
        return None if version is None else Record(election, version)

    async def forget(self, election_id: ElectionId, *, expected: int) -> Record | None:
        """See ``Store.forget``."""
        if not expected:
            record = await self.read(election_id)
            return None if record.version else record
        change = ForgetElection(election_id, expected)
        return None if await self._change(change) is None else change.left

    async def elections(self) -> AsyncIterator[tuple[ElectionId, Election]]:
        """See ``Store.elections``."""
        last = ElectionId("", "")
        while True:
            page = await self._read(ReadPage(last))
            for each in page:
                yield each
            if len(page) < PAGE:
                return
            last = page[-1][0]

    async def page(self, namespace: str, *, after: str, limit: int) -> list[tuple[str, Election]]:
        """See ``Store.page``."""
        return await self._read(ReadNames(namespace, after, limit))

    async def open_session(
        self, namespace: str, session_id: str, *, ttl_s: float, kept_alive: bool, owner: str = ""
    ) -> SessionId:
        """See ``Store.open_session``. One whose caller was cancelled meanwhile is ended again."""
        incarnation = await self._change(OpenSession(namespace, session_id, ttl_s, kept_alive, owner))
        assert incarnation is not None
        return SessionId(namespace, session_id, incarnation)

    async def end_session(self, session: SessionId) -> None:
        """See ``Store.end_session``."""
        await self._change(EndSession(session.incarnation))

    async def sessions(self) -> list[StoredSession]:
        """See ``Store.sessions``."""
        return await self._read(read_sessions)

    async def _read(self, read: Read) -> Any:
        return await self._carried_out(_Waiting(read=read))

    async def _change(self, change: Change) -> int | None:
        return await self._carried_out(_Waiting(change=change))

    async def _carried_out(self, waiting: "_Waiting") -> Any:
        """Have something carried out together with what others want.

        Raises:
            StoreError: it was not carried out.
            OutcomeUnknown: it may have been.
        """
        self._waiting.append(waiting)
        try:
            if self._idle.is_set():
                self._idle = anyio.Event()
                self._next = waiting
            else:
                await waiting.called.wait()
            if waiting is self._next:
                self._next = None
                await see_through(self._carry_out)
        except BaseException:
            self._give_up(waiting)
            raise
        return waiting.result()

    def _give_up(self, waiting: "_Waiting") -> None:
        """Its caller was cancelled."""
        waiting.abandoned = True
        if waiting in self._waiting:
            self._waiting.remove(waiting)
        if waiting is self._next:
            self._pass_on()
        self._take_back(waiting)

    def _take_back(self, waiting: "_Waiting") -> None:
        """See to it that what nobody knows of is undone with the next change; a restart would clear it up too."""
        if waiting.abandoned and waiting.change is not None and isinstance(waiting.value, int):
            undo = waiting.change.undo(waiting.value)
            if undo is not None:
                self._undo.append(undo)

    def _pass_on(self) -> None:
        """Let the first of those who wait carry out the next batch."""
        if self._waiting:
            self._next = self._waiting[0]
            self._next.called.set()
        else:
            self._next = None
            self._idle.set()

    async def _carry_out(self) -> None:
        """Carry out what waits, and then let somebody else go on."""
        batch: list[_Waiting] = []
        try:
            await self._gather()
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            await self._carry_out_batch(batch)
        finally:
            for each in batch:
                each.called.set()
                self._take_back(each)
            self._pass_on()

    async def _gather(self) -> None:
        """Let those join who are about to, as after a batch whose callers all go on at the same time."""
        for _ in range(MAX_GATHERING_STEPS):
            before = len(self._waiting)
            await checkpoint()
            if len(self._waiting) == before:
                return

    async def _carry_out_batch(self, batch: "list[_Waiting]") -> None:
        reads = [(each, each.read) for each in batch if each.read is not None]
        changes = [(each, each.change) for each in batch if each.change is not None]
        undo = list(self._undo) if changes else []
        results, numbers = await self._execute(
            partial(_carry_out, self._file, [read for _, read in reads], [*undo, *(change for _, change in changes)])
        )
        for (waiting, read), result in zip(reads, results, strict=True):
            waiting.value = result
            if isinstance(read, ReadElection) and isinstance(result, Record):
                self._keep(read.election_id, result)
        if isinstance(numbers, InDoubt):
            for _, change in changes:
                # Nobody may be told what may not be so any more.
                if isinstance(change, WriteElection):
                    self._cache.pop(change.election_id, None)
                elif isinstance(change, ForgetElection):
                    self._drop(change.election_id)
            numbers = await self._settle(numbers)
        if isinstance(numbers, ElectionError):
            for waiting, _ in changes:
                waiting.value = numbers
            return
        del self._undo[: len(undo)]
        self._took_place(changes, numbers[len(undo) :])

    def _took_place(self, changes: "list[tuple[_Waiting, Change]]", numbers: list[int | None]) -> None:
        """Tell those who wanted the changes, and know what is in the file now."""
        for (waiting, change), number in zip(changes, numbers, strict=True):
            waiting.value = number
            if isinstance(change, WriteElection) and number is not None:
                self._keep(change.election_id, Record(change.election, number))
            if isinstance(change, ForgetElection) and number is not None:
                self._drop(change.election_id)

    async def _settle(self, doubt: InDoubt) -> list[int | None] | ElectionError:
        """Find out what became of a transaction."""
        for _ in range(MAX_SETTLE_TRIES):
            try:
                took_place = await self._execute(partial(self._file.settle, abandoned=False))
            except StoreError:
                await anyio.sleep(SETTLE_PAUSE_S)
            else:
                return doubt.numbers if took_place else StoreError(str(doubt))
        return OutcomeUnknown(f"{doubt}: whether it was written cannot be found out now; read the term later to see")

    def _drop(self, forgotten: ElectionId) -> None:
        """An election was forgotten: those of its namespace that have no record may begin higher from now on."""
        for election_id, record in list(self._cache.items()):
            if election_id == forgotten or (not record.version and election_id.namespace == forgotten.namespace):
                del self._cache[election_id]

    def _keep(self, election_id: ElectionId, record: Record) -> None:
        """Remember the newest state of an election."""
        self._cache.pop(election_id, None)
        self._cache[election_id] = record
        if len(self._cache) > MAX_CACHED_ELECTIONS:
            del self._cache[next(iter(self._cache))]


class _Waiting:
    """A read or a change, and what became of it."""

    __slots__ = ("abandoned", "called", "change", "read", "value")

    def __init__(self, *, read: Read | None = None, change: Change | None = None) -> None:
        self.read = read
        self.change = change
        self.called = anyio.Event()
        self.abandoned = False
        self.value: Any = OutcomeUnknown("the store failed while this was carried out: read the term to find out")

    def result(self) -> Any:
        """Return what became of it, or raise the error that did."""
        if isinstance(self.value, ElectionError):
            raise type(self.value)(str(self.value)) from self.value
        return self.value


def _carry_out(
    file: SqliteFile, reads: Sequence[Read], changes: Sequence[Change]
) -> tuple[list[Any], list[int | None] | StoreError | InDoubt]:
    """Do what blocks, and return errors as values: those of reads and of changes do not concern each other."""
    results: list[Any] = []
    try:
        results = file.read(reads) if reads else []
    except StoreError as error:
        results = [error] * len(reads)
    try:
        return results, file.change(changes) if changes else []
    except (StoreError, InDoubt) as error:
        return results, error
