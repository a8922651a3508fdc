"""Calls that are answered without a task of their own, as most are: short requests that came in whole.

What a call asks for is known from its headers, which come again and again; the election service takes the command at
once or has the term at hand; and the answer fits into what the peer lets this side send. Wherever one of these is not
so, ``take`` leaves the call to ``server_calls``, which does all, and does the same.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from weakref import WeakKeyDictionary

from grpclib.const import Status

from atomix_election.errors import ElectionError, InvalidRequest
from atomix_election.model import Term
from atomix_election.observer import Observer
from atomix_election.rpc import internals
from atomix_election.rpc.call import call_of, refusal_headers, timeout_s
from atomix_election.rpc.callers import Callers
from atomix_election.rpc.frames import frame, whole_message
from atomix_election.rpc.gate import Gate
from atomix_election.rpc.header_blocks import MAX_DIGITS, MAX_HEADER_LIST_BYTES, OPERATION, size_of
from atomix_election.rpc.http2_connection import Headers, Http2Connection, text
from atomix_election.rpc.limits import Shared
from atomix_election.rpc.services.base import QuickAnswer, ServedConnection, ServedMethod, served_by
from atomix_election.rpc.status import INTERNAL_FAULT, Failure, Rejected, deadline_exceeded, failure_of, shutting_down
from atomix_election.service import Call, Pending

MAX_KNOWN_REQUESTS = 4096
"""Kinds of requests, of all connections of a server, that are remembered; then it begins anew."""
MIN_TIMEOUT_S = 0.001
"""Who has less time is not answered here: it may be over before anything was done."""
MAX_KNOWN_CALLERS = 512
"""Requests of one connection of which it is remembered what they go to; then it begins anew."""

_FAULT = "fault of this package in %s"

log: logging.Logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Request:
    """What the headers of a call say. Only ``KnownRequests`` keeps it, for as long as it is remembered there.

    Args:
        headers: as they came, without the number of an operation.
        served: the method.
        quick: how it is answered.
        call: what it is about, without the number.
        timeout_s: how long it may take; None when it does not say.
    """

    headers: Headers
    served: ServedMethod
    quick: QuickAnswer
    call: Call
    timeout_s: float | None


class KnownRequests:
    """The requests that came before, on any connection of a server, and whose headers are not too large.

    Args:
        methods: what can be asked for, by path.
    """

    def __init__(self, methods: Mapping[str, ServedMethod]) -> None:
        self._methods = methods
        self._known: dict[tuple[tuple[bytes, bytes], ...], Request | None] = {}

    def find(self, headers: Sequence[tuple[bytes, bytes]]) -> Request | None:
        """Return what headers say, or None where that is not asked for here, is wrong, or has the number of a write."""
        key = tuple(headers)
        if key in self._known:
            return self._known[key]
        if size_of(headers) > MAX_HEADER_LIST_BYTES:
            return None
        if len(self._known) >= MAX_KNOWN_REQUESTS:
            self._known.clear()
        request = self._known[key] = self._read(text(headers))
        return request

    def _read(self, headers: Headers) -> Request | None:
        try:
            served = served_by(self._methods, headers)
            limit_s = timeout_s(headers)
            call = call_of(headers)
            if served.quick is None or call.operation is not None:
                return None
            if limit_s is not None and limit_s < MIN_TIMEOUT_S:
                return None
            return Request(headers, served, served.quick, call, limit_s)
        except (InvalidRequest, Rejected):
            return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call is to be answered with that its peer does not read yet.

    Args:
        request: what was asked for.
        result: the term, of which the message is made when the peer reads, as many may wait for that; or a failure.
        began: when the call began, by the event loop's clock.
    """

    request: Request
    result: Term | Failure
    began: float

    def left_s(self, now: float) -> float | None:
        """Return how much of its time the caller has left; None when it has not said how long it waits."""
        return None if self.request.timeout_s is None else self.began + self.request.timeout_s - now

    def message(self, term: Term) -> bytes:
        """Return the message of a term, with its prefix."""
        return frame(self.request.quick.encode(term))


