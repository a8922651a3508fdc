"""Every limit is an option of ``serve``, stands in the manual with its default, and comes into force."""

import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import anyio
import pytest

from atomix_election import ConnectionLimits, ElectionLimits, LimitExceeded
from atomix_election.cli.limit_options import limit_option
from atomix_election.model import MAX_ID_BYTES
from atomix_election.service import Call, ElectionService
from tests.cli.processes import Running, run, with_service
from tests.manual import commands, section

PROJECT = Path(__file__).parents[2]
SECTION = "Limits"
PLACES = {(SECTION, "What hostile peers cost")}
LIMITS = [*fields(ElectionLimits), *fields(ConnectionLimits)]


def rows() -> dict[str, list[str]]:
    """Return the cells of the manual's table of limits, by the name of the limit."""
    lines = re.findall(r"^\|.*\|$", section(SECTION), re.MULTILINE)
    cells = [[each.strip() for each in line.strip("|").split("|")] for line in lines]
    return {name.strip("`"): rest for name, *rest in cells if name.startswith("`")}


@pytest.mark.parametrize("limit", LIMITS, ids=lambda each: each.name)
def test_the_manual_tells_the_truth(limit: object) -> None:
    """Default and option of each limit."""
    name, default = limit.name, limit.default  # type: ignore[attr-defined]
    said, option, *what = rows()[name]
    assert float(said.split()[0].replace(",", "")) == default
    assert option == f"`{limit_option(name)}`"
    assert what[0]


def test_the_manual_has_no_limit_that_is_not_there() -> None:
    """But for those that are no options."""
    assert rows().keys() - {each.name for each in LIMITS} == {"min_session_ttl", "max_session_ttl", "id length"}
    assert rows()["id length"][0].split()[0] == str(MAX_ID_BYTES)


def test_the_command_that_measures_is_there() -> None:
    """It runs tests of this suite, and is itself run here up to their beginning."""
    ((line,),) = [commands()[place] for place in PLACES]
    python, *words = shlex.split(line)
    assert python == ".venv/bin/python"
    collected = subprocess.run(
        [sys.executable, *words, "--collect-only"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert collected.returncode == 0, collected.stdout
    assert "test_hostile_peers.py::" in collected.stdout


def test_help_shows_them() -> None:
    """With their defaults."""
    shown = run("serve", "--help").stdout
    for each in LIMITS:
        assert limit_option(each.name) in shown


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5"])
def test_a_limit_that_is_none_is_refused(value: str) -> None:
    """Status 2, as for every bad option."""
    ended = run("serve", "--max-sessions", value)
    assert ended.returncode == 2
    assert "--max-sessions" in ended.stderr


def test_limits_that_contradict_are_refused_in_words() -> None:
    """Status 1, with both."""
    ended = run("serve", "--max-calls", "10", "--max-calls-per-connection", "20")
    assert ended.returncode != 0
    assert "max_calls_per_connection, 20," in ended.stderr
    assert "max_calls, 10," in ended.stderr
    assert "Traceback" not in ended.stderr


async def fill(service: ElectionService) -> None:
    """Reach three limits."""
    call = Call("e", session="s")
    await service.create(call)
    await service.enter(call, "a")
    with pytest.raises(LimitExceeded, match="--max-candidates"):
        await service.enter(call, "b")
    with pytest.raises(LimitExceeded, match="--max-elections"):
        await service.create(Call("f", session="s"))
    with pytest.raises(LimitExceeded, match="--max-message-bytes"):
        await service.enter(call, "c" * 200)
    with pytest.raises(LimitExceeded, match="--max-sessions"):
        await service.create(Call("e", session="t"))
    assert (await service.get_term(call)).candidates == ("a",)


def test_options_come_into_force() -> None:
    """Of both kinds."""
    options = ["--max-candidates", "1", "--max-elections", "1", "--max-sessions", "1", "--max-message-bytes", "100"]
    with Running("serve", "--listen", "127.0.0.1:0", "--store", "memory://", *options) as server:
        assert with_service(server.target(), _done) is None


async def _done(service: ElectionService) -> None:
    with anyio.fail_after(10):
        await fill(service)
