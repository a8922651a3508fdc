"""``serve`` on etcd, as real processes: with certificates, user and password, and a prefix of its own."""

import signal
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest

from atomix_election.cli import main
from atomix_election.service import Call
from tests.certificates import Authority
from tests.cli.processes import Running, anoint, enter, run, with_service
from tests.etcd.cluster import Cluster, Tls, free_ports

SECRET = "not-to-be-shown"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Generator[Cluster]:
    """A member that wants certificates, and has a user ``app``, who may use keys that begin with ``app/``."""
    directory = tmp_path_factory.mktemp("etcd") / "guarded"
    with Cluster(directory, tls=Tls.issue(authority), arguments=("--bcrypt-cost=4",)) as cluster:
        anyio.run(cluster.ready)
        for command in (
            "user add root:root",
            "user grant-role root root",
            "role add app",
            "role grant-permission app --prefix=true readwrite app/",
            f"user add app:{SECRET}",
            "user grant-role app app",
            "auth enable",
        ):
            cluster.etcdctl(*command.split())
        yield cluster


@pytest.fixture
def options(guarded: Cluster, tmp_path: Path) -> dict[str, str]:
    """What a server needs to get there."""
    assert guarded.tls is not None
    token = tmp_path / "token"
    token.write_text(f"app:{SECRET}\n")
    return {
        "--store": f"etcds://{guarded.endpoints[0]}/app",
        "--store-ca": str(guarded.tls.authority.ca),
        "--store-certificate": str(guarded.tls.client.certificate),
        "--store-key": str(guarded.tls.client.key),
        "--store-token-file": str(token),
    }


def _serve(options: dict[str, str]) -> list[str]:
    return ["serve", "--listen", "127.0.0.1:0", *(word for option in options.items() for word in option)]


def test_several_servers_on_one_etcd_are_one(options: dict[str, str]) -> None:
    """What one was told the other says; they end with status 0, and show no password."""
    with Running(*_serve(options)) as one, Running(*_serve(options)) as other:
        enter(one.target(), "e", "a", "b")
        target = other.target()
        assert with_service(target, lambda service: service.get_term(Call("e"))).candidates == ("a", "b")
        anoint(target, "e", "b")
        status, rest, said = one.end(signal.SIGTERM)
        assert (status, rest) == (0, "")
        term = run("term", "e", "--json", "--target", target)
        assert '"candidates": ["b", "a"]' in term.stdout
        status, rest, log = other.end(signal.SIGTERM)
    assert (status, rest) == (0, "")
    for word in ("Traceback", SECRET, "keeps nothing"):
        assert word not in said + log


REFUSALS: dict[str, tuple[dict[str, str], str]] = {
    "another password": ({"--store-token-file": "app:wrong"}, "authentication failed"),
    "no user, but the name in the certificate": ({"--store-token-file": ""}, "permission denied"),
    "a prefix that the user may not use": ({"/app": "/other"}, "permission denied"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_etcd_refuses_is_said(options: dict[str, str], what: str, tmp_path: Path) -> None:
    """Status 1, in words, without the password."""
    changes, reason = REFUSALS[what]
    for name, value in changes.items():
        if name == "--store-token-file" and value:
            (tmp_path / "token").write_text(value)
        elif name in options:
            del options[name]
        else:
            options["--store"] = options["--store"].replace(name, value)
    result = run(*_serve(options))
    assert (result.returncode, result.stdout) == (1, ""), result.stderr
    assert reason in result.stderr
    for word in ("Traceback", SECRET, "wrong"):
        assert word not in result.stderr


def test_etcd_that_is_not_trusted_is_said(options: dict[str, str], stranger: Authority) -> None:
    """With what to do."""
    result = run(*_serve(options | {"--store-ca": str(stranger.ca)}))
    assert (result.returncode, result.stdout) == (1, "")
    assert "is not trusted" in result.stderr
    assert "Traceback" not in result.stderr


def test_options_that_contradict_each_other_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, before anything is connected to, and without what is in files."""
    token = tmp_path / "token"
    token.write_text(SECRET)
    (port,) = free_ports(1)
    etcd = f"etcd://127.0.0.1:{port}"
    for arguments, reason in (
        (["--store", etcd, "--store-ca", "ca.pem"], "is it etcds://"),
        (["--store", f"etcds://127.0.0.1:{port}", "--store-ca", str(tmp_path / "absent")], "cannot be read"),
        (["--store", f"etcds://127.0.0.1:{port}", "--store-key", "key.pem"], "no certificate"),
        (["--store", etcd, "--store-token-file", str(token)], "is not USER:PASSWORD"),
        (["--store", etcd, "--store-token-file", str(tmp_path / "absent")], "absent cannot be read"),
        (["--store", "etcd://elections.example", "--store-token-file", str(token)], "use etcds://"),
        (["--store", "memory://", "--store-token-file", str(token)], "takes no token"),
        (["--store", f"{etcd}/a//b"], "is no prefix of keys"),
    ):
        assert main(["serve", "--listen", "127.0.0.1:0", *arguments]) == 2, arguments
        said = capsys.readouterr()
        assert said.out == ""
        assert reason in said.err, arguments
        assert SECRET not in said.err
