"""The audit over the wire: the last entries, or all of them, in messages that every client takes; who is denied."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import samples
from conformance import invalid
from edge_rig import Stubs, environments, id_of
from grpclib.exceptions import GRPCError

from stigmer.access.principal import Principal
from stigmer.app import assembly
from stigmer.secrets.audit import LOG, Event, Op
from stigmer.steps import audit_entries
from stigmer.store.changes import Append, Changes
from stigmer.store.memory import MemoryStore
from stigmer.types import ApiResourceId, ExportAuditRequest, TailAuditRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stigmer.types import AuditEntry

CANARY = "canary-of-the-audit"


@pytest.fixture
async def app() -> AsyncIterator[assembly.App]:
    async with MemoryStore() as store:
        yield assembly.assemble(store)


@pytest.fixture
def stubs(app: assembly.App) -> Stubs:
    return Stubs(app.edge.channel(Principal("root", "admin", frozenset({"*"}))))


async def read_secret(stubs: Stubs, times: int) -> None:
    """So many reads of a secret, and its creation."""
    wanted: Any = samples.environment(org="acme")
    wanted.spec.data = {"TOKEN": environments.EnvironmentValue(value=CANARY, is_secret=True)}
    made = await stubs.environments.create(wanted)
    for _ in range(times):
        await stubs.find_environments.get(ApiResourceId(value=id_of(made)))


async def exported(stubs: Stubs, after: int = 0) -> list[AuditEntry]:
    pages = stubs.admin.export_audit(ExportAuditRequest(after=after))
    return [entry async for page in pages for entry in page.entries]


async def test_entries_are_those_of_the_log(app: assembly.App, stubs: Stubs) -> None:
    await read_secret(stubs, 3)
    entries = [(entry.number, entry.value, entry.link) for entry in await app.store.log(LOG)]
    assert [(one.number, one.record, one.link) for one in await exported(stubs)] == entries
    assert [one.number for one in await exported(stubs, after=3)] == [4]
    assert await exported(stubs, after=4) == []
    assert CANARY not in "".join(str(one.record) for one in await exported(stubs))
    (page,) = [page async for page in stubs.admin.tail_audit(TailAuditRequest(entries=2))]
    assert [json.loads(one.record)["op"] for one in page.entries] == ["read", "read"]
    assert page.signing_key == (await app.trail.keys.get()).signer.key


async def test_what_was_never_audited_has_neither_entries_nor_a_key(stubs: Stubs) -> None:
    (page,) = [page async for page in stubs.admin.export_audit(ExportAuditRequest())]
    assert (page.entries, page.signing_key) == ([], b"")
    assert [page async for page in stubs.admin.tail_audit(TailAuditRequest())] == []


async def test_twenty_are_shown_where_nobody_says_how_many(stubs: Stubs) -> None:
    await read_secret(stubs, 30)
    shown = [one.number async for page in stubs.admin.tail_audit(TailAuditRequest()) for one in page.entries]
    assert shown == [*range(12, 32)]


async def test_a_message_has_only_so_many_bytes_of_entries(
    app: assembly.App, stubs: Stubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (300, 300, 300, 2000, 300):
        event = Event(Op.READ, "x" * size)
        await app.store.commit(Changes(appends=[Append(LOG, event.encoded())]))
    monkeypatch.setattr(audit_entries, "MESSAGE_BYTES", 1000)
    sizes = [len(page.entries) async for page in stubs.admin.export_audit(ExportAuditRequest())]
    assert sizes == [0, 2, 1, 1, 1]


async def test_what_cannot_be_asked_for_is_refused(stubs: Stubs) -> None:
    for request in (TailAuditRequest(entries=-1), TailAuditRequest(entries=1001)):
        await invalid(anext(stubs.admin.tail_audit(request)), "entries")
    await invalid(anext(stubs.admin.export_audit(ExportAuditRequest(after=-1))), "after")


async def test_a_call_that_is_denied_is_in_the_audit(app: assembly.App) -> None:
    for ann in (Principal("ann", "reader", frozenset({"*"})), Principal("ann", "admin", frozenset({"acme"}))):
        with pytest.raises(GRPCError, match="login_to_back_office"):
            await Stubs(app.edge.channel(ann)).admin.add_key()
    told = [Event.of(entry.value) for entry in await app.store.log(LOG)]
    assert [(one.op, one.actor, one.code, one.method.rpartition("/")[2]) for one in told] == [
        (Op.DENIED, "ann", "PERMISSION_DENIED", "addKey")
    ] * 2
