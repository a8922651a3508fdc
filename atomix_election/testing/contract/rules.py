"""What a rule of the contract is: something that every store does, with a name, and checked by itself."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast
from unittest import SkipTest

import anyio

from atomix_election.clock import Clock, SystemClock
from atomix_election.stores.base import SharedStore, Store
from atomix_election.testing.contract.stages import (
    BrokenRule,
    Circumstances,
    OpenStore,
    OpenStores,
    Reopen,
    RuleLeftOut,
    SharedStage,
    SharedStoreT,
    Stage,
    StoreT,
)

PATIENCE_S = 30.0
"""How long the check of one rule may take, unless told otherwise."""

_StageT = TypeVar("_StageT", bound=Circumstances)


@dataclass(frozen=True, slots=True)
class Rule(Generic[_StageT]):
    """A rule of the contract.

    Args:
        name: what it says in short, the same in every release that has it.
        description: what it says beyond its name.
        needs: the arguments without which ``check`` raises RuleLeftOut.
        body: checks it.
    """

    name: str
    description: str
    needs: tuple[str, ...]
    body: Callable[[_StageT], Awaitable[None]] = field(repr=False)

    async def run(self, stage: _StageT, patience_s: float) -> None:
        """Check the rule; whatever a store does that it should not comes out as BrokenRule."""
        try:
            with anyio.move_on_after(patience_s) as limit:
                await self.body(stage)
        except Exception as error:  # noqa: BLE001 - whatever it is, the message says it
            first, *_ = sorted(_leaves(error), key=_is_unexpected)
            if isinstance(first, BrokenRule):
                raise self._named(first) from None
            if isinstance(first, SkipTest):
                raise first from None
            raise self._named(BrokenRule("no error", f"{first!r}")) from first
        if limit.cancelled_caught:
            doing = f"it waited for {stage.waits_for}" if stage.waits_for else ""
            raise self._named(BrokenRule("an end", f"none after {patience_s:g} s", doing))

    def _named(self, broken: BrokenRule) -> BrokenRule:
        broken.rule, broken.description = self.name, self.description
        return broken


class StoreRule(Rule[Stage]):
    """Something that every store does."""

    async def check(
        self,
        open_store: OpenStore[StoreT],
        *,
        reopen: Reopen[StoreT] | None = None,
        open_restored: OpenStore[StoreT] | None = None,
        seed: int = 0,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Check it with new stores, on the event loop that this is called from: asyncio's or Trio's.

        Args:
            open_store: returns an async context manager that gives a store which is new and empty, another one each
                time. Stores that are open at the same time know nothing of each other.
            reopen: is given a store whose block is over, and returns one that gives what it has kept; None for a store
                that keeps nothing.
            open_restored: as ``open_store``, for one that was just restored from a backup, so that it has a ``hold_s``.
            seed: of what is left to chance.
            patience_s: how many seconds it may take.

        Raises:
            BrokenRule: the store does not keep the rule.
            RuleLeftOut: something that it needs was not given, or it does not concern this store.
        """
        given = {"reopen": reopen, "open_restored": open_restored}
        missing = [f"`{name}`" for name in self.needs if given[name] is None]
        if missing:
            raise RuleLeftOut(f"needs {' and '.join(missing)}")
        await self.run(Stage(seed, open_store, reopen, open_restored), patience_s)


class SharedStoreRule(Rule[SharedStage]):
    """Something that every shared store does, beside what every store does."""

    async def check(
        self,
        open_stores: OpenStores[SharedStoreT],
        *,
        clock: Clock | None = None,
        seed: int = 0,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Check it with new stores, on the event loop that this is called from: asyncio's or Trio's.

        Args:
            open_stores: returns an async context manager that gives a store which is new and empty, opened twice, as
                two engines do; another one each time.
            clock: what time it is for the store; by default the machine's clock.
            seed: of what is left to chance.
            patience_s: how many seconds it may take.

        Raises:
            BrokenRule: the store does not keep the rule.
            RuleLeftOut: it does not concern this store.
        """
        await self.run(SharedStage(seed, open_stores, clock or SystemClock()), patience_s)


class StoreRules:
    """The rules of one module, in the order in which they stand there."""

    def __init__(self) -> None:
        self._found: list[StoreRule] = []

    def __iter__(self) -> Iterator[StoreRule]:
        return iter(self._found)

    def of_a_store(self, body: Callable[[Store], Awaitable[None]]) -> Callable[[Store], Awaitable[None]]:
        """Add a rule that is checked with one new store."""

        async def check(stage: Stage) -> None:
            async with stage.open_store() as store:
                await body(store)

        self._found.append(StoreRule(*_said_of(body), (), check))
        return body

    def on_stage(
        self, *needs: str
    ) -> Callable[[Callable[[Stage], Awaitable[None]]], Callable[[Stage], Awaitable[None]]]:
        """Add a rule that opens its stores itself.

        Args:
            needs: the arguments that it needs.
        """

        def add(body: Callable[[Stage], Awaitable[None]]) -> Callable[[Stage], Awaitable[None]]:
            self._found.append(StoreRule(*_said_of(body), needs, body))
            return body

        return add


class SharedStoreRules:
    """The same for shared stores."""

    def __init__(self) -> None:
        self._found: list[SharedStoreRule] = []

    def __iter__(self) -> Iterator[SharedStoreRule]:
        return iter(self._found)

    def of_two(
        self, body: Callable[[SharedStore, SharedStore], Awaitable[None]]
    ) -> Callable[[SharedStore, SharedStore], Awaitable[None]]:
        """Add a rule that is checked with a new store that was opened twice."""

        async def check(stage: SharedStage) -> None:
            async with stage.open_stores() as (one, other):
                await body(one, other)

        self._found.append(SharedStoreRule(*_said_of(body), (), check))
        return body

    def on_stage(self, body: Callable[[SharedStage], Awaitable[None]]) -> Callable[[SharedStage], Awaitable[None]]:
        """Add a rule that opens its stores itself."""
        self._found.append(SharedStoreRule(*_said_of(body), (), body))
        return body


def _said_of(body: Callable[..., object]) -> tuple[str, str]:
    assert body.__doc__, f"{body.__name__} does not say what it means"
    return body.__name__, " ".join(body.__doc__.split())


def _is_unexpected(error: Exception) -> bool:
    return not isinstance(error, BrokenRule | SkipTest)


def _leaves(error: Exception) -> Iterator[Exception]:
    """Return an error, or those in a group of errors."""
    if isinstance(error, ExceptionGroup):
        for each in cast("ExceptionGroup[Exception]", error).exceptions:
            yield from _leaves(each)
    else:
        yield error
