"""One call, from its arrival to its reply: what travels beside the request.

`edge` makes one for each call and puts it in CURRENT; interceptors, steps and downstream clients read it there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from multidict import MultiDict

from stigmer.telemetry import logs

if TYPE_CHECKING:
    from contextvars import ContextVar

    from stigmer.store.base import Store
    from stigmer.store.transaction import Transaction
    from stigmer.telemetry.logs import Room
    from stigmer.wire.descriptors import KindMeta, Method

SYSTEM = "system"
"""The actor while no caller is known."""


@dataclass(slots=True, eq=False)
class Call:
    """What is known of a call.

    Attributes:
        method: the RPC method, as the protos describe it.
        metadata: what the caller sent beside the request; ASCII values are str, `-bin` values bytes.
        deadline_s: when the caller gives up, on the clock of `time.monotonic`; None is never.
        peer: who calls, `host:port`, or `loopback`.
        store: that of the control plane that serves it; nothing is inherited from a call of another plane.
        room: what it asks before it reads; None for calls that begin in this process.
        parent: the call inside which this one was made over the loopback; None for outermost calls.
        request_id: names the call in logs, and the calls that it makes downstream.
        caller: the actor that audit fields name.
        kind: the kind that the service is about; set by the interceptor of that name.
        transaction: the transaction of the current run, or of the last one; None for streams, and before there is one.
        attempt: the number of the current run, from 1.
        drained: whether the server ended it because it stops.
        resource_id: the id of the resource concerned, once it is known; for the log.
    """

    method: Method
    metadata: MultiDict[str | bytes] = field(default_factory=MultiDict[str | bytes])
    deadline_s: float | None = None
    peer: str = "loopback"
    store: Store | None = None
    room: Room | None = None
    parent: Call | None = None
    request_id: str = ""
    caller: str = SYSTEM
    kind: KindMeta | None = None
    transaction: Transaction | None = None
    attempt: int = 1
    drained: bool = False
    resource_id: str = ""

    @property
    def ended(self) -> bool:
        """Whether its run is over; a task that it started may go on."""
        return self.transaction is not None and self.transaction.sealed

    @property
    def outermost(self) -> Call:
        """The call inside which, at last, this one was made."""
        outermost = self
        while outermost.parent is not None:
            outermost = outermost.parent
        return outermost

    @classmethod
    def within(
        cls,
        around: Call | None,
        store: Store,
        method: Method,
        metadata: MultiDict[str | bytes] | None = None,
        deadline_s: float | None = None,
    ) -> Call:
        """A call made in this process, inside the call `around`: it inherits request id, caller and deadline.

        The deadline only while that one runs: it says nothing to a task that outlives it. Inside a call of another
        control plane it is an outermost one.
        """
        parent = around if around is not None and around.store is store else None
        call = cls(method, MultiDict() if metadata is None else metadata, deadline_s, store=store, parent=parent)
        if parent is not None:
            call.request_id, call.caller = parent.request_id, parent.caller
            limits = (deadline_s, None if parent.ended else parent.deadline_s)
            call.deadline_s = min((limit for limit in limits if limit is not None), default=None)
        return call


CURRENT = cast("ContextVar[Call | None]", logs.CURRENT)
"""The call that the running task works on."""


class working_on:  # noqa: N801 - a context manager, used like a function
    """The call is the current one. Not to be held across a yield of a generator, which has its reader's context."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        self._token = CURRENT.set(self._call)

    def __exit__(self, _kind: object, _error: object, _trace: object) -> None:
        CURRENT.reset(self._token)
