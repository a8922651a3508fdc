"""The published service, ``atomix.election.v1.LeaderElection``."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import betterproto2

from atomix_election.core.commands import Anoint, CandidateCommand, Enter, Evict, Promote, Withdraw
from atomix_election.model import Event, Term
from atomix_election.rpc import wire
from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc.call import STORE_KEY, ServerCall, call_of
from atomix_election.rpc.convert import term_message
from atomix_election.rpc.frames import frame
from atomix_election.rpc.hot_messages import candidate_id_of, event_bytes, term_response_bytes
from atomix_election.rpc.methods import ELECTION_METHODS, Method
from atomix_election.rpc.services.base import QuickAnswer, ServedConnection, ServedMethod
from atomix_election.service import Call, ElectionService, Pending


async def _create(service: ElectionService, call: Call, _: Any) -> betterproto2.Message:
    await service.create(call)
    return v1.CreateResponse()


async def _close(service: ElectionService, call: Call, _: Any) -> betterproto2.Message:
    await service.close(call)
    return v1.CloseResponse()


async def _enter(service: ElectionService, call: Call, request: v1.EnterRequest) -> betterproto2.Message:
    return v1.EnterResponse(term=term_message(await service.enter(call, request.candidate_id)))


async def _withdraw(service: ElectionService, call: Call, request: v1.WithdrawRequest) -> betterproto2.Message:
    return v1.WithdrawResponse(term=term_message(await service.withdraw(call, request.candidate_id)))


async def _anoint(service: ElectionService, call: Call, request: v1.AnointRequest) -> betterproto2.Message:
    return v1.AnointResponse(term=term_message(await service.anoint(call, request.candidate_id)))


async def _promote(service: ElectionService, call: Call, request: v1.PromoteRequest) -> betterproto2.Message:
    return v1.PromoteResponse(term=term_message(await service.promote(call, request.candidate_id)))


async def _evict(service: ElectionService, call: Call, request: v1.EvictRequest) -> betterproto2.Message:
    return v1.EvictResponse(term=term_message(await service.evict(call, request.candidate_id)))


async def _get_term(service: ElectionService, call: Call, _: Any) -> betterproto2.Message:
    return v1.GetTermResponse(term=term_message(await service.get_term(call)))


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
        self._event: Event | None = None
        self._message = b""

    def message(self, event: Event) -> bytes:
        """Return the message of an event with its prefix."""
        if event is not self._event:
            self._event, self._message = event, frame(event_bytes(event))
        return self._message


_encoded = EncodedOnce()


_Answer = Callable[[ElectionService, Call, Any], Awaitable[betterproto2.Message]]
_UNARY: dict[str, _Answer] = {
    "Create": _create,
    "Close": _close,
    "Enter": _enter,
    "Withdraw": _withdraw,
    "Anoint": _anoint,
    "Promote": _promote,
    "Evict": _evict,
    "GetTerm": _get_term,
}


def _command(command: type[CandidateCommand], request: type[betterproto2.Message]) -> QuickAnswer:
    def begin(service: ServedConnection, call: Call, data: bytes) -> Pending | None:
        return service.submit_now(call, command, candidate_id_of(data, request))

    return QuickAnswer(begin, term_response_bytes)


def _read_term(service: ServedConnection, call: Call, data: bytes) -> Term | None:
    wire.decode(data, v1.GetTermRequest)
    return service.read_now(call)


_QUICK: dict[str, QuickAnswer] = {
    "Enter": _command(Enter, v1.EnterRequest),
    "Withdraw": _command(Withdraw, v1.WithdrawRequest),
    "Anoint": _command(Anoint, v1.AnointRequest),
    "Promote": _command(Promote, v1.PromoteRequest),
    "Evict": _command(Evict, v1.EvictRequest),
    "GetTerm": QuickAnswer(_read_term, term_response_bytes),
}


def _unary(method: Method, answer: _Answer) -> ServedMethod:
    async def serve(service: ServedConnection, call: ServerCall) -> None:
        about = call_of(call.headers)
        request = await call.read(method.request)
        message = await answer(service, about, request)
        await call.send(lambda: message)

    return ServedMethod(method, serve, writes=method.name != "GetTerm", quick=_QUICK.get(method.name))


METHODS = (
    *(_unary(ELECTION_METHODS[name], answer) for name, answer in _UNARY.items()),
    ServedMethod(ELECTION_METHODS["Events"], _events, endless=True),
)
