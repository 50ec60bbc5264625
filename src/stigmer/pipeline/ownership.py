"""Whose resources a call may write, on what they rely, and what a refused caller is told: what it sent itself alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stigmer.access.principal import PLATFORM, internal_for, organization, organization_of
from stigmer.access.rules import decision_of
from stigmer.errors import FailedPrecondition, PermissionDenied, clip

if TYPE_CHECKING:
    from stigmer.access.principal import Owner, Principal
    from stigmer.pipeline.call import Call
    from stigmer.pipeline.kind import Kind
    from stigmer.store.rows import Row
    from stigmer.store.transaction import Transaction


def check_write(call: Call, owner: Owner, org: str = "", *, by_server: bool = False) -> None:
    """Refuse to make, change or delete what is not the caller's.

    Args:
        call: the call that would.
        owner: of the resource.
        org: the organization that a new resource names, whoever owns it.
        by_server: whether the server does it for the caller, as in its own calls.

    Raises:
        PermissionDenied: it is not the caller's to write.
    """
    principal = internal_for(call.principal) if by_server else call.principal
    if not principal.may_write(owner):
        raise _denied(call, _why(owner, principal))
    if org and owner != PLATFORM and not principal.sees(organization(org)):
        raise _denied(call, _why(organization(org), principal))


def rely_on(tx: Transaction, kind: Kind[Any], parent: Row) -> None:
    """Have what a new resource belongs to, a row of the kind, be there at commit, and not have ended.

    Raises:
        FailedPrecondition: it has ended.
    """
    if kind.ending is None:
        tx.require(parent.kind, parent.id)
        return
    if ended := kind.ended_with(parent):
        message = f"{parent.kind} {parent.id} has ended with {ended}: nothing more can be made that belongs to it"
        raise FailedPrecondition(message, type_="TERMINAL_PHASE", subject=parent.id)
    tx.require_unchanged(parent)


def _denied(call: Call, why: str) -> PermissionDenied:
    decision = decision_of(call.method)
    message = f"{decision.permission} on {decision.kind}: {why}"
    return PermissionDenied(message, permission=decision.permission, kind=decision.kind)


def _why(owner: Owner, principal: Principal) -> str:
    if owner == PLATFORM:
        return "what belongs to the platform is for admins of all organizations to write"
    name, org = principal.caller.name, organization_of(owner)
    yours = clip(", ".join(sorted(principal.caller.organizations)))
    if not yours:
        return f"{name} is of no organization: call with credentials of one that is"
    if org:
        return f"{name} is not of the organization '{clip(org)}': use one of its own, {yours}"
    return (
        "what belongs to no organization is for callers of all of them: name one of your own in metadata.org"
        f" ({yours}), or for what belongs to another resource, one that you can get"
    )
