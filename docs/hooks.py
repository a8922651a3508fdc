"""What MkDocs needs to know of this repository; ``mkdocs.yml`` names it.

Pages link to each other, and to files outside of docs/, by their place in the repository, as GitHub has it. So the site
has the layout of the repository, and MkDocs itself finds, or misses, what a link names.
"""

import re
from collections import Counter
from pathlib import Path

from markdown_it import MarkdownIt
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
"""Pages outside of docs/; the first one is the home of the site."""
SHOWN = ("contrib/**/*.service", "contrib/**/*.socket", "contrib/**/*.conf", "examples/**/*.py", "examples/**/*.yaml")
"""Files that pages link to."""
REFERENCE = "docs/reference/"
"""Pages that mkdocstrings fills, and only the site shows whole."""

BLOCKS = re.compile(r"<(h[1-6]|p|pre|ul|ol|li|table|tr|td|blockquote)\b")
LOADED = re.compile(r"""<(?:script|img|iframe|source|link)\b[^>]*\b(?:src|href)=["']?((?:https?:)?//[^\s"'>]+)""")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Place the files of docs/ where they are in the repository, and add those outside of it."""
    of_theme = [file for file in files if file.src_dir != config.docs_dir]
    in_docs = [
        Path(config.docs_dir, file.src_uri)
        for file in files
        if file.src_dir == config.docs_dir and file.inclusion.is_included()
    ]
    outside = [path for pattern in (*PAGES, *SHOWN) for path in sorted(ROOT.glob(pattern))]
    placed = [
        File(path.relative_to(ROOT).as_posix(), str(ROOT), config.site_dir, config.use_directory_urls)
        for path in (*in_docs, *outside)
    ]
    return Files([*of_theme, *placed])


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Refuse a page that GitHub shows otherwise: Python-Markdown wants an empty line where CommonMark wants none."""
    if not page.file.src_uri.startswith(REFERENCE) and (differing := differences(page.markdown or "", html)):
        raise PluginError(f"{page.file.src_uri}: the site shows other blocks than GitHub does: {differing}")
    return html


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse what a reader's browser would load from elsewhere."""
    if foreign := LOADED.findall(output):
        raise PluginError(f"{page.file.src_uri} loads from another host: {foreign}")
    return output


def differences(text: str, html: str) -> dict[str, tuple[int, int]]:
    """Return the tags of which there is another number than in CommonMark: how many there should be, and are."""
    expected = Counter(BLOCKS.findall(MarkdownIt("commonmark").enable("table").render(text)))
    found = Counter(BLOCKS.findall(html))
    return {tag: (expected[tag], found[tag]) for tag in sorted({*expected, *found}) if expected[tag] != found[tag]}
