"""A real etcd to measure beside: its own election service is what a user would pick instead."""

import subprocess
from collections.abc import Generator
from contextlib import contextmanager

import anyio
import pytest

from benchmarks.processes import scratch
from tests.etcd.cluster import Cluster, binary

DEFAULTS = ("--heartbeat-interval=100", "--election-timeout=1000")
"""Etcd's own, in place of those that tests have."""


def why_not() -> str:
    """Return why there is no etcd to measure beside; "" where there is one."""
    try:
        binary()
    except (pytest.skip.Exception, pytest.fail.Exception) as error:
        return str(error)
    return ""


def version() -> str:
    """Return the version of etcd."""
    return subprocess.run([binary(), "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[2]  # noqa: S603


@contextmanager
def cluster_of(size: int) -> Generator[Cluster]:
    """Run etcd, with its data on the disk of this checkout."""
    with scratch() as directory, Cluster(directory / "etcd", size=size, arguments=DEFAULTS) as cluster:
        anyio.run(cluster.ready)
        yield cluster
