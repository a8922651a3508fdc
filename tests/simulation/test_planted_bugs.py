"""Bugs that are planted on purpose, one at a time: a simulator that finds nothing proves nothing.

Each says what it is, on which store and among which faults it is looked for, from which seed on, and which rule sees
it.
"""

import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from sqlite3 import Connection
from typing import Any

import anyio
import pytest

from atomix_election.broadcast import Subscription
from atomix_election.core import campaign, election
from atomix_election.core.campaign import Answer, Campaign
from atomix_election.core.commands import Command, Enter, ExpireSession, Promote
from atomix_election.core.election import Election, Transition
from atomix_election.core.floors import Floors
from atomix_election.core.leases import LeaseTable
from atomix_election.engine import engine
from atomix_election.engine.engine import Engine
from atomix_election.engine.lanes import Lane
from atomix_election.engine.sessions import Session, Sessions
from atomix_election.engine.shared_lanes import Facts
from atomix_election.errors import ElectionError, OutcomeUnknown, StoreError
from atomix_election.etcd import Compare, Header, Relation, Target, TxnResult
from atomix_election.leadership import SessionKeeper
from atomix_election.model import ElectionId, Event, EventType, SessionId, Term
from atomix_election.stores import etcd_writes, sqlite_rows
from atomix_election.stores.base import Record
from atomix_election.stores.codec import encode_election
from atomix_election.stores.etcd import EtcdStore
from atomix_election.stores.etcd_reads import Reads
from atomix_election.stores.etcd_sessions import Sessions as SharedSessions
from atomix_election.stores.etcd_writes import Writes
from atomix_election.stores.memory import MemoryStore
from atomix_election.stores.sqlite_file import Change, SqliteFile
from atomix_election.stores.sqlite_rows import WriteElection
from atomix_election.testing import etcd_host
from atomix_election.testing.search import search

SEEDS = 80
"""Within so many a planted bug is found; most show in one of the first three."""
TWO = "two lead|two led|after somebody did"
CUT_OFF = ("cut", "cut one way", "hang", "sleep", "delays")
"""Faults by which clients miss what becomes of their sessions."""
REPEATED = ("losses", "duplicates", "delays", "operator")
"""Faults by which calls arrive again, and late."""
KILLED = ("kill", "power cut", "operator", "two elections")
"""Faults by which a server finds what the one before it has left."""
BEHIND = ("watch held back", "hang", "sleep", "cut", "delays", "release on disconnect")
"""Faults by which a server does not know yet that a session has ended."""
BEHIND_AND_LOST = ("watch held back", "operator", "duplicates", "losses", "delays")
"""Faults by which a write comes again to a server that is behind."""

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Bug:
    """A planted bug.

    Args:
        plant: does it.
        rule: what the violation says that it leads to.
        store: where it is looked for.
        faults: among which faults; None: each seed chooses.
        first: from which seed on.
    """

    plant: Callable[[Patch], None]
    rule: str
    store: str
    faults: Sequence[str] | None
    first: int


BUGS: dict[str, Bug] = {}


