"""Servers on an etcd cluster as processes, with proxies on all their connections."""

import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from subprocess import PIPE

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from atomix_election import ElectionError, connect
from tests.cluster.measured import Figures
from tests.etcd.cluster import Cluster, Member, free_ports
from tests.faults.proxy import Proxy

PROJECT = Path(__file__).parents[2]
START_S = 20.0
"""How long a server may take to be ready, or to answer again after a fault, on a busy machine."""
STOP_S = 10.0
"""How long one may take to end when it is asked to."""
PREFIX = "soak"
USER, PASSWORD, ROOT_PASSWORD = "app", "secret", "root"


class Access:
    """What servers and clients need to get at etcd.

    Args:
        cluster: the members.
        directory: for files.
        secured: whether they ask for a user, and use TLS.
    """

    def __init__(self, cluster: Cluster, directory: Path, *, secured: bool) -> None:
        self.scheme = "etcds" if secured else "etcd"
        self.ca = self.certificate = self.token_file = ""
        if secured:
            assert cluster.tls is not None
            files = cluster.tls.client
            certificate, token = directory / "client.pem", directory / "user"
            certificate.write_bytes(files.certificate.read_bytes() + files.key.read_bytes())
            token.touch(0o600)
            token.write_text(f"{USER}:{PASSWORD}")
            self.ca, self.certificate, self.token_file = str(cluster.tls.authority.ca), str(certificate), str(token)

    def target(self, ports: Sequence[int]) -> str:
        """Return the store, as it is named where the members are reached at these ports."""
        return f"{self.scheme}://{','.join(f'127.0.0.1:{port}' for port in ports)}/{PREFIX}"

    @property
    def options(self) -> list[str]:
        """What a server is told."""
        if not self.ca:
            return []
        files = ["--store-ca", self.ca, "--store-certificate", self.certificate]
        return [*files, "--store-token-file", self.token_file]


def add_user(cluster: Cluster) -> None:
    """Let etcd ask who calls: there are a root, and a user who may do all to the keys of the store."""
    for command in (
        f"user add root:{ROOT_PASSWORD}",
        "user grant-role root root",
        "role add app",
        f"role grant-permission app --prefix=true readwrite {PREFIX}/",
        f"user add {USER}:{PASSWORD}",
        f"user grant-role {USER} app",
        "auth enable",
    ):
        cluster.etcdctl(*command.split())
    cluster.ready_with = {"user": "root", "password": ROOT_PASSWORD}


class Server:
    """A server process, which can be started again on the same port. ``run_server`` makes one.

    Args:
        log: the file of what it says.
        command: after ``python``, without where it listens.
        front: before the server.
        port: where it listens.
        members: before each member of etcd.
    """

    def __init__(
        self, log: Path, command: Sequence[str], front: Proxy, port: int, members: Sequence[tuple[Proxy, Member]]
    ) -> None:
        self.port = port
        self.front = front
        self.members = [proxy for proxy, _ in members]
        self._behind = members
        self._log = log
        self._command = [*command, "--listen", f"127.0.0.1:{port}"]
        self._process: Process | None = None
        self._said: BufferedByteReceiveStream | None = None

    @property
    def pid(self) -> int:
        """The process."""
        return self._check_runs().pid

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        self._process = await start_process(self._command, self._log)
        assert self._process.stdout is not None
        self._said = BufferedByteReceiveStream(self._process.stdout)
        line = await self._next_line()
        assert line.startswith(b"listening on "), f"{line!r}; see {self._log}"

    async def measure(self) -> Figures:
        """Ask for its figures, which a ``tests.cluster.measured`` says."""
        stdin = self._check_runs().stdin
        assert stdin is not None
        await stdin.send(b"\n")
        return Figures(**json.loads(await self._next_line()))

    async def answers(self) -> None:
        """Wait until it answers a call that it has to ask etcd for."""
        with anyio.fail_after(START_S):
            async with connect(f"grpc://127.0.0.1:{self.port}") as client:
                while True:
                    try:
                        await client.election("ready").get_term()
                        return
                    except ElectionError:
                        self._check_runs()
                        await anyio.sleep(0.05)

    async def kill(self) -> None:
        """Kill it, also when it is paused; nothing happens if it has ended."""
        if self._process is not None:
            await end_process(self._process)

    async def stop(self) -> None:
        """Ask it to end (SIGTERM), and wait until it has."""
        process = self._check_runs()
        process.terminate()
        with anyio.fail_after(STOP_S):
            assert await process.wait() == 0, f"see {self._log}"

    def pause(self) -> None:
        """Let it do nothing (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def talks_to(self) -> list[Member]:
        """Return the members that it has a connection to."""
        return [member for proxy, member in self._behind if proxy.open]

    def part(self) -> None:
        """Cut it off from etcd."""
        for proxy in self.members:
            proxy.part()

    async def join(self) -> None:
        """Let it reach etcd again."""
        for proxy in self.members:
            await proxy.accept()

    async def _next_line(self) -> bytes:
        assert self._said is not None
        with anyio.fail_after(START_S):
            return await self._said.receive_until(b"\n", 1 << 12)

    def _signal(self, number: signal.Signals) -> None:
        self._check_runs().send_signal(number)

    def _check_runs(self) -> Process:
        assert self._process is not None
        assert self._process.returncode is None, f"the server ended itself; see {self._log}"
        return self._process


@asynccontextmanager
async def run_server(
    log: Path, access: Access, members: Sequence[Member], module: Sequence[str], options: Sequence[str]
) -> AsyncGenerator[Server]:
    """Run a server that goes to these members, in this order, by proxies.

    Args:
        log: the file of what it says.
        access: how it gets at etcd.
        members: of etcd.
        module: what to run.
        options: more of its options.
    """
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(Proxy(member.port)) for member in members]
        (port,) = free_ports(1)
        front = await stack.enter_async_context(Proxy(port))
        store = ["--store", access.target([proxy.port for proxy in proxies]), *access.options]
        server = Server(log, [*module, *store, *options], front, port, list(zip(proxies, members, strict=True)))
        stack.push_async_callback(server.kill)
        await server.start()
        yield server


async def start_process(arguments: Sequence[str], log: Path) -> Process:
    """Start a Python process whose stdin and stdout are ours."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ATOMIX_ELECTION_")}
    with log.open("a") as stderr:
        return await anyio.open_process(
            [sys.executable, *arguments], cwd=PROJECT, env=ours, stdin=PIPE, stdout=PIPE, stderr=stderr
        )


async def end_process(process: Process) -> None:
    """Kill it, and wait until it is gone; nothing happens if that was done before."""
    with anyio.CancelScope(shield=True):
        if process.returncode is None:
            process.kill()
        await process.aclose()
