"""``make simulate``: replay one seed, or search among many. Exits with 1 when a rule was broken."""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from itertools import count

from atomix_election.testing.simulation import HOSTS, Outcome, simulate

MINUTES_EACH = 0.15
"""Virtual minutes of faults in one run of a search; a replay has to have the same."""


def search(
    first: int, *, seeds: int | None = None, seconds: float | None = None, store: str | None = None
) -> Iterator[Outcome]:
    """Run one seed after the other until there were enough of them, or the time is over."""
    began = time.monotonic()
    for seed in count(first) if seeds is None else range(first, first + seeds):
        if seconds is not None and time.monotonic() > began + seconds:
            return
        yield simulate(seed, MINUTES_EACH, store)


def replay_command(seed: int, store: str | None = None) -> str:
    """Return what repeats a run."""
    return f"make simulate SEED={seed}" + (f" STORE={store}" if store else "")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run as the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--first", type=int, default=None, help="search from this seed on")
    parser.add_argument("--minutes", type=float, default=0.25, help="search for so long")
    parser.add_argument("--seeds", type=int, default=None, help="search among so many")
    parser.add_argument("--store", choices=sorted(HOSTS), default=None, help="only with this one")
    given = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets of strings is part of a run
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    if given.seed is not None:
        return _replay(given.seed, given.store)
    first = given.first if given.first is not None else time.time_ns() % 10**9
    seconds = None if given.seeds else given.minutes * 60
    runs = broken = 0
    for outcome in search(first, seeds=given.seeds, seconds=seconds, store=given.store):
        runs += 1
        if outcome.violation:
            broken += 1
            _say(f"seed {outcome.seed}: {outcome.violation}\n  {replay_command(outcome.seed, given.store)}")
    _say(f"{runs} runs from seed {first}, {broken} broke a rule")
    return 1 if broken else 0


def _replay(seed: int, store: str | None) -> int:
    outcome = simulate(seed, MINUTES_EACH, store)
    _say("\n".join(outcome.history))
    _say(f"seed {seed}, store {outcome.store}, faults: {', '.join(outcome.faults)}")
    _say(outcome.violation or "no rule was broken")
    _say(f"trace {outcome.trace}")
    return 1 if outcome.violation else 0


if __name__ == "__main__":
    sys.exit(main())
