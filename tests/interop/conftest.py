"""The published protocol as protoc generates it, and servers: one in a process of its own, one in a thread of this."""

import importlib
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from atomix_election.server import ElectionServer
from tests.interop.peer import Peer, Published

PROJECT = Path(__file__).parents[2]
PROTO = PROJECT / "proto"
FILES = ("atomix/election/v1/election.proto", "atomix/time/v1/timestamp.proto")
TTL_S = 1.0
"""Time-to-live of sessions: the least that a server allows."""


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with protoc's own output."""
    directory = tmp_path_factory.mktemp("published")
    outputs = [f"-I{PROTO}", f"--python_out={directory}", f"--grpc_python_out={directory}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *outputs, *FILES], check=True)
    return directory


@pytest.fixture(scope="session")
def published(generated: Path) -> Published:
    """Its modules. Once per session, as each file can be registered once per process."""
    sys.path.insert(0, str(generated))
    try:
        messages = importlib.import_module("atomix.election.v1.election_pb2")
        stubs = importlib.import_module("atomix.election.v1.election_pb2_grpc")
    finally:
        sys.path.remove(str(generated))
    return Published(messages, stubs)


@contextmanager
def serving(log: Path, *options: str) -> Generator[tuple[str, subprocess.Popen[str]]]:
    """Run the command ``serve`` and yield its target and process; it must end well, and without a complaint."""
    arguments = ["serve", "--listen", "127.0.0.1:0", "--store", "memory://", *options]
    command = [sys.executable, "-m", "atomix_election", *arguments]
    with log.open("w") as errors:
        process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    try:
        ready = re.fullmatch(r"listening on (grpc://127\.0\.0\.1:\d+)\n", process.stdout.readline())
        assert ready, log.read_text()
        yield ready[1], process
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    complaints = [line for line in log.read_text().splitlines() if "Traceback" in line or " ERROR " in line]
    assert not complaints, log.read_text()


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server in a process of its own, for all tests."""
    log = tmp_path_factory.mktemp("server") / "stderr"
    with serving(log, "--session-ttl", str(TTL_S)) as (found, _):
        yield found


@pytest.fixture
def connect(published: Published, target: str) -> Iterator[Callable[..., Peer]]:
    """What makes peers of the server in its own process, and closes them at the end of the test."""
    peers: list[Peer] = []

    def make(*args: str, **options: str) -> Peer:
        peers.append(Peer(published, target, *args, **options))
        return peers[-1]

    yield make
    for each in peers:
        each.channel.close()


@dataclass(frozen=True, slots=True)
class Local:
    """A server in a thread of this process."""

    target: str
    portal: BlockingPortal


@pytest.fixture
def local() -> Iterator[Local]:
    """One whose inside can be looked at."""
    with start_blocking_portal("asyncio") as portal:
        server = ElectionServer("memory://looked-into", session_ttl=TTL_S)
        with portal.wrap_async_context_manager(server):
            yield Local(server.target, portal)
