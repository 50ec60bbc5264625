"""Secret values that are made to be searched for, and the forms in which they may turn up.

A canary is a text, or bytes that are no text, in five parts: `plain special OWN special plain`. All of a run have the
outer parts in common, so that one that was cut off is found as well, and the search costs the same however many there
are; the one in the middle tells which it is. The special parts are of characters that URLs, JSON and Python escape.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import string
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, quote_plus

from google.protobuf import text_encoding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PLAIN = string.ascii_letters + string.digits
_SPECIAL = '"\\/+&<%=??? é€'  # three, for one of them shows the last character of base64, whatever stands before
_PLAIN_CHARS, _SPECIAL_CHARS, _OWN_CHARS = 14, 10, 14
_BIT_GROUP = 6
"""Of base64."""


class Canary(NamedTuple):
    """A value that must turn up nowhere.

    Attributes:
        name: where it was planted; it may be told, the value never.
        value: the whole of it; a text's in UTF-8.
        own: the part that no other canary has.
    """

    name: str
    value: bytes
    own: bytes

    @property
    def is_apart(self) -> bool:
        """Whether it has nothing in common with the others."""
        return self.own == self.value


class Canaries:
    """The canaries of one run, made as they are asked for.

    Attributes:
        parts: what they have in common; each has two of them at its beginning and two at its end.
    """

    def __init__(self) -> None:
        self._text = (_plain(), _special(), _special(), _plain())
        self._bytes = (_plain(), _binary(), _binary(), _plain())
        self.parts = (*self._text, *self._bytes)
        self._made: dict[str, Canary] = {}

    def __repr__(self) -> str:
        return f"<Canaries {len(self._made)}>"

    def __iter__(self) -> Iterator[Canary]:
        return iter(self._made.values())

    def one(self, name: str, *, is_text: bool = True) -> Canary:
        """The canary of that name."""
        if name not in self._made:
            first, second, third, last = self._text if is_text else self._bytes
            own = _plain(_OWN_CHARS)
            self._made[name] = Canary(name, first + second + own + third + last, own)
        return self._made[name]

    def known(self, name: str, value: bytes) -> Canary:
        """A secret that was not made here, such as a token or a key, as a canary."""
        return self._made.setdefault(name, Canary(name, value, value))


def _plain(chars: int = _PLAIN_CHARS) -> bytes:
    return "".join(secrets.choice(_PLAIN) for _ in range(chars)).encode()


def _special() -> bytes:
    return (_SPECIAL + "".join(secrets.choice(_SPECIAL) for _ in range(_SPECIAL_CHARS))).encode()


def _binary() -> bytes:
    return b"\xff\x00" + os.urandom(_SPECIAL_CHARS)


def _base64(offset: int, write: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """As base64 has it where so many bytes, 0 to 2, stand before it in its group of three."""

    def written(data: bytes) -> bytes:
        begin = -(-offset * 8 // _BIT_GROUP)
        end = (offset + len(data)) * 8 // _BIT_GROUP
        return write(bytes(offset) + data)[begin:end]

    return written


def _json(*, ascii_alone: bool) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps(_text(data), ensure_ascii=ascii_alone)[1:-1].encode()


def _text(data: bytes) -> str:
    """The text that the bytes are; of others, as who takes them for one has it."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _url_in_lower_case(data: bytes) -> bytes:
    first, *rest = quote(data, safe="").split("%")
    return "%".join([first, *(part[:2].lower() + part[2:] for part in rest)]).encode()


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "raw": bytes,
    **{f"base64, {offset} bytes into a group": _base64(offset, base64.b64encode) for offset in range(3)},
    **{f"base64url, {offset} bytes into a group": _base64(offset, base64.urlsafe_b64encode) for offset in range(3)},
    "hex": lambda data: data.hex().encode(),
    "hex in capitals": lambda data: data.hex().upper().encode(),
    "URL-escaped": lambda data: quote(data, safe="").encode(),
    "URL-escaped as a form": lambda data: quote_plus(data).encode(),
    "URL-escaped in lower case": _url_in_lower_case,
    "JSON-escaped": _json(ascii_alone=True),
    "JSON-escaped in UTF-8": _json(ascii_alone=False),
    "Python-escaped": lambda data: repr(_text(data))[1:-1].encode(),
    "Python-escaped bytes": lambda data: repr(data)[2:-1].encode(),
    "protobuf-escaped": lambda data: text_encoding.CEscape(data, as_utf8=False).encode(),
}
"""How bytes may be written down: for each form what is to be searched for. Of base64 it is what stands there whatever
comes before and after."""