def bug(
    rule: str, *, store: str = "memory", faults: Sequence[str] | None = (), first: int = 0
) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Add a bug to those that are planted."""

    def add(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
        BUGS[plant.__name__] = Bug(plant, rule, store, faults, first)
        return plant

    return add


def with_rule(patch: Patch, command: type[Command], rule: Callable[..., Transition]) -> None:
    """Put another rule in the place of that of a command."""
    patch.setattr(election, "_RULES", {**election._RULES, command: rule})


# Rules of an election.


def holds_always(key: bytes, _: int) -> Compare:
    """Return a condition that holds whatever there is."""
    return Compare(key, Target.VERSION, Relation.GREATER, -1)


@bug("the order of")
def enters_at_the_front(patch: Patch) -> None:
    """Who enters stands first."""
    enter = election._RULES[Enter]

    def in_front(before: Election, *rest: Any) -> Transition:
        after = enter(before, *rest)
        if len(after.election.candidates) <= len(before.candidates):
            return after
        return Transition(after.election._replace(candidates=(after.election.candidates[-1], *before.candidates)))

    with_rule(patch, Enter, in_front)


@bug("did not grow")
def number_stays(patch: Patch) -> None:
    """The number of a term never rises."""

    def count(before: Election, _: object, after: Election, *_more: object) -> Election:
        return after if after == before else after._replace(number=1, revision=before.revision + 1)

    patch.setattr(election, "_count", count)


@bug("did not grow|given twice")
def number_stays_on_entering_again(patch: Patch) -> None:
    """Who led last, and enters again, leads under the number that it had."""
    counted, last = election._count, [""]

    def by_id(before: Election, command: Command, after: Election, *rest: Any) -> Election:
        found = counted(before, command, after, *rest)
        leader = found.candidates[0].id if found.candidates else last[0]
        same, last[0] = leader == last[0] and not before.candidates, leader
        return found._replace(number=before.number) if same else found

    patch.setattr(election, "_count", by_id)


@bug("", faults=("crash", "hang"))
def expiry_forgets_a_candidate(patch: Patch) -> None:
    """The end of a session leaves a candidate that stood behind others."""
    expire = election._RULES[ExpireSession]

    def but_the_last(before: Election, command: ExpireSession, *rest: Any) -> Transition:
        if len(before.candidates) > 1 and before.candidates[-1].session == command.session:
            return Transition(before)
        return expire(before, command, *rest)

    with_rule(patch, ExpireSession, but_the_last)


@bug("", faults=("two candidates", "crash", "hang"))
def expiry_removes_only_the_first(patch: Patch) -> None:
    """The end of a session that has two candidates in an election leaves the one that stood behind the other."""
    expire = election._RULES[ExpireSession]

    def the_first(before: Election, command: ExpireSession, *rest: Any) -> Transition:
        first = next((each for each in before.candidates if each.session == command.session), None)
        after = expire(before, command, *rest).election
        return Transition(after._replace(candidates=tuple(each for each in before.candidates if each != first)))

    with_rule(patch, ExpireSession, the_first)


@bug("", faults=("same ids", "crash", "slow store", "store errors", "hang"))
def an_end_removes_who_entered_since(patch: Patch) -> None:
    """The end of a session removes the candidates of the ids that it had entered, whoever entered them since."""
    expire, enter = election._RULES[ExpireSession], election._RULES[Enter]
    entered: dict[SessionId, set[str]] = {}

    def remember(before: Election, command: Enter, *rest: Any) -> Transition:
        entered.setdefault(command.session, set()).add(command.candidate_id)
        return enter(before, command, *rest)

    def by_id(before: Election, command: ExpireSession, *rest: Any) -> Transition:
        ids = entered.get(command.session, set())
        kept = tuple(each for each in before.candidates if each.id not in ids)
        return Transition(expire(before, command, *rest).election._replace(candidates=kept))

    with_rule(patch, Enter, remember)
    with_rule(patch, ExpireSession, by_id)


@bug("may have been asked for|asked for", faults=REPEATED)
def repeats_are_not_recognized(patch: Patch) -> None:
    """The number of a write is not looked at, so that Promote and all others are done twice when they come twice."""
    apply = Lane._apply_one

    def without_number(self: Lane, before: Election, waiting: Any, *rest: Any) -> Transition:
        waiting.operation = None
        return apply(self, before, waiting, *rest)

    patch.setattr(Lane, "_apply_one", without_number)


@bug("asked for", faults=("duplicates", "delays", "operator"), first=18)
def repeats_of_promote_are_not_recognized(patch: Patch) -> None:
    """Promote alone is done twice when it comes twice."""
    apply = Lane._apply_one

    def without_number(self: Lane, before: Election, waiting: Any, *rest: Any) -> Transition:
        if isinstance(waiting.command, Promote):
            waiting.operation = None
        return apply(self, before, waiting, *rest)

    patch.setattr(Lane, "_apply_one", without_number)


@bug("fell below", faults=("forget",))
def forgotten_with_its_number(patch: Patch) -> None:
    """A forgotten election leaves no floor."""
    forget = MemoryStore.forget

    async def without_floor(self: MemoryStore, election_id: ElectionId, *, expected: int) -> Record | None:
        floors = dict(self._floors)
        record = await forget(self, election_id, expected=expected)
        self._floors = floors
        return record

    patch.setattr(MemoryStore, "forget", without_floor)


@bug("fell below", faults=("restore",))
def restored_as_it_was(patch: Patch) -> None:
    """A restored store goes on from what the backup had."""
    patch.setattr(Floors, "restored", lambda self, *_, **__: self)


# Displacing.


@bug(TWO, faults=("operator",))
def nobody_waits_for_the_displaced(patch: Patch) -> None:
    """A leader acts at once when the lead was taken from another one for it."""
    patch.setattr(Election, "acting", property(lambda self: self.candidates[0] if self.candidates else None))


@bug(TWO, faults=("operator", "lingering work"))
def confirmed_too_early(patch: Patch) -> None:
    """A client confirms that it stepped down while its work still goes on."""
    patch.setattr(Campaign, "_confirmable", lambda self: set(self._revoked))


@bug(TWO, store="sqlite", faults=("operator", "stubborn work", "kill", "restarts"), first=2)
def displaced_are_forgotten_by_a_restart(patch: Patch) -> None:
    """What is stored of an election does not say who is waited for."""
    decode = sqlite_rows.decode_election
    patch.setattr(sqlite_rows, "decode_election", lambda record: decode(record)._replace(displaced=()))


# Leases and sessions.


@bug("", faults=("crash",))
def never_swept(patch: Patch) -> None:
    """The end of a session leaves its candidates."""

    async def not_at_all(*_: object) -> None: ...

    patch.setattr(Engine, "_expire", not_at_all)


@bug(f"{TWO}|too soon", faults=CUT_OFF)
def swept_too_early(patch: Patch) -> None:
    """A session ends a third of its time-to-live early."""
    renew, grant = LeaseTable.renew, LeaseTable.grant

    def granted(self: LeaseTable, session: SessionId, ttl_s: float, now: float) -> None:
        grant(self, session, ttl_s, now - ttl_s / 3)

    def renewed(self: LeaseTable, session: SessionId, now: float) -> None:
        renew(self, session, now - self._leases[session].ttl_s / 3)

    patch.setattr(LeaseTable, "grant", granted)
    patch.setattr(LeaseTable, "renew", renewed)


@bug(f"{TWO}|too soon", faults=("restarts", "cut"))
def no_full_time_to_live_after_a_restart(patch: Patch) -> None:
    """A restored session gets next to nothing of its time-to-live."""
    restore = Sessions.restore

    async def briefly(self: Sessions) -> list[Session]:
        ended = await restore(self)
        for each in self._open.values():
            self._leases.grant(each.id, each.ttl_s, self._clock.now() - 0.99 * each.ttl_s)
        return ended

    patch.setattr(Sessions, "restore", briefly)


@bug("was admitted", faults=("restore",))
def admitted_at_once_after_a_restore(patch: Patch) -> None:
    """Nobody waits for those who lead by a store that was replaced."""
    patch.setattr(Engine, "check_admits", lambda _: None)


@bug("was admitted", faults=("restore",))
def admitted_too_early_after_a_restore(patch: Patch) -> None:
    """They are waited for half as long as they may lead."""
    check = Engine.check_admits

    def half(self: Engine) -> None:
        if self._admits_from - self._clock.now() > self.limits.max_ttl_s / 2:
            check(self)

    patch.setattr(Engine, "check_admits", half)


@bug("too soon|no term explains", store="sqlite", faults=("kill", "hang", "cut", "sleep", "cut one way"), first=8)
def candidates_leave_before_the_end_is_stored(patch: Patch) -> None:
    """A server that is killed in between, for which it has a while, finds a session open whose candidates have left."""

    async def sweep(self: Engine, session: Session, swept: anyio.Event) -> None:
        for election_id in session.elections:
            await self._expire(election_id, session.id)
        await anyio.sleep(4)
        while True:
            try:
                await self._store.end_session(session.id)
                break
            except (StoreError, OutcomeUnknown):
                await self._pause()
        swept.set()

    patch.setattr(Engine, "_sweep", sweep)


# What a client believes.


@bug(TWO, faults=("hang",))
def no_margin(patch: Patch) -> None:
    """A client counts on clocks that run at one rate."""
    patch.setattr(campaign, "MARGIN_PART", 0.0)


@bug(TWO, faults=("delays", "cut", "hang"))
def deadline_from_the_answer(patch: Patch) -> None:
    """A lease is counted from when its answer came."""
    renewed = Campaign.renewed

    def counted_from_the_answer(self: Campaign, answer: Answer, now: float) -> Any:
        if answer.renewal in self._sent:
            self._sent[answer.renewal] = now
        return renewed(self, answer, now)

    patch.setattr(Campaign, "renewed", counted_from_the_answer)


@bug("a token was given twice", faults=("cut", "cut one way", "sleep", "delays"))
def resumes_after_its_deadline(patch: Patch) -> None:
    """A client whose leadership has ended by its own clock takes it up again."""
    patch.setattr(Campaign, "_give_up", lambda *_: None)


@bug(TWO, faults=("delays", "two elections"))
def leads_while_it_withdraws(patch: Patch) -> None:
    """A client leads on until its withdrawal was answered."""
    patch.setattr(Campaign, "leaving", lambda *_: [])
    patch.setattr(Campaign, "left", lambda *_: None)


@bug("too soon|had ended", faults=(*CUT_OFF, "crash"))
def session_ids_come_back(patch: Patch) -> None:
    """A client opens its next session under the id of the one that has ended."""
    begin = SessionKeeper.__init__

    def with_one_id(self: SessionKeeper, *rest: Any, new_session_id: Callable[[], str], **options: Any) -> None:
        only = new_session_id()
        begin(self, *rest, new_session_id=lambda: only, **options)

    patch.setattr(SessionKeeper, "__init__", with_one_id)


# Lanes and watches.


@bug("one revision is one term|fell below|two terms", faults=("store errors", "slow store"))
def shown_before_the_commit(patch: Patch) -> None:
    """Watchers and sessions see a change before it is written."""
    write, announce = Lane._write, Lane._announce

    async def shown_first(self: Lane, record: Record, after: Election) -> bool:
        announce(self, record, [Transition(after)])
        return await write(self, record, after)

    patch.setattr(Lane, "_write", shown_first)
    patch.setattr(Lane, "_announce", lambda *_: None)


@bug("", faults=("store errors", "slow store"))
def answered_before_the_commit(patch: Patch) -> None:
    """A command is answered when its write begins; one that fails is lost."""
    write = Lane._write

    async def written_later(self: Lane, record: Record, after: Election) -> bool:
        async def later() -> None:
            try:
                await write(self, record, after)
            except ElectionError:
                return

        engine: Engine = self._parts.go_on.__self__  # type: ignore[attr-defined]
        engine._start(later)
        return True

    patch.setattr(Lane, "_write", written_later)


@bug("left changes out")
def a_watcher_loses_an_event(patch: Patch) -> None:
    """One event in twenty does not reach its watcher, which is not told so."""
    take, numbers = Subscription.__anext__, count(1)

    async def most(self: Subscription) -> Event:
        event = await take(self)
        return event if next(numbers) % 20 or event.type is EventType.NONE else await take(self)

    patch.setattr(Subscription, "__anext__", most)


@bug("missed what led to|has got to revision", faults=("slow store",))
def a_snapshot_from_before_the_subscription(patch: Patch) -> None:
    """What changes between the two is missed."""
    watch = Engine.watch

    @asynccontextmanager
    async def late(self: Engine, election_id: ElectionId, buffer: int) -> AsyncGenerator[Subscription]:
        term = await self.read(election_id)
        async with watch(self, election_id, buffer) as subscription:
            subscription._waiting.clear()
            subscription._newest = None
            subscription.begin(term)
            yield subscription

    patch.setattr(Engine, "watch", late)


@bug("what was told is gone")
def a_term_is_read_late(patch: Patch) -> None:
    """GetTerm and first snapshots are answered with the term from one change before."""
    read, former = Engine.read, dict[ElectionId, list[Term]]()

    async def one_behind(self: Engine, election_id: ElectionId) -> Term:
        known = former.setdefault(election_id, [])
        term = await read(self, election_id)
        if not known or known[-1] != term:
            known.append(term)
        return known[-2] if len(known) > 1 and known[-2].revision + 1 == term.revision else term

    patch.setattr(Engine, "read", one_behind)


# What is on the disk.


@bug("fell below|are gone", store="sqlite", faults=KILLED)
def commits_are_not_synced(patch: Patch) -> None:
    """The log is not synced at COMMIT, so that a power cut takes what was acknowledged."""
    connect = SqliteFile._connect

    def carelessly(self: SqliteFile) -> Connection:
        connection = connect(self)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    patch.setattr(SqliteFile, "_connect", carelessly)


@bug("fell below|are gone", store="sqlite", faults=KILLED)
def acknowledged_before_the_commit(patch: Patch) -> None:
    """The COMMIT of what was acknowledged comes with the next transaction."""
    change = SqliteFile.change

    def later(self: SqliteFile, changes: Sequence[Change]) -> list[int | None]:
        waiting: list[Change] = self.__dict__.pop("waiting", [])
        self.__dict__["waiting"] = list(changes)
        before = self._number or 0
        if waiting:
            change(self, waiting)
        return [before + len(waiting) + number for number, _ in enumerate(changes, 1)]

    patch.setattr(SqliteFile, "change", later)


@bug("fell below|two terms|did not grow|leads from", store="sqlite", faults=KILLED)
def half_of_a_change_is_written(patch: Patch) -> None:
    """The queue of an election is in one transaction, and its revision comes in the next one."""
    carry_out = WriteElection.carry_out

    def in_two(self: WriteElection, connection: Connection, number: int) -> bool:
        half = self.election._replace(revision=self.election.revision - 1)
        if not carry_out(replace(self, record=encode_election(half)), connection, number):
            return False
        connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")
        return carry_out(replace(self, expected=number), connection, number)

    patch.setattr(WriteElection, "carry_out", in_two)


@bug("without a pause|left behind", store="sqlite", faults=("store errors", "operator"))
def a_doubtful_write_counts_as_not_done(patch: Patch) -> None:
    """After a COMMIT of unknown outcome nobody looks whether it took place."""
    settle = SqliteFile.settle

    def not_done(self: SqliteFile, *, abandoned: bool) -> bool:
        settle(self, abandoned=abandoned)
        return False

    patch.setattr(SqliteFile, "settle", not_done)


@bug("asked for|too soon", store="sqlite", faults=("duplicates", "operator", "restarts", "delays"), first=19)
def numbers_of_writes_are_lost_by_a_restart(patch: Patch) -> None:
    """A write that was done before a restart is done again when it comes once more."""
    decode = sqlite_rows.decode_election
    nothing = Election().operations
    patch.setattr(sqlite_rows, "decode_election", lambda record: decode(record)._replace(operations=nothing))


@bug("left something in|came after a newer one", store="etcd", faults=None, first=3)
def versions_in_etcd_are_not_compared(patch: Patch) -> None:
    """Two servers write over each other."""
    patch.setattr(etcd_writes, "unchanged", holds_always)


@bug("left something in", store="etcd", faults=BEHIND, first=1)
def sessions_in_etcd_are_not_compared(patch: Patch) -> None:
    """Somebody enters whose session has ended meanwhile at another server."""

    async def nothing(*_: object) -> list[Compare]:
        return []

    patch.setattr(Writes, "_conditions", nothing)


@bug(TWO, store="etcd", faults=None, first=7)
def nobody_at_other_servers_is_kept_alive(patch: Patch) -> None:
    """A displaced leader at another server is not waited for."""
    patch.setattr(Facts, "is_kept_alive", lambda *_: False)


@bug("was answered to a call from after", store="etcd", faults=None, first=7)
def terms_are_read_from_what_is_known(patch: Patch) -> None:
    """A server that is behind answers as if it were not."""

    async def read(self: EtcdStore, election_id: ElectionId) -> Record:
        return self.latest(election_id)

    patch.setattr(EtcdStore, "read", read)


@bug("was answered to a call from after", store="etcd", faults=BEHIND_AND_LOST, first=2)
def what_has_no_effect_is_not_confirmed(patch: Patch) -> None:
    """A command that changes nothing is answered by what a server knows, which is behind."""

    async def confirm(*_: object, **__: object) -> bool:
        return True

    patch.setattr(Reads, "confirm", confirm)


@bug("which was never committed", store="etcd", faults=None, first=5)
def an_unknown_write_counts_as_done(patch: Patch) -> None:
    """The answer of etcd was lost, and the client is told that it was carried out."""
    find_out = Writes._try

    async def believe(self: Writes, *arguments: Any) -> Any:
        done = await find_out(self, *arguments)
        return TxnResult(Header(0, 0, self._mirror.revision + 1, 0), True, ()) if done is None else done

    patch.setattr(Writes, "_try", believe)


@bug("more often than anybody asked for", store="etcd", faults=None, first=44)
def an_unknown_write_counts_as_not_done(patch: Patch) -> None:
    """The answer of etcd was lost, and the client is told to try again."""
    find_out = Writes._try

    async def disbelieve(self: Writes, *arguments: Any) -> Any:
        done = await find_out(self, *arguments)
        if done is None:
            raise StoreError("nothing was changed")
        return done

    patch.setattr(Writes, "_try", disbelieve)


@bug("too soon|two lead|was granted", store="etcd", faults=("cut", "hang", "sleep", "cut one way"), first=4)
def leases_are_too_short(patch: Patch) -> None:
    """A lease of etcd has half of the time-to-live that was granted."""
    grant = SharedSessions._grant

    async def half(self: SharedSessions, lease_id: int, ttl_s: int, tries: Any) -> None:
        await grant(self, lease_id, max(ttl_s // 2, 1), tries)

    patch.setattr(SharedSessions, "_grant", half)


@bug(TWO, store="etcd", faults=None, first=8)
def the_displaced_are_not_waited_for_long_enough(patch: Patch) -> None:
    """A server that sees somebody displaced waits for a fifth of that one's time-to-live."""
    patch.setattr(engine, "waits_until", lambda since, ttl_s: since + ttl_s / 5)


