"""A store in an SQLite file: what was acknowledged is on the disk."""

import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

import anyio

from atomix_election.core.election import Election
from atomix_election.errors import ElectionError, OutcomeUnknown, StoreError
from atomix_election.model import ElectionId, SessionId
from atomix_election.stores.base import Record, StoredSession, Written
from atomix_election.stores.codec import encode_election
from atomix_election.stores.sqlite_file import Change, Connect, InDoubt, Read, SqliteFile
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
from atomix_election.tasks import Callbacks, see_through

MAX_BATCH = 1000
"""Reads and changes that are carried out in one go."""
MAX_CACHED_ELECTIONS = 10_000
"""Elections whose newest state is kept in memory; those that were not used for the longest time go first."""
MAX_SETTLE_TRIES = 50
"""How often it is tried to find out whether a transaction took place, before its callers hear OutcomeUnknown."""
SETTLE_PAUSE_S = 0.1
"""Pause between these tries."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Result(Generic[_T]):
    """What a call came to.

    Args:
        value: what it returned, or
        error: what it raised.
    """

    value: _T | None
    error: BaseException | None = None

    def get(self) -> _T:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return cast("_T", self.value)


def result_of(call: Callable[[], _T]) -> Result[_T]:
    """Make a call."""
    try:
        return Result(call())
    except BaseException as error:  # noqa: BLE001 - whoever waits raises it
        return Result(None, error)


class Executor(Protocol):
    """How a store runs what blocks. It need not expect two calls at a time."""

    def start(self, call: Callable[[], _T], done: Callable[[Result[_T]], None]) -> None:
        """Run something, and then have ``done`` called in the event loop, maybe before this returns."""
        ...

    def close(self) -> None:
        """No more calls come, and none is under way."""
        ...


class WorkerThread:
    """Runs what blocks in a thread of its own, so that the event loop goes on. Made in the event loop."""

    def __init__(self) -> None:
        self._callbacks = Callbacks()
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="atomix_election-store", daemon=True)
        self._thread.start()

    def start(self, call: Callable[[], _T], done: Callable[[Result[_T]], None]) -> None:
        """See ``Executor.start``."""
        self._calls.put(lambda: self._callbacks.soon_from_thread(done, result_of(call)))

    def close(self) -> None:
        """See ``Executor.close``."""
        self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # and with it what it holds, before the next one comes


class Inline:
    """Runs what blocks on the spot: for virtual time, which would jump while a thread works."""

    def start(self, call: Callable[[], _T], done: Callable[[Result[_T]], None]) -> None:
        """See ``Executor.start``."""
        done(result_of(call))

    def close(self) -> None:
        """See ``Executor.close``."""


@asynccontextmanager
async def open_sqlite_store(
    path: str,
    *,
    execute: Executor | None = None,
    connect: Connect | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> AsyncGenerator["SqliteStore"]:
    """Own an SQLite file for as long as the block lasts; one that does not exist is made.

    Args:
        path: where it is.
        execute: how to run what blocks; by default in a thread of its own.
        connect: opens the file instead of ``sqlite3.connect``, where the disk is a simulated one.
        sleep: waits for some seconds where ``execute`` runs things, between tries to find out what became of a write.

    Raises:
        StoreError: the file is in use, damaged, of a newer release or of another application, or cannot be written.
    """
    executor = execute or WorkerThread()
    opened: list[SqliteStore] = []

    async def open_it() -> None:
        opened.append(SqliteStore(await _run(executor, lambda: SqliteFile(path, connect)), executor, sleep))

    try:
        await see_through(open_it)
        yield opened[0]
    finally:
        try:
            if opened:
                await see_through(opened[0].close)
        finally:
            executor.close()


async def _run(executor: Executor, call: Callable[[], _T]) -> _T:
    """Run something that blocks, and wait for it."""
    results: list[Result[_T]] = []
    ended = anyio.Event()

    def done(result: Result[_T]) -> None:
        results.append(result)
        ended.set()

    executor.start(call, done)
    await ended.wait()
    return results[0].get()


class SqliteStore:
    """Elections and sessions in a file. Whoever waits while a transaction is written shares the next one.

    There is no task for that: the end of a transaction begins the next one.

    Args:
        file: what it owns until ``close``.
        executor: how to run what blocks.
        sleep: see ``open_sqlite_store``.
    """

    def __init__(self, file: SqliteFile, executor: Executor, sleep: Callable[[float], None] = time.sleep) -> None:
        self._file = file
        self._executor = executor
        self._sleep = sleep
        self._callbacks = Callbacks()
        self._cache: dict[ElectionId, Record] = {}
        self._waiting: list[_Waiting] = []
        self._busy = False
        self._undo: list[Change] = []
        self._idle = anyio.Event()

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
        while self._busy:
            self._idle = anyio.Event()
            await self._idle.wait()
        await _run(self._executor, self._file.close)

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

    def write_now(
        self, election_id: ElectionId, election: Election, *, expected: int, done: Callable[[Written], None]
    ) -> None:
        """See ``Store.write_now``."""
        change = WriteElection(election_id, election, encode_election(election), expected)
        self._add(_Waiting(lambda waiting: done(waiting.written()), change=change))

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
        known = anyio.Event()
        return await self._carried_out(_Waiting(lambda _: known.set(), read=read), known)

    async def _change(self, change: Change) -> int | None:
        known = anyio.Event()
        return await self._carried_out(_Waiting(lambda _: known.set(), change=change), known)

    async def _carried_out(self, waiting: "_Waiting", known: anyio.Event) -> Any:
        """Have something carried out together with what others want.

        Raises:
            StoreError: it was not carried out.
            OutcomeUnknown: it may have been.
        """
        self._add(waiting)
        try:
            await known.wait()
        except BaseException:
            self._give_up(waiting)
            raise
        return waiting.result()

    def _add(self, waiting: "_Waiting") -> None:
        self._waiting.append(waiting)
        if not self._busy:
            self._busy = True
            self._begin_soon()

    def _give_up(self, waiting: "_Waiting") -> None:
        """Its caller was cancelled."""
        waiting.abandoned = True
        if waiting in self._waiting:
            self._waiting.remove(waiting)
        self._take_back(waiting)

    def _take_back(self, waiting: "_Waiting") -> None:
        """See to it that what nobody knows of is undone with the next change; a restart would clear it up too."""
        if waiting.abandoned and waiting.change is not None and isinstance(waiting.value, int):
            undo = waiting.change.undo(waiting.value)
            if undo is not None:
                self._undo.append(undo)

    def _begin_soon(self) -> None:
        """Let those join who are about to, as after a batch whose callers all go on at the same time."""
        self._callbacks.soon(self._begin_next)

    def _begin_next(self) -> None:
        batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
        if batch:
            self._begin(batch)
        else:
            self._go_on()

    def _go_on(self) -> None:
        """Begin with those who have come meanwhile."""
        if self._waiting:
            self._begin_soon()
        else:
            self._busy = False
            self._idle.set()

    def _begin(self, batch: "list[_Waiting]") -> None:
        """Carry out what waited, and then go on."""
        reads = [each.read for each in batch if each.read is not None]
        changes = [each.change for each in batch if each.change is not None]
        undo = list(self._undo) if changes else []

        def done(result: Result[_Outcomes]) -> None:
            try:
                self._known(batch, len(undo), result.get())
            finally:
                self._tell(batch)

        self._executor.start(partial(_carry_out, self._file, reads, [*undo, *changes], self._sleep), done)

    def _tell(self, batch: "Iterable[_Waiting]") -> None:
        """Tell all who waited, and go on."""
        left = deque(batch)
        try:
            while left:
                waiting = left.popleft()
                self._take_back(waiting)
                waiting.tell(waiting)
        except BaseException:  # which should not be; the others are told all the same
            self._callbacks.soon(self._tell, left)
            raise
        self._go_on()

    def _known(self, batch: "list[_Waiting]", undone: int, outcomes: "_Outcomes") -> None:
        """Take note of what a batch came to."""
        results = iter(outcomes.reads)
        changes: list[tuple[_Waiting, Change]] = []
        for each in batch:
            if each.change is not None:
                changes.append((each, each.change))
                continue
            each.value = next(results)
            if isinstance(each.read, ReadElection) and isinstance(each.value, Record):
                self._keep(each.read.election_id, each.value)
        if isinstance(outcomes.changes, ElectionError):
            self._failed(changes, outcomes.changes)
        else:
            del self._undo[:undone]
            self._took_place(changes, outcomes.changes[undone:])

    def _failed(self, changes: "list[tuple[_Waiting, Change]]", error: ElectionError) -> None:
        for waiting, change in changes:
            waiting.value = error
            if isinstance(error, OutcomeUnknown):  # nobody may be told what may not be so any more
                if isinstance(change, WriteElection):
                    self._cache.pop(change.election_id, None)
                elif isinstance(change, ForgetElection):
                    self._drop(change.election_id)

    def _took_place(self, changes: "list[tuple[_Waiting, Change]]", numbers: list[int | None]) -> None:
        """Tell those who wanted the changes, and know what is in the file now."""
        for (waiting, change), number in zip(changes, numbers, strict=True):
            waiting.value = number
            if isinstance(change, WriteElection) and number is not None:
                self._keep(change.election_id, Record(change.election, number))
            if isinstance(change, ForgetElection) and number is not None:
                self._drop(change.election_id)

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
    """A read or a change, and what became of it.

    Args:
        tell: is called with it once that is known.
        read: what is read, or
        change: what is changed.
    """

    __slots__ = ("abandoned", "change", "read", "tell", "value")

    def __init__(
        self, tell: "Callable[[_Waiting], None]", *, read: Read | None = None, change: Change | None = None
    ) -> None:
        self.tell = tell
        self.read = read
        self.change = change
        self.abandoned = False
        self.value: Any = _FAILED

    def result(self) -> Any:
        """Return what became of it, or raise the error that did."""
        if isinstance(self.value, ElectionError):
            raise type(self.value)(str(self.value)) from self.value
        return self.value

    def written(self) -> Written:
        """Return what became of a write."""
        return self.value if isinstance(self.value, StoreError | OutcomeUnknown) else self.value is not None


_FAILED = OutcomeUnknown("the store failed while this was carried out: read the term to find out")


class _Outcomes(NamedTuple):
    """What a batch came to: each read a value or its error, and all changes the number of each, or one error."""

    reads: list[Any]
    changes: list[int | None] | ElectionError


def _carry_out(
    file: SqliteFile, reads: Sequence[Read], changes: Sequence[Change], sleep: Callable[[float], None]
) -> _Outcomes:
    """Do what blocks, and return errors as values: those of reads and of changes do not concern each other."""
    try:
        results = file.read(reads) if reads else []
    except StoreError as error:
        results = [error] * len(reads)
    try:
        return _Outcomes(results, file.change(changes) if changes else [])
    except StoreError as error:
        return _Outcomes(results, error)
    except InDoubt as doubt:
        return _Outcomes(results, _settle(file, doubt, sleep))


def _settle(file: SqliteFile, doubt: InDoubt, sleep: Callable[[float], None]) -> list[int | None] | ElectionError:
    """Find out what became of a transaction."""
    for _ in range(MAX_SETTLE_TRIES):
        try:
            took_place = file.settle(abandoned=False)
        except StoreError:
            sleep(SETTLE_PAUSE_S)
        else:
            return doubt.numbers if took_place else StoreError(str(doubt))
    return OutcomeUnknown(f"{doubt}: whether it was written cannot be found out now; read the term later to see")
