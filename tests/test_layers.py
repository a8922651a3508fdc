"""The layers that pyproject.toml draws are kept."""

import subprocess
import sys
from pathlib import Path

CONFIGURATION = Path(__file__).parents[1] / "pyproject.toml"
SCRIPT = """
import sys
from importlinter.cli import lint_imports
sys.exit(lint_imports(config_filename=sys.argv[1], no_cache=True, no_logo=True))
"""


def test_import_contracts_are_kept() -> None:
    """Asked in a process of its own, as import-linter sets up logging and disables all loggers that there are."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(CONFIGURATION)],
        cwd=CONFIGURATION.parent,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert " kept, 0 broken" in ended.stdout, ended.stdout
