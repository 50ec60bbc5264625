"""One call, from its arrival to its reply: what travels beside the request.

`edge` makes one for each call and puts it in CURRENT; interceptors, steps and downstream clients read it there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, cast

from multidict import MultiDict

from stigmer.access.principal import INTERNAL, LOCAL, internal_for
from stigmer.telemetry import current

if TYPE_CHECKING:
    from contextvars import ContextVar

    from opentelemetry.trace import Span

    from stigmer.access.credentials import Identity
    from stigmer.access.principal import Owner, Principal
    from stigmer.errors import StigmerError
    from stigmer.store.contract import Store
    from stigmer.store.transaction import Transaction
    from stigmer.telemetry.current import Room
    from stigmer.wire.descriptors import KindMeta, Method


class Terms(NamedTuple):
    """What goes along with the request of a call made in this process.

    Attributes:
        metadata: as the other side gets it.
        deadline_s: on the clock of `time.monotonic`; None is never.
        principal: who calls; None leaves it to the call within which this one is made.
    """

    metadata: MultiDict[str | bytes]
    deadline_s: float | None
    principal: Principal | None


class Once(NamedTuple):
    """What a call is recognized by that is to be done once.

    Attributes:
        key: the caller's idempotency key.
        fingerprint: 32 bytes that tell its request from others; in memory alone.
    """

    key: str
    fingerprint: bytes


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
        parent: the call that made this one, over the loopback; None for outermost calls.
        request_id: names the call in logs, and the calls that it makes downstream.
        principal: who calls.
        identity: how that is known, of a call with credentials; None for others.
        transaction: the transaction of the current run, or of the last one; None for streams, and before there is one.
        attempt: the number of the current run, from 1.
        ended_by: why the server ended it before its time; None where it did not.
        request_bytes: how long the request was as it came; 0 where nobody has said so.
        resource_id: the id of the resource concerned, once it is known; for the log.
        owner: whose resource a stream follows, once it is known.
        span: its span in the trace; None where nobody traces.
        sent: how many replies a stream has given.
        dry_run: whether nothing of it is kept: it is tried, checked and answered as if it were done.
        once: of a call with an idempotency key, where that counts: what tells it from others.
    """

    method: Method
    metadata: MultiDict[str | bytes] = field(default_factory=MultiDict[str | bytes])
    deadline_s: float | None = None
    peer: str = "loopback"
    store: Store | None = None
    room: Room | None = None
    parent: Call | None = None
    request_id: str = ""
    principal: Principal = LOCAL
    identity: Identity | None = None
    transaction: Transaction | None = None
    attempt: int = 1
    ended_by: StigmerError | None = None
    request_bytes: int = 0
    resource_id: str = ""
    owner: Owner | None = None
    span: Span | None = None
    sent: int = 0
    dry_run: bool = False
    once: Once | None = None

    @property
    def kind(self) -> KindMeta | None:
        """The kind that the service is about; None for services that no kind declares, such as health."""
        return self.method.kind

    @property
    def actor(self) -> str:
        """What audit fields call the principal, or whom it acts for."""
        return self.principal.caller.name

    @property
    def is_first_of_its_principal(self) -> bool:
        """Whether nobody has asked yet what its principal may do: it is made within no call of the same one.

        What the server calls downstream is part of the call that caused it.
        """
        if self.principal.on_behalf_of is not None:
            return False
        return self.parent is None or self.parent.principal != self.principal

    @property
    def ended(self) -> bool:
        """Whether its run is over; a task that it started may go on."""
        return self.transaction is not None and self.transaction.ended

    @property
    def outermost(self) -> Call:
        """The call that caused this one, directly or not; itself, where none did."""
        outermost = self
        while outermost.parent is not None:
            outermost = outermost.parent
        return outermost

    @classmethod
    def within(cls, around: Call | None, store: Store, method: Method, terms: Terms) -> Call:
        """A call made in this process, within the call `around`: it inherits request id, principal and deadline.

        The deadline only while that one runs: it says nothing to a task that outlives it. A principal of its own goes
        before an inherited one; INTERNAL acts for that, and hands itself on to no other call. Within a call of another
        control plane it is an outermost one.
        """
        parent = around if around is not None and around.store is store else None
        call = cls(method, terms.metadata, terms.deadline_s, store=store, parent=parent)
        if parent is not None:
            call.request_id, call.principal = parent.request_id, parent.principal.caller
            call.dry_run = parent.dry_run
            limits = (terms.deadline_s, None if parent.ended else parent.deadline_s)
            call.deadline_s = min((limit for limit in limits if limit is not None), default=None)
        if terms.principal is INTERNAL:
            call.principal = internal_for(call.principal)
        elif terms.principal is not None:
            call.principal = terms.principal
        return call


CURRENT = cast("ContextVar[Call | None]", current.CURRENT)
"""The call that the running task works on."""


class working_on:  # noqa: N801 - a context manager, used like a function
    """The call is the current one. Not to be held across a yield of a generator, which has its reader's context."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        self._token = CURRENT.set(self._call)

    def __exit__(self, _kind: object, _error: object, _trace: object) -> None:
        CURRENT.reset(self._token)
