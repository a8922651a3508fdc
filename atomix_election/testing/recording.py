"""Records what a client does, is told and believes, for ``testing.checker`` to judge afterwards.

docs/histories.md shows how.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import TypeVar

from atomix_election.client import Client
from atomix_election.core.campaign import Action, Answer, Campaign, Granted, StepDown
from atomix_election.core.candidacy import Place
from atomix_election.leadership import LeadershipObserver, SessionKeeper
from atomix_election.model import DEFAULT_SESSION_TTL_S, Event, EventType, Term, session_digest
from atomix_election.service import WATCH_BUFFER, Call, ElectionService, KeepAlive, Renewal
from atomix_election.testing.history import DONE, NO_TERM, Called, Gone, Led, Records, Renewed, Seen, Stood, Waited

_ResultT = TypeVar("_ResultT")


@asynccontextmanager
async def recorded(
    connecting: AbstractAsyncContextManager[Client], record: Records, *, who: str
) -> AsyncGenerator[Client]:
    """Record all that a client does from its beginning to its end, whatever its target is.

    Args:
        connecting: what ``connect`` returns.
        record: a ``History``, or a ``Recorder`` to a file where there are several processes.
        who: names the client; no other one of the history has the same name. One that ends with a dot and more belongs
            to the process of that name, see ``Gone``.
    """
    service: RecordingService | None = None
    try:
        async with connecting as client:
            service = record_keeper(client.keeper, record, who=who)
            yield client
    finally:
        if service is not None:
            record(Gone(who, service.longest_ttl_s, record.now()))


def record_keeper(keeper: SessionKeeper, record: Records, *, who: str) -> "RecordingService":
    """Record all that goes through the keeper of a client's session, from now on: before it is used.

    Args:
        keeper: of the session.
        record: where the records go.
        who: the client; see ``recorded``, which does this and records the end as well.
    """
    service = keeper.service = RecordingService(keeper.service, record, who)
    keeper.observer = LeadershipRecorder(keeper, record, who)
    return service


class RecordingService:
    """An election service that records each call of it, each event and each renewal, and hands all on to another one.

    Args:
        service: where the elections are, in this process or at the other end of a network.
        record: where the records go.
        who: the client that uses it; see ``recorded``.
    """

    def __init__(self, service: ElectionService, record: Records, who: str) -> None:
        self._service = service
        self._record = record
        self._who = who
        self._numbers = count(1)
        self._granted_s: float | None = None

    @property
    def longest_ttl_s(self) -> float:
        """The longest time-to-live that a session of the client has had; the default as long as none was granted."""
        return DEFAULT_SESSION_TTL_S if self._granted_s is None else self._granted_s

    @asynccontextmanager
    async def keep_alive(self, namespace: str, session: str) -> AsyncGenerator[KeepAlive]:
        """See ``ElectionService.keep_alive``."""
        async with self._service.keep_alive(namespace, session) as stream:
            yield _RecordedKeepAlive(stream, self._record, self._who, session_digest(namespace, session))

    def session_granted(self, ttl_s: float) -> None:
        """See ``ElectionService.session_granted``."""
        self._granted_s = max(ttl_s, self._granted_s or 0.0)
        self._service.session_granted(ttl_s)

    async def end_session(self, namespace: str, session: str) -> None:
        """See ``ElectionService.end_session``."""
        called = self._called("end_session", "", "", session_digest(namespace, session), None)
        await self._carry_out(called, self._service.end_session(namespace, session))

    async def create(self, call: Call) -> None:
        """See ``ElectionService.create``."""
        await self._call("create", call, "", self._service.create(call))

    async def close(self, call: Call) -> None:
        """See ``ElectionService.close``."""
        await self._call("close", call, "", self._service.close(call))

    async def enter(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.enter``."""
        return await self._call("enter", call, candidate_id or call.session, self._service.enter(call, candidate_id))

    async def withdraw(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.withdraw``."""
        candidate = candidate_id or call.session
        return await self._call("withdraw", call, candidate, self._service.withdraw(call, candidate_id))

    async def anoint(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.anoint``."""
        return await self._call("anoint", call, candidate_id, self._service.anoint(call, candidate_id))

    async def promote(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.promote``."""
        return await self._call("promote", call, candidate_id, self._service.promote(call, candidate_id))

    async def evict(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.evict``."""
        return await self._call("evict", call, candidate_id, self._service.evict(call, candidate_id))

    async def forget(self, call: Call) -> Term:
        """See ``ElectionService.forget``."""
        return await self._call("forget", call, "", self._service.forget(call))

    async def get_term(self, call: Call) -> Term:
        """See ``ElectionService.get_term``."""
        return await self._call("get_term", call, "", self._service.get_term(call))

    @asynccontextmanager
    async def events(self, call: Call, *, buffer: int = WATCH_BUFFER) -> AsyncGenerator[AsyncIterator[Event]]:
        """See ``ElectionService.events``."""
        seen = Seen(f"{self._who} {next(self._numbers)}", call.election, self._record.now(), 0.0, NO_TERM)
        async with self._service.events(call, buffer=buffer) as events:
            yield _RecordedEvents(events, self._record, seen)

    async def _call(self, what: str, call: Call, candidate: str, answer: Awaitable[_ResultT]) -> _ResultT:
        session = session_digest(call.namespace, call.session) if call.session else ""
        return await self._carry_out(self._called(what, call.election, candidate, session, call.operation), answer)

    def _called(self, what: str, election: str, candidate: str, session: str, operation: int | None) -> Called:
        begun = self._record.now()
        return Called(self._who, what, election, candidate, begun, session, operation, next(self._numbers))

    async def _carry_out(self, called: Called, answer: Awaitable[_ResultT]) -> _ResultT:
        """Wait for the answer to a call; nothing of it has been done before."""
        self._record(called)
        try:
            result = await answer
        except BaseException as error:
            self._record(called.answered(self._record.now(), type(error).__name__))
            raise
        term = result if isinstance(result, Term) else NO_TERM
        self._record(called.answered(self._record.now(), DONE, term))
        return result


class _RecordedEvents:
    """The events of a watch."""

    def __init__(self, events: AsyncIterator[Event], record: Records, seen: Seen) -> None:
        self._events = events
        self._record = record
        self._seen = seen

    def __aiter__(self) -> "_RecordedEvents":
        return self

    async def __anext__(self) -> Event:
        seen, since = self._seen, self._record.now()
        try:
            event = await anext(self._events)
        except BaseException:
            self._record(Waited(seen.watch, seen.election, seen.begun, since, self._record.now()))
            raise
        snapshot = event.type is EventType.NONE
        at = self._record.now()
        self._record(replace(seen, at=at, term=event.term, snapshot=snapshot, skipped=event.skipped, since=since))
        return event


class _RecordedKeepAlive:
    """A stream of renewals; of the answers to one the first is recorded, as the others say nothing new of the lease."""

    def __init__(self, stream: KeepAlive, record: Records, who: str, session: str) -> None:
        self._stream = stream
        self._record = record
        self._renewed = Renewed(who, session, record.now(), 0.0, 0.0)
        self._sent: dict[int, Renewed] = {}

    @property
    def target(self) -> str:
        """See ``KeepAlive.target``."""
        return self._stream.target

    async def send(self, renewal: Renewal) -> None:
        """See ``KeepAlive.send``."""
        self._sent[renewal.renewal] = replace(
            self._renewed, begun=self._record.now(), releases=renewal.release_on_disconnect, opens=renewal.open
        )
        await self._stream.send(renewal)

    async def receive(self) -> Answer:
        """See ``KeepAlive.receive``."""
        answer = await self._stream.receive()
        sent = self._sent.get(answer.renewal)
        if sent is not None:
            self._renewed = sent
            self._sent = {number: each for number, each in self._sent.items() if number > answer.renewal}
        if sent is not None or answer.ended:
            ended = self._record.now()
            self._record(replace(self._renewed, ended=ended, ttl_s=answer.ttl_s, open=not answer.ended))
        return answer

    def give_up(self) -> None:
        """See ``KeepAlive.give_up``."""
        self._stream.give_up()

    def prefer_another(self) -> None:
        """See ``KeepAlive.prefer_another``."""
        self._stream.prefer_another()


class LeadershipRecorder(LeadershipObserver):
    """Records where a client wants to lead, and when it may do so by its own view.

    Args:
        keeper: of its session.
        record: where the records go. Its clock may be another one than the client's.
        who: the client; see ``recorded``.
    """

    def __init__(self, keeper: SessionKeeper, record: Records, who: str) -> None:
        self._keeper = keeper
        self._record = record
        self._who = who
        self._stood: dict[Place, Stood] = {}
        self._led: dict[Granted, Led] = {}
        self._deadlines: dict[Granted, float] = {}
        """By the client's own clock."""

    def wants(self, place: Place, wanted: bool) -> None:
        """See ``LeadershipObserver.wants``."""
        if wanted and place not in self._stood:
            self._stood[place] = Stood(self._who, place[0], self._record.now())
            self._record(self._stood[place])
        elif not wanted and place in self._stood:
            self._record(replace(self._stood.pop(place), until=self._record.now()))

    def stepped(self, campaign: Campaign, actions: Sequence[Action]) -> None:
        """See ``LeadershipObserver.stepped``."""
        if self._keeper.is_closing:
            for place in list(self._stood):
                self.wants(place, False)
        if not campaign.deadlines and not self._led:
            return
        now, client_now = self._record.now(), self._keeper.clock.now()
        for granted, deadline in campaign.deadlines.items():
            if granted in self._led or client_now < deadline:
                self._leads(granted, deadline, now, client_now, campaign)
        for action in actions:
            if isinstance(action, StepDown) and action.granted in self._led and not self._keeper.is_closing:
                self._led[action.granted] = replace(self._led[action.granted], lost=action.reason.name)
        for granted in [each for each in self._led if each not in campaign.deadlines]:
            led = self._led.pop(granted)
            del self._deadlines[granted]
            self._record(replace(led, until=min(now, led.deadline)))

    def _leads(self, granted: Granted, deadline: float, now: float, client_now: float, campaign: Campaign) -> None:
        led = self._led.get(granted)
        if led is None:
            assert campaign.timing is not None
            led = Led(self._who, granted.election, granted.candidate_id, granted.number, campaign.timing.ttl_s, now)
        if client_now < deadline:  # each look knows better where the two clocks differ
            led = replace(led, deadline=now + deadline - client_now)
        self._led[granted] = led
        if self._deadlines.get(granted) != deadline:
            self._deadlines[granted] = deadline
            self._record(led)
