"""``serve`` without file descriptors for more connections: it goes on, does not spin, and recovers."""

import os
import resource
import signal
import socket
import time
from pathlib import Path

import anyio
import pytest

from atomix_election import LeaderElection
from tests.cli.processes import Running, enter

pytestmark = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits another process, as Linux can")

OBSERVED_S = 1.3
"""More than asyncio's pause before it tries again."""
MOST_CPU_S = 0.5
"""Of that time; a server that spins uses all of it."""
OPEN_FILES = 30


def cpu_s(server: Running) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def check_survives(server: Running, target: str) -> None:
    """Take all descriptors, look on, and give them back; a client that was there before is served all the time."""
    port = int(target.rpartition(":")[2])
    async with LeaderElection("e", target=target) as election:
        await election.enter()
        many = [socket.create_connection(("127.0.0.1", port)) for _ in range(2 * OPEN_FILES)]
        before = cpu_s(server)
        until = time.monotonic() + OBSERVED_S
        while time.monotonic() < until:
            with anyio.fail_after(1):
                assert (await election.get_term()).candidates == (election.candidate_id,)
            await anyio.sleep(0.1)
        assert cpu_s(server) - before < MOST_CPU_S
        for each in many:
            each.close()
    with anyio.fail_after(5):
        async with LeaderElection("other", target=target) as election:
            await election.enter()


def test_a_server_out_of_file_descriptors_goes_on_and_recovers() -> None:
    """It says so once, and not a hundred times a second."""
    with Running("serve", "--listen", "127.0.0.1:0", "--store", "memory://") as server:
        target = server.target()
        enter(target, "e")
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
        anyio.run(check_survives, server, target)
        _, _, log = server.end(signal.SIGTERM)
    assert log.count("no connection can be accepted: [Errno 24]") == 1, log
    assert "lower --max-connections" in log
    assert "Traceback" not in log
