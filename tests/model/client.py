"""A client of the model: the real campaign, and around it what the shell does with what the campaign decides."""

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from atomix_election.core.campaign import Action, Answer, Campaign, GiveBack, Granted, Renew, StartLeading
from atomix_election.errors import LossReason
from atomix_election.model import Term
from tests.model.frozen import FIELDS, Frozen, freeze, thaw
from tests.model.messages import ELECTION, TICKS_PER_S, Kind, Renewal, ToServer, Write

_PLACES = {name: place for place, name in enumerate(FIELDS)}


class Phase(Enum):
    """What the user of a client does, who leads again and again, as ``run`` does."""

    OUT = "has no place in the queue"
    ENTERING = "waits for the reply to Enter"
    STANDING = "waits for the lead"
    WORKING = "works"
    LEAVING = "waits for the reply to Withdraw"


class Client(NamedTuple):
    """One client.

    Args:
        name: one letter, also the id of its candidate.
        session: the how manieth session it has.
        operation: number of its last write in this session.
        phase: what its user does.
        campaign: frozen.
    """

    name: str
    session: int
    operation: int
    phase: Phase
    campaign: Frozen

    def field(self, name: str) -> Any:
        """Return a field of the campaign."""
        return self.campaign[_PLACES[name]]


class Step(NamedTuple):
    """What a client does: how it is afterwards, and what it sends."""

    client: Client
    sent: tuple[ToServer, ...] = ()


class Use(Enum):
    """How clients learn that they lead."""

    LEAD = "by lead() alone: they act as long as its block goes on and its deadline has not come"
    EITHER = "by lead(), and they ask is_leader too, also while they enter or leave"
    IS_LEADER = "by is_leader alone: there is no work that is waited for"


