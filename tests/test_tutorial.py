"""Everything that docs/tutorial.md shows is run as it stands there, in terminals, but for the port."""

import os
import pty
import re
import select
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests import manual
from tests.cli.processes import kill_session
from tests.ports import free_port

PROJECT = manual.DOCS.parent
PAGE = (manual.DOCS / "tutorial.md").read_text()
PROGRAMS = manual.programs(PAGE)
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [text for language, text in BLOCKS if language == "sh"]
OUTPUTS = [text for language, text in BLOCKS if language == "text"]
CHECKOUT = ("atomix_election", "pyproject.toml", "README.md", "LICENSE")
"""What of the checkout is needed to install it."""
WAIT_S = 40.0
AT_ONCE_S = 2.0
AFTER_CRASH_S = 5.0
"""The time-to-live of three seconds, and some for a busy machine."""
PROMPT = "(done) "
SHELL = f'exec <"$0" >"$0" 2>&1; stty -echo; PS1="{PROMPT}" exec bash --norc --noprofile --noediting -i'
"""Whoever begins a session and opens a terminal has it for its own."""
CTRL_C = "\x03"
TRIES = 20


class Terminal:
    """A shell on a terminal, as a person has it, but that nothing that is typed is shown."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        ours, self._theirs = pty.openpty()
        self._shown = ""
        self._terminal = os.fdopen(ours, "r+b", buffering=0)
        self._shell = subprocess.Popen(
            ["bash", "-c", SHELL, os.ttyname(self._theirs)],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def type(self, text: str) -> None:
        """Type something, which mostly ends with Enter."""
        self._terminal.write(text.encode())

    def run(self, text: str) -> str:
        """Type lines of which each has to end by itself, and well, and return what they print."""
        printed = ""
        for line in text.splitlines():
            self.type(f"{line}\necho it exits with $?\n")
            printed += self.wait_for(r"(?s)(.*?)(?=it exits with \d+\n)")
            assert self.wait_for(r"it exits with (\d+)\n") == "0", f"{line}: {printed}"
        return printed.replace(PROMPT, "")

    def wait_for(self, pattern: str, timeout_s: float = WAIT_S) -> str:
        """Wait until something is shown, forget all up to its end, and return its first group."""
        deadline = time.monotonic() + timeout_s
        while not (found := re.search(pattern, self._shown)):
            readable, _, _ = select.select([self._terminal], [], [], max(deadline - time.monotonic(), 0))
            assert readable, f"{pattern} is not in: {self._shown}"
            self._shown += self._terminal.read(4000).decode().replace("\r\n", "\n")
        self._shown = self._shown[found.end() :]
        return found[1] if found.groups() else found[0]

    def wait_for_job(self) -> None:
        """Wait until the shell has given the terminal to what it runs, which it says before it does so."""
        deadline = time.monotonic() + WAIT_S
        while os.tcgetpgrp(self._terminal.fileno()) == self._shell.pid:
            assert time.monotonic() < deadline
            time.sleep(0.01)  # it tells nobody

    def close(self) -> None:
        """Go away, and end the shell and all that it runs: a server takes it for a wish to read its files again."""
        os.close(self._theirs)
        self._terminal.close()
        kill_session(self._shell.pid)
        self._shell.wait(WAIT_S)


INSTALL, ACTIVATE, FIRST, SERVE, START, WAIT, CRASH, LOOK, TO_FRONT, LEDGER, TEST = COMMANDS
FIRST_OUTPUT, LOOK_OUTPUT, LEDGER_OUTPUT = OUTPUTS


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where pip finds all but itself and the package, so that it asks no index."""
    packages = tmp_path_factory.mktemp("packages")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if re.split(r"[-.]", path.name)[0] not in ("pip", "atomix_election", "__editable__"):
            (packages / path.name).symlink_to(path)
    return manual.environment() | {
        "PYTHONPATH": str(packages),
        "PIP_NO_BUILD_ISOLATION": "false",  # which is how pip is told that there is to be none
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTEST_ADDOPTS": "-p no:asyncio -p no:cacheprovider -W error --color=no",
        "VIRTUAL_ENV_DISABLE_PROMPT": "1",
    }


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Path:
    """The directory that the first lines make, with the programs that are shown."""
    checkout = tmp_path_factory.mktemp("tutorial") / "checkout"
    checkout.mkdir()
    for name in CHECKOUT:
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        copy(PROJECT / name, checkout / name)
    with closing(Terminal(checkout, environment)) as terminal:
        terminal.run(INSTALL)
        directory = Path(terminal.run("pwd").strip())
    port = str(free_port())
    for name, program in PROGRAMS.items():
        (directory / name).write_text(program.replace("5678", port))
    (directory / "port").write_text(port)
    return directory


