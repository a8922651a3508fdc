"""Runs of the simulation by the thousand, in all processors: ``python -m atomix_election.testing.search --help``.

Replays one seed, or searches among many, and exits with 1 when a rule was broken.
"""

import argparse
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from threading import Thread
from types import FrameType
from typing import cast

from atomix_election.testing.simulation import HOSTS, Outcome, causes, simulate, store_of

MINUTES_EACH = 0.15
"""Virtual minutes of faults in one run of a search, see ``simulate``; a replay has to have the same."""
LONGEST_RUN_S = 300.0
"""After so many real seconds a run is taken for one that does not end."""
QUEUED = 2
"""Runs that wait for each process, so that none of them waits for the next one."""
DEFAULT_MINUTES = 0.25
"""How long a search takes that was not told."""


class NeverEnds(BaseException):
    """A run takes too long; not an Exception, so that nothing in it takes it for one of its own."""


@dataclass(slots=True)
class Summary:
    """What runs have covered.

    Args:
        stores: how many there were on each store.
        simulated_s: the virtual time of all.
        leader_changes: how often somebody began to lead.
        acknowledged: commands that were answered.
        acts: how often something went wrong, by its kind.
        broken: the outcomes of runs that broke a rule.
    """

    stores: Counter[str] = field(default_factory=Counter[str])
    simulated_s: float = 0.0
    leader_changes: int = 0
    acknowledged: int = 0
    acts: Counter[str] = field(default_factory=Counter[str])
    broken: list[Outcome] = field(default_factory=list[Outcome])

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self.stores[outcome.store] += 1
        self.simulated_s += outcome.simulated_s
        self.leader_changes += outcome.leader_changes
        self.acknowledged += outcome.acknowledged
        self.acts.update(dict(outcome.acts))
        if outcome.violation:
            self.broken.append(outcome)

    def lines(self) -> Iterator[str]:
        """Say it."""
        yield f"{self.stores.total()} runs: {_listed(self.stores)}"
        yield (
            f"{self.simulated_s / 3600:.1f} hours simulated, {self.leader_changes} changes of leader, "
            f"{self.acknowledged} commands acknowledged"
        )
        yield f"what went wrong: {_listed(self.acts)}"


def search(
    first: int,
    *,
    seeds: int | None = None,
    seconds: float | None = None,
    store: str | None = None,
    faults: Sequence[str] | None = None,
    processes: int = 1,
) -> Iterator[Outcome]:
    """Do one run after the other until there were enough of them, or the time is over.

    A run that fails itself, never ends, or takes its process with it has an outcome too, which says so. After a process
    has died the search is over: the outcomes of all runs that had begun say that it may have been theirs.

    Args:
        first: the first seed; the others follow it.
        seeds: how many; None: as many as there is time for.
        seconds: how long, in real time; runs that have begun by then are waited for. None: for as long as it takes.
        store: on which one; None: each seed chooses.
        faults: of which kinds; None: each seed chooses.
        processes: how many do so at the same time. With one it is this one, and the outcomes come in order.
    """
    ends = time.monotonic() + seconds if seconds is not None else float("inf")
    numbers = count(first) if seeds is None else range(first, first + seeds)
    if processes == 1:
        for seed in numbers:
            if time.monotonic() > ends:
                return
            yield _run(seed, store, faults)
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _begin_worker) as pool:
        run = partial(_run, store=store, faults=faults)
        yield from _in_pool(pool, numbers, ends, run, processes * QUEUED, store)


def _in_pool(
    pool: ProcessPoolExecutor,
    seeds: Iterable[int],
    ends: float,
    run: Callable[[int], Outcome],
    most: int,
    store: str | None,
) -> Iterator[Outcome]:
    waiting: dict[Future[Outcome], int] = {}

    def outcome(future: Future[Outcome]) -> Outcome:
        seed = waiting.pop(future)
        try:
            return future.result()
        except BrokenProcessPool:
            return _failed(seed, store, "a process died in this run, or in one beside it")

    for seed in seeds:
        while len(waiting) >= most:
            yield from map(outcome, wait(waiting, return_when=FIRST_COMPLETED).done)
        if time.monotonic() > ends:
            break
        try:
            waiting[pool.submit(run, seed)] = seed
        except BrokenProcessPool:
            break
    for each in list(waiting):
        if time.monotonic() <= ends or not each.cancel():
            yield outcome(each)


