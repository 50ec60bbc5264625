"""Calls by their methods: what goes along with each, its deadline, its repetitions, its failure as one of `errors`."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from secrets import token_hex
from typing import TYPE_CHECKING, Any, NamedTuple

from grpclib.const import Cardinality

from stigmer.client.attempt import Attempt, is_write
from stigmer.client.backoff import Backoff
from stigmer.errors import StigmerError, Unauthenticated, Unavailable, Unimplemented
from stigmer.wire import descriptors
from stigmer.wire.message_types import object_class

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import betterproto2
    from grpclib.client import Channel

    from stigmer.client.connection import Connection
    from stigmer.client.options import Options
    from stigmer.wire.descriptors import Method

REQUEST_ID = "x-request-id"
IDEMPOTENCY_KEY = "idempotency-key"
DRY_RUN = "x-dry-run"
AUTHORIZATION = "authorization"
KEEPS_KEYS, RUNS_DRY = "idempotency", "dry-run"
"""What `whoami` says of a server that knows those two."""

_WHOAMI = "/ai.stigmer.iam.caller.v1.CallerQueryController/whoami"


class Sent(NamedTuple):
    """What one call sends.

    Attributes:
        method: what is called.
        request: of the method's own class.
        metadata: the same for every try, but for a credential that is renewed.
        deadline_s: on the clock `time.monotonic`; None for none.
    """

    method: Method
    request: betterproto2.Message
    metadata: dict[str, str]
    deadline_s: float | None


class Calls:
    """Makes calls on a connection.

    Args:
        connection: where they go.
        options: how they are made.
    """

    def __init__(self, connection: Connection, options: Options) -> None:
        self.connection, self.options = connection, options
        self._numbers, self._name = count(1), f"req-{token_hex(8)}"

    async def unary(self, method: Method, request: betterproto2.Message, key: str = "") -> Any:  # noqa: ANN401 - its own
        """The reply; the call is made again where it was UNAVAILABLE and nothing can be done twice.

        Args:
            method: what is called.
            request: of the method's own class.
            key: an idempotency key, where the method takes one.

        Raises:
            StigmerError: the call failed.
        """
        timeout_s = self.options.timeout_s
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        metadata = self._metadata()
        if key:
            metadata[IDEMPOTENCY_KEY] = key
        if self.options.dry_run and is_write(method):
            await self._check_runs_dry(deadline_s)
            metadata[DRY_RUN] = "all"
        return await self._repeated(Sent(method, request, metadata, deadline_s))

    async def stream(self, method: Method, request: betterproto2.Message) -> AsyncGenerator[Any]:
        """The replies of a call with many, as long as they come; it is not made again.

        Raises:
            StigmerError: the call failed.
        """
        sent = Sent(method, request, self._metadata(), None)
        channel = await self._channel(sent)
        with self._attempt(sent) as attempt:
            attempt.stream = _request(channel, sent, Cardinality.UNARY_STREAM)
            async with attempt.stream as stream:
                attempt.begun()
                await stream.send_message(request, end=True)
                while (reply := await stream.recv_message()) is not None:
                    yield reply

    async def _repeated(self, sent: Sent) -> Any:  # noqa: ANN401 - as `unary`
        backoff: Backoff | None = None
        while True:
            try:
                return await self._once(sent)
            except StigmerError as error:
                backoff = backoff or Backoff(self.options, sent.deadline_s)
                if not await self._may_be_repeated(sent, error):
                    raise
                wait_s = backoff.wait_s(error)
                if wait_s is None:
                    raise
            await asyncio.sleep(wait_s)

    async def _once(self, sent: Sent) -> Any:  # noqa: ANN401 - as `unary`
        channel = await self._channel(sent)
        with self._attempt(sent) as attempt:
            attempt.stream = _request(channel, sent, Cardinality.UNARY_UNARY)
            async with attempt.stream as stream:
                attempt.begun()
                await stream.send_message(sent.request, end=True)
                reply = await stream.recv_message()
            if reply is None:
                raise Unavailable(f"{sent.method.path} was answered OK without a reply")
            return reply

    async def _channel(self, sent: Sent) -> Channel:
        """The channel, with the credential in the metadata; raises OSError where one of their files cannot be read."""
        if self.connection.token.is_given:
            sent.metadata[AUTHORIZATION] = await self.connection.token.header()
        return await self.connection.channel()

    def _attempt(self, sent: Sent) -> Attempt:
        return Attempt(sent.method, sent.metadata[REQUEST_ID], self.connection.server)

    async def helps_again(self, error: StigmerError) -> bool:
        """Whether the very same call may help, and does nothing twice."""
        if self.connection.is_closed:
            return False
        if isinstance(error, Unauthenticated):
            return await self.connection.token.is_renewed()
        return isinstance(error, Unavailable) and error.retryable

    async def _may_be_repeated(self, sent: Sent, error: StigmerError) -> bool:
        if error.outcome_unknown and isinstance(error, Unavailable) and IDEMPOTENCY_KEY in sent.metadata:
            error.outcome_unknown = not await self._knows(KEEPS_KEYS, sent.deadline_s)
        return await self.helps_again(error)

    async def _check_runs_dry(self, deadline_s: float | None) -> None:
        if not await self._knows(RUNS_DRY, deadline_s):
            raise Unimplemented(f"{self.connection.server} knows no dry runs: it would do what is only to be tried")

    async def _knows(self, feature: str, deadline_s: float | None) -> bool:
        """Whether the server says that it has a feature; it is asked once."""
        if self.connection.features is None:
            method = descriptors.methods()[_WHOAMI]
            try:
                caller = await self._repeated(
                    Sent(method, object_class(method.request)(), self._metadata(), deadline_s)
                )
            except Unimplemented:  # a server of before
                self.connection.features = frozenset()
            else:
                self.connection.features = frozenset(caller.features)
        return feature in self.connection.features

    def _metadata(self) -> dict[str, str]:
        return {REQUEST_ID: f"{self._name}-{next(self._numbers)}", **self.options.metadata}


def _request(channel: Channel, sent: Sent, cardinality: Cardinality) -> Any:  # noqa: ANN401 - grpclib's stream, or ours
    """The call, within the time that is left; not begun yet."""
    timeout_s = None if sent.deadline_s is None else max(0.0, sent.deadline_s - time.monotonic())
    kinds = object_class(sent.method.request), object_class(sent.method.reply)
    return channel.request(sent.method.path, cardinality, *kinds, timeout=timeout_s, metadata=sent.metadata)
