"""What each method answers is the same in memory and over gRPC."""

import pytest

from atomix_election import (
    CandidateTaken,
    Client,
    ElectionError,
    InvalidRequest,
    LeaderElection,
    NotACandidate,
    NotOwner,
    Term,
    connect,
)
from tests.face.party import Party

pytestmark = pytest.mark.anyio


async def test_an_election_that_nobody_entered_has_term_0(target: str) -> None:
    """Before the first Enter there is no leader, no number and no revision."""
    async with LeaderElection("e", target=target) as election:
        term = await election.get_term()
        assert term == Term((), 0, 0)
        assert term.leader is None


async def test_enter_appends_and_answers_the_term_after_it(target: str) -> None:
    """Who enters stands last, and hears so."""
    async with connect(target) as client:
        a, b = (client.election("e", candidate_id=each) for each in "ab")
        assert await a.enter() == Term(("a",), 1, 1)
        assert await b.enter() == Term(("a", "b"), 1, 2)
        assert (await b.get_term()).leader == "a"


async def test_entering_again_changes_nothing(target: str) -> None:
    """A candidate that is in the queue keeps its place, also the leader."""
    async with connect(target) as client:
        a, b = (client.election("e", candidate_id=each) for each in "ab")
        await a.enter()
        term = await b.enter()
        assert await a.enter() == term
        assert await b.enter() == term
        assert await client.election("e", candidate_id="a").enter() == term
        assert await a.get_term() == term


async def test_withdraw_removes_a_waiting_candidate(target: str) -> None:
    """It leaves the queue, and the term's number stays."""
    async with connect(target) as client:
        a, b = (client.election("e", candidate_id=each) for each in "ab")
        await a.enter()
        await b.enter()
        assert await b.withdraw() == Term(("a",), 1, 3)


async def test_withdraw_of_the_leader_elects_the_next(target: str) -> None:
    """The next one leads, with a new number; after the last one nobody does, with the old number."""
    async with connect(target) as client:
        a, b = (client.election("e", candidate_id=each) for each in "ab")
        await a.enter()
        await b.enter()
        assert await a.withdraw() == Term(("b",), 2, 3)
        assert await b.withdraw() == Term((), 2, 4)
        assert await b.enter() == Term(("b",), 3, 5)


async def test_withdraw_of_who_is_not_in_the_queue_changes_nothing(target: str) -> None:
    """Never entered, or withdrawn already: the current term is the answer."""
    async with connect(target) as client:
        a, b = (client.election("e", candidate_id=each) for each in "ab")
        assert await a.withdraw() == Term()
        term = await b.enter()
        assert await a.withdraw() == term
        term = await b.withdraw()
        assert await b.withdraw() == term


async def test_anoint_promote_and_evict(target: str) -> None:
    """To the front, one place forward, out; the term's number rises when another leads."""
    async with connect(target) as client:
        for each in "abc":
            await client.election("e", candidate_id=each).enter()
        election = client.election("e")
        assert await election.anoint("c") == Term(("c", "a", "b"), 2, 4)
        assert await election.anoint("c") == Term(("c", "a", "b"), 2, 4)
        assert await election.promote("b") == Term(("c", "b", "a"), 2, 5)
        assert await election.promote("b") == Term(("b", "c", "a"), 3, 6)
        assert await election.promote("b") == Term(("b", "c", "a"), 3, 6)
        assert await election.evict("a") == Term(("b", "c"), 3, 7)
        assert await election.evict("b") == Term(("c",), 4, 8)


@pytest.mark.parametrize("method", ["anoint", "promote", "evict"])
async def test_who_is_not_a_candidate_is_refused(target: str, method: str) -> None:
    """NotACandidate names whom it is about, and nothing has changed."""
    async with LeaderElection("e", target=target, candidate_id="a") as election:
        term = await election.enter()
        with pytest.raises(NotACandidate, match="'x' is not a candidate"):
            await getattr(election, method)("x")
        assert await election.get_term() == term


async def test_operators_need_no_session_and_act_on_anybody(party: Party) -> None:
    """A client that never entered anoints, promotes and evicts the candidates of others."""
    one, two, operator = [await party.join() for _ in range(3)]
    await one.enter("a")
    await two.enter("b")
    election = operator.client.election("e")
    assert (await election.anoint("b")).candidates == ("b", "a")
    assert (await election.promote("a")).candidates == ("a", "b")
    assert (await election.evict("a")).candidates == ("b",)


async def test_a_candidate_id_belongs_to_one_session(party: Party) -> None:
    """Its second user is refused, and may have it once the first one has left."""
    one, two = await party.join(), await party.join()
    term = await one.enter("a")
    with pytest.raises(CandidateTaken, match="'a'"):
        await two.enter("a")
    assert await two.term() == term
    await one.leave()
    assert await two.enter("a") == Term(("a",), 2, 3)


async def test_only_the_owner_withdraws(party: Party) -> None:
    """After an eviction and a new entry by somebody else, the former owner's Withdraw is refused."""
    one, two = await party.join(), await party.join()
    mine = one.client.election("e", candidate_id="a")
    await mine.enter()
    await two.client.election("e").evict("a")
    await two.enter("a")
    with pytest.raises(NotOwner, match="'a'"):
        await mine.withdraw()
    assert (await two.term()).candidates == ("a",)


