"""What docs/blocking.md shows runs as it stands there, and does what it says."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.manual import DOCS, programs

WAIT_S = 20.0
GUIDE = (DOCS / "blocking.md").read_text()
PROGRAMS = programs(GUIDE)
OUTPUTS = {
    "report.py": "page 0 with fencing token 1\npage 1 with fencing token 1\npage 2 with fencing token 1\n",
    "worker.py": "".join(f"step {step} with fencing token 1\n" for step in range(3)) + "done\n",
    "cron.py": "first works with fencing token 1\n"
    "second has nothing to do: 'second' did not lead 'backup' within 0.2 s\n",
    "threads.py": "north: 1, east: 1, south: 1, west: 1\n['east', 'north', 'south', 'west']\n",
    "watch.py": "at first None\nthen node-1\nand nothing since\n",
}


def test_every_block_is_run() -> None:
    """And is a program."""
    assert PROGRAMS.keys() == OUTPUTS.keys()
    assert GUIDE.count("```") == 2 * len(PROGRAMS)


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_program_does_what_is_said(name: str, tmp_path: Path) -> None:
    """Without a word on stderr."""
    (tmp_path / name).write_text(PROGRAMS[name])
    ended = subprocess.run(
        [sys.executable, "-W", "error", name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == OUTPUTS[name]


def test_types_are_known_to_users(tmp_path: Path) -> None:
    """A type checker in its strict mode has nothing to say of the programs, if it is installed."""
    pytest.importorskip("pyright")
    for name, program in PROGRAMS.items():
        (tmp_path / name).write_text(program)
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    checked = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
