"""What a kind is: its message, how its rows are reached, what goes with it. The descriptors tell what the wire says.

`handlers/` declares one for each kind; steps work on any.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from stigmer.store.rows import ABSENT, Row
from stigmer.wire import codec, descriptors, shapes
from stigmer.wire.message_types import full_name_of, object_class

if TYPE_CHECKING:
    import betterproto2
    from google.protobuf.message import Message

    from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceAudit, ApiResourceMetadata
    from stigmer.store.changes import Dependent
    from stigmer.wire.descriptors import KindMeta

M = TypeVar("M")


class Resource(Protocol):
    """What every kind's message has in common."""

    api_version: str
    kind: str
    metadata: ApiResourceMetadata | None
    spec: Any
    status: Any


R = TypeVar("R", bound=Resource)


@dataclass(frozen=True)
class Kind(Generic[R]):
    """A kind of resource.

    Attributes:
        message: the generated dataclass; its name is the kind's.
        reached_by: paths of the fields, such as `spec.agent_id`, by whose values rows are found.
        fixed: paths of the fields that keep their value after create.
        slug_unique: whether a slug names at most one resource of a namespace.
        namespaced: whether the org is the namespace; without, all share the empty one.
        dependents: what is deleted with a resource.
    """

    message: type[R]
    reached_by: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    slug_unique: bool = True
    namespaced: bool = True
    dependents: tuple[Dependent, ...] = field(default=())

    @cached_property
    def meta(self) -> KindMeta:
        """The kind's entry in the ApiResourceKind enum."""
        return descriptors.kind_by_name(self.message.__name__)

    @cached_property
    def name(self) -> str:
        """As resources spell it: `AgentExecution`."""
        return self.message.__name__

    @cached_property
    def generated(self) -> type[betterproto2.Message]:
        """`message`, as the codec takes it."""
        return cast("type[betterproto2.Message]", self.message)

    @cached_property
    def status_message(self) -> type[betterproto2.Message]:
        """The dataclass of the field `status`."""
        status = descriptors.descriptor(full_name_of(self.generated)).fields_by_name["status"]
        return object_class(shapes.message_type(status).full_name)

    def new_status(self, audit: ApiResourceAudit) -> Any:  # noqa: ANN401 - each kind has a status of its own
        """An otherwise empty status."""
        status: Any = self.status_message()
        status.audit = audit
        return status

    @cached_property
    def _getters(self) -> tuple[tuple[str, attrgetter[Any]], ...]:
        return tuple((path, attrgetter(path)) for path in self.reached_by)

    def namespace_of(self, org: str) -> str:
        """Where a slug of this kind is unique: the one place that decides it.

        Identity-scoped resources share the empty org while there is one user.
        """
        return org if self.namespaced else ""

    def row_of(self, resource: R, *, based_on: Row | None = None, created_by: str = "") -> Row:
        """The row that keeps a resource; `based_on` is the row that it replaces."""
        wire, data = codec.wire_and_bytes(cast("betterproto2.Message", resource))
        metadata = cast("Any", wire).metadata
        return Row(
            kind=self.name,
            id=metadata.id,
            namespace=self.namespace_of(metadata.org),
            slug=metadata.slug if self.slug_unique else None,
            data=data,
            keys=tuple(self._keys(wire)),
            created_by=based_on.created_by if based_on is not None else created_by,
            revision=based_on.revision if based_on is not None else ABSENT,
            sequence=based_on.sequence if based_on is not None else 0,
        )

    def resource_of(self, row: Row) -> R:
        """The resource that a row keeps, filled in when it is touched; each call gives a new one."""
        return cast("R", codec.lazily(self.generated, row.data))

    def wire_of(self, row: Row) -> Any:  # noqa: ANN401 - each kind has a message of its own
        """The resource that a row keeps, as the C runtime has it: for who needs little of it. Each call parses anew."""
        return codec.parse(self.generated, row.data)

    def _keys(self, wire: Message) -> dict[tuple[str, str], None]:
        keys: dict[tuple[str, str], None] = {}
        for path, get in self._getters:
            for value in _values(get(wire)):
                keys[path, value] = None
        return keys


def key_value(value: str | int) -> str:
    """How a field's value stands in a key; an enum by its number."""
    return value if isinstance(value, str) else str(int(value))


def required(value: M | None) -> M:
    """A submessage that validation has seen to be there."""
    if value is None:
        raise TypeError("a required submessage is missing")
    return value


def _values(value: Any) -> list[str]:  # noqa: ANN401 - a field of any kind's message
    """The values of a list, whatever they are; of any other field its value, where it is set."""
    if isinstance(value, str | int):
        return [key_value(value)] if value else []
    return [key_value(one) for one in value]
