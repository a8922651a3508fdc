"""What a caller needs for each method."""

from atomix_election.rpc.server import RpcServer
from atomix_election.rpc.services.access import ACCESS, Access


def _no_service(_: str) -> object:
    raise AssertionError("nobody connects")


def test_every_served_method_is_in_the_table_and_no_other() -> None:
    """A method that was forgotten would need nothing."""
    server = RpcServer(_no_service)  # pyright: ignore[reportArgumentType]
    assert server._shared.methods.keys() == ACCESS.keys()


def test_only_what_tells_nothing_of_elections_needs_nothing() -> None:
    """Health and reflection."""
    free = {path.split("/")[1] for path, needed in ACCESS.items() if needed is Access.NOTHING}
    assert free == {
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
