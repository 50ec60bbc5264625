"""Whatever is done to the audit's records, `verify` sees it, and names the entry."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from stigmer.pipeline.audit.verifying import Broken, Verified, verify
from stigmer.secrets.audit import LOG, Event, Op
from stigmer.secrets.checkpoints import Checkpoint, Signer
from stigmer.store.rows import LogEntry, chained

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SIGNER, OTHER = Signer(os.urandom(32)), Signer(os.urandom(32))


class Listed:
    """A log of entries as they are, whatever their links say."""

    def __init__(self, entries: Sequence[LogEntry]) -> None:
        self.entries = list(entries)

    async def log(self, name: str, after: int = 0, limit: int = 1000) -> Sequence[LogEntry]:
        assert name == LOG
        return [one for one in self.entries if one.number > after][:limit]

    async def last_entry(self, name: str) -> LogEntry | None:
        assert name == LOG
        return self.entries[-1] if self.entries else None


def appended(entries: list[LogEntry], value: bytes) -> LogEntry:
    entries.append(chained(entries[-1] if entries else None, LOG, value))
    return entries[-1]


def signed(entries: list[LogEntry], signer: Signer = SIGNER, op: Op = Op.CHECKPOINT, of: int = -1) -> Checkpoint:
    one = signer.sign(op, entries[of].number, entries[of].link)
    appended(entries, one.encoded())
    return one


def written(signer: Signer = SIGNER) -> tuple[list[LogEntry], list[Checkpoint]]:
    """A log with a record of each form, a checkpoint after each three, and a cut; and what is exported of it."""
    entries: list[LogEntry] = []
    kept: list[Checkpoint] = []
    for number, op in enumerate([op for op in Op if op not in {Op.CHECKPOINT, Op.CUT}]):
        event = Event(op, "ada", "bob", f"req-{number}", "10.0.0.1:7", "/s/get", "Environment", f"env-{number}", "acme")
        appended(entries, replace(event, keys={'spec.data["K"]': "hash"}, shown=number % 2 == 0).encoded())
        if number % 3 == 2:
            kept.append(signed(entries, signer))
    kept += [signed(entries, signer), signed(entries, signer, Op.CUT, of=4), signed(entries, signer)]
    return entries, kept


ENTRIES, KEPT = written()
SIGNED = KEPT[-1].number
PLACES = range(len(ENTRIES))


def relinked(values: Sequence[bytes], first: int = 1) -> list[LogEntry]:
    """A log of these values, by somebody who can compute links."""
    entries: list[LogEntry] = []
    before = LogEntry(LOG, first - 1, b"", b"x" * 32) if first > 1 else None
    for value in values:
        before = chained(before, LOG, value)
        entries.append(before)
    return entries


async def broken(
    entries: Sequence[LogEntry], *, key: bytes = SIGNER.key, exported: Sequence[Checkpoint] = ()
) -> Broken:
    with pytest.raises(Broken) as caught:
        await verify(Listed(entries), exported=exported, key=key)
    assert str(caught.value).startswith(f"audit entry {caught.value.number}: ")
    return caught.value


async def test_what_was_written_is_whole() -> None:
    for exported in ((), KEPT):
        found = await verify(Listed(ENTRIES), exported=exported, key=SIGNER.key)
        assert found == Verified(1, len(ENTRIES), len(KEPT), SIGNED, len(exported), SIGNER.key)
    assert await verify(Listed([]), key=SIGNER.key) == Verified(key=SIGNER.key)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


NAIVE: dict[str, Callable[[list[LogEntry], int], list[LogEntry]]] = {
    "a byte of the record": lambda all_, n: [
        *all_[:n],
        replace(all_[n], value=flipped(all_[n].value, 9)),
        *all_[n + 1 :],
    ],
    "a byte of the link": lambda all_, n: [*all_[:n], replace(all_[n], link=flipped(all_[n].link, 9)), *all_[n + 1 :]],
    "the number": lambda all_, n: [*all_[:n], replace(all_[n], number=n + 2), *all_[n + 1 :]],
    "left out": lambda all_, n: [*all_[:n], *all_[n + 1 :]],
    "there twice": lambda all_, n: [*all_[: n + 1], *all_[n:]],
    "swapped with the next": lambda all_, n: [*all_[:n], *all_[n + 1 : n + 2], all_[n], *all_[n + 2 :]],
    "in place of the next": lambda all_, n: [*all_[: n + 1], replace(all_[n], number=n + 2), *all_[n + 2 :]],
}


SOMEWHERE = [(change, place) for change in NAIVE for place in range(len(ENTRIES) - 2)]


@pytest.mark.parametrize(("change", "place"), [one for one in SOMEWHERE if one != ("left out", 0)])  # as a cut does
async def test_what_is_done_to_an_entry_is_seen_at_it_or_at_the_next(change: str, place: int) -> None:
    error = await broken(NAIVE[change](ENTRIES, place))
    assert error.number in {place + 1, place + 2}


CLEVER: dict[str, Callable[[list[bytes], int], list[bytes]]] = {
    "changed": lambda all_, n: [*all_[:n], Event(Op.READ, "nobody").encoded(), *all_[n + 1 :]],
    "left out": lambda all_, n: [*all_[:n], *all_[n + 1 :]],
    "there twice": lambda all_, n: [*all_[: n + 1], *all_[n:]],
    "swapped with the next": lambda all_, n: [*all_[:n], *all_[n + 1 : n + 2], all_[n], *all_[n + 2 :]],
    "put in": lambda all_, n: [*all_[:n], Event(Op.READ, "nobody").encoded(), *all_[n:]],
}


@pytest.mark.parametrize("change", CLEVER)
@pytest.mark.parametrize("place", range(SIGNED - 1))
async def test_who_computes_all_links_anew_is_given_away_by_the_checkpoints(change: str, place: int) -> None:
    changed = relinked(CLEVER[change]([entry.value for entry in ENTRIES], place))
    await broken(changed)
    await broken(changed, key=b"", exported=KEPT)


@pytest.mark.parametrize("left", [*PLACES])
async def test_a_log_that_is_cut_off_at_its_end_is_seen_by_what_was_exported(left: int) -> None:
    error = await broken(ENTRIES[:left], exported=KEPT)
    assert error.number > left
    assert "the log was cut off" in error.why


@pytest.mark.parametrize("gone", [number for number in PLACES if number])
async def test_a_log_that_is_cut_off_at_its_beginning_needs_a_signed_cut(gone: int) -> None:
    (cut,) = [one for one in KEPT if one.op is Op.CUT]
    rest = ENTRIES[gone:]
    if gone <= cut.number and any(entry.value == cut.encoded() for entry in rest):
        assert (await verify(Listed(rest), exported=KEPT, key=SIGNER.key)).first == gone + 1
    else:
        await broken(rest)
    if gone <= cut.number:
        await broken(relinked([entry.value for entry in rest], gone + 1))


async def test_who_has_the_database_alone_cannot_sign_it_anew() -> None:
    forged, exported = written(OTHER)
    assert (await broken(forged)).why == "a checkpoint is signed by another key than the server's"
    await broken(forged, key=b"", exported=KEPT)
    assert (await verify(Listed(forged))).key == OTHER.key  # nothing vouches for it: who calls has to compare
    with pytest.raises(Broken, match="another key"):
        await verify(Listed(ENTRIES), exported=exported, key=SIGNER.key)


async def test_who_has_the_signing_key_too_cannot_rewrite_what_was_exported() -> None:
    values = [entry.value for entry in ENTRIES]
    forged: list[LogEntry] = []
    for number, value in enumerate(values):
        told = Event.of(value)
        if told.op in {Op.CHECKPOINT, Op.CUT}:
            signed(forged, op=told.op, of=Checkpoint.of(value).number - 1)
        else:
            appended(forged, Event(Op.READ, "nobody").encoded() if number == 1 else value)
    assert (await verify(Listed(forged), key=SIGNER.key)).last == len(ENTRIES)
    for one in KEPT:
        assert (await broken(forged, exported=[one])).number == one.number


@pytest.mark.parametrize("number", [*range(len(KEPT))])
async def test_a_checkpoint_that_is_changed_or_moved_is_seen(number: int) -> None:
    one = KEPT[number]
    for changed in (
        replace(one, number=one.number - 1),
        replace(one, link=flipped(one.link, 0)),
        replace(one, at_ms=one.at_ms + 1),
        replace(one, signature=flipped(one.signature, 0)),
        replace(one, signature=b""),
        replace(one, key=b""),
        replace(one, op=Op.CUT if one.op is Op.CHECKPOINT else Op.CHECKPOINT),
    ):
        assert not changed.is_genuine
        with pytest.raises(Broken, match="signature"):
            await verify(Listed(ENTRIES), exported=[changed], key=SIGNER.key)
    entries = list(ENTRIES)
    appended(entries, one.encoded())
    if one.op is Op.CHECKPOINT:
        assert (await broken(entries)).number == len(entries)
    else:  # the same cut twice, as after one that was interrupted
        assert (await verify(Listed(entries))).last == len(entries)


async def test_since_a_checkpoint_what_came_before_it_is_not_read() -> None:
    for since in KEPT:
        damaged = [replace(entry, value=b"?") for entry in ENTRIES[: since.number - 1]] + ENTRIES[since.number - 1 :]
        found = await verify(Listed(damaged), since=since)
        assert (found.first, found.last, found.key) == (since.number, len(ENTRIES), SIGNER.key)
        await verify(Listed(damaged), since=since, exported=KEPT)
        with pytest.raises(Broken, match="the log was cut off"):
            await verify(Listed(ENTRIES[: since.number - 1]), since=since)
        with pytest.raises(Broken, match="exported checkpoint"):
            await verify(Listed(relinked([b"?", *(entry.value for entry in ENTRIES[1:])])), since=since)


async def test_what_is_no_record_is_seen() -> None:
    for value in (
        b"",
        b"{}",
        b"[1]",
        b'{"v":1,"at":"now","op":"read"}',
        b'{"v":1,"at":"2026-01-01T00:00:00Z","op":"?"}',
    ):
        assert (await broken(relinked([value]))).why == "it is no record of the audit"


class ByTwo(Listed):
    """The same, of which two entries are read at once."""

    async def log(self, name: str, after: int = 0, limit: int = 1000) -> Sequence[LogEntry]:
        return await super().log(name, after, min(limit, 2))


class CutMeanwhile(ByTwo):
    """A log whose first entries go, behind a signed cut, once some of them were read."""

    async def log(self, name: str, after: int = 0, limit: int = 1000) -> Sequence[LogEntry]:
        if after == 2:
            self.entries = self.entries[5:]
        return await super().log(name, after, limit)


async def test_a_log_that_is_cut_while_it_is_read_is_whole_behind_the_cut() -> None:
    found = await verify(CutMeanwhile(ENTRIES), exported=KEPT, key=SIGNER.key)
    assert (found.first, found.last) == (6, len(ENTRIES))
    with pytest.raises(
        Broken, match="audit entry 9: the entries up to 8 are not there, and no signed cut tells of that"
    ):
        await verify(ByTwo([*ENTRIES[:2], *ENTRIES[8:]]), key=SIGNER.key)
