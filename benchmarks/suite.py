"""All benchmarks, one after the other, each in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT
from benchmarks.report import Row

NAMES = (
    "call",
    "inprocess",
    "durable",
    "commits",
    "handover",
    "fanout",
    "sessions",
    "scale",
    "queue_length",
    "startup",
    "cluster",
)
RESULTS = ROOT / "docs" / "performance" / "results.jsonl"
"""What ``make bench`` has measured, a benchmark a line, and docs/performance.md shows."""


class Result:
    """What one benchmark said in its line of JSON."""

    def __init__(self, line: str) -> None:
        self.line = line
        self._said: dict[str, Any] = json.loads(line)
        self.rows = [Row.of(each) for each in self._said["rows"]]

    @property
    def name(self) -> str:
        """The benchmark."""
        return self._said["benchmark"]

    @property
    def machine(self) -> dict[str, Any]:
        """What it was measured on, and with which versions."""
        return self._said["machine"]

    @property
    def load_average(self) -> float:
        """How busy that was."""
        return self._said["load_average"]

    @property
    def notes(self) -> dict[str, str]:
        """What else there is to know."""
        return self._said["notes"]


def run(names: Iterable[str], *options: str) -> Iterator[Result]:
    """Run benchmarks, show what they print, and yield what they found.

    Args:
        names: the benchmarks.
        options: of each of them.

    Raises:
        subprocess.CalledProcessError: one has failed.
    """
    for name in names:
        print(f"\n{name}\n", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *options]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
            assert process.stdout is not None
            last = ""
            for line in process.stdout:
                last = line
                if not line.startswith("{"):
                    print(line, end="", flush=True)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        yield Result(last)


def read(path: Path) -> list[Result]:
    """Return what was written to a file of results."""
    return [Result(line) for line in path.read_text().splitlines()]


def write(path: Path, results: Mapping[str, Result]) -> None:
    """Write results to a file, and leave those of other benchmarks there.

    Args:
        path: the file.
        results: by the names of their benchmarks.
    """
    all_results = {each.name: each for each in read(path)} if path.exists() else {}
    all_results.update(results)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{all_results[name].line.strip()}\n" for name in NAMES if name in all_results))
