"""No token gets into a log, a message or a repr, whatever goes wrong."""

import asyncio
import logging
import traceback
from pathlib import Path

import pytest

from atomix_election import ElectionError, ElectionServer, LeaderElection, connect
from atomix_election.core.access import digest_of
from tests.certificates import Authority, write_access
from tests.rpc.raw import RawConnection, about, headers_of

pytestmark = pytest.mark.anyio


async def test_nothing_secret_is_said(authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Everything is logged that anybody would log, in the event loop's own debug mode too."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    access, file = tmp_path / "access.toml", tmp_path / "token"
    token = write_access(access, {"member": 'take_part = ["*"]'})["member"]
    wrong, malformed = "a-wrong-token-0123456789", "a token with spaces-0123456789"
    said: list[str] = []

    async def attempt(target: str, **options: object) -> None:
        try:
            election = LeaderElection("e", target=target, candidate_id="a", **options)  # type: ignore[arg-type]
            said.append(repr(election))
            async with election:
                await election.enter()
                await election.evict("a")
        except ElectionError as error:
            said.append("".join(traceback.format_exception(error)))

    file.write_text(token)
    async with (
        ElectionServer(access=access) as plain,
        ElectionServer(tls=authority.server(), access=access) as server,
        connect(server.target, tls=authority.client(), token=token) as client,
    ):
        said += [repr(plain), repr(server), repr(client)]
        for given in (token, wrong, malformed, file):
            await attempt(server.target, tls=authority.client(), token=given)
            await attempt(plain.target, token=given)
            await attempt(plain.target.replace("127.0.0.1", "elections.example"), token=given)
        async with RawConnection(int(plain.target.rpartition(":")[2])) as connection:
            for value in (f"Bearer {token}", f"Basic {token}", f"Bearer {wrong}", f"Bearer {malformed}"):
                header = ("authorization", value)
                answer = await connection.call(headers_of("GetTerm", *about(), header, header))
                said.append(str(answer))
        file.write_text(malformed)
        await attempt(server.target, tls=authority.client(), token=file)
        access.write_text(access.read_text().replace(digest_of(token).hex(), token))
        try:
            server.reload()
        except ElectionError as error:
            said.append("".join(traceback.format_exception(error)))
    said += [record.getMessage() + str(record.exc_text) for record in caplog.records]
    assert len(caplog.records) > 10
    assert any("not known to this server" in each for each in said)
    for secret in (token, wrong, malformed):
        assert not [each for each in said if secret in each]
