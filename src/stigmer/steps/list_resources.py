"""List: resources of a kind, newest first, a page at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from stigmer.errors import Violation
from stigmer.steps import page_token
from stigmer.steps.fitting import without_longest
from stigmer.steps.validate_proto import refuse
from stigmer.store.rows import Query, Window
from stigmer.wire import codec, descriptors
from stigmer.wire.codec import Encoded
from stigmer.wire.message_types import full_name_of
from stigmer.wire.scalars import varint

if TYPE_CHECKING:
    import betterproto2

    from stigmer._gen.ai.stigmer.commons.rpc import PageInfo
    from stigmer.pipeline.context import AnyContext, Context
    from stigmer.pipeline.kind import Resource
    from stigmer.steps.list_filters import Filter
    from stigmer.store.rows import Page

DEFAULT_SIZE = 50
MAX_SIZE = 1000
MAX_PAGE_BYTES = 3 * 1024 * 1024
"""Clients refuse replies over 4 MiB unless told otherwise."""
HEAD_BYTES = 64
"""A reply's scalar fields take no more."""
ENTRY_BYTES = 8
"""A row takes no more in a reply beside its data: a tag and a length."""

MAX_ROW_BYTES = 4 * 1024 * 1024 - HEAD_BYTES - ENTRY_BYTES
"""A longer row would make a reply that clients refuse, and so end their walk: it goes without parts of its status."""

_NO_TOKEN = "is not a token that this method gave you for these filters: start again without one"  # noqa: S105 - a text


class ByToken(Protocol):
    """A request for the page where a token says that it begins."""

    page_size: int
    page_token: str


class ByNumber(Protocol):
    """A request for the page with a number."""

    page_info: PageInfo | None


class List:
    """Find a page of the resources that pass every filter.

    Reads the request: `page_size` and `page_token`, or a `page_info`; writes `reply`, made of stored bytes. Refuses a
    token that is not this method's for these filters and this caller.
    """

    def __init__(self, reply: type[betterproto2.Message], *filters: Filter) -> None:
        self._reply = reply
        self._filters = filters
        self._entries = _entries_number(full_name_of(reply))

    def violations(self, ctx: AnyContext) -> list[Violation]:
        """What is wrong with the filters, and a token that this method did not give this caller for these filters."""
        found = [violation for one in self._filters for violation in one.violations(ctx.request)]
        token = getattr(ctx.request, "page_token", "")
        if not token or page_token.position(token, self._scope(ctx), _key(ctx)) is not None:
            return found
        return [*found, Violation("page_token", _NO_TOKEN)]

    async def __call__(self, ctx: Context[ByToken | ByNumber, Resource]) -> None:
        refuse(self.violations(ctx))
        query, request = self._query(ctx), cast("Any", ctx.request)
        if hasattr(request, "page_token"):
            ctx.reply = await self._by_token(ctx, query, request)
        else:
            ctx.reply = await self._by_number(ctx, query, request.page_info)

    def _query(self, ctx: AnyContext) -> Query:
        query = Query(ctx.kind.name)
        for one in self._filters:
            query = one.narrow(query, ctx.request)
        return query

    def _scope(self, ctx: AnyContext) -> bytes:
        asked = ((one.field, one.asked(ctx.request)) for one in self._filters)
        return page_token.scope(ctx.call.method.path, asked, ctx.call.principal.caller)

    async def _by_token(self, ctx: AnyContext, query: Query, asked: ByToken) -> Encoded[Any]:
        size, scope = _size(asked.page_size), self._scope(ctx)
        before = page_token.position(asked.page_token, scope, _key(ctx))
        page = await ctx.page(query, _window(size, before=before))
        token = page_token.token(page.rows[-1].sequence, scope, _key(ctx)) if page.more else ""
        head: Any = self._reply()
        head.next_page_token = token
        if hasattr(head, "total_pages"):
            head.total_pages = -(-page.total // size)
        else:
            head.total_count = page.total
        return await self._encoded(ctx, page, head)

    async def _by_number(self, ctx: AnyContext, query: Query, info: PageInfo | None) -> Encoded[Any]:
        size = _size(info.size) if info is not None else None
        skip = (max(info.num, 1) - 1) * (size or 0) if info is not None else 0
        page = await ctx.page(query, _window(size, skip=skip))
        head: Any = self._reply()
        head.total_count = page.total
        return await self._encoded(ctx, page, head)

    async def _encoded(self, ctx: AnyContext, page: Page, head: betterproto2.Message) -> Encoded[Any]:
        """The reply: its scalar fields, then each row's bytes as they are stored, or what fits of them."""
        parts = [codec.encode(head)]
        tag = varint(self._entries << 3 | 2)
        for row in page.rows:
            data = (await ctx.overview(row)).data
            if len(data) > MAX_ROW_BYTES:
                data = await _fitting(ctx, data)
            parts += (tag, varint(len(data)), data)
        return Encoded(self._reply, b"".join(parts))


async def _fitting(ctx: AnyContext, data: bytes) -> bytes:
    """A row that is alone on its page, and still too long for one."""
    status = descriptors.descriptor(full_name_of(ctx.kind.generated)).fields_by_name["status"].number
    (fitting,) = await ctx.runtime.slices.run(without_longest(data, status, MAX_ROW_BYTES))
    return fitting


def _entries_number(reply: str) -> int:
    """The number of the reply's one repeated field."""
    fields = descriptors.descriptor(reply).fields
    return int(next(field.number for field in fields if field.is_repeated))


def _window(limit: int | None, *, before: int | None = None, skip: int = 0) -> Window:
    budget = MAX_PAGE_BYTES - HEAD_BYTES
    return Window(limit, before, skip, budget_bytes=budget, overhead_bytes=ENTRY_BYTES)


def _size(wanted: int) -> int:
    return min(wanted, MAX_SIZE) or DEFAULT_SIZE


def _key(ctx: AnyContext) -> bytes:
    return ctx.runtime.store.secret(page_token.SECRET)
