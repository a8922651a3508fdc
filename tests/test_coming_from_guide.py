"""What docs/coming-from.md shows runs: our programs as they stand there but for ports, others with their library."""

import re
import shlex
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from etcd3gw import client as etcd_client
from redis import Redis

from atomix_election.sync import ElectionServer, LeaderElection
from tests import manual
from tests.etcd.cluster import Cluster, binary
from tests.stand_ins import ZOOKEEPER, consul_server, redis_server

WAIT_S = 20.0
GUIDE = (manual.DOCS / "coming-from.md").read_text()
PROGRAMS = manual.programs(GUIDE)
COMMANDS = manual.commands(GUIDE)
OURS = {name for name in PROGRAMS if not name.endswith("_before.py")}
OLD_ETCD = re.compile(r"^etcd \(member \w+\) is of version .*: update it to .*\n", re.MULTILINE)
"""What clients say of the etcd that tests have."""
PAGES = "page 0\npage 1\npage 2\n"
PAGES_WITH_TOKEN = "".join(f"page {page} with fencing token TOKEN\n" for page in range(3))
ON_A_SERVER = {
    "consul_after.py": PAGES_WITH_TOKEN,
    "kazoo_after.py": PAGES_WITH_TOKEN,
    "kubernetes_after.py": PAGES_WITH_TOKEN + "stopped leading\n",
    "redis_after.py": PAGES_WITH_TOKEN,
    "tooz_after.py": "node-1 leads with fencing token TOKEN\n",
}
IN_MEMORY_ZOOKEEPER = {"kazoo_before.py": PAGES, "tooz_before.py": "node-1 leads\n"}
ELSEWHERE = {"nested.py", "etcd_before.py", "etcd_after.py", "consul_before.py", "redis_before.py"}


@pytest.fixture(scope="module")
def server() -> Generator[str]:
    """Give the target of a server of ours."""
    with ElectionServer() as running:
        yield running.target


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Generator[int]:
    """Give the port of a real etcd."""
    with Cluster(tmp_path_factory.mktemp("etcd") / "guide") as cluster:
        anyio.run(cluster.ready)
        yield cluster.members[0].port


def _program(name: str, directory: Path, replaced: dict[str, str]) -> str:
    """Write a program of the guide, in which only where the servers are is another place, and return its file."""
    text = PROGRAMS[name]
    for there, here in replaced.items():
        assert text.count(there) == 1, there
        text = text.replace(there, here)
    (directory / name).write_text(text)
    return name


