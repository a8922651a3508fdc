"""Wall clocks that jump, by libfaketime: of processes, one by one, while they run.

Its library is looked for where systems put it; ``ATOMIX_FAKETIME`` names another one. It breaks ``time.sleep`` of
Python, which a server uses only where it does not know whether its disk has taken a write: so clocks are set in runs in
which no disk is full.
"""

import os
from collections.abc import Mapping
from itertools import count
from pathlib import Path

import anyio

PLACES = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64", "/opt/homebrew/lib")
NAMES = ("libfaketimeMT.so.1", "libfaketime.so.1")
VARIABLE = "ATOMIX_FAKETIME"
ABSENT = f"libfaketime was not found: install the package faketime, or name the library in {VARIABLE}"
CACHE_S = 1
"""How long a process may go on by what it has read of its clock."""


def library() -> Path | None:
    """Return where the library is, or None if it is nowhere."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named) if Path(named).is_file() else None
    found = (
        path
        for place in PLACES
        for name in NAMES
        for pattern in (f"faketime/{name}", f"*/faketime/{name}", name)
        for path in sorted(Path(place).glob(pattern))
    )
    return next(found, None)


class FakedClock:
    """The wall clock of processes that are started with its environment.

    Args:
        library: libfaketime.
        path: a file that says how far it is off.
        elapsing: whether the clocks that only go on, and stand for the time since the start, jump too.
    """

    def __init__(self, library: Path, path: Path, *, elapsing: bool = False) -> None:
        self._library = library
        self._path = path
        self._elapsing = elapsing
        self._writings = count()
        self.set(0)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs, to have this clock."""
        found = {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_CACHE_DURATION": str(CACHE_S),
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # which makes threads of Python wait for each other for long
        }
        if not self._elapsing:  # the name differs between releases
            found |= {"DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        return found

    def set(self, to_s: int) -> None:
        """Be off by so many seconds, as the processes notice soon."""
        path = self._path.with_suffix(f".{next(self._writings)}")
        path.write_text(f"{to_s:+d}\n")
        path.rename(self._path)  # so that nobody reads half of it

    async def jump(self, to_s: int) -> None:
        """Be off by so many seconds; the processes have noticed when this returns."""
        self.set(to_s)
        await anyio.sleep(CACHE_S + 0.1)

    def check_used(self, pid: int) -> None:
        """See that a process has this clock."""
        assert str(self._library) in Path(f"/proc/{pid}/maps").read_text(), (
            f"process {pid} does not use {self._library}"
        )


def tidy_up(pid: int) -> None:
    """Remove what the library of a process that was killed has left in shared memory."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        Path("/dev/shm", name).unlink(missing_ok=True)
