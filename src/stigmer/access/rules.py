"""What callers may do: which roles a method is for, by what its options in the protos ask for.

Roles have permissions on kinds. Which permission a method asks for stands in its option, or follows from what its
service is about; no method is looked up by its path. `edge` refuses calls by it before the request is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from stigmer.errors import PermissionDenied
from stigmer.wire import descriptors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stigmer.access.principal import Principal, Role
    from stigmer.wire.descriptors import Authorization, Method

PLATFORM: Final = "platform"
"""The kind of the platform itself; there is but one."""
PLATFORM_ID: Final = "stigmer"
ORGANIZATION: Final = "organization"

_ORG = "metadata.org"
_ORGANIZATION_SCOPES = (0, 2)  # of ApiResourceOwnerScope: unset, and organization

ADMINS: Final[frozenset[Role]] = frozenset({"admin"})
RUNNERS: Final[frozenset[Role]] = frozenset({"runner", "admin"})
EDITORS: Final[frozenset[Role]] = frozenset({"editor", "admin"})
EVERY_ROLE: Final[frozenset[Role]] = frozenset({"reader", "runner", "editor", "admin"})

_MAKING = ("create", "can_create_agent", "can_create_instance", "can_create_session", "can_create_skill")
_PERMISSIONS: Mapping[str, frozenset[Role]] = {
    "can_view": EVERY_ROLE,
    **dict.fromkeys((*_MAKING, "can_create_workflow", "can_edit", "can_delete"), EDITORS),
    **dict.fromkeys(("can_execute", "can_create_execution_in"), RUNNERS | EDITORS),
    "operator": RUNNERS,
}
"""The roles that have a permission, whatever the kind; all others are for admins."""
_USES = ("can_view", "can_view_access", "can_execute", "can_create_execution_in", "can_create_instance")
_OF_RUNNERS = {("create", "agent_execution"), ("can_edit", "agent_execution"), ("can_edit", "session")}
"""What runners may write: the executions that they run, and what these belong to."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Who may call a method.

    Attributes:
        permission: what it asks for, by the name in ApiResourceIamPermission; empty where it asks for nothing.
        kind: the enum name of the kind on which; empty likewise.
        roles: those that have it.
        field_path: the path of the request's field with the id of the resource; for what is to be made, with the name
            of its organization. Empty where the request names none.
        resource_id: the id, where it is always the same one.
        is_list: whether the reply is a page of resources; which ones, organizations alone decide.
        told: what a refused caller is told; empty for the default.
        of_all: whether only principals of all organizations have the permission.
    """

    permission: str
    kind: str
    roles: frozenset[Role]
    field_path: str = ""
    resource_id: str = ""
    is_list: bool = False
    told: str = ""
    of_all: bool = False

    def check(self, principal: Principal) -> None:
        """Refuse a principal that has not one of the roles, or is not of all organizations where it has to be.

        Raises:
            PermissionDenied: names the permission, the kind, and the roles that have it; nothing of what there is.
        """
        if principal.role in self.roles and (principal.is_of_all or not self.of_all):
            return
        who, has = f"the role {principal.role}", " or ".join(sorted(self.roles))
        if self.of_all:
            who, has = principal.caller.name, f"{has} of all organizations (*)"
        by_default = (
            f"{who} does not have the permission {self.permission} on {self.kind}: "
            f"call with credentials of one that has it, {has}"
        )
        raise PermissionDenied(self.told or by_default, permission=self.permission, kind=self.kind)

    def id_in(self, wire: Any, principal: Principal) -> str | None:  # noqa: ANN401 - each method has its own request
        """The id that a request, as the C runtime has it, asks the permission on; None where it names none.

        What is to be made without an organization gets the principal's, where it is of one alone.
        """
        named: str = attrgetter(self.field_path)(wire) if self.field_path else self.resource_id
        if not named and self.field_path == _ORG and wire.metadata.owner_scope in _ORGANIZATION_SCOPES:
            named = principal.only_organization
        return named or None


ANY_ROLE: Final = Decision("", "", EVERY_ROLE)
"""Whoever may call at all may call this."""


def roles_of(permission: str, kind: str) -> frozenset[Role]:
    """The roles that have a permission on resources of a kind; both by their names in the enums."""
    guarded = _guarded_kinds().get(kind)
    if guarded is not None:
        return roles_of(guarded.permission, guarded.resource_kind)
    roles = _PERMISSIONS.get(permission, ADMINS)
    return roles | RUNNERS if (permission, kind) in _OF_RUNNERS else roles


def is_of_all(permission: str, kind: str) -> bool:
    """Whether only principals of all organizations have the permission: it is over the platform, and for admins."""
    return kind == PLATFORM and roles_of(permission, kind) == ADMINS


def holds(principal: Principal, permission: str, kind: str) -> bool:
    """Whether a principal has a permission on resources of a kind, as far as role and organizations say."""
    return principal.role in roles_of(permission, kind) and (principal.is_of_all or not is_of_all(permission, kind))


def is_of_organization(permission: str, kind: str) -> bool:
    """Whether the id that the permission is asked on is the name of an organization: something is made in it."""
    return permission == "create" or kind == ORGANIZATION


def changes(permission: str) -> bool:
    """Whether whoever has the permission changes the resource itself, so that to see it is not enough."""
    return permission not in _USES


def decision_of(method: Method) -> Decision:
    """Who may call a method.

    Without an option of its own, a method of a kind that the platform guards asks for what create does there; create
    and apply ask for `create` on their kind, what a query service has for `can_view`.

    Raises:
        TypeError: the protos do not say: give the method an option `config` or `is_skip_authorization`.
    """
    asked, kind = method.authorization, method.kind
    if asked is None and kind is not None:
        asked = _guarded_kinds().get(kind.enum_name)
    if asked is not None:
        return _asking(method, asked)
    if method.is_public or method.skip_authorization:
        return ANY_ROLE
    if kind is not None and method.name in ("create", "apply"):
        return Decision("create", kind.enum_name, roles_of("create", kind.enum_name), _ORG)
    if kind is not None and method.service.endswith("QueryController"):
        is_list = method.reply.rpartition(".")[2] != kind.name
        return Decision("can_view", kind.enum_name, roles_of("can_view", kind.enum_name), is_list=is_list)
    raise _undecided(method, "it has neither the option `config` nor `is_skip_authorization`")


def _asking(method: Method, asked: Authorization) -> Decision:
    if asked.permission in ("", "unspecified") or asked.permission.isdigit():
        raise _undecided(method, f"it asks for the permission {asked.permission!r}, which is none")
    if not asked.resource_kind or asked.resource_kind_path:
        raise _undecided(method, "its option does not name the kind")
    if asked.field_path:
        _check_path(method, asked.field_path)
    roles = roles_of(asked.permission, asked.resource_kind)
    found = (asked.field_path, asked.resource_id)
    of_all = is_of_all(asked.permission, asked.resource_kind)
    return Decision(asked.permission, asked.resource_kind, roles, *found, told=asked.error_msg, of_all=of_all)


def _check_path(method: Method, path: str) -> None:
    """Raises TypeError where the request has no text at that path."""
    try:
        found = attrgetter(path)(descriptors.message_class(method.request)())
    except AttributeError as error:
        raise _undecided(method, f"its request has no field {path}") from error
    if not isinstance(found, str):
        raise _undecided(method, f"the field {path} of its request is no text")


def _undecided(method: Method, why: str) -> TypeError:
    return TypeError(f"nothing says who may call {method.path}: {why}")


@cache
def _guarded_kinds() -> Mapping[str, Authorization]:
    """The kinds whose create asks for a permission on the platform, and what it asks for there."""
    return {
        method.kind.enum_name: method.authorization
        for method in descriptors.methods().values()
        if method.name == "create" and method.kind is not None and method.authorization is not None
        if method.authorization.resource_kind == PLATFORM
    }
