"""A store in etcd when things go wrong: every outcome is found out, nothing is lost and nothing done twice."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import anyio
import pytest
import trio.testing

from atomix_election.core.commands import Enter
from atomix_election.core.election import Election, apply
from atomix_election.errors import OutcomeUnknown, StoreError
from atomix_election.etcd import Delete, Get, Lease, Put
from atomix_election.model import Candidate, ElectionId, SessionId
from atomix_election.stores.base import Change, ElectionChanged, Record, SessionGone, SessionOpened, View
from atomix_election.stores.etcd import EtcdStore, open_etcd_store
from atomix_election.stores.etcd_keys import Layout, decode_envelope, decode_floors, encode_hold
from atomix_election.testing import VirtualClock
from atomix_election.testing.etcd import EtcdFaults, Outcome, SimulatedClient, SimulatedEtcd

pytestmark = pytest.mark.anyio

E1, E2, E3 = (ElectionId("default", name) for name in ("e1", "e2", "e3"))
LAYOUT = Layout()
UNKNOWN = [Outcome.APPLIED, Outcome.LOST, Outcome.LATE]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Time passes at once."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


class Party(NamedTuple):
    """Two stores on one etcd, and the client of each."""

    etcd: SimulatedEtcd
    one: EtcdStore
    other: EtcdStore
    client: SimulatedClient
    others: SimulatedClient


@asynccontextmanager
async def _open_party(seed: int = 0, faults: EtcdFaults | None = None) -> AsyncGenerator[Party]:
    async with SimulatedEtcd(VirtualClock(), seed=seed) as etcd:
        client, others = etcd.client(), etcd.client()
        chance = etcd.random.random
        async with (
            open_etcd_store(client, chance=chance) as one,
            open_etcd_store(others, chance=chance) as other,
        ):
            etcd.faults = faults or EtcdFaults()
            yield Party(etcd, one, other, client, others)
            etcd.faults = EtcdFaults()


@pytest.fixture
async def party(anyio_backend: object) -> AsyncGenerator[Party]:
    """The two, without any faults."""
    async with _open_party() as party:
        yield party


@asynccontextmanager
async def _follow(store: EtcdStore) -> AsyncGenerator[list[Change]]:
    """Take the changes of a store into a list."""
    taken: list[Change] = []

    async def take() -> None:
        async for batch in store.changes():
            taken.extend(batch)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take)
        yield taken
        tasks.cancel_scope.cancel()


async def _write(store: EtcdStore, number: int, election_id: ElectionId = E1) -> Record:
    record = await store.read(election_id)
    written = await store.write(election_id, Election(number=number, revision=number), expected=record.version)
    assert written is not None
    return written


@asynccontextmanager
async def _forgetting(party: Party, before: Record) -> AsyncGenerator[list[Record | None]]:
    """Forget an election while the block goes on, which begins when etcd has the call; give what that returns."""
    left: list[Record | None] = []

    async def forget() -> None:
        left.append(await party.one.forget(E1, expected=before.version))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(forget)
        while party.client.next_writes:
            await anyio.lowlevel.checkpoint()
        yield left


async def _enter(store: EtcdStore, candidate_id: str, session: SessionId) -> Record:
    record = await store.read(E3)
    after = apply(record.election, Enter(candidate_id, session), floor=record.floor).election
    written = await store.write(E3, after, expected=record.version, terms=[after.term])
    assert written is not None
    return written


def _keys(etcd: SimulatedEtcd, prefix: bytes) -> list[bytes]:
    return [each.key for each in etcd.state.get(Get(prefix, prefix + b"\xff")).items]


# Outcomes that are unknown.


@pytest.mark.parametrize("outcome", UNKNOWN)
async def test_a_write_whose_answer_is_lost_is_done_once(party: Party, outcome: Outcome) -> None:
    """Whether etcd carried it out, did not, or does later."""
    before = await _write(party.one, 1)
    party.client.next_writes.append(outcome)
    written = await party.one.write(E1, Election(number=2), expected=before.version)
    assert written is not None
    assert written.election == Election(number=2)
    await anyio.sleep(10)
    assert await party.other.read(E1) == written


@pytest.mark.parametrize("outcome", UNKNOWN)
async def test_a_first_write_whose_answer_is_lost_is_done_once(party: Party, outcome: Outcome) -> None:
    """The same where there was no record."""
    party.client.next_writes.append(outcome)
    written = await party.one.write(E1, Election(number=2), expected=0)
    assert written is not None
    await anyio.sleep(10)
    assert await party.other.read(E1) == written


@pytest.mark.parametrize(("outcome", "done"), [(Outcome.APPLIED, True), (Outcome.LOST, False), (Outcome.LATE, False)])
async def test_it_is_found_out_also_when_another_has_written_since(party: Party, outcome: Outcome, done: bool) -> None:
    """By the number of the write in the record; who is told None may apply the same command again."""
    before = await _write(party.one, 1)
    party.client.next_writes.append(outcome)
    written: list[Record | None] = []

    async def write() -> None:
        written.append(await party.one.write(E1, Election(number=2), expected=before.version))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        while party.client.next_writes:
            await anyio.lowlevel.checkpoint()
        await _write(party.other, 3)
    await anyio.sleep(10)
    assert (written[0] is not None) is done
    assert (await party.other.read(E1)).election.number == 3


@pytest.mark.parametrize("outcome", [Outcome.APPLIED, Outcome.LOST])
async def test_a_write_is_unknown_when_what_would_tell_is_gone(party: Party, outcome: Outcome) -> None:
    """The key of the server was, and another may have taken its number out of the record."""
    before = await _write(party.one, 1)
    party.client.next_writes.append(outcome)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_is_unknown, lambda: party.one.write(E1, Election(number=2), expected=before.version))
        while party.client.next_writes:
            await anyio.lowlevel.checkpoint()
        for lease_id in [each for each, lease in party.etcd.state.leases.items() if _is_of(party.one, lease.keys)]:
            party.etcd.state.revoke(lease_id)
        await _write(party.other, 3)


async def _is_unknown(call: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises(OutcomeUnknown, match="read to see"):
        await call()


def _is_of(store: EtcdStore, keys: set[bytes]) -> bool:
    return LAYOUT.server(store._servers.own.id) in keys


@pytest.mark.parametrize("outcome", UNKNOWN)
async def test_a_forget_whose_answer_is_lost_is_done_once(party: Party, outcome: Outcome) -> None:
    """And raises the floor once."""
    before = await _write(party.one, 5)
    party.client.next_writes.append(outcome)
    left = await party.one.forget(E1, expected=before.version)
    assert left == Record(Election(number=5, revision=5), 0)
    again = await _write(party.other, 6)
    await anyio.sleep(10)
    assert await party.one.read(E1) == again


@pytest.mark.parametrize(("outcome", "done"), [(Outcome.APPLIED, True), (Outcome.LOST, False)])
async def test_a_forget_is_found_out_also_when_more_was_forgotten_since(
    party: Party, outcome: Outcome, done: bool
) -> None:
    """By its number among the floors. If it was not done, it is done now."""
    before, elsewhere = await _write(party.one, 5), await _write(party.one, 7, E2)
    party.client.next_writes.append(outcome)
    async with _forgetting(party, before) as left:
        assert ((await party.other.read(E1)).version == 0) is done
        assert await party.other.forget(E2, expected=elsewhere.version)
    assert left == [Record(Election(number=7, revision=7), 0)]
    assert _keys(party.etcd, LAYOUT.all_elections) == []


async def test_what_a_forget_left_is_told_also_when_the_election_came_back_since(party: Party) -> None:
    """And not what is there by then, whose number and revision are those of another term."""
    before = await _write(party.one, 5)
    party.client.next_writes.append(Outcome.APPLIED)
    async with _forgetting(party, before) as left:
        await _write(party.other, 6)
    assert left == [Record(Election(number=5, revision=5), 0)]
    assert (await party.one.read(E1)).election == Election(number=6, revision=6)


async def test_a_late_first_write_does_not_bring_back_what_was_forgotten_since(party: Party) -> None:
    """The record is absent again, as it expects, but the floors are others."""
    party.client.next_writes.extend([Outcome.LATE])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_is_unknown, lambda: party.one.write(E1, Election(number=1, revision=1), expected=0))
        while party.client.next_writes:
            await anyio.lowlevel.checkpoint()
        written = await _write(party.other, 5)
        assert await party.other.forget(E1, expected=written.version)
    await anyio.sleep(10)
    assert (await party.one.read(E1)) == Record(Election(number=5, revision=5), 0)


@pytest.mark.parametrize("has_record", [True, False])
async def test_a_write_is_unknown_when_the_election_was_forgotten_and_came_back(party: Party, has_record: bool) -> None:
    """The record that would tell is another one: who is told None would apply the same command a second time."""
    expected = (await _write(party.one, 1)).version if has_record else 0
    party.client.next_writes.append(Outcome.APPLIED)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_is_unknown, lambda: party.one.write(E1, Election(number=2), expected=expected))
        while party.client.next_writes:
            await anyio.lowlevel.checkpoint()
        assert await party.other.forget(E1, expected=(await party.other.read(E1)).version)
        await _write(party.other, 3)


async def test_a_first_write_is_found_out_also_when_floors_rise_meanwhile(party: Party) -> None:
    """Another election was forgotten, above which this one would have to begin by now; it has begun before."""
    elsewhere = await _write(party.other, 7, E2)
    first = Election(number=1, revision=1)
    written: list[Record | None] = []

    async def write() -> None:
        written.append(await party.one.write(E1, first, expected=0, terms=[first.term]))

    async with _follow(party.one), anyio.create_task_group() as tasks:
        await party.one.catch_up()
        party.client.next_writes.append(Outcome.APPLIED)
        tasks.start_soon(write)
        while party.client.next_writes:
            await anyio.lowlevel.checkpoint()
        assert await party.other.forget(E2, expected=elsewhere.version)
    assert written == [await party.other.read(E1)]


async def test_a_first_write_is_not_repeated_above_floors_that_it_does_not_know(party: Party) -> None:
    """It was decided upon from lower ones, and would repeat a number."""
    elsewhere = await _write(party.other, 7, E2)
    first = Election(number=1, revision=1)
    async with _follow(party.one), anyio.create_task_group() as tasks:
        await party.one.catch_up()
        party.client.next_writes.append(Outcome.LOST)
        tasks.start_soon(_is_unknown, lambda: party.one.write(E1, first, expected=0, terms=[first.term]))
        while party.client.next_writes:
            await anyio.lowlevel.checkpoint()
        assert await party.other.forget(E2, expected=elsewhere.version)
    assert await party.other.read(E1) == Record(Election(number=7, revision=7), 0)


async def test_a_first_write_of_several_terms_repeats_no_revision(party: Party) -> None:
    """Floors have risen into the midst of them."""
    session = await party.one.open_session("default", "s", ttl_s=300, kept_alive=True)
    elections = [Election()]
    for candidate_id in "abc":
        elections.append(apply(elections[-1], Enter(candidate_id, session), floor=9).election)
    elsewhere = await party.other.write(E2, Election(number=1, revision=2), expected=0)
    assert elsewhere is not None
    assert await party.other.forget(E2, expected=elsewhere.version)
    terms = [each.term for each in elections[1:]]
    assert await party.one.write(E1, elections[-1], expected=0, terms=terms) is None


@pytest.mark.parametrize("seed", range(12))
async def test_increments_of_two_stores_with_all_faults_are_none_lost_and_none_doubled(
    seed: int, anyio_backend: object
) -> None:
    """Each that was answered counts once, each that is unknown at most once."""
    done, unknown, rounds = [0], [0], 12
    faults = EtcdFaults(applied=0.15, lost=0.1, late=0.15, longest_call_s=0.3)

    async def increment(store: EtcdStore) -> None:
        for _ in range(rounds):
            try:
                while True:
                    record = await store.read(E1)
                    after = Election(number=record.election.number + 1)
                    if await store.write(E1, after, expected=record.version):
                        done[0] += 1
                        break
            except OutcomeUnknown:
                unknown[0] += 1

    async with _open_party(seed, faults) as party:
        async with anyio.create_task_group() as tasks:
            for store in (party.one, party.one, party.other, party.other):
                tasks.start_soon(increment, store)
        party.etcd.faults = EtcdFaults()
        await anyio.sleep(10)
        number = (await party.one.read(E1)).election.number
    assert done[0] <= number <= done[0] + unknown[0], f"seed {seed}: {done[0]} done, {unknown[0]} unknown"
    assert done[0] >= 3 * rounds


async def test_numbers_of_servers_that_are_gone_are_taken_out(party: Party) -> None:
    """Of those that are only not heard of yet they stay."""

    def batches() -> set[str]:
        (item,) = party.etcd.state.get(Get(LAYOUT.election(E1))).items
        return set(decode_envelope(item.value).batches)

    one, other = party.one._servers.own.id, party.other._servers.own.id
    async with open_etcd_store(party.etcd.client()) as third:
        await _write(third, 1)
        gone = third._servers.own.id
        await _write(party.one, 2)
        assert batches() == {one, gone}
    await _write(party.other, 3)
    assert batches() == {one, other}
    written = await _write(party.one, 4)
    assert await party.one.forget(E1, expected=written.version)
    (item,) = party.etcd.state.get(Get(LAYOUT.floors("default"))).items
    assert set(decode_floors(item).batches) == {one}


async def test_a_server_whose_key_is_lost_gets_another_one(party: Party) -> None:
    """Under an id that was never there."""
    former = party.one._servers.own
    (lease_id,) = [each for each, lease in party.etcd.state.leases.items() if _is_of(party.one, lease.keys)]
    party.etcd.state.revoke(lease_id)
    await anyio.sleep(10)
    now = party.one._servers.own
    assert now.id != former.id
    assert LAYOUT.server(now.id) in _keys(party.etcd, LAYOUT.all_servers)


async def test_servers_stay_as_long_as_they_run_and_not_longer(party: Party) -> None:
    """Their leases are renewed, and given back."""
    await anyio.sleep(100)
    assert len(_keys(party.etcd, LAYOUT.all_servers)) == 2
    async with open_etcd_store(party.etcd.client()):
        assert len(_keys(party.etcd, LAYOUT.all_servers)) == 3
    assert len(_keys(party.etcd, LAYOUT.all_servers)) == 2


# Sessions.


@pytest.mark.parametrize("outcome", UNKNOWN)
@pytest.mark.parametrize("place", range(2))
async def test_a_session_whose_opening_is_not_answered_is_opened_once(
    party: Party, outcome: Outcome, place: int
) -> None:
    """Neither its lease nor its key is there twice, nor is anything left later."""
    party.client.next_writes.extend([Outcome.ANSWERED] * place + [outcome])
    session = await party.one.open_session("default", "s", ttl_s=5, kept_alive=True)
    assert [each.session for each in await party.other.sessions()] == [session]
    await anyio.sleep(20)
    assert await party.other.sessions() == []
    assert len(party.etcd.state.leases) == 2


@pytest.mark.parametrize("outcome", UNKNOWN)
async def test_a_session_whose_end_is_not_answered_is_ended(party: Party, outcome: Outcome) -> None:
    """It is told when that is certain."""
    session = await party.one.open_session("default", "s", ttl_s=50, kept_alive=True)
    party.client.next_writes.append(outcome)
    await party.one.end_session(session)
    assert await party.other.sessions() == []


@pytest.mark.parametrize("moment", range(12))
async def test_a_cancelled_opening_leaves_nothing_for_longer_than_a_session(party: Party, moment: int) -> None:
    """The lease is given back at once, unless the session may be there: then that lasts for its time."""

    async def open_session() -> None:
        await party.one.open_session("default", "s", ttl_s=300, kept_alive=True)
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(open_session)
        for _ in range(moment):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    await anyio.sleep(1)
    assert len(await party.other.sessions()) <= len(party.etcd.state.leases) - 2 <= 1
    await anyio.sleep(300)
    assert len(party.etcd.state.leases) == 2


async def test_a_session_that_etcd_refuses_leaves_no_lease(party: Party) -> None:
    """There is nothing that could be there."""
    grant = party.client.grant

    async def grant_and_fill(*args: Any, **kwargs: Any) -> Lease:
        lease = await grant(*args, **kwargs)
        party.etcd.fill()
        return lease

    party.client.grant = grant_and_fill
    with pytest.raises(StoreError, match="space exceeded"):
        await party.one.open_session("default", "s", ttl_s=300, kept_alive=True)
    await anyio.sleep(1)
    assert len(party.etcd.state.leases) == 2


async def test_a_refusal_that_comes_when_the_store_is_closed_is_said() -> None:
    """As it is; the lease that cannot be given back any more expires."""
    async with SimulatedEtcd(VirtualClock()) as etcd:
        client = etcd.client()
        grant, granted, closed = client.grant, anyio.Event(), anyio.Event()

        async def grant_and_wait(*args: Any, **kwargs: Any) -> Lease:
            lease = await grant(*args, **kwargs)
            granted.set()
            await closed.wait()
            etcd.fill()
            return lease

        async def open_session() -> None:
            with pytest.raises(StoreError, match="space exceeded"):
                await store.open_session("default", "s", ttl_s=30, kept_alive=True)

        async with anyio.create_task_group() as tasks:
            async with open_etcd_store(client) as store:
                client.grant = grant_and_wait
                tasks.start_soon(open_session)
                await granted.wait()
            closed.set()
        await anyio.sleep(31)
        assert not etcd.state.leases


async def test_an_opening_that_nobody_waits_for_ends_no_session_that_others_have_taken_up(party: Party) -> None:
    """The client has gone to another server, which has found the session and renewed it: it lasts for that time."""

    async def open_session() -> None:
        await party.one.open_session("default", "s", ttl_s=5, kept_alive=True)

    async with _follow(party.other) as taken:
        await party.other.catch_up()
        party.etcd.faults = EtcdFaults(longest_call_s=0.5)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(open_session)
            while not taken:  # noqa: ASYNC110 - it tells nobody
                await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
        (opened,) = taken
        assert isinstance(opened, SessionOpened)
        assert not party.one._sessions._opened, "its answer was still on its way"
        party.etcd.faults = EtcdFaults()
        assert await party.other.renew(opened.stored.session)
        await anyio.sleep(4.9)
        assert len(taken) == 1
        await anyio.sleep(1)
        assert taken[1:] == [SessionGone(opened.stored.session)]


async def test_a_renewal_by_a_deposed_leader_does_not_count(party: Party) -> None:
    """It is repeated with the new one, so that the session lasts as long as it is told."""
    async with _follow(party.one):
        session = await party.one.open_session("default", "s", ttl_s=5, kept_alive=True)
        for _ in range(4):
            await anyio.sleep(4)
            party.client.stale_renewals = 2
            assert await party.one.renew(session)
            assert (await party.one.lease_left_s(session) or 0) >= 4


async def test_a_renewal_that_is_denied_by_a_leader_out_of_date_is_repeated(party: Party) -> None:
    """One that has just been elected may not know the lease yet; only the key of the session tells."""
    async with _follow(party.one):
        session = await party.one.open_session("default", "s", ttl_s=5, kept_alive=True)
        keep_alive = party.client.keep_alive
        denials = [True, True]

        async def deny(lease_id: int, *, timeout_s: float | None = None) -> Lease:
            lease = await keep_alive(lease_id, timeout_s=timeout_s)
            return replace(lease, ttl_s=0) if denials and denials.pop() else lease

        party.client.keep_alive = deny
        assert await party.one.renew(session)
        assert denials == []
        await party.other.end_session(session)
        assert not await party.one.renew(session)


async def test_a_renewal_of_a_session_that_ends_meanwhile_is_denied(party: Party) -> None:
    """What is known by the time of the answer counts."""
    async with _follow(party.one):
        session = await party.one.open_session("default", "s", ttl_s=5, kept_alive=True)
        await party.one.catch_up()
        keep_alive = party.client.keep_alive

        async def renew_and_end(lease_id: int, *, timeout_s: float | None = None) -> Lease:
            lease = await keep_alive(lease_id, timeout_s=timeout_s)
            await party.other.end_session(session)
            await _write(party.other, 1)
            return lease

        party.client.keep_alive = renew_and_end
        assert not await party.one.renew(session)


async def test_a_look_in_several_reads_is_of_one_moment(party: Party) -> None:
    """What changes between them is not seen."""
    sessions = [await party.one.open_session("default", f"{each}", ttl_s=300, kept_alive=True) for each in range(150)]
    record = await _write(party.one, 1)
    txn = party.client.txn

    async def end_one(*args: Any, **kwargs: Any) -> Any:
        answer = await txn(*args, **kwargs)
        await party.other.end_session(sessions[-1])
        return answer

    party.client.txn = end_one
    view = await party.one.look(E1, sessions)
    assert view.record == record
    assert all(view.open.values())
    assert not (await party.one.look(E1, sessions)).open[sessions[-1]]


async def test_a_renewal_waits_until_what_was_before_it_is_known(party: Party) -> None:
    """Who is told that its session lasts is told so from a view that is as new."""
    async with _follow(party.one):
        session = await party.one.open_session("default", "s", ttl_s=5, kept_alive=True)
        for number in range(1, 5):
            record = await _write(party.other, number)
            assert await party.one.renew(session)
            assert party.one.latest(E1) == record


@pytest.mark.parametrize("seed", range(5))
async def test_a_session_is_gone_within_the_longest_failover(seed: int) -> None:
    """Also when etcd's leader dies just before it ends, and the next one gives it a whole time-to-live again."""
    async with _open_party(seed) as party, _follow(party.other) as taken:
        session = await party.one.open_session("default", "s", ttl_s=5, kept_alive=True)
        began = anyio.current_time()
        await anyio.sleep(4.99)
        election_s = 2 * party.etcd.election_timeout_s
        party.etcd.is_available = False
        await anyio.sleep(election_s)
        party.etcd.is_available = True
        party.etcd.change_leader()
        while SessionGone(session) not in taken:  # noqa: ASYNC110 - what is measured is the time
            await anyio.sleep(0.01)
        took_s = anyio.current_time() - began
    least_s = 4.99 + election_s + 5 + party.etcd.election_timeout_s
    assert least_s < took_s <= party.one.longest_failover_s(5) < least_s + 1


