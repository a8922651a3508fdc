"""One owner per file: a lock of the operating system, which ends with its process however that ends."""

import os
import weakref

from atomix_election.errors import StoreError

_MAX_PID_BYTES = 32


class Ownership:
    """The lock on a side file, ``<path>.lock``, which names the owner's process and stays there when that has gone.

    The file itself is not locked: other processes may read it. A forked child has no part in the lock.

    Args:
        path: the file that is owned, without symbolic links in it, so that one file has one side file.

    Raises:
        StoreError: somebody owns it, or the side file cannot be written.
    """

    def __init__(self, path: str) -> None:
        self._file: int | None = None
        try:
            import fcntl
        except ImportError as error:
            raise StoreError("sqlite:// needs the file locks of POSIX, which this system does not have") from error
        name = f"{path}.lock"
        try:
            file = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(
                f"cannot open {name}: {error.strerror}: let this user write to that directory, or choose another one"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            owner = os.pread(file, _MAX_PID_BYTES, 0).decode(errors="replace").strip()
            os.close(file)
            if not isinstance(error, BlockingIOError):
                raise StoreError(f"cannot lock {name}: {error.strerror}: see to the disk") from error
            raise StoreError(
                f"{path} is in use by process {owner or 'unknown'}{' (this one)' * (owner == str(os.getpid()))}: "
                "end that one first, or connect to its server instead"
            ) from error
        self._file = file
        _owned.add(self)

    @property
    def held(self) -> bool:
        """Whether this process is the owner."""
        return self._file is not None

    def release(self) -> None:
        """Let others own the file; nothing happens in a forked child."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


_owned: weakref.WeakSet[Ownership] = weakref.WeakSet()


def _disown_in_child() -> None:
    """Give the child's copy of each lock back: else the lock would outlive the parent. The parent's is not released."""
    for each in _owned:
        each.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_in_child)
