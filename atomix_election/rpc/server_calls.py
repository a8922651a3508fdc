"""The calls of one connection: begun, answered, and ended before their time where they have to be."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import anyio
from anyio.lowlevel import checkpoint_if_cancelled
from grpclib.const import Status
from grpclib.protocol import AbstractHandler, Stream
from h2.exceptions import ProtocolError

from atomix_election.errors import ElectionError, PermissionDenied, Unauthenticated
from atomix_election.observer import Observer
from atomix_election.rpc.call import PROTOCOL_KEY, ServerCall, protocol_of, refusal_headers, timeout_s
from atomix_election.rpc.callers import Callers
from atomix_election.rpc.gate import Caller
from atomix_election.rpc.http2 import Http2Protocol
from atomix_election.rpc.http2_connection import Headers, refuse, reset
from atomix_election.rpc.limits import RESERVED_CALLS, Outbox, Shared, reached
from atomix_election.rpc.protocol import agree, is_ours
from atomix_election.rpc.quick_calls import KnownRequests, Outcome, QuickCalls
from atomix_election.rpc.services.base import ServedMethod, served_by
from atomix_election.rpc.status import (
    INTERNAL_FAULT,
    Failure,
    Rejected,
    deadline_exceeded,
    failure_of,
    shutting_down,
)

ANSWER_TIMEOUT_S = 2.0
"""How long the end of a call waits for its trailers to be sent; then the stream is reset."""
UNKNOWN_METHOD = "unknown"
"""What is counted as the method of a call that names none of ours."""

_OTHER_PRINCIPAL = failure_of(Unauthenticated("the credentials of this stream are those of another principal now"))
_CALL_LIMITS = {
    "max_calls_per_connection": "open calls of a connection",
    "max_calls": "open calls of all connections",
}

log: logging.Logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Admitted:
    """A call that goes on, and by whose right."""

    served: ServedMethod
    caller: Caller


class _Running:
    """A call that can be cancelled, also before its task has begun.

    Args:
        call: what it is.
        late: it came when the server was shutting down already.
    """

    def __init__(self, call: ServerCall, *, late: bool) -> None:
        self.call = call
        self.late = late
        self.path = UNKNOWN_METHOD
        self.endless = False
        self.writes = False
        self.admitted: _Admitted | None = None
        self.refusal: Failure | None = None
        self.outcome: Outcome | None = None
        """What is left to be sent, where that is known already."""
        self._cancelled = False
        self._scope: anyio.CancelScope | None = None

    def cancel(self) -> None:
        self.call.is_over = self._cancelled = True
        if self._scope is not None:
            self._scope.cancel()

    def refuse(self, failure: Failure) -> None:
        """End the call with a failure."""
        self.refusal = failure
        self.cancel()

    def scope(self) -> anyio.CancelScope:
        """Return the scope to run in. Made by the call's own task, as anyio demands."""
        self._scope = anyio.CancelScope()
        if self._cancelled:
            self._scope.cancel()
        return self._scope


