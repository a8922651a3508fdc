"""The manifests in ``examples/kubernetes``: they are valid, and their containers do here what the page says."""

import os
import re
import signal
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path

import kubernetes_validate
import psycopg
import pytest
import yaml

from atomix_election.cli import run as command
from atomix_election.supervise import Lease
from atomix_election.sync import Client, ElectionServer, connect
from tests.certificates import Authority, write_access
from tests.kubernetes import PROBES, WAIT_S, Cluster, Container, Manifest, containers, until
from tests.planted import module_of

EXAMPLES = Path(__file__).parents[1] / "examples"
MANIFESTS = {path.stem: path.read_text() for path in sorted((EXAMPLES / "kubernetes").glob("*.yaml"))}
KUBERNETES = "1.29"
"""The first version with sidecars that need no switch."""
TTL_S = 1.0
PODS = ("pod-1", "pod-2")
WORKER = """#!/bin/sh
echo $ATOMIX_ELECTION_TOKEN
exec sleep 100
"""
DELAY = "3"
"""The one in the manifest of the sidecar, which is too long for tests."""
APPLICATION = EXAMPLES / "kubernetes/application.py"
STOPS_BEFORE_ITS_FIRST_WRITE = f"""
import os, signal, sys
sys.path.insert(0, {str(APPLICATION.parent)!r})
import application

def write(database, token, write=application.write):
    if token == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    write(database, token)

application.write = write
application.EVERY_S = 0.05
application.main()
"""


def parse(text: str) -> list[Manifest]:
    """Return the objects of a manifest."""
    return list(yaml.safe_load_all(text))


def deployment(text: str) -> Manifest:
    """Return the one with pods."""
    (found,) = (each for each in parse(text) if each["kind"] == "Deployment")
    return found


# The manifests by themselves.


def check(text: str) -> None:
    """See that all parts of a manifest fit each other, Kubernetes and the command."""
    for each in parse(text):
        kubernetes_validate.validate(each, KUBERNETES, strict=True)
        if each["kind"] == "Service":
            check_service(each, deployment(text))
    workload = deployment(text)
    assert workload["spec"]["replicas"] == 2
    pod = workload["spec"]["template"]["spec"]
    for container in containers(workload):
        check_environment(container, pod)
        if container["command"][0] == "atomix-election":
            check_command(container, pod)


def check_service(service: Manifest, workload: Manifest) -> None:
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    ports = {port["name"] for each in containers(workload) for port in each.get("ports", [])}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def check_environment(container: Manifest, pod: Manifest) -> None:
    """Each variable of ours is one of the command's, and what files are named are there."""
    names = {each["name"] for each in container["env"]}
    known = {option.envvar for option in command.command.params} - {None}
    assert {name for name in names if name.startswith("ATOMIX_")} <= known
    assert set(re.findall(r"\$\((\w+)\)", " ".join(container["command"]))) <= names
    volumes = {each["name"]: each for each in pod["volumes"]}
    files = {
        f"{mount['mountPath']}/{item['path']}"
        for mount in container.get("volumeMounts", [])
        for source in volumes[mount["name"]]["projected"]["sources"]
        for item in next(iter(source.values()))["items"]
    }
    assert {each["value"] for each in container["env"] if each.get("value", "").startswith("/")} == files


