"""``serve`` with certificates and an access file, as real processes: what it refuses, and what SIGHUP does."""

import os
import signal
import stat
from pathlib import Path

import pytest

from atomix_election.cli import main
from atomix_election.core.access import digest_of
from tests.certificates import Authority, write_access
from tests.cli.processes import Running, run


def until_logged(server: Running, what: str) -> str:
    """Return all that a server has logged up to the line with this text."""
    assert server.process.stderr is not None
    said = ""
    for line in server.process.stderr:
        said += line
        if what in line:
            return said
    raise AssertionError(f"it has ended and said {said}")


def test_files_are_read_again_at_sighup(authority: Authority, stranger: Authority, tmp_path: Path) -> None:
    """New connections get new certificates, new calls new rules; what was replaced by rubbish stays as it was."""
    files, other = authority.issue("127.0.0.1"), stranger.issue("127.0.0.1")
    access, token_file, ca = tmp_path / "access.toml", tmp_path / "token", tmp_path / "ca.pem"
    token = write_access(access, {"observer": 'observe = ["*"]'})["observer"]
    token_file.write_text(token)
    ca.write_bytes(authority.ca.read_bytes())
    secure = ("--certificate", str(files.certificate), "--key", str(files.key), "--auth", str(access))
    with Running("serve", "--listen", "127.0.0.1:0", "--store", "memory://", *secure) as server:
        target = server.target()
        assert target.startswith("grpcs://127.0.0.1:")
        options = ("--target", target, "--ca", str(ca), "--token-file", str(token_file))
        assert run("term", "e", *options).returncode == 0

        with Running("watch", "e", "--json", *options) as watch:
            assert '"type": "NONE"' in watch.line()
            files.certificate.write_bytes(other.certificate.read_bytes())
            files.key.write_bytes(other.key.read_bytes())
            access.write_text(access.read_text().replace(digest_of(token).hex(), digest_of("new").hex()))
            server.process.send_signal(signal.SIGHUP)
            log = until_logged(server, "were read again")
            status, _, said = watch.end()
            assert status == 1
            assert "the token is not known to this server" in said

        untrusted = run("term", "e", *options)
        assert untrusted.returncode == 1
        assert "is not trusted" in untrusted.stderr
        ca.write_bytes(stranger.ca.read_bytes())
        refused = run("term", "e", *options)
        assert refused.returncode == 1
        assert "the token is not known to this server" in refused.stderr
        token_file.write_text("new")

        access.write_text("[principals.p]\nobserve = 1\n")
        files.certificate.write_text("rubbish")
        server.process.send_signal(signal.SIGHUP)
        log += until_logged(server, "what was there before stays")
        assert f"access file {access}, line 2: observe must be a list of strings" in log
        assert f"{files.certificate} and {files.key} cannot be used" in log
        variables = {
            "ATOMIX_ELECTION_TARGET": target,
            "ATOMIX_ELECTION_CA": str(ca),
            "ATOMIX_ELECTION_TOKEN_FILE": str(token_file),
        }
        assert run("term", "e", variables=variables).returncode == 0

        status, rest, end = server.end(signal.SIGTERM)
    assert (status, rest) == (0, "")
    assert "Traceback" not in log + end
    assert token not in log + end


def test_a_certificate_in_the_environment(authority: Authority) -> None:
    """Mutual TLS by variables alone."""
    files, client = authority.issue("127.0.0.1"), authority.issue("member.example")
    secure = ("--certificate", str(files.certificate), "--key", str(files.key), "--client-ca", str(authority.ca))
    with Running("serve", "--listen", "127.0.0.1:0", "--store", "memory://", *secure) as server:
        variables = {"ATOMIX_ELECTION_TARGET": server.target(), "ATOMIX_ELECTION_CA": str(authority.ca)}
        missing = run("term", "e", variables=variables)
        assert missing.returncode == 1
        assert "wants a client certificate" in missing.stderr
        variables |= {"ATOMIX_ELECTION_CERTIFICATE": str(client.certificate), "ATOMIX_ELECTION_KEY": str(client.key)}
        assert run("term", "e", variables=variables).returncode == 0


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "elections.example:1"])
def test_it_refuses_to_listen_where_others_get(listen: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and the message names every option that would help."""
    assert main(["serve", "--listen", listen]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    for word in ("--certificate", "--key", "--auth", "--insecure", listen):
        assert word in said.err


def test_insecure_is_said_to_be_meant() -> None:
    """Then it tries to listen. The address is one of documentation, which no machine has."""
    result = run("serve", "--listen", "203.0.113.1:1", "--store", "memory://", "--insecure")
    assert result.returncode == 1
    assert "cannot listen on 203.0.113.1:1" in result.stderr


def test_options_that_do_not_go_together(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Status 2, in words."""
    for arguments, reason in (
        (["--key", "k"], "needs --certificate"),
        (["--client-ca", "c"], "needs --certificate"),
        (["--certificate", str(tmp_path / "c")], "cannot be read"),
        (["--auth", str(tmp_path / "a")], "cannot be read"),
    ):
        assert main(["serve", "--listen", "127.0.0.1:0", "--store", "memory://", *arguments]) == 2
        assert reason in capsys.readouterr().err
    assert main(["term", "e", "--key", "k", "--target", "grpcs://127.0.0.1:1"]) == 2
    assert "no certificate" in capsys.readouterr().err


def test_a_new_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a file that only its owner can read; what is printed goes into the access file, and is not the token."""
    file = tmp_path / "token"
    former = os.umask(0)
    try:
        assert main(["new-token", str(file)]) == 0
    finally:
        os.umask(former)
    token = file.read_text().strip()
    said = capsys.readouterr()
    assert said.out == f'token_sha256 = ["{digest_of(token).hex()}"]\n'
    assert token not in said.out + said.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert main(["new-token", str(file)]) == 2
    assert "File exists" in capsys.readouterr().err
    assert file.read_text().strip() == token


def test_sighup_ends_no_server(tmp_path: Path) -> None:
    """Also not one that has nothing to read again: it would take all its clients along."""
    with Running("serve", "--listen", "127.0.0.1:0", "--store", "memory://", cwd=tmp_path) as server:
        target = server.target()
        server.process.send_signal(signal.SIGHUP)
        until_logged(server, "were read again")
        assert run("term", "e", "--target", target).returncode == 0


def test_metrics_are_for_loopback_unless_told_otherwise(tmp_path: Path) -> None:
    """They have neither TLS nor credentials."""
    refused = run("serve", "--listen", "127.0.0.1:0", "--store", "memory://", "--metrics", "0.0.0.0:0", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--metrics 0.0.0.0:0 may be reached from other machines" in refused.stderr