class Calls(AbstractHandler):
    """The calls of a connection. One is cancelled through a scope, so that shields hold.

    Args:
        methods: what can be asked for, by path.
        known: the requests that came before.
        callers: who asks, and what their calls go to.
        shared: what all connections of the server have together.
        observer: is told what can be counted.
    """

    def __init__(
        self,
        methods: Mapping[str, ServedMethod],
        known: KnownRequests,
        callers: Callers,
        shared: Shared,
        observer: Observer,
    ) -> None:
        self.outbox: Outbox
        self.protocol: Http2Protocol
        self.quick: QuickCalls = QuickCalls(known, callers, self, shared, observer)
        self._methods = methods
        self._callers = callers
        self._shared = shared
        self._observer = observer
        self._calls: dict[Stream, _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._shutting_down = False

    def __len__(self) -> int:
        """Return how many are not over. A call counts until its task has ended."""
        return len(self._tasks) + len(self.quick)

    def accept(self, stream: Stream, headers: Headers, release_stream: Callable[[], None]) -> None:
        """Begin a call. Called by grpclib."""
        limit = self.limit_reached()
        if limit is not None:
            self._observer.rejected(limit)
            refusal = reached(limit, getattr(self._shared.limits, limit), _CALL_LIMITS[limit])
            refuse(stream, refusal_headers(failure_of(refusal)))
            release_stream()
            return
        call = ServerCall(stream, headers, self._shared, self.outbox)
        self._start(stream, release_stream, _Running(call, late=self._shutting_down))

    def finish(self, stream_id: int, outcome: Outcome) -> None:
        """Answer a call that was begun without a task, as soon as its peer reads."""
        processor, request = self.protocol.processor, outcome.request
        stream = processor.connection.create_stream(stream_id=stream_id)
        call = ServerCall(stream, request.headers, self._shared, self.outbox)
        call.received()
        running = _Running(call, late=False)
        running.path, running.writes, running.outcome = request.served.method.path, request.served.writes, outcome
        self._start(stream, processor.register(stream), running)

    def _start(self, stream: Stream, release_stream: Callable[[], None], running: _Running) -> None:
        self._calls[stream] = running
        task = asyncio.get_running_loop().create_task(self._serve(stream, release_stream, running))
        self._tasks.add(task)
        self._shared.tasks.add(task)
        self._shared.calls += 1
        task.add_done_callback(self._ended)

    def limit_reached(self) -> str | None:
        """Return the name of the limit that one more call would pass. Calls count until their tasks have ended."""
        limits, own = self._shared.limits, len(self)
        if own >= limits.max_calls_per_connection:
            return "max_calls_per_connection"
        if own >= RESERVED_CALLS and self._shared.calls >= limits.max_calls:
            return "max_calls"
        return None

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._shared.tasks.discard(task)
        self._shared.calls -= 1

    def sweep(self, now: float) -> None:
        """End those whose requests or answers take too long."""
        for running in self._calls.values():
            overdue = running.call.overdue(now)
            if overdue is not None:
                running.refuse(failure_of(overdue))

    def cancel(self, stream: Stream) -> None:
        """End a call that the peer has cancelled. Called by grpclib."""
        running = self._calls.pop(stream, None)
        if running is not None:
            running.cancel()

    def close(self) -> None:
        """End all calls, as the connection is closing. Called by grpclib, more than once."""
        self.quick.close()
        for running in self._calls.values():
            running.cancel()
        self._calls.clear()

    def shut_down(self) -> None:
        """Begin nothing more, and end streams with UNAVAILABLE; what else has begun goes on."""
        self._shutting_down = self.quick.closing = True
        for running in self._calls.values():
            if running.endless:
                running.cancel()

    def end(self) -> None:
        """End all with UNAVAILABLE."""
        self.quick.end()
        for running in self._calls.values():
            running.cancel()

    def check(self) -> None:
        """End the streams, and the calls that have only begun, whose credentials would not be accepted any more."""
        for running in self._calls.values():
            admitted = running.admitted
            if admitted is None or (running.call.was_read and not admitted.served.endless):
                continue  # what has been asked for is answered
            try:
                caller = self._callers.admit(admitted.served, running.call.headers)
            except (Unauthenticated, PermissionDenied) as error:
                running.refuse(failure_of(error))
            else:
                if caller.principal.name != admitted.caller.principal.name:
                    running.refuse(_OTHER_PRINCIPAL)

    async def wait_ended(self) -> None:
        """Wait until no call is left."""
        while len(self):
            if self._tasks:
                await asyncio.wait(self._tasks)
            await self.quick.wait_ended()

    async def _serve(self, stream: Stream, release_stream: Callable[[], None], running: _Running) -> None:
        call, outcome = running.call, running.outcome
        began = _now() if outcome is None else outcome.began
        try:
            failure: Failure | None = None
            with running.scope() as scope:
                failure = await (self._answer(call, running) if outcome is None else self._deliver(call, outcome))
            unheard = scope.cancelled_caught and not (self._shutting_down and stream in self._calls)
            if running.refusal is not None and (scope.cancelled_caught or failure is not None):
                failure, unheard = running.refusal, False
            elif scope.cancelled_caught:
                failure = shutting_down(may_have_been_applied=running.writes)
            if failure is not None and (running.refusal is not None or not scope.cancelled_caught):
                self._observer.rejected(failure.limit or failure.error)
            if not running.endless:
                status = Status.CANCELLED if unheard else failure.status if failure else Status.OK
                self._observer.answered(running.path, status.name, _now() - began)
            if unheard:
                return
            with anyio.move_on_after(ANSWER_TIMEOUT_S) as unread:
                await call.finish(failure)
            if unread.cancelled_caught:
                reset(stream)
        except ProtocolError as error:
            log.debug("call ended, its stream is closed: %s", error)
        finally:
            self._calls.pop(stream, None)
            release_stream()

    async def _deliver(self, call: ServerCall, outcome: Outcome) -> Failure | None:
        """Send what a call is answered with, up to its trailers, and return how it failed, if it did."""
        await checkpoint_if_cancelled()
        result = outcome.result
        if isinstance(result, Failure):
            return result
        with anyio.move_on_after(outcome.left_s(_now())) as limit:
            await call.send_framed(lambda: outcome.message(result))
        may_have_been_applied = outcome.request.served.writes
        return deadline_exceeded(may_have_been_applied=may_have_been_applied) if limit.cancelled_caught else None

    async def _answer(self, call: ServerCall, running: _Running) -> Failure | None:
        """Serve a call up to its trailers, and return how it failed, if it did."""
        try:
            served = served_by(self._methods, call.headers)
            running.path, running.endless, running.writes = served.method.path, served.endless, served.writes
            if (running.late and not served.while_closing) or (self._shutting_down and served.endless):
                return shutting_down(may_have_been_applied=False)
            caller = self._callers.admit(served, call.headers)
            running.admitted = _Admitted(served, caller)
            if is_ours(served.method):
                call.add_header(PROTOCOL_KEY, str(agree(protocol_of(call.headers))))
            limit_s = timeout_s(call.headers)
            if limit_s == 0:
                return deadline_exceeded(may_have_been_applied=False)
            service = self._callers.service_of(caller)
            if limit_s is None:  # as with most streams, of which there are many
                await served.serve(service, call)
                return None
            with anyio.move_on_after(limit_s) as limit:
                await served.serve(service, call)
            if limit.cancelled_caught:
                return deadline_exceeded(may_have_been_applied=served.writes)
        except ElectionError as error:
            return failure_of(error)
        except Rejected as rejected:
            return rejected.failure
        except ProtocolError:
            raise
        except Exception:
            log.exception("fault of this package in %s", call.path)
            return INTERNAL_FAULT
        return None


def _now() -> float:
    return asyncio.get_running_loop().time()
