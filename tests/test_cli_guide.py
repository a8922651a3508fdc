"""``docs/cli.md`` lists the commands, variables and statuses that there are, and its lines do what it says."""

import json
import re
import shlex
import signal
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import anyio
import click

from atomix_election.cli import COMMANDS, frame
from atomix_election.cli.statuses import STATUSES
from atomix_election.service import Call, ElectionService
from tests import manual
from tests.cli.processes import Running, ask, run, with_service
from tests.manual import CLI
from tests.ports import free_port

LINES = manual.commands(CLI)
PLACES = set(LINES)
ELECTION = "nightly-report"
CANDIDATES = ("anna", "bruno", "carla")
WAIT_S = 30.0
SERVE, *LOOK, WATCH = LINES["Looking", ""]

COMMAND_OF = {name: import_module(f"atomix_election.cli.{name.replace('-', '_')}").command for name in COMMANDS}


def rows(heading: str) -> list[list[str]]:
    """Return the cells of all tables of a section, without their heads."""
    found = re.findall(r"^\|(.*)\|$", manual.section(heading, CLI), re.MULTILINE)
    cells = [[cell.strip() for cell in row.split(" | ")] for row in found]
    heads = {number for number, row in enumerate(found) if set(row) <= set("-|")}
    return [row for number, row in enumerate(cells) if number not in heads and number + 1 not in heads]


def with_three(work: Callable[[str], None]) -> None:
    """Run the guide's server on a free port, where three stand, and do something with its target."""
    port = str(free_port())

    async def entered(service: ElectionService) -> None:
        call = Call(ELECTION, session="of-the-test")
        await service.create(call)
        for candidate in CANDIDATES:
            await service.enter(call, candidate)
        await anyio.to_thread.run_sync(work, f"grpc://127.0.0.1:{port}")

    with Running(*shlex.split(SERVE.replace("5678", port))[1:]) as server:
        with_service(server.target(), entered)
        assert server.end(signal.SIGTERM)[:2] == (0, "")


def shell(target: str, *lines: str) -> str:
    """Run lines that must go well, with a target, and return their output."""
    environment = manual.environment() | {"ATOMIX_ELECTION_TARGET": target}
    return manual.run(*lines, directory=Path.cwd(), environment=environment, timeout_s=WAIT_S)


def test_all_commands_are_listed() -> None:
    """In order, with their arguments, and what the program itself says of them."""
    usage = {
        name: " ".join([name, *command.collect_usage_pieces(click.Context(command))[1:]])
        for name, command in COMMAND_OF.items()
    }
    assert rows("Commands") == [[f"`{usage[name]}`", what] for name, what in COMMANDS.items()]


def test_all_variables_are_listed() -> None:
    """With the option of each, and by the commands that take them."""
    taken: dict[tuple[str, str], list[str]] = {}
    for name, command in COMMAND_OF.items():
        for each in command.params:
            if each.envvar:
                taken.setdefault((f"`{each.opts[0]}`", f"`{each.envvar}`"), []).append(name)
    assert sorted(tuple(row[:2]) for row in rows("Where the elections are")) == sorted(taken)
    text = manual.section("Where the elections are", CLI)
    before_each = re.findall(r"^(?:`list`|Those)[^|]*", text, re.MULTILINE)
    first, second = [set(re.findall(r"`([a-z][a-z-]*)`", sentence)) for sentence in before_each]
    assert first == set(taken["`--target`", "`ATOMIX_ELECTION_TARGET`"])
    assert second == set(taken["`--store-ca`", "`ATOMIX_ELECTION_STORE_CA`"])


def test_all_statuses_are_listed() -> None:
    """As help has them."""
    assert rows("Exit statuses") == [[str(status), what] for status, what in STATUSES.items()]


def test_who_prints_json_is_listed() -> None:
    """That is everyone who prints anything but a log, a show, or what another program prints."""
    listed = {name for row in rows("For programs") for name in re.findall(r"`([a-z-]+)`", row[0])}
    able = {name for name, command in COMMAND_OF.items() if any(each.name == "as_json" for each in command.params)}
    assert listed == able
    assert listed == set(COMMANDS) - {"serve", "run", "demo"}


