"""What pytest gets with this package: a server, a client and virtual time as fixtures. See docs/testing.md.

pytest imports this module whenever it starts, in every project that has the package installed. So what the fixtures
need is imported when a test asks for one.
"""

from collections.abc import AsyncGenerator, Generator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from atomix_election.pytest_plugin.kinds import Kind, has_pytest_asyncio, kind_of, loop_scope_of

if TYPE_CHECKING:
    from atomix_election import Client
    from atomix_election.pytest_plugin.clients import BackgroundClient as BackgroundClient
    from atomix_election.pytest_plugin.server import BackgroundServer as BackgroundServer
    from atomix_election.pytest_plugin.virtual import VirtualElection as VirtualElection

__all__ = ["BackgroundClient", "BackgroundServer", "VirtualElection"]

SEED_OPTION = "--election-seed"
RANDOM_SEED = "random"

_MODULE_OF = {"BackgroundClient": "clients", "BackgroundServer": "server", "VirtualElection": "virtual"}
_MARKERS = (
    "election_server(**options): what the election_server of this test is made of, as an ElectionServer would be",
    "election_client(**options): what the election_client of this test is connected with, as by connect",
)


def _seed(text: str) -> int | None:
    return None if text == RANDOM_SEED else int(text)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for seeds."""
    parser.getgroup("atomix-election").addoption(
        SEED_OPTION,
        type=_seed,
        default=0,
        metavar="N",
        help="seed of virtual_election (default: 0), which a test that fails shows; 'random': another one in each test",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Say which markers there are, and give pytest-asyncio the fixtures that only its own decorator makes."""
    for line in _MARKERS:
        config.addinivalue_line("markers", line)
    if has_pytest_asyncio(config):
        from atomix_election.pytest_plugin import on_pytest_asyncio

        config.pluginmanager.register(on_pytest_asyncio, on_pytest_asyncio.__name__)


@pytest.fixture
def election_server_options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What election_server is made of: the arguments of ``@pytest.mark.election_server``, by default none.

    Override it to give all tests of a module or folder the same: ``return {"store": f"sqlite:///{tmp_path}/e.db"}``.
    """
    return _options_of(request, "election_server")


@pytest.fixture
def election_client_options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What election_client is connected with: the arguments of ``@pytest.mark.election_client``, by default none.

    Override it to give all tests of a module or folder the same: ``return {"session_ttl": 1.0}``.
    """
    return _options_of(request, "election_client")


@pytest.fixture
def election_server(election_server_options: dict[str, Any]) -> "Generator[BackgroundServer]":
    """A real election server on loopback, for any kind of test: ``election_server.target`` is what clients are given.

    It runs in a thread of its own. ``depose(election, reason)`` takes the lead from whoever has it, for any reason;
    ``stop()``, ``start()`` and ``restart()`` do that. Elections are kept in memory, and outlive a restart.
    ``@pytest.mark.election_server(store=..., min_session_ttl=...)`` takes the arguments of ``ElectionServer``.
    """
    from atomix_election.pytest_plugin.server import BackgroundServer

    with BackgroundServer(**election_server_options) as server:
        yield server


@pytest.fixture
def election_client(request: pytest.FixtureRequest) -> "Client | BackgroundClient":
    """A client that is connected to election_server: in an async test a ``Client``, as of ``connect``.

    It lives in a task of its own, in the event loop of the test: anyio's plugin on asyncio, or pytest-asyncio in any
    mode. In a test that is not async it is a ``BackgroundClient``, in a thread of its own, whose ``run(function)``
    calls ``await function(client)``. ``@pytest.mark.election_client(session_ttl=1.0, namespace=...)`` takes the
    arguments of ``connect``.
    """
    match kind_of(request.node):
        case Kind.ANYIO:
            fixture = "_election_client_on_anyio"
        case Kind.PYTEST_ASYNCIO:
            fixture = f"_election_client_on_{loop_scope_of(request.node)}_loop"
        case Kind.BLOCKING:
            fixture = "_election_client_in_a_thread"
        case Kind.NOT_INSTALLED:
            pytest.fail(
                "this test is marked for pytest-asyncio, which is not in use here: install it (pip install "
                "pytest-asyncio), or mark the test for the plugin that anyio brings (@pytest.mark.anyio)",
                pytrace=False,
            )
        case Kind.UNKNOWN:
            pytest.fail(
                "election_client does not know what runs this async test: mark it for anyio's plugin "
                "(@pytest.mark.anyio) or pytest-asyncio (@pytest.mark.asyncio)",
                pytrace=False,
            )
    return request.getfixturevalue(fixture)


@pytest.fixture
def _election_client_in_a_thread(
    election_server: "BackgroundServer", election_client_options: dict[str, Any]
) -> "Generator[BackgroundClient]":
    from atomix_election.pytest_plugin.clients import client_in_a_thread

    with client_in_a_thread(election_server.target, election_client_options) as client:
        yield client


@pytest.fixture
async def _election_client_on_anyio(
    anyio_backend: object, election_server: "BackgroundServer", election_client_options: dict[str, Any]
) -> "AsyncGenerator[Client]":
    from atomix_election.pytest_plugin.clients import client_in_a_task

    async with client_in_a_task(election_server.target, election_client_options) as client:
        yield client


@pytest.fixture
def virtual_election(request: pytest.FixtureRequest) -> "VirtualElection":
    """Elections in virtual time: ``virtual_election(scenario)`` calls ``await scenario(network)``, and nothing waits.

    The ``network`` is an ``atomix_election.testing.Network``: ``network.client(name)``, ``network.depose(...)``,
    ``network.link(name).cut()``. It is called without ``await`` in tests of every kind, as it has an event loop of its
    own. A test that fails shows its seed, and ``--election-seed=N`` repeats it.
    """
    from atomix_election.pytest_plugin.virtual import VirtualElection, seed_for

    beside_a_loop = kind_of(request.node) is not Kind.BLOCKING
    return VirtualElection(seed_for(request.config), lambda text: _show(request.node, text), in_a_thread=beside_a_loop)


def _show(item: pytest.Item, text: str) -> None:
    """Have it shown if the test fails."""
    item.add_report_section("call", "virtual_election", text)


def _options_of(request: pytest.FixtureRequest, name: str) -> dict[str, Any]:
    """Return the arguments of a marker; where there are several, the nearest to the test wins for each."""
    options: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers(name))):
        if marker.args:
            raise pytest.UsageError(f"@pytest.mark.{name} takes arguments by name: {name}(session_ttl=1.0)")
        options |= marker.kwargs
    return options


def _find(name: str) -> object:
    """Return what is called so (PEP 562), for those who name it in their annotations."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


if not TYPE_CHECKING:
    __getattr__ = _find  # hidden from type checkers, which would then take any name for one of the module
