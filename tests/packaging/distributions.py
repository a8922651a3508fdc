"""The wheel and the sdist that ``make dist`` built, as a user gets them. Run by ``make check-dist``.

Its name is not that of a test, so that ``make test`` needs neither a build nor PyPI.
"""

import json
import re
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.packaging.environments import COMMAND_S, DIST, Environment, gather, required, wheel

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TYPES_S = 120.0
NO_CLI = "atomix-election: the command needs its extra: pip install 'atomix-election[cli]'\n"
IMPORT_METRICS = "import atomix_election.metrics"
OF_USERS_TESTS = [
    requirement
    for requirement in PROJECT["optional-dependencies"]["test"]
    if re.split(r"[^\w-]", requirement)[0] in {"pytest", "pytest-asyncio", "trio"}
]
"""What the fixtures for pytest and ``atomix_election.testing`` meet in the tests of users, who bring it themselves."""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that users need."""
    return gather(tmp_path_factory.mktemp("wheels"), required("cli", "server"), *OF_USERS_TESTS)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Environment:
    """The wheel alone."""
    return Environment(tmp_path_factory.mktemp("base"), wheels, required())


@pytest.fixture(scope="module")
def with_cli(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Environment:
    """With the extra ``cli``."""
    return Environment(tmp_path_factory.mktemp("cli"), wheels, required("cli"))


@pytest.fixture(scope="module")
def with_server(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Environment:
    """With the extra ``server``."""
    return Environment(tmp_path_factory.mktemp("server"), wheels, required("server"))


@pytest.fixture(scope="module")
def with_all(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Environment:
    """With all that a type in the package may come from."""
    return Environment(tmp_path_factory.mktemp("all"), wheels, required("cli", "server"), *OF_USERS_TESTS)


def quickstart() -> str:
    """Return the example of the README."""
    (found,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return found


@contextmanager
def serving(environment: Environment) -> Generator[str]:
    """Run the installed command ``serve``, and give its target."""
    with subprocess.Popen(
        [str(environment.bin / "atomix-election"), "serve", "--listen", "127.0.0.1:0"],
        cwd=environment.directory,
        env=environment.variables(),
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().removeprefix("listening on ").strip()
            server.terminate()
            assert server.wait(COMMAND_S) == 0
        finally:
            server.kill()


def test_the_wheel_has_the_whole_package_and_nothing_else() -> None:
    """Every file that is under version control, ``py.typed`` among them."""
    listed = subprocess.run(
        ["git", "ls-files", "atomix_election"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    with ZipFile(wheel()) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == set(listed.stdout.splitlines())
    assert "atomix_election/py.typed" in packed


def test_the_sdist_has_what_a_packager_needs() -> None:
    """Sources, tests, the schema and the licence; nothing that tools left behind."""
    (sdist,) = DIST.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "Makefile",
        "tests/conftest.py",
        "atomix_election/py.typed",
    } <= names
    assert not [name for name in names if re.search(r"__pycache__|\.pyc$|\.db$|^dist/|^\.venv", name)]


def test_the_type_of_every_name_is_known(with_all: Environment) -> None:
    """To the type checker of a user, who has the wheel: none is missing, and none can be taken for another."""
    checked = subprocess.run(
        [sys.executable, "-m", "pyright", "--verifytypes", "atomix_election", "--ignoreexternal", "--outputjson"],
        cwd=with_all.directory,
        env=with_all.variables() | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
        timeout=TYPES_S,
        check=False,
    )
    found = json.loads(checked.stdout)["typeCompleteness"]
    assert Path(found["pyTypedPath"]).is_relative_to(with_all.directory)
    incomplete = [
        " ".join([symbol["name"], *(diagnostic["message"] for diagnostic in symbol["diagnostics"])])
        for symbol in found["symbols"]
        if symbol["isExported"] and (not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"])
    ]
    assert not incomplete, "\n".join(incomplete)
    assert found["completenessScore"] == 1
    assert checked.returncode == 0


def test_the_wheel_alone_runs_the_quickstart(base: Environment) -> None:
    """Without a warning; and nothing of an extra is there."""
    assert base.run("python", "-c", "import click").returncode == 1
    assert base.run("python", "-c", "import prometheus_client").returncode == 1
    ended = base.run("python", "-W", "error", "-c", quickstart())
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "in the order in which they will lead: node-1" in ended.stdout


def test_the_wheel_alone_says_which_extra_is_missing(base: Environment) -> None:
    """The command and the metrics, by name."""
    for ended in (base.run("atomix-election", "--version"), base.run("python", "-m", "atomix_election", "--version")):
        assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", NO_CLI)
    metrics = base.run("python", "-c", IMPORT_METRICS)
    assert metrics.returncode == 1
    assert "pip install 'atomix-election[server]'" in metrics.stderr


def test_the_extra_cli_brings_the_command(with_cli: Environment) -> None:
    """Its version is that of the project, and every command has its help."""
    ended = with_cli.run("atomix-election", "--version")
    assert (ended.returncode, ended.stdout) == (0, f"atomix-election, version {PROJECT['version']}\n")
    assert with_cli.run("python", "-m", "atomix_election", "serve", "--help").returncode == 0


def test_the_quickstart_runs_against_an_installed_server(with_cli: Environment, base: Environment) -> None:
    """The server from one environment, the quickstart in another, with nothing but its target replaced."""
    with serving(with_cli) as target:
        ended = base.run("python", "-W", "error", "-c", quickstart().replace("memory://", target))
        assert (ended.returncode, ended.stderr) == (0, "")
        assert "node-1" in ended.stdout
        looked = with_cli.run("atomix-election", "term", "nightly-report", "--target", target)
        assert looked.returncode == 0


def test_a_server_without_its_extra_says_so(with_cli: Environment) -> None:
    """For each option that needs it."""
    for option in (("--metrics", "127.0.0.1:0"), ("--log-format", "json")):
        ended = with_cli.run("atomix-election", "serve", "--listen", "127.0.0.1:0", "--store", "memory://", *option)
        assert ended.returncode != 0
        assert "pip install 'atomix-election[server]'" in ended.stderr


def test_the_extra_server_stands_by_itself(with_server: Environment) -> None:
    """It has metrics and logs, and no command."""
    assert with_server.run("python", "-c", f"{IMPORT_METRICS}, pythonjsonlogger").returncode == 0
    assert with_server.run("atomix-election", "--version").stderr == NO_CLI
