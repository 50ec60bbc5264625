"""Server reflection, v1 and v1alpha, over the descriptor set: what grpcurl and its like ask before they call.

`listening` serves what `services` returns beside the kinds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grpclib.const import Cardinality, Handler, Status

from stigmer.wire import descriptors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from grpclib.server import Stream

VERSIONS = ("v1", "v1alpha")
NAMES = tuple(f"grpc.reflection.{version}.ServerReflection" for version in VERSIONS)


class Reflection:
    """One version of the service; in both the messages are the same.

    Args:
        version: one of VERSIONS.
        names: the full names of the services that the server has.
    """

    def __init__(self, version: str, names: Iterable[str]) -> None:
        self._package = f"grpc.reflection.{version}"
        self._request, self._response = (
            descriptors.message_class(f"{self._package}.ServerReflection{what}") for what in ("Request", "Response")
        )
        self._listed = {"service": [{"name": name} for name in names]}

    def __repr__(self) -> str:
        return f"<Reflection {self._package}>"

    def __mapping__(self) -> dict[str, Handler]:
        """What grpclib serves."""
        path = f"/{self._package}.ServerReflection/ServerReflectionInfo"
        return {path: Handler(self._answer_all, Cardinality.STREAM_STREAM, self._request, self._response)}

    async def _answer_all(self, stream: Stream[Any, Any]) -> None:
        async for request in stream:
            try:
                answer = self._answer(request)
            except KeyError:
                answer = _error(Status.NOT_FOUND, "not found")
            await stream.send_message(self._response(valid_host=request.host, original_request=request, **answer))

    def _answer(self, request: Any) -> dict[str, Any]:  # noqa: ANN401 - the C runtime's message
        """What is to be set in the response; raises KeyError where what is asked for is not there."""
        pool = descriptors.POOL
        match request.WhichOneof("message_request"):
            case "file_by_filename":
                return _files(request.file_by_filename)
            case "file_containing_symbol":
                return _files(_file_of(request.file_containing_symbol))
            case "file_containing_extension":
                asked = request.file_containing_extension
                extended = descriptors.descriptor(asked.containing_type)
                return _files(_file_of(pool.FindExtensionByNumber(extended, asked.extension_number).full_name))
            case "all_extension_numbers_of_type":
                extended = descriptors.descriptor(request.all_extension_numbers_of_type)
                numbers = [extension.number for extension in pool.FindAllExtensions(extended)]
                found = {"base_type_name": extended.full_name, "extension_number": numbers}
                return {"all_extension_numbers_response": found}
            case "list_services":
                return {"list_services_response": self._listed}
            case _:
                return _error(Status.INVALID_ARGUMENT, "nothing that could be answered is asked for")


def services(names: Iterable[str]) -> list[Reflection]:
    """Both versions, for a server that has the services of these full names; reflection itself is added."""
    listed = sorted({*names, *NAMES})
    return [Reflection(version, listed) for version in VERSIONS]


def _file_of(symbol: str) -> str:
    try:
        return descriptors.POOL.FindFileContainingSymbol(symbol).name
    except KeyError:
        return descriptors.POOL.FindMethodByName(symbol).containing_service.file.name


def _files(name: str) -> dict[str, Any]:
    """The file, then all that it imports."""
    found = {name: descriptors.POOL.FindFileByName(name)}
    waiting = [*found.values()]
    for file in waiting:
        new = [one for one in file.dependencies if one.name not in found]
        found |= {one.name: one for one in new}
        waiting += new
    return {"file_descriptor_response": {"file_descriptor_proto": [descriptors.file_bytes(one) for one in found]}}


def _error(status: Status, message: str) -> dict[str, Any]:
    return {"error_response": {"error_code": status.value, "error_message": message}}