def check_command(container: Manifest, pod: Manifest) -> None:
    """It is accepted, has its probes where the kubelet asks, and has time to end."""
    name, subcommand, *words = container["command"]
    assert (name, subcommand) == ("atomix-election", "run")
    options = command.command.make_context(subcommand, list(words)).params
    assert options["candidate"] == "$(POD_NAME)"
    assert options["probe"] == PROBES
    assert options["insecure"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    probes = {name: each["httpGet"] for name, each in container.items() if name.endswith("Probe")}
    assert "livenessProbe" in probes
    assert {ports[each["port"]] for each in probes.values()} == {int(PROBES.rpartition(":")[2])}
    grace_s = Lease(options["session_ttl"], options["grace"]).grace_s
    assert pod["terminationGracePeriodSeconds"] >= grace_s + 10


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_fits(name: str) -> None:
    check(MANIFESTS[name])


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("livenessProbe:", "livenesProbe:"),
        ("replicas: 2", 'replicas: "2"'),
        ("--session-ttl,", "--session_ttl,"),
        ("name: ATOMIX_ELECTION_CA,", "name: ATOMIX_ELECTION_CA_FILE,"),
        ("$(POD_NAME)", "$(POD)"),
        ("containerPort: 9465", "containerPort: 9466"),
        ("path: token}", "path: tokens}"),
        ("terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 3"),
        ("--insecure, ", ""),
    ],
)
def test_a_slip_in_a_manifest_is_found(right: str, wrong: str) -> None:
    for text in MANIFESTS.values():
        assert right in text
        with pytest.raises(Exception):  # noqa: B017, PT011 - of the schema, of click, or an assertion
            check(text.replace(right, wrong))


# Running.


class Site:
    """A server with TLS and tokens, and pods that use it."""

    def __init__(self, directory: Path, authority: Authority, ends: ExitStack) -> None:
        self.directory = directory
        self._ends = ends
        access = directory / "access.toml"
        principals = {"pods": 'take_part = ["default"]', "operator": 'administer = ["*"]'}
        self.tokens = write_access(access, principals)
        self._authority = authority
        self._server = ends.enter_context(ExitStack())
        server = ElectionServer(
            session_ttl=TTL_S,
            min_session_ttl=TTL_S,
            max_session_ttl=TTL_S,
            tls=authority.server(),
            access=access,
        )
        self.target = self._server.enter_context(server).target
        self.stored = {("elections", "ca.pem"): authority.ca.read_text()}
        for name in ("worker-election", "application-election"):
            self.stored[name, "token"] = f"{self.tokens['pods']}\n"
        worker, application = directory / "worker", directory / "stops.py"
        worker.write_text(WORKER)
        worker.chmod(0o755)
        application.write_text(STOPS_BEFORE_ITS_FIRST_WRITE)
        self.programs = {"/app/worker": str(worker), "/app/application.py": str(application)}

    def end_server(self) -> None:
        """Let nobody answer any more."""
        self._server.close()

    def operator(self) -> Client:
        """Return a client that may displace leaders."""
        return self._ends.enter_context(
            connect(self.target, tls=self._authority.client(), token=self.tokens["operator"])
        )

    def start(self, workload: Manifest, pod: str, *, beside: Container | None = None, delay: str = "0.2") -> Container:
        """Start the first container of a pod, or the second one beside the first."""
        server = self.target.removeprefix("grpcs://")
        cluster = Cluster(self.directory, server, self.stored, self.programs | {DELAY: delay})
        manifest = containers(workload)[0 if beside is None else 1]
        return self._ends.enter_context(Container(cluster, workload, manifest, pod, beside))


@pytest.fixture
def site(tmp_path: Path, authority: Authority) -> Generator[Site]:
    with ExitStack() as ends:
        yield Site(tmp_path, authority, ends)


def leader_and_other(pods: list[Container]) -> tuple[Container, Container]:
    """Wait until one of two leads and the other one stands by."""

    def states() -> list[tuple[int, int]]:
        return [(pod.ask("/leader")[0], pod.ask("/ready")[0]) for pod in pods]

    until(lambda: sorted(states()) == [(200, 200), (503, 200)])
    first, second = pods
    return (first, second) if first.ask("/leader")[0] == 200 else (second, first)


def take_over(site: Site, text: str) -> None:
    """Kill the worker that leads, start it again, and end the one that leads then."""
    workload = deployment(text)
    pods = [site.start(workload, pod) for pod in PODS]
    leader, other = leader_and_other(pods)
    assert leader.line() == "1"
    assert [pod.probe("readinessProbe") for pod in (leader, other)] == [True, False]
    assert [pod.probe("livenessProbe") for pod in (leader, other)] == [True, True]
    leader.kill()
    until(lambda: other.probe("readinessProbe"))
    assert other.line() == "2"
    again = site.start(workload, PODS[pods.index(leader)])
    assert leader_and_other([other, again]) == (other, again)
    assert not again.probe("readinessProbe")
    assert again.probe("livenessProbe")
    end(other, workload)
    until(lambda: again.probe("readinessProbe"))
    assert again.line() == "3"


