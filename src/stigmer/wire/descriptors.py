"""What the protos say: messages, kinds and methods with their options, read from one compiled descriptor set.

`_gen/descriptors.binpb` is loaded once into a pool of our own, so that nothing here meets the process-wide protobuf
registry. Generated classes carry no options: whoever asks about a kind, a method's authorization or a message's shape
asks here. `codec` builds its converters from these descriptors, `pipeline.rules` its rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
    from google.protobuf.message import Message

_OURS = "ai/stigmer/"
_COMMONS = "ai.stigmer.commons.apiresource"
_KIND_ENUM = f"{_COMMONS}.apiresourcekind.ApiResourceKind"
_AUTHORIZATION = "ai.stigmer.iam.iampolicy.v1.rpcauthorization"


def _described() -> dict[str, bytes]:
    """Every file of the set by its name, imports first: a FileDescriptorProto on the wire."""
    described = FileDescriptorSet.FromString((files("stigmer._gen") / "descriptors.binpb").read_bytes())
    return {file.name: file.SerializeToString() for file in described.file}


_DESCRIBED = _described()  # kept for reflection: the pool has the files without comments


def _load() -> tuple[DescriptorPool, tuple[str, ...]]:
    """A pool with every file of the set, and the names of the files that are ours."""
    pool, described = DescriptorPool(), _DESCRIBED
    for file in described.values():
        pool.AddSerializedFile(file)
    return pool, tuple(name for name in described if name.startswith(_OURS))


POOL, _FILES = _load()


@dataclass(frozen=True, slots=True)
class KindMeta:
    """What is fixed about a kind.

    Attributes:
        number: its value in the ApiResourceKind enum.
        enum_name: its name there, such as "agent_execution".
        name: as resources spell it in their field `kind`, such as "AgentExecution".
        display_name: as people read it.
        id_prefix: what ids start with, before the hyphen.
        is_versioned: whether old versions are kept.
    """

    number: int
    enum_name: str
    name: str
    display_name: str
    id_prefix: str
    is_versioned: bool


@dataclass(frozen=True, slots=True)
class Authorization:
    """What a caller must be allowed to do: the fields of RpcAuthorizationConfig, enum values by name.

    Attributes:
        permission: such as "can_edit".
        resource_kind: the kind's enum name, such as "agent".
        resource_kind_path: the path of the request's field that names the kind; empty where `resource_kind` does.
        field_path: the path of the request's field that holds the resource's id; empty where `resource_id` is set.
        error_msg: what a refused caller is told; empty for the default.
        resource_id: the id, where it is always the same one.
    """

    permission: str
    resource_kind: str
    resource_kind_path: str
    field_path: str
    error_msg: str
    resource_id: str


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC method and its options.

    Attributes:
        path: as it stands in the HTTP/2 request, "/package.Service/method".
        service: the full name of the service.
        name: the method's own name.
        request: the full name of the request message.
        reply: the full name of the reply message.
        server_streaming: whether the server answers a stream.
        kind: the kind that the service is about, if it says so.
        authorization: what the caller must be allowed to do, if anything.
        is_public: anybody may call it.
        skip_authorization: the method itself decides what the caller sees.
    """

    path: str
    service: str
    name: str
    request: str
    reply: str
    server_streaming: bool
    kind: KindMeta | None
    authorization: Authorization | None
    is_public: bool
    skip_authorization: bool


@cache
def descriptor(full_name: str) -> Descriptor:
    """The descriptor of a message; raises KeyError where there is none of that name."""
    return POOL.FindMessageTypeByName(full_name)


def file_bytes(name: str) -> bytes:
    """A file's FileDescriptorProto on the wire, as it was compiled; raises KeyError where there is no such file."""
    return _DESCRIBED[name]


@cache
def message_class(full_name: str) -> type[Message]:
    """The C runtime's class of a message, of the private pool; raises KeyError where there is none."""
    return message_factory.GetMessageClass(descriptor(full_name))


@cache
def kind_by_name(name: str) -> KindMeta:
    """The kind that resources spell so, such as "AgentExecution"; raises KeyError where there is none."""
    return _kinds_by_name()[name]


def kind_by_number(number: int) -> KindMeta:
    """The kind of that enum value; raises KeyError where there is none."""
    return _kinds()[number]


@cache
def kind_numbers() -> Mapping[str, int]:
    """The values of the ApiResourceKind enum by their names there, such as "agent_execution"."""
    return {kind.enum_name: number for number, kind in _kinds().items()}


@cache
def methods() -> Mapping[str, Method]:
    """All methods of our services by path, in the order of the protos."""
    services = (one for name in _FILES for one in POOL.FindFileByName(name).services_by_name.values())
    return {method.path: method for service in services for method in _methods_of(service)}


@cache
def _kinds() -> dict[int, KindMeta]:
    extension = f"{_COMMONS}.apiresourcekind.kind_meta"
    found: dict[int, KindMeta] = {}
    for value in POOL.FindEnumTypeByName(_KIND_ENUM).values:
        meta = _option(value.GetOptions(), extension)
        if meta is not None:
            described = (meta.name, meta.display_name, meta.id_prefix, meta.is_versioned)
            found[value.number] = KindMeta(value.number, value.name, *described)
    return found


@cache
def _kinds_by_name() -> dict[str, KindMeta]:
    return {kind.name: kind for kind in _kinds().values()}


def _methods_of(service: ServiceDescriptor) -> Iterator[Method]:
    number = _option(service.GetOptions(), f"{_COMMONS}.api_resource_kind")
    kind = None if number is None else kind_by_number(number)
    for method in service.methods:
        yield Method(
            path=f"/{service.full_name}/{method.name}",
            service=service.full_name,
            name=method.name,
            request=method.input_type.full_name,
            reply=method.output_type.full_name,
            server_streaming=method.server_streaming,
            kind=kind,
            authorization=_authorization(method),
            is_public=bool(_option(method.GetOptions(), f"{_AUTHORIZATION}.is_public")),
            skip_authorization=bool(_option(method.GetOptions(), f"{_AUTHORIZATION}.is_skip_authorization")),
        )


def _authorization(method: MethodDescriptor) -> Authorization | None:
    config = _option(method.GetOptions(), f"{_AUTHORIZATION}.config")
    if config is None:
        return None
    return Authorization(
        permission=_enum_name(config, "permission"),
        resource_kind=_enum_name(config, "resource_kind"),
        resource_kind_path=config.resource_kind_path,
        field_path=config.field_path,
        error_msg=config.error_msg,
        resource_id=config.resource_id,
    )


def _option(options: Message, extension: str) -> Any:  # noqa: ANN401 - an extension has whatever type its proto says
    """The value of a custom option, or None where it is not set.

    GetOptions answers classes of the process-wide pool, which do not know our extensions: parse once more with ours.
    """
    known = message_class(options.DESCRIPTOR.full_name).FromString(options.SerializeToString())
    field = cast("Any", POOL.FindExtensionByName(extension))  # the stubs want a handle that generated code would have
    return known.Extensions[field] if known.HasExtension(field) else None


def _enum_name(message: Message, field_name: str) -> str:
    """The name of the enum value that a field holds; the number in digits where it has none."""
    number = getattr(message, field_name)
    enum = message.DESCRIPTOR.fields_by_name[field_name].enum_type
    value = enum.values_by_number.get(number) if enum is not None else None
    return value.name if value is not None else str(number)
