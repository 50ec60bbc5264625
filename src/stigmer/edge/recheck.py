"""Whether a stream that is open may go on: a credential may have ended, or its role and organizations changed.

`running` asks every few seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stigmer.access.principal import Principal
from stigmer.errors import PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stigmer.access.gate import Gate
    from stigmer.access.rules import Decision
    from stigmer.errors import StigmerError
    from stigmer.pipeline.call import Call


class Recheck:
    """Looks at streams again.

    Args:
        gate: knows whose credential is good still.
        decisions: who may call each method, by its path.
    """

    def __init__(self, gate: Gate, decisions: Mapping[str, Decision]) -> None:
        self._gate, self._decisions = gate, decisions

    def __call__(self, call: Call) -> StigmerError | None:
        """Why the stream is to end; None lets it go on."""
        identity = call.identity
        if identity is None:
            return None
        principal = self._gate.still(identity)
        if principal is identity.principal or principal == identity.principal:
            return None
        if not isinstance(principal, Principal):
            return principal
        decision = self._decisions[call.method.path]
        try:
            decision.check(principal)
        except PermissionDenied as error:
            return error
        if call.owner is None or principal.sees(call.owner):
            return None
        return PermissionDenied(
            "what the stream follows is not in an organization of the caller any more",
            permission=decision.permission,
            kind=decision.kind,
        )
