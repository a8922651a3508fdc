"""``run`` as a command: what it takes, and what it ends with. What it does is tested in tests/supervise."""

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from io import RawIOBase

import pytest

from atomix_election import cli
from atomix_election.cli import run as command
from atomix_election.cli.options import NO_TARGET
from tests.cli.processes import WAIT_S, Running, environment, killing, read_until, run


def test_the_status_is_that_of_the_command(target: str) -> None:
    """What it writes comes through as it is, and its options are its own."""
    ended = run("run", "status", "--target", target, "--", "sh", "-c", "echo $0 $*; exit 7", "--once", "--", "--json")
    assert (ended.returncode, ended.stdout) == (7, "--once -- --json\n")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--once", "--restart", "--", "true"), "--restart: not allowed with --once"),
        (("--grace", "5", "--", "true"), "a grace of 5 s does not fit a time-to-live of 10 s"),
        (("--probe", "127.0.0.1", "--", "true"), "--probe '127.0.0.1' is not one address with a port"),
        (("--probe", "0.0.0.0:1", "--", "true"), "may be reached from other machines"),
        (("--candidate", "", "--", "true"), "candidate"),
        ((), "there is no command to run: give one after --"),
        (("true",), "Write -- before the command, as in `atomix-election run "),
        (("true", "-x"), "No such option '-x'. Write -- before the command, as in"),
        (("another", "--", "true"), "One election is named before --"),
        (("--once", "true", "--", "true"), "One election is named before --"),
        (("--grace", "0", "--", "true"), "Invalid value for '--grace': 0 is no number of seconds above 0"),
        (("--nothing", "--", "true"), "No such option '--nothing'.\n"),
        (("--", ""), "there is no command to run"),
    ],
)
def test_a_wrong_command_line(
    target: str, arguments: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said before anything is run."""
    status = cli.main(["run", "wrong", "--target", target, *arguments])
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert why in err


def test_the_election_is_not_taken_from_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Where it was forgotten, the first word of the command is not taken for it."""
    assert cli.main(["run", "--", "sh", "-c", "true"]) == 2
    assert "One election is named before --" in capsys.readouterr().err


def test_help_has_its_own_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    """And none of those that all other commands have."""
    assert cli.main(["run", "--help"]) == 0
    usage, _, statuses = capsys.readouterr().out.partition("Exit status:\n")
    assert usage.startswith("Usage: atomix-election run [OPTIONS] ELECTION -- COMMAND...\n")
    found = re.findall(r"^  (\S.*?)(?:  |$)", statuses, re.MULTILINE)
    assert found == list(command.STATUSES)


def test_a_failure_of_its_own_has_a_status_of_its_own(target: str) -> None:
    """So that nobody takes it for that of the command."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run("run", "own", "--target", target, "--probe", f"127.0.0.1:{taken.getsockname()[1]}", "--", "true")
    assert ended.returncode == 125
    assert "cannot serve probes on 127.0.0.1" in ended.stderr


def test_who_named_no_target_is_told_how() -> None:
    """Where nobody answers at the default one, which is waited for all the same."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        nobody = "grpc://{}:{}".format(*gone.getsockname())
    script = (
        "import sys; from atomix_election.cli import main, run; "
        "(option,) = [each for each in run.command.params if each.name == 'target']; "
        f"option.default = {nobody!r}; sys.exit(main(sys.argv[1:]))"
    )
    line = [sys.executable, "-c", script, "run", "unsaid", "--candidate", "a", "--", "true"]
    with subprocess.Popen(line, env=environment(), stderr=subprocess.PIPE, bufsize=0) as process, killing(process):
        assert isinstance(process.stderr, RawIOBase)
        read_until(re.escape(f"a in unsaid: {NO_TARGET}\n".encode()), process.stderr)
        process.terminate()
        assert process.wait(WAIT_S) == 128 + signal.SIGTERM
    with Running("run", "said", "--target", nobody, "--", "true") as named:
        assert named.process.stderr is not None
        assert "the session cannot be kept alive" in named.process.stderr.readline()
        assert NO_TARGET not in named.end(signal.SIGTERM)[2]


def test_probes_follow_the_leadership(target: str) -> None:
    """From when it leads until its command is told to stop; and all that happens is in the log, as JSON too."""
    script = "trap 'echo stops; while :; do sleep 0.01; done' TERM; echo runs; while :; do sleep 0.01; done"
    options = ("--candidate", "a", "--session-ttl", "100", "--log-format", "json", "--probe", "127.0.0.1:0")
    with Running("run", "probed", "--target", target, *options, "--", "sh", "-c", script) as running:
        assert running.process.stderr is not None
        url = json.loads(running.process.stderr.readline())["message"].rpartition(" ")[2]
        assert running.line() == "runs"
        status, said = get(f"{url}/leader")
        assert (status, said["phase"], said["token"], said["candidate"]) == (200, "running", 1, "a")
        running.process.send_signal(signal.SIGTERM)
        assert running.line() == "stops"
        assert [get(url + path)[0] for path in ("/leader", "/ready", "/live")] == [503, 200, 200]
        status, _, log = running.end(signal.SIGTERM)
        assert status == 128 + signal.SIGTERM
    events = [json.loads(line) for line in log.splitlines() if line.startswith("{")]  # the shell writes there too
    assert all((each["election"], each["candidate"]) == ("probed", "a") for each in events)
    words = [each["message"].removeprefix("a in probed: ").split()[0] for each in events]
    assert words == ["elected,", "started", "SIGTERM", "stopping", "SIGTERM", "killing", "the"]
    assert events[0]["token"] == 1
    assert events[1]["pid"] == said["pid"]
    assert events[-1]["status"] == 128 + signal.SIGKILL


def get(url: str) -> tuple[int, dict[str, object]]:
    """Ask, and return status and answer."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())
