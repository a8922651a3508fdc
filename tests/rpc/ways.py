"""A server that does what it can at once, and one that leaves all to tasks: nobody may be able to tell them apart."""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from typing import Any

import h2.events
import pytest

from atomix_election.core.access import digest_of
from atomix_election.core.access_file import parse_access
from atomix_election.engine import Connection, Engine
from atomix_election.observer import NoObserver
from atomix_election.rpc import internals
from atomix_election.rpc.call import ServerCall
from atomix_election.rpc.gate import Gate
from atomix_election.rpc.http2 import READ_BYTES
from atomix_election.rpc.limits import ConnectionLimits
from atomix_election.rpc.quick_calls import QuickCalls
from atomix_election.rpc.server import RpcServer
from atomix_election.rpc.server_connection import ServerConnection
from atomix_election.stores.base import Store
from atomix_election.stores.memory import MemoryStore
from tests.rpc.raw import RawConnection

AT_ONCE, BY_TASKS = "at once", "by tasks"
WAYS = (AT_ONCE, BY_TASKS)
OPEN = Gate()


def tokens(*known: str) -> Gate:
    """Return what asks for one of some tokens, in the namespace ``mine``."""
    principals = "\n".join(
        f'[principals.p{each}]\ntoken_sha256 = ["{digest_of(each).hex()}"]\nadminister = ["mine"]' for each in known
    )
    return Gate(parse_access(principals))


class Seen(NoObserver):
    """What an operator sees: how often what was counted."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.durations_s: list[float] = []

    def answered(self, method: str, status: str, duration_s: float) -> None:
        """See ``Observer.answered``."""
        self.durations_s.append(duration_s)
        self.counts["answered", method.rpartition("/")[2], status] += 1

    def rejected(self, reason: str) -> None:
        """See ``Observer.rejected``."""
        self.counts["rejected", reason] += 1

    def closed(self, reason: str) -> None:
        """See ``Observer.closed``."""
        self.counts["closed", reason] += 1

    def command(self, kind: str, outcome: str) -> None:
        """See ``Observer.command``."""
        self.counts["command", kind, outcome] += 1

    def renewed(self) -> None:
        """See ``Observer.renewed``."""
        self.counts["renewed",] += 1


@dataclass(eq=False)
class Serving:
    """A running server."""

    rpc: RpcServer
    engine: Engine
    port: int
    seen: Seen
    at_once: Counter[str]
    """How many calls and messages went the short way."""
    inside: Connection

    @property
    def calls(self) -> int:
        """How many calls are not over."""
        return sum(len(each.calls) for each in self.rpc._connections)


def _counted(counter: Counter[str], what: str, method: Callable[..., bool]) -> Callable[..., bool]:
    def count(*args: Any) -> bool:
        done = method(*args)
        counter[what] += done
        return done

    return count


@asynccontextmanager
async def serving(
    way: str, store: Store | None = None, *, limits: ConnectionLimits | None = None, gate: Gate = OPEN
) -> AsyncGenerator[Serving]:
    """Run a server which goes one of the two ways."""
    seen, at_once = Seen(), Counter[str]()
    with pytest.MonkeyPatch.context() as patch:
        if way == BY_TASKS:
            patch.setattr(internals, "are_known", lambda: False)
        patch.setattr(QuickCalls, "take", _counted(at_once, "calls", QuickCalls.take))
        patch.setattr(ServerCall, "send_now", _counted(at_once, "messages", ServerCall.send_now))
        engine = Engine(store or MemoryStore(), observer=seen)
        async with engine.running():
            rpc = RpcServer(partial(Connection, engine), gate, seen, limits)
            try:
                _, port = await rpc.start("127.0.0.1", 0)
                yield Serving(rpc, engine, port, seen, at_once, Connection(engine))
            finally:
                await rpc.close()
        assert not rpc._shared.calls
        assert not rpc._shared.outboxes.taken_bytes


@contextmanager
def reading(sizes: Iterable[int]) -> Generator[None]:
    """Let servers read exactly so many bytes at a time, and then as much as there is."""
    left = chain(sizes, repeat(READ_BYTES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ServerConnection, "_read_bytes", lambda _: next(left))
        yield


class Transcribing(RawConnection):
    """A raw client that writes down what it sees."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.transcripts: dict[int, list[tuple[Any, ...]]] = {}

    def _take(self, events: Any) -> None:
        for event in events:
            stream: int | None = getattr(event, "stream_id", None)
            if stream and not isinstance(event, h2.events.WindowUpdated):
                said = getattr(event, "headers", None), getattr(event, "data", None), getattr(event, "error_code", None)
                self.transcripts.setdefault(stream, []).append((type(event).__name__, *said))
        super()._take(events)
