"""Where the rules of the contract are checked: on what stores, and what comes out when one does not keep a rule."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar
from unittest import SkipTest

from atomix_election.clock import Clock
from atomix_election.stores.base import SharedStore, Store

StoreT = TypeVar("StoreT", bound=Store)
SharedStoreT = TypeVar("SharedStoreT", bound=SharedStore)

OpenStore = Callable[[], AbstractAsyncContextManager[StoreT]]
"""Opens a store that is new and empty, another one each time, and closes it after the block."""
Reopen = Callable[[StoreT], AbstractAsyncContextManager[Store]]
"""Is given a store that was closed, and opens what it has kept once more."""
OpenStores = Callable[[], AbstractAsyncContextManager[tuple[SharedStoreT, SharedStoreT]]]
"""Opens a shared store that is new and empty twice, as two engines do, and closes both after the block."""


class BrokenRule(AssertionError):
    """A store does not keep a rule.

    Args:
        expected: what should have come.
        came: what came instead.
        when: what had been done.
    """

    def __init__(self, expected: str, came: str, when: str = "") -> None:
        super().__init__(expected, came, when)
        self.rule = ""
        """Name of the rule."""
        self.description = ""
        """What it says."""
        self.expected = expected
        self.came = came
        self.when = when

    def __str__(self) -> str:
        lines = [f"{self.rule}: {self.description}", f"  expected: {self.expected}", f"  came:     {self.came}"]
        return "\n".join([*lines, f"  when:     {self.when}"] if self.when else lines)


class RuleLeftOut(SkipTest):
    """A rule was not checked, as something was not given that it needs, or does not concern the store.

    pytest and unittest show a test that raises it as skipped, with the reason.
    """


@dataclass(slots=True)
class Circumstances:
    """What each rule has beside stores.

    Args:
        seed: of chance, to which rules leave some things.
        waits_for: what it waits for at the moment.
    """

    seed: int
    chance: Random = field(init=False)
    waits_for: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.chance = Random(self.seed)

    async def wait(self, happening: Awaitable[object], what: str) -> None:
        """Wait for something that a broken store may fail to do."""
        self.waits_for = what
        await happening
        self.waits_for = ""


@dataclass(slots=True)
class Stage(Circumstances):
    """Where a rule of stores is checked, see ``StoreRule.check``."""

    given_open: OpenStore[Any]
    given_reopen: Reopen[Any] | None
    given_restored: OpenStore[Any] | None

    @asynccontextmanager
    async def open_store(self) -> AsyncGenerator[Store]:
        """Open a store that is new."""
        async with self.given_open() as store:
            await _check_empty(store, "`open_store`")
            yield store

    def reopen(self, store: Store) -> AbstractAsyncContextManager[Store]:
        """Open once more what a closed store has kept; for rules that need it."""
        assert self.given_reopen is not None
        return self.given_reopen(store)

    def open_restored(self) -> AbstractAsyncContextManager[Store]:
        """Open a store that was just restored; for rules that need it."""
        assert self.given_restored is not None
        return self.given_restored()


@dataclass(slots=True)
class SharedStage(Circumstances):
    """Where a rule of shared stores is checked, see ``SharedStoreRule.check``."""

    given_open: OpenStores[Any]
    clock: Clock

    @asynccontextmanager
    async def open_stores(self) -> AsyncGenerator[tuple[SharedStore, SharedStore]]:
        """Open a store that is new, twice."""
        async with self.given_open() as stores:
            await _check_empty(stores[0], "`open_stores`")
            yield stores


async def _check_empty(store: Store, opened_by: str) -> None:
    """Expect that a store was never used: else every rule would seem to be broken."""
    found = [*[each async for each in store.elections()], *await store.sessions()]
    if found:
        raise BrokenRule("a store that is new and empty", f"one with {found!r:.200}", f"{opened_by} was called")
