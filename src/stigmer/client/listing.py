"""What a list gives: its entries one by one, or page by page; each page is asked for when it is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """One page of a list.

    Attributes:
        entries: newest first.
        next_page_token: of the page that follows; empty on the last one.
        total_pages: how many pages of this size there are.
    """

    entries: list[R]
    next_page_token: str
    total_pages: int


class Listing(Generic[R]):
    """A list that a server keeps: `async for` gives its entries, `pages` its pages. Each walk begins anew.

    Args:
        fetch: asks for the page with a token; the first one's is empty, or where the caller wants to begin.
        first: that one.
    """

    def __init__(self, fetch: Callable[[str], Awaitable[Page[R]]], first: str = "") -> None:
        self._fetch, self._first = fetch, first

    async def __aiter__(self) -> AsyncGenerator[R]:
        """Every entry; raises StigmerError where a page cannot be had."""
        async for page in self.pages():
            for entry in page.entries:
                yield entry

    async def pages(self) -> AsyncGenerator[Page[R]]:
        """Every page; raises StigmerError where one cannot be had."""
        token = self._first
        while True:
            page = await self._fetch(token)
            yield page
            token = page.next_page_token
            if not token:
                return
