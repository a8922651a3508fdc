"""Spoil one block of the documentation after the other, and see its test fail: ``python -m tests.spoil [PAGE...]``.

Each line of commands is spoiled by itself. It works on a copy of what git knows, and takes about twenty minutes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.manual import OTHER_LANGUAGES, Block, blocks
from tests.test_blocks import CLAIMS, PROJECT

LONGEST_S = 150.0


def spoiled(block: Block) -> Generator[tuple[str, str]]:
    """Give what is spoiled, and the text of the block then."""
    if block.language == "python":
        first, rest = block.text.split("\n", 1)
        yield first, f"{first}\nraise RuntimeError('spoiled')\n{rest}"
    elif block.language in OTHER_LANGUAGES:
        yield "all of it", block.text.translate(str.maketrans("aeiou", "eioua"))
    else:
        lines = block.text.splitlines(keepends=True)
        for number, line in enumerate(lines):
            yield line.strip(), "".join([*lines[:number], f"no-such-command {line}", *lines[number + 1 :]])


def in_page(block: Block, text: str) -> str:
    """Return the text of a block as it stands in its page."""
    return text if block.language else "".join(f"    {line}" for line in text.splitlines(keepends=True))


def replaced(page: str, number: int, text: str) -> str:
    """Return a page with another text in one of its blocks."""
    *before, block = blocks(page)[: number + 1]
    begin = 0
    for each in before:
        begin = page.index(in_page(each, each.text), begin) + len(in_page(each, each.text))
    return page[:begin] + page[begin:].replace(in_page(block, block.text), in_page(block, text), 1)


def fails(copy: Path, test: str) -> bool:
    """Run a test in the copy."""
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", f"tests/{test}"],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    return ended.returncode in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)


def main(pages: list[str]) -> int:
    """Return how many tests did not notice."""
    unnoticed = tried = 0
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True)
        for name in filter(None, listed.stdout.split("\0")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, copy / name)
        for page in pages or CLAIMS:
            right = (PROJECT / page).read_text()
            for number, (block, (_, _, test)) in enumerate(zip(blocks(right), CLAIMS[page], strict=True)):
                for what, text in spoiled(block):
                    (copy / page).write_text(replaced(right, number, text))
                    noticed = fails(copy, test)
                    tried += 1
                    unnoticed += not noticed
                    sys.stdout.write(f"{'noticed' if noticed else 'NOT NOTICED'}: {page}, {block.heading}: {what}\n")
                    sys.stdout.flush()
            (copy / page).write_text(right)
    sys.stdout.write(f"{tried} spoiled, {unnoticed} not noticed\n")
    return min(unnoticed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
