"""What Kubernetes does with the containers of a manifest, done to processes on this machine.

A container gets its environment, its files and its command line as the manifest says. What is elsewhere here is
replaced: its programs, the address of the server, directories, and the port of its probes, as all pods share one
loopback.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

WAIT_S = 20.0
"""A bound for slow machines."""
PROBES = "0.0.0.0:9465"
"""Where the manifests have probes."""

Manifest = dict[str, Any]


def until(what: Callable[[], object]) -> None:
    """Wait for what nobody tells."""
    deadline = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def containers(workload: Manifest) -> list[Manifest]:
    """Return the containers of each pod, sidecars first."""
    spec = workload["spec"]["template"]["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


@dataclass(frozen=True, slots=True)
class Cluster:
    """What pods find.

    Args:
        directory: where files of containers go.
        server: where ``elections:5678`` is, as HOST:PORT.
        stored: what Secrets and ConfigMaps have, by name and key.
        programs: what stands in place of words of command lines.
    """

    directory: Path
    server: str
    stored: Mapping[tuple[str, str], str]
    programs: Mapping[str, str]


class Container:
    """A process of a container in a pod. Leaving its ``with`` block kills it, and the guarded command beside it.

    Args:
        cluster: what it finds.
        workload: the manifest that describes its pod.
        manifest: the container itself.
        pod: the pod's name.
        beside: where the probes of its pod are, if another container has them.
    """

    def __init__(
        self, cluster: Cluster, workload: Manifest, manifest: Manifest, pod: str, beside: "Container | None" = None
    ) -> None:
        self._manifest = manifest
        self._cluster = cluster
        self._place = cluster.directory / f"{pod}-{manifest['name']}"
        self._place.mkdir(exist_ok=True)
        mounts = self._mounted(workload)
        variables = {each["name"]: self._value(each, pod) for each in manifest["env"]}
        words = [re.sub(r"\$\((\w+)\)", lambda found: variables[found[1]], each) for each in manifest["command"]]
        if beside is not None:
            mounts["127.0.0.1:9465"] = beside.address
        for there, here in mounts.items():
            variables = {name: value.replace(there, here) for name, value in variables.items()}
        ours = {name: value for name, value in os.environ.items() if not name.startswith("ATOMIX_ELECTION_")}
        programs = {PROBES: "127.0.0.1:0", "python": sys.executable} | dict(cluster.programs)
        self.log = self._place / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [programs.get(word, word) for word in words],
                env=ours | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | variables,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.address = self._address() if PROBES in words else ""

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        with self.process.stdout:
            self.process.stdout.read()  # its end is that of the guard and the command, which have it too

    def probe(self, name: str) -> bool:
        """Ask as the kubelet does, and say whether the probe has passed."""
        return self.ask(self._manifest[name]["httpGet"]["path"])[0] == 200

    def ask(self, path: str) -> tuple[int, dict[str, Any]]:
        """Return status and body of the answer; 0 and nothing where nobody answers."""
        with closing(HTTPConnection(self.address, timeout=WAIT_S)) as connection:
            try:
                connection.request("GET", path)
            except ConnectionRefusedError:
                return 0, {}
            answer = connection.getresponse()
            return answer.status, json.load(answer)

    def kill(self) -> None:
        """End it as for want of memory."""
        self.process.kill()
        self.process.wait()

    def line(self) -> str:
        """Return the next line of its output, "" after the last one."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def _address(self) -> str:
        """Wait until its probes are there."""

        def found() -> re.Match[str] | None:
            assert self.process.poll() is None, self.log.read_text()
            return re.search(r"probes are at http://([0-9.:]+)", self.log.read_text())

        until(found)
        address = found()
        assert address
        return address[1]

    def _mounted(self, workload: Manifest) -> dict[str, str]:
        """Write the files of its volumes; return where each directory is."""
        volumes = {each["name"]: each for each in workload["spec"]["template"]["spec"]["volumes"]}
        mounted = {"elections:5678": self._cluster.server}
        for mount in self._manifest.get("volumeMounts", []):
            for source in volumes[mount["name"]]["projected"]["sources"]:
                (origin,) = source.values()
                for item in origin["items"]:
                    (self._place / item["path"]).write_text(self._cluster.stored[origin["name"], item["key"]])
            mounted[mount["mountPath"]] = str(self._place)
        return mounted

    def _value(self, variable: Manifest, pod: str) -> str:
        match variable:
            case {"value": value}:
                return value
            case {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}:
                return pod
            case {"valueFrom": {"secretKeyRef": {"name": name, "key": key}}}:
                return self._cluster.stored[name, key]
            case _:
                raise AssertionError(variable)
