"""Where the tests of this suite run: the same elections, seen through nine faces."""

from collections.abc import Iterable

import pytest

FACES = {
    "memory-asyncio": "asyncio",
    "memory-trio": "trio",
    "sqlite": "asyncio",
    "grpc": "asyncio",
    "memory-blocking": "asyncio",
    "sqlite-blocking": "asyncio",
    "grpc-blocking": "asyncio",
    "etcd": "asyncio",
    "etcd-grpc": "asyncio",
}
"""Each face, and what it runs on."""
BLOCKING = ("memory-blocking", "sqlite-blocking", "grpc-blocking")
"""Faces of ``atomix_election.sync``, which has an event loop of its own: see ``blocking``."""
ON_ETCD = ("etcd", "etcd-grpc")


def params(faces: Iterable[str] = FACES) -> list[object]:
    """Return faces as parameters; those with a process behind them run beside no other one."""
    return [pytest.param(each, marks=pytest.mark.xdist_group("etcd") if each in ON_ETCD else ()) for each in faces]
