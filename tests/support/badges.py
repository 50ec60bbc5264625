"""An authenticator that tests steer: callers show a badge, `x-badge: NAME`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stigmer.access.credentials import Identity
from stigmer.access.principal import Principal, Role
from stigmer.errors import Unauthenticated

if TYPE_CHECKING:
    from stigmer.access.credentials import Credentials

HEADER = "x-badge"


class Badges:
    """Knows those that it was told of, as long as it is.

    Attributes:
        holders: by what stands on the badge.
        asked: how often somebody was looked up.
        fault: what `still` raises in place of an answer.
    """

    takes, headers = "badge", (HEADER,)

    def __init__(self, *names: str) -> None:
        self.holders: dict[str, Principal] = {}
        self.asked = 0
        self.fault: Exception | None = None
        for name in names:
            self.let(name)

    def let(self, name: str, role: Role = "editor", *organizations: str) -> Principal:
        """Have a badge of that name stand for an editor of `acme`, or for what is given."""
        self.holders[name] = principal = Principal(name, role, frozenset(organizations or ("acme",)))
        return principal

    async def authenticate(self, credentials: Credentials) -> Identity | None:
        self.asked += 1
        shown = credentials.metadata.getall(HEADER, ())
        if not shown:
            return None
        (name,) = shown
        return Identity(self._holder(str(name)), lambda: self._holder(str(name)))

    def _holder(self, name: str) -> Principal:
        if self.fault is not None:
            raise self.fault
        if name not in self.holders:
            raise Unauthenticated("nobody has such a badge")
        return self.holders[name]
