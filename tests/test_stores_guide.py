"""The programs and commands of ``docs/stores.md`` do what it says."""

import re
import runpy
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from atomix_election import StoreError
from atomix_election.model import ElectionId
from atomix_election.stores import Record
from atomix_election.stores.memory import MemoryStore
from atomix_election.testing import SHARED_STORE_RULES, STORE_RULES, BrokenRule
from atomix_election.testing.contract.at_once import AT_ONCE_RULES
from atomix_election.testing.sqlite_host import directory_in_memory
from tests import manual

COMMANDS = manual.commands(manual.STORES)
PLACES = set(COMMANDS)
PROGRAMS = manual.programs(manual.STORES)
WAIT_S = 30.0

LEFT_OUT = {rule.name for rule in STORE_RULES if "open_restored" in rule.needs} | {
    rule.name for rule in AT_ONCE_RULES if rule.name != "what_is_known_at_once_is_the_newest"
}
"""What the example of the guide does not do."""
KEPT = len(STORE_RULES) - len(LEFT_OUT)


@pytest.fixture
def directory() -> Generator[Path]:
    """Where all programs of the guide are, and what they write."""
    with directory_in_memory() as directory:
        for name, program in PROGRAMS.items():
            (directory / name).write_text(program)
        yield directory


def run(directory: Path, *lines: str) -> str:
    """Run lines of the guide, which must go well, and return their output."""
    environment = manual.environment() | {"TMPDIR": str(directory)}
    return manual.run(*lines, directory=directory, environment=environment, timeout_s=WAIT_S)


def test_the_example_keeps_the_contract(directory: Path) -> None:
    """On both event loops, as a program and as tests; what it does not do is shown as left out."""
    check, test = COMMANDS["Checking it", ""]
    output = run(directory, check)
    assert output.count(f"{KEPT} rules are kept, {len(LEFT_OUT)} were not checked") == 2
    assert set(re.findall(r"^  (\w+): ", output, re.MULTILINE)) == LEFT_OUT
    assert f"{2 * KEPT} passed, {2 * len(LEFT_OUT)} skipped" in run(directory, f"{test} -p no:cacheprovider -n 0")


def test_an_election_runs_on_the_example(directory: Path) -> None:
    """And goes on from what is in the file."""
    lines = COMMANDS["An election on it", ""]
    assert [run(directory, line) for line in lines] == [f"leads with fencing token {number}\n" for number in (1, 2)]


def test_the_example_has_one_user_at_a_time(directory: Path) -> None:
    """The next one is told so."""
    open_json_store = runpy.run_path(str(directory / "json_store.py"))["open_json_store"]

    async def open_twice() -> None:
        async with open_json_store(directory / "elections.json"):
            with pytest.raises(StoreError, match="is in use by another process"):
                async with open_json_store(directory / "elections.json"):
                    pass

    anyio.run(open_twice)


def test_what_is_said_of_a_broken_store_is_what_the_guide_shows() -> None:
    """But for what it leaves out."""

    class Broken(MemoryStore):
        async def read(self, election_id: ElectionId) -> Record:
            return await super().read(election_id._replace(namespace="default"))

    @asynccontextmanager
    async def open_store() -> AsyncGenerator[MemoryStore]:
        yield Broken()

    (shown,) = re.findall(r"^```text\n(.*?)\n```$", manual.STORES, re.MULTILINE | re.DOTALL)
    (rule,) = (rule for rule in STORE_RULES if rule.name == shown.partition(":")[0])
    with pytest.raises(BrokenRule) as found:
        anyio.run(rule.check, open_store)
    assert re.fullmatch(re.escape(shown).replace("…", ".*"), str(found.value))


def test_a_shared_store_is_checked(directory: Path) -> None:
    """With two who have opened it."""
    (line,) = COMMANDS["A store that several engines use", ""]
    assert run(directory, line) == f"{len(SHARED_STORE_RULES)} rules are kept, 0 were not checked\n"


def test_each_program_is_run() -> None:
    """By a command, or by another program."""
    words = {word for lines in COMMANDS.values() for line in lines for word in line.split()}
    assert PROGRAMS.keys() - words == {"json_store.py"}
