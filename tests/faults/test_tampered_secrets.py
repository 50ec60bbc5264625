"""Who can write the database, checksums and all, but has no key: whatever is changed, moved or swapped is refused.

`tests/secrets/test_sealing.py` changes each byte of a record; here rows and records are changed in a plane's store.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import samples
from edge_rig import Stubs, agents, contexts, environments, executions, id_of
from grpclib.exceptions import GRPCError

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceId
from stigmer.access.principal import Principal, organization
from stigmer.app import MEMORY, embedded
from stigmer.handlers import HANDLERS
from stigmer.secrets.fields import MARK, Place
from stigmer.secrets.sealing import _Record
from stigmer.store.changes import Changes, Put, Remove
from stigmer.store.rows import ABSENT, sealed_key
from stigmer.wire.descriptors import message_class
from stigmer.wire.message_types import full_name_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from stigmer.app import Plane
    from stigmer.store.rows import Row

CANARY = f"canary-{os.urandom(8).hex()}"
TOKEN, OTHER = "TOKEN", "OTHER"
NEW_ID = f"env-{samples.NOBODY}"


class Victims:
    """Resources with secrets, and what an attacker does to them.

    Attributes:
        first, second: environments of one organization.
        agent: it has an `env_spec` with the same keys.
        context: of an execution.
        execution: it has two callback tokens.
    """

    def __init__(self, plane: Plane) -> None:
        self.plane, self.store, self.stubs = plane, plane._store, Stubs(plane.channel)
        self.first = self.second = self.agent = self.context = self.execution = ("", "")

    async def make(self) -> None:
        value = environments.EnvironmentValue(value=CANARY, is_secret=True)
        data = {TOKEN: value, OTHER: value}
        ids: list[str] = []
        for _ in range(2):
            environment = samples.environment(org="acme")
            environment.spec.data = dict(data)
            ids.append(id_of(await self.stubs.environments.create(environment)))
        self.first, self.second = (("Environment", id_) for id_ in ids)
        agent = samples.agent(org="acme")
        agent.spec.env_spec = environments.EnvironmentSpec(data=dict(data))
        self.agent = ("Agent", id_of(await self.stubs.agents.create(agent)))
        execution = samples.agent_execution(agent_id=self.agent[1])
        execution.spec.callback_token = CANARY.encode()
        self.execution = ("AgentExecution", id_of(await self.stubs.executions.create(execution)))
        await self.stubs.report(self.execution[1], callback_token=CANARY.encode())
        made = samples.execution_context(self.execution[1], name="another")
        made.spec.data[TOKEN] = contexts.ExecutionValue(value=CANARY, is_secret=True)
        self.context = ("ExecutionContext", id_of(await self.stubs.contexts.create(made)))

    async def row(self, of: tuple[str, str]) -> Row:
        found = await self.store.get(*of)
        assert found is not None
        return found

    async def record(self, of: tuple[str, str]) -> bytes:
        found = await self.store.record(*sealed_key(*of))
        assert found is not None
        return found.value

    async def change(self, of: tuple[str, str], **parts: Any) -> None:
        """Change parts of a record."""
        record = _Record.of(await self.record(of))._replace(**parts)
        await self.write(of, record.encoded())

    async def write(self, of: tuple[str, str], record: bytes | None) -> None:
        await self.store.commit(Changes(records={sealed_key(*of): record}))

    async def change_row(self, of: tuple[str, str], change: Callable[[Any], object]) -> None:
        """Change a row's resource."""
        row = await self.row(of)
        kind = next(one.kind for one in HANDLERS if one.kind.name == of[0])
        wire = message_class(full_name_of(kind.generated)).FromString(row.data)
        change(wire)
        await self.store.commit(Changes(puts=[Put(replace(row, data=wire.SerializeToString(), keys=()), row.revision)]))

    async def codes(self, of: tuple[str, str]) -> dict[str, str]:
        """How the resource is shown to who may see values, and to a reader; neither sees a value."""
        reader = Principal("reader", "reader", frozenset({"*"}))
        return {
            "runner": await self._get(self.stubs, of),
            "reader": await self._get(Stubs(self.plane.channel_as(reader)), of),
        }

    async def _get(self, stubs: Stubs, of: tuple[str, str]) -> str:
        kind, id_ = of
        queries, id_type = {
            "Environment": (stubs.find_environments, ApiResourceId),
            "Agent": (stubs.find_agents, agents.AgentId),
            "ExecutionContext": (stubs.find_contexts, contexts.ExecutionContextId),
            "AgentExecution": (stubs.find_executions, executions.AgentExecutionId),
        }[kind]
        try:
            found = await queries.get(id_type(value=id_))
        except GRPCError as error:
            assert CANARY not in f"{error.message} {error.details}"  # noqa: PT017 - however it ends
            return error.status.name
        return "the value" if CANARY.encode() in bytes(found) else "no value"


