"""What an engine counts, and the one line that it logs for each change of a leader."""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from atomix_election.core.commands import Forget
from atomix_election.core.election import Election
from atomix_election.engine import Connection, Engine
from atomix_election.engine.report import Report
from atomix_election.errors import CandidateTaken, OutcomeUnknown, StoreError
from atomix_election.model import Candidate, ElectionId, SessionId
from atomix_election.observer import NoObserver
from atomix_election.service import Renewal
from atomix_election.testing import VirtualClock
from tests.engine.fakes import LATE_S, TTL_S, RecordingStore, about, stand

pytestmark = pytest.mark.anyio

WALL_CLOCK_S = 1_000_000.0


class Counts(NoObserver):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.causes: list[str] = []
        self.commands = Counter[tuple[str, str]]()
        self.gauges: dict[str, Any] = {}
        self.commits: list[tuple[str, float]] = []
        self.renewals = 0

    def elections(self, known: int, led: int) -> None:
        """See ``Observer.elections``."""
        self.gauges["elections"] = (known, led)

    def sessions(self, renewals: int, connections: int) -> None:
        """See ``Observer.sessions``."""
        self.gauges["sessions"] = (renewals, connections)

    def watchers(self, count: int) -> None:
        """See ``Observer.watchers``."""
        self.gauges["watchers"] = count

    def leader_changed(self, cause: str) -> None:
        """See ``Observer.leader_changed``."""
        self.causes.append(cause)

    def command(self, kind: str, outcome: str) -> None:
        """See ``Observer.command``."""
        self.commands[kind, outcome] += 1

    def committed(self, what: str, duration_s: float) -> None:
        """See ``Observer.committed``."""
        self.commits.append((what, duration_s))

    def renewed(self) -> None:
        """See ``Observer.renewed``."""
        self.renewals += 1


@pytest.fixture
def counts() -> Counts:
    """What the engine has told."""
    return Counts()


@pytest.fixture
def make_engine(store: RecordingStore, counts: Counts) -> Callable[[], Engine]:
    """Makes engines on the one store that tell what they do."""
    return lambda: Engine(store, clock=VirtualClock(), observer=counts, wall_clock=lambda: WALL_CLOCK_S)


