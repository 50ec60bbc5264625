"""Which claims of a verified JWT say who calls: name, role and organizations. `jwt` asks it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from stigmer.access.principal import CERTIFICATES, RESERVED, ROLES, Principal, Role
from stigmer.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_CHARS = 1024
"""The longest name of a caller or an organization."""
_BETWEEN = re.compile(r"[\s,]+")


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Where the parts of a principal are found. A claim within others is named with dots: `realm_access.roles`.

    Attributes:
        name: the claim with the caller's name.
        role: the claim with its role, or with several, of which the one that may do the most counts; None for no claim.
        organizations: the claim with its organizations, a list or a text with spaces or commas; None for no claim.
        name_prefix: comes before each name, so that it is no other authenticator's.
        default_role: of those whose token gives none; None where those are nobody.
    """

    name: str = "sub"
    role: str | None = None
    organizations: str | None = None
    name_prefix: str = "oidc:"
    default_role: Role | None = None

    def principal(self, claims: Mapping[str, Any]) -> Principal:
        """Who calls. Raises Unauthenticated, which names the claim that does not say it."""
        return Principal(self._name(claims), self._role(claims), frozenset(_words(claims, self.organizations)))

    def _name(self, claims: Mapping[str, Any]) -> str:
        found = _claim(claims, self.name)
        if not isinstance(found, str) or not _is_fit(found):
            raise Unauthenticated(f"the JWT names nobody: its claim '{self.name}' has to be a text, without line ends")
        if self.name == "email" and claims.get("email_verified", True) is not True:
            raise Unauthenticated("the JWT's email is not verified: have the issuer verify it")
        name = self.name_prefix + found
        if name in RESERVED or name.startswith(CERTIFICATES):
            raise Unauthenticated(f"the JWT has a name that is the server's own: change its claim '{self.name}'")
        return name

    def _role(self, claims: Mapping[str, Any]) -> Role:
        words = _words(claims, self.role)
        for role in reversed(ROLES):
            if role in words:
                return role
        if self.default_role is None:
            raise Unauthenticated(
                f"the JWT gives no role: its claim '{self.role}' has to hold one of {', '.join(ROLES)}"
            )
        return self.default_role


def _claim(claims: object, name: str) -> object:
    """The claim of that name, else one within another, whose names are joined with a dot; None where there is none."""
    if not isinstance(claims, dict):
        return None
    table = cast("dict[str, object]", claims)
    parts = name.split(".")
    within = ((table.get(".".join(parts[:at])), ".".join(parts[at:])) for at in range(1, len(parts)))
    found = (table.get(name), *(_claim(inner, rest) for inner, rest in within))
    return next((one for one in found if one is not None), None)


def _words(claims: Mapping[str, Any], name: str | None) -> list[str]:
    """The texts of a list, or the words of a text; nothing where there is neither."""
    found = None if name is None else _claim(claims, name)
    entries = _BETWEEN.split(found) if isinstance(found, str) else found
    if not isinstance(entries, list):
        return []
    return [entry for entry in cast("list[object]", entries) if isinstance(entry, str) and _is_fit(entry)]


def _is_fit(text: str) -> bool:
    """Whether a name can be this text; the empty one would be that of what belongs to callers of all organizations."""
    return 0 < len(text) <= MOST_CHARS and text.isprintable() and not text.isspace()
