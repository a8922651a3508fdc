"""What is done to an etcd cluster and to the servers on it: processes killed and paused, connections cut."""

import random
from collections.abc import Awaitable, Callable, Sequence

import anyio
import grpc

from atomix_election.etcd import EtcdError, Get
from tests.cluster.servers import EtcdServer
from tests.etcd.cluster import Cluster, Member
from tests.soak.processes import START_S

FOLLOWER_KILLED = "a follower of etcd killed"
LEADER_KILLED = "the leader of etcd killed"
LEADER_STOPPED = "the leader of etcd stopped"
MEMBER_PAUSED = "the member that a server talks to paused"
QUORUM_LOST = "two of three members killed"
ALL_DOWN = "all of etcd down for longer than the lease"
RESTARTED = "the only member killed and started again"
SERVER_KILLED = "a server killed"
SERVER_PAUSED = "a server paused"
SERVER_CUT_OFF = "a server cut off while etcd compacts"
OUT_OF_SPACE = "etcd out of space"
PANICKED = "a member of etcd that ended by itself, through a fault of its own"
"""Not done by anybody: see ``Panics``."""

OUTAGES = frozenset({QUORUM_LOST, ALL_DOWN, RESTARTED})
"""In which nobody can be served."""
OF_THREE = (
    FOLLOWER_KILLED,
    LEADER_KILLED,
    LEADER_STOPPED,
    MEMBER_PAUSED,
    QUORUM_LOST,
    ALL_DOWN,
    SERVER_KILLED,
    SERVER_PAUSED,
    SERVER_CUT_OFF,
)
OF_ONE = (RESTARTED, ALL_DOWN, SERVER_KILLED, SERVER_PAUSED, SERVER_CUT_OFF)
_ALARM = "/etcdserverpb.Maintenance/Alarm"
_NO_SPACE, _SPACE = b"\x08\x01\x18\x01", b"\x08\x02\x18\x01"
"""Raise, and lower, the alarm that etcd raises by itself when its database has reached its limit."""
_ALARM_S = 5.0


class Faults:
    """Does them. Each ends when all members and servers answer again.

    Args:
        cluster: the members.
        servers: those on them.
        chance: of whom and how long.
        ttl_s: the longest time-to-live of a session.
    """

    def __init__(self, cluster: Cluster, servers: Sequence[EtcdServer], chance: random.Random, ttl_s: float) -> None:
        self._cluster = cluster
        self._servers = servers
        self._chance = chance
        self._ttl_s = ttl_s
        self._by_kind: dict[str, Callable[[], Awaitable[None]]] = {
            FOLLOWER_KILLED: self._kill_follower,
            LEADER_KILLED: self._kill_leader,
            LEADER_STOPPED: self._stop_leader,
            MEMBER_PAUSED: self._pause_member,
            QUORUM_LOST: self._lose_quorum,
            ALL_DOWN: self._all_down,
            RESTARTED: self._restart,
            SERVER_KILLED: self._kill_server,
            SERVER_PAUSED: self._pause_server,
            SERVER_CUT_OFF: self._cut_off,
            OUT_OF_SPACE: self._out_of_space,
        }

    async def do(self, kind: str) -> None:
        """Do one, and wait until all is well again."""
        await self._by_kind[kind]()
        await self.recovered()

    async def recovered(self) -> None:
        """Wait until all answer."""
        await self._cluster.ready()
        for server in self._servers:
            await server.answers()

    async def _kill_follower(self) -> None:
        leader = await self._leader()
        await self._kill(self._chance.choice([each for each in self._cluster.members if each is not leader]))

    async def _kill_leader(self) -> None:
        await self._kill(await self._leader())

    async def _stop_leader(self) -> None:
        leader = await self._leader()
        await leader.stop()
        await self._wait(0.0, 2.0)
        leader.start()

    async def _pause_member(self) -> None:
        server = self._chance.choice(self._servers)
        member = self._chance.choice(server.talks_to() or list(self._cluster.members))
        member.pause()
        await self._wait(1.5, 4.0)  # longer than one try takes
        member.resume()

    async def _lose_quorum(self) -> None:
        victims = self._chance.sample(self._cluster.members, 2)
        await self._kill(*victims)

    async def _all_down(self) -> None:
        for member in self._cluster.members:
            member.kill()
        await self._wait(self._ttl_s + 0.5, self._ttl_s + 2.0)
        for member in self._cluster.members:
            member.start()

    async def _restart(self) -> None:
        (member,) = self._cluster.members
        await self._kill(member, longest_s=0.3)

    async def _kill_server(self) -> None:
        server = self._chance.choice(self._servers)
        await server.kill()
        await self._wait(0.0, 2.0)
        await server.start()

    async def _pause_server(self) -> None:
        server = self._chance.choice(self._servers)
        server.stop()
        await self._wait(*self._chance.choice([(0.5, 1.0), (self._ttl_s + 0.5, self._ttl_s + 1.0)]))
        server.go_on()

    async def _cut_off(self) -> None:
        """Until the watch cannot go on from where it was."""
        server = self._chance.choice(self._servers)
        server.part()
        await self._wait(1.0, 2.0)
        async with self._cluster.client(**self._cluster.ready_with) as client:
            await client.compact((await client.get(Get(b"ready"))).header.revision)
        await server.join()

    async def _out_of_space(self) -> None:
        """No write is taken; sessions and leaderships go on."""
        member = self._chance.choice(self._cluster.members)
        await anyio.to_thread.run_sync(_set_alarm, member.port, _NO_SPACE)
        try:
            await self._wait(1.0, 3.0)
        finally:
            await anyio.to_thread.run_sync(_set_alarm, member.port, _SPACE)

    async def _kill(self, *members: Member, longest_s: float = 2.0) -> None:
        for member in members:
            member.kill()
        await self._wait(0.0, longest_s)
        for member in members:
            member.start()

    async def _leader(self) -> Member:
        with anyio.fail_after(START_S):
            while True:
                try:
                    return await self._cluster.leader()
                except (AssertionError, EtcdError):
                    await anyio.sleep(0.05)  # they are electing one

    async def _wait(self, least_s: float, most_s: float) -> None:
        """Let things take their course: what is to be hit is a random moment."""
        await anyio.sleep(self._chance.uniform(least_s, most_s))


def _set_alarm(port: int, request: bytes) -> None:
    """Tell a member, which is asked in plain text."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        channel.unary_unary(_ALARM)(request, timeout=_ALARM_S)
