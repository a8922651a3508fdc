"""The standard health service, asked by gRPC's own client for it."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from atomix_election.rpc.methods import ELECTION_METHODS, INSPECTION_METHODS, SESSION_METHODS
from tests.interop.conftest import serving
from tests.interop.peer import WAIT_S

messages: Any = health_pb2
"""Its type information does not know of the list yet."""
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
SERVICES = {next(iter(each.values())).service for each in (ELECTION_METHODS, SESSION_METHODS, INSPECTION_METHODS)}


@pytest.fixture
def stub(target: str) -> Iterator[Any]:
    """A client of the server that all tests share. It says nothing of who it is."""
    with grpc.insecure_channel(target.removeprefix("grpc://")) as channel:
        yield health_pb2_grpc.HealthStub(channel)


def asked(service: str) -> health_pb2.HealthCheckRequest:
    """Return the question for a service."""
    return health_pb2.HealthCheckRequest(service=service)


@pytest.mark.parametrize("service", ["", *sorted(SERVICES), "grpc.health.v1.Health"])
def test_the_server_and_each_of_its_services_serve(stub: Any, service: str) -> None:
    """By Check, by Watch and in the list."""
    assert stub.Check(asked(service), timeout=WAIT_S).status == SERVING
    watch = stub.Watch(asked(service), timeout=WAIT_S)
    assert next(watch).status == SERVING
    watch.cancel()
    assert stub.List(messages.HealthListRequest(), timeout=WAIT_S).statuses[service].status == SERVING


def test_a_service_that_is_not_there(stub: Any) -> None:
    """Check says NOT_FOUND, Watch says that it is not known and goes on."""
    with pytest.raises(grpc.RpcError) as raised:
        stub.Check(asked("nothing"), timeout=WAIT_S)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(asked("nothing"), timeout=WAIT_S)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    assert watch.is_active()
    watch.cancel()


def test_a_server_that_shuts_down_says_so_first(tmp_path: Path) -> None:
    """NOT_SERVING comes before the end of the stream, which is UNAVAILABLE."""
    with (
        serving(tmp_path / "log") as (target, process),
        grpc.insecure_channel(target.removeprefix("grpc://")) as channel,
    ):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        known, unknown = (stub.Watch(asked(each), timeout=WAIT_S) for each in ("", "nothing"))
        assert next(known).status == SERVING
        assert next(unknown).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        process.send_signal(signal.SIGTERM)
        assert next(known).status == NOT_SERVING
        for watch in (known, unknown):
            with pytest.raises(grpc.RpcError) as raised:
                next(watch)
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        process.wait(WAIT_S)
