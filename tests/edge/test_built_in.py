"""What is around every call: failures are mapped within it, and leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING

import pytest

from stigmer.edge.interceptors.built_in import BuiltIn
from stigmer.errors import Internal, InvalidArgument, StigmerError
from stigmer.pipeline.call import Call
from stigmer.pipeline.ids import IdSource
from stigmer.wire import descriptors

if TYPE_CHECKING:
    from collections.abc import Callable

Told = list[tuple[str, str]]


class UnforeseenError(Exception):
    """Unlike Python's own, it can be referred to weakly."""


class NoIds(IdSource):
    """A host's source of ids that has none."""

    def new(self, prefix: str) -> str:
        raise LookupError(prefix)


@pytest.fixture
def call() -> Call:
    return Call(next(iter(descriptors.methods().values())))


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def built_in(told: Told) -> BuiltIn:
    def observe(method: str, code: str, _duration_s: float) -> None:
        told.append((method, code))

    return BuiltIn(IdSource(), observe)


def test_a_call_is_told_of_once_with_its_code(built_in: BuiltIn, call: Call, told: Told) -> None:
    with built_in.around(call):
        assert call.request_id.startswith("req-")
        assert told == []
    assert told == [(call.method.path[1:], "OK")]


def test_an_error_made_for_callers_goes_on_as_it_is(built_in: BuiltIn, call: Call, told: Told) -> None:
    error = InvalidArgument.of("name", "is missing")
    with pytest.raises(InvalidArgument) as caught, built_in.around(call):
        raise error
    assert caught.value is error
    assert [code for _, code in told] == ["INVALID_ARGUMENT"]


def test_any_other_becomes_one_that_is_and_is_its_cause(built_in: BuiltIn, call: Call, told: Told) -> None:
    with pytest.raises(Internal) as caught, built_in.around(call):
        raise UnforeseenError
    assert isinstance(caught.value.__cause__, UnforeseenError)
    assert [code for _, code in told] == ["INTERNAL"]


async def test_a_cancellation_stays_one_where_somebody_cancels(built_in: BuiltIn, call: Call, told: Told) -> None:
    async def wait() -> None:
        with built_in.around(call):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [code for _, code in told] == ["CANCELLED"]


async def test_and_is_a_failure_like_any_other_where_nobody_does(built_in: BuiltIn, call: Call, told: Told) -> None:
    with pytest.raises(Internal), built_in.around(call):
        raise asyncio.CancelledError
    assert [code for _, code in told] == ["INTERNAL"]


def test_a_call_gets_a_name_where_the_host_s_ids_fail(call: Call) -> None:
    with BuiltIn(NoIds(), lambda *_: None).around(call):
        assert call.request_id.startswith("req-")


@pytest.mark.parametrize("make", [UnforeseenError, lambda: InvalidArgument.of("", "no")])
def test_a_failure_leaves_no_cycle(built_in: BuiltIn, call: Call, make: Callable[[], Exception]) -> None:
    seen: list[weakref.ref[BaseException]] = []

    def fail() -> None:
        with built_in.around(call):
            raise make()

    def failing() -> None:
        try:
            fail()
        except StigmerError as error:
            seen.append(weakref.ref(error))

    gc.disable()
    try:
        failing()
        assert seen[0]() is None
    finally:
        gc.enable()
