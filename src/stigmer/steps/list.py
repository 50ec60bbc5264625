"""List: resources of a kind, newest first, a page at a time."""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from stigmer import codec, descriptors
from stigmer.codec import Encoded
from stigmer.errors import Violation
from stigmer.kinds import key_value
from stigmer.message_types import full_name_of
from stigmer.steps.validate_proto import refuse
from stigmer.store.base import Query, Through, Window
from stigmer.wire_values import varint

if TYPE_CHECKING:
    import betterproto2

    from stigmer.pipeline import Context
    from stigmer.store.base import Page

DEFAULT_SIZE = 50
MAX_SIZE = 1000
MAX_PAGE_BYTES = 3 * 1024 * 1024
"""Clients refuse replies over 4 MiB unless told otherwise."""
HEAD_BYTES = 64
"""A reply's scalar fields take no more."""
ENTRY_BYTES = 8
"""A row takes no more in a reply beside its data: a tag and a length."""

_CURSOR = struct.Struct(">Q8s")
_NO_TOKEN = "is not a token that this method gave for these filters: start again without one"  # noqa: S105 - a text


class Filter(Protocol):
    """What a request's field asks for."""

    def narrow(self, query: Query, request: Any, /) -> Query:  # noqa: ANN401 - each list has a request type
        """The query with this filter's condition, where the request sets the field."""
        ...


@dataclass(frozen=True, slots=True)
class Is:
    """The resource's field at `path` is the request's `field`."""

    field: str
    path: str

    def narrow(self, query: Query, request: Any) -> Query:  # noqa: ANN401 - each list has a request type
        """Add the condition; an unset field asks for nothing."""
        value = getattr(request, self.field)
        return Query(query.kind, (*query.keys, (self.path, key_value(value))), query.through) if value else query


@dataclass(frozen=True, slots=True)
class HasAll:
    """The resource's field at `path` has every value of the request's `field`."""

    field: str
    path: str

    def narrow(self, query: Query, request: Any) -> Query:  # noqa: ANN401 - each list has a request type
        """Add a condition for each value."""
        wanted = tuple((self.path, value) for value in sorted(set(getattr(request, self.field))))
        return Query(query.kind, (*query.keys, *wanted), query.through)


@dataclass(frozen=True, slots=True)
class IsOrHasParent:
    """The resource's field at `path` is the request's `field`, or names a `kind` whose field at `parent_path` is."""

    field: str
    path: str
    kind: str
    parent_path: str

    def narrow(self, query: Query, request: Any) -> Query:  # noqa: ANN401 - each list has a request type
        """Add the join."""
        value = getattr(request, self.field)
        return Query(query.kind, query.keys, Through(self.path, value, self.kind, (self.parent_path, value)))


class List:
    """Find a page of the resources that pass every filter.

    Reads the request: `page_size` and `page_token`, or a `page_info`; writes `reply`, made of stored bytes. Refuses a
    token that is not this method's for these filters.
    """

    def __init__(self, reply: type[betterproto2.Message], *filters: Filter) -> None:
        self._reply = reply
        self._filters = filters
        self._entries = _entries_number(full_name_of(reply))

    def violations(self, ctx: Context) -> list[Violation]:
        """A token that this method did not give for these filters."""
        token = getattr(ctx.request, "page_token", "")
        if not token or _position(token, _digest(ctx.call.method.path, self._query(ctx))) is not None:
            return []
        return [Violation("page_token", _NO_TOKEN)]

    async def __call__(self, ctx: Context) -> None:
        refuse(self.violations(ctx))
        query = self._query(ctx)
        by_token = hasattr(ctx.request, "page_token")
        ctx.reply = await (self._by_token(ctx, query) if by_token else self._by_number(ctx, query))

    def _query(self, ctx: Context) -> Query:
        query = Query(ctx.kind.name)
        for one in self._filters:
            query = one.narrow(query, ctx.request)
        return query

    async def _by_token(self, ctx: Context, query: Query) -> Encoded[Any]:
        size = _size(ctx.request.page_size)
        bound_to = _digest(ctx.call.method.path, query)
        before = _position(ctx.request.page_token, bound_to)
        budget = MAX_PAGE_BYTES - HEAD_BYTES
        page = await ctx.tx.page(query, Window(size, before, budget_bytes=budget, overhead_bytes=ENTRY_BYTES))
        token = _token(page.rows[-1].sequence, bound_to) if page.more else ""
        head: Any = self._reply()
        head.total_pages, head.next_page_token = -(-page.total // size), token
        return self._encoded(page, head)

    async def _by_number(self, ctx: Context, query: Query) -> Encoded[Any]:
        info = ctx.request.page_info
        if info is None:
            window = Window(limit=None)
        else:
            size = _size(info.size)
            window = Window(size, skip=(max(info.num, 1) - 1) * size)
        page = await ctx.tx.page(query, window)
        head: Any = self._reply()
        head.total_count = page.total
        return self._encoded(page, head)

    def _encoded(self, page: Page, head: betterproto2.Message) -> Encoded[Any]:
        """The reply: its scalar fields, then each row's bytes as they are stored."""
        parts = [codec.encode(head)]
        tag = varint(self._entries << 3 | 2)
        for row in page.rows:
            parts += (tag, varint(len(row.data)), row.data)
        return Encoded(self._reply, b"".join(parts))


def _entries_number(reply: str) -> int:
    """The number of the reply's one repeated field."""
    fields = descriptors.descriptor(reply).fields
    return int(next(field.number for field in fields if field.is_repeated))


def _size(wanted: int) -> int:
    return min(wanted, MAX_SIZE) or DEFAULT_SIZE


def _digest(method: str, query: Query) -> bytes:
    return hashlib.blake2b(f"{method} {query!r}".encode(), digest_size=16).digest()


def _token(sequence: int, bound_to: bytes) -> str:
    """Opaque: the position, and a check that it is for this method and these filters."""
    return base64.urlsafe_b64encode(_CURSOR.pack(sequence, _check(sequence, bound_to))).decode()


def _position(token: str, bound_to: bytes) -> int | None:
    """Where a page begins; None for no token, and for one that was not given for this method and these filters."""
    try:
        sequence, check = _CURSOR.unpack(base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True))
    except (ValueError, struct.error):
        return None
    return int(sequence) if check == _check(sequence, bound_to) else None


def _check(sequence: int, bound_to: bytes) -> bytes:
    return hashlib.blake2b(struct.pack(">Q", sequence), key=bound_to, digest_size=8).digest()
