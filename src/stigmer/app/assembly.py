"""The services on a store: the door, the kinds behind it, what they ask of each other. `app` makes a plane of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import stigmer
from stigmer.access.authorizer import Policy
from stigmer.access.principal import INTERNAL
from stigmer.access.quotas import Quotas
from stigmer.downstream import ResourceClient, SessionClient
from stigmer.edge.door import Edge
from stigmer.handlers import HANDLERS, SERVED
from stigmer.pipeline.context_expiry import ContextExpiry, Means
from stigmer.pipeline.ids import IdSource
from stigmer.pipeline.older_executions import OlderExecutions
from stigmer.pipeline.runtime import About, Client, Runtime, Sizes
from stigmer.pipeline.sealing_keys import SealingKeys
from stigmer.pipeline.unit_of_work import UnitOfWork
from stigmer.pipeline.uses import DAY_S
from stigmer.store.measuring import measure
from stigmer.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stigmer.access.authorizer import Authorizer
    from stigmer.access.credentials import Authenticator
    from stigmer.access.gate import Gate
    from stigmer.access.quotas import Quota
    from stigmer.edge.interceptors import Interceptor
    from stigmer.edge.loopback import LoopbackChannel
    from stigmer.pipeline.audit.trail import Trail
    from stigmer.secrets.key_service import KeyService
    from stigmer.secrets.sealing import KeyWrapper
    from stigmer.store.contract import Store


FEATURES = ("dry-run", "idempotency")
"""What this version has that others may lack."""


@dataclass(frozen=True)
class App:
    """A control plane that runs, with no port yet.

    Attributes:
        store: its resources.
        sealing: the keys of their secrets; to be opened after the store.
        older: moves what executions of an older version held.
        trail: the audit's records of calls.
        edge: the door to its services.
        loopback: a channel for generated stubs in this process.
        metrics: what it measures; docs/metrics.md lists it.
        unit_of_work: runs the calls; wait for it to be `settled` before the store is closed.
        expiry: ends execution contexts, each time that it is asked to.
    """

    store: Store
    sealing: SealingKeys
    older: OlderExecutions
    trail: Trail
    edge: Edge
    loopback: LoopbackChannel
    metrics: Metrics
    unit_of_work: UnitOfWork
    expiry: ContextExpiry


class Own(NamedTuple):
    """What a host adds of its own.

    Attributes:
        interceptors: inside the built-in ones, next to the handlers.
        authenticators: they are asked before those of the settings.
        authorizer: it narrows what callers may do.
        key_service: wraps the keys of secrets, in place of a keyring.
    """

    interceptors: Sequence[Interceptor] = ()
    authenticators: Sequence[Authenticator] = ()
    authorizer: Authorizer | None = None
    key_service: KeyService | None = None


def assemble(  # noqa: PLR0913 - all that is wired
    store: Store,
    own: Own | None = None,
    sizes: Sizes | None = None,
    metrics: Metrics | None = None,
    *,
    keys: KeyWrapper | None = None,
    gate: Gate | None = None,
    quota: Quota | None = None,
    features: Sequence[str] = (),
    context_ttl_s: float = DAY_S,
) -> App:
    """Wire the services on a store.

    Args:
        store: of the resources; open before the first call.
        own: what the host adds; the gate has its authenticators.
        sizes: how much a caller may ask for.
        metrics: where what is measured is kept.
        keys: what secrets are sealed under; a keyring in memory where nothing else is given.
        gate: knows who calls; None lets those in that are on this machine.
        quota: of each principal.
        features: what callers are told that this server has, beside an authorizer.
        context_ttl_s: how long an ExecutionContext lives after its last use.
    """
    own, metrics = own or Own(), metrics or Metrics()
    ids, clients = IdSource(), dict[str, Client]()
    kinds = {handler.kind.name: handler.kind for handler in HANDLERS}
    sealing = SealingKeys(store, kinds, keys)
    features = (*features, *FEATURES, *(["authorizer"] if own.authorizer else ()))
    about = About(stigmer.__version__, tuple(sorted(features)))
    runtime = Runtime(
        store,
        UnitOfWork(store),
        kinds,
        ids,
        clients,
        sealing,
        sizes or Sizes(),
        policy=Policy(own.authorizer),
        quotas=Quotas(quota),
        about=about,
        context_ttl_s=context_ttl_s,
    )
    endpoints = [endpoint for one in SERVED for endpoint in one.bind(runtime)]
    edge = Edge(endpoints, ids, own.interceptors, metrics.call, gate)
    internal = edge.channel(INTERNAL)
    clients["Session"] = SessionClient(internal)
    for kind in ("Agent", "AgentInstance", "ExecutionContext"):
        clients[kind] = ResourceClient[Any](kind, internal)
    measure(store, kinds, metrics)
    of_method = {(one.kind.name, one.method.name): one for one in endpoints if one.kind is not None}
    means = Means(of_method["AgentExecution", "updateStatus"], of_method["ExecutionContext", "delete"])
    expiry = ContextExpiry(runtime, means, metrics.context_ended)
    older = OlderExecutions(of_method["ExecutionContext", "create"])
    return App(store, sealing, older, runtime.trail, edge, edge.channel(), metrics, runtime.unit_of_work, expiry)
