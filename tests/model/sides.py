"""What can happen to one side of the world, client or server, whatever goes on elsewhere.

The same sides come up in very many states, so all that is found out about one is remembered.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from atomix_election.core.commands import Anoint, Evict
from tests.model.client import Client, Clients, Phase, Step
from tests.model.frozen import later
from tests.model.messages import Answered, Message, Renewal, Replied, ToClient, ToServer, Write
from tests.model.parts import Bounds, Label, One, Pool, Side
from tests.model.server import Reaction, Server
from tests.model.servers import Servers


class Turn(NamedTuple):
    """What a client can do: how its side is afterwards, and which fault that is, if any."""

    label: Label
    side: One[Side]
    fault: str


class ServerTurn(NamedTuple):
    """What the server can do: how it is afterwards, what it sends, and which fault that is, if any."""

    label: Label
    server: One[Server]
    sent: tuple[ToClient, ...]
    fault: str = ""


class Sides:
    """The sides of clients, each with the messages between it and the server."""

    def __init__(self, bounds: Bounds, clients: Clients) -> None:
        self._bounds = bounds
        self._clients = clients
        self.one: Pool[Side] = Pool()
        self.turns = cache(self._turns)
        self.outbox = cache(self._outbox)
        self.sent_to = cache(self._sent_to)
        self.without = cache(self._without)
        self.removed = cache(self._removed)
        self.later = cache(self._later)
        self.acting = cache(lambda side: self._clients.acting(side.value.client))
        self.due_in = cache(lambda side, rate: instants(self._clients.due_in(side.value.client), rate))
        self.steps_down_in = cache(lambda side, rate: instants(self._clients.steps_down_in(side.value.client), rate))

    def _turns(self, side: One[Side]) -> list[Turn]:
        """Return what the client can do, and hear."""
        client, mail = side.value
        steps = [(Label(client.name, what), step, mail, fault) for what, step, fault in self._steps(client)]
        for message in _in_order(mail):
            if isinstance(message, Answered | Replied):
                label, step = Label(client.name, "gets", message), self._heard(client, message)
                steps += [(label, step, mail - {message}, ""), (label, step, mail, "duplicates")]
        return [
            Turn(label, self._posted(step.client, rest.union(step.sent)), fault)
            for label, step, rest, fault in steps
            if step.client != client and self._has_room(step.client)
        ]

    def _steps(self, client: Client) -> Iterator[tuple[str, Step, str]]:
        """Say what the client can do, and which fault that is."""
        over = client.field("over") is not None
        if client.phase is Phase.WORKING:
            held = dict(client.field("_held")).values()
            goes_on = any(granted in held for granted in client.field("_working"))
            yield "ends its work", self._clients.end_work(client), "departures" if goes_on else ""
        elif over:
            yield "begins another session", self._clients.connect(client), ""
        if over:
            return
        yield "looks at its clock", self._clients.look(client), ""
        if client.field("_connected"):
            yield "loses its connection", self._clients.disconnect(client), "cuts"
        else:
            yield "connects", self._clients.connect(client), ""
        if client.phase is Phase.LEAVING:
            yield "waits for the reply to its Withdraw no longer", self._clients.give_up_leaving(client), "given_up"

    def _heard(self, client: Client, message: ToClient) -> Step:
        if isinstance(message, Answered):
            return self._clients.hear(client, message.answer)
        return self._clients.replied(client, message.term)

    def _has_room(self, client: Client) -> bool:
        return client.field("_renewal") <= self._bounds.renewals and client.session <= self._bounds.sessions

    def _outbox(self, side: One[Side]) -> list[tuple[Label, ToServer]]:
        """Return what is under way to the server."""
        messages = [message for message in _in_order(side.value.mail) if isinstance(message, Renewal | Write)]
        return [(Label("the server", "gets", message), message) for message in messages]

    def _sent_to(self, side: One[Side], sent: tuple[ToClient, ...]) -> One[Side]:
        """Return the side with what the server has sent to it."""
        client, mail = side.value
        return self._posted(client, mail.union(message for message in sent if message.client == client.name))

    def _without(self, side: One[Side], message: ToServer) -> One[Side]:
        """Return the side without a message that has come to the server."""
        client, mail = side.value
        return self.one(Side(client, mail - {message}))

    def _removed(self, side: One[Side]) -> One[Side] | None:
        """Return the side when its client has seen that it is not in the queue; None where it does not look."""
        client, mail = side.value
        if client.phase is not Phase.STANDING:
            return None
        step = self._clients.learn_removal(client)
        return self._posted(step.client, mail.union(step.sent))

    def _later(self, side: One[Side], ticks: int) -> One[Side]:
        """Return the side when so many ticks of its clock have passed."""
        client, mail = side.value
        return self.one(Side(client._replace(campaign=later(client.campaign, ticks)), mail))

    def _posted(self, client: Client, mail: frozenset[Message]) -> One[Side]:
        """Return a side without the messages that nobody would listen to any more."""
        return self.one(Side(client, frozenset(message for message in mail if _is_listened_to(client, message))))


class ServerSide:
    """The server, and what operators do with it."""

    def __init__(self, bounds: Bounds, servers: Servers) -> None:
        self._bounds = bounds
        self._servers = servers
        self.one: Pool[Server] = Pool()
        self.turns = cache(self._turns)
        self.reaction = cache(self._reaction)
        self.due_in = cache(lambda server, rate: instants(server.value.due_in(), rate))
        self.names = cache(lambda server: {each.id for each in server.value.queue})
        self.later = cache(lambda server, ticks: self.one(self._servers.later(server.value, ticks)))

    def _turns(self, server: One[Server]) -> list[ServerTurn]:
        """Return what the server does by itself, and what operators do with it."""
        now, servers = server.value, self._servers
        others = [(f"is told to anoint {each.id}", Anoint(each.id)) for each in now.queue[1:]]
        leader = [(f"is told to evict {each.id}", Evict(each.id)) for each in now.queue[:1]]
        turns = [
            ("ends sessions", servers.expire(now), ""),
            ("waits for the displaced no longer", servers.end_waits(now), ""),
            *((what, servers.operate(now, command), "commands") for what, command in others + leader),
            ("starts anew", servers.restart(now), "restarts"),
            ("starts anew with a backup", servers.restore(now), "restores"),
        ]
        return [
            ServerTurn(Label("the server", what), self.one(reaction.server), reaction.sent, fault)
            for what, reaction, fault in turns
            if reaction.server != now and self._has_room(reaction)
        ]

    def _reaction(self, server: One[Server], message: ToServer) -> tuple[One[Server], tuple[ToClient, ...]] | None:
        """Return what the server does with a message; None where that is nothing: then it may come again later."""
        if isinstance(message, Renewal):
            reaction = self._servers.renew(server.value, message)
        else:
            reaction = self._servers.write(server.value, message)
        if (reaction.server == server.value and not reaction.sent) or not self._has_room(reaction):
            return None
        return self.one(reaction.server), reaction.sent

    def _has_room(self, reaction: Reaction) -> bool:
        server = reaction.server
        most_opened = self._bounds.sessions * (len(self._bounds.rates[0]) - 1)
        return server.number - server.floor <= self._bounds.terms and server.opened <= most_opened


def instants(ticks: Iterable[float], rate: int) -> list[int]:
    """Return after how many instants so many ticks of a clock have passed, or a bit more, the least first."""
    return sorted({int(-(-each // rate)) for each in ticks})


def _in_order(mail: frozenset[Message]) -> list[Message]:
    """Return messages in an order that is the same in each run, so that the same way to a fault is shown."""
    return sorted(mail, key=repr)


def _is_listened_to(client: Client, message: Message) -> bool:
    if isinstance(message, Renewal | Write):
        return True
    if message.session != client.session or client.field("over") is not None:
        return False
    if isinstance(message, Answered):
        return message.answer.renewal in dict(client.field("_sent"))
    return client.phase in {Phase.ENTERING, Phase.LEAVING} and message.operation == client.operation