async def test_sessions_go_on_while_etcd_is_full(party: Party) -> None:
    """Nothing else does, but for ends; nobody is told otherwise, and all goes on when there is room."""
    async with _follow(party.one), _follow(party.other):
        kept, ended = [await party.one.open_session("default", each, ttl_s=5, kept_alive=True) for each in ("k", "e")]
        before = await _write(party.one, 1)
        party.etcd.fill()
        for refused in (
            party.one.write(E1, Election(number=2), expected=before.version),
            party.one.forget(E1, expected=before.version),
            party.one.open_session("default", "new", ttl_s=5, kept_alive=True),
        ):
            with pytest.raises(StoreError, match="space exceeded"):
                await refused
        for _ in range(4):
            await anyio.sleep(2)
            assert await party.other.renew(kept)
        await party.other.end_session(ended)
        assert await party.one.look(E1, [kept, ended]) == View(await party.other.read(E1), {kept: True, ended: False})
        party.etcd.make_room()
        assert (await _write(party.other, 2)).election.number == 2


async def test_another_etcd_in_its_place_is_not_served(party: Party) -> None:
    """Whoever calls, and whoever waits for changes, is told to confirm a restore; nothing is written to it."""
    before = await _write(party.one, 1)
    changes = party.other.changes()
    await anext(changes)
    party.etcd.make_anew()
    for refused in (
        party.one.read(E1),
        party.one.write(E1, Election(number=2), expected=before.version),
        party.one.open_session("default", "s", ttl_s=5, kept_alive=True),
        party.other.catch_up(),
        anext(changes),
    ):
        with pytest.raises(StoreError, match="is another one"):
            await refused
    assert party.etcd.state.revision == 1


