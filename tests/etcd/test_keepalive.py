"""Renewals share a stream: each gets its own answer, and none is disturbed by another one's end."""

import math
from typing import Any, cast

import anyio
import pytest

from atomix_election.etcd import EtcdClient, EtcdUnavailable
from atomix_election.etcd._generated import etcdserverpb as pb
from atomix_election.etcd.exchange import Garbled
from atomix_election.etcd.keepalive import _Link, _Renewal
from tests.etcd.cluster import Cluster
from tests.faults.proxy import Proxy

pytestmark = pytest.mark.anyio


async def test_many_leases_are_renewed_at_once(client: EtcdClient) -> None:
    ttls = {(await client.grant(10 + number)).id: 10 + number for number in range(50)}
    renewed: dict[int, int] = {}

    async def renew(lease_id: int) -> None:
        renewed[lease_id] = (await client.keep_alive(lease_id)).ttl_s

    protocol = await client._calls.connection.get()
    before = protocol.connection.streams_started
    async with anyio.create_task_group() as tasks:
        for lease_id in ttls:
            tasks.start_soon(renew, lease_id)
    assert renewed == ttls
    assert protocol.connection.streams_started == before + 1


async def test_a_lease_that_is_gone_has_no_time_left(client: EtcdClient) -> None:
    lease = await client.grant(60)
    await client.revoke(lease.id)
    gone = await client.keep_alive(lease.id)
    assert (gone.id, gone.ttl_s) == (lease.id, 0)
    assert gone.header.revision >= lease.header.revision


async def test_a_caller_that_gives_up_disturbs_nobody(cluster: Cluster) -> None:
    async with Proxy(cluster.members[0].port) as proxy, EtcdClient([("127.0.0.1", proxy.port)]) as client:
        first, second = await client.grant(60), await client.grant(61)
        await client.keep_alive(first.id)
        protocol = await client._calls.connection.get()
        before = protocol.connection.streams_started
        proxy.stall(down=True, up=False)
        renewed: list[int] = []

        async def renew() -> None:
            renewed.append((await client.keep_alive(second.id)).ttl_s)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(renew)
            with pytest.raises(EtcdUnavailable, match="not answer"):
                await client.keep_alive(first.id, timeout_s=0.1)
            proxy.resume()
        assert renewed == [61]
        assert protocol.connection.streams_started == before


class Sink:
    """A stream that takes everything."""

    async def send(self, message: pb.LeaseKeepAliveRequest) -> None:
        """Take it."""


async def test_no_renewal_gets_the_answer_to_an_earlier_one() -> None:
    """Else its caller would believe that the lease was renewed after it asked."""
    scope = anyio.CancelScope()
    link = _Link(cast(Any, Sink()), scope, 10.0)
    earlier, later, other = _Renewal(1), _Renewal(1), _Renewal(2)
    for each in (earlier, later, other):
        await link.send(each)
    assert scope.deadline < anyio.current_time() + 11
    earlier.answer.cancel()  # its caller did not wait
    link.take(pb.LeaseKeepAliveResponse(id=1, ttl=5))
    assert not later.answer.done()
    link.take(pb.LeaseKeepAliveResponse(id=2, ttl=6))
    link.take(pb.LeaseKeepAliveResponse(id=1, ttl=7))
    assert (await other.answer).ttl == 6
    assert (await later.answer).ttl == 7
    assert link.unanswered == []
    assert scope.deadline == math.inf
    with pytest.raises(Garbled, match="not renewed"):
        link.take(pb.LeaseKeepAliveResponse(id=1, ttl=5))
