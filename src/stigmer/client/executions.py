"""Executions run, followed to their end, and waited for."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from stigmer.client.backoff import MOST_S, Backoff
from stigmer.client.resources import Resources
from stigmer.errors import DeadlineExceeded, StigmerError, Unavailable
from stigmer.types import AgentExecution

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from stigmer.client import dicts
    from stigmer.types import Agent, ExecutionConfig, ExecutionValue, Session


class Following(Resources[AgentExecution]):
    """What executions have beyond the methods of their services."""

    async def run(  # noqa: PLR0913 - each is named
        self,
        agent: Agent | str,
        message: str,
        *,
        session: Session | str | None = None,
        name: str | None = None,
        org: str | None = None,
        tags: Sequence[str] | None = None,
        runtime_env: Mapping[str, ExecutionValue | dicts.ExecutionValueDict | str] | None = None,
        execution_config: ExecutionConfig | dicts.ExecutionConfigDict | None = None,
        timeout_s: float | None = None,
    ) -> AgentExecution:
        """Create an execution and wait for its end.

        Args:
            agent: who does the work: itself, its id or `org/slug`.
            message: what the user says.
            session: the conversation that it is a turn of; one is made where there is none.
            name: of the execution; made where there is none.
            org: of the session that is made on an agent of the platform.
            tags: words to filter lists by.
            runtime_env: values for this run only.
            execution_config: how it differs from what the agent would do by itself.
            timeout_s: how long to wait for the end, in seconds; the execution goes on afterwards.

        Returns:
            The execution as it ended, also where that is FAILED or CANCELLED: its status says so. In a dry run, as it
            would begin.

        Raises:
            DeadlineExceeded: it has not ended in time; its id is in the message.
            StigmerError: it cannot be made or followed.
        """
        metadata = {"name": name, "org": org, "tags": tags}
        spec = {
            "agent": agent,
            "session": session,
            "message": message,
            "runtime_env": runtime_env,
            "execution_config": execution_config,
        }
        started_s = time.monotonic()
        created = await self._create(None, metadata, spec, "")
        if self._calls.options.dry_run:
            return created
        left_s = None if timeout_s is None else timeout_s - (time.monotonic() - started_s)
        return await self.wait(created, timeout_s=left_s)

    async def wait(self, which: AgentExecution | str, /, *, timeout_s: float | None = None) -> AgentExecution:
        """Wait for the end of an execution.

        Args:
            which: itself or its id.
            timeout_s: how long, in seconds; None for as long as it takes.

        Returns:
            The execution as it ended, also where that is FAILED or CANCELLED: its status says so.

        Raises:
            DeadlineExceeded: it has not ended in time.
            NotFound: there is none, or it was deleted.
            StigmerError: it cannot be followed.
        """
        last: AgentExecution | None = None
        try:
            async with asyncio.timeout(timeout_s), aclosing(self.watch(which)) as states:
                async for state in states:
                    last = state
        except TimeoutError:
            raise DeadlineExceeded(f"{self._id_in(which)} has not ended within {timeout_s:.3g} s") from None
        if last is None:
            raise Unavailable(f"the server told no state of {self._id_in(which)}")
        return last

    async def watch(self, which: AgentExecution | str, /) -> AsyncGenerator[AgentExecution]:
        """Follow an execution: as it is, then each later state in order, to its end.

        A slow reader may miss states in between, never the last one. Where the server is UNAVAILABLE, or the connection
        is lost, it is subscribed to again; a state that equals the one before is left out then.

        Args:
            which: itself or its id.

        Raises:
            NotFound: there is none, or it was deleted.
            StigmerError: it cannot be followed, or not any more.
        """
        request = {self._rpc("subscribe").first: self._id_in(which)}
        last: AgentExecution | None = None
        backoff: Backoff | None = None
        while True:
            is_first, since_s = True, float("inf")
            try:
                async with aclosing(self._stream("subscribe", None, request)) as states:
                    async for state in states:
                        if not (is_first and state == last):
                            yield state
                            last, backoff = state, None
                        since_s = time.monotonic() if is_first else since_s
                        is_first = False
            except StigmerError as error:
                if time.monotonic() - since_s > MOST_S:  # it held: not the outage of before
                    backoff = None
                backoff = backoff or Backoff(self._calls.options, None)
                wait_s = backoff.wait_s(error) if await self._calls.helps_again(error) else None
                if wait_s is None:
                    raise
                await asyncio.sleep(wait_s)
            else:
                return