# Members come and go.


async def test_a_member_that_ends_is_left_for_another(party: Party) -> None:
    """What was on its way there has an unknown outcome, which is found out: no write is lost, and none done twice."""
    etcd, number = party.etcd, 0
    etcd.faults = EtcdFaults(longest_call_s=0.2)

    async def come_and_go() -> None:
        while True:
            member = etcd.random.randrange(etcd.size)
            etcd.stop_member(member)
            await anyio.sleep(etcd.random.uniform(0, 0.5))
            etcd.start_member(member)
            await anyio.sleep(etcd.random.uniform(0, 2))

    async with _follow(party.one), anyio.create_task_group() as tasks:
        tasks.start_soon(come_and_go)
        session = await party.one.open_session("default", "s", ttl_s=60, kept_alive=True)
        until = etcd.state.raft_term + 5
        while etcd.state.raft_term < until:
            number += 1
            assert (await _write(party.one, number)).election.number == number
            assert await party.one.renew(session)
        tasks.cancel_scope.cancel()


async def test_without_a_majority_nothing_is_served_and_nothing_expires(party: Party) -> None:
    """When it is back, sessions have their whole time-to-live again."""
    async with _follow(party.one), _follow(party.other) as taken:
        session = await party.one.open_session("default", "s", ttl_s=5, kept_alive=True)
        await party.one.catch_up()
        await party.other.catch_up()
        for member in (0, 1):
            party.etcd.stop_member(member)
        with pytest.raises(StoreError, match="did not answer"):
            await party.one.read(E1)
        await anyio.sleep(30)
        party.etcd.start_member(0)
        await anyio.sleep(2 * party.etcd.election_timeout_s + 4)
        assert await party.one.renew(session)
        await anyio.sleep(6)
        assert SessionGone(session) in taken


