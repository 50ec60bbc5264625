"""What a host says of a call beside the rules: its own policy, such as OpenFGA, Cedar or OPA hold it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from stigmer.access.asking import asked, fault_of
from stigmer.errors import PermissionDenied, Unavailable
from stigmer.telemetry.logs import Seldom, get_logger

if TYPE_CHECKING:
    from stigmer.access.principal import Principal
    from stigmer.access.rules import Decision

log = get_logger("stigmer.access.authorizer")

ANSWER_S = 1.0
"""How long an authorizer may take for one answer."""


class Authorizer(Protocol):
    """Says which calls a host's own policy allows, of those that the rules do. It can only narrow.

    It is asked once for each call that somebody makes, after the role and before anything is read; not for what the
    server calls downstream, nor for lists, which organizations alone decide.
    """

    async def check(self, principal: Principal, permission: str, kind: str, id_: str | None, /) -> bool:
        """Whether the principal has the permission; whatever is not True is a no.

        Args:
            principal: who calls.
            permission: by its name in ApiResourceIamPermission, such as `can_edit`.
            kind: by its name in ApiResourceKind, such as `agent`.
            id_: of the resource, which need not exist; for what is to be made, the name of its organization. None
                where the request names none, but a slug.
        """
        ...


class Policy:
    """What a host's authorizer says, where there is one.

    Args:
        authorizer: None allows whatever the rules do.
    """

    def __init__(self, authorizer: Authorizer | None = None) -> None:
        self._authorizer = authorizer
        self._complaints = Seldom()

    def asks_for(self, decision: Decision) -> bool:
        """Whether the authorizer is to be asked for calls of a method."""
        return self._authorizer is not None and bool(decision.permission) and not decision.is_list

    async def check(self, principal: Principal, decision: Decision, id_: str | None) -> None:
        """Refuse a call that it does not allow.

        Raises:
            PermissionDenied: it says no.
            Unavailable: it fails, or says nothing for ANSWER_S.
        """
        if not await self.allows(principal, decision.permission, decision.kind, id_):
            message = (
                f"the policy of this server does not give {principal.name} the permission {decision.permission} on "
                f"{decision.kind}: ask whoever runs it"
            )
            raise PermissionDenied(message, permission=decision.permission, kind=decision.kind)

    async def allows(self, principal: Principal, permission: str, kind: str, id_: str | None) -> bool:
        """Whether it allows that.

        Raises:
            Unavailable: it fails, or says nothing for ANSWER_S.
        """
        if self._authorizer is None:
            return True
        answer = await asked(partial(self._authorizer.check, principal, permission, kind, id_), ANSWER_S)
        if answer is None:
            raise self._fault("The authorizer does not answer")
        error = fault_of(answer)
        if error is not None:
            raise self._fault("The authorizer fails", error)
        return answer.result() is True

    def _fault(self, event: str, error: BaseException | None = None) -> Unavailable:
        if self._complaints.now():
            log.error(event, exc_info=error)
        return Unavailable("whoever decides what callers may do does not answer: try again")
