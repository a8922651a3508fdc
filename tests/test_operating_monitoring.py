"""The section "Monitoring and shutdown" of docs/operating.md: its commands are run, what it lists is what there is."""

import dataclasses
import json
import re
import shlex
import shutil
import signal
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.metrics import MetricWrapperBase

from atomix_election import ConnectionLimits
from atomix_election.engine import report
from atomix_election.metrics import PrometheusObserver
from atomix_election.rpc import handshake, http2
from atomix_election.rpc.server import CLOSE_TIMEOUT_S, DRAIN_TIMEOUT_S
from tests import manual
from tests.cli.processes import Running, enter
from tests.manual import commands, section
from tests.ports import free_port

PROJECT = Path(__file__).parents[1]
NAME = "Monitoring and shutdown"
PLACES = {(NAME, each) for each in ("Looking at elections", "Metrics", "systemd")}
SECTION = section(NAME)
WAIT_S = 20.0
COMMANDS = [each for place, lines in commands().items() if place[0] == NAME for each in lines]


def command(beginning: str) -> list[str]:
    """Return the words after the beginning of the one command that begins so."""
    (found,) = [each for each in COMMANDS if each == beginning or each.startswith(f"{beginning} ")]
    return shlex.split(found.removeprefix(beginning))


def test_every_command_is_known_to_this_test() -> None:
    """A new one needs its run here."""
    assert [each.split(" --")[0].split(" http")[0] for each in COMMANDS] == [
        "atomix-election list",
        "atomix-election describe nightly-report",
        "atomix-election list",
        "pip install 'atomix-election[cli,server]'",
        "atomix-election serve",
        "curl",
        "systemd-analyze verify contrib/systemd/atomix-election.service",
    ]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_commands_do_what_is_said(tmp_path: Path) -> None:
    """The server as it stands there but for its ports, and with it the rest; what it needs is there already."""
    assert manual.requirements_are_met(shlex.join(["pip", "install", *command("pip install")]))
    ports = {"5678": str(free_port()), "9464": str(free_port())}

    def replaced(words: list[str]) -> list[str]:
        return [re.sub(r"\b(5678|9464)\b", lambda match: ports[match[0]], word) for word in words]

    with Running("serve", *replaced(command("atomix-election serve")), cwd=tmp_path) as server:
        target = server.target()
        assert target.endswith(f":{ports['5678']}")
        enter(target, "nightly-report", "node-1", "node-2")
        listed, described, as_json = (
            manual.run(
                line,
                directory=tmp_path,
                environment=manual.environment() | {"ATOMIX_ELECTION_TARGET": target},
                timeout_s=WAIT_S,
            )
            for line in commands()[NAME, "Looking at elections"]
        )
        assert "nightly-report" in listed
        assert "node-2" in described
        assert json.loads(as_json)["leader"] == "node-1"
        scraped = subprocess.run(
            ["curl", *replaced(command("curl"))], capture_output=True, text=True, timeout=20, check=False
        )
        assert "\natomix_election_leaders 1.0\n" in scraped.stdout
        status, _, log = server.end(signal.SIGTERM)
    assert status == 0
    assert "leader_changed" in [json.loads(line).get("event") for line in log.splitlines()]


def test_the_extras_are_there() -> None:
    """With all that this section needs."""
    (extras,) = re.findall(r"\[([\w,]+)\]", command("pip install")[0])
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    needed = " ".join(each for extra in extras.split(",") for each in project["optional-dependencies"][extra])
    assert "click" in needed
    assert "prometheus_client" in needed
    assert "python-json-logger" in needed


def test_the_metrics_that_are_listed_are_those_that_there_are() -> None:
    """With their labels."""
    observer = PrometheusObserver()
    registered = {
        name for name in observer.registry._names_to_collectors if not name.endswith(("_created", "_count", "_sum"))
    }
    ours = {name for name in registered if name.startswith("atomix_election_") and not name.endswith("_bucket")}
    listed = dict(re.findall(r"^\| `(atomix_election_\w+)(?:\{([\w,]+)\})?` \|", SECTION, re.MULTILINE))
    counters = {name for name in ours if name + "_total" in ours}
    assert set(listed) == ours - counters
    for name, labels in listed.items():
        collector = observer.registry._names_to_collectors[name]
        assert isinstance(collector, MetricWrapperBase)
        assert ",".join(collector._labelnames) == labels, name


def test_the_causes_that_are_listed_are_those_that_there_are() -> None:
    """In the row of their metric."""
    (row,) = re.findall(r"leader_changes_total\{cause\}` \| (.*) \|", SECTION)
    causes = {*report.CAUSES.values(), report.ENDED, report.EXPIRED, report.DISCONNECTED, report.UNCERTAIN}
    assert set(re.findall(r"`(\w+)`", row)) == causes


def test_the_reasons_that_are_listed_are_those_that_there_are() -> None:
    """In the row of their metric; the limits of calls alone close no connection."""
    (row,) = re.findall(r"closed_connections_total\{reason\}` \| (.*) \|", SECTION)
    of_calls = {"max_calls", "max_calls_per_connection", "max_message_bytes", "max_request_bytes", "request_timeout_s"}
    limits = {each.name for each in dataclasses.fields(ConnectionLimits)} - of_calls
    handshakes = {handshake.HANDSHAKE_FAILED, handshake.HANDSHAKE_TIMEOUT, handshake.TOO_MANY_HANDSHAKES}
    others = {http2.PROTOCOL_ERROR, http2.UNANSWERED_PING, "max_settings", "unread_bytes"}
    assert set(re.findall(r"`(\w+)`", row)) - {"TLS"} == limits | handshakes | others


def test_the_bounds_that_are_said_are_those_of_the_server() -> None:
    """How long calls are waited for, and the whole of it."""
    assert f"for at most {DRAIN_TIMEOUT_S:g} s" in SECTION
    assert f"takes at most {DRAIN_TIMEOUT_S + 2 * CLOSE_TIMEOUT_S:g} s" in SECTION


def test_the_line_that_is_shown_has_the_members_of_a_real_one(tmp_path: Path) -> None:
    """All of them."""
    (shown,) = re.findall(r"```json\n(.*?)```", SECTION, re.DOTALL)
    with Running("serve", "--listen", "127.0.0.1:0", "--log-format", "json", cwd=tmp_path) as server:
        enter(server.target(), "e", "a")
        _, _, log = server.end(signal.SIGTERM)
    lines = [json.loads(line) for line in log.splitlines()]
    (real,) = [line for line in lines if line.get("event") == "leader_changed"]
    assert json.loads(shown).keys() == real.keys()


def test_the_probe_of_kubernetes_is_answered(tmp_path: Path) -> None:
    """By a server on the port that it names, which is the default one, as the kubelet asks."""
    (probe,) = re.findall(r"^```yaml\nreadinessProbe:\n(.*?)```$", SECTION, re.MULTILINE | re.DOTALL)
    (port,) = re.fullmatch(r"  grpc:\n    port: (\d+)\n", probe).groups()  # pyright: ignore[reportOptionalMemberAccess]
    line = shlex.join(command("atomix-election serve"))
    assert port in line
    with Running(
        "serve", *shlex.split(line.replace(port, "0").replace("9464", str(free_port()))), cwd=tmp_path
    ) as server:
        with grpc.insecure_channel(server.target().removeprefix("grpc://")) as channel:
            kubelet: Any = health_pb2_grpc.HealthStub(channel)  # its type information has no methods
            answer = kubelet.Check(health_pb2.HealthCheckRequest(), timeout=20)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        server.end(signal.SIGTERM)
