"""The checksum of a row as migrations write it; each names the columns that there were by then."""

from __future__ import annotations

from zlib import crc32


def sum_of(data: bytes, *columns: object) -> int:
    """The CRC-32 of a row's other columns and its data; a slug that is there comes with `=` before it."""
    return crc32(data, crc32("".join(f"{column}\0" for column in columns).encode()))


def named(slug: str | None) -> str:
    """A slug as it is summed."""
    return "" if slug is None else f"={slug}"
