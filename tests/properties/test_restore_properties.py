"""Lines of backups and restores: a tree of stores, each of which was restored from a backup of any of them.

No token comes twice, and each is higher than all before it, as long as

- the clock is not set back from one restore to a later one,
- a store changes its leaders less than 1,024 times in a millisecond, and
- what was restored last is what is served.

The backups are copied as well, and the copies do not know what becomes of each other.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from atomix_election.core.election import Election
from atomix_election.core.floors import TOKENS_PER_MS, Floors, reached_by
from atomix_election.errors import StoreError
from atomix_election.model import ElectionId
from atomix_election.stores.codec import encode_election
from atomix_election.stores.sqlite_backup import back_up, restore
from atomix_election.stores.sqlite_file import SqliteFile
from atomix_election.stores.sqlite_rows import ForgetElection, ReadElection, WriteElection

BEGIN_MS = 1_800_000_000_000
PAUSES = st.integers(1, 10**10)
"""Milliseconds from one step to the next: up to four months."""
CHANGES = st.one_of(st.integers(1, 3), st.integers(1, 1 << 45))
PLACES = st.integers(0, 1000)


@dataclass
class File:
    """A store or a backup: what ``Floors.restored`` is told of it."""

    floors: Floors = field(default_factory=Floors)
    reached: int = 0


class Lines(RuleBasedStateMachine):
    """The rule by itself: what a store gives, and where those begin that are made of its backups."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = BEGIN_MS
        self.newest = 0
        self.stores: list[File] = [File()]
        self.backups: list[File] = []

    @rule(changes=CHANGES, pause_ms=PAUSES)
    def run(self, changes: int, pause_ms: int) -> None:
        """The newest store gives tokens, as fast as the rule allows or slower."""
        self.now_ms += max(pause_ms, changes // TOKENS_PER_MS + 1)
        served = self.stores[-1]
        first = served.floors.number + 1
        assert first > self.newest, "a token comes again"
        self.newest = served.floors.number + changes
        served.floors = Floors(self.newest, served.floors.revision + changes)

    @rule(place=PLACES, pause_ms=PAUSES)
    def back_up(self, place: int, pause_ms: int) -> None:
        """Any store that there ever was: its file may still be there."""
        self.now_ms += pause_ms
        store = self.stores[place % len(self.stores)]
        self.backups.append(replace(store, reached=max(store.reached, reached_by(self.now_ms))))

    @precondition(lambda self: self.backups)
    @rule(place=PLACES)
    def copy(self, place: int) -> None:
        """Somebody copies a backup."""
        self.backups.append(replace(self.backups[place % len(self.backups)]))

    @precondition(lambda self: self.backups)
    @rule(place=PLACES, pause_ms=PAUSES)
    def restore(self, place: int, pause_ms: int) -> None:
        """Any backup, also one that was restored before."""
        self.now_ms += pause_ms
        backup = self.backups[place % len(self.backups)]
        floors = backup.floors.restored(self.now_ms, reached=backup.reached)
        assert floors is not None, "a clock that was never set back is not relied on"
        assert min(floors) > max(*backup.floors, backup.reached)
        backup.reached = floors.number
        self.stores.append(File(floors, floors.number))

    @invariant()
    def the_clock_is_ahead(self) -> None:
        """Which is why files need not know of each other."""
        assert self.newest < reached_by(self.now_ms) + TOKENS_PER_MS


TestLines = Lines.TestCase
TestLines.settings = settings(max_examples=200, stateful_step_count=25, deadline=None)


class FileLines(RuleBasedStateMachine):
    """The same with real files, and elections that are forgotten or only there in some of them."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = BEGIN_MS
        self.newest: dict[str, int] = {}
        self.stores: list[str] = []
        self.backups: list[str] = []

    @initialize()
    def begin(self) -> None:
        """With a new store."""
        self.directory = TemporaryDirectory()
        self.stores.append(self._path("first.db"))

    def teardown(self) -> None:
        """Leave nothing."""
        if hasattr(self, "directory"):
            self.directory.cleanup()

    def _path(self, name: str) -> str:
        return str(Path(self.directory.name) / name)

    def _clock(self) -> float:
        return self.now_ms / 1000

    @rule(name=st.sampled_from("abc"), changes=CHANGES, forgotten=st.booleans(), pause_ms=PAUSES)
    def run(self, name: str, changes: int, forgotten: bool, pause_ms: int) -> None:
        """An election of the newest store gives tokens, and is forgotten then or not."""
        self.now_ms += max(pause_ms, changes // TOKENS_PER_MS + 1)
        election_id, file = ElectionId("default", name), SqliteFile(self.stores[-1])
        try:
            record = file.read([ReadElection(election_id)])[0]
            assert record.election.number + 1 > self.newest.get(name, 0), "a token comes again"
            self.newest[name] = record.election.number + changes
            after = Election(number=self.newest[name], revision=record.election.revision + changes)
            version = file.change([WriteElection(election_id, after, encode_election(after), record.version)])[0]
            if forgotten:
                assert file.change([ForgetElection(election_id, version or 0)])[0]
        finally:
            file.close()

    @precondition(lambda self: len(self.backups) < 6)
    @rule(place=PLACES, pause_ms=PAUSES)
    def back_up(self, place: int, pause_ms: int) -> None:
        """Any store that there ever was."""
        self.now_ms += pause_ms
        store = self.stores[place % len(self.stores)]
        if Path(store).exists():
            self.backups.append(self._path(f"{len(self.backups)}.backup"))
            back_up(store, self.backups[-1], wall_clock=self._clock)

    @precondition(lambda self: self.backups)
    @rule(place=PLACES)
    def copy(self, place: int) -> None:
        """Somebody copies a backup."""
        path = self._path(f"{len(self.backups)}.copy")
        Path(path).write_bytes(Path(self.backups[place % len(self.backups)]).read_bytes())
        self.backups.append(path)

    @precondition(lambda self: self.backups and len(self.stores) < 8)
    @rule(place=PLACES, pause_ms=PAUSES)
    def restore(self, place: int, pause_ms: int) -> None:
        """Any backup, also one that was restored before."""
        self.now_ms += pause_ms
        path = self._path(f"{len(self.stores)}.db")
        floors = restore(self.backups[place % len(self.backups)], path, wall_clock=self._clock)
        assert floors.number == reached_by(self.now_ms)
        self.stores.append(path)


TestFileLines = FileLines.TestCase
TestFileLines.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


def test_what_breaks_when_the_clock_is_set_back() -> None:
    """A copy that does not know of the later restore gives its tokens again; one that does is refused."""
    lines = Lines()
    lines.run(5, 1)
    lines.back_up(0, 1)
    lines.copy(0)
    lines.restore(0, 10**6)
    lines.run(1 << 20, 1)
    lines.now_ms -= 10**6
    assert lines.backups[0].floors.restored(lines.now_ms, reached=lines.backups[0].reached) is None
    lines.restore(1, 1)
    with pytest.raises(AssertionError, match="a token comes again"):
        lines.run(1, 1)


def test_what_breaks_when_a_store_is_faster_than_the_clock() -> None:
    """And that the rule is as close as it says."""
    for changes, breaks in ((1000 * TOKENS_PER_MS - 1, False), (1000 * TOKENS_PER_MS + 1, True)):
        lines = Lines()
        lines.back_up(0, 1)
        lines.copy(0)
        lines.restore(0, 1)
        restored_ms = lines.now_ms
        lines.run(changes, 1)
        lines.now_ms = restored_ms + 999
        lines.restore(1, 1)
        if breaks:
            with pytest.raises(AssertionError, match="a token comes again"):
                lines.run(1, 1)
        else:
            lines.run(1, 1)


def test_what_breaks_when_a_former_store_is_served_again() -> None:
    """Its tokens are below those that the later one gave."""
    lines = Lines()
    lines.back_up(0, 1)
    lines.restore(0, 1)
    lines.run(3, 1)
    lines.stores.pop()
    with pytest.raises(AssertionError, match="a token comes again"):
        lines.run(1, 1)


def test_a_clock_that_was_set_back_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """Before the backup was made, before it was restored, before a store that is named: each file tells by itself."""
    store, backup, new = (str(tmp_path / name) for name in ("store.db", "backup.db", "new.db"))
    SqliteFile(store).close()
    back_up(store, backup, wall_clock=lambda: BEGIN_MS / 1000)
    copy = str(tmp_path / "copy.db")
    Path(copy).write_bytes(Path(backup).read_bytes())
    with pytest.raises(StoreError, match=r"clock .* shows 2027-01-15T07:59:59.*up to 2027-01-15T08:00:00"):
        restore(backup, new, wall_clock=lambda: BEGIN_MS / 1000 - 1)
    restore(backup, new, wall_clock=lambda: BEGIN_MS / 1000 + 60)
    assert not Path(f"{new}2").exists()
    with pytest.raises(StoreError, match="set the clock right and try again"):
        restore(backup, f"{new}2", wall_clock=lambda: BEGIN_MS / 1000 + 30)
    with pytest.raises(StoreError, match="set the clock right and try again"):
        restore(copy, f"{new}2", replaced=[new], wall_clock=lambda: BEGIN_MS / 1000 + 30)
    assert not Path(f"{new}2").exists()
    floors = restore(copy, f"{new}2", wall_clock=lambda: BEGIN_MS / 1000 + 30)
    assert floors.number < reached_by(BEGIN_MS + 60_000), "nothing in the copy knows of the other"
