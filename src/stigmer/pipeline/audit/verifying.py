"""Whether the audit is whole: each record linked to the one before, each checkpoint signed, and what was exported kept.

Whoever can write the database can change records and all links after them; what gives that away are the signed
checkpoints. Whoever has the signing key as well is given away by checkpoints that were exported in time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stigmer.pipeline.audit.reading import pages
from stigmer.secrets.audit import LOG, Event, Op
from stigmer.secrets.checkpoints import Checkpoint
from stigmer.store.errors import DamagedError
from stigmer.store.rows import LogEntry, chained

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stigmer.pipeline.audit.reading import Entries


class Broken(Exception):
    """The audit is not what was written.

    Attributes:
        number: of the entry where that shows.
        why: what is wrong there.
    """

    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"audit entry {number}: {why}")
        self.number, self.why = number, why


@dataclass(slots=True)
class Verified:
    """What was found whole.

    Attributes:
        first: the number of the first entry that was looked at; 0 where there is none.
        last: of the last one.
        checkpoints: how many checkpoints stand between them.
        signed: the number of the last entry that a checkpoint is about; later ones have none yet.
        exported: how many exported checkpoints were compared.
        key: the public key that the checkpoints are signed with; empty where there is none.
    """

    first: int = 0
    last: int = 0
    checkpoints: int = 0
    signed: int = 0
    exported: int = 0
    key: bytes = b""


async def verify(
    source: Entries, *, exported: Iterable[Checkpoint] = (), since: Checkpoint | None = None, key: bytes = b""
) -> Verified:
    """See whether the audit is whole.

    Args:
        source: where it is read.
        exported: checkpoints that were kept elsewhere; those of entries that are cut off, or before `since`, are only
            looked at for their signatures.
        since: one of them, from which on it is looked at; the entries before it are not read.
        key: the public key of the server; where it is empty, that of `since`, of the exported ones, or else of the
            first checkpoint in the log, for which nothing vouches then.

    Raises:
        Broken: it is not; names the entry.
    """
    kept = [*exported, *([since] if since is not None else [])]
    walk = _Walk(key or (kept[-1].key if kept else b""), since)
    for one in kept:
        walk.check_signature(one, one.number)
        walk.missing.add(one)
        walk.wanted.setdefault(one.number, []).append(one)
    try:
        async for page in pages(source, since.number - 1 if since is not None else 0):
            walk.begins = True
            for entry in page:
                walk.take(entry)
    except DamagedError as error:
        raise Broken(
            int(error.id), "it does not follow from the one before: one of both was changed or left out"
        ) from None
    return walk.end()


@dataclass(slots=True)
class _Walk:
    """From entry to entry.

    Attributes:
        key: the public key that checkpoints must have; empty until there is one.
        since: where it begins; None is the beginning of the log.
        found: what was found until now.
        wanted: the exported checkpoints, by the entries that they are about.
        missing: the exported checkpoints that were not yet met.
        links: those of the entries since the last checkpoint's.
        begins: whether the next entry is the first of what is read at once.
        start: the first entry, where what is before it is not there.
        cut: the last cut.
        before: the entry before.
    """

    key: bytes
    since: Checkpoint | None
    found: Verified = field(default_factory=Verified)
    wanted: dict[int, list[Checkpoint]] = field(default_factory=dict[int, list[Checkpoint]])
    missing: set[Checkpoint] = field(default_factory=set[Checkpoint])
    links: dict[int, bytes] = field(default_factory=dict[int, bytes])
    begins: bool = True
    start: LogEntry | None = None
    cut: Checkpoint | None = None
    before: LogEntry | None = None

    def take(self, entry: LogEntry) -> None:
        """Look at the next entry. Raises Broken."""
        self._check_link(entry)
        self.found.last = entry.number
        self.before, self.links[entry.number] = entry, entry.link
        for one in self.wanted.pop(entry.number, ()):
            self.found.exported += 1
            if one.link != entry.link:
                raise Broken(entry.number, f"it, or one before it, is not the one of {_words(one)}")
        self._look_into(entry)

    def end(self) -> Verified:
        """What was found, once there is no further entry. Raises Broken."""
        begin = self.since.number if self.since is not None else 1
        if self.start is not None and self.start.number > begin:
            self._check_start(self.start)
        for number, kept in sorted(self.wanted.items()):
            if number >= begin and not self._is_cut(number):
                raise Broken(number, f"it is not there, but in {_words(kept[0])}: the log was cut off")
        for one in self.missing:
            if one.number >= begin and not self._is_cut(one.number):
                raise Broken(self.found.last + 1, f"{_words(one)} itself is not there: the log was cut off")
        self.found.key = self.key
        return self.found

    def check_signature(self, one: Checkpoint, number: int) -> None:
        """Refuse a checkpoint that stands in that entry. Raises Broken."""
        if not one.is_genuine:
            raise Broken(number, "the signature of a checkpoint is not good")
        self.key = self.key or one.key
        if one.key != self.key:
            raise Broken(number, "a checkpoint is signed by another key than the server's")

    def _check_link(self, entry: LogEntry) -> None:
        follows = self.before.number + 1 if self.before is not None else 1
        if self.before is None:
            self.found.first = entry.number
        begins, self.begins = self.begins, False
        if begins and entry.number > follows:  # a cut may tell of that at the end, also one that was made meanwhile
            self.found.first, self.start = entry.number, entry
            return
        if chained(self.before, LOG, entry.value) != entry:
            raise Broken(entry.number, "it does not follow from the one before: one of both was changed or left out")

    def _look_into(self, entry: LogEntry) -> None:
        try:
            event = Event.of(entry.value)
            one = Checkpoint.of(entry.value) if event.op in {Op.CHECKPOINT, Op.CUT} else None
        except ValueError:
            raise Broken(entry.number, "it is no record of the audit") from None
        if one is not None:
            self.missing.discard(one)
            self.check_signature(one, entry.number)
            self._check_checkpoint(one, entry.number)

    def _check_checkpoint(self, one: Checkpoint, number: int) -> None:
        former = self.found.signed + 1 if one.op is Op.CHECKPOINT else self.cut.number if self.cut is not None else 0
        if not former <= one.number < number:  # a cut that was interrupted is signed again
            raise Broken(number, f"it is a {one.op} of entry {one.number}, which has no place there: it was moved")
        known = self.links.get(one.number)
        if known is not None and known != one.link:
            raise Broken(one.number, f"it, or one before it, is not the one that the {one.op} in entry {number} signs")
        self.found.checkpoints += 1
        if one.op is Op.CUT:
            self.cut = one
        else:
            self.found.signed = one.number
            self.links = {each: link for each, link in self.links.items() if each >= one.number}

    def _check_start(self, entry: LogEntry) -> None:
        """The log does not begin with entry 1: a signed cut must say so."""
        gone = entry.number - 1
        if not self._is_cut(gone):
            raise Broken(entry.number, f"the entries up to {gone} are not there, and no signed cut tells of that")
        if self.cut is not None and self.cut.number == gone:
            before = LogEntry(LOG, gone, b"", self.cut.link)
            if chained(before, LOG, entry.value) != entry:
                raise Broken(entry.number, "it does not follow from the entry that the last cut is about")

    def _is_cut(self, number: int) -> bool:
        return self.cut is not None and number <= self.cut.number


def _words(one: Checkpoint) -> str:
    return f"the exported checkpoint of entry {one.number}"
