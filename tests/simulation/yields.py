"""How many runs of a search such as that of ``make simulate`` it takes to find a planted bug, as seeds choose all.

Which bugs: ``python -m tests.simulation.yields NAME...``.
The tests look for each bug where it shows soon; here every seed chooses its store and its faults, as in a search.
"""

import os
import sys
from itertools import count

import pytest

from atomix_election.testing.search import search
from tests.simulation.test_planted_bugs import BUGS

STARTS = (0, 1000, 2000)
"""The seeds from which it is looked for, one search each."""
MOST_RUNS = 60
"""After so many runs it counts as not found."""


def runs_until_found(name: str, first: int) -> int | None:
    """Return which run of a search is the first one to break a rule, or None. The bug stays planted."""
    BUGS[name].plant(pytest.MonkeyPatch())
    for number, outcome in zip(count(1), search(first, seeds=MOST_RUNS), strict=False):
        if outcome.violation:
            return number
    return None


def main() -> None:
    """Measure each in a process of its own."""
    for name in sys.argv[1:]:
        found: list[str] = []
        for first in STARTS:
            reading, writing = os.pipe()
            if not (child := os.fork()):
                try:
                    os.write(writing, str(runs_until_found(name, first) or f"not in {MOST_RUNS}").encode())
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
            found.append(os.read(reading, 100).decode())
            os.close(reading)
            os.close(writing)
        sys.stdout.write(f"{name}: {', '.join(found)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
