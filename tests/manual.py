"""The commands and programs that guides in docs show: a command is each line of a code block in no other language."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

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


class Block(NamedTuple):
    """A block of code: under which heading it stands, in which language, and what it says."""

    heading: str
    language: str
    text: str


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


def blocks(text: str) -> list[Block]:
    """Return all blocks of code of a page, those in lists and those that are indented too, as GitHub sees them."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    found: list[Block] = []
    heading = ""
    for number, token in enumerate(tokens):
        if token.type == "heading_open":
            heading = tokens[number + 1].content
        elif token.type in ("fence", "code_block"):
            found.append(Block(heading, token.info.strip(), token.content))
    return found


def requirements_are_met(line: str) -> bool:
    """Run a line that installs this package with extras; there is nothing left to do where they are what they say."""
    ended = subprocess.run(
        ["bash", "-c", line],
        env=environment() | {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode == 0 and "does not provide the extra" not in ended.stderr


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
