"""The section "From nothing" of docs/operating.md: its lines make a server that is durable, secured and watched."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from atomix_election import ClientTls, Unauthenticated, connect
from tests.cli.processes import Running
from tests.manual import commands, section
from tests.ports import free_port

PLACES = {("From nothing", "")}
SECTION = section("From nothing")
COMMANDS = commands()["From nothing", ""]
SERVE = "atomix-election serve "
TTL_S = 10.0

pytestmark = pytest.mark.skipif(not (shutil.which("openssl") and shutil.which("curl")), reason="needs openssl and curl")


@pytest.fixture
def lines() -> list[str]:
    """The commands as they stand there, but for the ports."""
    ports = {"5678": str(free_port()), "9464": str(free_port())}
    return [re.sub(r"\b(5678|9464)\b", lambda match: ports[match[0]], line) for line in COMMANDS]


def shell(directory: Path, *lines: str) -> str:
    """Run lines that must go well, and return their output."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ATOMIX_ELECTION_")}
    ended = subprocess.run(
        ["bash", "-c", "\n".join(["set -e", *lines])],
        cwd=directory,
        env=ours | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_from_nothing_to_a_durable_secured_and_watched_server(lines: list[str], tmp_path: Path) -> None:
    """Also killed with SIGKILL and started again under a leader, which notices nothing."""
    (at,) = [number for number, line in enumerate(lines) if line.startswith(SERVE)]
    before, serve, after = lines[:at], lines[at], lines[at + 1 :]
    shell(tmp_path, *before)
    words = shlex.split(serve.removeprefix(SERVE))
    tls = ClientTls(ca=str(tmp_path / "server.pem"))

    async def lead(target: str, server: Running) -> None:
        async with (
            connect(target, tls=tls, token=tmp_path / "operator.token", session_ttl=TTL_S) as client,
            client.election("nightly-report", candidate_id="node-1").lead() as leadership,
        ):
            output = await anyio.to_thread.run_sync(shell, tmp_path, *after)
            assert "leader    node-1" in output
            assert "\natomix_election_leaders 1.0\n" in output
            assert (tmp_path / "backup.db").is_file()
            server.process.kill()
            server.process.wait()
            with Running("serve", *words, cwd=tmp_path) as again:
                assert await anyio.to_thread.run_sync(again.target) == target
                term = await client.election("nightly-report").get_term()
                assert (term.leader, term.number) == ("node-1", leadership.token)
                leadership.ensure()

    async def knock(target: str) -> None:
        async with connect(target, tls=tls) as stranger:
            with pytest.raises(Unauthenticated):
                await stranger.election("nightly-report").get_term()

    with Running("serve", *words, cwd=tmp_path) as server:
        target = server.target()
        assert f"`listening on {target}`" in re.sub(r"\b5678\b", target.rpartition(":")[2], SECTION)
        anyio.run(knock, target)
        anyio.run(lead, target, server)
