"""The commands and programs that guides in docs show: a command is each line of a code block in no other language."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
MANUAL = DOCS / "operating.md"
TEXT = MANUAL.read_text()
CLUSTER = (DOCS / "cluster.md").read_text()
STORES = (DOCS / "stores.md").read_text()
CLI = (DOCS / "cli.md").read_text()
RUN = (DOCS / "run.md").read_text()
OTHER_LANGUAGES = {"python", "ini", "yaml", "json", "toml", "text"}

Place = tuple[str, str]
"""A section and a heading in it, "" for what stands before its first heading."""


def commands(text: str = TEXT) -> dict[Place, list[str]]:
    """Return all commands, by where they stand."""
    found: dict[Place, list[str]] = {}
    section, heading, fence = "", "", None
    for line in text.splitlines():
        if match := re.match(r" {0,3}```+ *(\w*)", line):
            fence = match[1] if fence is None else None
        elif fence is None and (match := re.match(r"(#{1,6}) (.*)", line)):
            section, heading = (match[2], "") if len(match[1]) < 3 else (section, match[2])
        elif line.strip() and (line.startswith(("    ", "\t")) if fence is None else fence not in OTHER_LANGUAGES):
            found.setdefault((section, heading), []).append(line.strip())
    return found


def programs(text: str) -> dict[str, str]:
    """Return all blocks of Python by the file that each says it is."""
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    named = {block.split("\n", 1)[0]: block for block in blocks}
    assert len(named) == len(blocks), "two blocks are called the same"
    assert all(re.fullmatch(r"# \w+\.py", name) for name in named), f"not all are files: {list(named)}"
    return {name.removeprefix("# "): block for name, block in named.items()}


def section(name: str, text: str = TEXT) -> str:
    """Return the text of a section."""
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, name
    return found[1]


def environment() -> dict[str, str]:
    """Return the caller's environment without settings of ours, in which the command is found."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ATOMIX_ELECTION_")}
    return ours | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def run(*lines: str, directory: Path, environment: Mapping[str, str], timeout_s: float) -> str:
    """Run lines of which each must go well, and return their output."""
    ended = subprocess.run(
        ["bash", "-c", "\n".join(["set -e", *lines])],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
