"""Disks that are full, by real means: a small file system, or a limit on the size of files."""

import errno
import os
import resource
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

SIZE_MIB = 64
CHUNK_BYTES = 1 << 16


class SmallDisk:
    """A file system of its own. ``small_disk`` makes one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    @contextmanager
    def full(self) -> Generator[None]:
        """Leave no room on it for the length of a block."""
        with self._ballast.open("wb", buffering=0) as ballast:
            try:
                self._fill(ballast.fileno())
                yield
            finally:
                self._ballast.unlink()

    @contextmanager
    def read_only(self) -> Generator[None]:
        """Let nobody write to it. Nobody may have opened a file of it for that."""
        _run("mount", "-o", "remount,ro", str(self.path))
        try:
            yield
        finally:
            _run("mount", "-o", "remount,rw", str(self.path))

    def _fill(self, descriptor: int) -> None:
        for size in (CHUNK_BYTES, 1):
            while True:
                try:
                    os.write(descriptor, bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    break


@contextmanager
def small_disk(path: Path) -> Generator[SmallDisk | None]:
    """Have a small file system for the length of a block, or None where this user may not have one."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m,mode=700", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        yield None
        return
    try:
        yield SmallDisk(path)
    finally:
        _run("umount", "--lazy", str(path))


@contextmanager
def no_room_for_files(pid: int) -> Generator[None]:
    """Let no file of a process grow; the operating system refuses it."""
    former = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, former[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, former)


def _run(*command: str) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
