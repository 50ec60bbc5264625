"""The store's contract: what every backend offers and promises. Each must pass `tests/store/test_every_store_*`.

`transaction` stages writes above a backend. `sqlite` keeps a database in a directory, `memory` a dictionary in this
process; nothing else may rely on one process owning what is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stigmer.access.principal import Owners
    from stigmer.store.changes import Change, Changes
    from stigmer.store.feed import ChangeFeed
    from stigmer.store.rows import LogEntry, Page, Query, Record, Row, Use, Window


class Store(Protocol):
    """What every backend offers. All methods may be called from many tasks at once, on one event loop.

    Reads see the last commit. Every method raises StoreUnavailableError where the store cannot answer, and DamagedError
    where what it would answer with is not what was written.
    """

    @property
    def feed(self) -> ChangeFeed:
        """Committed changes in commit order, maybe some time after the commit was acknowledged.

        It is shut before the store closes, so that no subscription waits for what cannot come.
        """
        ...

    def secret(self, name: str) -> bytes:
        """32 bytes that belong to the name in this database alone: random, the same for its whole life, told nobody.

        Only while the store is open.
        """
        ...

    async def now_ms(self) -> int:
        """The store's own clock: milliseconds since 1970. Leases and expiries count by it, in every replica."""
        ...

    async def get(self, kind: str, id_: str, owners: Owners | None = None) -> Row | None:
        """The row with that id, where one of the owners has it; None is everybody's.

        What others have is looked for neither shorter nor longer than what nobody has.
        """
        ...

    async def by_slug(self, kind: str, slug: str, namespace: str, owners: Owners | None = None) -> Row | None:
        """The row that holds the slug in the namespace; of the owners as `get`."""
        ...

    async def by_slug_anywhere(
        self, kind: str, slug: str, owners: Owners | None = None, limit: int = 2
    ) -> Sequence[Row]:
        """At most `limit` rows of the owners that hold the slug, by namespace: the empty one comes first.

        None is everybody's; what others hold costs nothing.
        """
        ...

    async def page(self, query: Query, window: Window) -> Page:
        """The query's rows within the window, read as of one commit."""
        ...

    async def intact(self, kind: str, before: int | None, limit: int) -> tuple[Sequence[Row], int | None]:
        """Of `limit` rows of the kind, the newest before a sequence, those that are not damaged; for upgrades.

        With it goes the sequence before which the next ones are, None where there are none.
        """
        ...

    async def newest(self, kind: str, field: str, value: str) -> Row | None:
        """The newest row of the kind whose `field` holds the value; it does not wait for pages that are read."""
        ...

    async def holders(self, kind: str, field: str, values: Iterable[str]) -> Sequence[str]:
        """The ids of the kind's rows whose `field` holds one of the values, each once, read as of one commit."""
        ...

    async def record(self, table: str, key: str) -> Record | None:
        """The record under that key."""
        ...

    async def records(self, table: str, prefix: str = "", after: str = "", limit: int = 1000) -> Sequence[Record]:
        """At most `limit` records whose keys begin with `prefix` and are greater than `after`, by rising key."""
        ...

    async def log(self, name: str, after: int = 0, limit: int = 1000) -> Sequence[LogEntry]:
        """At most `limit` entries of a log whose numbers are greater than `after`, by rising number.

        Each is linked to the one before; what the first one that is left is linked to may be gone (`Trim`).
        """
        ...

    async def last_entry(self, name: str) -> LogEntry | None:
        """The newest entry of a log."""
        ...

    async def unused(self, since_ms: int, after: Use | None = None, limit: int = 100) -> Sequence[Use]:
        """At most `limit` rows that expire and have not been used after a time: of each its last use, in their order.

        With `after`, those that come after that one.
        """
        ...

    async def commit(self, changes: Changes, *, dry_run: bool = False) -> Sequence[Change]:
        """Write all of it durably, or nothing.

        Cancelled before the hand-over to the writer, nothing is written; cancelled later, all or nothing is.

        Args:
            changes: the transaction.
            dry_run: apply and check it, and roll it back: nothing is kept, the feed tells nothing.

        Returns:
            the changes of rows in the order of the feed, cascaded ones included.

        Raises:
            ConflictError: a revision, a unique key or a required row is not as expected.
        """
        ...

    async def size_bytes(self) -> int:
        """How much it takes on disk, or in memory where it is kept there."""
        ...

    async def maintain(self) -> None:
        """Do what need not be done at once, such as giving space back; the plane asks for it from time to time.

        It holds up no call for long, and may leave it for the next time.
        """
        ...

    async def compact(self) -> None:
        """Write all that is stored anew, so that nothing is left of what is deleted; nobody else uses it meanwhile."""
        ...

    async def probe(self) -> None:
        """Answer, or raise StoreUnavailableError: for health checks."""
        ...
