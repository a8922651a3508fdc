"""TLS and users: who gets in, and what those hear who do not."""

from collections.abc import AsyncGenerator, Generator
from itertools import count
from typing import Any

import anyio
import pytest

from atomix_election import ClientTls
from atomix_election.etcd import (
    EtcdClient,
    EtcdPermissionDenied,
    EtcdUnauthenticated,
    EtcdUnavailable,
    Get,
    Put,
    absent,
    prefix_end,
)
from tests.certificates import Authority
from tests.etcd.cluster import Cluster, Tls
from tests.faults.proxy import Proxy

pytestmark = pytest.mark.anyio

TOKEN_TTL_S = 1
"""Etcd looks for tokens that have expired once a second."""
EXPIRED_S = TOKEN_TTL_S + 1.5
USER: dict[str, Any] = {"user": "app", "password": "secret"}
_numbers = count(1)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Generator[Cluster]:
    """A member that wants certificates of its clients."""
    with Cluster(tmp_path_factory.mktemp("etcd") / "secure", tls=Tls.issue(authority)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def _guarded(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    arguments = (f"--auth-token-ttl={TOKEN_TTL_S}", "--bcrypt-cost=4")
    with Cluster(tmp_path_factory.mktemp("etcd") / "guarded", arguments=arguments) as cluster:
        yield cluster


@pytest.fixture
async def guarded(_guarded: Cluster, anyio_backend: str) -> Cluster:
    """A member with a user ``app``, who may do anything with keys that begin with ``app/``."""
    if _guarded.ready_with:
        return _guarded
    await _guarded.ready()
    for command in (
        "user add root:root",
        "user grant-role root root",
        "role add app",
        "role grant-permission app --prefix=true readwrite app/",
        "user add app:secret",
        "user grant-role app app",
        "auth enable",
    ):
        _guarded.etcdctl(*command.split())
    _guarded.ready_with = {"user": "root", "password": "root"}
    return _guarded


@pytest.fixture
def key() -> bytes:
    """A key that ``app`` may use, and no other test does."""
    return b"app/%d" % next(_numbers)


@pytest.fixture
async def app(guarded: Cluster) -> AsyncGenerator[EtcdClient]:
    """That user."""
    async with guarded.client(**USER) as client:
        yield client


async def test_everything_works_over_mutual_tls(secure: Cluster, prefix: bytes) -> None:
    await secure.ready()
    async with secure.client() as client:
        lease = await client.grant(60)
        revision = (await client.txn([absent(prefix)], [Put(prefix, b"1", lease=lease.id)], [])).revision
        async with client.watch(prefix, start_revision=revision) as watch:
            assert (await anext(watch)).events[0].item.value == b"1"
        assert (await client.keep_alive(lease.id)).ttl_s == 60


@pytest.mark.parametrize("trusted", ["stranger", "none"])
async def test_a_member_that_is_not_trusted_is_not_used(
    secure: Cluster, stranger: Authority, trusted: str, prefix: bytes
) -> None:
    await secure.ready()
    tls = ClientTls(ca=stranger.ca) if trusted == "stranger" else ClientTls()
    with pytest.raises(EtcdUnavailable, match=r"not trusted.*ca"):
        await _put(secure, tls, prefix)


async def test_a_member_of_another_name_is_not_used(secure: Cluster, authority: Authority, prefix: bytes) -> None:
    await secure.ready()
    with pytest.raises(EtcdUnavailable, match=r"not for etcd\.example"):
        await _put(secure, ClientTls(ca=authority.ca, server_name="etcd.example"), prefix)


async def test_a_client_without_a_certificate_is_told_so(secure: Cluster, authority: Authority, prefix: bytes) -> None:
    await secure.ready()
    with pytest.raises(EtcdUnavailable, match="certificate"):
        await _put(secure, ClientTls(ca=authority.ca), prefix)


async def test_a_client_with_a_certificate_of_a_stranger_is_told_so(
    secure: Cluster, authority: Authority, stranger: Authority, prefix: bytes
) -> None:
    await secure.ready()
    files = stranger.issue("client")
    with pytest.raises(EtcdUnavailable, match="certificate"):
        await _put(secure, ClientTls(authority.ca, files.certificate, files.key), prefix)


async def test_plain_text_where_etcd_speaks_tls(secure: Cluster, prefix: bytes) -> None:
    await secure.ready()
    with pytest.raises(EtcdUnavailable, match="connect with TLS"):
        await _put(secure, None, prefix)


async def test_tls_where_etcd_speaks_plain_text(cluster: Cluster, authority: Authority, prefix: bytes) -> None:
    with pytest.raises(EtcdUnavailable, match="plain text"):
        await _put(cluster, authority.client(), prefix)


async def test_files_are_read_again_for_each_connection(secure: Cluster, authority: Authority, prefix: bytes) -> None:
    """So a certificate can be renewed, and a bad one is an error of the moment."""
    await secure.ready()
    files = authority.issue("client")
    kept = files.key.read_bytes()
    files.key.write_text("not yet")
    async with EtcdClient(secure.endpoints, tls=ClientTls(authority.ca, files.certificate, files.key)) as client:
        with pytest.raises(EtcdUnavailable, match="PEM"):
            await client.get(Get(prefix), timeout_s=0.2)
        files.key.write_bytes(kept)
        await client.get(Get(prefix))


async def test_a_user_may_do_what_its_roles_allow(app: EtcdClient, key: bytes) -> None:
    lease = await app.grant(60)
    revision = (await app.put(Put(key, b"1", lease=lease.id))).header.revision
    assert (await app.get(Get(b"app/", prefix_end(b"app/")))).count >= 1
    async with app.watch(key, start_revision=revision) as watch:
        assert (await anext(watch)).events[0].item.value == b"1"
    assert (await app.keep_alive(lease.id)).ttl_s == 60
    for call in (app.get(Get(b"other")), app.put(Put(b"other", b"")), app.txn([absent(b"other")], [])):
        with pytest.raises(EtcdPermissionDenied, match="grant the user a role"):
            await call
    async with app.watch(b"other", start_revision=revision) as watch:
        with pytest.raises(EtcdPermissionDenied, match="Watch"):
            await anext(watch)


async def test_who_does_not_say_who_it_is(guarded: Cluster, key: bytes) -> None:
    async with guarded.client() as nobody:
        with pytest.raises(EtcdUnauthenticated, match="wants a user and password"):
            await nobody.put(Put(key, b""))


async def test_who_has_the_wrong_password(guarded: Cluster, key: bytes) -> None:
    async with guarded.client(user="app", password="guessed") as client:
        for call in (client.put(Put(key, b"")), client.keep_alive(1)):
            with pytest.raises(EtcdUnauthenticated, match="check user and password") as raised:
                await call
            assert "guessed" not in str(raised.value)
        async with client.watch(key, start_revision=1) as watch:
            with pytest.raises(EtcdUnauthenticated, match="check user and password"):
                await anext(watch)
        assert "guessed" not in repr(client._calls.settings)


async def test_a_token_that_has_expired_is_replaced(guarded: Cluster, app: EtcdClient, key: bytes) -> None:
    """By calls, once for all that are made at the same time; and by a watch and renewals that begin anew."""
    port = guarded.members[0].port
    async with Proxy(port) as proxy, EtcdClient([("127.0.0.1", proxy.port)], **USER) as watcher:
        lease = await watcher.grant(60)
        await watcher.keep_alive(lease.id)
        revision = (await app.put(Put(key, b"1"))).header.revision
        async with watcher.watch(key, start_revision=revision) as watch:
            await anext(watch)
            token = app._calls._token
            await anyio.sleep(EXPIRED_S)  # nothing tells of a token's end
            async with anyio.create_task_group() as tasks:
                for number in range(10):
                    tasks.start_soon(app.put, Put(key + b"/%d" % number, b""))
            assert app._calls._token != token
            items = (await app.get(Get(key + b"/", prefix_end(key + b"/")))).items
            assert [each.version for each in items] == [1] * 10
            await app.put(Put(key, b"2"))
            assert (await anext(watch)).events[0].item.value == b"2"
            proxy.cut()
            await app.put(Put(key, b"3"))
            assert (await anext(watch)).events[0].item.value == b"3"
            assert (await watcher.keep_alive(lease.id)).ttl_s == 60


async def test_a_token_that_the_member_forgot_is_replaced(guarded: Cluster, app: EtcdClient, key: bytes) -> None:
    """As after a restart."""
    await app.put(Put(key, b"1"))
    (member,) = guarded.members
    member.kill()
    member.start()
    await guarded.ready()
    took = await app.txn([absent(key + b"/new")], [Put(key + b"/new", b"")], [])
    assert took.succeeded


async def test_a_user_where_there_are_none_is_not_needed(
    cluster: Cluster, prefix: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with cluster.client(user="app", password="secret") as client:
        revision = (await client.put(Put(prefix, b"1"))).header.revision
        async with client.watch(prefix, start_revision=revision) as watch:
            await anext(watch)
    assert [each.message for each in caplog.records if each.levelname == "WARNING"] == [
        "etcd has no users: the user app is not needed"
    ]


async def _put(cluster: Cluster, tls: ClientTls | None, key: bytes) -> None:
    async with EtcdClient(cluster.endpoints, tls=tls) as client:
        await client.put(Put(key, b""), timeout_s=0.5)
