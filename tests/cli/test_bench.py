"""``bench``: figures of a real server, of which it leaves nothing behind, whatever ends it."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
from collections.abc import Generator

import anyio
import pytest

from atomix_election import connect
from atomix_election.cli import main
from atomix_election.cli.bench import LONGEST_S, MOST_CLIENTS, PREFIX
from atomix_election.cli.bench_figures import Figures, Latencies, Load, figures_lines, latencies_of
from tests.cli.processes import WAIT_S, Running, command, enter, environment, killing, read_until

SHORT = ("--duration", "0.1", "--clients", "3")
LONG = ("--duration", "60", "--clients", "2")
LATENCIES = {"count", "p50_ms", "p99_ms", "longest_ms"}
LOAD = {*LATENCIES, "per_second", "processor_use"}


@pytest.fixture(scope="module")
def target() -> Generator[str]:
    """The target of a running server. It does not log changes of leaders, which nobody reads."""
    quiet = ("--log-level", "warning")
    with Running("serve", "--listen", "127.0.0.1:0", "--store", "memory://", "--session-ttl", "100", *quiet) as server:
        yield server.target()


def elections_of(target: str, namespace: str) -> list[str]:
    """Return the names that a server keeps in a namespace."""

    async def work() -> list[str]:
        async with connect(target, namespace=namespace) as client:
            return [each.name async for each in client.list_elections()]
        raise AssertionError("the block returns")

    return anyio.run(work)


def wait_for(part: str, bench: Running) -> str:
    """Wait until a part has begun, and return the name of the election."""
    assert bench.process.stderr is not None
    said = [bench.process.stderr.readline()]
    while part not in said[-1]:
        assert said[-1], said
        said.append(bench.process.stderr.readline())
    name = said[0].split()[-1]
    assert name.startswith(PREFIX)
    return name


def test_json_of_a_server(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One object of these names, whose figures go together; and the server has nothing of it any more."""
    assert main(["bench", *SHORT, "--json", "--target", target, "--namespace", "measured"]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    said = json.loads(out)
    parts = {name: said.pop(name) for name in ("commands", "get_term", "handover")}
    rounds_per_second = said.pop("rounds_per_second")
    assert said == {"target": target, "namespace": "measured", "clients": 3, "duration_s": 0.1}
    names = {name: set(part) for name, part in parts.items()}
    assert names == {"commands": LOAD, "get_term": LOAD, "handover": LATENCIES}
    for part in parts.values():
        assert part["count"] > 0
        assert 0 < part["p50_ms"] <= part["p99_ms"] <= part["longest_ms"]
    assert parts["commands"]["count"] % 2 == 0, "a round that began was not finished"
    assert rounds_per_second == pytest.approx(parts["commands"]["per_second"] / 2, abs=0.1)
    assert len(re.findall(r"for 0\.1 s$", err, re.MULTILINE)) == 3
    assert elections_of(target, "measured") == []


def test_without_a_target_it_has_a_server_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """And says so. One client is enough, also for a hand-over."""
    assert main(["bench", "--duration", "0.1", "--clients", "1"]) == 0
    server, clients, _, _, _, *rows = capsys.readouterr().out.splitlines()
    assert server == "server   one of its own in this process, in memory"
    assert clients.startswith("clients  1 at once behind the leader")
    assert [row.split("  ")[0] for row in rows[:3]] == ["Enter, Withdraw", "GetTerm", "hand-over"]


@pytest.mark.parametrize(
    ("part", "duration_s", "number", "status"),
    [
        ("Enter and Withdraw", "60", signal.SIGINT, 130),
        ("hand-overs", "0.2", signal.SIGTERM, -signal.SIGTERM),
    ],
)
def test_interrupted_it_leaves_nothing(
    part: str, duration_s: str, number: signal.Signals, status: int, target: str
) -> None:
    """No candidate, no session that holds its election, and so no election."""
    namespace = f"cut-{number}"
    options = ("--duration", duration_s, "--clients", "2", "--target", target, "--namespace", namespace)
    with Running("bench", *options) as bench:
        name = wait_for(part, bench)
        assert elections_of(target, namespace) == [name]
        assert bench.end(number) == (status, "", "")
    assert elections_of(target, namespace) == []


def test_what_cannot_be_removed_is_named(target: str) -> None:
    """Where somebody else has entered its election, for example."""
    with Running("bench", *LONG, "--target", target, "--namespace", "shared") as bench:
        name = wait_for("Enter and Withdraw", bench)
        enter(target, name, "somebody", namespace="shared")
        status, _, err = bench.end(signal.SIGINT)
    assert status == 130
    assert err.startswith(f"atomix-election: election {name} in namespace shared may be left: ")
    assert err.endswith(f"then `atomix-election forget {name} --namespace shared` removes it\n")
    assert elections_of(target, "shared") == [name]


def test_a_server_that_vanishes_ends_it() -> None:
    """Status 1, in words, with one line for the warnings of all clients; no figures of half a measurement."""
    serve = ("serve", "--listen", "127.0.0.1:0", "--store", "memory://", "--log-level", "warning")
    with (
        Running(*serve) as server,
        Running("bench", *LONG, "--session-ttl", "1", "--target", (target := server.target())) as bench,
    ):
        name = wait_for("Enter and Withdraw", bench)
        server.process.kill()
        status, out, err = bench.end()
    assert (status, out) == (1, "")
    left, *others = err.splitlines()
    assert left.startswith(f"atomix-election: election {name} in namespace default may be left: no server could be")
    assert target.removeprefix("grpc://") in left
    assert re.match(r"atomix-election: \d+ warnings of its clients, the first: ", others[0])
    assert re.match(r"atomix-election: (Enter|Withdraw|no server)", others[-1])
    assert len(others) == 2


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (("--clients", "0"), 2, "0 is not in the range"),
        (("--clients", str(MOST_CLIENTS + 1)), 2, "is not in the range"),
        (("--duration", "0"), 2, "0 is no number of seconds above 0"),
        (("--duration", str(LONGEST_S + 1)), 2, "301.0 is more than the most, 300 seconds"),
        (("--target", "memory://"), 2, "give it a name, as in memory://bench, or no target at all"),
        (("--target", "nowhere"), 2, "target 'nowhere' is not known"),
        (("--namespace", "é"), 2, "namespace"),
        (("--ca", "ca.pem"), 2, "--ca says how a server is reached: name it with --target"),
    ],
)
def test_a_wrong_command_line(
    arguments: tuple[str, ...], status: int, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said before anything is begun."""
    assert main(["bench", *arguments]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert why in err
    assert "measuring" not in err


def test_where_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1, and the address is named; nobody is waited for."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = "{}:{}".format(*gone.getsockname())
    assert main(["bench", "--target", f"grpc://{address}", "--json"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert address in err
    assert "at once" not in err


def test_on_a_terminal_it_draws(target: str) -> None:
    """How far it is, on standard error; what was measured is not mixed with that, and the cursor is there again."""
    ours, theirs = pty.openpty()
    with (
        os.fdopen(ours, "r+b", buffering=0) as terminal,
        subprocess.Popen(
            command("bench", "--duration", "0.3", "--clients", "1", "--json", "--target", target),
            env=environment({"TERM": "xterm"}),
            stdout=subprocess.PIPE,
            stderr=theirs,
        ) as process,
        killing(process),
    ):
        os.close(theirs)
        seen = read_until(rb"Enter and Withdraw, 1 at once.* of 0\.3 s(?s:.*)GetTerm(?s:.*)hand-overs", terminal)
        read_until(rb"\x1b\[\?25h", terminal, seen)
        assert process.stdout is not None
        assert json.loads(process.stdout.read())["clients"] == 1
        assert process.wait(WAIT_S) == 0


def test_percentiles_are_times_that_were_measured() -> None:
    """The least one that so many in a hundred do not exceed."""
    assert latencies_of([each / 1000 for each in range(200, 0, -1)]) == Latencies(200, 100, 198, 200)
    assert latencies_of([0.003, 0.001]) == Latencies(2, 1, 3, 3)
    assert latencies_of([0.001]) == Latencies(1, 1, 1, 1)


def test_it_is_said_where_the_limit_may_be() -> None:
    """A process that is busy all the time measures itself."""
    latencies = Latencies(1000, 1, 2, 3)
    for use, said in ((0.5, False), (0.95, True)):
        figures = Figures(Load(latencies, 2.0, use), Load(latencies, 4.0, 0.1), latencies)
        text = "\n".join(figures_lines(figures, "grpc://there:1", 5))
        assert ("This process kept a processor busy for up to 95% of the time" in text) is said
        assert "rounds   250.0 a second" in text
        assert re.search(r"GetTerm +1,000 +250.0 +1.00 +2.00 +3.00$", text, re.MULTILINE)
