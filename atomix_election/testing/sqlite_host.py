"""The simulated server on an SQLite store: real files, on a disk that fails, and a process that is killed anywhere."""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import anyio

from atomix_election.engine.engine import EXPIRY_DELAY_S
from atomix_election.errors import CandidateTaken, StoreError, Unavailable
from atomix_election.model import SessionId
from atomix_election.service import Service
from atomix_election.stores.sqlite import SqliteStore, open_sqlite_store
from atomix_election.stores.sqlite_backup import back_up, restore
from atomix_election.testing.checker import Promises, Rule, Violation
from atomix_election.testing.disk import DiskFaults, SimulatedDisk
from atomix_election.testing.host import (
    DRIFT,
    Host,
    HostedConnection,
    HostedEngine,
    Surroundings,
    left_in,
    left_in_store,
)

DIRECTORY = "atomix-election-simulated-"
"""How the names of the directories begin in which the files are for the time of a run."""
IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of its own is made there
"""Where they are made, if it exists: much time would go by for nothing on a disk."""
FAILING = 0.02
"""How likely each statement fails where the disk fails at all; a commit has at least four."""
CLOCK_STEP_S = 0.002
"""Between a backup and a restore of it the wall clock goes on at least so long, as it has to."""
_RESTARTING = frozenset({"restarts", "kill", "power cut", "restore"})


