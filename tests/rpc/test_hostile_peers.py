"""What hostile peers cost a server, as a real process: little memory, and honest clients hardly any time.

Run with ``-s`` to see the figures that ``docs/operating.md`` states.
"""

import re
import resource
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.cli.processes import Running, enter, environment
from tests.rpc.attacks import FLOODS, HOARDS, OF_A_LARGE_ELECTION, Attack, Attacker

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the figures come from Linux")

MOST_KIB = 64 * 1024
LONGEST_MS = 1000.0
ROOT = Path(__file__).parents[2]
OPEN_FILES = 4096


class Honest:
    """A client in a process of its own."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.rpc.honest"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def begin(self, port: int) -> None:
        """Begin a round, and wait until there was a first call."""
        self._say(str(port))
        assert self._hear() == "begun"

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def result(self) -> tuple[int, float]:
        """End a round, and return how many calls there were, and how long the worst one took, in milliseconds."""
        self._say("")
        count, worst_ms = self._hear().split()
        return int(count), float(worst_ms)

    def _hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def honest() -> Generator[Honest]:
    """One honest client for all attacks."""
    client = Honest()
    yield client
    client.close()


@pytest.fixture(autouse=True, scope="module")
def open_files() -> Generator[None]:
    """Attackers need many sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, OPEN_FILES), hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def memory_kib(server: Running, which: str) -> int:
    """Return what the system says of a process's memory: VmRSS now, VmHWM at most."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(rf"^{which}:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1])


class Victim:
    """A server, and what was done to it."""

    def __init__(self, server: Running) -> None:
        self.target = server.target()
        self._server = server
        self._port = int(self.target.rpartition(":")[2])
        self._before = memory_kib(server, "VmRSS")

    def check(self, attack: Attack, limit: str | None, honest: Honest) -> None:
        """Fail if the attack costs more than it may, or if the limit did not come into play that is to stop it."""
        honest.begin(self._port)
        with Attacker(self._port, limit) as attacker:
            attack(attacker)
        count, worst_ms = honest.result()
        grown_kib = memory_kib(self._server, "VmHWM") - self._before
        told = ", ".join(f"`{each}`" for each in sorted(attacker.told))
        print(f"| {attack.__doc__} | {grown_kib / 1024:.1f} | {worst_ms:.0f} | {count} | {told} |")  # noqa: T201
        assert attacker.told >= ({limit} if limit else set())
        assert grown_kib < MOST_KIB
        assert worst_ms < LONGEST_MS
        assert self._server.process.poll() is None


@pytest.fixture(scope="module")
def victim() -> Generator[Victim]:
    """One server for all floods, so that what each leaves behind adds up."""
    with serve() as server:
        yield Victim(server)


def serve() -> Running:
    """Start a server with the limits that it has by default."""
    return Running("serve", "--listen", "127.0.0.1:0", "--store", "memory://", "--session-ttl", "100")


@pytest.mark.parametrize(("attack", "limit"), FLOODS.items(), ids=[each.__name__ for each in FLOODS])
def test_a_flood_costs_little(honest: Honest, victim: Victim, attack: Attack, limit: str | None) -> None:
    """Memory at the peak, and the worst call of an honest client meanwhile."""
    victim.check(attack, limit, honest)


@pytest.mark.parametrize(("attack", "limit"), HOARDS.items(), ids=[each.__name__ for each in HOARDS])
def test_a_hoard_is_small(honest: Honest, attack: Attack, limit: str | None) -> None:
    """The same, with a server for each attack."""
    with serve() as server:
        victim = Victim(server)
        if attack in OF_A_LARGE_ELECTION:
            enter(victim.target, "big", *(f"{number:0250d}" for number in range(200)))
        victim.check(attack, limit, honest)
