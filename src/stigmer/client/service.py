"""The methods of a service, by plain values: what `kinds` has of each, of whatever it is about."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from uuid import uuid4

from stigmer.client.listing import Listing, Page
from stigmer.client.messages import fill
from stigmer.client.references import resolved
from stigmer.wire import descriptors
from stigmer.wire.lazy import shallow_copy
from stigmer.wire.message_types import object_class, python_names

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    import betterproto2

    from stigmer.client.calls import Calls
    from stigmer.wire.descriptors import Method


class Rpc(NamedTuple):
    """A method, and how its requests are made.

    Attributes:
        method: as the protos have it.
        request: the class of its requests.
        first: the attribute of their first field, which says what a request about one resource is about.
        entries: the attribute of a page's entries, where the method answers pages; else empty.
    """

    method: Method
    request: type[betterproto2.Message]
    first: str
    entries: str


class Service:
    """The methods of a service.

    Args:
        calls: makes the calls.
    """

    _paths: ClassVar[Mapping[str, str]] = {}

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._calls.connection!r}>"

    def _rpc(self, name: str) -> Rpc:
        return _rpc(self._paths[name])

    async def _unary(self, name: str, request: Any, given: Mapping[str, Any], key: str | None = None) -> Any:  # noqa: ANN401 - the method's own
        """A call with one reply.

        Args:
            name: of the method, as Python has it.
            request: a message; None for an empty one.
            given: values that are set in a copy of it.
            key: an idempotency key; empty to have one made, None for none.
        """
        made = await self._request(name, request, given)
        return await self._calls.unary(self._rpc(name).method, made, self._key(key))

    async def _stream(self, name: str, request: Any, given: Mapping[str, Any]) -> AsyncGenerator[Any]:  # noqa: ANN401 - as above
        """A call with a stream of replies."""
        made = await self._request(name, request, given)
        async for reply in self._calls.stream(self._rpc(name).method, made):
            yield reply

    def _pages(self, name: str, request: Any, given: Mapping[str, Any]) -> Listing[Any]:  # noqa: ANN401 - as above
        """A call for each page."""
        rpc, made = self._rpc(name), list[Any]()

        async def fetch(token: str) -> Page[Any]:
            if not made:
                made.append(await self._request(name, request, given))
            reply = await self._calls.unary(rpc.method, _with_token(made[0], token))
            return Page(getattr(reply, rpc.entries), reply.next_page_token, getattr(reply, "total_pages", 0))

        return Listing(fetch, str(given.get("page_token") or getattr(request, "page_token", "")))

    async def _request(self, name: str, request: Any, given: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as above
        """A request of the method's own class, with what is given set in it; the caller's message stays as it is."""
        rpc = self._rpc(name)
        made = shallow_copy(request) if request is not None else rpc.request()
        fill(made, rpc.method.request, await resolved(self._calls, rpc.method.request, given, None))
        return made

    def _key(self, key: str | None) -> str:
        """The idempotency key to send: made where it would be of use and none is given."""
        options = self._calls.options
        if key is None or options.dry_run:
            return ""
        return key or (uuid4().hex if options.max_retries else "")


@cache
def _rpc(path: str) -> Rpc:
    method = descriptors.methods()[path]
    request, reply = object_class(method.request), descriptors.descriptor(method.reply)
    lists = [one.name for one in reply.fields if one.is_repeated and one.message_type is not None]
    entries = lists[0] if lists and "next_page_token" in reply.fields_by_name else ""
    return Rpc(method, request, python_names(request).get(1, ""), entries)


def _with_token(request: Any, token: str) -> Any:  # noqa: ANN401 - any list's request
    made = shallow_copy(request)
    made.page_token = token
    return made
