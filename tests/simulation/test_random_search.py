"""The simulator finds nothing in the package, finds planted bugs, and repeats itself."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from atomix_election.core import campaign, election
from atomix_election.core.campaign import Answer, Campaign
from atomix_election.core.election import Election, Transition
from atomix_election.core.floors import Floors
from atomix_election.engine.engine import Engine
from atomix_election.model import ElectionId
from atomix_election.stores.base import Record
from atomix_election.stores.memory import MemoryStore
from atomix_election.testing.simulation import Outcome
from tests.simulation.search import replay_command, search

SEEDS = 12
"""Runs of a search in this suite, each with some ten virtual seconds of faults and what comes after them."""
MOST_SEEDS = 300
"""Within so many a planted bug is found."""
RARE = 115
"""Where the search for a bug begins that shows in one seed of sixty."""


def _environment(hash_seed: str) -> dict[str, str]:
    return {**os.environ, "PYTHONHASHSEED": hash_seed}


def _search(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.simulation.search", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=_environment("0"), timeout=55, check=False)


@pytest.mark.parametrize("first", [0, 1000, 2000, 3000, 4000, 5000, 6000])
def test_no_seed_breaks_a_rule(first: int) -> None:
    """A failure names the seed and the command that replays it."""
    found = _search("--first", str(first), "--seeds", str(SEEDS))
    assert found.returncode == 0, found.stdout + found.stderr


def test_a_replay_repeats_the_run() -> None:
    """Equal seeds give equal traces, in processes of their own too; other seeds give others."""
    traces = [_search("--seed", seed).stdout.splitlines()[-1] for seed in ("7", "7", "8")]
    assert all(trace.startswith("trace ") for trace in traces)
    assert traces[0] == traces[1] != traces[2]


def _violations(wanted: str, first: int) -> Outcome | None:
    found = (
        each for each in search(first, seeds=MOST_SEEDS, store="memory") if each.violation and wanted in each.violation
    )
    return next(found, None)


def _too_small_margin(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(campaign, "MARGIN_PART", -0.5)


def _deadline_from_the_answer(patch: pytest.MonkeyPatch) -> None:
    renewed = Campaign.renewed

    def counted_from_the_answer(self: Campaign, answer: Answer, now: float) -> Any:
        if answer.renewal in self._sent:
            self._sent[answer.renewal] = now
        return renewed(self, answer, now)

    patch.setattr(Campaign, "renewed", counted_from_the_answer)


def _nobody_waits_for_the_displaced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Election, "acting", property(lambda self: self.candidates[0] if self.candidates else None))


def _confirmed_too_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Campaign, "_confirmable", lambda self: set(self._revoked))


def _never_swept(patch: pytest.MonkeyPatch) -> None:
    async def not_at_all(*_: object) -> None: ...

    patch.setattr(Engine, "_expire", not_at_all)


def _enters_at_the_front(patch: pytest.MonkeyPatch) -> None:
    enter = election._RULES[election.Enter]

    def in_front(before: Election, *rest: Any) -> Transition:
        after = enter(before, *rest)
        if len(after.election.candidates) <= len(before.candidates):
            return after
        last = after.election.candidates[-1]
        return Transition(after.election._replace(candidates=(last, *before.candidates)))

    patch.setattr(election, "_RULES", {**election._RULES, election.Enter: in_front})


def _number_stays(patch: pytest.MonkeyPatch) -> None:
    def count(before: Election, _: object, after: Election, *_more: object) -> Election:
        return after if after == before else after._replace(number=1, revision=before.revision + 1)

    patch.setattr(election, "_count", count)


def _forgotten_with_its_number(patch: pytest.MonkeyPatch) -> None:
    forget = MemoryStore.forget

    async def without_floor(self: MemoryStore, election_id: ElectionId, *, expected: int) -> Record | None:
        floors = dict(self._floors)
        record = await forget(self, election_id, expected=expected)
        self._floors = floors
        return record

    patch.setattr(MemoryStore, "forget", without_floor)


def _restored_as_it_was(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Floors, "restored", lambda self, *_, **__: self)


def _admitted_at_once_after_a_restore(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Engine, "check_admits", lambda _: None)


def _admitted_too_early_after_a_restore(patch: pytest.MonkeyPatch) -> None:
    check = Engine.check_admits

    def half(self: Engine) -> None:
        if self._admits_from - self._clock.now() > self.limits.max_ttl_s / 2:
            check(self)

    patch.setattr(Engine, "check_admits", half)


@pytest.mark.parametrize(
    ("plant", "violation", "first"),
    [
        (_too_small_margin, "two lead", 0),
        (_deadline_from_the_answer, "two lead", RARE),
        (_nobody_waits_for_the_displaced, "two lead", 0),
        (_confirmed_too_early, "two lead", 0),
        (_never_swept, "", 0),
        (_enters_at_the_front, "the order of", 0),
        (_number_stays, "did not grow", 0),
        (_forgotten_with_its_number, "fell below", 0),
        (_restored_as_it_was, "fell below", 0),
        (_admitted_at_once_after_a_restore, "was admitted", 0),
        (_admitted_too_early_after_a_restore, "was admitted", 0),
    ],
)
def test_a_planted_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], violation: str, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A simulator that finds nothing proves nothing."""
    plant(monkeypatch)
    found = _violations(violation, first)
    assert found is not None
    assert replay_command(found.seed).endswith(str(found.seed))
