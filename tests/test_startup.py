"""What is imported, and what is not: a client that makes one call starts about as fast as grpclib itself.

Judged by the modules that are there afterwards, as times differ from machine to machine.
"""

import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from atomix_election.cli import COMMANDS
from tests.cli.processes import NO_VARIABLES, Running, environment

WRITE = "import sys; print(*sys.modules, file=sys.stderr)"
COMMAND = "from atomix_election.cli import main; status = main()"
ONE_CALL = """
import anyio
from atomix_election import LeaderElection
async def main():
    async with LeaderElection("e") as election:
        await election.get_term()
anyio.run(main)
"""
COLLECTOR = """
import gc
from atomix_election import cli
from atomix_election.cli import new_token
def look(**options):
    assert gc.isenabled() and gc.get_freeze_count() > 1000
    return 0
new_token.command.callback = look
assert cli.main() == 0
"""

NETWORK = ("grpclib", "h2", "betterproto2", "atomix_election.rpc")
STORES = ("sqlite3", "atomix_election.stores", "atomix_election.etcd")
ENGINE = ("atomix_election.engine", "atomix_election.engines", "atomix_election.sharing", *STORES)
SERVER = (
    "grpclib.server",
    "betterproto2.grpclib",
    "tomllib",
    "atomix_election.server",
    "atomix_election.systemd",
    "atomix_election.rpc.server",
    "atomix_election.rpc.services",
    "atomix_election.rpc.standard_methods",
    "atomix_election.rpc._generated.grpc",
)
SESSIONS = ("atomix_election.client", "atomix_election.leadership", "secrets", "hashlib")
ELSEWHERE = (
    "dateutil",
    "argparse",
    "rich",
    "atomix_election.fencing",
    "atomix_election.demo",
    "atomix_election.testing",
)
OTHER_COMMANDS = tuple(f"atomix_election.cli.{name.replace('-', '_')}" for name in COMMANDS if name != "term")


@pytest.fixture(scope="module")
def target() -> Generator[str]:
    """The target of a running server."""
    with Running("serve", "--listen", "127.0.0.1:0", "--store", "memory://") as server:
        yield server.target()


def modules_after(code: str, *arguments: str) -> set[str]:
    """Run a program, and return the names of the modules that it has in the end."""
    ended = subprocess.run(
        [sys.executable, "-c", f"{code}\n{WRITE}", *arguments],
        env=environment(NO_VARIABLES),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return set(ended.stderr.splitlines()[-1].split())


def among(modules: set[str], unwanted: tuple[str, ...]) -> list[str]:
    """Return the modules that are one of the unwanted ones, or inside of one."""
    return sorted(each for each in modules if any(each == name or each.startswith(f"{name}.") for name in unwanted))


def test_the_package_itself_is_values_and_errors() -> None:
    """Everything else comes with the first use of a name."""
    modules = modules_after("import atomix_election")
    ours = {each for each in modules if each.startswith("atomix_election")}
    assert ours == {"atomix_election", "atomix_election.errors", "atomix_election.model"}
    assert among(modules, ("asyncio", "anyio", "ssl", *NETWORK, *STORES, *ELSEWHERE)) == []


def test_a_name_brings_what_it_needs_alone() -> None:
    """Who imports what leads an election has neither network nor engine yet; the target decides."""
    modules = modules_after("from atomix_election import LeaderElection, connect")
    assert among(modules, (*NETWORK, *ENGINE, *SERVER, *ELSEWHERE)) == []


def test_an_election_in_this_process_needs_no_network() -> None:
    """And the only store is the one in memory."""
    modules = modules_after(ONE_CALL)
    assert "atomix_election.stores.memory" in modules
    assert among(modules, (*NETWORK, *SERVER, *ELSEWHERE, "sqlite3", "atomix_election.etcd")) == []


def test_the_command_term_needs_a_connection_and_nothing_else(target: str) -> None:
    """After one call to a real server."""
    modules = modules_after(f"{COMMAND}; assert status == 0", "term", "e", "--target", target)
    assert {"atomix_election.cli.term", "atomix_election.rpc.client"} <= modules
    assert among(modules, (*ENGINE, *SERVER, *SESSIONS, *OTHER_COMMANDS, *ELSEWHERE)) == []


def test_help_imports_no_command() -> None:
    """It is in one table with the names."""
    modules = modules_after(f"{COMMAND}; assert status == 0", "--help")
    assert among(modules, ("atomix_election.cli.term", *OTHER_COMMANDS, *NETWORK, *ENGINE)) == []


def test_a_command_for_files_needs_no_network(tmp_path: Path) -> None:
    """A backup of what is not there; it fails, in its own module."""
    files = str(tmp_path / "no.db"), str(tmp_path / "backup.db")
    modules = modules_after(f"{COMMAND}; assert status == 1", "backup", *files)
    assert "atomix_election.stores.sqlite_backup" in modules
    assert among(modules, NETWORK) == []


def test_the_garbage_collector_is_on_when_a_command_runs() -> None:
    """It was only off meanwhile, and does not look at what was imported."""
    assert "atomix_election.cli.new_token" in modules_after(COLLECTOR, "new-token", "file")
