"""Server reflection, v1 and v1alpha, over our descriptors: what grpcurl and its like ask before they call.

`app` registers what `services` returns beside the handlers. grpclib answers the questions; here is where it looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from google.protobuf.descriptor_pool import Default
from grpclib.reflection._deprecated import ServerReflection as ReflectionV1Alpha
from grpclib.reflection.service import ServerReflection as ReflectionV1

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
    from google.protobuf.descriptor_pool import DescriptorPool

_Found = TypeVar("_Found")

NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class LayeredPool:
    """A descriptor pool for reading: ours first, then the process's, which knows health and reflection themselves.

    Every method raises KeyError where neither pool knows the name, as a DescriptorPool does.
    """

    def __init__(self, pool: DescriptorPool) -> None:
        self._pools = (pool, Default())

    def _first(self, find: Callable[[DescriptorPool], _Found]) -> _Found:
        ours, process = self._pools
        try:
            return find(ours)
        except KeyError:
            return find(process)

    def FindFileByName(self, name: str) -> FileDescriptor:  # noqa: N802  # a pool's method
        """Find a file by its path."""
        return self._first(lambda pool: pool.FindFileByName(name))

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802  # a pool's method
        """Find the file that defines a message, an enum, an extension, a service, or a member of one."""
        try:
            return self._first(lambda pool: pool.FindFileContainingSymbol(symbol))
        except KeyError:
            return self._first(lambda pool: pool.FindMethodByName(symbol).containing_service.file)

    def FindMessageTypeByName(self, name: str) -> Descriptor:  # noqa: N802  # a pool's method
        """Find a message by its full name."""
        return self._first(lambda pool: pool.FindMessageTypeByName(name))

    def FindExtensionByNumber(self, message: Descriptor, number: int) -> FieldDescriptor:  # noqa: N802  # a pool's method
        """Find an extension in the pool that the message came from."""
        return message.file.pool.FindExtensionByNumber(message, number)

    def FindAllExtensions(self, message: Descriptor) -> list[FieldDescriptor]:  # noqa: N802  # a pool's method
        """Find all extensions that the message's own pool knows."""
        return message.file.pool.FindAllExtensions(message)


def services(names: Iterable[str], pool: DescriptorPool) -> list[ReflectionV1 | ReflectionV1Alpha]:
    """Make the handlers of both versions.

    Args:
        names: the full names of the services that the server has, health included; reflection itself is added.
        pool: the descriptors of all of them but health and reflection.
    """
    listed, layered = sorted({*names, *NAMES}), LayeredPool(pool)
    return [
        ReflectionV1(_service_names=listed, _pool=layered),
        ReflectionV1Alpha(_service_names=listed, _pool=layered),
    ]