def end(container: Container, workload: Manifest) -> None:
    """End a container as the kubelet does, which kills it when it takes too long."""
    container.process.terminate()
    longest_s = workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert container.process.wait(longest_s) == 128 + signal.SIGTERM


def lose_server(site: Site, text: str) -> None:
    """Let the server be away: nobody leads, and nobody is to be restarted for that, nor who starts meanwhile."""
    workload = deployment(text)
    leader = site.start(workload, PODS[0])
    until(lambda: leader.probe("readinessProbe"))
    site.end_server()
    other = site.start(workload, PODS[1])
    until(lambda: not leader.probe("readinessProbe"))
    assert [pod.probe("livenessProbe") for pod in (leader, other)] == [True, True]
    end(leader, workload)
    end(other, workload)


def test_a_worker_whose_leader_is_killed(site: Site) -> None:
    take_over(site, MANIFESTS["guarded"])


def test_a_worker_whose_server_is_away(site: Site) -> None:
    lose_server(site, MANIFESTS["guarded"])


@pytest.mark.parametrize(
    ("right", "wrong", "scenario"),
    [
        ("path: /live", "path: /leader", take_over),
        ("path: /live", "path: /ready", lose_server),
        ("path: /leader", "path: /ready", take_over),
    ],
)
def test_a_wrong_probe_is_found(right: str, wrong: str, scenario: Callable[[Site, str], None], site: Site) -> None:
    text = MANIFESTS["guarded"]
    assert text.count(right) == 1
    with pytest.raises(AssertionError, match=r"Probe|False"):
        scenario(site, text.replace(right, wrong))


# The sidecar.


def test_what_the_application_takes_for_the_lead(site: Site) -> None:
    """Neither silence, nor a place in the queue, nor a lead whose delay is not over."""
    ask = module_of(APPLICATION).leading_token
    workload = deployment(MANIFESTS["sidecar"])
    leader = site.start(workload, PODS[0])
    until(lambda: ask(leader.address) == 1)
    waiting = site.start(workload, PODS[1], delay="100")
    assert waiting.probe("startupProbe")
    until(lambda: waiting.ask("/ready")[0] == 200)
    assert ask(waiting.address) is None
    leader.process.send_signal(signal.SIGSTOP)
    assert ask(leader.address) is None
    until(lambda: waiting.ask("/leader")[0] == 200)
    assert ask(waiting.address) is None
    hasty = module_of(APPLICATION, 'status["phase"] == "running"', 'status["leader"]').leading_token
    assert hasty(waiting.address) == 2
    waiting.kill()
    assert ask(waiting.address) is None


def test_an_application_that_goes_on_too_late(site: Site, postgresql: str) -> None:
    """Its sidecar cannot stop it and does not wait for it; the database refuses what it writes."""
    site.stored["application", "database"] = postgresql
    workload = deployment(MANIFESTS["sidecar"])
    with psycopg.connect(postgresql, autocommit=True) as database:
        database.execute("DROP TABLE IF EXISTS report, fencing_tokens")
        module_of(EXAMPLES / "fenced_postgresql/writer.py").create_tables(database)

        def tokens() -> list[int]:
            return [token for (token,) in database.execute("SELECT token FROM report ORDER BY line")]

        sidecars = [site.start(workload, pod) for pod in PODS]
        first, second = leader_and_other(sidecars)
        late, _ = (site.start(workload, PODS[sidecars.index(each)], beside=each) for each in (first, second))
        os.waitid(os.P_PID, late.process.pid, os.WSTOPPED)
        site.operator().election("application").anoint(PODS[sidecars.index(second)])
        until(lambda: 2 in tokens())
        late.process.send_signal(signal.SIGCONT)
        assert late.line().startswith("refused: ")
        second.kill()
        until(lambda: 3 in tokens())
        late.process.terminate()
        assert late.process.wait(WAIT_S) == 0
        written = tokens()
    assert written == sorted(written)
    assert set(written) == {2, 3}
