"""The commands that guides in docs show: every line of a code block that is not in another language."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
MANUAL = DOCS / "operating.md"
TEXT = MANUAL.read_text()
CLUSTER = (DOCS / "cluster.md").read_text()
OTHER_LANGUAGES = {"python", "yaml", "json", "toml"}

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


def section(name: str, text: str = TEXT) -> str:
    """Return the text of a section."""
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, name
    return found[1]
