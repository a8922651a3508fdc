"""Every command that docs/operating.md shows is run by a test that knows it."""

from tests import test_operating, test_operating_backup, test_operating_monitoring, test_operating_security
from tests.cli import test_limit_options
from tests.manual import commands

MODULES = (
    test_operating,
    test_operating_backup,
    test_operating_monitoring,
    test_operating_security,
    test_limit_options,
)
"""Each says in PLACES for which headings it runs, or knows by name, each and every line."""


def test_each_place_has_one_test() -> None:
    """A new heading with a command needs one that runs it; a new command under a known one makes its test fail."""
    known = [place for module in MODULES for place in module.PLACES]
    assert sorted(known) == sorted(commands())


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
