"""The contract finds what is wrong with a store: each rule has a store that breaks it, and says what is wrong."""

import unittest
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import trio.testing

from atomix_election.core.election import Election
from atomix_election.model import ElectionId
from atomix_election.stores import Record, Store
from atomix_election.stores.memory import MemoryStore
from atomix_election.testing import STORE_RULES, BrokenContract, BrokenRule, RuleLeftOut, StoreRule, check_store
from atomix_election.testing.contract.elections import ELECTION
from tests.testing.broken_stores import BROKEN, Broken, HasNoFloors, Kept, LetsTheLastOneWin, Restored

pytestmark = pytest.mark.anyio

RULES = {rule.name: rule for rule in STORE_RULES}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Both; on Trio time passes at once."""
    if request.param == "asyncio":
        return "asyncio", {}
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


class Opener:
    """Opens stores of a kind, broken or not.

    Args:
        kind: makes one.
    """

    def __init__(self, kind: Any = Restored) -> None:
        self._kind = kind

    @asynccontextmanager
    async def open_store(self) -> AsyncGenerator[Any]:
        """Open one that is new."""
        yield self._kind()

    @asynccontextmanager
    async def reopen(self, store: Kept) -> AsyncGenerator[Store]:
        """Open one again."""
        yield store.again()

    @asynccontextmanager
    async def open_restored(self) -> AsyncGenerator[Any]:
        """Open one that was restored."""
        store: Restored = self._kind()
        await store.write(ElectionId("default", "e"), ELECTION, expected=0)
        await store.open_session("default", "s", ttl_s=10.0, kept_alive=True)
        store.restore()
        yield store


def _broken() -> Iterator[object]:
    for each in BROKEN:
        for backend in each.backends:
            yield pytest.param(each, backend, id=f"{each.rule}-{each.store.__name__}-{backend}")


@pytest.mark.parametrize(("broken", "anyio_backend"), list(_broken()), indirect=["anyio_backend"])
async def test_a_broken_store_is_found(broken: Broken) -> None:
    """By the rule that it breaks, with words that say what is wrong."""
    opener, rule = Opener(broken.store), RULES[broken.rule]
    with pytest.raises(BrokenRule) as found:
        await rule.check(opener.open_store, reopen=opener.reopen, open_restored=opener.open_restored)
    assert found.value.rule == rule.name
    assert str(found.value).startswith(f"{rule.name}: {rule.description}\n  expected: ")
    assert broken.words in str(found.value)


def test_each_rule_finds_something() -> None:
    """A rule that no store breaks says nothing."""
    assert {each.rule for each in BROKEN} == RULES.keys()
    assert len(RULES) == len(STORE_RULES)


async def test_a_store_that_is_right_breaks_no_rule() -> None:
    """All are checked where all is given."""
    opener = Opener()
    checked = await check_store(opener.open_store, reopen=opener.reopen, open_restored=opener.open_restored)
    assert checked.kept == tuple(RULES)
    assert checked.left_out == {}


async def test_what_is_not_given_is_left_out_and_said() -> None:
    """And so is what does not concern a store."""

    class KnowsNothingAtOnce(MemoryStore):
        def read_now(self, election_id: ElectionId) -> Record | None:
            return None

    opener = Opener(KnowsNothingAtOnce)
    checked = await check_store(opener.open_store)
    left_out = {rule.name for rule in STORE_RULES if rule.needs}
    assert {each for each, why in checked.left_out.items() if "needs `" in why} == left_out
    assert checked.left_out["a_hold_lasts_until_it_is_ended"] == "needs `open_restored` and `reopen`"
    assert "write_now" in checked.left_out["a_write_begun_at_once_is_told_once"]
    assert {*checked.kept, *checked.left_out} == {*RULES}
    assert "  floors_stay_when_a_store_is_opened_again: needs `reopen`" in str(checked).splitlines()


async def test_a_rule_that_is_left_out_is_a_skipped_test() -> None:
    """For unittest, and for pytest, which takes over its way to say so."""
    opener = Opener(MemoryStore)
    with pytest.raises(RuleLeftOut, match="needs `reopen`") as left_out:
        await RULES["floors_stay_when_a_store_is_opened_again"].check(opener.open_store)
    assert isinstance(left_out.value, unittest.SkipTest)


async def test_all_that_is_broken_is_told_at_once() -> None:
    """And what is not."""
    opener = Opener(LetsTheLastOneWin)
    with pytest.raises(BrokenContract) as found:
        await check_store(opener.open_store)
    error = found.value
    names = [each.rule for each in error.broken]
    assert "a_write_with_another_version_changes_nothing" in names
    assert "of_concurrent_writes_with_one_version_one_is_done" in names
    assert {*names, *error.checked.kept, *error.checked.left_out} == {*RULES}
    text = str(error)
    assert text.startswith(f"{len(names)} rules are broken; {len(error.checked.kept)} rules are kept")
    assert all(str(each) in text for each in error.broken)


async def test_an_error_that_a_store_should_not_raise_is_one_of_its_faults() -> None:
    """It is the cause, also where it came out of one of several tasks."""

    class Fails(MemoryStore):
        async def write(self, election_id: ElectionId, election: Election, *, expected: int) -> Record | None:
            raise KeyError(election_id.name)

    opener = Opener(Fails)
    for name in ("what_was_written_is_read", "who_reads_and_writes_until_it_succeeds_loses_nothing"):
        with pytest.raises(BrokenRule, match=r"expected: no error\n  came:     KeyError\('e'\)") as found:
            await RULES[name].check(opener.open_store)
        assert isinstance(found.value.__cause__, KeyError)


async def test_a_store_that_is_not_new_is_told_from_a_broken_one() -> None:
    """What opens it is wrong, and not the store."""
    store = MemoryStore()
    await store.open_session("default", "s", ttl_s=10.0, kept_alive=True)
    with pytest.raises(BrokenRule, match=r"expected: a store that is new and empty(?s:.*)`open_store` was called"):
        await RULES["what_was_written_is_read"].check(Opener(lambda: store).open_store)


async def test_chance_is_an_argument() -> None:
    """The message has the seed; another one does other things."""
    opener, whens = Opener(HasNoFloors), set[str]()
    for seed in range(4):
        with pytest.raises(BrokenRule, match=f"of seed {seed}") as found:
            await RULES["any_calls_do_what_they_do_to_a_memory_store"].check(opener.open_store, seed=seed)
        whens.add(found.value.when.split(" of seed")[0])
    assert len(whens) > 1


@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
async def test_patience_has_an_end() -> None:
    """As long as is said; whoever cancels the check before is not told of a broken rule."""

    class Hangs(MemoryStore):
        async def read(self, election_id: ElectionId) -> Record:
            await anyio.sleep_forever()
            raise AssertionError

    opener, rule = Opener(Hangs), RULES["what_was_written_is_read"]
    began = anyio.current_time()
    with pytest.raises(BrokenRule, match=r"expected: an end\n  came:     none after 5 s"):
        await rule.check(opener.open_store, patience_s=5.0)
    assert anyio.current_time() - began == pytest.approx(5.0)
    with anyio.move_on_after(1.0) as limit:
        await rule.check(opener.open_store, patience_s=5.0)
    assert limit.cancelled_caught


def test_a_rule_says_what_it_means() -> None:
    """Its name is a name of Python's, which tests can have; it needs what can be given."""
    for rule in STORE_RULES:
        assert isinstance(rule, StoreRule)
        assert rule.name.isidentifier()
        assert rule.description.endswith(".")
        assert {*rule.needs} <= {"reopen", "open_restored"}
