"""The commands of ``docs/cluster.md`` work as they stand there, but for ports, and the flags that an old etcd lacks."""

import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import anyio
import pytest

from atomix_election import connect
from atomix_election.etcd import EtcdClient, Get
from tests import manual
from tests.certificates import Authority
from tests.cli.processes import Running
from tests.etcd.cluster import binary
from tests.ports import free_port

COMMANDS = manual.commands(manual.CLUSTER)
MENTIONED = {("A cluster", ""): "see test_demo.py", ("Sizing", ""): "see test_cluster_benchmark.py"}
"""Commands that take long, and have a test of their own."""
PLACES = set(COMMANDS)
WAIT_S = 30.0
LATER_S = 20.0
NEW_FLAGS = " --bump-revision 1000000000 --mark-compacted"
SHORT = " --session-ttl 1 --max-session-ttl 1"
"""So that somebody is admitted one second after a store was moved or recovered."""


class Shell:
    """Runs lines of the guide in a directory of its own, with other ports."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ports = {port: str(free_port()) for port in ("2379", "5678", "5679")}
        peer = free_port()
        self._more_for_etcd = f" --listen-peer-urls http://127.0.0.1:{peer} --log-level error --logger zap"
        self._more_for_etcd += f" --initial-advertise-peer-urls http://127.0.0.1:{peer}"
        programs = {str(binary(name).parent) for name in ("etcd", "etcdctl", "etcdutl")}
        ours = manual.environment()
        paths = [*programs, ours["PATH"]]
        endpoint = f"127.0.0.1:{self._ports['2379']}"
        self.environment = ours | {"PATH": ":".join(paths), "ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": endpoint}

    def here(self, text: str) -> str:
        """Return a line with this shell's ports."""
        return re.sub(r"\b(2379|5678|5679)\b", lambda match: self._ports[match[0]], text)

    def run(self, *lines: str) -> str:
        """Run lines that must go well, and return their output."""
        here = map(self.here, lines)
        return manual.run(*here, directory=self.directory, environment=self.environment, timeout_s=WAIT_S)

    @contextmanager
    def etcd(self, line: str, more: str = "") -> Generator[subprocess.Popen[bytes]]:
        """Run a member, and wait until it answers, unless it needs what this does not have."""
        arguments = self.here(line) + self._more_for_etcd + more
        if "--name default" not in line:
            arguments += " --initial-cluster try=" + self._more_for_etcd.rpartition(" ")[2]
        with subprocess.Popen(shlex.split(arguments), cwd=self.directory, env=self.environment) as process:
            try:
                if not more:
                    anyio.run(self._until_ready)
                yield process
            finally:
                process.kill()

    async def _until_ready(self) -> None:
        async with EtcdClient([("127.0.0.1", int(self._ports["2379"]))], longest_pause_s=0.05) as client:
            await client.get(Get(b"ready"), timeout_s=LATER_S)

    def serve(self, line: str, more: str = "") -> AbstractContextManager[Running]:
        """Run a server, which says where it listens."""
        return Running(*shlex.split(self.here(line) + more)[1:], cwd=self.directory)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """In a directory that is empty."""
    return Shell(tmp_path)


def lead(target: str) -> int:
    """Lead for a moment, as soon as that is possible, and return the token."""

    async def work() -> int:
        with anyio.fail_after(LATER_S):
            async with connect(target) as client, client.election("nightly-report").lead() as leadership:
                return leadership.token
        raise AssertionError("the block returns")

    return anyio.run(work)


def lines(section: str, heading: str = "") -> list[str]:
    """Return the commands under a heading."""
    return COMMANDS[section, heading]


def test_from_nothing_and_back_after_a_restore(shell: Shell) -> None:
    """Tokens given after the snapshot are below those after the restore."""
    start, serve_one, serve_two, *ask = lines("From nothing")
    (snapshot,) = lines("Backup and restore")
    restore, start_again, recover, serve = lines("Backup and restore", "Restoring")
    (raise_floor,) = lines("Backup and restore", "Raising the tokens by hand")
    with shell.etcd(start):
        with shell.serve(serve_one) as one, shell.serve(serve_two) as two:
            assert one.target() != two.target()
            assert "term      0\n" in shell.run(*ask)
            for each in (one, two):
                assert each.end(signal.SIGTERM)[0] == 0
        shell.run(snapshot)
        with shell.serve(serve_two) as server:
            target = server.target()
            assert lead(target) < 5_000_000
            assert "tokens of 5000000 or more" in shell.run(raise_floor)
            token = lead(target)
            assert token >= 5_000_000
            assert len(shell.run(*lines("Monitoring")).splitlines()) >= 4
            server.end(signal.SIGTERM)
    if "--bump-revision" not in shell.run("etcdutl snapshot restore --help"):
        assert NEW_FLAGS in restore
        restore = restore.replace(NEW_FLAGS, "")
    shell.run(restore)
    with shell.etcd(start_again):
        assert "its tokens begin above" in shell.run(recover)
        with shell.serve(serve, SHORT) as server:
            assert lead(server.target()) > token
            server.end(signal.SIGTERM)


def test_moving_from_sqlite(shell: Shell) -> None:
    """With tokens that keep growing."""
    migrate, serve = lines("Moving from SQLite")
    with shell.etcd(lines("From nothing")[0]):
        with shell.serve("atomix-election serve --listen 127.0.0.1:5678") as server:
            token = lead(server.target())
            server.end(signal.SIGTERM)
        assert "their tokens go on there" in shell.run(migrate)
        with shell.serve(serve, SHORT) as server:
            assert lead(server.target()) > token
            server.end(signal.SIGTERM)


def test_tls_and_users(shell: Shell, authority: Authority) -> None:
    """A server with a right to its prefix alone, and a certificate."""
    *make_users, make_token, serve = lines("Topology", "TLS and users")
    etcd, client = authority.issue("127.0.0.1"), authority.issue("client")
    shutil.copy(authority.ca, shell.directory / "etcd-ca.pem")
    shutil.copy(client.certificate, shell.directory / "client.pem")
    shutil.copy(client.key, shell.directory / "client.key")
    shell.environment["ETCDCTL_ENDPOINTS"] = "https://" + shell.environment["ETCDCTL_ENDPOINTS"]
    shell.environment |= {"ETCDCTL_CACERT": "etcd-ca.pem", "ETCDCTL_CERT": "client.pem", "ETCDCTL_KEY": "client.key"}
    secured = (
        f" --cert-file {etcd.certificate} --key-file {etcd.key} --client-cert-auth --trusted-ca-file {authority.ca}"
    )
    start = lines("From nothing")[0].replace("http:", "https:")
    with shell.etcd(start, secured):
        shell.run("until etcdctl endpoint health; do sleep 0.1; done", *make_users, make_token)
        with shell.serve(serve) as server:
            assert lead(server.target()) > 0
            server.end(signal.SIGTERM)
        (shell.directory / "etcd.token").write_text("elections:wrong")
        with shell.serve(serve) as server:
            assert server.line() == ""
            assert "Traceback" not in server.end()[2]


def test_commands_that_take_long_are_run_elsewhere() -> None:
    """They are these."""
    assert {place: COMMANDS[place] for place in MENTIONED} == {
        ("A cluster", ""): [".venv/bin/python -m atomix_election demo --cluster"],
        ("Sizing", ""): ["make bench-cluster"],
    }