# What is heard of etcd, and what is not.


async def test_compaction_while_cut_off_hides_nothing(party: Party) -> None:
    """What changed meanwhile is told as differences, with the last term of each; then all goes on."""
    kept, ended = [await party.one.open_session("default", each, ttl_s=300, kept_alive=True) for each in ("k", "e")]
    await _write(party.one, 1)
    await _enter(party.one, "a", kept)
    await _write(party.one, 1, E2)
    async with _follow(party.other) as taken:
        await party.other.catch_up()
        before = len(taken)
        party.others.is_cut_off = True
        new = await party.one.open_session("default", "new", ttl_s=300, kept_alive=True)
        await party.one.end_session(ended)
        short = await party.one.open_session("default", "short", ttl_s=300, kept_alive=True)
        await party.one.end_session(short)
        await _write(party.one, 2)
        last = await _write(party.one, 3)
        await _enter(party.one, "b", kept)
        entered = await _enter(party.one, "c", kept)
        assert await party.one.forget(E2, expected=(await party.one.read(E2)).version)
        party.etcd.state.compact(party.etcd.state.revision)
        party.others.is_cut_off = False
        await party.other.catch_up()
        missed = taken[before:]
        assert {each.stored.session for each in missed if isinstance(each, SessionOpened)} == {new}
        assert [each.session for each in missed if isinstance(each, SessionGone)] == [ended]
        changed = {each.election_id: each for each in missed if isinstance(each, ElectionChanged)}
        assert (changed[E1].after, changed[E1].terms) == (last, (last.election.term,))
        assert (changed[E2].after.version, changed[E2].before.version > 0) == (0, True)
        assert (changed[E3].after, changed[E3].terms) == (entered, (entered.election.term,))
        assert len(missed) == 5
        last = await _write(party.one, 9)
        await party.other.catch_up()
        assert party.other.latest(E1) == last
        assert (await party.other.look(E1, [kept, ended])).open == {kept: True, ended: False}