class Clients:
    """What clients can do, each from its frozen state.

    Args:
        kind: the class of their campaigns.
        use: how they learn that they lead.
    """

    def __init__(self, kind: type[Campaign] = Campaign, use: Use = Use.EITHER) -> None:
        self._kind = kind
        self._use = use

    def new(self, name: str, session: int = 1) -> Client:
        """Return a client that has not connected yet."""
        return Client(name, session, 0, Phase.OUT, freeze(self._kind()))

    def connect(self, client: Client) -> Step:
        """It has a stream, for a new session if need be: see ``SessionKeeper._keep_sessions``."""
        if client.field("over"):
            client = self.new(client.name, client.session + 1)
        return self._do(client, lambda campaign: campaign.connected(0))

    def disconnect(self, client: Client) -> Step:
        """Its stream is gone."""
        return self._do(client, lambda campaign: campaign.disconnected())

    def look(self, client: Client) -> Step:
        """It looks at its clock."""
        return self._do(client, lambda campaign: campaign.tick(0))

    def hear(self, client: Client, answer: Answer) -> Step:
        """An answer comes; the first one opens the session, and then it enters the queue."""
        return self._do(client, lambda campaign: campaign.renewed(answer, 0))

    def replied(self, client: Client, term: Term | None) -> Step:
        """The write that it waits for was carried out, or its session has ended: see ``SessionKeeper.write``."""

        def act(campaign: Campaign) -> list[Action]:
            actions = campaign.ended(LossReason.SESSION_ENDED) if term is None else campaign.term_seen(ELECTION, term)
            if client.phase is Phase.LEAVING:
                campaign.left(ELECTION, client.name)
            campaign.written(ELECTION)
            return actions

        return self._do(client, act, Phase.STANDING if client.phase is Phase.ENTERING else Phase.OUT)

    def give_up_leaving(self, client: Client) -> Step:
        """It waits for the reply to Withdraw no longer: see ``LEAVE_TIMEOUT_S``."""

        def act(campaign: Campaign) -> list[Action]:
            campaign.left(ELECTION, client.name)
            campaign.may_still_leave(ELECTION, client.name)
            return []

        return self._do(client, act, Phase.OUT)

    def learn_removal(self, client: Client) -> Step:
        """It sees a term without itself, and enters again: see ``Candidacy.must_enter``."""
        return self._do(client, lambda _: [], Phase.OUT)

    def end_work(self, client: Client) -> Step:
        """Its work ends, and it leaves the queue if it may: see ``SessionKeeper.work_ended``."""
        (granted,) = client.field("_working")
        campaign = thaw(client.campaign, self._kind)
        sent = self._sent(client, campaign, campaign.tick(0))
        may_withdraw = campaign.over is None
        sent += self._sent(client, campaign, campaign.work_ended(granted, 0))
        client = client._replace(campaign=freeze(campaign), phase=Phase.OUT)
        return self._leave(client, sent) if may_withdraw else Step(client, tuple(sent))

    def acting(self, client: Client) -> Granted | None:
        """Return the leadership under which it acts at this moment, by its own clock, rightly or not.

        That is as long as it is told that it leads; and where work was told to stop, until it has ended or its deadline
        has come. What goes on after that nobody can stop: it is for the token.
        """
        campaign = thaw(client.campaign, self._kind)
        deadlines = dict(client.field("_deadlines"))
        working = [granted for granted in client.field("_working") if deadlines[granted] > 0]
        leads = campaign.leads(ELECTION, client.name, 0)
        if self._use is Use.LEAD and leads not in client.field("_working"):
            leads = None
        return leads or (working[0] if working else None)

    def due_in(self, client: Client) -> list[float]:
        """Return in how many ticks of its clock its deadlines come."""
        return [deadline for _, deadline in client.field("_deadlines") if deadline > 0]

    def steps_down_in(self, client: Client) -> list[float]:
        """Return in how many ticks of its clock it begins to step down, if it looks at it then."""
        timing = client.field("timing")
        starts = [deadline - timing.grace_s * TICKS_PER_S for _, deadline in client.field("_deadlines")]
        return [start for start in starts if start > 0]

    def _do(self, client: Client, act: Callable[[Campaign], list[Action]], phase: Phase | None = None) -> Step:
        """Let something happen to the campaign, and do what it decides, and what its user does then."""
        campaign = thaw(client.campaign, self._kind)
        actions = act(campaign)
        sent = self._sent(client, campaign, actions)
        client = client._replace(phase=phase or client.phase)
        leads = campaign.leads(ELECTION, client.name, 0)
        if client.phase is Phase.STANDING and leads is not None and self._use is not Use.IS_LEADER:
            campaign.work_began(leads)
            client = client._replace(phase=Phase.WORKING)
        client = client._replace(campaign=freeze(campaign))
        if campaign.over is not None:
            return Step(client if campaign.working else client._replace(phase=Phase.OUT), tuple(sent))
        if client.phase is Phase.STANDING and any(isinstance(action, GiveBack) for action in actions):
            return self._leave(client, sent)
        if client.phase is Phase.OUT and campaign.timing is not None:
            return self._write(client, Kind.ENTER, Phase.ENTERING, sent)
        return Step(client, tuple(sent))

    def _sent(self, client: Client, campaign: Campaign, actions: list[Action]) -> list[ToServer]:
        """Return the renewals among the actions as they are sent; before the first answer they open the session."""
        opens = campaign.timing is None
        renews = [action for action in actions if isinstance(action, Renew)]
        return [Renewal(client.name, client.session, each.renewal, opens, each.stepped_down) for each in renews]

    def _leave(self, client: Client, sent: list[ToServer]) -> Step:
        campaign = thaw(client.campaign, self._kind)
        actions = campaign.leaving(ELECTION, client.name)
        assert not any(isinstance(action, Renew | StartLeading) for action in actions)
        return self._write(client._replace(campaign=freeze(campaign)), Kind.WITHDRAW, Phase.LEAVING, sent)

    def _write(self, client: Client, kind: Kind, phase: Phase, sent: list[ToServer]) -> Step:
        client = client._replace(operation=client.operation + 1, phase=phase)
        return Step(client, (*sent, Write(client.name, client.session, client.operation, kind)))