@bug("fell below|given twice|was given to", store="etcd", faults=None, first=7)
def a_restore_of_etcd_ignores_the_clock(patch: Patch) -> None:
    """Tokens begin where the snapshot was."""
    patch.setattr(etcd_host, "restored_floors", lambda known, _: known)


@bug("was granted", store="etcd", faults=None)
def leadership_is_granted_from_an_old_view(patch: Patch) -> None:
    """A renewal does not wait until all changes from before it are known."""

    async def renew(self: SharedSessions, session: SessionId) -> bool:
        place = (await self.find([session]))[session]
        return place is not None and bool((await self._access.etcd.keep_alive(place.lease)).ttl_s)

    patch.setattr(SharedSessions, "renew", renew)


@bug("left behind|in time|their turn", store="etcd", faults=None)
def nobody_is_swept_from_etcd(patch: Patch) -> None:
    """Those whose sessions etcd has ended stay in the queue."""

    async def not_at_all(*_: object) -> None: ...

    patch.setattr(Engine, "_expire", not_at_all)


@bug("what was told is gone|missed what led to", faults=("store errors",))
def what_cannot_be_read_counts_as_nothing(patch: Patch) -> None:
    """A term is asked for, the store fails, and the answer is that nobody was ever there."""
    read = Engine.read

    async def or_nothing(self: Engine, election_id: ElectionId) -> Term:
        try:
            return await read(self, election_id)
        except StoreError:
            return Term()

    patch.setattr(Engine, "read", or_nothing)


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within so many seeds; the first one from which it is looked for is not far from one that shows it."""
    planted = BUGS[name]
    planted.plant(monkeypatch)
    found = search(planted.first, seeds=SEEDS, store=planted.store, faults=planted.faults)
    assert any(each.violation and re.search(planted.rule, each.violation) for each in found), planted.plant.__doc__