async def test_servers_that_ended_while_cut_off_and_compacted_do_not_count(party: Party) -> None:
    """Nor does a hold that was ended meanwhile: what is not there after reading all is gone."""
    elections = [ElectionId("default", str(number)) for number in range(8)]
    state = party.etcd.state
    state.txn((), (Put(LAYOUT.hold, encode_hold(5.0)),), ())
    async with _follow(party.other):
        await party.other.catch_up()
        assert party.other.hold_s == 5.0
        assert {party.other.rank(each) for each in elections} == {0, 1}
        party.client.is_cut_off = party.others.is_cut_off = True
        for lease_id in [each for each, lease in state.leases.items() if _is_of(party.one, lease.keys)]:
            state.revoke(lease_id)
        state.txn((), (Delete(LAYOUT.hold),), ())
        state.compact(state.revision)
        party.others.is_cut_off = False
        await anyio.sleep(1)
        assert party.other.hold_s is None
        assert {party.other.rank(each) for each in elections} == {0}


async def test_where_an_absent_election_begins_is_confirmed_too(party: Party) -> None:
    """Another one was forgotten meanwhile, above which it begins from then on."""
    elsewhere = await _write(party.other, 7, E2)
    assert party.one.latest(E1).election.number == 0
    assert await party.other.forget(E2, expected=elsewhere.version)
    assert not await party.one.confirm(E1, expected=0)
    assert party.one.latest(E1).election.number == 7
    assert await party.one.confirm(E1, expected=0)


