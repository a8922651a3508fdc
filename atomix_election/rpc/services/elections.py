"""The published service, ``atomix.election.v1.LeaderElection``."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

import betterproto2

from atomix_election.core.commands import Anoint, CandidateCommand, Enter, Evict, Promote, Withdraw
from atomix_election.model import Event, Term
from atomix_election.rpc import wire
from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc.call import STORE_KEY, ServerCall, call_of
from atomix_election.rpc.frames import frame
from atomix_election.rpc.hot_messages import candidate_id_of, event_bytes, term_response_bytes
from atomix_election.rpc.methods import ELECTION_METHODS
from atomix_election.rpc.services.base import QuickAnswer, ServedConnection, ServedMethod
from atomix_election.service import Call, ElectionService, Pending

_COMMANDS: dict[str, type[CandidateCommand]] = {
    "Enter": Enter,
    "Withdraw": Withdraw,
    "Anoint": Anoint,
    "Promote": Promote,
    "Evict": Evict,
}
"""What a method asks of the election about the one candidate that its request names."""


def _registration(
    name: str, register: Callable[[ElectionService, Call], Awaitable[None]], response: type[betterproto2.Message]
) -> ServedMethod:
    """Return a method that is answered by an empty message."""
    method = ELECTION_METHODS[name]

    async def serve(service: ServedConnection, call: ServerCall) -> None:
        about = call_of(call.headers)
        await call.read(method.request)
        await register(service, about)
        await call.send(response)

    return ServedMethod(method, serve, writes=True)


def _command(name: str, ask: Callable[[ElectionService, Call, str], Awaitable[Term]]) -> ServedMethod:
    """Return a method that commands, and is answered by the term after that."""
    method, command = ELECTION_METHODS[name], _COMMANDS[name]

    async def serve(service: ServedConnection, call: ServerCall) -> None:
        about = call_of(call.headers)
        request = cast("v1.EnterRequest", await call.read(method.request))
        term = await ask(service, about, request.candidate_id)
        await call.send_framed(lambda: frame(_response(term)))

    def begin(service: ServedConnection, call: Call, data: bytes) -> Pending | None:
        return service.submit_now(call, command, candidate_id_of(data, method.request))

    return ServedMethod(method, serve, writes=True, quick=QuickAnswer(begin, _response))


async def _get_term(service: ServedConnection, call: ServerCall) -> None:
    about = call_of(call.headers)
    await call.read(v1.GetTermRequest)
    term = await service.get_term(about)
    await call.send_framed(lambda: frame(_response(term)))


def _get_term_now(service: ServedConnection, call: Call, data: bytes) -> Term | None:
    wire.decode(data, v1.GetTermRequest)
    return service.read_now(call)


def _response(term: Term) -> bytes:
    """Return what answers a command or a question: all of these messages have a term, and nothing else."""
    return term_response_bytes(term)


async def _events(service: ServedConnection, call: ServerCall) -> None:
    """Send the events of an election until somebody ends the watch."""
    about = call_of(call.headers)
    await call.read(v1.EventsRequest)
    call.add_header(STORE_KEY, service.store_id)
    async with service.events(about) as events:
        events.offer_to(lambda event: call.send_now(_encoded.message(event)))
        async for event in events:
            await call.send_framed(partial(_encoded.message, event))


class EncodedOnce:
    """Encodes events, of which each goes to all who watch an election, one after the other."""

    def __init__(self) -> None:
        self._newest: tuple[Event | None, bytes] = None, b""

    def message(self, event: Event) -> bytes:
        """Return the message of an event with its prefix."""
        newest, message = self._newest
        if event is not newest:
            message = frame(event_bytes(event))
            self._newest = event, message
        return message


_encoded = EncodedOnce()

METHODS = (
    _registration("Create", lambda service, call: service.create(call), v1.CreateResponse),
    _registration("Close", lambda service, call: service.close(call), v1.CloseResponse),
    _command("Enter", lambda service, call, candidate_id: service.enter(call, candidate_id)),
    _command("Withdraw", lambda service, call, candidate_id: service.withdraw(call, candidate_id)),
    _command("Anoint", lambda service, call, candidate_id: service.anoint(call, candidate_id)),
    _command("Promote", lambda service, call, candidate_id: service.promote(call, candidate_id)),
    _command("Evict", lambda service, call, candidate_id: service.evict(call, candidate_id)),
    ServedMethod(ELECTION_METHODS["GetTerm"], _get_term, quick=QuickAnswer(_get_term_now, _response)),
    ServedMethod(ELECTION_METHODS["Events"], _events, endless=True),
)
