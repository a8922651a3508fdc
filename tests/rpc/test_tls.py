"""TLS with real certificates: what works, and what is said when it does not."""

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from atomix_election import (
    Client,
    ClientTls,
    ConnectionLimits,
    ElectionError,
    ElectionServer,
    InvalidRequest,
    LeaderElection,
    ServerTls,
    Unauthenticated,
    Unavailable,
    connect,
)
from atomix_election.addresses import parse_endpoints
from atomix_election.rpc import client_connection
from atomix_election.rpc.client import RpcClient
from atomix_election.service import Renewal
from tests.certificates import Authority
from tests.rpc.fake import listening, silent

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quiet")]

SOON_S = 5.0


async def failure(target: str, tls: ClientTls | None) -> ElectionError:
    """Return the error of a read, which must come soon."""
    with anyio.fail_after(SOON_S), pytest.raises(ElectionError) as raised:
        async with connect(target, tls=tls) as client:
            await client.election("e").get_term()
    return raised.value


@asynccontextmanager
async def connected(server: ElectionServer, tls: ClientTls) -> AsyncGenerator[Client]:
    """Connect to a server."""
    async with connect(server.target, tls=tls) as client:
        yield client


async def test_a_leader_leads_over_tls(authority: Authority) -> None:
    """The target says grpcs://, and nothing else differs."""
    async with ElectionServer(tls=authority.server()) as server:
        assert re.fullmatch(r"grpcs://127\.0\.0\.1:\d+", server.target)
        election = LeaderElection("e", target=server.target, candidate_id="a", tls=authority.client())
        async with election, election.lead() as leadership:
            assert leadership.term.leader == "a"


async def test_limits_hold_over_tls(authority: Authority) -> None:
    """One connection too many is told so once TLS is up, and one that says nothing then is closed."""
    limits = ConnectionLimits(max_connections=2, header_timeout_s=0.2)
    async with ElectionServer(tls=authority.server(), connection_limits=limits) as server:
        host, _, port = server.target.removeprefix("grpcs://").rpartition(":")

        async def last_words() -> bytes:
            reader, writer = await asyncio.open_connection(host, int(port), ssl=authority.client().context())
            with anyio.fail_after(SOON_S):
                heard = await reader.read()
            writer.transport.abort()
            return heard

        async with connected(server, authority.client()) as client:
            await client.election("e").get_term()
            assert b"serve --header-timeout" in await last_words()
            async with connected(server, authority.client()) as second:
                await second.election("e").get_term()
                assert b"serve --max-connections" in await last_words()
            await client.election("e").get_term()


async def test_what_is_negotiated(authority: Authority) -> None:
    """TLS 1.3 where both can, 1.2 at least, and HTTP/2."""
    async with ElectionServer(tls=authority.server()) as server:
        host, _, port = server.target.removeprefix("grpcs://").rpartition(":")
        for highest, version in ((ssl.TLSVersion.TLSv1_3, "TLSv1.3"), (ssl.TLSVersion.TLSv1_2, "TLSv1.2")):
            context = authority.client().context()
            context.maximum_version = highest
            _, writer = await asyncio.open_connection(host, int(port), ssl=context)
            found = writer.get_extra_info("ssl_object")
            assert (found.version(), found.selected_alpn_protocol()) == (version, "h2")
            writer.transport.abort()
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(OSError):  # noqa: PT011 - which one depends on OpenSSL
            await asyncio.open_connection(host, int(port), ssl=context)


async def test_an_authority_that_is_not_trusted(authority: Authority, stranger: Authority) -> None:
    """Neither the system nor this client knows it."""
    async with ElectionServer(tls=authority.server()) as server:
        for tls in (None, stranger.client()):
            error = await failure(server.target, tls)
            assert type(error) is Unavailable
            assert "is not trusted" in str(error)
            assert "--ca" in str(error)


async def test_another_name(authority: Authority) -> None:
    """The message names what was looked for; giving the right name helps."""
    files = authority.issue("elections.example")
    async with ElectionServer(tls=ServerTls(files.certificate, files.key)) as server:
        error = await failure(server.target, authority.client())
        assert type(error) is Unavailable
        assert "is not for 127.0.0.1" in str(error)
        named = ClientTls(authority.ca, server_name="elections.example")
        async with connected(server, named) as client:
            assert (await client.election("e").get_term()).number == 0


async def test_a_certificate_that_has_expired(authority: Authority) -> None:
    """The message says whose."""
    files = authority.issue("127.0.0.1", expired=True)
    async with ElectionServer(tls=ServerTls(files.certificate, files.key)) as server:
        error = await failure(server.target, authority.client())
    assert type(error) is Unavailable
    assert "the server's certificate has expired" in str(error)


async def test_plain_text_to_a_tls_port(authority: Authority) -> None:
    """The message says what the target would be; so it does where an alert comes back."""
    async with ElectionServer(tls=authority.server()) as server:
        error = await failure(server.target.replace("grpcs", "grpc"), None)
    assert type(error) is Unavailable
    assert "the target is grpcs://" in str(error)

    async def alerting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"\x15\x03\x01\x00\x02\x02\x46")
        await silent(reader, writer)

    async with listening(alerting) as endpoint:
        assert "the target is grpcs://" in str(await failure(f"grpc://{endpoint}", None))


async def test_tls_to_a_plain_text_port(authority: Authority) -> None:
    """The message says what the target would be."""
    async with ElectionServer() as server:
        error = await failure(server.target.replace("grpc", "grpcs"), authority.client())
    assert type(error) is Unavailable
    assert "the target is grpc://" in str(error)


