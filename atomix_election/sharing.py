"""Stores that have one user at a time, used by several clients of one process: they share an engine, or are refused."""

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Protocol

import anyio
from anyio.lowlevel import RunVar

from atomix_election.engine import Engine
from atomix_election.errors import InvalidRequest
from atomix_election.stores.base import Store
from atomix_election.tasks import see_through


class OpenStore(Protocol):
    """How a store is opened, for as long as the block lasts."""

    def __call__(self) -> AbstractAsyncContextManager[Store]:
        """Return the block."""
        ...


class _Shared:
    """A store that several clients of this process use: open, with an engine on it, as long as there is one of them.

    A client that has left the engine uses the store until its part of the engine's work is done.
    """

    def __init__(self, event_loop: object) -> None:
        self.event_loop = event_loop
        self.engine: Engine | None = None
        self._engine_users = 0
        self._store_users = 0
        self._store: Store | None = None
        self._closing = AsyncExitStack()
        self._opening = anyio.Lock()

    @asynccontextmanager
    async def using_store(self, key: object, open_store: OpenStore) -> AsyncGenerator[Store]:
        """Give the store, which the first one opens and the last one closes."""
        self._store_users += 1
        try:
            async with self._opening:
                if self._store is None:
                    self._store = await self._closing.enter_async_context(open_store())
            yield self._store
        finally:
            self._store_users -= 1
            if not self._store_users:
                await see_through(partial(self._close, key))

    async def _close(self, key: object) -> None:
        async with self._opening:
            if not self._store_users:  # else somebody has come meanwhile
                self._store = None
                await self._closing.aclose()
        if not self._store_users:
            _shared.pop(key, None)

    @contextmanager
    def using_engine(self, store: Store, make_engine: Callable[[Store], Engine]) -> Generator[Engine]:
        """Give the engine; who comes after the last one has left gets another."""
        self.engine = self.engine or make_engine(store)
        self._engine_users += 1
        try:
            yield self.engine
        finally:
            self._engine_users -= 1
            if not self._engine_users:
                self.engine = None


_shared: dict[object, _Shared] = {}
_used_alone: set[int] = set()
"""Which objects are in use by one who has them alone."""
_event_loop: RunVar[object] = RunVar("atomix_election_event_loop")


@asynccontextmanager
async def shared_engine(
    target: str, key: object, open_store: OpenStore, make_engine: Callable[[Store], Engine]
) -> AsyncGenerator[Engine]:
    """Run the engine of a store for one of those who share it; the first one opens it, the last one closes it.

    Args:
        target: what the user called it.
        key: what all its users in this process have in common, and nobody else; hashable.
        open_store: opens it.
        make_engine: makes the engine.

    Raises:
        InvalidRequest: it is in use by another event loop.
    """
    event_loop = _current_event_loop()
    shared = _shared.setdefault(key, _Shared(event_loop))
    if shared.event_loop is not event_loop:
        raise InvalidRequest(f"{target} is in use by another event loop: run an ElectionServer and connect to it")
    async with shared.using_store(key, open_store) as store:
        with ExitStack() as using:
            engine = using.enter_context(shared.using_engine(store, make_engine))
            async with engine.running():
                try:
                    yield engine
                finally:
                    using.close()  # before the engine winds up: who comes from now on gets another


@contextmanager
def used_alone(store: Store) -> Generator[None]:
    """Let nobody else in this process use a store for as long as the block lasts.

    Raises:
        InvalidRequest: somebody does so already.
    """
    if id(store) in _used_alone:
        raise InvalidRequest(
            f"this {type(store).__name__} is in use by another client or server of this process: a store that several "
            "engines use is opened once for each of them"
        )
    _used_alone.add(id(store))
    try:
        yield
    finally:
        _used_alone.discard(id(store))


def _current_event_loop() -> object:
    try:
        return _event_loop.get()
    except LookupError:
        _event_loop.set(object())
        return _event_loop.get()
