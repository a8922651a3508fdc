"""Server reflection, ``grpc.reflection.v1`` and ``v1alpha``: tools find out here what can be called, and how.

The descriptions are those of ``proto/``, as ``make proto`` had them from protoc.
"""

from collections.abc import Iterator
from functools import cache, partial
from importlib.resources import files
from typing import Any

import betterproto2
from grpclib.const import Status

from atomix_election.rpc import wire
from atomix_election.rpc._generated.grpc.reflection import v1, v1alpha
from atomix_election.rpc.call import ServerCall
from atomix_election.rpc.methods import Method
from atomix_election.rpc.services.base import ServedConnection, ServedMethod
from atomix_election.rpc.standard_methods import REFLECTION_ALPHA_METHOD, REFLECTION_METHOD

# Numbers of fields in google/protobuf/descriptor.proto.
_FILE = 1
_NAME, _PACKAGE, _DEPENDENCY, _MESSAGE, _ENUMERATION, _SERVICE = 1, 2, 3, 4, 5, 6
_NESTED_MESSAGE, _NESTED_ENUMERATION, _METHOD = 3, 4, 2


class Descriptors:
    """Files of a FileDescriptorSet, found by their names and by what they declare.

    Args:
        descriptor_set: the set, serialized.
    """

    def __init__(self, descriptor_set: bytes) -> None:
        self._files: dict[str, bytes] = {}
        self._imports: dict[str, list[str]] = {}
        self._declared_in: dict[str, str] = {}
        self.types: set[str] = set()
        for _, data in wire.length_delimited_fields(descriptor_set):
            name = _text(data, _NAME)
            self._files[name] = data
            self._imports[name] = [value.decode() for value in _values(data, _DEPENDENCY)]
            package = _text(data, _PACKAGE)
            for each, is_type in _declared(data, f"{package}." if package else ""):
                self._declared_in[each] = name
                if is_type:
                    self.types.add(each)

    def file(self, name: str) -> list[bytes]:
        """Return a file, and after it all that it imports; nothing where there is none of that name."""
        if name not in self._files:
            return []
        names = [name]
        for each in names:
            names += [imported for imported in self._imports[each] if imported not in names]
        return [self._files[each] for each in names]

    def file_of(self, symbol: str) -> list[bytes]:
        """Return the file that declares something of that full name, and after it all that it imports."""
        return self.file(self._declared_in.get(symbol, ""))


def _declared(file: bytes, prefix: str) -> Iterator[tuple[str, bool]]:
    """Return the full names of what a file declares, and for each whether it is a type of message."""
    for message in _values(file, _MESSAGE):
        yield from _types(message, prefix)
    for enumeration in _values(file, _ENUMERATION):
        yield prefix + _text(enumeration, _NAME), False
    for service in _values(file, _SERVICE):
        name = prefix + _text(service, _NAME)
        yield name, False
        for method in _values(service, _METHOD):
            yield f"{name}.{_text(method, _NAME)}", False


def _types(message: bytes, prefix: str) -> Iterator[tuple[str, bool]]:
    name = prefix + _text(message, _NAME)
    yield name, True
    for nested in _values(message, _NESTED_MESSAGE):
        yield from _types(nested, f"{name}.")
    for enumeration in _values(message, _NESTED_ENUMERATION):
        yield f"{name}.{_text(enumeration, _NAME)}", False


def _values(data: bytes, number: int) -> list[bytes]:
    return [value for field, value in wire.length_delimited_fields(data) if field == number]


def _text(data: bytes, number: int) -> str:
    return next((value.decode() for value in _values(data, number)), "")


@cache
def descriptors() -> Descriptors:
    """Return the files of this package. Read when somebody asks for the first time."""
    return Descriptors((files("atomix_election.rpc._generated") / "descriptors.binpb").read_bytes())


class Reflection:
    """The service in both its versions.

    Args:
        services: full names of the services that the server has.
    """

    def __init__(self, services: set[str]) -> None:
        self._services = services | {REFLECTION_METHOD.service, REFLECTION_ALPHA_METHOD.service}

    @property
    def methods(self) -> tuple[ServedMethod, ...]:
        """The service, as it is now and as it was in its alpha version, which differ by name only."""
        return self._served(REFLECTION_METHOD, v1), self._served(REFLECTION_ALPHA_METHOD, v1alpha)

    def _served(self, method: Method, messages: Any) -> ServedMethod:
        async def serve(_: ServedConnection, call: ServerCall) -> None:
            while (data := await call.read_next()) is not None:
                await call.send(partial(self._answer, wire.decode(data, method.request), messages))

        return ServedMethod(method, serve, endless=True)

    def _answer(self, request: Any, messages: Any) -> betterproto2.Message:
        asked, value = betterproto2.which_one_of(request, "message_request")
        said: dict[str, Any]
        if asked == "list_services":
            services = [messages.ServiceResponse(name=name) for name in sorted(self._services)]
            said = {"list_services_response": messages.ListServiceResponse(service=services)}
        elif asked == "all_extension_numbers_of_type" and value in descriptors().types:
            numbers = messages.ExtensionNumberResponse(base_type_name=value)  # proto3 has no extensions
            said = {"all_extension_numbers_response": numbers}
        elif found := self._find(asked, value):
            said = {"file_descriptor_response": messages.FileDescriptorResponse(file_descriptor_proto=found)}
        else:
            status = Status.NOT_FOUND if asked else Status.INVALID_ARGUMENT
            error = messages.ErrorResponse(
                error_code=status.value, error_message="nothing of that name is known here" if asked else "no question"
            )
            said = {"error_response": error}
        return messages.ServerReflectionResponse(valid_host=request.host, original_request=request, **said)

    def _find(self, asked: str, value: Any) -> list[bytes]:
        if asked == "file_by_filename":
            return descriptors().file(value)
        return descriptors().file_of(value) if asked == "file_containing_symbol" else []
