"""A block of a thread that leads: it is told of a loss, and is waited for before anybody else leads."""

import threading
import time

import pytest

from atomix_election.sync import (
    Client,
    ElectionServer,
    InvalidRequest,
    LeaderElection,
    Leadership,
    LeadershipLost,
    LossReason,
    connect,
)
from tests.sync.conftest import TTL_S, Interrupt
from tests.sync.waiting import WAIT_S, eventually, in_thread


class Mishap(Exception):
    """What goes wrong in a body."""


@pytest.fixture
def b(server: ElectionServer, election: LeaderElection) -> LeaderElection:
    """What a test waits with, if it wants to see who leads next."""
    return LeaderElection("e", target=server.target, candidate_id="b")


def lead_once(election: LeaderElection, led: threading.Event) -> int:
    """Wait for the lead, and return its token."""
    with election, election.lead() as leadership:
        led.set()
        return leadership.token


def test_a_leader_has_what_the_asynchronous_one_has(server: ElectionServer, election: LeaderElection) -> None:
    """Token, term, the time left; and it has left the queue when the block has ended."""
    with LeaderElection("e", target=server.target, candidate_id="a", session_ttl=TTL_S) as mine:
        assert not mine.is_leader
        with mine.lead() as leadership:
            assert mine.is_leader
            assert (leadership.token, leadership.term.leader, leadership.reason) == (1, "a", None)
            assert 0 < leadership.remaining < TTL_S
            leadership.ensure()
            assert not leadership.lost.is_set()
        assert not mine.is_leader
        assert leadership.remaining == 0
        with pytest.raises(LeadershipLost) as lost:
            leadership.ensure()
        assert lost.value.reason is LossReason.WITHDRAWN
        assert lost.value.leadership is leadership
        assert not leadership.lost.is_set()
        assert election.get_term().candidates == ()


def test_a_displaced_leader_is_waited_for(server: ElectionServer, election: LeaderElection, b: LeaderElection) -> None:
    """It is told at once; nobody leads, and it stays in the queue, before its block has ended."""
    with LeaderElection("e", target=server.target, candidate_id="a", session_ttl=20.0) as mine, b:
        with pytest.raises(LeadershipLost) as lost, mine.lead() as leadership:  # noqa: PT012
            b.enter()
            election.anoint("b")
            assert leadership.lost.wait(WAIT_S)
            assert not mine.is_leader
            assert leadership.remaining == 0
            with pytest.raises(LeadershipLost):
                leadership.ensure()
            time.sleep(0.2)
            assert election.get_term().candidates == ("b", "a")
            assert [each.id for each in election.describe().displaced] == ["a"]
            assert not b.is_leader
        assert lost.value.leadership is leadership
        assert lost.value.reason is leadership.reason is LossReason.SUPERSEDED
        assert election.get_term().candidates == ("b",)
        assert election.describe().displaced == ()
        eventually(lambda: b.is_leader)


def test_the_next_one_leads_afterwards(server: ElectionServer, election: LeaderElection, b: LeaderElection) -> None:
    """And not before, with the next token."""
    led, leads = threading.Event(), threading.Event()

    def lead_next() -> int:
        assert leads.wait(WAIT_S)
        return lead_once(b, led)

    mine = LeaderElection("e", target=server.target, candidate_id="a", session_ttl=20.0)
    with mine, in_thread(lead_next) as token:
        with pytest.raises(LeadershipLost), mine.lead() as leadership:  # noqa: PT012
            leads.set()
            eventually(lambda: "b" in election.get_term().candidates)
            election.anoint("b")
            assert leadership.lost.wait(WAIT_S)
            assert not led.wait(0.3)
        assert token.result(WAIT_S) == 2


