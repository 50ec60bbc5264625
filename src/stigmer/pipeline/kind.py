"""What a kind is: its message, how its rows are reached, what goes with it. The descriptors tell what the wire says.

`handlers/` declares one for each kind; steps work on any.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar, cast

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceOwnerScope
from stigmer.access.principal import PLATFORM, identity, namespace, organization, organization_of
from stigmer.secrets import fields
from stigmer.store.rows import ABSENT, Row
from stigmer.wire import codec, descriptors, shapes
from stigmer.wire.message_types import full_name_of, object_class

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import betterproto2
    from google.protobuf.message import Message

    from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceAudit, ApiResourceMetadata
    from stigmer.access.principal import Owner, Principal
    from stigmer.store.changes import Dependent
    from stigmer.wire.descriptors import KindMeta

M = TypeVar("M")

TAGS, ORGANIZATION, LABELS = "metadata.tags", "metadata.org", "metadata.labels"
"""By what every kind is listed, beside what each is `reached_by`."""


class Resource(Protocol):
    """What every kind's message has in common."""

    api_version: str
    kind: str
    metadata: ApiResourceMetadata | None
    spec: Any
    status: Any


R = TypeVar("R", bound=Resource)


class Reference(NamedTuple):
    """A field of a resource that names resources of another kind.

    Attributes:
        kind: the kind's name.
        path: of a field with an id, or with ApiResourceReferences.
    """

    kind: str
    path: str

    def value_in(self, resource: Resource) -> Any:  # noqa: ANN401 - an id or a list of references
        """What the field holds."""
        return attrgetter(self.path)(resource)


class Ending(NamedTuple):
    """The values of an enum field with which a resource has ended: nothing more is made that belongs to it.

    Attributes:
        path: of the field.
        values: the numbers of the values, by their names.
    """

    path: str
    values: Mapping[int, str]


@dataclass(frozen=True)
class Kind(Generic[R]):
    """A kind of resource.

    Attributes:
        message: the generated dataclass; its name is the kind's.
        reached_by: paths of the fields, such as `spec.agent_id`, by whose values rows are found, beside tags and such.
        fixed: paths of the fields that keep their value after create.
        slug_unique: whether a slug names at most one resource of a namespace.
        belongs_to: whose owner a resource has; without, its own scope and org say it.
        refers_to: what must be there, and be visible, for callers that are not of all organizations to name it.
        dependents: what is deleted with a resource.
        not_kept: paths of the maps that are for the steps of create alone: no row holds them.
        records: tables whose record under a resource's id is deleted with it.
        ending: how a resource ends; None where it does not.
        expires: whether a resource ends by itself when it is not used for long.
    """

    message: type[R]
    reached_by: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    slug_unique: bool = True
    belongs_to: Reference | None = None
    refers_to: tuple[Reference, ...] = ()
    dependents: tuple[Dependent, ...] = field(default=())
    not_kept: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    ending: Ending | None = None
    expires: bool = False

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
    def may_hold_secrets(self) -> bool:
        """Whether there can be secret values in such resources."""
        return fields.may_hold(full_name_of(self.generated))

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

    def owner_of(self, metadata: ApiResourceMetadata, caller: Principal, parent: Owner | None = None) -> Owner:
        """Who owns a resource: the one place that decides it.

        Args:
            metadata: of the resource.
            caller: who makes it.
            parent: the owner of what it `belongs_to`, None where that is not known: callers of all organizations alone
                have it then, unless this server says whose it is, which is still to make what it belongs to.
        """
        if self.belongs_to is not None:
            return parent if parent is not None else _said(metadata.org, caller)
        if metadata.owner_scope == ApiResourceOwnerScope.platform:
            return PLATFORM
        if metadata.owner_scope == ApiResourceOwnerScope.identity_account:
            return identity(caller.caller.name)
        return organization(metadata.org)

    def namespace_of(self, org: str, owner: Owner) -> str:
        """Where a slug of this kind is unique: the one place that decides it.

        What belongs to another resource has its slug where the owner is at home, whatever org it names.
        """
        return namespace(org if self.belongs_to is None else organization_of(owner), owner)

    def row_of(self, resource: R, owner: Owner, *, based_on: Row | None = None, created_by: str = "") -> Row:
        """The row that keeps a resource of the owner; `based_on` is the row that it replaces."""
        wire, data = codec.wire_and_bytes(cast("betterproto2.Message", resource))
        return self.row_of_wire(wire, data, owner, based_on=based_on, created_by=created_by)

    def row_of_wire(
        self, wire: Message, data: bytes, owner: Owner, *, based_on: Row | None = None, created_by: str = ""
    ) -> Row:
        """As `row_of`, of the resource as the C runtime has it and as bytes."""
        metadata = cast("Any", wire).metadata
        return Row(
            kind=self.name,
            id=metadata.id,
            namespace=self.namespace_of(metadata.org, owner),
            slug=metadata.slug if self.slug_unique else None,
            data=data,
            keys=tuple(self._keys(wire, owner)),
            owner=owner,
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

    def ended_with(self, row: Row) -> str:
        """The name of the value with which the row's resource has ended; empty where it has not."""
        if self.ending is None:
            return ""
        return self.ending.values.get(attrgetter(self.ending.path)(self.wire_of(row)), "")

    def without_not_kept(self, spec: Any) -> None:  # noqa: ANN401 - each kind has a spec of its own
        """Take out of a spec what no row holds."""
        for path in self.not_kept:
            setattr(spec, path.removeprefix("spec."), {})

    def _keys(self, wire: Message, owner: Owner) -> dict[tuple[str, str], None]:
        keys: dict[tuple[str, str], None] = {}
        for path, get in self._getters:
            for value in _values(get(wire)):
                keys[path, value] = None
        metadata = cast("Any", wire).metadata
        org = metadata.org if self.belongs_to is None else organization_of(owner)
        return keys | dict.fromkeys(list_keys(metadata, org))


def _said(org: str, caller: Principal) -> Owner:
    """Whose it is by the word of this server: the organization's that it names, else whose call it makes it for."""
    if caller.on_behalf_of is None:
        return organization("")
    return organization(org) if org or caller.is_of_all else identity(caller.caller.name)


def has_label(name: str) -> tuple[str, str]:
    """The key of what bears a label."""
    return LABELS, name


def label_is(name: str, value: str) -> tuple[str, str]:
    """The key of what bears a label with that value."""
    return f"{LABELS}.{name}", value


def list_keys(metadata: Any, org: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - ApiResourceMetadata in the C runtime
    """The keys by which a resource is listed: each label has two, so that what it says and that it is there are found.

    Args:
        metadata: of the resource, as the C runtime has it.
        org: the organization under which it is listed; empty for none.
    """
    yield from ((TAGS, tag) for tag in metadata.tags)
    if org:
        yield ORGANIZATION, org
    for name, value in metadata.labels.items():
        yield has_label(name)
        yield label_is(name, value)


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
