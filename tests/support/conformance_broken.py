"""Ways to break a valid resource, and the paths that the refusal must name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stigmer._gen.ai.stigmer.agentic.agent import v1 as agents
from stigmer._gen.ai.stigmer.agentic.executioncontext import v1 as contexts
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceOwnerScope as Scope
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceReference
from stigmer._gen.ai.stigmer.commons.apiresource.apiresourcekind import ApiResourceKind

if TYPE_CHECKING:
    from collections.abc import Callable

    Spoil = Callable[[Any], None]


@dataclass(frozen=True)
class Broken:
    """A way to break a valid resource: `spoil` changes it, `fields` are the paths that the refusal must name."""

    title: str
    spoil: Spoil
    fields: frozenset[str]

    def __repr__(self) -> str:
        return self.title


def broken(title: str, spoil: Spoil, *fields: str) -> Broken:
    return Broken(title, spoil, frozenset(fields))


def put(path: str, value: Any) -> Spoil:
    """Set the field at a path such as `spec.instructions`."""

    def spoil(resource: Any) -> None:
        *parents, leaf = path.split(".")
        for parent in parents:
            resource = getattr(resource, parent)
        setattr(resource, leaf, value)

    return spoil


def _several(resource: Any) -> None:
    resource.kind = "Banana"
    resource.metadata.name = ""
    resource.spec = None


SHARED = (
    broken("no metadata", put("metadata", None), "metadata"),
    broken("no name", put("metadata.name", ""), "metadata.name"),
    broken("a name of which no slug is left", put("metadata.name", "!?! ---"), "metadata.name"),
    broken("a name in letters that slugs do not have", put("metadata.name", "агент"), "metadata.name"),
    broken("no spec", put("spec", None), "spec"),
    broken("no version of the API", put("api_version", ""), "api_version"),
    broken("another version of the API", put("api_version", "v2"), "api_version"),
    broken("another kind", put("kind", "Banana"), "kind"),
    broken("a slug with capitals", put("metadata.slug", "Capital"), "metadata.slug"),
    broken("a slug with two hyphens", put("metadata.slug", "a--b"), "metadata.slug"),
    broken("a slug that ends in a hyphen", put("metadata.slug", "a-"), "metadata.slug"),
    broken("a slug that ends in a new line", put("metadata.slug", "a\n"), "metadata.slug"),
    broken("a scope that is none", put("metadata.owner_scope", Scope(99)), "metadata.owner_scope"),
    broken("several things at once", _several, "kind", "metadata.name", "spec"),
)


def forbidden(scope: Scope) -> Broken:
    """A scope that the kind does not have."""
    return broken(f"the scope {scope.name}", put("metadata.owner_scope", scope), "metadata.owner_scope")


SKILL = ApiResourceReference(kind=ApiResourceKind.skill, slug="s")
NO_SKILL = ApiResourceReference(kind=ApiResourceKind.agent, slug="s")


def _agent_twice(resource: Any) -> None:
    resource.spec.instructions = "short"
    resource.spec.sub_agents = [agents.SubAgent(name="", instructions="Look things up.")]


def _server(server: agents.McpServerDefinition) -> Spoil:
    return put("spec.mcp_servers", [server])


_DOCKER = agents.DockerServer(volumes=[agents.VolumeMount(host_path="/a")], ports=[agents.PortMapping(host_port=1)])
_HELPERS = [agents.SubAgent(name="a", instructions="Look things up."), agents.SubAgent(name="b")]

OF_AGENT = (
    broken("short instructions", put("spec.instructions", "short"), "spec.instructions"),
    broken("two fields far apart", _agent_twice, "spec.instructions", "spec.sub_agents[0].name"),
    broken("a sub-agent with no instructions", put("spec.sub_agents", _HELPERS), "spec.sub_agents[1].instructions"),
    broken("an MCP server with no name", _server(agents.McpServerDefinition()), "spec.mcp_servers[0].name"),
    broken(
        "an MCP server with no command",
        _server(agents.McpServerDefinition(name="m", stdio=agents.StdioServer())),
        "spec.mcp_servers[0].stdio.command",
    ),
    broken(
        "an MCP server with no URL",
        _server(agents.McpServerDefinition(name="m", http=agents.HttpServer())),
        "spec.mcp_servers[0].http.url",
    ),
    broken(
        "an MCP server in a container of no image",
        _server(agents.McpServerDefinition(name="m", docker=_DOCKER)),
        "spec.mcp_servers[0].docker.image",
        "spec.mcp_servers[0].docker.volumes[0].container_path",
        "spec.mcp_servers[0].docker.ports[0].container_port",
    ),
    broken("a skill that is none", put("spec.skill_refs", [SKILL, NO_SKILL]), "spec.skill_refs[1]"),
)
OF_AGENT_INSTANCE = (
    broken("an environment that is none", put("spec.environment_refs", [SKILL]), "spec.environment_refs[0]"),
)
OF_AGENT_EXECUTION = (
    broken("no message", put("spec.message", ""), "spec.message"),
    broken(
        "a value of the run that is empty",
        put("spec.runtime_env", {"KEY": contexts.ExecutionValue()}),
        'spec.runtime_env["KEY"].value',
    ),
)
OF_EXECUTION_CONTEXT = (
    broken("no execution", put("spec.execution_id", ""), "spec.execution_id"),
    broken("a value that is empty", put("spec.data", {"KEY": contexts.ExecutionValue()}), 'spec.data["KEY"].value'),
)