def test_work_that_goes_on_after_its_deadline(
    server: ElectionServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told before, the session is left to end, which is logged, and nobody is withdrawn for it."""
    withdrawn: list[str] = []
    led = threading.Event()
    with ElectionServer("memory://deadline", session_ttl=TTL_S) as first:
        port = int(first.target.rpartition(":")[2])
        client = connect(first.target, session_ttl=TTL_S)
        mine = client.__enter__()
        lead = mine.election("e", candidate_id="a").lead()
        leadership = lead.__enter__()
        service = mine.asynchronous.service
        send = service.withdraw
        monkeypatch.setattr(service, "withdraw", lambda call, who: (withdrawn.append(who), send(call, who))[1])
    remaining_s = leadership.remaining
    began = time.monotonic()
    assert leadership.lost.wait(WAIT_S)
    assert time.monotonic() - began < remaining_s
    assert leadership.reason is LossReason.EXPIRED
    with ElectionServer("memory://deadline", port=port, session_ttl=TTL_S) as second:
        later = LeaderElection("e", target=second.target, candidate_id="b", session_ttl=TTL_S)
        assert lead_once(later, led) == 2
        eventually(lambda: any("did not stop by its deadline" in each.message for each in caplog.records))
        with pytest.raises(LeadershipLost):
            lead.__exit__(None, None, None)
        assert withdrawn == []
        client.__exit__(None, None, None)


def test_an_exception_of_the_body_wins(server: ElectionServer, election: LeaderElection) -> None:
    """It comes out as itself, with the loss behind it."""
    mishap = Mishap()
    with LeaderElection("e", target=server.target, candidate_id="a") as mine:
        with pytest.raises(Mishap) as raised, mine.lead() as leadership:  # noqa: PT012
            election.evict("a")
            assert leadership.lost.wait(WAIT_S)
            raise mishap
        assert raised.value is mishap
        assert isinstance(mishap.__context__, LeadershipLost)
        assert mishap.__context__.leadership is leadership
        with pytest.raises(Mishap) as alone, mine.lead():
            raise Mishap
        assert alone.value.__context__ is None


def test_a_loss_is_told_by_a_callback_that_is_waited_for(server: ElectionServer, election: LeaderElection) -> None:
    """In a thread of its own; the candidate is withdrawn after it has returned."""
    told: list[tuple[Leadership, bool]] = []
    go_on = threading.Event()
    heard = threading.Event()

    def on_lost(leadership: Leadership) -> None:
        told.append((leadership, threading.current_thread() is threading.main_thread()))
        heard.set()
        assert go_on.wait(WAIT_S)

    def let_it_go_on() -> tuple[str, ...]:
        assert heard.wait(WAIT_S)
        time.sleep(0.2)
        candidates = election.get_term().candidates
        go_on.set()
        return candidates

    with LeaderElection("e", target=server.target, candidate_id="a", session_ttl=20.0) as mine:
        with in_thread(let_it_go_on) as meanwhile:
            with pytest.raises(LeadershipLost), mine.lead(on_lost=on_lost) as leadership:  # noqa: PT012
                election.anoint(election.client.election("e", candidate_id="b").enter().candidates[-1])
                assert leadership.lost.wait(WAIT_S)
            assert go_on.is_set()
            assert meanwhile.result(WAIT_S) == ("b", "a")
        assert told == [(leadership, False)]


def test_who_does_not_lead_in_time_leaves_the_queue(server: ElectionServer, election: LeaderElection) -> None:
    """The message says who, and how long it waited; who leads in time is not disturbed later."""
    election.enter()
    with LeaderElection("e", target=server.target, candidate_id="a") as mine:
        with pytest.raises(TimeoutError, match=r"'a' did not lead 'e' within 0.1 s"), mine.lead(timeout_s=0.1):
            pass
        assert "a" not in election.get_term().candidates
        election.withdraw()
        with pytest.raises(LeadershipLost), mine.lead(timeout_s=0.3) as leadership:  # noqa: PT012
            time.sleep(0.4)
            leadership.ensure()
            election.evict("a")
            assert leadership.lost.wait(WAIT_S)


def test_who_is_interrupted_while_it_waits_leaves_the_queue(
    server: ElectionServer, election: LeaderElection, interrupt_when: Interrupt
) -> None:
    """Before KeyboardInterrupt goes on."""
    election.enter()
    with LeaderElection("e", target=server.target, candidate_id="a") as mine:
        interrupt_when(lambda: "a" in election.get_term().candidates)
        with pytest.raises(KeyboardInterrupt), mine.lead():
            pass
        assert "a" not in election.get_term().candidates
        election.withdraw()
        with mine.lead() as leadership:
            assert leadership.term.leader == "a"


def test_one_that_is_interrupted_in_its_block_leaves_the_queue(
    server: ElectionServer, election: LeaderElection, interrupt_when: Interrupt
) -> None:
    """As with any exception."""
    with LeaderElection("e", target=server.target, candidate_id="a") as mine:
        with pytest.raises(KeyboardInterrupt), mine.lead() as leadership:  # noqa: PT012
            interrupt_when(lambda: True)
            leadership.lost.wait(WAIT_S)
        assert election.get_term().candidates == ()


def test_withdrawn_in_its_own_block(server: ElectionServer, election: LeaderElection) -> None:
    """The call raises what ends the block, and the withdrawal is sent after it."""
    with LeaderElection("e", target=server.target, candidate_id="a") as mine:
        with pytest.raises(LeadershipLost) as lost, mine.lead() as leadership:  # noqa: PT012
            try:
                mine.withdraw()
            finally:
                assert leadership.lost.is_set() or leadership.lost.wait(WAIT_S)
                assert election.get_term().leader == "a"
        assert lost.value.reason is LossReason.WITHDRAWN
        assert lost.value.leadership is leadership
        assert election.get_term().candidates == ()


def test_withdrawn_by_another_thread(server: ElectionServer, election: LeaderElection) -> None:
    """That one waits for the block, which is told."""
    with LeaderElection("e", target=server.target, candidate_id="a") as mine:
        leads = threading.Event()

        def withdraw() -> tuple[str, ...]:
            assert leads.wait(WAIT_S)
            return mine.withdraw().candidates

        with in_thread(withdraw) as withdrawn:
            with pytest.raises(LeadershipLost) as lost, mine.lead() as leadership:  # noqa: PT012
                leads.set()
                assert leadership.lost.wait(WAIT_S)
                assert election.get_term().leader == "a"
                assert not withdrawn.done()
            assert withdrawn.result(WAIT_S) == ()
        assert leadership.reason is lost.value.reason is LossReason.WITHDRAWN


def test_one_block_at_a_time(operator: Client) -> None:
    """For a candidate of a client; others are others."""
    mine = operator.election("e", candidate_id="a")
    with mine.lead():
        with pytest.raises(InvalidRequest), operator.election("e", candidate_id="a").lead():
            pass
        with operator.election("f", candidate_id="a").lead():
            pass
    block = mine.lead()
    with block:
        pass
    with pytest.raises(InvalidRequest, match="entered before"), block:
        pass


def test_run_works_each_time_it_leads(operator: Client, election: LeaderElection) -> None:
    """In the caller's thread, again after a loss, until the work is done."""
    tokens: list[int] = []

    def work(leadership: Leadership) -> str:
        assert threading.current_thread() is threading.main_thread()
        tokens.append(leadership.token)
        if len(tokens) == 1:
            election.evict("a")
            assert leadership.lost.wait(WAIT_S)
            leadership.ensure()
        if len(tokens) == 2:
            election.evict("a")
            assert leadership.lost.wait(WAIT_S)
            return "too late"
        return "done"

    assert operator.election("e", candidate_id="a").run(work) == "done"
    assert tokens == [1, 2, 3]


def test_run_ends_with_what_the_work_raises(operator: Client) -> None:
    """An exception of its own, and the loss of another leadership, come out; so does a withdrawal."""
    mine, other = operator.election("e", candidate_id="a"), operator.election("f", candidate_id="a")

    def fail(_: Leadership) -> None:
        raise Mishap

    def lose_another(_: Leadership) -> None:
        with other.lead():
            other.withdraw()

    def withdraw(_: Leadership) -> None:
        mine.withdraw()

    with pytest.raises(Mishap):
        mine.run(fail)
    with pytest.raises(LeadershipLost, match="election 'f'"):
        mine.run(lose_another)
    with pytest.raises(LeadershipLost) as lost:
        mine.run(withdraw)
    assert lost.value.reason is LossReason.WITHDRAWN


def test_an_outer_block_that_ends_tells_one_that_leads_elsewhere(server: ElectionServer) -> None:
    """The session of a client that is closed beside its leader's work is left to end by itself."""
    leads = threading.Event()
    reasons: list[LossReason] = []

    def lead(client: Client) -> None:
        try:
            with client.election("e", candidate_id="a").lead() as leadership:
                leads.set()
                assert leadership.lost.wait(WAIT_S)
        except LeadershipLost as lost:
            reasons.append(lost.reason)

    with connect(server.target) as client:
        thread = threading.Thread(target=lead, args=(client,))
        thread.start()
        assert leads.wait(WAIT_S)
    thread.join(WAIT_S)
    assert reasons == [LossReason.SESSION_ENDED]
