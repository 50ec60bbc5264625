"""A kind's handler: which pipeline serves which RPC.

`handlers/` declares one for each kind; `app` binds them to a runtime and gives the endpoints to `edge`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stigmer.pipeline.pipeline import Endpoint, Pipeline, StreamStep
from stigmer.wire import descriptors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stigmer.pipeline.kind import Kind
    from stigmer.pipeline.pipeline import Step
    from stigmer.pipeline.runtime import Runtime


@dataclass(frozen=True)
class Handler:
    """What serves a kind: each RPC of the services that the protos declare for it.

    Attributes:
        kind: what a resource of the kind is.
        rpcs: the steps of each RPC, by its name in the proto.
        streams: what the streaming ones among them end in.
    """

    kind: Kind
    rpcs: Mapping[str, tuple[Step, ...]]
    streams: Mapping[str, StreamStep] = field(default_factory=dict[str, StreamStep])

    @property
    def pipelines(self) -> dict[str, Pipeline]:
        """The pipeline of each RPC, by its name in the proto."""
        prefix = self.kind.meta.enum_name
        return {rpc: Pipeline(f"{prefix}.{rpc}", steps, self.streams.get(rpc)) for rpc, steps in self.rpcs.items()}

    def bind(self, runtime: Runtime) -> list[Endpoint]:
        """The kind's RPCs on a runtime.

        Raises:
            TypeError: an RPC of the proto has no pipeline, or a pipeline no RPC.
        """
        pipelines = self.pipelines
        methods = [method for method in descriptors.methods().values() if method.kind == self.kind.meta]
        served = {method.name for method in methods}
        if served != set(pipelines):
            raise TypeError(f"{self.kind.name}: the proto has the RPCs {served}, the handler {set(pipelines)}")
        return [Endpoint(method, pipelines[method.name], self.kind, runtime, pipelines) for method in methods]
