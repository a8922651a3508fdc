"""Metrics, scraped over HTTP as Prometheus does it, against what was done."""

import logging
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from atomix_election import CandidateTaken, ElectionServer, Unavailable, connect, http_port
from atomix_election.addresses import Endpoint
from atomix_election.clock import SystemClock
from atomix_election.metrics import PrometheusObserver, serve_metrics
from atomix_election.service import Call
from atomix_election.targets import open_service
from tests.rpc.raw import RawConnection, about, eventually, headers_of

pytestmark = pytest.mark.anyio

SESSION_TTL_S = 30.0
MANY = 200
"""Connections of somebody who means no good."""
Samples = dict[tuple[str, tuple[str, ...]], float]


@pytest.fixture
def anyio_backend() -> str:
    """gRPC needs asyncio."""
    return "asyncio"


class Monitored:
    """A server, and where its metrics are."""

    def __init__(self, target: str, url: str) -> None:
        self.target = target
        self._url = url

    async def scrape(self) -> Samples:
        """Return every sample of this package, by its name without prefix and the values of its labels."""
        text = await anyio.to_thread.run_sync(_get, self._url)
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return {
            (sample.name.removeprefix("atomix_election_"), tuple(sample.labels.values())): sample.value
            for sample in samples
            if sample.name.startswith("atomix_election_") and not sample.name.endswith(("_bucket", "_created"))
        }

    @property
    def metrics(self) -> tuple[str, int]:
        """Where they are served."""
        parts = urlsplit(self._url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    @property
    def endpoint(self) -> Endpoint:
        """Where the server listens."""
        host, _, port = self.target.removeprefix("grpc://").rpartition(":")
        return Endpoint(host, int(port))


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read().decode()


@pytest.fixture
async def monitored(anyio_backend: str) -> AsyncGenerator[Monitored]:
    """A server that is counted from its start."""
    threads = threading.active_count()
    observer = PrometheusObserver()
    server = ElectionServer(observer=observer, session_ttl=SESSION_TTL_S)
    async with serve_metrics(observer, "127.0.0.1", 0) as url, server:
        yield Monitored(server.target, url)
    leftover = [each for each in threading.enumerate() if "AnyIO" not in each.name]
    assert len(leftover) <= threads


async def test_nothing_was_done(monitored: Monitored) -> None:
    """Gauges are there from the start, so that a graph begins at zero."""
    samples = await monitored.scrape()
    wanted = ("elections", "leaders", "watchers", "connections")
    assert {name: samples[name, ()] for name in wanted} == dict.fromkeys(wanted, 0)
    assert (samples["sessions", ("renewals",)], samples["sessions", ("connections",)]) == (0, 0)
    ((python, version),) = [labels for name, labels in samples if name == "build_info"]
    assert version
    assert python == sys.version.split()[0]


async def test_what_is_there_and_what_was_done(monitored: Monitored) -> None:
    """Each number is that of what this test does."""
    async with (
        connect(monitored.target) as client,
        open_service(monitored.target, session_ttl_s=SESSION_TTL_S, clock=SystemClock()) as published,
    ):
        one, two = client.election("one", candidate_id="a"), client.election("two", candidate_id="a")
        for election in (one, two):
            await election.enter()
        await two.withdraw()
        call = Call("one", session="s")
        await published.create(call)
        await published.enter(call, "b")
        with pytest.raises(CandidateTaken):
            await published.enter(call, "a")
        await published.anoint(call, "b")
        async with one.events() as events:
            await anext(events)
            samples = await monitored.scrape()
        for labels, value in {
            ("elections", ()): 2,
            ("leaders", ()): 1,
            ("sessions", ("renewals",)): 1,
            ("sessions", ("connections",)): 1,
            ("connections", ()): 2,
            ("watchers", ()): 1,
            ("leader_changes_total", ("entered",)): 2,
            ("leader_changes_total", ("withdrew",)): 1,
            ("leader_changes_total", ("anointed",)): 1,
            ("commands_total", ("Enter", "changed")): 3,
            ("commands_total", ("Enter", "CandidateTaken")): 1,
            ("commands_total", ("Anoint", "changed")): 1,
            ("commit_seconds_count", ("session",)): 2,
            ("rejected_calls_total", ("CandidateTaken",)): 1,
            ("call_seconds_count", ("/atomix.election.v1.LeaderElection/Enter", "OK")): 3,
            ("call_seconds_count", ("/atomix.election.v1.LeaderElection/Enter", "ALREADY_EXISTS")): 1,
            ("call_seconds_count", ("/atomix.election.v1.LeaderElection/Anoint", "OK")): 1,
        }.items():
            assert samples[labels] == value, labels
        assert samples["renewals_total", ()] >= 1
        assert samples["commit_seconds_count", ("election",)] >= 5
        assert 0 < samples["call_seconds_sum", ("/atomix.election.v1.LeaderElection/Enter", "OK")] < 10
    samples = await monitored.scrape()
    assert samples["watchers", ()] == 0
    assert samples["sessions", ("renewals",)] == 0


async def test_connections_that_the_server_closed_are_counted_by_reason(monitored: Monitored) -> None:
    """Such as one that does not speak HTTP/2."""
    async with RawConnection(monitored.endpoint.port) as raw:
        raw.send_bytes(bytes(1000))
        await raw.until_closed()
    assert (await monitored.scrape())["closed_connections_total", ("protocol_error",)] == 1


async def test_what_strangers_send_makes_no_new_series(monitored: Monitored) -> None:
    """Methods that do not exist are one, whatever they are called."""
    async with RawConnection(monitored.endpoint.port) as raw:
        for number in range(5):
            answer = await raw.call(headers_of(f"/no.such.Service/Method{number}", *about()))
            assert answer.status == 12
    samples = await monitored.scrape()
    calls = {labels for name, labels in samples if name == "call_seconds_count"}
    assert calls == {("unknown", "UNIMPLEMENTED")}
    assert samples["rejected_calls_total", ("InvalidRequest",)] == 5


def scrapes() -> list[threading.Thread]:
    """Return the threads that serve connections to the port of the metrics."""
    return [each for each in threading.enumerate() if "process_request" in each.name]


@pytest.fixture
async def silent(monitored: Monitored) -> AsyncGenerator[list[socket.socket]]:
    """Many connections to the port of the metrics that say nothing, or too little."""
    opened = [socket.create_connection(monitored.metrics) for _ in range(MANY)]
    for each in opened[1::2]:
        each.sendall(b"GET /metrics HTTP/1.0\r\n")
    yield opened
    for each in opened:
        each.close()


async def test_silent_connections_keep_no_scrape_out(monitored: Monitored, silent: list[socket.socket]) -> None:
    """It is answered at once, as the oldest gives way; and there are few threads."""
    for _ in range(3):
        began = time.monotonic()
        assert ("connections", ()) in await monitored.scrape()
        assert time.monotonic() - began < http_port.SILENCE_TIMEOUT_S / 2
        assert len(scrapes()) <= http_port.MAX_CONNECTIONS
    assert silent[0].recv(1) == b""


async def test_none_gives_way_before_there_are_too_many(monitored: Monitored) -> None:
    """So a slow scrape is not closed by the second one beside it."""
    opened: list[socket.socket] = []
    for count in range(1, http_port.MAX_CONNECTIONS + 1):
        opened.append(socket.create_connection(monitored.metrics))
        await eventually(lambda count=count: len(scrapes()) == count)
    assert ("connections", ()) in await monitored.scrape()
    assert opened[0].recv(1) == b""
    for each in opened[1:]:
        with pytest.raises(BlockingIOError):
            each.recv(1, socket.MSG_DONTWAIT)
    for each in opened:
        each.close()


async def test_a_connection_that_says_nothing_is_closed(
    monitored: Monitored, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Soon, and without a line in the log."""
    assert http_port._Handler.timeout == http_port.SILENCE_TIMEOUT_S < 10
    monkeypatch.setattr(http_port._Handler, "timeout", 0.1)
    for said in (b"", b"GET /metrics HTTP/1.0\r\nA: b"):
        with socket.create_connection(monitored.metrics, timeout=10) as connection:
            connection.sendall(said)
            assert await anyio.to_thread.run_sync(connection.recv, 1) == b""
    assert not [each for each in caplog.records if each.levelno > logging.DEBUG]


async def test_the_end_waits_for_no_connection() -> None:
    """And leaves no thread of one behind."""
    async with serve_metrics(PrometheusObserver(), "127.0.0.1", 0) as url:
        connection = socket.create_connection(Monitored("", url).metrics)
        await eventually(lambda: bool(scrapes()))
        threads = scrapes()
        began = time.monotonic()
    assert time.monotonic() - began < http_port.SILENCE_TIMEOUT_S / 2
    assert not any(each.is_alive() for each in threads)
    connection.close()


async def test_an_address_in_use_is_a_failure_in_words(monitored: Monitored) -> None:
    """It names the address."""
    with pytest.raises(Unavailable, match=f"cannot serve metrics on 127.0.0.1:{monitored.endpoint.port}"):
        async with serve_metrics(PrometheusObserver(), *monitored.endpoint):
            raise AssertionError("it is taken")


def test_without_the_extra_it_is_said_what_to_install() -> None:
    """And the rest of the package works, as nothing else imports it."""
    script = """
import sys
sys.modules["prometheus_client"] = None
sys.modules["pythonjsonlogger"] = None
from atomix_election.cli import main
serve = ["serve", "--listen", "127.0.0.1:0"]
assert main([*serve, "--metrics", "127.0.0.1:0"]) == 2
assert main([*serve, "--log-format", "json"]) == 2
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    for what in ("metrics need the package prometheus_client", "json needs the package python-json-logger"):
        assert what in ended.stderr
    assert ended.stderr.count("pip install 'atomix-election[server]'") == 2


def test_metrics_are_imported_only_when_they_are_asked_for() -> None:
    """They would double the time that a command takes to start."""
    script = "import sys, atomix_election.cli; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
