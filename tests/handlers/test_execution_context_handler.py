"""The cases that the original's notes list for ExecutionContext, and its life from create to delete."""

from __future__ import annotations

from typing import Any

import pytest
import samples
from conformance import Resources, missing, taken
from conformance_facts import EXECUTION_CONTEXT

KIND = "ExecutionContext"


@pytest.fixture
def contexts(loopback: Any) -> Resources:
    return Resources(EXECUTION_CONTEXT, loopback)


async def test_create_with_valid_input(contexts: Resources) -> None:
    made = await contexts.create(samples.execution_context("aex-1"))
    assert (made.kind, made.spec.execution_id) == (KIND, "aex-1")


async def test_create_with_duplicate_slug(contexts: Resources) -> None:
    made = await contexts.created(name="twice")
    await taken(contexts.created(name="twice"), KIND, made.metadata.id, "twice")


async def test_apply_when_not_exists_creates(contexts: Resources) -> None:
    made = await contexts.apply(samples.execution_context())
    assert await contexts.get(made.metadata.id) == made


async def test_apply_when_exists_errors(contexts: Resources) -> None:
    made = await contexts.created(name="twice")
    await taken(contexts.apply(samples.execution_context(name="twice")), KIND, made.metadata.id, "twice")


async def test_get_by_valid_id(contexts: Resources) -> None:
    made = await contexts.created()
    assert await contexts.get(made.metadata.id) == made


async def test_get_by_invalid_id_errors(contexts: Resources) -> None:
    await missing(contexts.get("exec-none"), KIND, "exec-none")


async def test_get_by_reference_with_valid_slug(contexts: Resources) -> None:
    made = await contexts.created(name="By Slug")
    assert await contexts.by_reference("by-slug") == made


async def test_get_by_reference_with_invalid_slug_errors(contexts: Resources) -> None:
    await missing(contexts.by_reference("none"), KIND, "none", f"{KIND} with slug 'none' not found")


async def test_delete_by_valid_id(contexts: Resources) -> None:
    made = await contexts.created()
    assert await contexts.delete(made.metadata.id) == made


async def test_delete_by_invalid_id_errors(contexts: Resources) -> None:
    await missing(contexts.delete("exec-none"), KIND, "exec-none")


async def test_full_lifecycle(contexts: Resources) -> None:
    sent = samples.execution_context(name="Runtime secrets")
    made = await contexts.create(sent)
    id_ = made.metadata.id
    assert await contexts.get(id_) == made
    assert await contexts.by_reference("runtime-secrets") == made
    await taken(contexts.apply(sent), KIND, id_, "runtime-secrets")
    assert await contexts.delete(id_) == made
    await missing(contexts.get(id_), KIND, id_)
