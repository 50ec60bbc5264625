"""Valid requests for every method, made of the descriptors, with a canary wherever a secret may stand.

What may hold one is what `secrets.fields` finds, and each text with the option `debug_redact`. What a rule of the
protos asks for is put in until none is broken; ids and slugs are those of what was made before.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from google.protobuf.descriptor import FieldDescriptor

from stigmer.pipeline.rules import broken
from stigmer.secrets import fields
from stigmer.wire.descriptors import descriptor, kind_by_name, message_class, methods
from stigmer.wire.shapes import is_map, map_parts, value_field

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from google.protobuf.message import Message
    from protovalidate import Violation

    from stigmer.proof.canaries import Canaries
    from stigmer.wire.descriptors import Method

KEY = "SECRET"
"""The key of each secret in a map."""
ORGANIZATION = "acme"
_SCOPES = (2, 0, 3, 1)
"""Of owners, in the order in which they are tried: an organization, none, a caller, the platform."""
_ROUNDS = 8
_REFERENCE = "ai.stigmer.commons.apiresource.ApiResourceReference"
_METADATA = "ai.stigmer.commons.apiresource.ApiResourceMetadata"


class Known(NamedTuple):
    """A resource that was made."""

    id: str
    slug: str


class Requests:
    """Makes requests.

    Args:
        canaries: what is put where a secret may stand; each place has one of its own, named after it.

    Attributes:
        known: what there is to refer to, by kinds.
    """

    def __init__(self, canaries: Canaries) -> None:
        self._canaries = canaries
        self._numbers = count(1)
        self.known: dict[str, Known] = {}

    def __repr__(self) -> str:
        return f"<Requests about {', '.join(self.known)}>"

    def valid(self, method: Method) -> Any:  # noqa: ANN401 - a message of the method's own type
        """A request that breaks no rule, as far as the protos say it."""
        request = message_class(method.request)()
        self._plant(request, method.request)
        self._refer(request, method)
        for attempt in range(_ROUNDS):
            if not (violations := broken(request)):
                break
            for violation in violations:
                _mend(request, violation, attempt)
        return request

    def learn(self, method: Method, reply: bytes) -> None:
        """Refer to what the method has made from now on, if it has made something."""
        made: Any = message_class(method.reply).FromString(reply)
        if method.name == "create" and method.kind is not None:
            self.known[method.kind.name] = Known(made.metadata.id, made.metadata.slug)
        elif method.name.startswith("add"):
            self.known[_short(method.reply)] = Known(made.id, "")

    def _plant(self, request: Message, name: str) -> None:
        _make_room(request)
        for entry in fields.entries(request):
            is_text = isinstance(getattr(entry.holder, entry.field), str)
            entry.write(self._canaries.one(f"{_short(name)} {entry.place.path}", is_text=is_text).value)
            if "is_secret" in entry.holder.DESCRIPTOR.fields_by_name:
                cast("Any", entry.holder).is_secret = True
        for field in redacted(request):
            setattr(request, field.name, self._canaries.one(f"{_short(name)} {field.name}").value.decode())

    def _refer(self, request: Any, method: Method) -> None:  # noqa: ANN401 - of any type
        """Name what the request is about, and what its resource refers to."""
        about = method.kind.name if method.kind is not None else _short(method.request).removesuffix("Id")
        for part in _parts(request):
            for field in part.DESCRIPTOR.fields:
                self._refer_by(part, field, about)
        if method.kind is not None and method.authorization is not None and method.name not in {"create", "apply"}:
            self._set(request, method.authorization.field_path, self._id_of(about))
        if request.DESCRIPTOR.full_name == _REFERENCE:
            request.org, request.slug = ORGANIZATION, self._slug_of(about)

    def _refer_by(self, part: Any, field: FieldDescriptor, about: str) -> None:  # noqa: ANN401 - of any type
        stem, _, suffix = field.name.rpartition("_")
        kind = _kind_of(stem)
        if field.message_type is not None and field.message_type.full_name == _METADATA:
            part.metadata.name, part.metadata.org = f"proof-{next(self._numbers)}", ORGANIZATION
            part.metadata.owner_scope = _SCOPES[0]
        elif suffix == "id" and field.type == FieldDescriptor.TYPE_STRING and kind in self.known:
            setattr(part, field.name, self.known[kind].id)
        elif suffix == "refs" and field.is_repeated and kind in self.known:
            getattr(part, field.name).add(org=ORGANIZATION, slug=self.known[kind].slug, kind=kind_by_name(kind).number)
        elif field.name in {"resource_id", "value"} and field.type == FieldDescriptor.TYPE_STRING and about:
            if field not in redacted(part):
                setattr(part, field.name, self._id_of(about))
        elif field.name == "key":
            part.key = KEY

    def _set(self, request: Any, path: str, value: str) -> None:  # noqa: ANN401 - of any type
        *parents, name = path.split(".")
        for parent in parents:
            request = getattr(request, parent)
        if name:
            setattr(request, name, value)

    def _id_of(self, kind: str) -> str:
        return self.known[kind].id if kind in self.known else ""

    def _slug_of(self, kind: str) -> str:
        return self.known[kind].slug if kind in self.known else ""


def in_order(kinds: Iterable[str]) -> list[str]:
    """The kinds so that each comes after those that it refers to."""
    ordered: dict[str, None] = {}

    def add(kind: str, waiting: tuple[str, ...]) -> None:
        if kind in waiting or kind in ordered:
            return
        for other in _refers_to(kind):
            add(other, (*waiting, kind))
        ordered[kind] = None

    for kind in kinds:
        add(kind, ())
    return list(ordered)


def _refers_to(kind: str) -> Iterator[str]:
    """The kinds that a resource of the kind names in its spec."""
    full_name = next(
        one.request for one in methods().values() if one.kind and one.kind.name == kind and is_resource(one.request)
    )
    spec = descriptor(full_name).fields_by_name["spec"].message_type
    for field in spec.fields if spec is not None else ():
        stem, _, suffix = field.name.rpartition("_")
        if suffix in {"id", "refs"} and (other := _kind_of(stem)):
            yield other


def without_secrets(method: Method, data: bytes) -> bytes | None:
    """What a request holds beside its secrets; None where the bytes are none, so that nobody can take them for one."""
    try:
        request = message_class(method.request).FromString(data)
    except Exception:  # noqa: BLE001 - whatever the runtime says of bytes that are no such message
        return None
    fields.take(request)
    for field in redacted(request):
        request.ClearField(field.name)
    return request.SerializeToString()


def holding_secrets() -> list[Method]:
    """The methods whose requests may hold secrets."""
    return [one for one in methods().values() if fields.may_hold(one.request) or redacted(message_class(one.request))]


def redacted(wire: Message | type[Message]) -> list[FieldDescriptor]:
    """The texts of a message that its proto says are secret."""
    return [field for field in _fields(wire) if field.has_options and field.GetOptions().debug_redact]


def is_resource(full_name: str) -> bool:
    """Whether messages of that type are resources."""
    names = descriptor(full_name).fields_by_name
    return {"metadata", "spec", "kind"} <= set(names)


def _fields(wire: Message | type[Message]) -> Sequence[FieldDescriptor]:
    return cast("Sequence[FieldDescriptor]", wire.DESCRIPTOR.fields)  # the stubs admit the C runtime's name as well


def _make_room(wire: Message, depth: int = 6) -> None:
    """Have every message be there that a secret may stand in, one of each list and map."""
    for field in _fields(wire):
        inner = value_field(field).message_type
        if inner is not None and depth and fields.may_hold(inner.full_name):
            one = _one_of(getattr(wire, field.name), field)
            one.SetInParent()
            _make_room(one, depth - 1)


def _one_of(held: Any, field: FieldDescriptor) -> Any:  # noqa: ANN401 - what a field of messages holds
    if is_map(field):
        return held[KEY if map_parts(field)[0].type == FieldDescriptor.TYPE_STRING else 1]
    return held.add() if field.is_repeated else held


def _parts(request: Any) -> Iterator[Any]:  # noqa: ANN401 - of any type
    """A request, and its spec where it has one."""
    yield request
    if "spec" in request.DESCRIPTOR.fields_by_name and is_resource(request.DESCRIPTOR.full_name):
        yield request.spec


def _short(full_name: str) -> str:
    return full_name.rpartition(".")[2]


def _kind_of(stem: str) -> str:
    """The kind that a field's name speaks of, such as `agent` or `execution`; the shortest of those that end so."""
    kinds = {method.kind.enum_name: method.kind.name for method in methods().values() if method.kind is not None}
    ends = [name for name in sorted(kinds, key=len) if name == stem or name.endswith(f"_{stem}")]
    return kinds[ends[0]] if stem and ends else ""


def _mend(request: Any, violation: Violation, attempt: int) -> None:  # noqa: ANN401 - of any type
    """Put in what a rule asks for, as far as it is known how."""
    wire, elements = request, list(violation.proto.field.elements if violation.proto.field is not None else ())
    for element in elements[:-1]:
        wire = getattr(wire, element.field_name)
        if element.subscript is not None:
            wire = wire[element.subscript.value]
    if not elements:
        return
    name, rule = elements[-1].field_name, violation.proto.rule_id
    field = wire.DESCRIPTOR.fields_by_name[name]
    if rule.startswith("owner_scope"):
        getattr(wire, name).owner_scope = _SCOPES[attempt % len(_SCOPES)]
    elif field.is_repeated:
        return
    elif field.message_type is not None:
        getattr(wire, name).SetInParent()
    else:
        setattr(wire, name, _wanted(field, violation))


def _wanted(field: FieldDescriptor, violation: Violation) -> Any:  # noqa: ANN401 - a value of the field
    match violation.proto.rule_id.rpartition(".")[2]:
        case "const" | "gte":
            return violation.rule_value
        case "min_len":
            return "x" * violation.rule_value
        case _:
            return "x" if field.type == FieldDescriptor.TYPE_STRING else 1