async def test_a_watch_that_is_cut_misses_nothing(party: Party) -> None:
    """It goes on after the last change that it delivered."""
    async with _follow(party.other) as taken:
        await party.other.catch_up()
        for number in range(1, 10):
            party.others.is_cut_off = number % 3 == 2
            await _write(party.one, number)
        await party.other.catch_up()
    numbers = [each.after.election.number for each in taken if isinstance(each, ElectionChanged)]
    assert numbers == list(range(1, 10))


async def test_a_watch_that_is_refused_for_a_while_misses_nothing(party: Party) -> None:
    """A password was changed, or a role: once that is put right, it goes on without a restart."""
    async with _follow(party.other) as taken:
        await party.other.catch_up()
        party.others.refused_watches = 3
        written = [await _write(party.one, number) for number in (1, 2, 3)]
        await party.other.catch_up()
    assert party.others.refused_watches == 0
    assert [each.after.version for each in taken if isinstance(each, ElectionChanged)] == [
        each.version for each in written
    ]


async def test_etcd_out_of_reach_is_an_error_in_time(party: Party) -> None:
    """Nothing waits for ever, and nothing is changed."""
    session = await party.one.open_session("default", "s", ttl_s=300, kept_alive=True)
    record = await _write(party.one, 1)
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: party.one.read(E1),
        lambda: party.one.look(E1, [session]),
        lambda: party.one.write(E1, Election(number=2), expected=record.version),
        lambda: party.one.forget(E1, expected=record.version),
        lambda: party.one.renew(session),
        party.one.catch_up,
        party.one.sessions,
        lambda: party.one.end_session(session),
        lambda: party.one.open_session("default", "t", ttl_s=300, kept_alive=True),
        lambda: party.one.page("default", after="", limit=9),
    ]
    party.etcd.is_available = False
    for call in calls:
        with anyio.fail_after(11), pytest.raises(StoreError):
            await call()
    party.etcd.is_available = True
    assert await party.other.read(E1) == record
    assert len(await party.other.sessions()) == 1