@pytest.fixture
def terminals(tour: Path, environment: dict[str, str]) -> Generator[list[Terminal]]:
    """Three, in that environment."""
    with ExitStack() as open_ones:
        three = [open_ones.enter_context(closing(Terminal(tour, environment))) for _ in range(3)]
        for each in three:
            each.run(ACTIVATE)
        yield three


def test_the_package_was_installed(terminals: list[Terminal], tour: Path) -> None:
    """Itself, and not the checkout that these tests are of."""
    where = terminals[0].run("python -c 'import atomix_election; print(atomix_election.__file__)'")
    assert Path(where.strip()).is_relative_to(tour / ".venv")


@pytest.mark.parametrize(("command", "output"), [(FIRST, FIRST_OUTPUT), (LEDGER, LEDGER_OUTPUT)])
def test_a_program_prints_what_is_said(command: str, output: str, terminals: list[Terminal]) -> None:
    """To the letter."""
    assert terminals[0].run(command) == output


def test_between_processes(terminals: list[Terminal], tour: Path) -> None:
    """The next one takes over after a crash, in at most the time that is said, and at once after an orderly end."""
    first, second, third = terminals
    first.type(SERVE.replace("5678", (tour / "port").read_text()))
    first.wait_for("listening on grpc://")
    second.run(START)
    second.wait_for("anna works with token 1\n")
    third.type(WAIT)
    third.wait_for("bruno is waiting\n")
    second.run(CRASH)
    third.wait_for("bruno works with token 2\n", AFTER_CRASH_S)
    again, look = LOOK.splitlines()
    assert f"{again}\n" == START
    second.run(again)
    second.wait_for("anna is waiting\n")
    second.run(f"export ATOMIX_ELECTION_TARGET=grpc://127.0.0.1:{(tour / 'port').read_text()}")
    for _ in range(TRIES):  # she is on her way
        if LOOK_OUTPUT in second.run(look):
            break
    else:
        pytest.fail(f"not shown: {LOOK_OUTPUT}")
    third.type(CTRL_C)
    second.wait_for("anna works with token 3\n", AT_ONCE_S)
    assert "Traceback" not in third.wait_for(f"(?s)(.*?){re.escape(PROMPT)}")
    second.type(TO_FRONT)
    second.wait_for("python worker.py anna\n")
    second.wait_for_job()
    second.type(CTRL_C)
    assert "Traceback" not in second.wait_for(f"(?s)(.*?){re.escape(PROMPT)}")
    first.type(CTRL_C)
    assert "Traceback" not in first.wait_for(f"(?s)(.*?){re.escape(PROMPT)}")


def test_the_test(terminals: list[Terminal], tour: Path) -> None:
    """It passes, and with the bug that the page names it fails."""
    assert "2 passed" in terminals[0].run(TEST)
    right, wrong = "{leadership.token}", "{1}"
    assert f"Write `{wrong}` for\n`{right}` in `worker.py`" in PAGE
    program = tour / "worker.py"
    text = program.read_text()
    assert right in text
    program.write_text(text.replace(right, wrong))
    try:
        printed = terminals[0].run(f"! {TEST}")
        assert "1 failed, 1 passed" in printed
        assert "FAILED test_worker.py::test_another_one_takes_over" in printed
    finally:
        program.write_text(text)
