"""The program that measures servers on etcd runs; what it measures is for people."""

import json
import subprocess
import sys
from pathlib import Path

from tests.etcd.cluster import binary


def test_it_prints_a_table_and_one_line_of_json() -> None:
    """In its tiniest form, which measures the load only."""
    binary()
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.cluster", "--tiny"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    *table, last = ended.stdout.splitlines()
    rows = json.loads(last)["rows"]
    assert len(rows) == len(table) - 2 == 6
    assert all(row["median"] > 0 for row in rows if row["unit"] == "a second")
