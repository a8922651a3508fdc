"""Disks that fail, by real means where there are some."""

import os
import resource
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

NOBODY = 65534


@contextmanager
def full_for_files_above(size: int) -> Generator[None]:
    """Let no file of this process grow above a size; the operating system refuses it, as it does on a full disk."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


@contextmanager
def read_only(*paths: Path) -> Generator[None]:
    """Take the right to write from this process, also where it is root's."""
    modes = [path.stat().st_mode for path in paths]
    root = os.geteuid() == 0
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode)


class FailingConnection(sqlite3.Connection):
    """A connection whose next COMMITs fail as told, as no disk here does on demand.

    ``faults`` has one entry for each of them: whether it is carried out before it fails.
    """

    faults: ClassVar[list[bool]] = []
    code = sqlite3.SQLITE_IOERR_FSYNC

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Fail at COMMIT."""
        if sql == "COMMIT" and self.faults:
            if self.faults.pop(0):
                super().execute(sql)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = self.code
            raise error
        return super().execute(sql, parameters)