def _guard() -> None:
    """Let a run that does not end fail, in this process."""
    signal.signal(signal.SIGALRM, _break_off)


def _begin_worker() -> None:
    """Be a process that searches for another one, and ends as soon as that one is gone."""
    _guard()
    parent = parent_process()
    assert parent is not None, "this is the process that searches"
    Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    """End this process, whatever it does, when its parent has ended, by a signal for example."""
    parent.join()
    os._exit(1)


def _break_off(_number: int, _frame: FrameType | None) -> None:
    raise NeverEnds(f"it was not over after {LONGEST_RUN_S:g} s")


def _run(seed: int, store: str | None, faults: Sequence[str] | None) -> Outcome:
    guarded = signal.getsignal(signal.SIGALRM) is _break_off
    try:
        if guarded:
            signal.setitimer(signal.ITIMER_REAL, LONGEST_RUN_S)
        outcome = simulate(seed, MINUTES_EACH, store, faults)
    except BaseException as error:
        if _is_wanted(error):
            raise
        return _failed(seed, store, causes(error))
    finally:
        if guarded:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return replace(outcome, history=())  # a replay has it


def _is_wanted(error: BaseException) -> bool:
    """Return whether somebody wants this process to end."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(_is_wanted, cast("BaseExceptionGroup[BaseException]", error).exceptions))
    return isinstance(error, (KeyboardInterrupt, SystemExit))


def _failed(seed: int, store: str | None, why: str) -> Outcome:
    """Return what became of a run that came to no end of its own."""
    return Outcome(seed, store_of(seed, store), (), f"the run failed: {why}", trace="", history=())


def replay_command(seed: int, store: str | None = None) -> str:
    """Return what repeats a run in a checkout of this project."""
    return f"make simulate SEED={seed}" + (f" STORE={store}" if store else "")


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items())) or "nothing"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run as the arguments say."""
    parser = argparse.ArgumentParser(description="Search for interleavings that break a rule, or replay one.")
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--store", choices=sorted(HOSTS), help="on this one only")
    parser.add_argument("--first", type=int, help="search from this seed on; by default from one that the clock gives")
    parser.add_argument("--minutes", type=float, help=f"search for so long (default: {DEFAULT_MINUTES:g})")
    parser.add_argument("--seeds", type=int, help="search among so many instead")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one for each processor")
    given = parser.parse_args()
    if given.seed is not None and (given.minutes, given.seeds, given.first) != (None, None, None):
        parser.error("one seed is replayed, as long as it takes: give either a seed, or how long to search")
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets of strings is part of a run
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this very program
    if given.seed is not None:
        return _replay(given.seed, given.store)
    first = given.first if given.first is not None else time.time_ns() % 10**9
    seconds = None if given.seeds else 60 * (DEFAULT_MINUTES if given.minutes is None else given.minutes)
    summary = Summary()
    _guard()
    for outcome in search(first, seeds=given.seeds, seconds=seconds, store=given.store, processes=given.processes):
        summary.add(outcome)
        if outcome.violation:
            _say(f"seed {outcome.seed} on {outcome.store}: {outcome.violation}")
    for line in summary.lines():
        _say(line)
    for outcome in summary.broken:
        _say(f"broke a rule: {replay_command(outcome.seed, given.store)}")
    _say(f"from seed {first}, {len(summary.broken)} broke a rule")
    return 1 if summary.broken else 0


def _replay(seed: int, store: str | None) -> int:
    outcome = simulate(seed, MINUTES_EACH, store)
    _say("\n".join(outcome.history))
    _say(f"seed {seed}, store {outcome.store}, faults: {', '.join(outcome.faults)}")
    _say(outcome.violation or "no rule was broken")
    _say(f"trace {outcome.trace}")
    return 1 if outcome.violation else 0


if __name__ == "__main__":
    sys.exit(main())
