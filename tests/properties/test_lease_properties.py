"""The lease table, against a naive table that looks at every lease each time."""

import copy
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, consumes, invariant, multiple, rule

from atomix_election.core.leases import LeaseTable
from atomix_election.model import SessionId

STRANGER = SessionId("default", "stranger", 1)
MOST_ROUNDS = 1000
"""A table that comes up more often than this in a test does not come to an end."""


@dataclass
class Naive:
    """A lease as it is meant."""

    ttl_s: float
    deadline: float
    holds: int = 0


# Quarters of a second add up without an error, so that deadlines are met exactly.
durations = st.integers(min_value=1, max_value=40).map(lambda quarters: quarters / 4)


class Leases(RuleBasedStateMachine):
    """Sessions that are opened, renewed, held, let go and ended while time goes on."""

    sessions: Bundle[SessionId] = Bundle("sessions")
    holds: Bundle[SessionId] = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.table = LeaseTable()
        self.naive: dict[SessionId, Naive] = {}
        self.now = 100.0
        self.granted = 0

    @rule(target=sessions, ttl_s=durations)
    def grant(self, ttl_s: float) -> SessionId:
        self.granted += 1
        session = SessionId("default", "s", self.granted)
        self.table.grant(session, ttl_s, self.now)
        self.naive[session] = Naive(ttl_s, self.now + ttl_s)
        return session

    @rule(session=sessions)
    def renew(self, session: SessionId) -> None:
        if lease := self.naive.get(session):
            self.table.renew(session, self.now)
            lease.deadline = self.now + lease.ttl_s

    @rule(target=holds, session=st.one_of(sessions, holds))
    def hold(self, session: SessionId) -> SessionId | MultipleResults[SessionId]:
        if session not in self.naive:
            return multiple()
        self.table.hold(session)
        self.naive[session].holds += 1
        return session

    @rule(session=consumes(holds))
    def release(self, session: SessionId) -> None:
        """A hold may be given up after the session has ended."""
        self.table.release(session, self.now)
        if lease := self.naive.get(session):
            lease.holds -= 1
            if not lease.holds:
                lease.deadline = self.now + lease.ttl_s

    @rule(session=sessions)
    def release_what_nobody_holds(self, session: SessionId) -> None:
        """It changes nothing."""
        lease = self.naive.get(session)
        if lease is None or not lease.holds:
            self.table.release(session, self.now)

    @rule(session=sessions)
    def end(self, session: SessionId) -> None:
        self.table.end(session)
        self.naive.pop(session, None)

    @rule(passed_s=st.one_of(st.just(0.0), durations))
    def expire(self, passed_s: float) -> None:
        """What ends is exactly what nobody holds and whose deadline has come: neither early nor late."""
        self.now += passed_s
        due = {session for session, lease in self.naive.items() if not lease.holds and lease.deadline <= self.now}
        expired = self.table.expire(self.now)
        assert len(expired) == len(due)
        assert set(expired) == due
        for session in due:
            del self.naive[session]
        upcoming = self.table.next_deadline()
        assert upcoming is None or upcoming > self.now

    @rule()
    def sleep_until_the_next_deadline(self) -> None:
        """Whoever only wakes up when told to finds each end in time."""
        upcoming = self.table.next_deadline()
        if upcoming is not None:
            self.expire(max(upcoming - self.now, 0.0))

    @invariant()
    def the_same_sessions_are_open(self) -> None:
        assert len(self.table) == len(self.naive)
        assert all(session in self.table for session in self.naive)
        assert STRANGER not in self.table

    @invariant()
    def the_next_deadline_is_never_late(self) -> None:
        earliest = min((lease.deadline for lease in self.naive.values() if not lease.holds), default=None)
        upcoming = self.table.next_deadline()
        assert earliest is None or (upcoming is not None and upcoming <= earliest)

    @invariant()
    def there_is_one_entry_per_lease(self) -> None:
        """Each open lease comes up at most twice when nothing happens any more, each ended one once."""
        assert rounds(self.table) <= 2 * len(self.naive) + (self.granted - len(self.naive))


TestLeases = Leases.TestCase
TestLeases.settings = settings(deadline=None, print_blob=True, max_examples=100, stateful_step_count=50)


def rounds(table: LeaseTable) -> int:
    """How often somebody who sleeps until the next deadline has to look, when nothing happens any more."""
    table = copy.deepcopy(table)
    for looked in range(MOST_ROUNDS):
        deadline = table.next_deadline()
        if deadline is None:
            return looked
        table.expire(deadline)
    return MOST_ROUNDS


@pytest.mark.parametrize("what", ["renew", "hold and release"])
def test_keeping_a_session_takes_no_memory(what: str) -> None:
    """However often it is renewed, or held and let go, a session has one entry in the order."""
    table, session = LeaseTable(), SessionId("default", "s", 1)
    table.grant(session, 10.0, 0.0)
    for second in range(1, 1000):
        if what == "renew":
            table.renew(session, float(second))
        else:
            table.hold(session)
            table.release(session, float(second))
    assert rounds(table) <= 2
    assert table.expire(1008.0) == []
    assert table.expire(1009.0) == [session]
