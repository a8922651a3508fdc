"""The layers are kept: see the import-linter contracts in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"


def test_no_import_crosses_a_border() -> None:
    """In a process of its own, as the linter switches off the loggers of the one that it runs in."""
    linted = subprocess.run([sys.executable, "-c", LINT], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert " kept, 0 broken" in linted.stdout
