"""One kind a file; this lists them. `app` binds each to a runtime."""

from stigmer.handlers import agent, agent_execution, agent_instance, environment, execution_context, session

HANDLERS = (
    agent.HANDLER,
    agent_instance.HANDLER,
    session.HANDLER,
    agent_execution.HANDLER,
    environment.HANDLER,
    execution_context.HANDLER,
)
