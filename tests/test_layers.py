"""The layers are kept: see the import-linter contracts in pyproject.toml."""

import re
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

from tests.manual import blocks

PROJECT = Path(__file__).parents[1]
FEWEST_ROWS = 8
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"


def test_no_import_crosses_a_border() -> None:
    """In a process of its own, as the linter switches off the loggers of the one that it runs in."""
    linted = subprocess.run([sys.executable, "-c", LINT], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert " kept, 0 broken" in linted.stdout


def test_the_drawing_in_the_readme_has_the_layers() -> None:
    """From above to below: nothing that is drawn stands above what may import it."""
    contracts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "layers")
    rank = {name: number for number, layer in enumerate(layers) for name in re.findall(r"\w+", layer)}
    (drawing,) = (block.text for block in blocks((PROJECT / "README.md").read_text()) if block.language == "text")
    names = [re.findall(r"[a-z]+", line[:36]) for line in drawing.splitlines()]
    drawn = [[rank[name] for name in line if name in rank] for line in names]
    rows = [row for row in drawn if row]
    assert len(rows) == FEWEST_ROWS
    assert all(max(above) < min(below) for above, below in pairwise(rows)), rows
