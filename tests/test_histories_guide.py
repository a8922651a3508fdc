"""What docs/histories.md shows works as it stands there, and it names every rule and every promise."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from atomix_election.testing import Promises, Rule, check_history
from atomix_election.testing import history as records
from tests.testing.histories import history

GUIDE = (Path(__file__).parents[1] / "docs" / "histories.md").read_text()
BLOCKS = {
    block.partition("\n")[0].removeprefix("# "): block
    for block in re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
}
WAIT_S = 30.0


@pytest.mark.parametrize(
    ("name", "said"), [("one_process.py", "0 promises broken"), ("killing.py", "records, 0 promises")]
)
def test_what_it_shows_works(name: str, said: str, tmp_path: Path) -> None:
    """Each block is a file; one of them starts the other."""
    for file, block in BLOCKS.items():
        (tmp_path / file).write_text(block)
    ended = subprocess.run(
        [sys.executable, "-W", "error", name],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert said in ended.stdout


def test_all_blocks_are_run() -> None:
    """Those above, and the one that is started by another."""
    assert set(BLOCKS) == {"one_process.py", "worker.py", "killing.py"}
    assert "worker.py" in BLOCKS["killing.py"]


def test_the_violation_that_it_shows_is_one() -> None:
    """To the letter."""
    (shown,) = re.findall(r"^```text\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    (violation,) = check_history(
        history("""
            1-2 A: enter a -> 1/1 a
            2-3 B: enter b -> 1/2 a b
            5-6 A: renewed 6
            7-8 x: get_term -> 2/3 b
            8-9 x: get_term -> 2/3 b""")
    ).violations
    assert shown == f"{violation}\n"


def _first_column(heading: str) -> list[str]:
    section = GUIDE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \|", section, re.MULTILINE)
    return rows[1:]


def test_every_rule_is_explained() -> None:
    """By its own words, and in its order."""
    assert sorted(_first_column("The rules")) == sorted(rule.value for rule in Rule)


def test_every_promise_is_explained() -> None:
    """Each parameter."""
    names = [name for row in _first_column("What was promised") for name in re.findall(r"`(\w+)`", row)]
    assert sorted(names) == sorted(field.name for field in dataclasses.fields(Promises))


def test_every_record_is_explained() -> None:
    """Each kind."""
    names = [name for row in _first_column("What is recorded") for name in re.findall(r"`(\w+)`", row)]
    assert sorted(names) == sorted(records.KINDS)
