"""Leading as a block of a thread, which cannot be cancelled: a loss is only marked, and who led withdrawn after it."""

import math
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType

import anyio

from atomix_election import leadership as asynchronous
from atomix_election.errors import LeadershipLost, LossReason
from atomix_election.leadership import put_behind
from atomix_election.model import Term
from atomix_election.sync.event_loop import EventLoop
from atomix_election.sync.held import Held
from atomix_election.tasks import background_tasks, shielded


class Leadership:
    """What a leader has: the token to write with, and whether it still leads. Threads may share it."""

    def __init__(self, led: asynchronous.Leadership) -> None:
        self._led = led
        self._lost = threading.Event()

    @property
    def token(self) -> int:
        """The fencing token: the number of the term. The resource that is written to refuses a lower one."""
        return self._led.token

    @property
    def term(self) -> Term:
        """The term as it was when this leadership began."""
        return self._led.term

    @property
    def remaining(self) -> float:
        """Seconds for which this leadership lasts if nothing is heard of the service any more; 0 when it is over."""
        return self._led.remaining

    @property
    def reason(self) -> LossReason | None:
        """Why it was lost; None as long as it was not, and when it was given up by leaving the block."""
        return self._led.reason

    @property
    def lost(self) -> threading.Event:
        """Set when the leadership was lost, and not when it was given up. Nothing else stops the work: look at it, wait
        for it, or call ``ensure`` before each write.
        """
        return self._lost

    def ensure(self) -> None:
        """Return if this process may act as the leader now. It reads the clock, and does no I/O.

        Raises:
            LeadershipLost: it may not.
        """
        try:
            self._led.ensure()
        except LeadershipLost as lost:
            raise self.as_mine(lost) from None

    def as_mine(self, lost: LeadershipLost) -> LeadershipLost:
        """Return a loss of what this stands for as one of this."""
        return LeadershipLost(str(lost), reason=lost.reason, leadership=self)


class Lead:
    """The block of ``LeaderElection.lead``.

    Args:
        lead: returns the asynchronous block.
        event_loop: where it goes.
        leads: the blocks of a client in which a thread leads, by candidate.
        place: whose this one is.
        timeout_s: how long to wait for the lead.
        on_lost: is told of a loss, in a thread of its own.
    """

    def __init__(
        self,
        lead: Callable[[], AbstractAsyncContextManager[asynchronous.Leadership]],
        event_loop: EventLoop,
        leads: "dict[tuple[str, str], Lead]",
        place: tuple[str, str],
        *,
        timeout_s: float | None,
        on_lost: Callable[[Leadership], object] | None,
    ) -> None:
        self._lead = lead
        self._event_loop = event_loop
        self._leads = leads
        self._place = place
        self._timeout_s = timeout_s
        self._on_lost = on_lost
        self._held = Held(self._leading, event_loop)
        self._telling: threading.Thread | None = None
        self._told: anyio.Event
        self.thread_id: int = 0
        self.leadership: Leadership

    def __enter__(self) -> Leadership:
        self._held.use()
        try:
            self.leadership = self._held.enter()
            self.thread_id = threading.get_ident()
            self._leads[self._place] = self
            return self.leadership
        except BaseException:
            self._held.drop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lost: LeadershipLost | None = None
        try:
            try:
                self._held.leave()
            finally:
                self._leads.pop(self._place, None)
            if self._event_loop.is_forked:
                self.leadership.ensure()
        except LeadershipLost as loss:
            lost = loss if loss.leadership is self.leadership else self.leadership.as_mine(loss)
        if self._telling is not None:
            self._telling.join()
        if lost is not None and error is None:
            raise lost
        if lost is not None and isinstance(error, Exception):
            put_behind(error, lost)

    @asynccontextmanager
    async def _leading(self) -> AsyncGenerator[Leadership]:
        is_elected = False
        with anyio.move_on_after(self._timeout_s) as waiting:
            async with self._lead() as led:
                if not waiting.cancel_called:
                    is_elected = True
                    waiting.deadline = math.inf
                    leadership = Leadership(led)
                    try:
                        async with background_tasks() as tasks:
                            tasks.start_soon(self._mark_loss, led, leadership)
                            yield leadership
                    finally:
                        if self._telling is not None:
                            await shielded(self._told.wait())
        if not is_elected:
            raise TimeoutError(f"{self._place[1]!r} did not lead {self._place[0]!r} within {self._timeout_s:g} s")

    async def _mark_loss(self, led: asynchronous.Leadership, leadership: Leadership) -> None:
        await led.lost.wait()
        leadership.lost.set()
        if self._on_lost is not None:
            self._told = anyio.Event()
            telling = threading.Thread(
                target=self._tell, args=(self._on_lost, leadership), name="atomix_election-on-lost", daemon=True
            )
            telling.start()
            self._telling = telling

    def _tell(self, on_lost: Callable[[Leadership], object], leadership: Leadership) -> None:
        try:
            on_lost(leadership)
        finally:
            self._event_loop.post(self._told.set)
