"""What a server with leaks gives away is found, by its channel and its form; one without them gives nothing away."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from stigmer.errors import Violation
from stigmer.pipeline import vault
from stigmer.pipeline.context import Context
from stigmer.proof.client import ERRORS, FRAMES
from stigmer.proof.run import Run
from stigmer.secrets import fields
from stigmer.store.transaction import Transaction
from stigmer.wire import codec

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def leak_to_log_and_store(monkeypatch: pytest.MonkeyPatch) -> None:
    take, put_record, taken = fields.take, Transaction.put_record, list[bytes]()

    def logging(wire: Any) -> Any:
        values, dropped = take(wire)
        for value in values.values():
            vault.log.debug("saving", value=base64.b64encode(b"x" + value).decode())
        taken[:] = values.values()
        return values, dropped

    def storing(self: Transaction, table: str, key: str, *arguments: Any) -> None:
        for value in taken:
            put_record(self, "leaks", key, quote(value, safe="").encode())
        put_record(self, table, key, *arguments)

    monkeypatch.setattr(fields, "take", logging)
    monkeypatch.setattr(Transaction, "put_record", storing)


def leak_to_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaking(wire: Any) -> list[Violation]:
        found = [one for one in fields.entries(wire) if one.read().startswith(b"enc:v1:")]
        return [Violation(one.path, f"not {one.read().hex()}") for one in found]

    monkeypatch.setattr("stigmer.steps.validate_proto.foreign_values", leaking)


def leak_to_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    async def leaking(self: Context[Any, Any], row: Any) -> Any:
        resource = await self.load(row, with_secrets=True)
        return codec.Encoded(type(resource), codec.encode(resource))

    monkeypatch.setattr(Context, "overview", leaking)


async def test_each_leak_is_told_by_its_channel_and_its_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "stigmer")
    for leak in (leak_to_log_and_store, leak_to_errors, leak_to_lists):
        leak(monkeypatch)
    run = Run(tmp_path, quick=True)
    run._log.touch()
    await run._in_process(await asyncio.to_thread(run._callers), None)
    found = {(finding.channel, finding.form) for finding in run._search.findings}
    assert ("log records of a host", "base64, 1 bytes into a group") in found
    assert (ERRORS, "hex") in found
    assert (FRAMES, "raw") in found
    assert {("rows of the backup", "URL-escaped"), ("backup", "URL-escaped")} <= found
    assert {channel for channel, form in found if form == "URL-escaped"} & {"database file", "write-ahead log"}
