"""``serve``: one line when it is ready, and a quick end."""

import re
import signal
import socket
import time
from pathlib import Path

import anyio
import pytest

from atomix_election import Client, connect
from atomix_election.cli import main
from atomix_election.service import Call
from tests.cli.processes import PROMPT_S, Running, anoint, enter, run, with_service


def test_it_says_where_it_listens_in_one_line() -> None:
    """Nothing else goes to stdout, and what it says can be connected to."""
    with Running("serve", "--listen", "127.0.0.1:0", "--store", "memory://") as server:
        line = server.line()
        assert re.fullmatch(r"listening on grpc://127\.0\.0\.1:[1-9][0-9]*", line)
        enter(line.removeprefix("listening on "), "e", "a", "b")
        anoint(line.removeprefix("listening on "), "e", "b")
        status, rest, log = server.end(signal.SIGTERM)
    assert (status, rest) == (0, "")
    assert "memory:// keeps nothing" in log
    assert "Traceback" not in log


def test_by_default_it_keeps_elections_in_a_file_of_the_working_directory(tmp_path: Path) -> None:
    """They are there after a restart, and nothing is said about keeping nothing."""
    for candidates in (("a", "b"), ("a", "b", "c")):
        with Running("serve", "--listen", "127.0.0.1:0", cwd=tmp_path) as server:
            target = server.target()
            enter(target, "e", *candidates)
            assert candidates == with_service(target, lambda service: service.get_term(Call("e"))).candidates
            status, rest, log = server.end(signal.SIGTERM)
        assert (status, rest) == (0, "")
        assert "keeps nothing" not in log
        assert "Traceback" not in log
    assert sorted(each.name for each in tmp_path.iterdir()) == ["atomix-election.db", "atomix-election.db.lock"]


def test_a_second_server_on_a_file_is_refused_with_the_process_of_the_first(tmp_path: Path) -> None:
    """Status 1, and one line that says what to do; the first one goes on."""
    with Running("serve", "--listen", "127.0.0.1:0", cwd=tmp_path) as server:
        target = server.target()
        result = run("serve", "--listen", "127.0.0.1:0", cwd=tmp_path)
        assert (result.returncode, result.stdout) == (1, "")
        assert f"atomix-election.db is in use by process {server.process.pid}: end that one first" in result.stderr
        assert "Traceback" not in result.stderr
        enter(target, "e", "a")


def test_a_store_that_cannot_be_opened_is_a_failure_in_words(tmp_path: Path) -> None:
    """Status 1, and the message says what to do."""
    (tmp_path / "atomix-election.db").write_bytes(b"garbage")
    result = run("serve", "--listen", "127.0.0.1:0", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "restore a backup" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_open_watches(number: signal.Signals) -> None:
    """Status 0, at once: the server waits for none of its watchers."""

    async def watch(client: Client, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with client.election("e").events() as events:
            await anext(events)
            task_status.started()
            await anyio.sleep_forever()

    async def watch_and_end(target: str, server: Running) -> None:
        async with connect(target) as client, anyio.create_task_group() as tasks:
            for _ in range(20):
                await tasks.start(watch, client)
            began = time.monotonic()
            server.process.send_signal(number)
            await anyio.to_thread.run_sync(server.process.wait, abandon_on_cancel=True)
            assert time.monotonic() - began < PROMPT_S
            tasks.cancel_scope.cancel()

    with Running("serve", "--listen", "127.0.0.1:0", "--store", "memory://") as server:
        anyio.run(watch_and_end, server.target(), server)
        status, rest, log = server.end()
    assert (status, rest) == (0, "")
    assert f"{number.name} received" in log
    assert "Traceback" not in log


def test_a_port_in_use_is_a_failure_in_words() -> None:
    """Status 1, and one line that names the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "{}:{}".format(*taken.getsockname())
        result = run("serve", "--listen", address, "--store", "memory://")
    assert result.returncode == 1
    assert result.stdout == ""
    assert f"cannot listen on {address}" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_it_listens_on_ipv6() -> None:
    """The address stands in brackets, and can be given to a client as it is."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with Running("serve", "--listen", "[::1]:0", "--store", "memory://") as server:
        target = server.target()
        assert target.startswith("grpc://[::1]:")
        enter(target, "e", "a")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--listen", "127.0.0.1:1,127.0.0.1:2"],
        ["--listen", "127.0.0.1:65536"],
        ["--listen", "::1:0"],
        ["--store", "grpc://127.0.0.1:1"],
        ["--store", "nothing"],
        ["--store", "sqlite:///"],
        ["--metrics", "127.0.0.1"],
        ["--metrics", "127.0.0.1:1,127.0.0.1:2"],
        ["--metrics", "127.0.0.1:65536"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_served_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and the message has what was wrong in it."""
    assert main(["serve", "--listen", "127.0.0.1:0", "--store", "memory://", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert arguments[1] in said.err


@pytest.mark.parametrize("ttl", ["0", "-1", "nan", "inf", "soon"])
def test_a_time_to_live_is_a_number_of_seconds(ttl: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Anything else is a wrong command line."""
    assert main(["serve", f"--session-ttl={ttl}"]) == 2
    assert "--session-ttl" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example"])
def test_a_host_that_cannot_be_is_a_failure_in_words(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Names that DNS cannot carry are no reason for a traceback."""
    assert main(["serve", "--listen", f"{host}:1", "--store", "memory://"]) in (1, 2)
    assert host in capsys.readouterr().err