class Others(Protocol):
    """The other calls of the connection, and what is counted over all of them."""

    def limit_reached(self) -> str | None:
        """Return the name of the limit that one more call would pass."""
        ...

    def finish(self, stream_id: int, outcome: Outcome) -> None:
        """Answer a call as soon as its peer reads."""
        ...


class _Waiting:
    """A call that waits for the outcome of its command."""

    def __init__(self, request: Request, began: float) -> None:
        self.request = request
        self.began = began
        self.time_limit: asyncio.TimerHandle | None = None


class QuickCalls:
    """Those of one connection.

    Args:
        known: the requests that came before.
        callers: who asks, and what their calls go to.
        others: those that have tasks.
        shared: what all connections of the server have together.
        observer: is told what can be counted.
    """

    def __init__(
        self,
        known: KnownRequests,
        callers: Callers,
        others: Others,
        shared: Shared,
        observer: Observer,
    ) -> None:
        self.connection: Http2Connection
        self.closing: bool = False
        self._known = known
        self._callers = callers
        self._admitted_by: Gate | None = None
        self._services: WeakKeyDictionary[Request, ServedConnection] = WeakKeyDictionary()
        self._others = others
        self._shared = shared
        self._observer = observer
        self._waiting: dict[int, _Waiting] = {}
        self._none_waits: asyncio.Event | None = None

    def __len__(self) -> int:
        """Return how many wait for the outcome of their commands."""
        return len(self._waiting)

    async def wait_ended(self) -> None:
        """Wait until none does."""
        if self._waiting:
            self._none_waits = asyncio.Event()
            await self._none_waits.wait()

    def take(self, stream_id: int, headers: Sequence[tuple[bytes, bytes]], data: bytes) -> bool:
        """Answer a call, now or when its command is committed, and return whether that will be so.

        Args:
            stream_id: where it came.
            headers: of the request, as HTTP/2 has them.
            data: all that the request has.
        """
        if self.closing or not self.connection.write_ready.is_set() or not internals.are_known():
            return False
        if not headers or not self.connection.is_open(stream_id):  # the client has thought better of it already
            return False
        operation, last = None, headers[-1]
        if last[0] == OPERATION:
            headers, operation = headers[:-1], last[1]
        request = self._known.find(headers)
        message = whole_message(data, self._shared.limits.max_message_bytes)
        if request is None or message is None or self._others.limit_reached():
            return False
        began = _now()
        pending = self._begin(request, operation, message)
        if pending is None:
            return False
        if isinstance(pending, Failure):
            self._fail(stream_id, request, began, pending)
        elif isinstance(pending, Term):
            self._answer(stream_id, request, began, pending)
        elif pending.outcome is not None:
            self._answer(stream_id, request, began, pending.outcome)
        else:
            self._wait(stream_id, request, began, pending)
        return True

    def _begin(self, request: Request, operation: bytes | None, message: bytes) -> Pending | Term | Failure | None:
        """Hand over what is asked for; None where it is to be done the long way, which says more of what is wrong."""
        try:
            service = self._service_of(request)
            call = request.call if operation is None else replace(request.call, operation=number_of(operation))
            return request.quick.begin(service, call, message)
        except InvalidRequest:
            return None
        except ElectionError as error:
            return failure_of(error)
        except Exception:
            log.exception(_FAULT, request.served.method.path)
            return INTERNAL_FAULT

    def cancelled(self, stream_id: int) -> None:
        """The client has cancelled a call, or its stream was reset: where it waits, nobody waits for it any more."""
        if stream_id in self._waiting:
            self._lose(stream_id)

    def end(self) -> None:
        """Answer that the server shuts down, and that nobody knows; this is not counted as a rejection."""
        for stream_id in list(self._waiting):
            self._give_up(stream_id, shutting_down(may_have_been_applied=True), rejected=False)

    def close(self) -> None:
        """The connection is gone."""
        self.closing = True
        for stream_id in list(self._waiting):
            self._lose(stream_id)

    def _service_of(self, request: Request) -> ServedConnection:
        gate = self._callers.gate
        if gate is not self._admitted_by or len(self._services) >= MAX_KNOWN_CALLERS:
            self._services.clear()
            self._admitted_by = gate
        service = self._services.get(request)
        if service is None:
            caller = self._callers.admit(request.served, request.headers)
            service = self._services[request] = self._callers.service_of(caller)
        return service

    def _wait(self, stream_id: int, request: Request, began: float, pending: Pending) -> None:
        waiting = _Waiting(request, began)
        if request.timeout_s is not None:
            waiting.time_limit = asyncio.get_running_loop().call_later(
                request.timeout_s, self._give_up, stream_id, deadline_exceeded(may_have_been_applied=True)
            )
        self._waiting[stream_id] = waiting
        self._shared.calls += 1
        pending.on_answer(lambda: self._answered(stream_id, waiting, pending))

    def _answered(self, stream_id: int, waiting: _Waiting, pending: Pending) -> None:
        if self._waiting.get(stream_id) is waiting:
            self._forget(stream_id)
            assert pending.outcome is not None
            self._answer(stream_id, waiting.request, waiting.began, pending.outcome)

    def _give_up(self, stream_id: int, failure: Failure, *, rejected: bool = True) -> None:
        waiting = self._forget(stream_id)
        self._fail(stream_id, waiting.request, waiting.began, failure, rejected=rejected)

    def _lose(self, stream_id: int) -> None:
        waiting = self._forget(stream_id)
        self._count(waiting.request, Status.CANCELLED, waiting.began)

    def _forget(self, stream_id: int) -> _Waiting:
        waiting = self._waiting.pop(stream_id)
        self._shared.calls -= 1
        if waiting.time_limit is not None:
            waiting.time_limit.cancel()
        if not self._waiting and self._none_waits is not None:
            self._none_waits.set()
        return waiting

    def _answer(self, stream_id: int, request: Request, began: float, outcome: Term | ElectionError) -> None:
        if isinstance(outcome, ElectionError):
            self._fail(stream_id, request, began, failure_of(outcome))
            return
        try:
            message = frame(request.quick.encode(outcome))
        except Exception:
            log.exception(_FAULT, request.served.method.path)  # and whoever has committed the command goes on
            self._fail(stream_id, request, began, INTERNAL_FAULT)
            return
        if not self.connection.is_open(stream_id):
            self._count(request, Status.CANCELLED, began)
        elif self.connection.answer(stream_id, message):
            self._count(request, Status.OK, began)
        else:
            self._others.finish(stream_id, Outcome(request, outcome, began))

    def _fail(self, stream_id: int, request: Request, began: float, failure: Failure, *, rejected: bool = True) -> None:
        if not self.connection.is_open(stream_id):
            self._count(request, Status.CANCELLED, began)
        elif self.connection.refuse(stream_id, refusal_headers(failure)):
            if rejected:
                self._observer.rejected(failure.limit or failure.error)
            self._count(request, failure.status, began)
        else:
            self._others.finish(stream_id, Outcome(request, failure, began))

    def _count(self, request: Request, status: Status, began: float) -> None:
        self._observer.answered(request.served.method.path, status.name, _now() - began)


def number_of(digits: bytes) -> int:
    """Return the number of an operation.

    Raises:
        InvalidRequest: it is none; the way that answers with an error says more.
    """
    number = int(digits) if digits.isdigit() and len(digits) <= MAX_DIGITS else 0
    if not number or digits[:1] == b"0":
        raise InvalidRequest("the number of the operation is none")
    return number


def _now() -> float:
    return asyncio.get_running_loop().time()
