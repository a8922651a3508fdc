"""``docs/comparison.md`` and ``docs/coming-from.md``: sources are named, links lead somewhere, nobody is left out."""

import re

import pytest

from tests.manual import DOCS, section

PAGES = {name: (DOCS / name).read_text() for name in ("comparison.md", "coming-from.md")}
COMPARISON = PAGES["comparison.md"]
OTHERS = ("etcd", "Consul", "ZooKeeper", "Kubernetes", "tooz", "Redis")
TABLES_OF_SYSTEMS = 10
MEASURED = "What was measured here"
NEAR = 0.25
"""How far a measured figure may be from what the page says. It is also what ``make bench-check`` lets pass."""


def _anchors(text: str) -> set[str]:
    """Return what headings are linked to by."""
    headings = re.findall(
        r"^#{1,6} (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _rows(text: str) -> list[list[str]]:
    """Return the cells of each line of the tables, but for those that only draw them."""
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("name", PAGES)
def test_sources_are_named(name: str) -> None:
    """Each one that is referred to is there once, and used; files of repositories are named with their commit."""
    sources = re.findall(r"^\[([\w-]+)\]: (\S+)$", PAGES[name], re.MULTILINE)
    defined = dict(sources)
    assert len(defined) == len(sources)
    assert defined.keys() == set(re.findall(r"\]\[([\w-]+)\]", PAGES[name]))
    for source, address in sources:
        assert re.fullmatch(r"https://[a-z.]+\.(com|io|org)/[\w./-]+(#[\w-]+)?", address), source
        if "/blob/" in address:
            assert re.match(r"https://github\.com/[\w-]+/[\w-]+/blob/[0-9a-f]{40}/", address), source
    assert "](http" not in PAGES[name]


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    """To a page of ours, and to a heading that it has."""
    links = re.findall(r"\]\(([^)#]*)(?:#([\w-]+))?\)", PAGES[name])
    assert links
    for path, anchor in links:
        target = DOCS / (path or name)
        assert target.is_file(), path
        assert not anchor or anchor in _anchors(target.read_text()), f"{path}#{anchor}"


def test_nobody_is_left_out() -> None:
    """Where ours has a row, each of the others has one."""
    tables = [table for table in re.findall(r"(?:^\|.*\n)+", COMPARISON, re.MULTILINE) if "| ours |" in table]
    assert len(tables) == TABLES_OF_SYSTEMS
    for table in tables:
        named = " ".join(cells[0] for cells in _rows(table))
        assert all(other in named for other in OTHERS), table


def test_what_is_said_of_others_has_a_source() -> None:
    """In each row, unless that says of them that they do nothing."""
    for table in re.findall(r"(?:^\|.*\n)+", COMPARISON, re.MULTILINE):
        if "| ours |" in table:
            for system, *says in _rows(table):
                assert system in ("", "ours") or "][" in " ".join(says) or says[0].startswith("nothing"), (
                    f"{system}: {says}"
                )


def test_what_was_measured_is_what_performance_says() -> None:
    """About: where this fails, a newer measurement says otherwise, and the page has to."""
    performance = (DOCS / "performance.md").read_text()
    medians = {cells[0]: cells[1] for cells in _rows(performance) if re.match(r"[\d.]+ to ", cells[2])}
    said = {name: about for name, about, _ in _rows(section(MEASURED, COMPARISON)) if not name.startswith("row of")}
    (said["takeover, leader killed, time-to-live 5 s"],) = re.findall(r"after about (\S+) s", COMPARISON)
    assert len(said) == 5
    for name, about in said.items():
        assert float(about.split()[0]) == pytest.approx(float(medians[name]), rel=NEAR), (
            f"{name}: say so in docs/comparison.md"
        )