def changes(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return the facts of the lines about leaders."""
    records = [vars(each) for each in caplog.records if getattr(each, "event", "") == "leader_changed"]
    names = ("cause", "leader", "former_leader", "term", "revision")
    return [{name: record[name] for name in names} for record in records]


async def test_every_leader_change_is_counted_and_logged_with_its_cause(
    make_engine: Callable[[], Engine], counts: Counts, caplog: pytest.LogCaptureFixture
) -> None:
    """One line each, and none for what leaves the leader in place."""
    caplog.set_level(logging.INFO)
    engine = make_engine()
    async with engine.running():
        one, two = Connection(engine), Connection(engine)
        await stand(one, "1", "a")
        await stand(two, "2", "b")
        await two.enter(about("2"), "c")
        await one.anoint(about(), "b")
        await one.promote(about(), "a")
        await one.evict(about(), "a")
        await two.withdraw(about("2"), "b")
        await one.enter(about("1"), "a")
        await two.close(about("2"))
        await one.end_session("default", "1")
        await stand(two, "3", "d")
        two.disconnect()
        await anyio.sleep(TTL_S + LATE_S)
        assert (await one.get_term(about())).leader is None
    wanted = [
        ("entered", "a", None),
        ("anointed", "b", "a"),
        ("promoted", "a", "b"),
        ("evicted", "b", "a"),
        ("withdrew", "c", "b"),
        ("closed", "a", "c"),
        ("ended", None, "a"),
        ("entered", "d", None),
        ("expired", None, "d"),
    ]
    assert counts.causes == [cause for cause, _, _ in wanted]
    logged = changes(caplog)
    assert [(each["cause"], each["leader"], each["former_leader"]) for each in logged] == wanted
    assert [each["term"] for each in logged] == [1, 2, 3, 4, 5, 6, 6, 7, 7]
    assert [each["revision"] for each in logged] == sorted({each["revision"] for each in logged})
    assert counts.gauges["elections"] == (1, 0)


@pytest.mark.parametrize("takes_place", [True, False])
async def test_a_write_of_which_nobody_knew_is_counted_once_it_is_known(
    make_engine: Callable[[], Engine],
    store: RecordingStore,
    counts: Counts,
    caplog: pytest.LogCaptureFixture,
    takes_place: bool,
) -> None:
    """The command was answered OutcomeUnknown; the change of the leader, and the election, are told if they came."""
    caplog.set_level(logging.INFO)
    engine = make_engine()
    async with engine.running():
        connection = Connection(engine)
        await stand(connection, "s", "x", name="other")
        await connection.create(about("s"))
        causes = list(counts.causes)
        store.doubtful = takes_place
        with pytest.raises(OutcomeUnknown):
            await connection.enter(about("s"), "a")
        await anyio.sleep(2.0)
        assert counts.causes == causes
        store.unreadable = False
        await anyio.sleep(1.0)
        assert counts.causes == [*causes, *["uncertain"] * takes_place]
        assert counts.commands["Enter", "OutcomeUnknown"] == 1
        assert counts.gauges["elections"] == (2, 1 + takes_place)
        assert [each["leader"] for each in changes(caplog)] == ["x", *["a"] * takes_place]
        store.doubtful = takes_place
        with pytest.raises(OutcomeUnknown):
            await connection.create(about("s", "third"))
        store.unreadable = False
        await anyio.sleep(1.0)
        assert counts.gauges["elections"] == (2 + takes_place, 1 + takes_place)


async def test_a_session_that_its_connection_released_is_a_cause_of_its_own(
    make_engine: Callable[[], Engine], counts: Counts
) -> None:
    """The client asked for it, when it opened its stream."""
    engine = make_engine()
    async with engine.running():
        connection = Connection(engine)
        async with connection.keep_alive("default", "1") as stream:
            await stream.send(Renewal(1, open=True, release_on_disconnect=True))
            await connection.enter(about("1"), "a")
            connection.disconnect(by_peer=True)
            await anyio.wait_all_tasks_blocked()
    assert counts.causes == ["entered", "disconnected"]
    assert counts.renewals == 1


async def test_no_session_id_is_ever_logged(
    make_engine: Callable[[], Engine], caplog: pytest.LogCaptureFixture
) -> None:
    """Digests only, at every level."""
    caplog.set_level(logging.DEBUG)
    engine = make_engine()
    async with engine.running():
        connection = Connection(engine)
        await stand(connection, "a-secret-of-the-client", "a")
        with pytest.raises(CandidateTaken):
            await stand(connection, "another-secret", "a")
        await connection.end_session("default", "a-secret-of-the-client")
        connection.disconnect()
        await anyio.sleep(TTL_S + LATE_S)
    assert {"session_ended", "leader_changed"} <= {getattr(each, "event", "") for each in caplog.records}
    assert "secret" not in caplog.text
    assert not [record for record in caplog.records if "secret" in str(vars(record))]


async def test_commands_are_counted_by_what_became_of_them(
    make_engine: Callable[[], Engine], store: RecordingStore, counts: Counts
) -> None:
    """Changed, unchanged, refused, and not committed; each write of the store is timed."""
    engine = make_engine()
    async with engine.running():
        connection = Connection(engine)
        store.write_delay_s = 0.25
        await stand(connection, "1", "a")
        await connection.enter(about("1"), "a")
        with pytest.raises(CandidateTaken):
            await stand(connection, "2", "a")
        store.failing = True
        with pytest.raises(StoreError):
            await connection.evict(about(), "a")
        store.failing = False
    assert counts.commands == {
        ("Create", "unchanged"): 2,
        ("Enter", "changed"): 1,
        ("Enter", "unchanged"): 1,
        ("Enter", "CandidateTaken"): 1,
        ("Evict", "StoreError"): 1,
    }
    writes = [duration_s for what, duration_s in counts.commits if what == "election"]
    assert writes == [pytest.approx(0.25)] * 3
    assert [what for what, _ in counts.commits].count("session") == 2


async def test_a_forget_is_a_commit_and_a_change_of_its_own_kind(
    make_engine: Callable[[], Engine], counts: Counts
) -> None:
    """And so is the end of a session, which is stored before its candidates leave."""
    engine = make_engine()
    async with engine.running():
        connection = Connection(engine)
        await stand(connection, "1", "a")
        await connection.end_session("default", "1")
        assert [what for what, _ in counts.commits] == ["session", "election", "election", "session", "election"]
        await connection.forget(about())
        assert counts.commits[-1][0] == "election"
        assert len(counts.commits) == 6
        await connection.forget(about())
    assert len(counts.commits) == 6
    assert {outcome: count for (kind, outcome), count in counts.commands.items() if kind == "Forget"} == {
        "forgotten": 2
    }


def test_who_entered_after_a_forget_is_not_taken_for_its_doing(counts: Counts) -> None:
    """Where its outcome was known late only, its answer may show a leader who has come since, by another server."""
    leader = Election((Candidate("a", SessionId("default", "s", 1)),), 5, 7)
    Report(counts).answered(ElectionId("default", "e"), Forget(), Election((), 4, 6), leader, leader.term)
    assert counts.commands == {("Forget", "forgotten"): 1}
    assert counts.causes == []


async def test_gauges_follow_what_is_there(make_engine: Callable[[], Engine], counts: Counts) -> None:
    """Elections and their leaders, sessions by kind, watches; also in an engine that begins with a full store."""
    engine = make_engine()
    async with engine.running():
        connection = Connection(engine)
        await stand(connection, "1", "a", name="e")
        await stand(connection, "1", "a", name="f")
        await connection.withdraw(about("1", "f"), "a")
        async with connection.keep_alive("default", "2") as stream:
            await stream.send(Renewal(1, open=True))
            assert counts.gauges["sessions"] == (1, 1)
            async with connection.events(about()), connection.events(about()):
                assert counts.gauges["watchers"] == 2
        assert counts.gauges == {"elections": (2, 1), "sessions": (1, 1), "watchers": 0}
        counts.gauges.clear()
    async with make_engine().running():
        assert counts.gauges == {"elections": (2, 1), "sessions": (1, 1)}
    assert counts.causes == ["entered", "entered", "withdrew"]


async def test_times_for_people_come_from_the_wall_clock(make_engine: Callable[[], Engine]) -> None:
    """And from nowhere else."""
    engine = make_engine()
    async with engine.running():
        connection = Connection(engine)
        await stand(connection, "1", "a")
        description = await connection.describe(about())
    times = {description.began_at, *(each.entered_at for each in description.candidates)}
    assert [each.timestamp() for each in times if each] == [WALL_CLOCK_S]
