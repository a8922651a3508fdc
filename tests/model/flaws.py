"""What goes wrong without each rule: flaws planted in the protocol, and in the real campaign where it has the rule."""

from dataclasses import dataclass, field
from fractions import Fraction

from atomix_election.core.campaign import Action, Answer, Campaign, Granted
from atomix_election.model import Term
from tests.model.client import Client, Clients, Phase, Step, Use
from tests.model.messages import RATES, TTL, Kind, Write
from tests.model.parts import RIGHT, WORST, Bounds, Faults, Rates
from tests.model.servers import Servers

NEEDED_MARGIN = 1 - Fraction(min(RATES), max(RATES))
"""By which part a time-to-live is shorter by the fastest clock than by the slowest one."""


class CountsFromReceipt(Campaign):
    """Its deadline counts from when the answer came."""

    def renewed(self, answer: Answer, now: float) -> list[Action]:
        """See ``Campaign``."""
        if answer.renewal in self._sent:
            self._sent[answer.renewal] = now
        return super().renewed(answer, now)


class GoesOn(Campaign):
    """Its clock says that the deadline has passed, and it does not ask it."""

    def leads(self, election: str, candidate_id: str, now: float) -> Granted | None:
        """See ``Campaign``."""
        return self._held.get(election)


class Resumes(Campaign):
    """It leads again under a number that it gave up, when an answer names it."""

    def _give_up(self, granted: Granted) -> None:
        pass


class ConfirmsTooSoon(Campaign):
    """It confirms that it has stepped down while its work goes on."""

    def _confirmable(self) -> set[Granted]:
        return set(self._revoked)


class WithdrawsTooSoon(Clients):
    """They withdraw when they begin to step down, and not when their work has ended."""

    def look(self, client: Client) -> Step:
        """See ``Clients``."""
        step = super().look(client)
        steps_down = client.field("_held") and not step.client.field("_held")
        if step.client.phase is not Phase.WORKING or not steps_down or step.client.field("over"):
            return step
        after = step.client._replace(operation=client.operation + 1)
        return Step(after, (*step.sent, Write(client.name, client.session, after.operation, Kind.WITHDRAW)))


class ForgetsWithdrawals(Campaign):
    """It leads again although a withdrawal that it waits for no longer may still arrive."""

    def may_still_leave(self, election: str, candidate_id: str) -> None:
        """See ``Campaign``."""


class IgnoresTerms(Campaign):
    """It takes no notice of the terms that come with replies."""

    def term_seen(self, election: str, term: Term) -> list[Action]:
        """See ``Campaign``."""
        return []


@dataclass(frozen=True)
class Flaw:
    """A rule that is left out, and where that shows.

    Args:
        name: what is wrong.
        bounds: what has to happen.
        clients: with the flaw, where it is theirs.
        servers: with the flaw, where it is theirs.
        margin: part of the time-to-live; None for that of the code.
    """

    name: str
    bounds: Bounds
    clients: Clients = field(default_factory=Clients)
    servers: Servers = field(default_factory=Servers)
    margin: Fraction | None = None


def _bounds(
    *, rates: Rates = RIGHT, renewals: int = 2, sessions: int = 1, terms: int = 3, timeless: bool = False, **faults: int
) -> Bounds:
    return Bounds(Faults(**faults), (rates,), renewals, sessions, terms, timeless=timeless)


FLAWS = (
    Flaw("there is no margin", _bounds(rates=WORST), margin=Fraction(0)),
    Flaw("the margin is one tick too small", _bounds(rates=WORST), margin=NEEDED_MARGIN - Fraction(1, TTL)),
    Flaw("the deadline counts from the receipt of the answer", _bounds(pauses=1), Clients(CountsFromReceipt)),
    Flaw("a client goes on after its deadline", _bounds(), Clients(GoesOn)),
    Flaw(
        "a client resumes a number that it gave up",
        _bounds(timeless=True, commands=1, cuts=1, renewals=3),
        Clients(Resumes, Use.IS_LEADER),
    ),
    Flaw("a client withdraws before its work has ended", _bounds(pauses=1), WithdrawsTooSoon()),
    Flaw("a client confirms before its work has ended", _bounds(commands=1), Clients(ConfirmsTooSoon)),
    Flaw(
        "a client ignores the terms in replies",
        _bounds(timeless=True, departures=2, cuts=2, terms=4),
        Clients(IgnoresTerms),
    ),
    Flaw(
        "a new leader does not wait for the displaced one",
        _bounds(commands=1),
        servers=Servers(waits_for_displaced=False),
    ),
    Flaw("a restart ends the waiting", _bounds(commands=1, restarts=1, cuts=1), servers=Servers(waits_anew=False)),
    Flaw("a restart leaves sessions half of their time", _bounds(restarts=1), servers=Servers(restored_ttl=TTL // 2)),
    Flaw(
        "the server admits clients as soon as it was restored",
        _bounds(restores=1, sessions=2),
        servers=Servers(holds=False),
    ),
    Flaw("a restored server gives tokens again", _bounds(restores=1, sessions=2), servers=Servers(keeps_tokens=False)),
    Flaw(
        "a late duplicate of a write is carried out",
        _bounds(timeless=True, departures=1, duplicates=1, commands=1, terms=4),
        servers=Servers(checks_operations=False),
    ),
    Flaw(
        "a client forgets a Withdraw that it waits for no longer",
        _bounds(timeless=True, commands=2, given_up=1, terms=4),
        Clients(ForgetsWithdrawals),
    ),
)
"""Rules that are left out, each of which is missed."""
