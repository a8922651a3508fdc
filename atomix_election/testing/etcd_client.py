"""Clients of a simulated etcd, and the way between them and its members."""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from enum import Enum
from typing import Generic, TypeVar

import anyio
import anyio.lowlevel

from atomix_election.etcd import (
    Compare,
    Delete,
    EtcdError,
    EtcdOutcomeUnknown,
    EtcdRefused,
    EtcdUnavailable,
    Get,
    GetResult,
    Header,
    Lease,
    LeaseState,
    Operation,
    Put,
    Status,
    TxnResult,
    WatchBatch,
    WentBack,
)
from atomix_election.testing.etcd_cluster import EtcdCluster
from atomix_election.testing.etcd_state import EtcdState

CALL_S = 5.0
"""How long a call may take with all its tries, unless it says otherwise."""
TRY_S = 1.0
"""How long one try may take. A write that was sent is not tried again."""
MOST_OPERATIONS = 128
"""Etcd allows so many in a transaction."""

_T = TypeVar("_T")


class Outcome(Enum):
    """What becomes of a write."""

    ANSWERED = 0
    """It is carried out, and answered."""
    APPLIED = 1
    """It is carried out, and the answer is lost."""
    LOST = 2
    """It is not carried out, and the client does not know."""
    LATE = 3
    """It is carried out some time after the client has given up."""


class _Call(Generic[_T]):
    """One try of a call, which is on its way.

    Args:
        act: what it does to etcd; returns None as long as etcd keeps it waiting.
        outcome: what becomes of it, if it is a write; else None.
    """

    def __init__(self, act: Callable[[EtcdState], _T | None], outcome: Outcome | None) -> None:
        self.act = act
        self.outcome = outcome
        self.answered = anyio.Event()
        self._answer: _T | None = None
        self._error: EtcdError | None = None

    def carry_out(self, state: EtcdState) -> bool:
        """Do it, and return whether etcd has an answer now."""
        try:
            self._answer = self.act(state)
        except EtcdRefused as error:
            self._error = error
        return self._answer is not None or self._error is not None

    def lose(self) -> None:
        """Nobody hears what became of it."""
        self._answer, self._error = None, EtcdOutcomeUnknown(f"the answer was lost ({self.outcome})")

    def answer(self) -> _T:
        """Return what etcd said, or raise it."""
        if self._error is not None:
            raise self._error
        assert self._answer is not None, "it was not answered yet"
        return self._answer


