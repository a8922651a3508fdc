"""Environments as users have them: with nothing in them but what pip brings for the wheel."""

import os
import subprocess
import sys
import venv
from pathlib import Path

DIST = Path(__file__).parents[2] / "dist"
INSTALLATION_S = 55.0
COMMAND_S = 30.0


def wheel() -> Path:
    """Return the one wheel that was built."""
    (found,) = DIST.glob("*.whl")
    return found


def required(*extras: str) -> str:
    """Return the wheel with extras, as pip takes it."""
    return f"{wheel()}[{','.join(extras)}]" if extras else str(wheel())


def pip(*arguments: str) -> None:
    """Run the pip of this environment, which may act on another."""
    subprocess.run([sys.executable, "-m", "pip", "-qq", *arguments], timeout=INSTALLATION_S, check=True)


def gather(directory: Path, *requirements: str) -> Path:
    """Fetch the wheels of requirements: once for all environments, as PyPI may be slow."""
    pip("wheel", "--wheel-dir", str(directory), *requirements)
    return directory


class Environment:
    """An environment of its own, without a sight of this one, and not even with pip.

    Args:
        directory: where it is made.
        wheels: what ``gather`` brought; nothing else is asked.
        requirements: what is installed.
    """

    def __init__(self, directory: Path, wheels: Path, *requirements: str) -> None:
        self.directory = directory
        self.bin = directory / "bin"
        venv.create(directory, with_pip=False, symlinks=True)
        pip(
            "--python",
            str(self.bin / "python"),
            "install",
            "--no-index",
            "--find-links",
            str(wheels),
            *requirements,
        )

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of its programs to the end, away from the checkout."""
        return subprocess.run(
            [str(self.bin / program), *arguments],
            cwd=self.directory,
            env=self.variables(),
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )

    def variables(self) -> dict[str, str]:
        """Return the caller's environment as if this one were activated, without settings of ours."""
        ours = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ATOMIX_ELECTION_", "PYTHON", "COVERAGE"))
        }
        return ours | {"PATH": f"{self.bin}:{os.environ['PATH']}"}
