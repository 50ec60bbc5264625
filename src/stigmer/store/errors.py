"""What a store says went wrong. `edge` turns these into the codes that callers see."""

from __future__ import annotations


class StoreError(Exception):
    """What a store says went wrong."""


class ConflictError(StoreError):
    """A precondition of a commit failed; nothing of that transaction was written.

    Attributes:
        key: what was contended for, a hashable that equal conflicts share. Losers queue for it.
    """

    def __init__(self, key: tuple[str, ...]) -> None:
        super().__init__(f"changed by another transaction: {'/'.join(key)}")
        self.key = key


class StoreUnavailableError(StoreError):
    """The store cannot answer now (closed, disk full, I/O error); a later try may pass."""


class DamagedError(StoreError):
    """What is stored is not what was written: the disk, or another program, changed it. No later try will pass.

    Attributes:
        kind: of the row that cannot be read; the table, where it is a record or a log.
        id: of that row; empty where the damage hides which one it is.
    """

    def __init__(self, kind: str, id_: str, reason: str) -> None:
        super().__init__(f"{kind or 'a row'} {id_ or '(unknown)'} is damaged in the database file: {reason}")
        self.kind, self.id = kind, id_


class TooManySubscriptionsError(StoreError):
    """As many subscriptions as allowed are open."""


class RevisionTooOldError(StoreError):
    """The change feed no longer has all that came after the revision: read the state anew, and follow from there.

    Attributes:
        oldest: the oldest revision that a subscription may resume from.
    """

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(f"the changes after revision {revision} are gone: the oldest to resume from is {oldest}")
        self.oldest = oldest
