"""What a server has of services."""

from atomix_election.core.access import ROLE_OF_METHOD
from atomix_election.rpc.server import RpcServer


def _no_service(*, owner: str = "", peer: str = "") -> object:
    raise AssertionError("nobody connects")


def test_every_served_method_is_in_the_table_of_roles_and_no_other() -> None:
    """One that was forgotten would need the highest role, which hurts nobody but its users."""
    server = RpcServer(_no_service)  # pyright: ignore[reportArgumentType]
    assert server._common.methods.keys() == ROLE_OF_METHOD.keys()
