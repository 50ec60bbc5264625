"""Sealed values open where they were sealed, and whatever is changed, moved or left out does not open at all."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, TypeVar, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stigmer.errors import DataLoss
from stigmer.secrets import sealing
from stigmer.secrets.cipher import packed
from stigmer.secrets.fields import Place
from stigmer.secrets.keyring import Keyring
from stigmer.secrets.sealing import Binding, Sealer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

T = TypeVar("T")

KEYS = Keyring(None)
KEYS.open(make=True)
OLD, NEW = KEYS.active, KEYS.add().id
KEYS.activate(NEW)
SEALER = Sealer(KEYS)
HERE = Binding("deployment", "ExecutionContext", "acme", "ctx-1", "aex-1")
TOKEN, OTHER, CALLBACK = Place("spec.data", "TOKEN"), Place("spec.data", "OTHER"), Place("spec.callback_token", "")
VALUES = {TOKEN: b"canary-token", OTHER: b"canary-other", CALLBACK: b"canary-\xff\x00"}


def at_once(work: Coroutine[object, object, T]) -> T:
    """What the work gives; with a keyring that is at hand it never waits for anything."""
    try:
        work.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    raise AssertionError("it waits")


def seal(values: Mapping[Place, bytes] = VALUES, binding: Binding = HERE) -> bytes:
    return at_once(SEALER.seal(binding, values))


def sealed_before_rotation() -> bytes:
    KEYS.activate(OLD)
    try:
        return seal()
    finally:
        KEYS.activate(NEW)


def opens(record: bytes, binding: Binding = HERE) -> dict[Place, bytes]:
    return at_once(SEALER.open(binding, record))


def refused(record: bytes, binding: Binding = HERE) -> None:
    """Nothing of it opens, for whatever purpose, and what is said of it holds nothing of a value."""
    attempts: tuple[Callable[[], object], ...] = (
        lambda: at_once(SEALER.open(binding, record)),
        lambda: at_once(SEALER.seal(binding, {}, record, [TOKEN])),
    )
    for attempt in attempts:
        with pytest.raises(DataLoss) as failed:
            attempt()
        said = "".join(traceback.format_exception(failed.value)) + repr(failed.value)
        assert "canary" not in said
        assert failed.value.name == binding.id


RECORD = seal()
PLACES = st.builds(Place, st.text(max_size=8), st.text(max_size=8))


@given(st.dictionaries(PLACES, st.binary(max_size=40), max_size=5), st.builds(Binding, *[st.text(max_size=5)] * 5))
def test_values_open_as_they_were_sealed(values: dict[Place, bytes], binding: Binding) -> None:
    record = seal(values, binding)
    assert opens(record, binding) == values
    assert sealing.places_of(record) == values.keys()
    assert not any(value in record for value in values.values() if len(value) > 4)


def test_no_value_stands_in_its_record_and_no_two_records_are_alike() -> None:
    assert b"canary" not in RECORD
    assert seal() != seal()


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_a_record_with_any_byte_changed_does_not_open(flip: int) -> None:
    for at, byte in enumerate(RECORD):
        refused(RECORD[:at] + bytes([byte ^ flip]) + RECORD[at + 1 :])


@given(st.integers(0, len(RECORD) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_a_record_that_is_cut_or_spliced_does_not_open(at: int, inserted: bytes, removed: int) -> None:
    changed = RECORD[:at] + inserted + RECORD[at + removed :]
    if changed != RECORD:
        refused(changed)


@given(st.sampled_from(Binding._fields), st.text(max_size=8))
def test_a_record_opens_under_no_other_binding(name: str, text: str) -> None:
    binding = HERE._replace(**{name: text})
    if binding != HERE:
        refused(RECORD, binding)


def test_what_moves_from_one_part_of_a_binding_to_the_next_makes_another_one() -> None:
    refused(seal(binding=Binding("d", "Ab", "c", "i", "x")), Binding("d", "A", "bc", "i", "x"))
    refused(seal(binding=Binding("d", "K", "c", "ix", "")), Binding("d", "K", "c", "i", "x"))


def _entry(record: bytes, place: Place) -> bytes:
    return sealing._Record.of(record).entries[place]


def _with(record: bytes, **parts: object) -> bytes:
    return sealing._Record.of(record)._replace(**parts).encoded()  # type: ignore[arg-type]


@pytest.mark.parametrize("other", [seal(), seal(binding=HERE._replace(id="ctx-2")), sealed_before_rotation()])
@pytest.mark.parametrize("part", ["data_key_id", "key_id", "wrapped", "manifest", "entries"])
def test_no_part_of_another_record_fits(other: bytes, part: str) -> None:
    changed = _with(RECORD, **{part: getattr(sealing._Record.of(other), part)})
    if changed != RECORD:
        refused(changed)


def test_entries_that_are_swapped_renamed_dropped_doubled_or_reordered_do_not_open() -> None:
    entries = dict(sealing._Record.of(RECORD).entries)
    swapped = {**entries, TOKEN: entries[OTHER], OTHER: entries[TOKEN]}
    renamed = {Place("spec.data", "NEW") if place == TOKEN else place: one for place, one in entries.items()}
    moved = {Place("spec.runtime_env", place.key): one for place, one in entries.items()}
    dropped = {place: one for place, one in entries.items() if place != OTHER}
    doubled = {**entries, Place("spec.data", "COPY"): entries[TOKEN]}
    for changed in (swapped, renamed, moved, dropped, doubled, dict(reversed(entries.items())), {}):
        refused(_with(RECORD, entries=changed))
    refused(RECORD + packed(TOKEN.path.encode(), TOKEN.key.encode(), entries[TOKEN]))


def test_an_older_value_of_the_same_key_does_not_fit_into_the_record_of_now() -> None:
    now = at_once(SEALER.seal(HERE, {TOKEN: b"new"}, RECORD, [OTHER]))
    entries = dict(sealing._Record.of(now).entries)
    refused(_with(now, entries={**entries, TOKEN: _entry(RECORD, TOKEN)}))


def test_kept_values_stay_and_new_ones_count_before_them() -> None:
    changed = at_once(SEALER.seal(HERE, {TOKEN: b"new"}, RECORD, [TOKEN, OTHER]))
    assert opens(changed) == {TOKEN: b"new", OTHER: VALUES[OTHER]}


@pytest.mark.parametrize("before", [RECORD, None])
def test_what_is_not_there_cannot_be_kept(before: bytes | None) -> None:
    with pytest.raises(LookupError):
        at_once(SEALER.seal(HERE, {}, before, [Place("spec.data", "NEVER")]))


def test_a_damaged_record_can_be_replaced_by_new_values_alone() -> None:
    assert opens(at_once(SEALER.seal(HERE, VALUES, b"damaged"))) == VALUES


def test_rewrapping_changes_the_key_and_nothing_else() -> None:
    old = sealed_before_rotation()
    assert sealing.key_id_of(old) == OLD
    new = at_once(SEALER.rewrap(HERE, old))
    assert new is not None
    assert sealing.key_id_of(new) == NEW
    assert sealing._Record.of(new).entries == sealing._Record.of(old).entries
    assert opens(new) == VALUES
    assert at_once(SEALER.rewrap(HERE, new)) is None


def test_a_new_value_brings_the_record_under_the_active_key() -> None:
    changed = at_once(SEALER.seal(HERE, {TOKEN: b"new"}, sealed_before_rotation(), [OTHER]))
    assert sealing.key_id_of(changed) == NEW


def test_a_record_under_a_key_that_is_not_there_does_not_open() -> None:
    other = Keyring(None)
    other.open(make=True)
    refused(at_once(Sealer(other).seal(HERE, VALUES)))


def test_a_damaged_record_is_not_rewrapped() -> None:
    old = sealed_before_rotation()
    with pytest.raises(DataLoss):
        at_once(SEALER.rewrap(HERE, old[:-1]))
    with pytest.raises(DataLoss):
        at_once(SEALER.rewrap(HERE._replace(owner="other"), old))


def test_nothing_that_is_printed_shows_a_key() -> None:
    for key in KEYS.keys:
        for shown in (repr(KEYS), repr(key), str(key), repr(SEALER), repr(KEYS._ciphers)):
            assert key.secret.hex() not in shown
            assert repr(key.secret) not in shown
