"""``make soak``: servers and clients are broken in all ways that there are, under load; then their history is checked.

There is a run for each store, some in several ways, and one that looks for what sessions leave behind. Exits with 1
when a promise was broken. Equal seeds make equal plans, but not equal runs.
"""

import argparse
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import pytest

from atomix_election import ElectionError
from atomix_election.testing.history import DONE, Answered, Led, now
from tests.etcd.cluster import binary
from tests.soak.faked_clocks import library
from tests.soak.leaks import Growth, leaks, leaks_of_client
from tests.soak.report import Report
from tests.soak.run import soak
from tests.soak.site import ETCD, MEMORY, SQLITE, STORES, Plan

ENDING_S = 12.0
"""What a run takes from its last fault to its report."""
LEAST_S = 40.0
"""A run is left out where it would have less time than this, and another one of its store has that."""
WARM_UP = 100
"""Sessions before it is measured for the first time what servers use."""
SESSIONS = 1_000
"""At least after that, however little time there is."""
ROUNDS = 5
"""After so many parts of these it is measured again: what goes on growing until the end is a leak."""
FAULTS_WEIGHT, LEAKS_WEIGHT, LEAKS_OF_CLIENTS_WEIGHT = 4.0, 2.0, 1.0
"""What part of the time these get: the first two for each store."""
_FAILURES = (AssertionError, ElectionError, ExceptionGroup, TimeoutError, OSError)

Job = Callable[[Path, float], Awaitable["Report | LeakReport"]]
"""Is given a directory, and the time at which to begin with nothing more."""
WORDS = {
    "kills": "killed(?! some times|, and not)|down",
    "stops": "stopped|paused",
    "cuts": "cut",
    "times without room on a disk": "full|no file|out of space|read-only",
    "jumps of clocks": "clock",
}
"""By which it is known of what sort a fault is."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of all that is to be done.

    Args:
        name: of it.
        weight: what part of the time it gets, against those of others.
        job: what it is.
    """

    name: str
    weight: float
    job: Job


def plans(store: str, seed: int) -> list[Plan]:
    """Return what is run on a store."""
    clocks = library()
    return {
        MEMORY: [Plan(MEMORY, seed, False, 6.0, 2.5, library=clocks)],
        SQLITE: [
            Plan(SQLITE, seed, False, 6.0, 2.5, pause_s=0.03, small_disk=True),
            Plan(SQLITE, seed, True, 8.0, 3.0, quiet_s=1.7, library=clocks),
        ],
        ETCD: [
            Plan(ETCD, seed, False, 6.0, 2.5, members=3, library=clocks),
            Plan(ETCD, seed, True, 6.0, 2.5, members=3),
            Plan(ETCD, seed, True, 6.0, 2.5, members=1),
        ],
    }[store]


def parts(stores: Sequence[str], seed: int, seconds: float) -> list[Part]:
    """Return what is done one after the other in a time: for each store faults, and then a look for leaks."""
    found: list[Part] = []
    share = FAULTS_WEIGHT / (FAULTS_WEIGHT + LEAKS_WEIGHT)
    for store in stores:
        of_store = plans(store, seed)
        how_many = min(max(int(share * seconds / len(stores) / LEAST_S), 1), len(of_store))
        first = seed % len(of_store)
        chosen = (of_store + of_store)[first : first + how_many]
        found += [Part(f"faults, {store}", FAULTS_WEIGHT / how_many, partial(_faults, plan)) for plan in chosen]
        found.append(Part(f"leaks, {store}", LEAKS_WEIGHT, partial(_leaks, store)))
    found.append(Part("leaks of clients", LEAKS_OF_CLIENTS_WEIGHT, _leaks_of_client))
    return found


@dataclass(frozen=True, slots=True)
class LeakReport:
    """What came of a look for leaks."""

    what: str
    growth: Growth

    def __str__(self) -> str:
        """Return it in figures."""
        found = self.growth.leaks()
        return "\n".join([f"{self.what}: {self.growth}", *found, f"{len(found)} leaks"])

    @property
    def violations(self) -> list[str]:
        """What is used more of than before."""
        return self.growth.leaks()


async def _faults(plan: Plan, directory: Path, until: float) -> Report:
    return await soak(plan, directory, until=until)


async def _leaks(store: str, directory: Path, until: float) -> LeakReport:
    return LeakReport(store, await leaks(store, directory, WARM_UP, SESSIONS, rounds=ROUNDS, until=until))


async def _leaks_of_client(directory: Path, until: float) -> LeakReport:
    growth = await leaks_of_client(directory, WARM_UP, SESSIONS, rounds=ROUNDS, until=until)
    return LeakReport("clients that connect and close", growth)


def run(part: Part, until: float) -> Report | LeakReport | None:
    """Do a part, say what came of it, and return that, or None if it broke off."""
    directory = Path(tempfile.mkdtemp(prefix="soak-"))
    say(f"{part.name}: records in {directory} until nothing was found")
    try:
        report = anyio.run(part.job, directory, until)
    except _FAILURES:
        say(traceback.format_exc())
        return None
    say(f"{report}\n")
    if not report.violations:
        shutil.rmtree(directory)
    return report


def totals(reports: Sequence[Report | LeakReport]) -> str:
    """Return what all of them come to."""
    faults = [each for each in reports if isinstance(each, Report)]
    sessions = sum(each.growth.sessions for each in reports if isinstance(each, LeakReport))
    counts = sum((each.counts for each in faults), Counter[str]())
    sorts = {sort: sum(counts[kind] for kind in counts if re.search(words, kind)) for sort, words in WORDS.items()}
    history = [entry for each in faults for entry in each.history]
    calls = [each for each in history if isinstance(each, Answered) and each.what != "get_term"]
    acknowledged = sum(each.outcome == DONE for each in calls)
    led = [each for each in history if isinstance(each, Led)]
    return "\n".join(
        [
            ", ".join(f"{number} {sort}" for sort, number in sorts.items()),
            f"{len(history)} records, {acknowledged} commands acknowledged, {len(led)} leaderships",
            f"{sum(each.lost == 'EXPIRED' for each in led)} leaderships expired",
            f"longest takeover {max((each.longest_takeover_s() for each in faults), default=0.0):.2f} s",
            f"{sessions} sessions came and went while leaks were looked for",
            f"{sum(len(each.violations) for each in faults)} promises broken",
        ]
    )


def main() -> int:
    """Run as the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9, help="of the plans")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to go on")
    parser.add_argument("--store", choices=STORES, help="only this one")
    given = parser.parse_args()
    stores = [given.store] if given.store else [each for each in STORES if each != ETCD or _has_etcd()]
    begun = now()
    end = begun + 60 * given.minutes
    left = parts(stores, given.seed, 60 * given.minutes)
    reports: list[Report | LeakReport] = []
    failed: list[str] = []
    while left:
        weight = sum(each.weight for each in left)
        part = left.pop(0)
        report = run(part, now() + (end - now()) * part.weight / weight - ENDING_S)
        reports += [report] if report else []
        failed += [part.name] if report is None or report.violations else []
    say(f"seed {given.seed}, {now() - begun:.0f} s\n{totals(reports)}\n{', '.join(failed) or 'nothing'} failed")
    return 1 if failed else 0


def _has_etcd() -> bool:
    try:
        return bool(binary())
    except (pytest.skip.Exception, pytest.fail.Exception) as why:
        say(f"nothing is run on etcd: {why}")
        return False


def say(text: str) -> None:
    """Print it at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
