"""A kind's handler: which pipeline serves which RPC, and the generated services made of it.

`handlers/` declares one for each kind; `app` binds them to a runtime and gives the endpoints to `edge`.
"""

from __future__ import annotations

import re
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stigmer.pipeline.call import CURRENT, Call, working_on
from stigmer.pipeline.context import decoded
from stigmer.pipeline.pipeline import Endpoint, Pipeline, StreamStep
from stigmer.wire import descriptors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    import betterproto2

    from stigmer.pipeline.kind import Kind
    from stigmer.pipeline.pipeline import Step
    from stigmer.pipeline.runtime import Runtime
    from stigmer.store.base import Store
    from stigmer.wire.descriptors import Method


@dataclass(frozen=True)
class Handler:
    """What serves a kind.

    Attributes:
        kind: what a resource of the kind is.
        services: the generated base classes, commands and queries.
        rpcs: the steps of each RPC, by its name in the proto.
        streams: what the streaming ones among them end in.
    """

    kind: Kind
    services: tuple[type[Any], ...]
    rpcs: Mapping[str, tuple[Step, ...]]
    streams: Mapping[str, StreamStep] = field(default_factory=dict[str, StreamStep])

    @property
    def pipelines(self) -> dict[str, Pipeline]:
        """The pipeline of each RPC, by its name in the proto."""
        prefix = self.kind.meta.enum_name
        return {rpc: Pipeline(f"{prefix}.{rpc}", steps, self.streams.get(rpc)) for rpc, steps in self.rpcs.items()}

    def bind(self, runtime: Runtime) -> list[Service]:
        """The kind's services on a runtime.

        Raises:
            TypeError: an RPC of the proto has no pipeline, or a pipeline no RPC.
        """
        pipelines = self.pipelines
        services = [_service(base, self.kind, pipelines, runtime) for base in self.services]
        served = {method.name for service in services for method in service.methods.values()}
        if served != set(pipelines):
            raise TypeError(f"{self.kind.name}: the proto has the RPCs {served}, the handler {set(pipelines)}")
        return services


@dataclass(frozen=True)
class Service:
    """One generated service with its pipelines.

    Attributes:
        servicer: an instance of the generated base class; its methods run the pipelines with no interceptors.
        endpoints: what serves each path.
        methods: what the proto says of each path.
    """

    servicer: Any
    endpoints: Mapping[str, Endpoint]
    methods: Mapping[str, Method]

    @property
    def store(self) -> Store:
        """Where its resources are."""
        return next(iter(self.endpoints.values())).runtime.store


def _service(base: type[Any], kind: Kind, pipelines: Mapping[str, Pipeline], runtime: Runtime) -> Service:
    paths = list(base().__mapping__())
    methods = {path: descriptors.methods()[path] for path in paths}
    endpoints = {path: Endpoint(pipelines[method.name], kind, runtime, pipelines) for path, method in methods.items()}
    members = {python_name(method.name): _member(method, endpoints[path]) for path, method in methods.items()}
    servicer = type(base.__name__.removesuffix("Base"), (base,), members)()
    return Service(servicer, endpoints, methods)


def _member(method: Method, endpoint: Endpoint) -> Callable[..., Awaitable[Any] | AsyncIterator[Any]]:
    """A method of the generated service: the pipeline alone, with no interceptors."""

    async def unary(_self: object, message: betterproto2.Message) -> betterproto2.Message:
        call = Call.within(CURRENT.get(), endpoint.runtime.store, method)
        with working_on(call):
            return decoded(await endpoint.unary(call, message))

    async def stream(_self: object, message: betterproto2.Message) -> AsyncIterator[betterproto2.Message]:
        call = Call.within(CURRENT.get(), endpoint.runtime.store, method)
        async with aclosing(endpoint.stream(call, message)) as replies:
            async for reply in replies:
                yield decoded(reply)

    return stream if method.server_streaming else unary


def python_name(rpc: str) -> str:
    """An RPC's name as the generated classes have it: `getByReference` becomes `get_by_reference`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", rpc).lower()