def _run(*arguments: str, directory: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env=manual.environment(),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


def _output(*arguments: str, directory: Path) -> tuple[str, int]:
    """Return what a program says that goes well, with TOKEN for its token, and the token, or 0 where there is none."""
    ended = _run(*arguments, directory=directory)
    assert (ended.returncode, OLD_ETCD.sub("", ended.stderr)) == (0, "")
    tokens = {int(found) for found in re.findall(r"fencing token (\d+)", ended.stdout)}
    assert len(tokens) <= 1
    return re.sub(r"(?<=fencing token )\d+", "TOKEN", ended.stdout), max(tokens, default=0)


def test_every_block_is_run() -> None:
    """And is a program, but for the commands for etcd."""
    assert PROGRAMS.keys() == ON_A_SERVER.keys() | IN_MEMORY_ZOOKEEPER.keys() | ELSEWHERE
    assert GUIDE.count("```") == 2 * len(PROGRAMS)
    assert COMMANDS.keys() == {("From etcd", "")}


@pytest.mark.parametrize("name", ON_A_SERVER)
def test_ours_on_a_server(name: str, server: str, tmp_path: Path) -> None:
    """It leads, writes, and leaves the queue."""
    program = _program(name, tmp_path, {"grpc://localhost:5678": server})
    output, token = _output("-W", "error", program, directory=tmp_path)
    assert output == ON_A_SERVER[name]
    assert token > 0
    with LeaderElection("nightly-report", target=server) as election:
        assert election.get_term().candidates == ()


def test_one_that_looks_now_and_then(server: str, tmp_path: Path) -> None:
    """Whoever came from tooz does other things while another one leads, and leads afterwards."""
    program = _program("tooz_after.py", tmp_path, {"grpc://localhost:5678": server, "timeout_s=1": "timeout_s=0.2"})
    with LeaderElection("nightly-report", target=server) as another, another.lead():
        process = subprocess.Popen(
            [sys.executable, "-u", program], cwd=tmp_path, env=manual.environment(), stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "another one leads\n"
    rest, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert "node-1 leads with fencing token" in rest


@pytest.mark.parametrize("name", IN_MEMORY_ZOOKEEPER)
def test_those_on_zookeeper(name: str, tmp_path: Path) -> None:
    """The libraries' own code, with nodes in memory."""
    program = _program(name, tmp_path, {})
    assert _output("-c", ZOOKEEPER, program, directory=tmp_path) == (IN_MEMORY_ZOOKEEPER[name], 0)


def test_the_one_on_consul(tmp_path: Path) -> None:
    """It asks what Consul's documents say, in that order."""
    with consul_server() as (port, asked):
        program = _program("consul_before.py", tmp_path, {"port=8500": f"port={port}"})
        assert _output(program, directory=tmp_path) == (PAGES, 0)
    key, session = "kv/service/nightly-report/leader", "session-1"
    renewals = [f"session/renew/{session}"] * 3
    assert asked == ["session/create", f"{key} acquire", *renewals, f"{key} release", f"session/destroy/{session}"]


def test_the_one_on_redis(tmp_path: Path) -> None:
    """It holds its lock, and releases it."""
    with redis_server() as port, Redis(port=port) as redis:
        program = _program("redis_before.py", tmp_path, {"port=6379": f"port={port}"})
        assert _output(program, directory=tmp_path) == (PAGES, 0)
        assert not redis.exists("nightly-report")


def test_both_on_etcd(etcd: int, tmp_path: Path) -> None:
    """And our tokens are above all revisions that etcd gave before."""
    before = _program("etcd_before.py", tmp_path, {"port=2379": f"port={etcd}", "localhost": "127.0.0.1"})
    assert _output(before, directory=tmp_path) == (PAGES, 0)
    revision = int(etcd_client(host="127.0.0.1", port=etcd).status()["header"]["revision"])
    after = _program("etcd_after.py", tmp_path, {"etcd://localhost:2379": f"etcd://127.0.0.1:{etcd}"})
    output, token = _output("-W", "error", after, directory=tmp_path)
    assert output == PAGES_WITH_TOKEN
    assert token >= revision > 1


def test_commands_on_etcd(etcd: int, tmp_path: Path) -> None:
    """Both run the script once, ours with its token."""
    theirs, ours = COMMANDS["From etcd", ""]
    script = tmp_path / "report.sh"
    script.write_text('#!/bin/sh\necho "ran under ${ATOMIX_ELECTION_TOKEN:-none}"\n')
    script.chmod(0o755)
    where = {"ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": f"127.0.0.1:{etcd}"}
    environment = manual.environment() | where
    environment["PATH"] = f"{binary('etcdctl').parent}:{environment['PATH']}"
    assert shlex.split(theirs)[0] == "etcdctl"
    assert manual.run(theirs, directory=tmp_path, environment=environment, timeout_s=WAIT_S) == "ran under none\n"
    assert "localhost:2379" in ours
    here = ours.replace("localhost:2379", f"127.0.0.1:{etcd}")
    said = manual.run(here, directory=tmp_path, environment=environment, timeout_s=WAIT_S)
    assert re.fullmatch(r"ran under [1-9]\d*\n", said)


@contextmanager
def _nested(server: str, directory: Path) -> Generator["tuple[Redis, str]"]:
    with redis_server() as port, Redis(port=port) as redis:
        places = {"port=6379": f"port={port}", "grpc://localhost:5678": server, "timeout_s=10": "timeout_s=0.3"}
        yield redis, _program("nested.py", directory, places)


def test_nested_holds_both(server: str, tmp_path: Path) -> None:
    """And leaves both."""
    with _nested(server, tmp_path) as (redis, program):
        assert _output(program, directory=tmp_path)[0] == PAGES_WITH_TOKEN
        assert not redis.exists("nightly-report")


def test_nested_is_kept_out_by_the_second_release(server: str, tmp_path: Path) -> None:
    """It gives the old lock back, and has written nothing."""
    with (
        _nested(server, tmp_path) as (redis, program),
        LeaderElection("nightly-report", target=server) as another,
        another.lead(),
    ):
        ended = _run(program, directory=tmp_path)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert "TimeoutError" in ended.stderr
        assert not redis.exists("nightly-report")


def test_nested_is_kept_out_by_old_processes(server: str, tmp_path: Path) -> None:
    """It does not even enter as long as one of them has the old lock, and ends when that is lost."""
    with _nested(server, tmp_path) as (redis, program):
        (tmp_path / program).write_text((tmp_path / program).read_text().replace("=30", "=30, blocking_timeout=0.2"))
        with redis.lock("nightly-report"), LeaderElection("nightly-report", target=server) as watching:
            revision = watching.get_term().revision
            ended = _run(program, directory=tmp_path)
            assert (ended.returncode, ended.stdout) == (1, "")
            assert "LockError" in ended.stderr
            assert watching.get_term().revision == revision


def test_types_are_known_to_users(tmp_path: Path) -> None:
    """A type checker in its strict mode has nothing to say of our programs, if it is installed."""
    pytest.importorskip("pyright")
    for name in OURS:
        (tmp_path / name).write_text(PROGRAMS[name])
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    checked = _run("-m", "pyright", "--pythonpath", sys.executable, directory=tmp_path)
    assert checked.returncode == 0, checked.stdout