async def test_nobody_has_caught_up_who_takes_no_changes(party: Party) -> None:
    """Also where nothing has ever changed: what else there is is not known either."""
    with pytest.raises(StoreError, match="not heard of here within 5 s"):
        await party.one.catch_up()


async def test_readers_of_progress_share_a_read(party: Party) -> None:
    """However many ask at once; one who gives up disturbs nobody."""
    async with _follow(party.one):
        await party.one.catch_up()
        party.etcd.faults = EtcdFaults(longest_call_s=1.0)
        revisions: list[Get] = []
        answer = party.etcd.state.get

        def get(get: Get, now: int = 0) -> Any:
            revisions.append(get)
            return answer(get, now)

        party.etcd.state.get = get
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(party.one.catch_up)
            await anyio.lowlevel.checkpoint()
            with anyio.move_on_after(0.001):
                await party.one.catch_up()
            for _ in range(200):
                tasks.start_soon(party.one.catch_up)
        heads = [each for each in revisions if each.key == LAYOUT.head]
        assert len(heads) <= 2


# Going back in time.


@pytest.mark.parametrize("does", ["read", "write", "renew", "changes"])
async def test_going_back_in_time_stops_everything(party: Party, does: str) -> None:
    """Whoever notices: from then on every call says so, and what to do."""
    session = await party.one.open_session("default", "s", ttl_s=300, kept_alive=True)
    await _write(party.one, 1)
    snapshot = party.etcd.snapshot()
    record = await _write(party.one, 2)
    changes = party.one.changes()
    await anext(changes)
    party.etcd.restore(snapshot)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "read": lambda: party.one.read(E1),
        "write": lambda: party.one.write(E1, Election(number=3), expected=record.version),
        "renew": lambda: party.one.renew(session),
        "changes": lambda: anext(changes),
    }
    for call in (calls.pop(does), *calls.values(), party.one.catch_up):
        with pytest.raises(StoreError, match="confirm the restore"):
            await call()
    assert party.etcd.state.revision == snapshot.revision


