"""Server reflection, asked by gRPC's own client for it: tools find all services, and can call them."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.interop.peer import WAIT_S, Peer

VERSIONS = ("grpc.reflection.v1", "grpc.reflection.v1alpha")
SERVICES = {
    "atomix.election.v1.LeaderElection",
    "atomix_election.v1.Administration",
    "atomix_election.v1.Inspection",
    "atomix_election.v1.Sessions",
    "grpc.health.v1.Health",
    *(f"{version}.ServerReflection" for version in VERSIONS),
}
Ask = Callable[..., Any]
Connect = Callable[..., Peer]


@pytest.fixture
def channel(target: str) -> Iterator[grpc.Channel]:
    """A connection to the server that all tests share."""
    with grpc.insecure_channel(target.removeprefix("grpc://")) as channel:
        yield channel


@pytest.fixture
def pool(channel: grpc.Channel) -> DescriptorPool:
    """All types, as a client without any .proto file learns them."""
    return DescriptorPool(ProtoReflectionDescriptorDatabase(channel))


@pytest.fixture(params=VERSIONS)
def ask(request: pytest.FixtureRequest, channel: grpc.Channel) -> Ask:
    """Asks one question; both versions have the same messages."""
    stream = channel.stream_stream(
        f"/{request.param}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )

    def one(**question: Any) -> Any:
        asked = reflection_pb2.ServerReflectionRequest(host="h", **question)
        (answer,) = stream(iter([asked]), timeout=WAIT_S)
        assert (answer.valid_host, answer.original_request) == ("h", asked)
        return answer

    return one


def files_in(answer: Any) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """Return the files of an answer by their names."""
    files = map(descriptor_pb2.FileDescriptorProto.FromString, answer.file_descriptor_response.file_descriptor_proto)
    return {each.name: each for each in files}


def test_all_services_are_listed(ask: Ask) -> None:
    """Those of elections, those for operators, and itself."""
    assert {each.name for each in ask(list_services="").list_services_response.service} == SERVICES


def test_a_file_comes_with_what_it_imports(ask: Ask) -> None:
    """By its name, and by anything that it declares; the file itself first."""
    wanted = ["atomix/election/v1/election.proto", "atomix/time/v1/timestamp.proto", "google/protobuf/timestamp.proto"]
    assert list(files_in(ask(file_by_filename=wanted[0]))) == wanted
    for symbol in ("LeaderElection", "LeaderElection.Enter", "Term", "Event.Type"):
        found = files_in(ask(file_containing_symbol=f"atomix.election.v1.{symbol}"))
        assert list(found) == wanted, symbol


@pytest.mark.parametrize(
    "question",
    [
        {"file_by_filename": "nothing.proto"},
        {"file_containing_symbol": "atomix.election.v1.Nothing"},
        {"file_containing_symbol": ""},
        {"all_extension_numbers_of_type": "atomix.election.v1.Event.Type"},
        {"file_containing_extension": reflection_pb2.ExtensionRequest(containing_type="a", extension_number=1)},
    ],
    ids=lambda question: next(iter(question)),
)
def test_what_is_not_there_is_an_error_in_the_answer(ask: Ask, question: dict[str, Any]) -> None:
    """And the stream goes on."""
    assert ask(**question).error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_a_question_without_content_is_an_error_in_the_answer(ask: Ask) -> None:
    """As nothing is asked for."""
    assert ask().error_response.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def test_messages_have_no_extensions(ask: Ask) -> None:
    """A type that is known has none, in proto3."""
    answer = ask(all_extension_numbers_of_type="atomix.election.v1.Term").all_extension_numbers_response
    assert (answer.base_type_name, list(answer.extension_number)) == ("atomix.election.v1.Term", [])


def test_a_tool_can_call_what_it_has_found(
    pool: DescriptorPool, channel: grpc.Channel, connect: Callable[..., Peer]
) -> None:
    """As grpcurl does: with nothing but reflection it describes an election."""
    peer = connect()
    peer.enter("a")
    method = pool.FindServiceByName("atomix_election.v1.Inspection").methods_by_name["Describe"]
    request, response = map(GetMessageClass, (method.input_type, method.output_type))
    path = f"/{method.containing_service.full_name}/{method.name}"
    call = channel.unary_unary(path, request.SerializeToString, response.FromString)
    described: Any = call(request(), metadata=peer.metadata, timeout=WAIT_S)
    assert [each.candidate_id for each in described.candidates] == ["a"]
    assert described.candidates[0].session.peer.startswith("127.0.0.1:")
    assert peer.session not in str(described)


@pytest.mark.parametrize("module", [health_pb2, reflection_pb2], ids=lambda module: module.__name__)
def test_the_standard_services_are_as_grpc_has_them(pool: DescriptorPool, module: Any) -> None:
    """Names, numbers and types of messages and methods, from our own .proto files, are those of gRPC's packages."""

    package = module.DESCRIPTOR.package
    assert module.DESCRIPTOR.message_types_by_name
    for name, message in module.DESCRIPTOR.message_types_by_name.items():
        assert shape(pool.FindMessageTypeByName(f"{package}.{name}")) == shape(message)
    for name, service in module.DESCRIPTOR.services_by_name.items():
        assert shape(pool.FindServiceByName(f"{package}.{name}")) == shape(service)


def test_both_versions_of_reflection_are_the_same(pool: DescriptorPool) -> None:
    """But for the name of the package."""
    names = [f"grpc/reflection/{version.rpartition('.')[2]}/reflection.proto" for version in VERSIONS]
    new, old = (shape(pool.FindFileByName(name)) for name in names)
    assert old.replace("v1alpha", "v1") == new


def shape(descriptor: Any) -> str:
    """Return what a descriptor declares; the names in JSON, which follow from the others, are not always there."""
    kinds = {
        Descriptor: descriptor_pb2.DescriptorProto,
        FileDescriptor: descriptor_pb2.FileDescriptorProto,
        ServiceDescriptor: descriptor_pb2.ServiceDescriptorProto,
    }
    (proto,) = (kind() for described, kind in kinds.items() if isinstance(descriptor, described))
    descriptor.CopyToProto(proto)
    return re.sub(r" *json_name: .*\n", "", str(proto))
