"""What the clients of all kinds have in common: resources made of plain values, and named in any way.

`kinds`, which is generated, gives each kind its methods, whose signatures and descriptions come from the protos.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, NamedTuple, TypeVar

from ulid import ULID

from stigmer.client import naming
from stigmer.client.messages import fill
from stigmer.client.references import by_reference, reference, resolved
from stigmer.client.service import Service
from stigmer.errors import InvalidArgument, NotFound
from stigmer.types import ApiResourceMetadata, ApiResourceOwnerScope
from stigmer.wire import descriptors
from stigmer.wire.lazy import shallow_copy
from stigmer.wire.message_types import full_name_of, object_class
from stigmer.wire.shapes import message_type

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stigmer.wire.descriptors import KindMeta

R = TypeVar("R")

MISSING: Final[Any] = object()
"""In place of a default that nobody gave."""


class About(NamedTuple):
    """What is fixed about a kind.

    Attributes:
        meta: its entry in the enum of kinds.
        message: the class of its resources.
        spec: the full name of their spec's type.
        has_slugs: whether resources can be had by slug.
    """

    meta: KindMeta
    message: Any
    spec: str
    has_slugs: bool


class Resources(Service, Generic[R]):
    """The resources of one kind."""

    _kind: ClassVar[str]
    _api_version: ClassVar[str]
    _scope: ClassVar[ApiResourceOwnerScope]
    """What a resource has where nobody says it."""
    _stem: ClassVar[str] = ""
    """What the names begin with that are made where nobody gives one; empty where one has to be given."""

    async def _create(self, resource: R | None, metadata: Mapping[str, Any], spec: Mapping[str, Any], key: str) -> R:
        made = await self._resource(resource, metadata, spec, new=True)
        created: R = await self._calls.unary(self._rpc("create").method, made, self._key(key))
        return created

    async def _apply(self, resource: R | None, metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> R:
        made = await self._resource(resource, metadata, spec, new=True)
        applied: R = await self._calls.unary(self._rpc("apply").method, made)
        return applied

    async def _update(self, which: R | str, metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> R:
        """What an id or a slug names is read first, and is to have the version that was read."""
        current = await self._found(which) if isinstance(which, str) else which
        changed = await self._resource(current, metadata, spec, new=False)
        updated: R = await self._calls.unary(self._rpc("update").method, changed)
        return updated

    async def _get(self, which: R | str, default: Any) -> Any:  # noqa: ANN401 - whatever the caller wants
        if default is MISSING:
            return await self._found(which)
        try:
            return await self._found(which)
        except NotFound:
            return default

    async def _delete(self, which: R | str, given: Mapping[str, Any]) -> R:
        id_ = self._id_in(which) or (await self._found(which)).metadata.id
        rpc = self._rpc("delete")
        request = rpc.request(**{rpc.first: id_})
        fill(request, rpc.method.request, given)
        deleted: R = await self._calls.unary(rpc.method, request)
        return deleted

    async def _found(self, which: R | str) -> Any:  # noqa: ANN401 - R, whose attributes are those of any resource
        if id_ := self._id_in(which):
            rpc = self._rpc("get")
            return await self._calls.unary(rpc.method, rpc.request(**{rpc.first: id_}))
        meta = about(self._kind).meta
        named = naming.slug_of(which, self._calls.options.org)
        method = by_reference(meta.number)
        if named is None or method is None:
            raise InvalidArgument.of("", f"name the {meta.display_name} by its id, its slug or itself")
        return await self._calls.unary(method, reference(meta, *named))

    def _id_in(self, which: R | str) -> str:
        """The id that names a resource; empty where a slug does."""
        if not isinstance(which, str):
            if naming.is_none_of(which, [about(self._kind).meta]):
                raise TypeError(f"want one of kind {self._kind}, its id or its slug, not {which.__class__.__name__}")
            return str(getattr(getattr(which, "metadata", None), "id", ""))
        kind = about(self._kind)
        return which if not kind.has_slugs or naming.is_id(kind.meta, which) else ""

    async def _resource(
        self, resource: R | None, metadata: Mapping[str, Any], spec: Mapping[str, Any], *, new: bool
    ) -> Any:  # noqa: ANN401 - as above
        """A resource of what is given, set in a copy of the message, and of what goes without saying."""
        kind = about(self._kind)
        made: Any = shallow_copy(resource) if resource is not None else kind.message()
        made.api_version, made.kind = made.api_version or self._api_version, made.kind or self._kind
        made.metadata = shallow_copy(made.metadata) if made.metadata is not None else ApiResourceMetadata()
        fill(made.metadata, _METADATA, metadata, (None, "metadata", None))
        within = (None, "spec", None)
        values = await resolved(self._calls, kind.spec, spec, within)
        made.spec = shallow_copy(made.spec) if made.spec is not None else object_class(kind.spec)()
        fill(made.spec, kind.spec, values, within)
        if new:
            self._complete(made.metadata)
        return made

    def _complete(self, metadata: ApiResourceMetadata) -> None:
        """Set what goes without saying of something new."""
        if not metadata.name and self._stem:
            metadata.name = f"{self._stem}-{ULID()}".lower()
        if metadata.owner_scope == ApiResourceOwnerScope.api_resource_owner_scope_unspecified:
            metadata.owner_scope = self._scope
        if metadata.owner_scope not in _WITHOUT_ORG:
            metadata.org = metadata.org or self._calls.options.org


_METADATA = full_name_of(ApiResourceMetadata)
_WITHOUT_ORG = (ApiResourceOwnerScope.platform, ApiResourceOwnerScope.identity_account)


@cache
def about(kind: str) -> About:
    """What is fixed about a kind, such as "AgentExecution"; raises KeyError where there is none."""
    meta = descriptors.kind_by_name(kind)
    full_name = next(one.reply for one in descriptors.methods().values() if one.kind == meta and one.name == "get")
    spec = message_type(descriptors.descriptor(full_name).fields_by_name["spec"]).full_name
    return About(meta, object_class(full_name), spec, by_reference(meta.number) is not None)
