"""The site of the documentation: what its build refuses, and that its reference has every public name."""

import re
from importlib import import_module
from pathlib import Path

import pytest

import atomix_election
from atomix_election import errors, fencing, pytest_plugin, stores, sync, testing
from tests.manual import DOCS

PROJECT = DOCS.parent
REFERENCE = {
    name
    for page in sorted((DOCS / "reference").glob("*.md"))
    for name in re.findall(r"^::: ([\w.]+)$", page.read_text(), re.MULTILINE)
}
PUBLIC = (atomix_election, sync, fencing, testing, pytest_plugin, stores)
FIXTURES = ("election_server", "election_client", "virtual_election")


def _value(name: str) -> object:
    """Return what a page of the reference names: a module, or something in one."""
    module, _, attribute = name.rpartition(".")
    try:
        return import_module(name)
    except ModuleNotFoundError:
        return getattr(import_module(module), attribute)


def test_every_public_name_is_in_the_reference() -> None:
    """Itself, or the same object under another name; the build fails on a name that is not there."""
    documented = {id(_value(name)) for name in REFERENCE}
    public = [(module.__name__, name, getattr(module, name)) for module in PUBLIC for name in module.__all__]
    public += [(pytest_plugin.__name__, name, getattr(pytest_plugin, name)) for name in FIXTURES]
    assert [f"{module}.{name}" for module, name, value in public if id(value) not in documented] == []
    assert errors.__name__ in REFERENCE


def test_every_page_has_a_place_in_the_navigation() -> None:
    """And the pages outside of docs/ that belong to the site."""
    named = set(re.findall(r"[\w/-]+\.md$", (PROJECT / "mkdocs.yml").read_text().partition("nav:")[2], re.MULTILINE))
    pages = {str(page.relative_to(PROJECT)) for page in DOCS.rglob("*.md")}
    assert named == pages | {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("said\n- one\n- two\n", "<p>said\n- one\n- two</p>"),
        ("| a |\n|---|\n| b |\n", "<p>| a |\n|---|\n| b |</p>"),
        ("```sh\nls\n```\n", "<p><code>sh ls</code></p>"),
    ],
)
def test_a_page_that_github_shows_otherwise_is_refused(text: str, html: str) -> None:
    """As Python-Markdown reads less as a block than CommonMark does."""
    pytest.importorskip("mkdocs")
    from docs import hooks

    assert hooks.differences(text, html)
    assert not hooks.differences("said\n\n- one\n", "<p>said</p><ul><li>one</li></ul>")


@pytest.mark.parametrize(
    ("html", "loaded"),
    [
        ('<script async src="https://elsewhere.example/a.js">', ["https://elsewhere.example/a.js"]),
        ('<link rel=stylesheet href="//elsewhere.example/a.css">', ["//elsewhere.example/a.css"]),
        ("<img src=http://elsewhere.example/a.png>", ["http://elsewhere.example/a.png"]),
        ('<script src="assets/a.js"><a href="https://elsewhere.example">', []),
    ],
)
def test_nothing_is_loaded_from_elsewhere(html: str, loaded: list[str]) -> None:
    """Not by a browser; a link may lead there."""
    pytest.importorskip("mkdocs")
    from docs import hooks

    assert loaded == hooks.LOADED.findall(html)


def test_external_links_are_addresses() -> None:
    """They are few, and none is tried out here."""
    pages = [*PROJECT.glob("*.md"), *DOCS.rglob("*.md")]
    links = {link for page in pages for link in re.findall(r"\]\((\w+:[^)]*)\)", page.read_text())}
    assert all(re.fullmatch(r"https://[a-z0-9.-]+\.[a-z]+(/[\w./#-]*)?", link) for link in links), links


def test_files_that_links_name_are_there() -> None:
    """Also for who has not installed what builds the site."""
    for page in [*PROJECT.glob("*.md"), *DOCS.rglob("*.md")]:
        for link in re.findall(r"\]\(([^):#]+)[^):]*\)", page.read_text()):
            assert (page.parent / link).resolve().is_relative_to(PROJECT), link
            assert Path(page.parent, link).exists(), f"{page.name}: {link}"