async def test_a_server_that_never_answers_a_handshake(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hang."""
    assert client_connection.CONNECT_TIMEOUT_S < SOON_S
    monkeypatch.setattr(client_connection, "CONNECT_TIMEOUT_S", 0.2)
    async with listening(silent) as endpoint:
        error = await failure(f"grpcs://{endpoint}", authority.client())
    assert type(error) is Unavailable
    assert "no answer within" in str(error)


async def test_mutual_tls(authority: Authority) -> None:
    """A certificate of the right authority is enough where there is no access file."""
    member = authority.client(authority.issue("member.example"))
    server = ElectionServer(tls=authority.server(client_ca=authority.ca))
    async with server, connected(server, member) as client:
        assert (await client.election("e", candidate_id="a").enter()).leader == "a"


async def test_a_missing_client_certificate(authority: Authority) -> None:
    """Said in words, at once."""
    async with ElectionServer(tls=authority.server(client_ca=authority.ca)) as server:
        error = await failure(server.target, authority.client())
        assert type(error) is Unauthenticated
        assert "wants a client certificate" in str(error)


async def test_a_client_certificate_of_another_authority(authority: Authority, stranger: Authority) -> None:
    """No call is served. asyncio sends no alert, so the client can only guess why."""
    files = stranger.issue("member.example")
    async with ElectionServer(tls=authority.server(client_ca=authority.ca)) as server:
        error = await failure(server.target, authority.client(files))
    assert type(error) is Unavailable
    assert "may not accept this client's certificate" in str(error)


async def test_an_expired_client_certificate(authority: Authority) -> None:
    """As if it were another authority's."""
    files = authority.issue("member.example", expired=True)
    async with ElectionServer(tls=authority.server(client_ca=authority.ca)) as server:
        error = await failure(server.target, authority.client(files))
    assert "may not accept this client's certificate" in str(error)


async def test_the_second_server_is_used_when_the_first_is_not_trusted(
    authority: Authority, stranger: Authority
) -> None:
    """One bad certificate does not take all of them away."""
    async with ElectionServer(tls=stranger.server()) as bad, ElectionServer(tls=authority.server()) as good:
        target = f"{bad.target},{good.target.removeprefix('grpcs://')}"
        async with connect(target, tls=authority.client()) as client:
            assert (await client.election("e").get_term()).number == 0


async def test_a_client_reads_its_files_for_each_connection(authority: Authority, stranger: Authority) -> None:
    """So a replaced certificate is used without a restart."""
    trusted = authority.ca.parent / "trusted.pem"
    trusted.write_bytes(stranger.ca.read_bytes())
    async with (
        ElectionServer(tls=authority.server()) as server,
        connect(server.target, tls=ClientTls(trusted)) as client,
    ):
        with pytest.raises(Unavailable, match="is not trusted"):
            await client.election("e").get_term()
        trusted.write_bytes(authority.ca.read_bytes())
        assert (await client.election("e").get_term()).number == 0
        trusted.write_text("nothing")  # a connection that is there needs no file
        assert (await client.election("e").get_term()).number == 0


async def test_files_that_cannot_be_used_are_refused_at_the_start(authority: Authority) -> None:
    """On both sides, before anything is sent or listened on."""
    missing = authority.ca.parent / "missing.pem"
    with pytest.raises(InvalidRequest, match=re.escape(str(missing))):
        async with connect("grpcs://127.0.0.1:1", tls=ClientTls(missing)):
            pass
    with pytest.raises(InvalidRequest, match=re.escape(str(missing))):
        async with ElectionServer(tls=ServerTls(missing)):
            pass


async def test_new_connections_get_new_certificates(authority: Authority, stranger: Authority) -> None:
    """After a reload; connections in use live on, and a broken file changes nothing."""
    files = authority.issue("127.0.0.1")
    other = stranger.issue("127.0.0.1")
    server = ElectionServer(tls=ServerTls(files.certificate, files.key))
    async with server, connected(server, authority.client()) as early:
        await early.election("e", candidate_id="a").enter()
        files.certificate.write_bytes(other.certificate.read_bytes())
        with pytest.raises(InvalidRequest, match="do not belong together"):
            server.reload()
        async with connected(server, authority.client()) as client:
            assert (await client.election("e").get_term()).leader == "a"
        files.key.write_bytes(other.key.read_bytes())
        server.reload()
        assert "is not trusted" in str(await failure(server.target, authority.client()))
        async with connected(server, stranger.client()) as client:
            assert (await client.election("e").get_term()).leader == "a"
        assert (await early.election("e").get_term()).leader == "a"
    with pytest.raises(Unavailable, match="not running"):
        server.reload()


async def test_a_renewal_that_meets_a_connection_given_up_finds_it_closed(authority: Authority) -> None:
    """Aborted on this side and then closed by what came in: asyncio's transport is not written to any more."""
    async with ElectionServer(tls=authority.server()) as server:
        endpoints = parse_endpoints(server.target, server.target.removeprefix("grpcs://"))
        async with RpcClient(endpoints, tls=authority.client()) as client:

            async def renew() -> None:
                async with client.keep_alive("default", "s") as stream:
                    await stream.send(Renewal(1, open=True))
                    await stream.receive()
                    protocol = client._connection._protocol
                    assert protocol is not None
                    protocol.abort()
                    protocol.connection.close()
                    await stream.send(Renewal(2))
                    await stream.receive()

            with pytest.raises(Unavailable):
                await renew()
