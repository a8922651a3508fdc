"""All rules of the contract, checked one after the other."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from atomix_election.clock import Clock
from atomix_election.testing.contract.anything import ANYTHING_RULES
from atomix_election.testing.contract.at_once import AT_ONCE_RULES
from atomix_election.testing.contract.cancelling import CANCELLING_RULES
from atomix_election.testing.contract.concurrency import CONCURRENCY_RULES
from atomix_election.testing.contract.elections import ELECTION_RULES
from atomix_election.testing.contract.forgetting import FORGETTING_RULES
from atomix_election.testing.contract.listing import LISTING_RULES
from atomix_election.testing.contract.reopening import REOPENING_RULES
from atomix_election.testing.contract.rules import PATIENCE_S, SharedStoreRule, StoreRule
from atomix_election.testing.contract.sessions import SESSION_RULES
from atomix_election.testing.contract.shared_changes import SHARED_CHANGE_RULES
from atomix_election.testing.contract.shared_elections import SHARED_ELECTION_RULES
from atomix_election.testing.contract.shared_sessions import SHARED_SESSION_RULES
from atomix_election.testing.contract.stages import (
    BrokenRule,
    OpenStore,
    OpenStores,
    Reopen,
    RuleLeftOut,
    SharedStoreT,
    StoreT,
)

STORE_RULES: tuple[StoreRule, ...] = (
    *ELECTION_RULES,
    *FORGETTING_RULES,
    *LISTING_RULES,
    *SESSION_RULES,
    *CONCURRENCY_RULES,
    *CANCELLING_RULES,
    *AT_ONCE_RULES,
    *ANYTHING_RULES,
    *REOPENING_RULES,
)
"""What every store does."""

SHARED_STORE_RULES: tuple[SharedStoreRule, ...] = (
    *SHARED_ELECTION_RULES,
    *SHARED_CHANGE_RULES,
    *SHARED_SESSION_RULES,
)
"""What a store that several engines use does beside that."""

_RuleT = TypeVar("_RuleT", StoreRule, SharedStoreRule)


@dataclass(frozen=True, slots=True)
class CheckedRules:
    """What a check came to.

    Args:
        kept: names of the rules that the store keeps.
        left_out: for each rule that was not checked, why.
    """

    kept: tuple[str, ...]
    left_out: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"{len(self.kept)} rules are kept, {len(self.left_out)} were not checked"]
        return "\n".join([*lines, *(f"  {name}: {why}" for name, why in self.left_out.items())])


class BrokenContract(AssertionError):
    """A store does not keep some rules.

    Args:
        broken: what became of each of these.
        checked: what became of the others.
    """

    def __init__(self, broken: tuple[BrokenRule, ...], checked: CheckedRules) -> None:
        super().__init__(broken, checked)
        self.broken = broken
        self.checked = checked

    def __str__(self) -> str:
        return "\n".join([f"{len(self.broken)} rules are broken; {self.checked}", *map(str, self.broken)])


async def check_store(
    open_store: OpenStore[StoreT],
    *,
    reopen: Reopen[StoreT] | None = None,
    open_restored: OpenStore[StoreT] | None = None,
    seed: int = 0,
    patience_s: float = PATIENCE_S,
) -> CheckedRules:
    """Check that a store keeps all of STORE_RULES, each with a new store, on the event loop that this is called from.

    That is asyncio's or Trio's, best one after the other. Nothing is checked of what cannot be seen from outside: that
    what was written survives a crash, what a store does when its disk is full or its server out of reach, and whether
    it holds up the event loop while it works.

    Args:
        open_store: returns an async context manager that gives a store which is new and empty, another one each time.
            Stores that are open at the same time know nothing of each other.
        reopen: is given a store whose block is over, and returns an async context manager that gives what it has kept.
            None for a store that keeps nothing: then the rules about that are left out.
        open_restored: as ``open_store``, for a store that was just restored from a backup, so that it has a ``hold_s``.
            None for one that is never restored: then the rules about that are left out.
        seed: of what is left to chance; the message of a rule that is broken has it where it matters.
        patience_s: how many seconds each rule may take; a broken store may never answer. One that never
            lets the event loop go on is not stopped. Under a virtual clock time
            passes at once while a thread works: stores that use one are checked in real time.

    Returns:
        The rules that are kept, and those that were left out, with the reason.

    Raises:
        BrokenContract: rules are broken; its message says for each what was expected, and what came.
    """
    return await _check_all(
        STORE_RULES,
        lambda rule: rule.check(
            open_store, reopen=reopen, open_restored=open_restored, seed=seed, patience_s=patience_s
        ),
    )


async def check_shared_store(
    open_stores: OpenStores[SharedStoreT],
    *,
    clock: Clock | None = None,
    seed: int = 0,
    patience_s: float = PATIENCE_S,
) -> CheckedRules:
    """Check that a store which several engines use keeps all of SHARED_STORE_RULES; ``check_store`` checks the rest.

    Args:
        open_stores: returns an async context manager that gives a store which is new and empty, opened twice, as two
            engines do; another one each time.
        clock: what time it is for the store, whose sessions expire; by default the machine's clock, which one rule then
            spends some seconds with.
        seed: see ``check_store``; and
        patience_s: too.

    Returns:
        The rules that are kept.

    Raises:
        BrokenContract: rules are broken; its message says for each what was expected, and what came.
    """
    return await _check_all(
        SHARED_STORE_RULES, lambda rule: rule.check(open_stores, clock=clock, seed=seed, patience_s=patience_s)
    )


async def _check_all(rules: Iterable[_RuleT], check: Callable[[_RuleT], Awaitable[None]]) -> CheckedRules:
    kept: list[str] = []
    left_out: dict[str, str] = {}
    broken: list[BrokenRule] = []
    for rule in rules:
        try:
            await check(rule)
        except BrokenRule as error:
            broken.append(error)
        except RuleLeftOut as error:
            left_out[rule.name] = str(error)
        else:
            kept.append(rule.name)
    checked = CheckedRules(tuple(kept), left_out)
    if broken:
        raise BrokenContract(tuple(broken), checked) from broken[0]
    return checked
