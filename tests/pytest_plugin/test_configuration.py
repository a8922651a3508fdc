"""What the plugin adds to pytest, what its markers and its option do, and what it imports unasked."""

import random

import pytest
from _pytest.fixtures import FixtureFunctionDefinition

from atomix_election import pytest_plugin
from atomix_election.pytest_plugin import clients, server, virtual
from tests.manual import DOCS
from tests.pytest_plugin.inner import run_pytest

pytest_plugins = ["pytester"]
IMPORTED = (clients, server, virtual)
"""What runs inside of this process would otherwise import once more each time."""

MODULES = """
import sys

HEAVY = {"betterproto2", "grpclib", "h2", "sqlite3"}
OURS = {
    "atomix_election",
    "atomix_election.errors",
    "atomix_election.model",
    "atomix_election.pytest_plugin",
    "atomix_election.pytest_plugin.kinds",
}


def test_nothing_of_weight():
    loaded = set(sys.modules)
    assert {name for name in loaded if name.startswith("atomix_election")} == OURS
    assert loaded & HEAVY == set()
"""
OPTIONS = """
import pytest

pytestmark = [
    pytest.mark.election_server(session_ttl=5.0, max_session_ttl=9.0),
    pytest.mark.election_client(namespace="module"),
]


@pytest.mark.election_server(max_session_ttl=7.0)
class TestClass:
    @pytest.mark.election_server(host="::1")
    def test_the_nearest_wins(self, election_server_options, election_client_options):
        assert election_server_options == {"session_ttl": 5.0, "max_session_ttl": 7.0, "host": "::1"}
        assert election_client_options == {"namespace": "module"}


def test_others_are_as_they_were(election_server_options):
    assert election_server_options == {"session_ttl": 5.0, "max_session_ttl": 9.0}
"""
SEEDS = """
import random

import pytest


async def scenario(network):
    return random.random()


def test_seed(virtual_election):
    drawn = virtual_election(scenario)
    assert drawn == virtual_election(scenario)
    assert drawn != virtual_election(scenario, seed=virtual_election.seed + 1)
    print(f"drawn {drawn}")
    raise AssertionError("so that it is shown")
"""


def run_inside(pytester: pytest.Pytester, tests: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(test_inner=tests)
    return run_pytest_inside(pytester, "--strict-markers", *arguments)


def run_pytest_inside(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run pytest in this process, with no plugin but ours: others would be imported anew each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        return pytester.runpytest_inprocess("-p", "atomix_election.pytest_plugin", "-p", "no:cacheprovider", *arguments)


@pytest.mark.parametrize("plugin", ["asyncio", "no:asyncio"])
def test_what_is_imported_when_pytest_starts(plugin: str, pytester: pytest.Pytester) -> None:
    """Every project pays for it that has this package installed, whether it uses the plugin or not."""
    more = '    "atomix_election.pytest_plugin.on_pytest_asyncio",\n' if plugin == "asyncio" else ""
    tests = MODULES.replace(
        '    "atomix_election.pytest_plugin.kinds",\n', f'    "atomix_election.pytest_plugin.kinds",\n{more}'
    )
    arguments = ("-p", "no:asyncio") if plugin == "no:asyncio" else ()
    run_pytest(pytester, *arguments, test_inner=tests).assert_outcomes(passed=1)


def test_help(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_nothing(): ...")
    run_pytest_inside(pytester, "--markers").stdout.fnmatch_lines(
        ["@pytest.mark.election_server(*options):*", "@pytest.mark.election_client(*options):*"]
    )
    run_pytest_inside(pytester, "--fixtures").stdout.fnmatch_lines_random(
        ["election_server *", "election_client *", "virtual_election *"]
    )


def test_markers(pytester: pytest.Pytester) -> None:
    run_inside(pytester, OPTIONS).assert_outcomes(passed=2)


def test_arguments_of_markers_have_names(pytester: pytest.Pytester) -> None:
    tests = "import pytest\n@pytest.mark.election_server(1.0)\ndef test_it(election_server): ..."
    ended = run_inside(pytester, tests)
    ended.assert_outcomes(errors=1)
    ended.stdout.fnmatch_lines(
        "*@pytest.mark.election_server takes arguments by name: election_server(session_ttl=1.0)*"
    )


@pytest.mark.parametrize("fixture", ["election_server", "election_client"])
def test_arguments_that_are_refused(fixture: str, pytester: pytest.Pytester) -> None:
    """With the reason, and nothing hangs."""
    wrong = "port=-1" if fixture == "election_server" else "session_ttl=-1.0"
    tests = f"import pytest\n@pytest.mark.{fixture}({wrong})\ndef test_it({fixture}): ..."
    ended = run_inside(pytester, tests)
    ended.assert_outcomes(errors=1)
    ended.stdout.fnmatch_lines("*InvalidRequest: *-1*")


def test_an_async_test_that_nothing_runs(pytester: pytest.Pytester) -> None:
    ended = run_inside(pytester, "async def test_it(election_client): ...")
    ended.assert_outcomes(errors=1)
    ended.stdout.fnmatch_lines("*election_client does not know what runs this async test: mark it for anyio's plugin*")


def test_a_mark_of_a_plugin_that_is_not_there(pytester: pytest.Pytester) -> None:
    """It says what to install."""
    tests = "import pytest\n@pytest.mark.asyncio\nasync def test_it(election_client): ..."
    ended = run_inside(pytester, tests, "-o", "markers=asyncio")
    ended.assert_outcomes(errors=1)
    ended.stdout.fnmatch_lines("*marked for pytest-asyncio, which is not in use here: install it (pip install*")


@pytest.mark.parametrize("seed", ["0", "7"])
def test_a_seed(seed: str, pytester: pytest.Pytester) -> None:
    """A failed test shows its seed, and a scenario draws the same with the same one."""
    ended = run_inside(pytester, SEEDS, *(() if seed == "0" else (f"--election-seed={seed}",)))
    ended.assert_outcomes(failed=1)
    ended.stdout.fnmatch_lines_random(
        [f"drawn {random.Random(int(seed)).random()}", f"*with seed {seed}: --election-seed={seed} repeats it."]
    )


def test_random_seeds(pytester: pytest.Pytester) -> None:
    """Another one in each run."""
    shown = [
        next(line for line in run_inside(pytester, SEEDS, "--election-seed=random").outlines if "with seed" in line)
        for _ in range(2)
    ]
    assert shown[0] != shown[1]


def test_the_guide_names_everything() -> None:
    """Fixtures, options and what they give."""
    guide = (DOCS / "testing.md").read_text()
    names = [name for name, each in vars(pytest_plugin).items() if isinstance(each, FixtureFunctionDefinition)]
    names = [name for name in names if name[0] != "_"]
    assert len(names) == 5
    assert [name for name in (*names, *pytest_plugin.__all__, pytest_plugin.SEED_OPTION) if name not in guide] == []
