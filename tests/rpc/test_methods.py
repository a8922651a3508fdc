"""The tables of methods are what ``proto/`` declares, no more and no less."""

from importlib.resources import files

import betterproto2
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodDescriptorProto

from atomix_election.rpc import _generated, methods, standard_methods
from atomix_election.rpc._generated.message_pool import default_message_pool

TABLES = (
    methods.ELECTION_METHODS,
    methods.SESSION_METHODS,
    methods.INSPECTION_METHODS,
    methods.ADMINISTRATION_METHODS,
    standard_methods.HEALTH_METHODS,
    {each.name: each for each in (standard_methods.REFLECTION_METHOD,)},
    {each.name: each for each in (standard_methods.REFLECTION_ALPHA_METHOD,)},
)
UNARY = ("Create", "Close", "Enter", "Withdraw", "Anoint", "Promote", "Evict", "GetTerm")


def declared() -> dict[str, MethodDescriptorProto]:
    """Return what protoc says of each method, by its path."""
    descriptors = FileDescriptorSet.FromString((files(_generated) / "descriptors.binpb").read_bytes())
    return {
        f"/{file.package}.{service.name}/{method.name}": method
        for file in descriptors.file
        for service in file.service
        for method in service.method
    }


def full_name(message: type[betterproto2.Message]) -> str:
    """Return what protoc calls a class of ours."""
    return "." + default_message_pool.type_to_url[message].rpartition("/")[2]


def test_the_tables_have_every_method_with_its_messages() -> None:
    """Under its own name, too."""
    found = {
        method.path: (full_name(method.request), full_name(method.response))
        for table in TABLES
        for method in table.values()
    }
    assert found == {path: (method.input_type, method.output_type) for path, method in declared().items()}
    assert all(name == method.name for table in TABLES for name, method in table.items())


def test_the_published_service_has_its_nine_methods() -> None:
    """Eight of them are answered once, and the ninth goes on."""
    streams = {
        path: (method.client_streaming, method.server_streaming)
        for path, method in declared().items()
        if path.startswith("/atomix.")
    }
    service = "/atomix.election.v1.LeaderElection/"
    assert streams == {service + name: (False, False) for name in UNARY} | {service + "Events": (False, True)}