class _Process:
    """One server process, from its start until it has stopped or died."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.store: SqliteStore | None = None
        self.engine: HostedEngine | None = None
        """None as long as it takes no calls, and when it does not any more."""
        self.connections: dict[str, HostedConnection] = {}
        self.killed = False
        self.ended = False


class SqliteHost(Host):
    """One server on a file, which is stopped in order, killed, or cut from power, and then started again."""

    conditions: ClassVar[tuple[str, ...]] = ("store errors", "slow store")
    acts: ClassVar[tuple[str, ...]] = ("restarts", "kill", "kill", "power cut", "power cut", "full disk", "restore")

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._chance = chance = surroundings.chance
        self._ttl_s = surroundings.ttl_s
        self._faults = DiskFaults(
            delay_s=self._ttl_s / 40 if "slow store" in surroundings.faults else 0.0,
            failing=FAILING if "store errors" in surroundings.faults else 0.0,
        )
        self._checkpoint_frames = chance.choice((3, 30, 1000))
        self._process = _Process()
        self._up = anyio.Event()
        self._backups: list[Path] = []
        self._to_restore: Path | None = None
        self._sessions_before_kill: set[SessionId] = set()
        self._stopped_at = 0.0

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """See ``Host.running``."""
        with directory_in_memory() as directory:
            async with anyio.create_task_group() as supervisor:
                supervisor.start_soon(self._supervise, directory / "store.db")
                await self._up.wait()
                yield
                supervisor.cancel_scope.cancel()

    def service(self, name: str) -> Service:
        """See ``Host.service``."""
        process = self._process
        if process.engine is None:
            raise Unavailable("nobody listens")
        if name not in process.connections:
            invariants = self._surroundings.invariants
            process.connections[name] = HostedConnection(process.engine, invariants, is_gone=lambda: process.killed)
        return process.connections[name]

    def hung_up(self, name: str) -> None:
        """See ``Host.hung_up``."""
        connection = self._process.connections.pop(name, None)
        if connection is not None and self._process.engine is not None:
            connection.disconnect(by_peer=True)

    async def do(self, fault: str) -> None:
        """See ``Host.do``."""
        match fault:
            case "restarts":
                if self._chance.random() < 0.3:
                    self._disk.crash_soon(after=1, within_write=True, power_cut=False)  # the one of its end
                self._stop()
            case "full disk":
                self._faults.full = True
                self._surroundings.start(self._free_space, self._chance.uniform(0.1, 2.0) * self._ttl_s)
            case "restore":
                await self._restore()
            case _:
                await self._crash(power_cut=fault == "power cut")

    async def calm_down(self) -> None:
        """See ``Host.calm_down``."""
        self._faults.delay_s = self._faults.failing = 0.0
        self._faults.full = False
        self._disk.spare()
        while self._process.engine is None:
            await self._up.wait()

    @property
    def promises(self) -> Promises:
        """See ``Host.promises``."""
        return Promises(numbers_jump="restore" in self._surroundings.faults)

    def excuses(self, violation: Violation) -> bool:
        """See ``Host.excuses``.

        A client is told that its session has ended before that is stored, and a restart in between brings the session
        back: nobody uses it any more, but until it expires the ids of its candidates are taken.
        """
        restarted = not _RESTARTING.isdisjoint(self._surroundings.faults)
        return restarted and violation.rule is Rule.REFUSED and CandidateTaken.__name__ in violation.what

    @property
    def may_skip_changes(self) -> bool:
        """See ``Host.may_skip_changes``. What became of a batch whose outcome was not known is told as one change."""
        return "store errors" in self._surroundings.faults

    @property
    def longest_failover_s(self) -> float:
        """See ``Host.longest_failover_s``."""
        assert self._process.engine is not None
        return max(self._process.engine.longest_failover_s, self._ttl_s + EXPIRY_DELAY_S) / (1 - DRIFT)

    async def left_behind(self) -> list[str]:
        """See ``Host.left_behind``."""
        assert self._process.store is not None
        return await left_in_store(self._process.store) + left_in(self._process.engine)

    async def _supervise(self, path: Path) -> None:
        """Run one process after the other."""
        while True:
            await self._serve(path)
            await anyio.sleep(self._chance.uniform(CLOCK_STEP_S, self._ttl_s))
            if self._to_restore is not None:
                self._replace(path, self._to_restore)
                self._to_restore = None

    async def _serve(self, path: Path) -> None:
        """Run one process until it stops or dies."""
        process = self._process = _Process()
        self._disk = disk = SimulatedDisk(
            path,
            self._chance,
            self._faults,
            self._checkpoint_frames,
            self._surroundings.start,
            lambda: self._killed(process),
        )
        with process.scope:
            try:
                await self._run_engine(process, path, disk)
            except StoreError:
                self._surroundings.invariants.note("the server could not be started")
        process.ended = True
        self._takes_no_calls(process)
        disk.put_back()

    async def _run_engine(self, process: _Process, path: Path, disk: SimulatedDisk) -> None:
        async with open_sqlite_store(str(path), execute=disk, connect=disk.connect, sleep=_at_once) as store:
            process.store = store
            engine = HostedEngine(store, self._surroundings, self._surroundings.new_clock())
            async with engine.running():
                self._look_for_sessions({each.session for each in await store.sessions()})
                process.engine = engine
                self._up.set()
                await anyio.sleep_forever()

    def _look_for_sessions(self, found: set[SessionId]) -> None:
        """All sessions that were open when a process was killed are there again."""
        lost = sorted(each.id for each in self._sessions_before_kill - found)
        if lost:
            self._surroundings.invariants.fail(f"sessions are gone: {lost}")
        self._sessions_before_kill = set()

    def _stop(self) -> None:
        """End the process in order."""
        process = self._process
        self._takes_no_calls(process)
        self._stopped_at = self._surroundings.record.now()
        for name in process.connections:
            self._surroundings.lost(name)
        process.scope.cancel()

    def _takes_no_calls(self, process: _Process) -> None:
        if process.engine is not None:
            process.engine = None
            self._up = anyio.Event()

    def _killed(self, process: _Process) -> None:
        """A process has died: nothing of what it still does reaches the disk or anybody."""
        process.killed = True
        if process.engine is not None:
            known = process.engine.sessions._open.values()  # type: ignore[reportPrivateUsage]  # noqa: SLF001
            self._sessions_before_kill = {each.id for each in known}
        self._stop()

    async def _crash(self, *, power_cut: bool) -> None:
        """Kill the process within one of its next writes or between two of its next statements, or after a while."""
        process, disk = self._process, self._disk
        within_write = self._chance.random() < 0.5
        after = self._chance.randint(1, 4 if within_write else 16)
        disk.crash_soon(after=after, within_write=within_write, power_cut=power_cut)
        await anyio.sleep(self._chance.uniform(0.0, self._ttl_s))
        if not process.ended:
            disk.crash()

    async def _free_space(self, after_s: float) -> None:
        await anyio.sleep(after_s)
        self._faults.full = False

    async def _restore(self) -> None:
        """The store is lost, and made anew of a backup of it, or of one that it was made of, or of another one."""
        if self._process.engine is not None and self._disk.is_synced and self._chance.random() < 0.6:
            path = self._disk.path.with_name(f"backup{len(self._backups)}.db")
            back_up(str(self._disk.path), str(path), wall_clock=self._surroundings.wall_clock_s)
            self._backups.append(path)
        await anyio.sleep(self._chance.uniform(0.0, self._ttl_s))
        if self._backups:
            self._to_restore = self._chance.choice(self._backups)
            self._stop()

    def _replace(self, path: Path, backup: Path) -> None:
        """Put what is made of a backup in the place of the store; no process may run."""
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        floors = restore(str(backup), str(path), wall_clock=self._surroundings.wall_clock_s)
        self._surroundings.restored(self._stopped_at, floors.number)
        self._sessions_before_kill = set()


@contextmanager
def directory_in_memory() -> Generator[Path]:
    """Make a directory for the length of a block: in memory, where there is such a thing."""
    with TemporaryDirectory(prefix=DIRECTORY, dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as directory:
        yield Path(directory)


def _at_once(_: float) -> None:
    """What blocks takes no virtual time."""
