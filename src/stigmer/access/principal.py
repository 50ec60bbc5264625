"""Principals, owners of resources, and which principal sees and writes what.

An owner is a text, as a row of the store keeps it: what it is compared with, and what lists are found by.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias, get_args

Role: TypeAlias = Literal["reader", "runner", "editor", "admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
"""From the one that may do the least to the one that may do all."""

ALL: Final = "*"
"""In place of an organization: all of them."""
_SEEING_ALL = frozenset({"admin", "runner"})  # of ALL, who sees what belongs to single callers as well
SYSTEM: Final = "system"
"""The actor of what the server does by itself, in its jobs."""

PLATFORM: Final = "platform"
"""The owner of what is everybody's to read."""
SHARED: Final = "shared"
"""What lists find all rows by that no single caller owns: those of the platform and of every organization."""

PERSONAL: Final = "\x1f"
"""What the namespaces of single callers' slugs begin with: they are together, the empty namespace before them."""
_ESCAPE = "\x1e"
_ORGANIZATION, _IDENTITY = "organization", "identity_account"

Owner: TypeAlias = str
"""PLATFORM, `organization:NAME`, or `identity_account:NAME`."""
Owners: TypeAlias = tuple[Owner, ...]
"""Several of them, SHARED in place of all but single callers; each stands there once."""


def organization(name: str) -> Owner:
    """The owner of what belongs to an organization; the empty one belongs to principals of all organizations."""
    return f"{_ORGANIZATION}:{name}"


def identity(name: str) -> Owner:
    """The owner of what belongs to one caller."""
    return f"{_IDENTITY}:{name}"


def organization_of(owner: Owner) -> str:
    """The organization that an owner is; empty where it is none."""
    scope, _, name = owner.partition(":")
    return name if scope == _ORGANIZATION else ""


def namespace(org: str, owner: Owner) -> str:
    """Where the slug of a resource is unique: in its organization, a caller's own ones apart from all others.

    No organization's begins with PERSONAL, whatever its name: else who may write in any could claim callers' own slugs.

    Args:
        org: as the resource's metadata names it.
        owner: of the resource.
    """
    scope, _, name = owner.partition(":")
    if scope == _IDENTITY:
        return f"{PERSONAL}{name}{PERSONAL}{org}"
    return f"{_ESCAPE}{org}" if org.startswith((PERSONAL, _ESCAPE)) else org


def finding(owner: Owner) -> Owners:
    """Whose rows a row of the owner is listed as: the owner's, and SHARED ones unless a single caller owns it."""
    return (owner,) if owner.startswith(f"{_IDENTITY}:") else (owner, SHARED)


def includes(owners: Owners | None, owner: Owner) -> bool:
    """Whether the owner is one of them; of None, which is everybody, each is."""
    return owners is None or not set(finding(owner)).isdisjoint(owners)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls.

    Attributes:
        name: of a person, a service, or this server itself.
        role: what it may do.
        organizations: those whose resources it may reach; `*` is all of them.
        on_behalf_of: whose call has the server make this one; None for calls that nobody else has caused.
    """

    name: str
    role: Role
    organizations: frozenset[str]
    on_behalf_of: Principal | None = None

    @property
    def caller(self) -> Principal:
        """Whom it acts for: itself, where that is nobody else."""
        return self.on_behalf_of or self

    @property
    def is_of_all(self) -> bool:
        """Whether it, or whom it acts for, reaches every organization."""
        return ALL in self.caller.organizations

    @property
    def owners(self) -> Owners | None:
        """Whose resources it sees, SHARED in place of every organization and the platform; None for everybody's."""
        caller = self.caller
        own = identity(caller.name)
        if ALL not in caller.organizations:
            return (PLATFORM, *map(organization, sorted(caller.organizations)), own)
        return None if caller.role in _SEEING_ALL else (SHARED, own)

    @property
    def only_organization(self) -> str:
        """The one organization that it, or whom it acts for, is of; empty where that is none, several or all."""
        organizations = self.caller.organizations
        return next(iter(organizations)) if len(organizations) == 1 and ALL not in organizations else ""

    def sees(self, owner: Owner) -> bool:
        """Whether resources of the owner exist for it; where it acts for somebody, for that one."""
        return includes(self.owners, owner)

    def may_write(self, owner: Owner) -> bool:
        """Whether it may make, change and delete resources of the owner that it sees, as far as its role allows that.

        The platform's are for admins of all organizations. What the server makes for a caller may be the platform's.
        """
        if owner == PLATFORM and self.on_behalf_of is None:
            return self.is_of_all and self.role == "admin"
        return owner == PLATFORM or self.sees(owner)


_ALL = frozenset({ALL})
LOCAL = Principal("local", "admin", _ALL)
"""Who calls where nobody says who it is: any caller on this machine, as long as there are no authenticators."""
INTERNAL = Principal("internal", "admin", _ALL)
"""This server, in the calls that it makes downstream. Only a channel of its own in this process has it."""

SERVER = Principal(SYSTEM, "admin", _ALL)
"""This server, in what it does by itself, in its jobs."""

RESERVED = frozenset({LOCAL.name, INTERNAL.name, SERVER.name})
"""Names that no credential and no host gives to anybody."""
CERTIFICATES: Final = "cert:"
"""What the names of callers begin with that are known by a certificate; no JWT gives such a one."""


def checked(principal: Principal) -> Principal:
    """A principal as somebody else than this server names it: a host, or an authenticator of a host's.

    Raises:
        ValueError: its name is one of RESERVED, that or an organization is empty or unprintable, its role is none, its
            organizations are no frozenset (in a text each part of a name would be one), or it acts for another one.
    """
    name, organizations = principal.name, principal.organizations
    if name in RESERVED:
        raise ValueError(f"no caller can be called {name!r}: {', '.join(sorted(RESERVED))} are the server's own names")
    if not name or not name.isprintable():
        raise ValueError(f"no caller can be called {name!r}: give a name that is not empty and can be printed")
    if principal.role not in ROLES:
        raise ValueError(f"{name} has the role {principal.role!r}: give one of {ROLES}")
    if not isinstance(organizations, frozenset):  # pyright: ignore[reportUnnecessaryIsInstance]  # of a host's own code
        raise ValueError(f"{name} has organizations that are a {type(organizations).__name__}: give a frozenset")  # noqa: TRY004  # as of all that is wrong here
    wrong = sorted(one for one in organizations if not one or not one.isprintable())
    if wrong:
        raise ValueError(f"{name} is of organizations that are none, {wrong}: leave out the empty and the unprintable")
    if principal.on_behalf_of is not None:
        raise ValueError(f"{name} acts for {principal.on_behalf_of.name}: only this server's own calls do")
    return principal


def internal_for(caller: Principal) -> Principal:
    """This server, on behalf of whoever caused the call."""
    return replace(INTERNAL, on_behalf_of=caller.caller)
