"""The transcript of the design, section 2, through the public face."""

import anyio
import pytest

from atomix_election import CandidateTaken, ElectionError, NotACandidate, Term
from tests.face.party import Guest, Mortal, Party, until

pytestmark = pytest.mark.anyio

TRANSCRIPT = """
    enter a session=1      ->  term 1 rev 1  leader a  [a]
    enter b session=2      ->  term 1 rev 2  leader a  [a b]
    enter c session=3      ->  term 1 rev 3  leader a  [a b c]
    promote c              ->  term 1 rev 4  leader a  [a c b]
    promote c              ->  term 2 rev 5  leader c  [c a b]
    anoint b               ->  term 3 rev 6  leader b  [b c a]
    anoint b               ->  unchanged
    withdraw b session=2   ->  term 4 rev 7  leader c  [c a]
    evict c                ->  term 5 rev 8  leader a  [a]
    evict x                ->  refused: not a candidate
    enter a session=9      ->  refused: taken
    expire session=1       ->  term 5 rev 9  no leader []
    enter b session=2      ->  term 6 rev 10 leader b  [b]
"""
REFUSALS: dict[type[ElectionError], str] = {NotACandidate: "not a candidate", CandidateTaken: "taken"}


def described(term: Term) -> str:
    """Write a term as the transcript does, but for alignment."""
    leader = f"leader {term.leader}" if term.leader else "no leader"
    return f"term {term.number} rev {term.revision} {leader} [{' '.join(term.candidates)}]"


class Play:
    """Does what a line says, each session in a client of its own."""

    def __init__(self, party: Party, operator: Guest) -> None:
        self._party = party
        self._operator = operator
        self._sessions: dict[str, Guest | Mortal] = {}

    async def do(self, line: str) -> Term:
        """Carry a command out, and return the term after it."""
        verb, *rest = line.split()
        session = next((each.removeprefix("session=") for each in rest if each.startswith("session=")), None)
        if session is None:
            return await getattr(self._operator.client.election("e"), verb)(rest[0])
        if session not in self._sessions:
            expires = f"expire session={session} " in TRANSCRIPT
            self._sessions[session] = await (self._party.join_mortal() if expires else self._party.join())
        guest = self._sessions[session]
        if verb == "expire":
            return await self._expire(guest)
        return await getattr(guest, verb)(rest[0])

    async def _expire(self, guest: Guest | Mortal) -> Term:
        election = self._operator.client.election("e")
        before = await election.get_term()
        async with election.events() as events:
            await guest.leave()
            return await until(events, lambda term: term.revision > before.revision)


async def test_the_transcript_of_the_design(party: Party) -> None:
    """Each line holds, and a watcher sees exactly the changes, in order."""
    play = Play(party, await party.join())
    watcher = await party.join()
    last = ""
    seen: list[str] = []
    async with watcher.client.election("e").events() as events:
        await anext(events)
        for line in TRANSCRIPT.strip().splitlines():
            command, _, expected = line.partition("->")
            wanted = " ".join(expected.split())
            try:
                found = described(await play.do(command))
            except (NotACandidate, CandidateTaken) as error:
                found = f"refused: {REFUSALS[type(error)]}"
            assert found == (last if wanted == "unchanged" else wanted), line
            if wanted.startswith("term"):
                last = wanted
                with anyio.fail_after(2):
                    seen.append(described((await anext(events)).term))
                assert seen[-1] == wanted
    assert len(seen) == 10