async def swap_records(victims: Victims) -> list[tuple[str, str]]:
    first, second = await victims.record(victims.first), await victims.record(victims.second)
    await victims.write(victims.first, second)
    await victims.write(victims.second, first)
    return [victims.first, victims.second]


def part_of_another(part: str) -> Callable[[Victims], Awaitable[list[tuple[str, str]]]]:
    async def tamper(victims: Victims) -> list[tuple[str, str]]:
        other = _Record.of(await victims.record(victims.second))
        await victims.change(victims.first, **{part: getattr(other, part)})
        return [victims.first]

    return tamper


def flipped(part: str) -> Callable[[Victims], Awaitable[list[tuple[str, str]]]]:
    async def tamper(victims: Victims) -> list[tuple[str, str]]:
        value = getattr(_Record.of(await victims.record(victims.first)), part)
        last = bytes([value[-1] ^ 1]) if isinstance(value, bytes) else chr(ord(value[-1]) ^ 1)
        await victims.change(victims.first, **{part: value[:-1] + last})
        return [victims.first]

    return tamper


async def flip_a_ciphertext(victims: Victims) -> list[tuple[str, str]]:
    for of in (victims.first, victims.agent, victims.execution, victims.context):
        entries = dict(_Record.of(await victims.record(of)).entries)
        place, sealed = next(iter(entries.items()))
        await victims.change(of, entries={**entries, place: sealed[:-1] + bytes([sealed[-1] ^ 1])})
    return [victims.first, victims.agent, victims.execution, victims.context]


async def swap_the_values_of_two_keys(victims: Victims) -> list[tuple[str, str]]:
    entries = _Record.of(await victims.record(victims.first)).entries
    token, other = (Place("spec.data", key) for key in (TOKEN, OTHER))
    await victims.change(victims.first, entries={token: entries[other], other: entries[token]})
    return [victims.first]


async def swap_two_tokens(victims: Victims) -> list[tuple[str, str]]:
    entries = _Record.of(await victims.record(victims.execution)).entries
    spec, status = (Place(f"{part}.callback_token", "") for part in ("spec", "status"))
    await victims.change(victims.execution, entries={spec: entries[status], status: entries[spec]})
    return [victims.execution]


async def drop_a_value(victims: Victims) -> list[tuple[str, str]]:
    (place, sealed), _ = _Record.of(await victims.record(victims.first)).entries.items()
    await victims.change(victims.first, entries={place: sealed})
    return [victims.first]


async def give_it_to_another_kind(victims: Victims) -> list[tuple[str, str]]:
    await victims.write(victims.agent, await victims.record(victims.first))
    return [victims.agent]


async def copy_it_to_another_id(victims: Victims) -> list[tuple[str, str]]:
    row, record = await victims.row(victims.first), await victims.record(victims.first)
    copy = replace(row, id=NEW_ID, slug="copy", keys=(), revision=ABSENT)
    await victims.store.commit(Changes(puts=[Put(copy, ABSENT)], records={sealed_key("Environment", NEW_ID): record}))
    return [("Environment", NEW_ID)]


async def give_it_to_another_owner(victims: Victims) -> list[tuple[str, str]]:
    row, record = await victims.row(victims.first), await victims.record(victims.first)
    await victims.store.commit(Changes(removes=[Remove(row.kind, row.id, None)]))
    stolen = replace(row, owner=organization("umbrella"), namespace="umbrella", keys=(), revision=ABSENT)
    await victims.store.commit(Changes(puts=[Put(stolen, ABSENT)], records={sealed_key(row.kind, row.id): record}))
    return [victims.first]


