"""What a client stands for: which of its candidates are to be in a queue, and what each needs next.

It lasts as long as the client, whatever becomes of its sessions. It is told what happened and when. Its laws:

1. One at a time leads or waits to lead for a candidate.
2. A candidate that was entered, and one that waits to lead, stays in the queue: it enters again with each new session,
   and one that waits also after an eviction.
3. A leadership that comes to a candidate which nobody wants is given back, so that the next one leads.
4. Who waits to lead tries on while its id is taken for as long as a takeover takes, as its owner may be dead.
"""

from atomix_election.errors import InvalidRequest
from atomix_election.model import Term

Place = tuple[str, str]
"""An election and a candidate in it."""


class Candidacies:
    """The candidates of one client."""

    def __init__(self) -> None:
        self._entered: set[Place] = set()
        self._standing: dict[Place, bool] = {}
        self._returning: set[Place] = set()

    def enter(self, place: Place) -> bool:
        """The candidate is to be in the queue until ``withdraw``; return whether that is new."""
        is_new = place not in self._entered
        self._entered.add(place)
        return is_new

    def withdraw(self, place: Place) -> None:
        """The candidate is not to be in the queue any more, but for one that leads or waits to lead."""
        self._entered.discard(place)

    def is_entered(self, place: Place) -> bool:
        """Return whether it was entered and not withdrawn."""
        return place in self._entered

    def stand(self, place: Place) -> None:
        """Somebody begins to wait for the lead.

        Raises:
            InvalidRequest: somebody leads or waits to lead for this candidate already (law 1).
        """
        if place in self._standing:
            raise InvalidRequest(f"{place[1]!r} leads or waits to lead {place[0]!r} already: one at a time")
        self._standing[place] = True

    def leave(self, place: Place) -> None:
        """Who led or waited is done, and its candidate is about to be withdrawn."""
        self._standing[place] = False
        self._entered.discard(place)

    def left(self, place: Place) -> None:
        """Its candidate has left the queue, or is left to the end of the session."""
        del self._standing[place]

    def to_enter_again(self) -> list[Place]:
        """Return what is to be entered with a new session (law 2); who waits to lead enters by itself."""
        return sorted(self._entered - self._standing.keys())

    def is_claimed(self, place: Place) -> bool:
        """Return whether a leadership of the candidate is wanted by anybody (law 3)."""
        return place in self._entered or place in self._standing

    def is_wanted(self, place: Place) -> bool:
        """Return whether the candidate is to be in the queue, and not about to leave it."""
        return place in self._entered or self._standing.get(place, False)

    def give_back(self, place: Place) -> bool:
        """Begin to give a leadership back; return False where its candidate is leaving already."""
        if place in self._returning or self._standing.get(place) is False:
            return False
        self._returning.add(place)
        return True

    def given_back(self, place: Place) -> None:
        """The leadership was given back, or could not be yet."""
        self._returning.discard(place)


class Candidacy:
    """One candidate that waits to lead.

    Args:
        candidate_id: its id.
    """

    def __init__(self, candidate_id: str) -> None:
        self._candidate_id = candidate_id
        self._session_id = ""
        self._entered = Term()
        self._seen = Term()
        self._taken_since: float | None = None

    @property
    def newest(self) -> Term:
        """The newest term that is known."""
        return max(self._entered, self._seen, key=lambda term: term.revision)

    def must_enter(self, session_id: str) -> bool:
        """Return whether it has to enter now: at first, with a new session, after an eviction (law 2)."""
        if session_id != self._session_id:
            self._seen = Term()  # the store may be another one, whose revisions start anew
            return True
        return self._seen.revision > self._entered.revision and self._candidate_id not in self._seen.candidates

    def entered(self, session_id: str, term: Term) -> None:
        """It was entered with this session, and that is the term after it."""
        self._session_id = session_id
        self._entered = term
        self._taken_since = None

    def seen(self, term: Term) -> None:
        """A term was seen."""
        self._seen = term

    def taken(self, now: float, longest_failover_s: float) -> bool:
        """Its id was found taken; return whether to try again (law 4)."""
        if self._taken_since is None:
            self._taken_since = now
        return now <= self._taken_since + longest_failover_s
