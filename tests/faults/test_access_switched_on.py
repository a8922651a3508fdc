"""Access control is switched on, or changed, under clients of a real server: they go on by themselves, if they may."""

import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from atomix_election import Leadership, LossReason, NotSessionOwner, PermissionDenied, connect
from atomix_election.addresses import parse_endpoints
from atomix_election.rpc.client import RpcClient
from atomix_election.service import Call, Renewal
from tests.certificates import write_access
from tests.cli.processes import Running
from tests.ports import free_port

pytestmark = pytest.mark.anyio

TTL_S = 1.0
WAIT_S = 20.0
ROLES = {"first": 'take_part = ["*"]', "second": 'administer = ["*"]'}


class Leader:
    """A client that leads whenever it can, and what became of it."""

    def __init__(self) -> None:
        self.session = ""
        self.leaderships: list[Leadership] = []
        self.error: Exception | None = None
        self._news = anyio.Event()

    async def run(self, target: str, token: str) -> None:
        """Lead for ever."""
        async with connect(target, token=token, session_ttl=TTL_S) as client:

            async def work(leadership: Leadership) -> None:
                self.session = client.candidates().keeper.session_id
                self.leaderships.append(leadership)
                self._tell()
                await anyio.sleep_forever()

            try:
                await client.election("e", candidate_id="a").run(work)
            except PermissionDenied as error:
                self.error = error
                self._tell()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something has become of it."""
        with anyio.fail_after(WAIT_S):
            while not holds():
                await self._news.wait()

    def _tell(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()


@asynccontextmanager
async def leading(target: str, token: str) -> AsyncGenerator[Leader]:
    """Let a client lead, at a server that is there, and wait until it does."""
    leader = Leader()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leader.run, target, token)
        await leader.until(lambda: len(leader.leaderships) == 1)
        yield leader
        tasks.cancel_scope.cancel()


async def check_out_of_reach(target: str, token: str, session: str) -> None:
    """Fail unless another principal, of whatever role, is refused whatever it tries with a session."""
    call = Call("e", session=session)
    async with RpcClient(parse_endpoints(target, target.removeprefix("grpc://")), token=lambda: token) as client:
        for attempt in (
            lambda: client.create(call),
            lambda: client.enter(call, "b"),
            lambda: client.withdraw(call, "a"),
            lambda: client.end_session(call.namespace, session),
        ):
            with pytest.raises(NotSessionOwner):
                await attempt()
        async with client.keep_alive(call.namespace, session) as stream:
            await stream.send(Renewal(1))
            with pytest.raises(NotSessionOwner):
                await stream.receive()


@pytest.mark.parametrize("former", ["nobody was asked", "another principal"])
async def test_a_restart_that_makes_it_another_principal(former: str, tmp_path: Path) -> None:
    """The durable session stays that of the former one; the client leads again with one of its own."""
    access, port = tmp_path / "access.toml", free_port()
    tokens = write_access(access, ROLES)
    options = ["serve", "--listen", f"127.0.0.1:{port}", "--session-ttl", "1"]
    secured = [*options, "--auth", str(access)]
    with Running(*(options if former == "nobody was asked" else secured), cwd=tmp_path) as server:
        target = await anyio.to_thread.run_sync(server.target)
        async with leading(target, tokens["first"]) as leader:
            session = leader.session
            server.process.send_signal(signal.SIGTERM)
            await anyio.to_thread.run_sync(server.process.wait)
            access.write_text(access.read_text().replace("principals.first", "principals.renamed"))
            with Running(*secured, cwd=tmp_path) as again:
                assert await anyio.to_thread.run_sync(again.target) == target
                await check_out_of_reach(target, tokens["second"], session)
                await leader.until(lambda: len(leader.leaderships) == 2)
                before, after = leader.leaderships
                assert before.reason in (LossReason.SESSION_ENDED, LossReason.EXPIRED)
                assert after.token > before.token
                assert leader.session != session
                await check_out_of_reach(target, tokens["second"], leader.session)
                after.ensure()


@pytest.mark.parametrize("change", ["another name", "no role"])
async def test_a_reload(change: str, tmp_path: Path) -> None:
    """Another name is no reason to end, a role that is missing is one."""
    access = tmp_path / "access.toml"
    tokens = write_access(access, ROLES)
    options = ["--listen", "127.0.0.1:0", "--session-ttl", "1", "--auth", str(access)]
    with Running("serve", *options, cwd=tmp_path) as server:
        target = await anyio.to_thread.run_sync(server.target)
        async with leading(target, tokens["first"]) as leader:
            if change == "another name":
                access.write_text(access.read_text().replace("principals.first", "principals.renamed"))
            else:
                access.write_text(access.read_text().replace('take_part = ["*"]', 'observe = ["*"]'))
            server.process.send_signal(signal.SIGHUP)
            if change == "another name":
                await leader.until(lambda: len(leader.leaderships) == 2)
                assert [each.token for each in leader.leaderships] == [1, 2]
                assert leader.leaderships[0].reason is LossReason.SESSION_ENDED
            else:
                await leader.until(lambda: leader.error is not None)
                assert type(leader.error) is PermissionDenied
                assert "it needs take_part there" in str(leader.error)
                assert len(leader.leaderships) == 1