def test_the_extras_are_there() -> None:
    """Of the line that installs it: here all of it is there already."""
    (line,) = LINES["The command", ""]
    assert line.startswith("pip install 'atomix-election[")
    assert manual.requirements_are_met(line)
    assert not manual.requirements_are_met(line.replace("[cli,", "[nothing,"))


def test_looking() -> None:
    """The lines print who stands, JSON has the names that are listed, and ``watch`` goes on until it is interrupted."""

    def look(target: str) -> None:
        _, *lines = LOOK
        assert LOOK[0] == "export ATOMIX_ELECTION_TARGET=grpc://127.0.0.1:5678"
        output = shell(target, *lines)
        assert output.count(ELECTION) == len(lines) == 3
        for name, described in ((line.split()[1], line) for line in lines):
            (row,) = [row for row in rows("For programs") if f"`{name}`" in row[0]]
            assert set(json.loads(shell(target, f"{described} --json"))) <= set(re.findall(r"`(\w+)`", row[1]))
        with Running(*shlex.split(WATCH)[1:], "--target", target) as watch:
            assert watch.line().endswith("anna leads, waiting: bruno, carla")
            assert watch.end(signal.SIGINT) == (130, "", "")

    with_three(look)


def test_measuring() -> None:
    """The line measures the server of the variable, and prints what is shown, but for the figures."""
    (line,) = LINES["Measuring a server", ""]
    (row,) = [row for row in rows("For programs") if row[0] == "`bench`"]
    (shown,) = re.findall(r"^```text\n(.*?)^```$", manual.section("Measuring a server", CLI), re.MULTILINE | re.DOTALL)

    def bench(target: str) -> None:
        printed = shell(target, f"{line} --duration 0.05 2>/dev/null").split("\n\nThis process")[0]
        assert without_figures(printed) == without_figures(shown)
        names = json.loads(shell(target, f"{line} --duration 0.05 --json 2>/dev/null"))
        parts = {name for part in ("commands", "get_term", "handover") for name in names[part]}
        assert {*names, *parts} == set(re.findall(r"`(\w+)`", row[1]))

    with_three(bench)


def without_figures(text: str) -> list[list[str]]:
    """Return the words of each line, with nothing in the place of what is measured."""
    return [re.sub(r"[\d,.]*\d", "", line).split() for line in text.strip().splitlines()]


def test_changing_who_leads() -> None:
    """One after the other."""

    def change(target: str) -> None:
        promoted, anointed, evicted = shell(target, *LINES["Changing who leads", ""]).splitlines()
        assert promoted.endswith("anna leads, waiting: carla, bruno")
        assert anointed.endswith("bruno leads, waiting: anna, carla")
        assert evicted.endswith("bruno leads, waiting: carla")

    with_three(change)


def test_the_question_is_as_it_is_shown() -> None:
    """Character by character, but for the line of the shell and the answer."""
    text = manual.section("Changing who leads", CLI)
    (shown,) = re.findall(r"^```text\n\$ (.*?)^```$", text, re.MULTILINE | re.DOTALL)
    line, expected = shown.split("\n", 1)

    def change(target: str) -> None:
        status, said, asked = ask("y", *shlex.split(line)[1:], "--target", target)
        assert status == 0
        assert asked + "y\n" + said == expected

    with_three(change)


def test_bash_completes() -> None:
    """After that line, which is for bash; those of the others give a script."""
    (line,) = LINES["Completion", ""]
    assert "atomix-election" in shell("", line, "complete -p atomix-election")
    text = manual.section("Completion", CLI)
    for name in ("zsh", "fish"):
        assert f"{frame.COMPLETING}={name}_source atomix-election" in text
        assert run(variables={frame.COMPLETING: f"{name}_source"}).returncode == 0
