"""The README lists the extras that the project has, each with what it brings."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
DEVELOPERS = {"test", "bench", "docs", "check", "dev"}
"""Those of whoever works on the project; the README leaves them to CONTRIBUTING.md."""


def _rows() -> dict[str, set[str]]:
    """Return the packages that the README's table names, by extra."""
    readme = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| `atomix-election\[(\w+)\]` \| .* \| (.*) \|$", readme, re.MULTILINE)
    return {extra: set(packages.split(", ")) for extra, packages in rows}


def test_the_readme_lists_each_extra_with_its_packages() -> None:
    """No more, no less, by the names that pip knows."""
    expected = {
        extra: {re.split(r"[^\w.-]", requirement)[0] for requirement in requirements}
        for extra, requirements in EXTRAS.items()
        if extra not in DEVELOPERS
    }
    assert _rows() == expected


def test_no_extra_for_developers_is_gone() -> None:
    """The list above would hide another of that name."""
    assert set(EXTRAS) >= DEVELOPERS
