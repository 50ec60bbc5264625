"""A gRPC client that knows nothing of stigmer but its address: it asks the server's reflection for the messages.

Run by main.py, each command in a process of its own, with the caller's token in STIGMER_TOKEN:
`client.py create|refused|follow|work ADDRESS [EXECUTION_ID]`.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AGENTIC = "ai.stigmer.agentic"
EXECUTIONS = f"{AGENTIC}.agentexecution.v1"
CONTEXTS = f"{AGENTIC}.executioncontext.v1"
SECRET = "RELEASE_TOKEN"
"""The name of what the execution is given to run with, and nobody but its runner is to see."""
API_VERSION = "agentic.stigmer.ai/v1"
TIMEOUT_S = 10


class Bearer(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[misc]  # grpcio has no types
    grpc.UnaryStreamClientInterceptor,  # type: ignore[misc]  # as above
    grpc.StreamStreamClientInterceptor,  # type: ignore[misc]  # as above
):
    """Sends a token with each call."""

    def __init__(self, token: str) -> None:
        self._header = ("authorization", f"Bearer {token}")

    def _intercept(self, proceed: Any, details: Any, request: Any) -> Any:  # noqa: ANN401 - of any call
        return proceed(details._replace(metadata=[*(details.metadata or ()), self._header]), request)

    intercept_unary_unary = intercept_unary_stream = intercept_stream_stream = _intercept


class Client:
    """Calls any method of any service that the server reflects."""

    def __init__(self, address: str, token: str) -> None:
        self._channel = grpc.intercept_channel(grpc.insecure_channel(address), Bearer(token))
        self._pool = DescriptorPool(ProtoReflectionDescriptorDatabase(self._channel))

    def message(self, name: str, **fields: Any) -> Any:  # noqa: ANN401 - made of a descriptor at run time
        """A message of that full name."""
        return GetMessageClass(self._pool.FindMessageTypeByName(name))(**fields)

    def call(self, service: str, method: str, request: Any) -> Any:  # noqa: ANN401 - as above
        """The reply of a unary method."""
        path, reply = self._method(service, method)
        unary = self._channel.unary_unary(path, type(request).SerializeToString, reply.FromString)
        return unary(request, timeout=TIMEOUT_S)

    def stream(self, service: str, method: str, request: Any) -> Iterator[Any]:  # noqa: ANN401 - as above
        """The replies of a streaming method."""
        path, reply = self._method(service, method)
        replies = self._channel.unary_stream(path, type(request).SerializeToString, reply.FromString)
        yield from replies(request, timeout=TIMEOUT_S)

    def _method(self, service: str, method: str) -> tuple[str, Any]:
        described = self._pool.FindServiceByName(service).methods_by_name[method]
        return f"/{service}/{method}", GetMessageClass(described.output_type)


def create(client: Client) -> None:
    """Create an agent, and an execution of it with no session and a secret."""
    agent = created(client)
    say("editor", f"created agent {agent.metadata.slug} ({agent.metadata.id})")
    say("editor", f"… the server gave it a default instance: {agent.status.default_instance_id}")
    execution = client.message(f"{EXECUTIONS}.AgentExecution", api_version=API_VERSION, kind="AgentExecution")
    execution.metadata.name = "Notes for 0.1"
    execution.spec.agent_id, execution.spec.message = agent.metadata.id, "Write the notes for release 0.1"
    value = execution.spec.runtime_env[SECRET]
    value.value, value.is_secret = "s3cr3t-of-this-run", True
    execution.spec.callback_token = b"whoever has this may call back"
    execution = client.call(f"{EXECUTIONS}.AgentExecutionCommandController", "create", execution)
    say("editor", f"created execution {execution.metadata.id} with no session")
    say("editor", f"… the server made one, by a call of its own: {execution.spec.session_id}")
    say("editor", f"… and keeps {SECRET} sealed, apart from the execution: in that it is {where(execution)}")
    print(execution.metadata.id)


def created(client: Client) -> Any:  # noqa: ANN401 - made of a descriptor at run time
    """An agent, as the server answers it."""
    agent = client.message(f"{AGENTIC}.agent.v1.Agent", api_version=API_VERSION, kind="Agent")
    agent.metadata.name, agent.metadata.owner_scope = "Release Notes Writer", 2
    agent.metadata.org = "acme"
    agent.spec.instructions = "Write release notes from a list of commits, for people who use the product."
    return client.call(f"{AGENTIC}.agent.v1.AgentCommandController", "create", agent)


def refused(client: Client) -> None:
    """Try to create an agent without the right to."""
    try:
        created(client)
    except grpc.RpcError as error:
        say("reader", f"may not create an agent: {error.code().name}")
        return
    raise SystemExit("a reader created an agent")


def follow(client: Client, execution_id: str) -> None:
    """Subscribe to the execution, and tell each state until it has ended."""
    request = client.message(f"{EXECUTIONS}.AgentExecutionId", value=execution_id)
    seen = client.call(f"{EXECUTIONS}.AgentExecutionQueryController", "get", request)
    say("reader", f"sees its callback token: {seen.spec.callback_token.decode()}")
    say("reader", f"asks for {SECRET}: {secret(client, execution_id)}")
    for state in client.stream(f"{EXECUTIONS}.AgentExecutionQueryController", "subscribe", request):
        phase = state.status.DESCRIPTOR.fields_by_name["phase"].enum_type.values_by_number[state.status.phase].name
        last = f": {state.status.messages[-1].content}" if state.status.messages else ""
        say("reader", f"sees {phase}{last}")
        print("following", flush=True)
    say("reader", "the stream ended: the execution is over")


def work(client: Client, execution_id: str) -> None:
    """Do what an agent's runner does: read what it runs with, report progress, then the end."""
    say("runner", f"reads {SECRET}: {secret(client, execution_id)}")
    said: list[str] = []
    for phase, words in (
        (2, "Reading the commits"),
        (2, "Grouping them: features, fixes"),
        (2, "Writing the notes"),
        (3, "Done: 0.1 serves six kinds over gRPC"),
    ):
        said.append(words)
        report = client.message(f"{EXECUTIONS}.AgentExecutionUpdateStatusInput", execution_id=execution_id)
        report.status.phase = phase
        for text in said:
            report.status.messages.add(type=2, content=text)
        client.call(f"{EXECUTIONS}.AgentExecutionCommandController", "updateStatus", report)
        say("runner", f"reported: {words}")
        time.sleep(0.3)
    say("runner", f"reads {SECRET} once more, now that it is over: {secret(client, execution_id)}")


def where(execution: Any) -> str:  # noqa: ANN401 - made of a descriptor at run time
    """Whether the execution itself tells its secret."""
    return "there for all to see" if execution.spec.runtime_env else "nowhere"


def secret(client: Client, execution_id: str) -> str:
    """The secret that an execution runs with, or how the call for it ends."""
    request = client.message(f"{CONTEXTS}.ExecutionContextExecutionIdInput", execution_id=execution_id)
    try:
        context = client.call(f"{CONTEXTS}.ExecutionContextQueryController", "getByExecutionId", request)
    except grpc.RpcError as error:
        return str(error.code().name)
    return str(context.spec.data[SECRET].value)


def say(who: str, what: str) -> None:
    """One line for the reader of the demo."""
    sys.stderr.write(f"  {who:>8} │ {what}\n")  # in one piece: three processes write here


COMMANDS: dict[str, Callable[..., None]] = {"create": create, "refused": refused, "follow": follow, "work": work}

if __name__ == "__main__":
    command, address, *arguments = sys.argv[1:]
    COMMANDS[command](Client(address, os.environ["STIGMER_TOKEN"]), *arguments)
