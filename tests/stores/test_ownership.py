"""One owner at a time, whoever it is and however it ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from atomix_election.errors import StoreError
from atomix_election.stores.ownership import Ownership

OWN = "import sys, time; from atomix_election.stores.ownership import Ownership; o = Ownership(sys.argv[1])"


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A file that need not be there."""
    return str(tmp_path / "store.db")


@contextmanager
def owner(path: str, then: str = "") -> Generator[subprocess.Popen[str]]:
    """Run another process that owns a file until its stdin is closed."""
    program = f"{OWN}\n{then}\nprint('owned', flush=True)\nsys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "owned\n"
        yield process
        process.kill()


def run_program(program: str, path: str) -> None:
    """Run a program in a process of its own, which has no threads, so that it can fork."""
    ended = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


FORKING = """
import os, sys
from atomix_election.errors import StoreError

def in_child(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

def refused(call, word):
    try:
        call()
    except StoreError as error:
        assert word in str(error), error
    else:
        raise AssertionError("not refused")
"""


def test_a_second_owner_in_this_process_is_refused(path: str) -> None:
    """The message names the process, and what to do."""
    ownership = Ownership(path)
    with pytest.raises(StoreError, match=rf"{path} is in use by process {os.getpid()} \(this one\): end that one"):
        Ownership(path)
    ownership.release()
    Ownership(path).release()


def test_an_owner_in_another_process_is_named(path: str) -> None:
    """And its lock ends with it, however it ends: after SIGKILL too."""
    with owner(path) as process:
        with pytest.raises(StoreError, match=rf"in use by process {process.pid}: end that one"):
            Ownership(path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        ownership = Ownership(path)
    ownership.release()


def test_a_forked_child_neither_owns_nor_releases_it(path: str) -> None:
    """It has no part in the lock: releasing does nothing, and its end neither."""
    program = """
from atomix_election.stores.ownership import Ownership

ownership = Ownership(sys.argv[1])

def work():
    assert not ownership.held
    ownership.release()
    refused(lambda: Ownership(sys.argv[1]), "in use")

in_child(work)
assert ownership.held
refused(lambda: Ownership(sys.argv[1]), "in use")
"""
    run_program(FORKING + program, path)


def test_a_forked_child_does_not_keep_the_lock_of_a_dead_parent(path: str) -> None:
    """The owner dies and leaves a child behind: the file is free."""
    then = """
import os
begun, begins = os.pipe()
if os.fork() == 0:
    os.close(1), os.close(begins), sys.stdin.read(), os._exit(0)
os.close(begins), os.read(begun, 1)  # until the child runs, and so has given its copy back
"""
    with owner(path, then) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        Ownership(path).release()


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A directory that is not there, and a side file that is a directory."""
    (tmp_path / "b.lock").mkdir()
    for name in ("a/b", "b"):
        with pytest.raises(StoreError, match=rf"cannot open {tmp_path}/{name}.lock: .*: let this user"):
            Ownership(str(tmp_path / name))


def test_a_refusal_leaves_no_file_open(path: str) -> None:
    """However often it is tried."""
    ownership = Ownership(path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(StoreError):
            Ownership(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    ownership.release()
