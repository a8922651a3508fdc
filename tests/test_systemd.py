"""systemd's protocols: with real datagram sockets, and with a real socket that is handed over."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from atomix_election import systemd
from atomix_election.errors import InvalidRequest
from tests import manual
from tests.cli.processes import PROMPT_S, enter, environment

UNITS = Path(__file__).parents[1] / "contrib" / "systemd"
WAIT_S = 20.0


class Manager:
    """The end of the service manager: a datagram socket, under a path or in the abstract namespace."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._channel.bind("\0" + address[1:] if address.startswith("@") else address)
        self._channel.settimeout(WAIT_S)

    def close(self) -> None:
        """Listen no more."""
        self._channel.close()

    def told(self) -> str:
        """Wait for the next message."""
        return self._channel.recv(4096).decode()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Manager]:
    """A service manager that listens."""
    if request.param == "abstract" and sys.platform != "linux":
        pytest.skip("only Linux has abstract sockets")
    name = f"@atomix-election-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    manager = Manager(name)
    yield manager
    manager.close()


@pytest.fixture(autouse=True)
def no_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may be a service itself."""
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        monkeypatch.delenv(name, raising=False)


def test_a_manager_is_told(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Word for word."""
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    assert systemd.notify(systemd.READY)
    assert manager.told() == "READY=1"


def test_without_a_manager_nothing_happens() -> None:
    """Nobody is told, nothing is expected, and no socket is there."""
    assert not systemd.notify(systemd.READY)
    assert systemd.watchdog_interval_s() is None
    assert systemd.inherited_socket() is None


def test_a_manager_that_has_gone_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says it."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    assert not systemd.notify(systemd.READY)
    assert "could not be told READY=1" in caplog.text


def test_the_watchdog_is_for_the_process_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for its children; a missing process id means the one that asks."""
    monkeypatch.setenv("WATCHDOG_USEC", "1500000")
    assert systemd.watchdog_interval_s() == 1.5
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert systemd.watchdog_interval_s() == 1.5
    monkeypatch.setenv("WATCHDOG_PID", str(os.getppid()))
    assert systemd.watchdog_interval_s() is None
    monkeypatch.delenv("WATCHDOG_PID")
    monkeypatch.setenv("WATCHDOG_USEC", "0")
    assert systemd.watchdog_interval_s() is None


def test_sockets_are_for_the_process_that_they_name() -> None:
    """The variables of another process are left alone; of this one they are removed. More than one is refused."""
    others = {"LISTEN_PID": str(os.getppid()), "LISTEN_FDS": "1"}
    assert systemd.inherited_socket(others) is None
    assert others["LISTEN_FDS"] == "1"
    mine = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b", "PATH": "/bin"}
    with pytest.raises(InvalidRequest, match="2 sockets"):
        systemd.inherited_socket(mine)
    assert mine == {"PATH": "/bin"}


def serve(listener: socket.socket | None = None, **variables: str) -> "subprocess.Popen[str]":
    """Start a server as systemd does: with variables, and perhaps with a socket as descriptor 3."""
    command = [sys.executable, "-m", "atomix_election", "serve", "--listen", "127.0.0.1:0", "--store", "memory://"]
    handed: tuple[int, ...] = ()
    if listener is not None:
        handed = (listener.fileno(),)
        script = (
            f"import os, sys; os.dup2({listener.fileno()}, 3); "
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); os.execv(sys.argv[1], sys.argv[1:])"
        )
        command = [sys.executable, "-c", script, *command]
    return subprocess.Popen(
        command,
        pass_fds=handed,
        env=environment(variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: "subprocess.Popen[str]") -> str:
    """Send SIGTERM, and return what was logged."""
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=PROMPT_S)
    assert process.returncode == 0, log
    assert "Traceback" not in log
    return log


def test_a_server_tells_when_it_is_ready_alive_and_stopping(manager: Manager) -> None:
    """Ready is told after it listens, and the watchdog is fed at least twice in its time."""
    with serve(NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="200000") as process:
        try:
            told = [manager.told() for _ in range(4)]
            assert sorted(told) == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]
            assert process.stdout is not None
            assert process.stdout.readline().startswith("listening on ")
            end(process)
            rest = [manager.told()]
            while rest[-1] == "WATCHDOG=1":
                rest.append(manager.told())
            assert rest[-1] == "STOPPING=1"
        finally:
            process.kill()


def test_a_server_takes_the_socket_that_it_is_handed() -> None:
    """Connections that were made before it began are served, and the address is the socket's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), serve(listener) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == f"listening on grpc://127.0.0.1:{port}\n"
                enter(f"grpc://127.0.0.1:{port}", "e", "a")
                end(process)
                # The manager's socket is still there: clients wait for the next server.
                socket.create_connection(("127.0.0.1", port)).close()
            finally:
                process.kill()


def test_what_is_no_listening_socket_is_refused() -> None:
    """With status 2, and what to do."""
    with socket.socket() as not_listening, serve(not_listening) as process:
        _, log = process.communicate(timeout=WAIT_S)
    assert process.returncode == 2
    assert "not a listening TCP socket" in log


def test_the_unit_starts_the_command_with_options_that_it_has() -> None:
    """All but the path; and it is hardened, but for what would take Prometheus' metrics of the process away."""
    unit = (UNITS / "atomix-election.service").read_text()
    commands = [
        command
        for text in (unit, (UNITS / "secured.conf").read_text())
        for command in re.findall(
            r"^ExecStart=/opt/atomix-election/bin/atomix-election serve (.*)$", text, re.MULTILINE
        )
    ]
    assert len(commands) == 2
    (told,) = re.findall(r"^ListenStream=(.*)$", (UNITS / "atomix-election.socket").read_text(), re.MULTILINE)
    assert f"--listen {told}" in commands[0]
    shown = subprocess.run(
        [sys.executable, "-m", "atomix_election", "serve", "--help"], capture_output=True, text=True, check=True
    )
    for option in re.findall(r"--[a-z-]+", " ".join(commands)):
        assert option in shown.stdout
    for line in ("Type=notify", "DynamicUser=yes", "StateDirectory=atomix-election", "ProtectSystem=strict"):
        assert f"\n{line}\n" in unit
    assert "\nProcSubset=" not in unit, "they need the time when the machine was started, which stands in /proc/stat"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    """With a command that is there, and by the line of docs/operating.md, but for where the units are."""
    (line,) = manual.commands()["Monitoring and shutdown", "systemd"]
    *verify, unit = line.split()
    assert Path(unit) == (UNITS / "atomix-election.service").relative_to(UNITS.parents[1])
    drop_ins = tmp_path / "atomix-election.service.d"
    drop_ins.mkdir()
    for path in UNITS.iterdir():
        text = path.read_text().replace("/opt/atomix-election/bin/atomix-election", "/bin/true")
        ((drop_ins if path.suffix == ".conf" else tmp_path) / path.name).write_text(text)
    checked = subprocess.run(
        [*verify, *(str(each) for each in sorted(tmp_path.iterdir()) if each.is_file())],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in checked.stderr.splitlines() if "atomix-election" in line]
    assert (checked.returncode, complaints) == (0, []), checked.stderr
