"""Where the tests of this suite run: the same elections, seen through six faces."""

from collections.abc import Iterable

import pytest

FACES = {
    "memory-asyncio": "asyncio",
    "memory-trio": "trio",
    "sqlite": "asyncio",
    "grpc": "asyncio",
    "etcd": "asyncio",
    "etcd-grpc": "asyncio",
}
"""Each face, and what it runs on."""
ON_ETCD = ("etcd", "etcd-grpc")


def params(faces: Iterable[str] = FACES) -> list[object]:
    """Return faces as parameters; those with a process behind them run beside no other one."""
    return [pytest.param(each, marks=pytest.mark.xdist_group("processes") if each in ON_ETCD else ()) for each in faces]