async def test_two_candidates_of_one_client_are_two_candidates(target: str) -> None:
    """Leaving one of them keeps the other."""
    async with connect(target) as client:
        async with client.election("e", candidate_id="a") as a, client.election("e", candidate_id="b") as b:
            await a.enter()
            assert (await b.enter()).candidates == ("a", "b")
        async with client.election("e", candidate_id="c") as c:
            await a.enter()
            await c.enter()
        assert (await a.get_term()).candidates == ("a",)
        assert (await a.enter()).candidates == ("a",)


async def test_a_refused_entry_is_left_without_a_warning(party: Party, caplog: pytest.LogCaptureFixture) -> None:
    """Who was refused has nothing to leave, also beside another candidate of its client."""
    one, two = await party.join(), await party.join()
    await one.enter("x")
    await two.enter("b")
    async with two.client.election("e", candidate_id="x") as election:
        with pytest.raises(CandidateTaken):
            await election.enter()
    assert (await one.term()).candidates == ("x", "b")
    assert not caplog.records


async def test_namespaces_are_separate(target: str) -> None:
    """The same name in another namespace is another election, with the same candidate id free."""
    async with (
        LeaderElection("e", target=target, candidate_id="a", namespace="one") as one,
        LeaderElection("e", target=target, candidate_id="a", namespace="two") as two,
    ):
        assert await one.enter() == Term(("a",), 1, 1)
        assert await two.get_term() == Term()
        assert await two.enter() == Term(("a",), 1, 1)
        assert (one.name, one.namespace, one.candidate_id) == ("e", "one", "a")


async def test_elections_of_one_client_are_separate(target: str) -> None:
    """One session stands in many elections; leaving one keeps the others."""
    async with connect(target, namespace="n") as client:
        async with client.election("one", candidate_id="a") as one:
            await one.enter()
            assert (await client.election("two", candidate_id="a").enter()).number == 1
        assert (await client.election("one").get_term()).candidates == ()
        assert (await client.election("two").get_term()).candidates == ("a",)
        assert client.election("two").namespace == "n"


async def test_ids_may_have_what_they_may_have(target: str) -> None:
    """256 bytes, spaces inside, and for candidates any printable character travel unchanged."""
    longest = "n" * 256
    async with connect(target, namespace=longest) as client:
        for candidate_id in ("a b", "é" * 128, "候補者", "x" * 256, "a/b:c,d"):
            term = await client.election(longest, candidate_id=candidate_id).enter()
            assert term.candidates[-1] == candidate_id


@pytest.mark.parametrize("bad", ["", " a", "a ", "a\n", "\0", "x" * 257, "é" * 129])
async def test_malformed_arguments_are_refused(target: str, bad: str) -> None:
    """Ids of others are checked as well, before anything happens."""
    async with LeaderElection("e", target=target, candidate_id="a") as election:
        term = await election.enter()
        for method in (election.anoint, election.promote, election.evict):
            with pytest.raises(InvalidRequest, match="candidate id"):
                await method(bad)
        assert await election.get_term() == term


async def test_every_error_is_an_election_error(target: str) -> None:
    """One except clause catches all."""
    async with LeaderElection("e", target=target) as election:
        with pytest.raises(ElectionError):
            await election.anoint("x")


async def test_a_client_is_a_client(target: str) -> None:
    """What ``connect`` gives is a ``Client``, and its elections are ``LeaderElection`` objects."""
    async with connect(target) as client:
        assert isinstance(client, Client)
        assert isinstance(client.election("e"), LeaderElection)


async def test_a_forgotten_election_goes_on_above_what_it_had(target: str) -> None:
    """Its term and its revision never fall, for whoever looks and watches."""
    async with connect(target, session_ttl=1.0) as operator:
        election = operator.election("e", candidate_id="b")
        async with connect(target, session_ttl=1.0) as client:
            await client.election("e", candidate_id="a").enter()
            with pytest.raises(InvalidRequest, match=r"in use and .*: candidates stand in it, 1 of them"):
                await election.forget()
        async with election.events() as events:
            assert (await anext(events)).term == Term((), 1, 2)
            assert await election.forget() == await election.forget() == await election.get_term() == Term((), 1, 2)
            assert await election.enter() == Term(("b",), 2, 3)
            assert (await anext(events)).term == Term(("b",), 2, 3)


async def test_an_election_that_an_open_session_wrote_to_is_in_use(target: str) -> None:
    """Also one's own, until it ends: a late duplicate of a write would be taken for a new one."""
    async with connect(target, session_ttl=1.0) as client:
        election = client.election("e", candidate_id="a")
        await election.enter()
        await election.withdraw()
        with pytest.raises(InvalidRequest, match="1 open sessions have created it or written to it"):
            await election.forget()
    async with connect(target, session_ttl=1.0) as client:
        assert await client.election("e").forget() == Term((), 1, 2)
        assert await client.election("never-entered").forget() == Term((), 1, 2)