async def test_a_write_that_the_past_takes_does_not_count(party: Party) -> None:
    """Nothing that it compares shows that etcd went back; its answer does."""
    snapshot = party.etcd.snapshot()
    for number in (1, 2, 3):
        await _write(party.one, number)
    party.etcd.restore(snapshot)
    with pytest.raises(StoreError, match="confirm the restore"):
        await party.one.write(E2, Election(number=1), expected=0)


async def test_another_cluster_is_noticed(party: Party) -> None:
    """It has an id of its own."""
    await _write(party.one, 1)
    party.etcd.state.cluster_id += 1
    with pytest.raises(StoreError, match=r"cluster of etcd is .* confirm the restore"):
        await party.one.read(E1)


async def test_who_waits_for_progress_hears_that_the_store_went_back(party: Party) -> None:
    """At once."""
    await _write(party.other, 1)

    async def catch_up() -> None:
        with pytest.raises(StoreError, match="confirm the restore"):
            await party.one.catch_up()

    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(catch_up)
        await anyio.sleep(1)
        party.etcd.state.cluster_id += 1
        with pytest.raises(StoreError):
            await party.one.read(E1)
    assert anyio.current_time() - began == 1


# Opening.


@pytest.mark.parametrize(
    ("version", "warned"), [("3.4.23", 1), ("3.5.17", 1), ("3.4.36", 0), ("3.5.18", 0), ("3.6.0", 0)]
)
async def test_old_versions_are_warned_of_once(
    version: str, warned: int, caplog: pytest.LogCaptureFixture, anyio_backend: object
) -> None:
    """With the versions to update to."""
    async with SimulatedEtcd(VirtualClock(), version=version) as etcd:
        with caplog.at_level(logging.WARNING):
            async with open_etcd_store(etcd.client()):
                await anyio.sleep(20)
    assert sum("3.4.36 or 3.5.18" in each.getMessage() for each in caplog.records) == warned


async def test_keys_that_are_no_store_are_not_used(anyio_backend: object) -> None:
    """A store never begins anew by accident, and one of a newer version is refused by name."""
    async with SimulatedEtcd(VirtualClock()) as etcd:
        client = etcd.client()
        await client.txn([], [Put(b"p/elections/x", b"")])
        with pytest.raises(StoreError, match="no key 'p/store'"):
            async with open_etcd_store(client, prefix="p/"):
                pass
        await client.txn([], [Put(b"q/store", b'{"version":2}')])
        with pytest.raises(StoreError, match="has version 2, and this release"):
            async with open_etcd_store(client, prefix="q/"):
                pass


async def test_who_opens_at_the_same_time_opens_the_same(anyio_backend: object) -> None:
    """One of them makes the store, also when its answer is lost."""
    async with SimulatedEtcd(VirtualClock(), faults=EtcdFaults(longest_call_s=0.5, applied=0.2)) as etcd:
        found: list[str] = []

        async def open_store() -> None:
            while True:
                try:
                    async with open_etcd_store(etcd.client()) as store:
                        found.append(store.id)
                        return
                except StoreError:
                    continue

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(open_store)
    assert len(found) == 10
    assert len(set(found)) == 1


async def test_the_least_time_to_live_is_what_etcd_grants(anyio_backend: object) -> None:
    """It is found out when the store is opened, and sessions get no less."""
    async with SimulatedEtcd(VirtualClock(), least_ttl_s=3) as etcd, open_etcd_store(etcd.client()) as store:
        assert (store.ttl_s(0.5), store.ttl_s(3.2)) == (3, 4)
        session = await store.open_session("default", "s", ttl_s=store.ttl_s(0.5), kept_alive=True)
        assert await store.lease_left_s(session) in (2.0, 3.0)


async def test_a_candidate_cannot_enter_with_a_session_that_expires_meanwhile(party: Party) -> None:
    """The end of a session is compared in the transaction itself, whatever is known here."""
    async with _follow(party.one):
        session = await party.one.open_session("default", "s", ttl_s=1, kept_alive=True)
        await party.one.catch_up()
    await anyio.sleep(10)
    entered = Election((Candidate("a", session),), 1, 1)
    assert await party.one.write(E1, entered, expected=0, assuming={session: True}) is None
