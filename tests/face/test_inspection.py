"""Looking at elections, in memory and over gRPC alike."""

from datetime import UTC, datetime, timedelta

import anyio
import pytest

from atomix_election import ElectionDescription, ElectionSummary, InvalidRequest, LeadershipLost, SessionKind, connect
from atomix_election.model import session_digest
from atomix_election.service import MAX_PAGE_SIZE, Call
from tests.face.faces import ON_ETCD
from tests.face.party import TTL_S, Party, open_bare

pytestmark = pytest.mark.anyio

CLOCK_TOLERANCE = timedelta(seconds=20)
"""Of a slow machine; the clock is the same on both sides."""


def is_recent(when: datetime | None) -> bool:
    """Return whether something happened just now, by the wall clock."""
    return when is not None and abs(datetime.now(UTC) - when) < CLOCK_TOLERANCE


async def names(target: str, page_size: int) -> list[str]:
    """Return the elections that are listed."""
    async with connect(target) as client:
        return [each.name async for each in client.list_elections(page_size=page_size)]


async def test_a_list_has_every_election_once_and_in_order(target: str, party: Party) -> None:
    """Whatever the size of the pages, and those of other namespaces are not in it."""
    guest = await party.join()
    wanted = [f"e{number}" for number in (3, 1, 12, 2, 7)]
    for name in wanted:
        await guest.enter("a", name)
    async with connect(target, namespace="elsewhere") as other, other.election("hidden", candidate_id="x") as hidden:
        await hidden.enter()
        for page_size in (1, 2, 5, 100):
            assert await names(target, page_size) == sorted(wanted)
    await guest.enter("a", "e0")
    assert await names(target, 2) == sorted([*wanted, "e0"])


async def test_a_list_says_who_leads(target: str, party: Party) -> None:
    """And how many stand; what nobody leads any more is listed too."""
    guest = await party.join()
    await guest.enter("a", "led")
    await guest.enter("b", "led")
    await guest.enter("a", "left")
    await guest.withdraw("a", "left")
    async with connect(target) as client:
        led, left = [each async for each in client.list_elections()]
    assert is_recent(led.began_at)
    assert led == ElectionSummary("led", "a", 2, 1, 2, led.began_at)
    assert left == ElectionSummary("left", None, 0, 1, 2, None)


async def test_nothing_to_list(target: str) -> None:
    """No page, no error."""
    assert await names(target, 10) == []


async def test_pages_are_bounded_and_tokens_are_checked(target: str) -> None:
    """A page without room and an invented token are refused; too large a page is cut down."""
    async with open_bare(target) as service:
        assert (await service.list_elections("default", page_size=MAX_PAGE_SIZE + 1)).elections == ()
        with pytest.raises(InvalidRequest, match="no room"):
            await service.list_elections("default", page_size=0)
        for token in ("invented", "e0", "Zm9v", "YWZ0ZXI6", "é"):
            with pytest.raises(InvalidRequest, match="page token"):
                await service.list_elections("default", page_token=token)
        with pytest.raises(InvalidRequest, match="namespace"):
            await service.list_elections("a\nb")


async def test_a_description_has_everybody_in_order(target: str, party: Party, face: str) -> None:
    """With what keeps the session, how long it lasts, and when it came; and a term as everywhere."""
    renewing, bare = await party.join(), await party.join_mortal()
    await renewing.enter("a")
    await bare.enter("b")
    async with connect(target) as client:
        election = client.election("e")
        description = await election.describe()
        assert description.term == await election.get_term()
    assert is_recent(description.began_at)
    first, second = description.candidates
    assert (first.id, first.session.kind, first.session.ttl_s) == ("a", SessionKind.RENEWALS, TTL_S)
    assert first.session.lease_left_s is not None
    least_s = -1 if face in ON_ETCD else 0  # etcd tells whole seconds
    assert least_s < first.session.lease_left_s <= TTL_S
    assert (second.id, second.session.kind) == ("b", SessionKind.CONNECTIONS)
    assert (second.session.lease_left_s is None) == (face != "etcd")  # there the connection is to another engine
    assert all(is_recent(each.entered_at) for each in description.candidates)
    for each in description.candidates:
        assert each.session.peer.startswith("127.0.0.1:") if "grpc" in face else each.session.peer == ""
    await bare.leave()
    async with connect(target) as client:
        left_s = (await client.election("e").describe()).candidates[1].session.lease_left_s
    assert left_s is not None
    assert least_s < left_s <= TTL_S


async def test_a_description_has_a_digest_and_never_the_id(target: str) -> None:
    """Whoever knows the id could act for the session."""
    secret = "a-secret-session-id"
    async with open_bare(target) as service:
        call = Call("e", session=secret)
        await service.create(call)
        await service.enter(call, "a")
        description = await service.describe(Call("e"))
    assert secret not in repr(description)
    assert description.candidates[0].session.digest == session_digest("default", secret)


async def test_who_is_waited_for_is_described(target: str, party: Party) -> None:
    """From an operator's command until the former leader's client confirms that it stepped down."""
    guest = await party.join()
    seen: list[ElectionDescription] = []

    async def lead_and_be_displaced() -> None:
        async with open_bare(target) as service, guest.client.election("e", candidate_id="a").lead() as leadership:
            await guest.enter("b")
            with anyio.CancelScope(shield=True):  # the block goes on for a moment, so that there is something to see
                await service.anoint(Call("e"), "b")
                seen.append(await service.describe(Call("e")))
                await leadership.lost.wait()

    with pytest.raises(LeadershipLost):
        await lead_and_be_displaced()
    (description,) = seen
    assert description.term.leader == "b"
    (displaced,) = description.displaced
    assert (displaced.id, displaced.number) == ("a", 1)
    assert displaced.session.digest == description.candidates[1].session.digest


async def test_an_election_that_nobody_entered(target: str) -> None:
    """Is empty, as its term is."""
    async with connect(target) as client:
        description = await client.election("nobody").describe()
    assert (description.term.number, description.candidates, description.began_at) == (0, (), None)