async def give_it_to_another_execution(victims: Victims) -> list[tuple[str, str]]:
    await victims.change_row(victims.context, lambda wire: setattr(wire.spec, "execution_id", f"aex-{samples.NOBODY}"))
    return [victims.context]


async def take_the_flag_off(victims: Victims) -> list[tuple[str, str]]:
    await victims.change_row(victims.first, lambda wire: setattr(wire.spec.data[TOKEN], "is_secret", False))
    return [victims.first]


async def rename_a_key(victims: Victims) -> list[tuple[str, str]]:
    def rename(wire: Any) -> None:
        wire.spec.data["PRINTED"].CopyFrom(wire.spec.data[TOKEN])
        del wire.spec.data[TOKEN]

    await victims.change_row(victims.first, rename)
    return [victims.first]


async def put_a_value_beside_it(victims: Victims) -> list[tuple[str, str]]:
    await victims.change_row(victims.first, lambda wire: setattr(wire.spec.data[TOKEN], "value", "another"))
    return [victims.first]


async def remove_the_record(victims: Victims) -> list[tuple[str, str]]:
    await victims.write(victims.first, None)
    return [victims.first]


PARTS = ("data_key_id", "key_id", "wrapped", "manifest")
TAMPERED = {
    "records swapped": swap_records,
    **{f"{part} flipped": flipped(part) for part in PARTS},
    **{f"{part} of another": part_of_another(part) for part in (*PARTS, "entries") if part != "key_id"},
    "a ciphertext flipped": flip_a_ciphertext,
    "values swapped": swap_the_values_of_two_keys,
    "tokens swapped": swap_two_tokens,
    "a value dropped": drop_a_value,
    "of another kind": give_it_to_another_kind,
    "of another id": copy_it_to_another_id,
    "of another owner": give_it_to_another_owner,
    "of another execution": give_it_to_another_execution,
    "a flag taken off": take_the_flag_off,
    "a key renamed": rename_a_key,
    "a value beside it": put_a_value_beside_it,
    "the record removed": remove_the_record,
}


@pytest.mark.parametrize("tampering", TAMPERED)
async def test_nothing_that_was_tampered_with_is_shown(tampering: str) -> None:
    async with embedded(MEMORY) as plane:
        victims = Victims(plane)
        await victims.make()
        everything = {victims.first, victims.second, victims.agent, victims.context, victims.execution}
        for of in everything:
            shown = await victims.codes(of)
            assert (shown["runner"], shown["reader"] == "the value") == ("the value", False), of
        for of in (tampered := await TAMPERED[tampering](victims)):
            shown = await victims.codes(of)
            assert shown["runner"] == "DATA_LOSS", of
            assert shown["reader"] != "the value", of
        for of in everything - set(tampered):
            assert (await victims.codes(of))["runner"] == "the value", of


async def test_a_record_of_another_deployment_with_the_same_keys_does_not_open(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    records: list[bytes] = []
    for directory in (ours, theirs):
        async with embedded(directory) as plane:
            stubs = Stubs(plane.channel)
            made = samples.environment(id=NEW_ID, name="same", org="acme")
            made.spec.data = {TOKEN: environments.EnvironmentValue(value=CANARY, is_secret=True)}
            await stubs.environments.create(made)
            record = await plane._store.record(*sealed_key("Environment", NEW_ID))
            assert record is not None
            records.append(record.value)
        if directory == ours:
            theirs.mkdir()
            await asyncio.to_thread(shutil.copy, ours / "keyring.json", theirs / "keyring.json")
    assert records[0] != records[1]
    async with embedded(ours) as plane:
        await plane._store.commit(Changes(records={sealed_key("Environment", NEW_ID): records[1]}))
        victims = Victims(plane)
        assert (await victims.codes(("Environment", NEW_ID)))["runner"] == "DATA_LOSS"


async def test_a_mark_in_a_row_that_was_tampered_with_keeps_nothing() -> None:
    async with embedded(MEMORY) as plane:
        victims = Victims(plane)
        await victims.make()
        await swap_records(victims)
        found = samples.environment(id=victims.first[1], org="acme")
        found.spec.data = {TOKEN: environments.EnvironmentValue(value=MARK, is_secret=True)}
        with pytest.raises(GRPCError) as caught:
            await victims.stubs.environments.update(found)
        assert caught.value.status.name == "DATA_LOSS"
