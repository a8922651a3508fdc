"""Servers on an etcd cluster as processes, with proxies on all their connections."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.etcd.cluster import Cluster, Member, free_ports
from tests.faults.proxy import Proxy
from tests.soak import asking
from tests.soak.entrance import Entrance
from tests.soak.processes import NOTHING, Server, running

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


class EtcdServer(Server):
    """A server process with proxies before each member of etcd. ``run_server`` makes one.

    Args:
        log: the file of what it says.
        command: after ``python``, without where it listens.
        port: where it listens.
        members: before each member of etcd.
        environment: more of it.
    """

    def __init__(
        self,
        log: Path,
        command: Sequence[str],
        port: int,
        members: Sequence[tuple[Proxy, Member]],
        environment: Mapping[str, str],
    ) -> None:
        super().__init__(log, command, port, environment)
        self.members = [proxy for proxy, _ in members]
        self._behind = members

    async def answers(self) -> None:
        """Wait until it answers a call that it has to ask etcd for."""
        await asking.answers(Entrance("grpc", (self.port,)), self.port, self.check_runs)

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


@asynccontextmanager
async def run_server(
    log: Path,
    access: Access,
    members: Sequence[Member],
    module: Sequence[str],
    options: Sequence[str],
    environment: Mapping[str, str] = NOTHING,
) -> AsyncGenerator[EtcdServer]:
    """Run a server that goes to these members, in this order, by proxies.

    Args:
        log: the file of what it says.
        access: how it gets at etcd.
        members: of etcd.
        module: what to run.
        options: more of its options.
        environment: more of it.
    """
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(Proxy(member.port)) for member in members]
        (port,) = free_ports(1)
        store = ["--store", access.target([proxy.port for proxy in proxies]), *access.options]
        behind = list(zip(proxies, members, strict=True))
        server = EtcdServer(log, [*module, *store, *options], port, behind, environment)
        yield await stack.enter_async_context(running(server))
