"""What hostile peers cost a server, as a real process: little memory, and honest clients hardly any time.

Run with ``-s`` to see the figures that ``docs/operating.md`` states.
"""

import re
import resource
import socket
import ssl
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from atomix_election import ClientTls, ServerTls
from tests.certificates import Authority
from tests.cli.processes import Running, enter, environment
from tests.rpc.attacks import FLOODS, HOARDS, OF_A_LARGE_ELECTION, OF_TLS, Attack, Attacker, scrapes, silent

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

    def begin(self, port: int, ca: Path | None) -> None:
        """Begin a round, and wait until there was a first call."""
        self._say(f"{port} {ca or ''}")
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

    def __init__(self, server: Running, ca: Path | None) -> None:
        self.target = server.target()
        self._server = server
        self._port = int(self.target.rpartition(":")[2])
        self._ca = ca
        self._before = memory_kib(server, "VmRSS")

    def prepare(self, attack: Attack, tls: ClientTls | None) -> None:
        """Let the election be there that an attack asks for."""
        if attack in OF_A_LARGE_ELECTION:
            enter(self.target, "big", *(f"{number:0250d}" for number in range(200)), tls=tls)

    def check(self, attack: Attack, limit: str | None, honest: Honest, *, port: int | None = None) -> None:
        """Fail if the attack costs more than it may, or if the limit did not come into play that is to stop it.

        Args:
            attack: what is done to it.
            limit: which limit that is to reach.
            honest: who calls meanwhile.
            port: what is attacked, if it is not the one of the calls.
        """
        tls = ssl.create_default_context(cafile=self._ca) if self._ca else None
        honest.begin(self._port, self._ca)
        with Attacker(port or self._port, limit, tls) as attacker:
            attack(attacker)
        count, worst_ms = honest.result()
        grown_kib = memory_kib(self._server, "VmHWM") - self._before
        told = ", ".join(f"`{each}`" for each in sorted(attacker.told))
        how = "TLS" if self._ca else "plain"
        print(f"| {attack.__doc__} | {how} | {grown_kib / 1024:.1f} | {worst_ms:.0f} | {count} | {told} |")  # noqa: T201
        assert attacker.told >= ({limit} if limit else set())
        assert grown_kib < MOST_KIB
        assert worst_ms < LONGEST_MS
        assert self._server.process.poll() is None


@contextmanager
def serving(tls: ServerTls | None = None, ca: Path | None = None, *more: str) -> Generator[Victim]:
    """A server with the limits that it has by default."""
    options = ["--listen", "127.0.0.1:0", "--store", "memory://", "--session-ttl", "100"]
    if tls is not None:
        options += ["--certificate", str(tls.certificate), "--key", str(tls.key)]
    with Running("serve", *options, *more) as server:
        yield Victim(server, ca)


@pytest.fixture(scope="module", params=["plain", "TLS"])
def tls(request: pytest.FixtureRequest, authority: Authority) -> ServerTls | None:
    """How the server speaks: each attack is carried out in plain text and over TLS."""
    return authority.server() if request.param == "TLS" else None


@pytest.fixture(scope="module")
def victim(tls: ServerTls | None, authority: Authority) -> Generator[Victim]:
    """One server for all floods, so that what each leaves behind adds up."""
    with serving(tls, authority.ca if tls else None) as victim:
        yield victim


@pytest.mark.parametrize(("attack", "limit"), FLOODS.items(), ids=[each.__name__ for each in FLOODS])
def test_a_flood_costs_little(honest: Honest, victim: Victim, attack: Attack, limit: str | None) -> None:
    """Memory at the peak, and the worst call of an honest client meanwhile."""
    victim.check(attack, limit, honest)


@pytest.mark.parametrize(("attack", "limit"), HOARDS.items(), ids=[each.__name__ for each in HOARDS])
def test_a_hoard_is_small(
    honest: Honest, tls: ServerTls | None, authority: Authority, attack: Attack, limit: str | None
) -> None:
    """The same, with a server for each attack."""
    with serving(tls, authority.ca if tls else None) as victim:
        victim.prepare(attack, tls and authority.client())
        victim.check(attack, None if tls and attack is silent else limit, honest)


@pytest.mark.parametrize(("attack", "limit"), OF_TLS.items(), ids=[each.__name__ for each in OF_TLS])
def test_what_only_tls_makes_possible_costs_little(
    honest: Honest, authority: Authority, attack: Attack, limit: str | None
) -> None:
    """Handshakes, and what lies beneath the bytes of HTTP/2."""
    with serving(authority.server(), authority.ca) as victim:
        victim.prepare(attack, authority.client())
        victim.check(attack, limit, honest)


def test_silent_connections_to_the_metrics_cost_little(honest: Honest) -> None:
    """They have a thread each, of which there are few."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    with serving(None, None, "--metrics", f"127.0.0.1:{port}") as victim:
        victim.check(scrapes, None, honest, port=port)
