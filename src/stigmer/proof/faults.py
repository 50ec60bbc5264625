"""Requests with secrets in them that go wrong: broken on purpose, cut short, too late, unwanted.

No request is sent that holds a canary anywhere but in a secret place: what stands elsewhere is shown to others.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stigmer.proof.client import Caller
from stigmer.proof.requests import KEY, holding_secrets, without_secrets
from stigmer.proof.search import Search
from stigmer.secrets import fields
from stigmer.secrets.fields import MARK
from stigmer.wire.descriptors import methods

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.message import Message

    from stigmer.proof.canaries import Canaries
    from stigmer.proof.client import Client
    from stigmer.proof.requests import Requests
    from stigmer.proof.walk import Callers
    from stigmer.wire.descriptors import Method

HEADERS = (("x-secrets", "redacted"), ("x-secrets", "values"))
"""Who asks for marks gets them, whatever the value."""
_TIMES_S = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016)
_AT_ONCE = 16
_LARGE_BYTES = 11 * 2**20
_UNKNOWN_FIELD = b"\xfa\x07"  # the tag of field 127, of bytes
_FLIPS = (0x00, 0xFF)


class Faults:
    """Sends what is to be refused.

    Args:
        client: to the server.
        requests: valid ones, to be broken.
        callers: who calls.
        canaries: what the requests hold.
        every: in every so-many-th byte the requests are changed and cut off.
    """

    def __init__(self, client: Client, requests: Requests, callers: Callers, canaries: Canaries, *, every: int) -> None:
        self._client, self._requests, self._callers = client, requests, callers
        self._canaries, self._every = canaries, every

    def __repr__(self) -> str:
        return f"<Faults by {self._client!r}>"

    async def all(self) -> None:
        """All of them."""
        for method in holding_secrets():
            await self._at_once(self._broken(method), method)
            await asyncio.gather(
                *(
                    self._client.call(method, self._requests.valid(method), self._callers.root, timeout_s=timeout_s)
                    for timeout_s in _TIMES_S
                )
            )
            unknown = replace(method, path=f"{method.path}Unknown")
            await self._client.call(unknown, self._requests.valid(method), self._callers.root)
        first = holding_secrets()[0]
        large = self._requests.valid(first).SerializeToString()
        await self._client.call(first, large + b"x" * _LARGE_BYTES, self._callers.root)
        for method in methods().values():
            for header in HEADERS:
                marked = Caller("root, who asks for marks", (*self._callers.root.headers, header))
                if method.name.startswith("get"):
                    await self._client.call(method, self._requests.valid(method), marked)

    async def _at_once(self, bodies: Iterator[bytes], method: Method) -> None:
        """So many at a time, in any order."""

        async def some() -> None:
            for body in bodies:
                if self._may_be_sent(method, body):
                    await self._client.call(method, body, self._callers.root)

        await asyncio.gather(*(some() for _ in range(_AT_ONCE)))

    def _may_be_sent(self, method: Method, body: bytes) -> bool:
        rest = without_secrets(method, body)
        search = Search(self._canaries)
        search.look("", rest or b"")
        return not search.findings

    def _broken(self, method: Method) -> Iterator[bytes]:
        for change in CHANGES:
            request = self._requests.valid(method)
            change(request)
            yield request.SerializeToString()
        whole = self._requests.valid(method).SerializeToString()
        yield whole
        yield whole
        yield whole.replace("é".encode(), b"\xc3\xff")
        yield self._requests.valid(method).SerializeToString() + b"\x7f" * 3
        for at in range(0, len(whole), self._every):
            yield whole[:at]
            for byte in _FLIPS:
                yield whole[:at] + bytes([byte]) + whole[at + 1 :]


def _of_metadata(name: str, value: object) -> Callable[[Any], None]:
    def change(request: Any) -> None:  # noqa: ANN401 - of any type
        if "metadata" in request.DESCRIPTOR.fields_by_name:
            setattr(request.metadata, name, value)

    return change


def _of_secrets(change_one: Callable[[fields.Entry], None]) -> Callable[[Message], None]:
    def change(request: Message) -> None:
        for entry in fields.entries(request):
            change_one(entry)

    return change


def _mark(entry: fields.Entry) -> None:
    entry.write(MARK.encode())


def _unflagged_mark(entry: fields.Entry) -> None:
    _mark(entry)
    if "is_secret" in entry.holder.DESCRIPTOR.fields_by_name:
        entry.holder.ClearField("is_secret")


def _foreign(entry: fields.Entry) -> None:
    entry.write(b"enc:v1:" + entry.read())


def _unknown(entry: fields.Entry) -> None:
    value = entry.read()
    entry.holder.MergeFromString(_UNKNOWN_FIELD + bytes([len(value)]) + value)


def _second_key(request: Any) -> None:  # noqa: ANN401 - of any type
    """A second secret, under an empty key: a copy of the first."""
    for part in (request, getattr(request, "spec", None)):
        for name in ("data", "runtime_env"):
            held = getattr(part, name, None)
            if held is not None and KEY in held:
                held[""].CopyFrom(held[KEY])


def _another_kind(request: Any) -> None:  # noqa: ANN401 - of any type
    if "kind" in request.DESCRIPTOR.fields_by_name:
        request.kind = "Nonsense"


CHANGES: tuple[Callable[[Any], None], ...] = (
    lambda _: None,
    _of_metadata("name", ""),
    _of_metadata("name", "!!!"),
    _of_metadata("name", "x" * 10_000),
    _of_metadata("slug", "Not A Slug"),
    _of_metadata("id", "nonsense"),
    _of_metadata("org", "umbrella"),
    _of_metadata("owner_scope", 77),
    lambda request: request.ClearField(request.DESCRIPTOR.fields[-1].name),
    _of_secrets(_mark),
    _of_secrets(_unflagged_mark),
    _of_secrets(_foreign),
    _of_secrets(_unknown),
    _second_key,
    _another_kind,
)
"""What is done to a valid request."""