class SimulatedClient:
    """A client of a simulated etcd: see ``EtcdClient``, whose methods these are.

    Attributes:
        next_writes: what becomes of the next writes of this client, before chance decides.
        stale_renewals: how many of its next renewals a leader answers that was deposed.
        refused_watches: how many of the next times that it waits for changes it is refused that.
    """

    def __init__(self, etcd: EtcdCluster) -> None:
        self._etcd = etcd
        self._member = 0
        self._is_cut_off = self._is_dead = self._is_held_back = False
        self.next_writes: deque[Outcome] = deque()
        self.stale_renewals: int = 0
        self.refused_watches: int = 0

    @property
    def is_cut_off(self) -> bool:
        """Whether it reaches nothing: calls fail when their time is over, and watches hear nothing.

        What is on its way then arrives when it is so no longer.
        """
        return self._is_cut_off

    @is_cut_off.setter
    def is_cut_off(self, value: bool) -> None:
        self._is_cut_off = value
        self._etcd.notify()

    def die(self) -> None:
        """Its process is gone: nothing more is sent, and nothing arrives; what is on its way to etcd arrives there."""
        self._is_dead = True
        self._etcd.notify()

    def hold_back(self, for_s: float | None = None) -> None:
        """What changes is not heard of for some time, or until ``let_by``, while all else works."""
        self._is_held_back = True
        if for_s is not None:
            self._etcd.background.start_soon(self._let_by_after, for_s)

    def let_by(self) -> None:
        """It is heard of, late."""
        self._is_held_back = False
        self._etcd.notify()

    async def get(self, get: Get, *, timeout_s: float | None = None) -> GetResult:
        """See ``EtcdClient.get``."""
        return await self._call(lambda state: state.get(get), timeout_s)

    async def txn(
        self,
        compares: Iterable[Compare],
        success: Iterable[Operation],
        failure: Iterable[Operation] = (),
        *,
        timeout_s: float | None = None,
    ) -> TxnResult:
        """See ``EtcdClient.txn``."""
        compares, success, failure = tuple(compares), tuple(success), tuple(failure)
        assert max(len(compares), len(success), len(failure)) <= MOST_OPERATIONS, "etcd allows no more at once"
        write = any(isinstance(each, Put | Delete) for each in (*success, *failure))
        return await self._call(lambda state: state.txn(compares, success, failure), timeout_s, write=write)

    async def compact(self, revision: int, *, timeout_s: float | None = None) -> Header:
        """See ``EtcdClient.compact``."""

        def compact(state: EtcdState) -> Header:
            state.compact(revision)
            return state.header

        return await self._call(compact, timeout_s, write=True)

    async def grant(self, ttl_s: int, lease_id: int = 0, *, timeout_s: float | None = None) -> Lease:
        """See ``EtcdClient.grant``."""
        granted_s = max(ttl_s, self._etcd.least_ttl_s)
        lease_id = lease_id or self._etcd.random.getrandbits(62) + 1

        def grant(state: EtcdState) -> Lease:
            state.grant(lease_id, granted_s, self._etcd.clock.now())
            return Lease(state.header, lease_id, granted_s)

        return await self._call(grant, timeout_s, write=True)

    async def revoke(self, lease_id: int, *, timeout_s: float | None = None) -> Header:
        """See ``EtcdClient.revoke``."""

        def revoke(state: EtcdState) -> Header:
            state.revoke(lease_id)
            return state.header

        return await self._call(revoke, timeout_s, write=True)

    async def keep_alive(self, lease_id: int, *, timeout_s: float | None = None) -> Lease:
        """See ``EtcdClient.keep_alive``. Where the lease's time is over, etcd answers when it has ended it."""

        def renew(state: EtcdState) -> Lease | None:
            header, lease = state.header, state.leases.get(lease_id)
            if lease is not None and self._is_stale():
                state.raft_term += 1
                return Lease(header, lease_id, lease.ttl_s)
            ttl_s = state.renew(lease_id, self._etcd.clock.now())
            return None if ttl_s is None else Lease(header, lease_id, ttl_s)

        return await self._call(renew, timeout_s)

    async def time_to_live(self, lease_id: int, *, keys: bool = False, timeout_s: float | None = None) -> LeaseState:
        """See ``EtcdClient.time_to_live``."""

        def look(state: EtcdState) -> LeaseState:
            lease = state.leases.get(lease_id)
            if lease is None:
                return LeaseState(state.header, lease_id, 0, 0)
            left_s = max(int(lease.until - self._etcd.clock.now()), 0)
            return LeaseState(state.header, lease_id, left_s, lease.ttl_s, tuple(sorted(lease.keys)) if keys else ())

        return await self._call(look, timeout_s)

    async def status(self, *, timeout_s: float | None = None) -> Status:
        """See ``EtcdClient.status``."""

        def look(state: EtcdState) -> Status:
            errors = ("NOSPACE",) if state.is_full else ()
            return Status(state.header, self._etcd.version, 1, 0, errors)

        return await self._call(look, timeout_s)

    @asynccontextmanager
    async def watch(
        self, key: bytes, end: bytes = b"", *, start_revision: int, previous: bool = False
    ) -> AsyncGenerator["SimulatedWatch"]:
        """See ``EtcdClient.watch``."""
        assert not previous, "former values are not simulated"
        yield SimulatedWatch(self._etcd, self, key, end, start_revision)

    def hears(self) -> bool:
        """Return whether it hears now of what changes.

        Raises:
            EtcdRefused: etcd refuses that.
        """
        if self.refused_watches:
            self.refused_watches -= 1
            raise EtcdRefused("Watch: etcd refused it, authentication failed")
        return not self._is_held_back and self._reaches_a_member()

    async def _call(self, act: Callable[[EtcdState], _T | None], timeout_s: float | None, *, write: bool = False) -> _T:
        """Try as ``EtcdClient`` does: a read until its time is over, a write until it was sent."""
        limit_s = CALL_S if timeout_s is None else timeout_s
        was_sent = False
        await anyio.lowlevel.checkpoint()
        with anyio.move_on_after(limit_s):
            while not was_sent:
                await self._connect()
                was_sent, call = write, _Call(act, self._chosen() if write else None)
                self._send(call)
                with anyio.move_on_after(TRY_S):
                    await call.answered.wait()
                if call.answered.is_set():
                    return call.answer()
        if was_sent:
            raise EtcdOutcomeUnknown("the answer did not come in time")
        raise EtcdUnavailable(f"etcd did not answer within {limit_s:g} s")

    async def _connect(self) -> None:
        """Wait until a member is reached."""
        while not self._reaches_a_member():
            if self._is_dead:
                raise EtcdUnavailable("this process is dead")
            await self._etcd.changed.wait()

    def _reaches_a_member(self) -> bool:
        """Return whether there is one that answers; the one that did so last comes first."""
        if self._is_cut_off or self._is_dead:
            return False
        for member in range(self._member, self._member + self._etcd.size):
            if self._etcd.serves(member % self._etcd.size):
                self._member = member % self._etcd.size
                return True
        return False

    def _send(self, call: _Call[_T]) -> None:
        if not self._etcd.faults.longest_call_s and self._arrive(call):
            call.answered.set()
        else:
            self._etcd.background.start_soon(self._carry, call, self._member)

    async def _carry(self, call: _Call[_T], member: int) -> None:
        """Its way to a member and back, on which it may be held up, or lost, whoever waits for it."""
        lives = self._etcd.lives
        await self._travel()
        if not self._etcd.serves(member) and self._etcd.random.random() < 0.5:
            return
        while lives == self._etcd.lives and not (self._etcd.is_served and self._arrive(call)):
            await self._etcd.changed.wait()
        if lives != self._etcd.lives:
            return
        await self._travel()
        call.answered.set()

    async def _travel(self) -> None:
        """Take one way: what comes to where it is cut waits there."""
        await anyio.sleep(self._etcd.random.random() * self._etcd.faults.longest_call_s / 2)
        while self._is_cut_off:
            await self._etcd.changed.wait()

    def _arrive(self, call: _Call[_T]) -> bool:
        """Carry out what has come to etcd, and return whether there is an answer to it now."""
        match call.outcome:
            case Outcome.LATE:
                self._etcd.background.start_soon(self._apply_late, call.act)
                call.lose()
                return True
            case Outcome.LOST:
                call.lose()
                return True
            case _:
                has_answer = call.carry_out(self._etcd.state)
                if call.outcome is not None:
                    self._etcd.notify()
                if call.outcome is Outcome.APPLIED:
                    call.lose()
                return has_answer

    def _chosen(self) -> Outcome:
        if self.next_writes:
            return self.next_writes.popleft()
        chance, faults = self._etcd.random.random(), self._etcd.faults
        for outcome, share in (
            (Outcome.APPLIED, faults.applied),
            (Outcome.LOST, faults.lost),
            (Outcome.LATE, faults.late),
        ):
            chance -= share
            if chance < 0:
                return outcome
        return Outcome.ANSWERED

    def _is_stale(self) -> bool:
        if self.stale_renewals:
            self.stale_renewals -= 1
            return True
        return self._etcd.random.random() < self._etcd.faults.stale_leader

    async def _apply_late(self, act: Callable[[EtcdState], object]) -> None:
        lives = self._etcd.lives
        await anyio.sleep(self._etcd.random.random() * self._etcd.faults.longest_late_s)
        if lives == self._etcd.lives:
            with suppress(EtcdRefused):
                act(self._etcd.state)
            self._etcd.notify()

    async def _let_by_after(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self.let_by()


class SimulatedWatch:
    """An iterator of batches of changes: see ``Watch``. One that is behind is given several revisions at once."""

    def __init__(self, etcd: EtcdCluster, client: SimulatedClient, key: bytes, end: bytes, revision: int) -> None:
        self._etcd = etcd
        self._client = client
        self._key = key
        self._end = end
        self._cluster_id = etcd.state.cluster_id
        self.next_revision: int = revision

    def __aiter__(self) -> "SimulatedWatch":
        return self

    async def __anext__(self) -> WatchBatch:
        """Wait for changes."""
        await anyio.lowlevel.checkpoint()
        while True:
            changed, state = self._etcd.changed, self._etcd.state
            if self._client.hears():
                self._check_store(state)
                behind = max(state.revision - self.next_revision, 0)
                revisions = self._etcd.random.randint(1, behind) if behind > 1 else 1
                events = state.events_from(self.next_revision, self._key, self._end, revisions)
                if events:
                    batch = WatchBatch(state.header, tuple(events))
                    self.next_revision = batch.revision + 1
                    return batch
            await changed.wait()

    def _check_store(self, state: EtcdState) -> None:
        seen = self.next_revision - 1
        if (state.cluster_id, max(state.revision, seen)) != (self._cluster_id, state.revision):
            raise WentBack(
                f"etcd is {state.cluster_id:x} at revision {state.revision}, and was {self._cluster_id:x} at {seen}",
                seen_revision=seen,
                found_revision=state.revision,
            )
