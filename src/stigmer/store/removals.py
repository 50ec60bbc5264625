"""The audit's record of each row with sealed values that goes, made at the commit, which alone knows of all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from stigmer.access.principal import organization_of
from stigmer.secrets.audit import LOG, names_in
from stigmer.store.changes import AppendForRemoved

if TYPE_CHECKING:
    from collections.abc import Callable

    from stigmer.secrets.audit import Event
    from stigmer.store.rows import Key, Row


def removed_by(event: Event, before: Callable[[Key], Event | None] = lambda _key: None) -> AppendForRemoved:
    """For `Changes.removed`: a record of the event for each row that goes, with its kind, id, organization and keys.

    Args:
        event: who deletes, or lets expire, and why.
        before: what the same transaction tells of a row already; both are one record.
    """

    def value(row: Row, sealed: bytes | None) -> bytes:
        told = replace(event, kind=row.kind, id=row.id, org=organization_of(row.owner), keys=names_in(sealed))
        known = before((row.kind, row.id))
        return (known.joined(told) if known is not None else told).encoded()

    return AppendForRemoved(LOG, value)
