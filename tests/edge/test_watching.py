"""What is around a call is entered and left as nested `with` statements would be."""

from __future__ import annotations

import gc
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, ClassVar

import pytest

from stigmer.edge.interceptors.base import NOTHING, watching
from stigmer.pipeline.call import Call
from stigmer.wire import descriptors

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager


class Noted:
    """An interceptor that notes when it is entered, and with what it is left."""

    def __init__(self, name: str, notes: list[str], raises: Exception | None = None, *, refuses: bool = False) -> None:
        self._name, self._notes, self._raises, self._refuses = name, notes, raises, refuses

    @contextmanager
    def watch(self, call: Call) -> Generator[None]:
        del call
        if self._refuses:
            raise PermissionError(self._name)
        self._notes.append(f"{self._name} in")
        try:
            yield
        except Exception as error:
            self._notes.append(f"{self._name} out with {type(error).__name__}")
            if self._raises is not None:
                raise self._raises from error
            raise
        self._notes.append(f"{self._name} out")


class MappedError(Exception):
    """Unlike Python's own, it can be referred to weakly."""


class Mapping:
    """One that fails in place of what fails within."""

    made: ClassVar[list[weakref.ref[BaseException]]] = []

    def watch(self, call: Call) -> Mapping:
        del call
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        raise self._mapped() from error

    def _mapped(self) -> MappedError:
        error = MappedError()
        self.made.append(weakref.ref(error))
        return error


class Naming:
    """One that only takes note of the call."""

    def watch(self, call: Call) -> AbstractContextManager[None]:
        call.request_id = "req-1"
        return NOTHING


@pytest.fixture
def call() -> Call:
    return Call(next(iter(descriptors.methods().values())))


def test_the_first_is_the_outermost(call: Call) -> None:
    notes: list[str] = []
    with watching((Noted("a", notes), Naming(), Noted("b", notes)), call):
        notes.append(call.request_id)
    assert notes == ["a in", "b in", "req-1", "b out", "a out"]


def test_an_error_that_one_of_them_raises_goes_to_those_around_it_and_to_the_caller(call: Call) -> None:
    notes: list[str] = []
    around = (Noted("a", notes), Noted("b", notes, LookupError("mapped")), Noted("c", notes))
    with pytest.raises(LookupError, match="mapped") as caught, watching(around, call):
        raise ValueError
    assert notes[3:] == ["c out with ValueError", "b out with ValueError", "a out with LookupError"]
    assert isinstance(caught.value.__cause__, ValueError)


def test_an_error_that_none_of_them_changes_goes_on_as_it_is(call: Call) -> None:
    error = ValueError("as it is")
    with pytest.raises(ValueError, match="as it is") as caught, watching((Noted("a", []), Noted("b", [])), call):
        raise error
    assert caught.value is error


def test_one_that_refuses_the_call_is_seen_by_those_around_it(call: Call) -> None:
    notes: list[str] = []
    around = (Noted("a", notes), Noted("b", notes, refuses=True), Noted("c", notes))
    with pytest.raises(PermissionError), watching(around, call):
        notes.append("within")
    assert notes == ["a in", "a out with PermissionError"]


def test_one_around_a_refusal_may_raise_another_error_in_its_place(call: Call) -> None:
    around = (Noted("a", [], LookupError("mapped")), Noted("b", [], refuses=True))
    with pytest.raises(LookupError, match="mapped"), watching(around, call):
        pass


def test_an_error_that_was_raised_on_the_way_out_leaves_no_cycle(call: Call) -> None:
    gc.disable()
    try:
        with suppress(MappedError), watching((Noted("a", []), Mapping(), Naming()), call):
            raise ValueError
        assert Mapping.made[-1]() is None
    finally:
        gc.enable()
