"""One server on an SQLite file: killed at any moment, its file copied, lost and made anew, its disk full."""

import random
import re
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

import anyio
from anyio.abc import Process

from atomix_election import LeaderElection, StoreError
from atomix_election.stores.codec import decode_election
from atomix_election.testing.history import DONE, Answered, Restored, now
from tests.crash.published import Admission, come_back
from tests.soak import asking
from tests.soak.book import Book
from tests.soak.clients import Crews
from tests.soak.disks import SmallDisk, no_room_for_files
from tests.soak.one_server import SERVER_KILLED, OneServer
from tests.soak.processes import START_S, end_process, run_command, start_process
from tests.soak.site import Plan

KILLED_IN_A_ROW = "the server killed some times in a row, while its file is copied"
RESTORED = "the file lost, and made anew of a backup"
DISK_FULL = "the disk full"
NO_ROOM = "no file of the server may grow"
READ_ONLY = "the server killed, and not started again as its disk is read-only"
KILLS = 7
"""Kills of one round."""
SMALL_PAUSE_S = 0.02


class SqliteServer(OneServer):
    """The server of a run, as a ``Site``.

    Args:
        plan: what the run is to be.
        directory: for files.
        book: what was done.
        chance: of whom and how long.
        crews: its clients.
        disk: where its file is to be, if there is one.
    """

    def __init__(
        self, plan: Plan, directory: Path, book: Book, chance: random.Random, crews: Crews, disk: SmallDisk | None
    ) -> None:
        self._files = directory if disk is None else disk.path
        self._store = self._files / "store.db"
        super().__init__(plan, directory, book, chance, crews, store=f"sqlite:///{self._store}")
        self.backups: list[Path] = []
        self.admissions: list[Admission] = []
        self.refused = 0
        """Writes that there was no room for."""
        self._disk = disk
        del self._by_kind[SERVER_KILLED]
        self._by_kind |= {KILLED_IN_A_ROW: self._kill_in_a_row, RESTORED: self._restore}
        if plan.library is None:  # see ``faked_clocks``
            self._by_kind[NO_ROOM] = lambda: self._fill(NO_ROOM, self._no_room_for_files)
            self._by_kind[DISK_FULL] = lambda: self._fill(DISK_FULL, self._no_room_for_files)
        if disk is not None:
            self._by_kind[DISK_FULL] = lambda: self._fill(DISK_FULL, disk.full)
            self._by_kind[READ_ONLY] = self._do_without_disk

    async def audit(self, latest: float) -> None:
        """No session is left in the file either, and the file is whole."""
        await asking.nobody_stands(self.entrance, latest, self._book)
        while self._sessions() and now() < latest:  # noqa: ASYNC110 - a file tells nobody that it has changed
            await anyio.sleep(0.1)
        assert not self._sessions()
        await self.kill()
        with closing(sqlite3.connect(self._store)) as file:
            assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            for name, record in file.execute("SELECT name, record FROM election"):
                term = decode_election(record).term
                self._book.write(Answered("file", "get_term", name, "", now(), now(), DONE, term))

    def lines(self) -> list[str]:
        """See ``Site.lines``."""
        disk = "a small disk" if self._disk else "a disk that cannot be filled"
        found = [f"a server on an SQLite file, on {disk}, {self._how}", f"{len(self.backups)} backups"]
        if self.admissions:
            refused = sum(len(each.refused) for each in self.admissions)
            let_in = f"let in {len(self.admissions)} times"
            found.append(f"published clients were refused {refused} times after a restore, and {let_in}")
        if self.refused:
            found.append(f"{self.refused} writes were refused with the proper error while there was no room")
        return found

    async def _kill_in_a_row(self) -> None:
        self._book.counts[KILLED_IN_A_ROW] += 1
        await self.ready()
        backup = await self._begin_backup()
        try:
            for _ in range(KILLS):
                await self._kill_at(*self._moment())
                await self.server.begin()
            await self.ready()
            with anyio.fail_after(START_S):
                assert await backup.wait() == 0, f"a backup failed; see {self._directory}/server.log"
        finally:
            await end_process(backup)

    def _moment(self) -> tuple[bool, float]:
        """Return whether to wait until the server is ready, and for how long then."""
        return self._chance.choice(
            [
                (False, self._chance.uniform(0.0, 1.0)),  # while it starts
                (True, self._chance.uniform(0.0, 0.03)),  # while the clients come back
                (True, self._chance.expovariate(4.0)),  # while it works
            ]
        )

    async def _kill_at(self, after_ready: bool, for_s: float) -> None:
        if after_ready:
            await self.ready()
        until = now() + for_s
        with anyio.move_on_after(for_s):
            await self.ready()  # to know that it was there, and since when
        await anyio.sleep(max(until - now(), 0.0))
        await self.kill()

    async def _begin_backup(self) -> Process:
        """Begin to copy the file, while the server works or is killed."""
        self.backups.append(self._directory / f"{len(self.backups)}.backup")
        arguments = ["-m", "atomix_election", "backup", str(self._store), str(self.backups[-1])]
        return await start_process(arguments, self._directory / "server.log")

    async def _restore(self) -> None:
        """Lose the store, make it anew of any backup, and let all come back when nobody is held off any more."""
        await self.ready()
        if not self.backups:
            backup = await self._begin_backup()
            try:
                assert await backup.wait() == 0, f"see {self._directory}/server.log"
            finally:
                await end_process(backup)
        with self._book.fault(RESTORED):
            await self._replace_store()

    async def _replace_store(self) -> None:
        await self.kill()
        ended, former = now(), self._store
        self._store = self._files / f"restored-{len(self.admissions)}.db"
        self.server = self._serving(f"sqlite:///{self._store}")
        command = ["restore", str(self._chance.choice(self.backups)), str(self._store)]
        command += ["--replaces", str(former)] * self._chance.randrange(2)
        status, said = await run_command(["-m", "atomix_election", *command], self._directory / "server.log")
        floor = re.search(r"its tokens begin above (\d+);", said)
        assert status == 0, said
        assert floor, said
        begun = now()
        self._book.write(Restored(ended, begun, self._plan.ttl_s, int(floor[1])))
        await self.server.begin()
        await self.ready()
        for each in former.parent.glob(f"{former.name}*"):
            each.unlink()
        await self._let_in(begun)

    async def _let_in(self, begun: float) -> None:
        address, longest_s = f"127.0.0.1:{self.server.port}", self._plan.ttl_s + START_S
        way = self.entrance
        admission = await anyio.to_thread.run_sync(come_back, address, longest_s, way.ca, way.token_file)
        assert set(admission.refused) == {"UNAVAILABLE"}, admission
        assert "nobody is admitted for another" in admission.details, admission
        assert admission.at >= begun + self._plan.ttl_s, f"let in during the hold, which began at {begun}: {admission}"
        self.admissions.append(admission)
        await self.all_stand()

    async def _fill(self, kind: str, full: Callable[[], AbstractContextManager[None]]) -> None:
        """Have no room for a while: what would need some is refused, all else goes on; then there is room again."""
        async with asking.client_of(self.entrance, ttl_s=self._plan.ttl_s) as client:
            election = client.election("probe", candidate_id="probe")
            await election.enter()
            with self._book.fault(kind):
                with full():
                    until = now() + self._chance.uniform(1.0, 2.0)
                    while now() < until:
                        await self._refused(election)
                        await anyio.sleep(SMALL_PAUSE_S)
                await election.enter()
                assert (await election.withdraw()).candidates == ()

    def _no_room_for_files(self) -> AbstractContextManager[None]:
        """Stand in for a full disk where there is none of its own."""
        return no_room_for_files(self.server.pid)

    async def _refused(self, election: LeaderElection) -> None:
        """Ask for a change, which is refused or done, and never half done."""
        before = await election.get_term()
        try:
            after = await (election.withdraw() if before.candidates else election.enter())
        except StoreError as error:
            self._check_refusal(error)
            assert await election.get_term() == before
        else:
            assert after.candidates != before.candidates

    def _check_refusal(self, error: StoreError) -> None:
        """See that it says what to do."""
        assert "no restart is needed" in str(error), error
        self.refused += 1

    async def _do_without_disk(self) -> None:
        assert self._disk is not None
        await self.ready()
        with self._book.fault(READ_ONLY):
            await self.kill()
            with self._disk.read_only():
                said = await self.server.refuses_to_start()
                assert "let this user write to" in said, said
                assert "Traceback" not in said, said
            await self.server.begin()
            await self.ready()

    def _sessions(self) -> int:
        with closing(sqlite3.connect(self._store)) as file:
            return file.execute("SELECT count(*) FROM session").fetchone()[0]
