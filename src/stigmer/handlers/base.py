"""What serves the RPCs: a handler for each kind, a service for what is about no kind; which steps serve which RPC.

`handlers/` declares them; `app` binds each to a runtime and gives the endpoints to `edge`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import betterproto2

from stigmer.pipeline.kind import Resource
from stigmer.pipeline.pipeline import Endpoint, Pipeline
from stigmer.wire import descriptors
from stigmer.wire.message_types import object_class

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stigmer.pipeline.kind import Kind
    from stigmer.pipeline.pipeline import Steps
    from stigmer.pipeline.runtime import Runtime
    from stigmer.wire.descriptors import Method

R = TypeVar("R", bound=Resource)


@dataclass(frozen=True)
class Handler(Generic[R]):
    """What serves a kind: each RPC of the services that the protos declare for it.

    Attributes:
        kind: what a resource of the kind is.
        rpcs: the steps of each RPC, by its name in the proto.
    """

    kind: Kind[R]
    rpcs: Mapping[str, Steps[R]]

    @property
    def pipelines(self) -> dict[str, Pipeline]:
        """The pipeline of each RPC, by its name in the proto."""
        return _pipelines(self.kind.meta.enum_name, self.rpcs)

    def bind(self, runtime: Runtime) -> list[Endpoint]:
        """The kind's RPCs on a runtime.

        Raises:
            TypeError: an RPC of the proto has no steps, steps have no RPC, or are for another request.
        """
        methods = [method for method in descriptors.methods().values() if method.kind == self.kind.meta]
        _check(self.kind.name, methods, self.rpcs)
        pipelines = self.pipelines
        return [Endpoint(method, pipelines[method.name], self.kind, runtime, pipelines) for method in methods]


@dataclass(frozen=True)
class Service:
    """What serves the services of a package that are about no kind: their steps load and save no resource of it.

    Attributes:
        package: of the protos, such as `ai.stigmer.iam.caller.v1`.
        rpcs: the steps of each RPC, by its name in the proto.
    """

    package: str
    rpcs: Mapping[str, Steps[Any]]

    @property
    def pipelines(self) -> dict[str, Pipeline]:
        """The pipeline of each RPC, by its name in the proto."""
        return _pipelines(self.package.split(".")[-2], self.rpcs)

    def bind(self, runtime: Runtime) -> list[Endpoint]:
        """The package's RPCs on a runtime.

        Raises:
            TypeError: an RPC of the proto has no steps, steps have no RPC, or are for another request.
        """
        every = descriptors.methods().values()
        methods = [one for one in every if one.kind is None and one.service.rpartition(".")[0] == self.package]
        _check(self.package, methods, self.rpcs)
        pipelines = self.pipelines
        return [Endpoint(method, pipelines[method.name], None, runtime, pipelines) for method in methods]


def _pipelines(prefix: str, rpcs: Mapping[str, Steps[Any]]) -> dict[str, Pipeline]:
    return {name: Pipeline(f"{prefix}.{name}", rpc.steps, rpc.last) for name, rpc in rpcs.items()}


def _check(name: str, methods: list[Method], rpcs: Mapping[str, Steps[Any]]) -> None:
    """Raises TypeError where methods and steps do not fit."""
    served = {method.name for method in methods}
    if served != set(rpcs):
        raise TypeError(f"{name}: the proto has the RPCs {served}, the handler {set(rpcs)}")
    for method in methods:
        _check_request(method, rpcs[method.name].request)


def _check_request(method: Method, declared: type[Any]) -> None:
    """The steps' types hold only where the RPC takes what they were checked for; a protocol is met by what fits."""
    if issubclass(declared, betterproto2.Message) and not issubclass(object_class(method.request), declared):
        raise TypeError(f"{method.path} takes {method.request}, the handler's steps {declared.__qualname__}")
