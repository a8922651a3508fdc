"""The diagrams of the documentation show what the code does now."""

import re
from typing import get_args
from xml.etree import ElementTree

import pytest

from atomix_election.core.commands import Command
from docs import diagrams
from tests.manual import DOCS

IMAGE = re.compile(r"!\[[^]]+\]\(diagrams/(\w+)\.svg\)")
SPACE = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", diagrams.DIAGRAMS)
def test_a_diagram_is_up_to_date(name: str) -> None:
    """If not: ``python -m docs.diagrams``."""
    assert (diagrams.FOLDER / f"{name}.svg").read_text() == diagrams.DIAGRAMS[name]()


@pytest.mark.parametrize("name", diagrams.DIAGRAMS)
def test_all_of_it_is_inside(name: str) -> None:
    """And it is XML."""
    root = ElementTree.fromstring(diagrams.DIAGRAMS[name]())
    *_, width, height = map(float, root.attrib["viewBox"].split())
    boxes = [each.attrib for each in root.iter(f"{SPACE}rect") if "x" in each.attrib]
    assert len(boxes) > 2
    for each in boxes:
        assert float(each["x"]) + float(each["width"]) <= width
        assert float(each["y"]) + float(each["height"]) <= height


def test_each_is_on_a_page() -> None:
    """And there is no other one."""
    shown = [name for page in DOCS.glob("*.md") for name in IMAGE.findall(page.read_text())]
    assert sorted(shown) == sorted(diagrams.DIAGRAMS) == sorted(path.stem for path in diagrams.FOLDER.iterdir())


def test_each_command_is_drawn() -> None:
    """Also a new one."""
    assert {type(each) for each in diagrams.COMMANDS.values()} == set(get_args(Command))
