"""``docs/guarantees.md``: every rule, proof and command that it names is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
PAGE = (PROJECT / "docs" / "guarantees.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| promise |", "| | "))
]
PROMISES = [cells for cells in ROWS if "::" in cells[-1]]
FEWEST_PROMISES = 40


@cache
def _proofs(path: str) -> set[str]:
    """Return the names in a file of tests that pytest runs: tests, state machines, and classes that run them."""
    tree = ast.parse((PROJECT / "tests" / path).read_text())
    run = {
        node.value.value.id
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute) and node.value.attr == "TestCase"
        if isinstance(node.value.value, ast.Name)
    }
    named = {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    return {name for name in named if name.lower().startswith("test") or name in run}


@pytest.mark.parametrize("cells", PROMISES, ids=lambda cells: cells[0][:60])
def test_each_promise_has_a_rule_and_a_proof(cells: list[str]) -> None:
    """The module of the rule is there, and so is each test that is said to prove it."""
    _, rule, proof = cells
    modules = re.findall(r"`([a-z_0-9/]+\.py)`", rule)
    assert modules
    assert all((PROJECT / "atomix_election" / module).is_file() for module in modules), modules
    proofs = re.findall(r"`([a-z_0-9/]+\.py)::(\w+)`", proof)
    assert proofs
    for path, name in proofs:
        assert name in _proofs(path), f"{path} has no {name}"


def test_no_row_is_overlooked() -> None:
    """All rows of all tables are judged here, but for those of the searches, which have commands."""
    assert len(PROMISES) >= FEWEST_PROMISES
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    for name, _, command in (cells for cells in ROWS if "::" not in cells[-1]):
        (first, *_) = re.findall(r"`([^`]+)`", command)
        words = first.split()
        if words[0] == "make":
            assert words[1] in targets, name
        else:
            assert (PROJECT / words[2].replace(".", "/")).with_suffix(".py").is_file(), name


def test_files_and_pages_that_are_named_are_there() -> None:
    """Links and paths of whole files, in all of the page."""
    for path in re.findall(r"`(tests/[\w/]+\.py)`", PAGE):
        assert (PROJECT / path).is_file(), path
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE):
        assert (PROJECT / "docs" / link).is_file(), link
