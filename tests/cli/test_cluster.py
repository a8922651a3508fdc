"""``migrate``, ``recover`` and ``raise-floor``: what an operator does to a store in a real etcd, and servers on it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path

import anyio
import pytest

from atomix_election import Unavailable, connect
from atomix_election.cli import main
from atomix_election.clock import SystemClock, wall_clock_s
from atomix_election.core.floors import RESTORE_JUMP, reached_by
from atomix_election.engine import SessionLimits
from atomix_election.engines import open_engine, open_etcd
from atomix_election.errors import StoreError
from atomix_election.etcd import Put
from tests.certificates import Authority
from tests.cli.processes import Running, enter, run
from tests.etcd.cluster import Cluster, Tls, binary

SERVE = ("serve", "--listen", "127.0.0.1:0", "--session-ttl", "1", "--max-session-ttl", "1", "--store")
"""A server that admits somebody one second after a store was moved or recovered."""
TTL_S = 1.0
LATER_S = 20.0
BEFORE = {"e": 4, "f": 1, "gone": 5}
"""The newest token of each election in the file that is moved. One was forgotten; in one somebody stands."""
_numbers = count(1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    """One member that no test does harm to."""
    with Cluster(tmp_path_factory.mktemp("etcd") / "shared") as cluster:
        anyio.run(cluster.ready)
        yield cluster


@pytest.fixture
def target(cluster: Cluster) -> str:
    """A store in it that no other test uses."""
    return f"etcd://{cluster.members[0].endpoint}/test-{next(_numbers)}"


@pytest.fixture
def start_cluster(tmp_path: Path) -> Generator[Callable[..., Cluster]]:
    """Starts one for a test, which may do to it what it wants."""
    with ExitStack() as started:

        def start(tls: Tls | None = None) -> Cluster:
            cluster = started.enter_context(Cluster(tmp_path / f"etcd-{next(_numbers)}", tls=tls))
            anyio.run(cluster.ready)
            return cluster

        yield start


def lead(target: str, name: str = "e", candidate: str = "a") -> int:
    """Lead for a moment, as soon as that is possible, and return the token."""

    async def work() -> int:
        with anyio.fail_after(LATER_S):
            async with (
                connect(target, session_ttl=TTL_S) as client,
                client.election(name, candidate_id=candidate).lead() as leadership,
            ):
                return leadership.token
        raise AssertionError("the block returns")

    return anyio.run(work)


def serve_and_lead(store: str, cwd: Path, *names: str) -> dict[str, int]:
    """Serve a store for a while, and return the token of a leader in each election."""
    with Running(*SERVE, store, cwd=cwd) as server:
        at = server.target()
        tokens = {name: lead(at, name) for name in names}
        assert server.end(signal.SIGTERM)[0] == 0
    return tokens


@pytest.fixture(scope="module")
def served_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with elections that had several leaders; see ``BEFORE``."""
    path = tmp_path_factory.mktemp("served") / "store.db"
    with Running(*SERVE, f"sqlite:///{path}") as server:
        at = server.target()
        tokens = {name: [lead(at, name) for _ in range(times)][-1] for name, times in (("e", 3), ("f", 1), ("gone", 5))}
        assert run("forget", "gone", "--yes", "--target", at).returncode == 0
        enter(at, "e", "left")
        assert server.end(signal.SIGTERM)[0] == 0
    assert tokens == BEFORE | {"e": 3}, tokens
    return path


@pytest.fixture
def directory(served_file: Path, tmp_path: Path) -> Path:
    """A directory with such a file, store.db."""
    shutil.copy(served_file, tmp_path)
    return tmp_path


def put(target: str, key: bytes, value: bytes = b"") -> None:
    """Write a key below the prefix of a store."""

    async def work() -> None:
        async with open_etcd(target) as (etcd, prefix):
            await etcd.txn([], [Put(prefix.encode() + key, value)])

    anyio.run(work)


def test_elections_move_into_etcd_and_their_tokens_go_on(target: str, directory: Path) -> None:
    """Also that of one that was forgotten; and the file is never served again, but says where they went."""
    result = run("migrate", "store.db", target, cwd=directory)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"moved the elections of store.db to {target}" in result.stdout
    after = serve_and_lead(target, directory, *BEFORE, "new")
    assert all(after[name] > token for name, token in BEFORE.items())
    assert after["e"] < reached_by(1), "by one, or to a revision of etcd, and not to the clock"
    refused = run(*SERVE, "sqlite:///store.db", cwd=directory)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"store.db were moved to {target}: serve that" in refused.stderr
    again = run("migrate", "sqlite:///store.db", target, cwd=directory)
    assert again.returncode == 0
    assert "there was nothing left to do" in again.stdout
    elsewhere = run("migrate", "store.db", f"{target}-2", cwd=directory)
    assert elsewhere.returncode == 1
    assert f"were moved to {target}: name that target" in elsewhere.stderr


