"""How much text an error may have: statuses travel in headers. `errors` bounds its messages so."""

from __future__ import annotations

CLIP_CHARS = 160
"""How much of a caller's own text an error repeats: statuses travel in headers, which clients limit to 8 KiB."""
MAX_TRAILER_BYTES = 6_000
"""How much of them an error's text may take: percent-encoded as the message, twice in base64 within the details."""


def clip(text: str) -> str:
    """A caller's text, short enough to be repeated in an error."""
    return text if len(text) <= CLIP_CHARS else f"{text[:CLIP_CHARS]}…"


def trailer_bytes(text: str) -> int:
    """What a text takes of the trailers."""
    raw = text.encode(errors="replace")
    escaped = sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in raw)
    return escaped + len(raw) * 8 // 3


def bounded(text: str) -> str:
    """A text, cut where it would take more than MAX_TRAILER_BYTES."""
    if len(text) <= CLIP_CHARS:
        return text
    kept = text[:MAX_TRAILER_BYTES]
    while (size := trailer_bytes(kept)) > MAX_TRAILER_BYTES:
        kept = kept[: min(len(kept) - 1, len(kept) * MAX_TRAILER_BYTES // size)]
    return text if len(kept) == len(text) else f"{kept}…"
