"""Every command that a guide shows is run by a test that knows it."""

from types import ModuleType

import pytest

from tests import (
    test_cli_guide,
    test_cluster_guide,
    test_operating,
    test_operating_backup,
    test_operating_monitoring,
    test_operating_security,
    test_run_guide,
    test_stores_guide,
)
from tests.cli import test_limit_options
from tests.manual import CLI, CLUSTER, RUN, STORES, TEXT, commands, programs

OPERATING: tuple[ModuleType, ...] = (
    test_operating,
    test_operating_backup,
    test_operating_monitoring,
    test_operating_security,
    test_limit_options,
)
"""Each says in PLACES for which headings it runs, or knows by name, each and every line."""


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        (TEXT, OPERATING),
        (CLUSTER, (test_cluster_guide,)),
        (STORES, (test_stores_guide,)),
        (CLI, (test_cli_guide,)),
        (RUN, (test_run_guide,)),
    ],
)
def test_each_place_has_one_test(text: str, modules: tuple[ModuleType, ...]) -> None:
    """A new heading with a command needs one that runs it; a new command under a known one makes its test fail."""
    known = [place for module in modules for place in module.PLACES]
    assert sorted(known) == sorted(commands(text))


def test_no_command_is_overlooked() -> None:
    """In whatever block it stands."""
    text = """## A
    one
### B
text

        two
\tthree
```python
no = 1
# C
```
```sh
four
```
```
five
```
### D
## E
```console
$ six
```
"""
    assert commands(text) == {("A", ""): ["one"], ("A", "B"): ["two", "three", "four", "five"], ("E", ""): ["$ six"]}


def test_no_program_is_overlooked() -> None:
    """Each block of Python says which file it is, and no two are the same one."""
    assert programs("```python\n# a.py\na\n```\n```sh\nb\n```\n```python\n# b.py\n```\n") == {
        "a.py": "# a.py\na\n",
        "b.py": "# b.py\n",
    }
    for text in ("```python\nprint()\n```\n", "```python\n# a.py\n```\n```python\n# a.py\n```\n"):
        with pytest.raises(AssertionError):
            programs(text)