def test_who_wants_to_go_back_restores_a_backup_of_the_file(target: str, directory: Path) -> None:
    """Its tokens are above all that were given in etcd; a backup by itself is refused as ever."""
    assert run("migrate", "store.db", target, cwd=directory).returncode == 0
    there = serve_and_lead(target, directory, "e")
    assert run("backup", "store.db", "backup.db", cwd=directory).returncode == 0
    refused = run("migrate", "backup.db", f"{target}-2", cwd=directory)
    assert (refused.returncode, "is a backup" in refused.stderr) == (1, True)
    assert run("restore", "backup.db", "back.db", cwd=directory).returncode == 0
    assert serve_and_lead("sqlite:///back.db", directory, "e")["e"] > there["e"]


def test_nothing_moves_from_a_served_file_or_to_a_prefix_in_use(target: str, tmp_path: Path) -> None:
    """Both stay as they are, and so does a file whose etcd does not answer."""
    with Running(*SERVE, "sqlite:///store.db", cwd=tmp_path) as server:
        lead(server.target())
        result = run("migrate", "store.db", target, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (1, "")
        assert f"is in use by process {server.process.pid}: end that one first" in result.stderr
        server.end(signal.SIGTERM)
    put(target, b"mine")
    result = run("migrate", "store.db", target, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "name another prefix, or delete them" in result.stderr
    result = run("migrate", "store.db", "etcd://127.0.0.1:1", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "Traceback" not in result.stderr
    result = run("migrate", "nothing.db", target, cwd=tmp_path)
    assert (result.returncode, "there is no file nothing.db" in result.stderr) == (1, True)
    assert serve_and_lead("sqlite:///store.db", tmp_path, "e") == {"e": 2}


@pytest.mark.parametrize("killed_at", ["before the mark", "after the mark", "half-way", "before the end"])
def test_killed_anywhere_and_repeated_it_loses_nothing(killed_at: str, target: str, directory: Path) -> None:
    """And at no time can both stores be served, nor a new one without the floors."""
    command = ["migrate", "store.db", target]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, killed_at, *command],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=LATER_S,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    file = f"sqlite:///{directory}/store.db"
    tried = {store: refusal(store) for store in (file, target)}
    served = [store for store, message in tried.items() if not message]
    assert served == {"before the mark": [file], "before the end": [target]}.get(killed_at, [])
    if not served:
        assert f"`atomix-election migrate {directory}/store.db {target}`" in tried[file]
        assert "atomix-election migrate" in tried[target]
    assert run(*command, cwd=directory).returncode == 0
    assert "were moved to" in refusal(file)
    after = serve_and_lead(target, directory, "e", "gone")
    assert all(token > BEFORE[name] for name, token in after.items())


KILLED = """
import os, signal, sys
from atomix_election.cli import main
from atomix_election.stores import etcd_restore, sqlite_to_etcd
from atomix_election.stores.sqlite_move import LeavingFile

def kill(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

where, *arguments = sys.argv[1:]
mark, call = LeavingFile.mark, etcd_restore._call
calls = []

async def call_and_die(etcd, compares, operations):
    calls.append(await call(etcd, compares, operations))
    if len(calls) == 4:  # the claim, that it is there, the elections: not yet what makes a store of them
        kill()
    return calls[-1]

if where == "before the mark":
    LeavingFile.mark = kill
elif where == "after the mark":
    sqlite_to_etcd.migrate_in = kill
elif where == "half-way":
    etcd_restore._call = call_and_die
else:
    LeavingFile.mark = lambda self, target, *, is_complete: (kill if is_complete else mark)(
        self, target, is_complete=is_complete
    )
main(arguments)
"""
"""The command, killed at some point."""


def refusal(store: str) -> str:
    """Return with what words a store is refused; "" if it can be served."""

    async def work() -> str:
        try:
            async with open_engine(store, SessionLimits(), SystemClock()):
                return ""
        except StoreError as error:
            return str(error)

    return anyio.run(work)


def test_a_recovered_store_gives_higher_tokens_than_any_before(
    start_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    """Servers that run when etcd goes back refuse all calls, and say what to do; so does ``recover`` while they run."""
    cluster = start_cluster()
    (member,) = cluster.members
    store = f"etcd://{member.endpoint}"
    with Running(*SERVE, store, cwd=tmp_path) as server:
        at = server.target()
        lead(at)
        cluster.etcdctl("snapshot", "save", str(tmp_path / "snapshot"))
        refused = run("recover", store, "--wait", "0.1", cwd=tmp_path)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "1 server(s)" in refused.stderr
        assert "stop all that use it" in refused.stderr
        tokens = [lead(at, candidate=f"c{number}") for number in range(5)]
        restore_snapshot(cluster, tmp_path / "snapshot")
        with pytest.raises(StoreError, match="`atomix-election recover`"):
            enter_until_refused(at)
        watched = run("term", "e", "--target", at)
        assert (watched.returncode, "confirm the restore" in watched.stderr) == (1, True)
        server.end(signal.SIGTERM)
    before_ms = int(wall_clock_s() * 1000)
    recovered = run("recover", store, "--wait", "15", cwd=tmp_path)
    assert (recovered.returncode, recovered.stderr) == (0, "")
    (floor,) = map(int, re.findall(r"its tokens begin above (\d+);", recovered.stdout))
    assert reached_by(before_ms) <= floor <= reached_by(int(wall_clock_s() * 1000))
    assert re.search(r"which is store [0-9a-f]{32} from now on", recovered.stdout)
    assert serve_and_lead(store, tmp_path, "e")["e"] > max(floor, *tokens)


def enter_until_refused(target: str) -> None:
    """Enter until the server has noticed; before that it may not reach etcd."""

    async def work() -> None:
        with anyio.fail_after(LATER_S):
            while True:
                with suppress(Unavailable):
                    await anyio.to_thread.run_sync(enter, target, "e", "x")
                await anyio.sleep(0.05)

    anyio.run(work)


def restore_snapshot(cluster: Cluster, snapshot: Path) -> None:
    """Let etcd go on from a snapshot, as an operator does after the loss of all its data."""
    (member,) = cluster.members
    member.kill()
    shutil.rmtree(member.data)
    arguments = [
        f"--name={member.name}",
        f"--data-dir={member.data}",
        f"--initial-cluster={member.name}={member.peer_url}",
    ]
    arguments += [
        f"--initial-advertise-peer-urls={member.peer_url}",
        f"--initial-cluster-token={member.data.parent.name}",
    ]
    subprocess.run(
        [binary("etcdctl"), "snapshot", "restore", snapshot, *arguments],
        env={**os.environ, "ETCDCTL_API": "3"},
        check=True,
        capture_output=True,
    )
    member.start()
    anyio.run(cluster.ready)


def test_recover_refuses_a_clock_that_is_behind_unless_somebody_vouches(target: str, tmp_path: Path) -> None:
    """Then it says what follows from it."""
    ahead = reached_by(int(wall_clock_s() * 1000)) + RESTORE_JUMP * 1000
    serve_and_lead(target, tmp_path)
    assert run("raise-floor", str(ahead), target).returncode == 0
    refused = run("recover", target, cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert re.search(rf"tokens up to {ahead} may have been given.*--above", refused.stderr)
    recovered = run("recover", target, f"--above={ahead}", cwd=tmp_path)
    assert f"its tokens begin above {ahead + RESTORE_JUMP};" in recovered.stdout
    assert "ahead of the clock: until " in recovered.stdout
    for wrong in ("-5", "many"):
        assert run("recover", target, f"--above={wrong}").returncode == 2
    missing = run("recover", f"{target}-none")
    assert (missing.returncode, "etcd has no store under" in missing.stderr) == (1, True)


def test_a_raised_floor_holds_at_once_for_servers_that_run(target: str, tmp_path: Path) -> None:
    """The next leader has it; a lower one changes nothing."""
    with Running(*SERVE, target, cwd=tmp_path) as server:
        at = server.target()
        assert lead(at) < 5000
        result = run("raise-floor", "5000", target)
        assert (result.returncode, result.stdout) == (0, f"new leaders in {target} get tokens of 5000 or more\n")
        assert lead(at) == 5000
        result = run("raise-floor", "10", target)
        assert result.stdout == f"new leaders in {target} get tokens of 5000 or more as it was raised to before\n"
        assert json.loads(run("term", "e", "--json", "--target", at).stdout)["number"] == 5000
        server.end(signal.SIGTERM)
    assert run("raise-floor", "0", target).returncode == 2
    missing = run("raise-floor", "7", f"{target}-none")
    assert (missing.returncode, "etcd has no store under" in missing.stderr) == (1, True)


@pytest.mark.parametrize("command", [("migrate", "store.db"), ("recover",), ("raise-floor", "7")])
def test_what_is_no_etcd_is_a_wrong_command_line(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and the message says what is meant."""
    for store in ("grpc://localhost:1", "memory://", "sqlite:///store.db"):
        assert main([*command, store]) == 2
        assert f"{store!r} names no etcd" in capsys.readouterr().err


def test_the_options_of_serve_reach_a_secured_etcd(
    start_cluster: Callable[..., Cluster], authority: Authority, directory: Path
) -> None:
    """Certificates, and a user with a password from a file; without them nothing is done."""
    tls = Tls.issue(authority)
    cluster = start_cluster(tls)
    cluster.etcdctl("user", "add", "root:secret")
    cluster.etcdctl("user", "grant-role", "root", "root")
    cluster.etcdctl("auth", "enable")
    (directory / "etcd.token").write_text("root:secret\n")
    options = ["--store-ca", str(authority.ca), "--store-certificate", str(tls.client.certificate)]
    options += ["--store-key", str(tls.client.key), "--store-token-file", "etcd.token"]
    store = f"etcds://{cluster.members[0].endpoint}/secured"
    refused = run("migrate", "store.db", store, *options[:-2], cwd=directory)
    assert (refused.returncode, "Traceback" in refused.stderr) == (1, False)
    assert run("migrate", "store.db", store, *options, cwd=directory).returncode == 0
    raised = run("raise-floor", "5000", store, *options, cwd=directory)
    assert (raised.returncode, raised.stderr) == (0, "")
    assert "its tokens begin above" in run("recover", store, *options, cwd=directory).stdout
