"""The keys that an issuer of JWTs signs with, of its URL or of a file (a JWK set, RFC 7517).

`jwt` imports it on a thread, where JWT is set: joserfc and httpx2 take 0.2 s.
"""

from __future__ import annotations

import asyncio
import json
import math
import ssl
import stat
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeAlias, cast

import httpx2
from joserfc.jwk import JWKRegistry, Key

from stigmer.access.threads import on_thread
from stigmer.errors import StartupError, Unavailable
from stigmer.telemetry.logs import get_logger

REFRESH_S = 300.0
"""How often the keys are fetched while all that is asked for is known; a key that is withdrawn is refused then."""
PAUSE_S = 10.0
"""How long no unknown key has them fetched again."""
FETCH_S = 4.0
"""How long the issuer may take; the gate waits for 5 s."""
MAX_BYTES = 2**20
MOST_KEYS = 100
_OF_RSA = range(342, 1367)
"""How long a modulus in base64 may be: 2048 to 8192 bits."""
_MEMBERS = frozenset({"kty", "kid", "alg", "key_ops", "n", "e", "crv", "x", "y"})
_USES = (None, "sig", "jwt-svid")

KeyId: TypeAlias = tuple[str, str]
"""`kid` and `kty`."""


class Keys:
    """An issuer's keys: an async context manager, which fetches them again and again while it is entered.

    Where that fails, those that are known stay good.

    Args:
        source: the URL, or the file.
        refresh_s: as REFRESH_S.
        pause_s: as PAUSE_S.
        fetch_s: as FETCH_S.
    """

    def __init__(
        self, source: str | Path, *, refresh_s: float = REFRESH_S, pause_s: float = PAUSE_S, fetch_s: float = FETCH_S
    ) -> None:
        self._source = source
        self._load = partial(_read, source) if isinstance(source, Path) else partial(_get, source, fetch_s)
        self._refresh_s, self._pause_s, self._fetch_s = refresh_s, pause_s, fetch_s
        self._keys: dict[KeyId, Key] = {}
        self._tried_s = -math.inf
        self._log = get_logger("stigmer.access.jwt_keys", keys=str(source))
        self._failure: str | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Keys of {self._source}, {len(self._keys)}>"

    async def __aenter__(self) -> Self:
        """Read the file, or begin to fetch from the URL. Raises StartupError for a file that is none of keys."""
        if isinstance(self._source, Path):
            self._keys = await on_thread(self._load)
        self._refreshing = asyncio.create_task(self._refresh())
        return self

    async def __aexit__(self, *_error: object) -> None:
        tasks = [task for task in (self._refreshing, self._fetching) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def holds(self, key_id: KeyId, key: Key) -> bool:
        """Whether the issuer still signs with a key."""
        return self._keys.get(key_id) is key

    async def find(self, key_id: KeyId) -> Key | None:
        """A key of the issuer's; one that is not known has them fetched, unless that was done a moment ago.

        Raises:
            Unavailable: it is not known, and the issuer does not answer.
        """
        if key_id not in self._keys:
            if time.monotonic() - self._tried_s >= self._pause_s:
                self._fetch_now()
            if self._fetching is not None:
                await asyncio.wait((self._fetching,))
            if key_id not in self._keys and self._failure is not None:
                raise Unavailable("the issuer's keys cannot be fetched: try again", retry_after_s=self._pause_s)
        return self._keys.get(key_id)

    async def _refresh(self) -> None:
        while True:
            await asyncio.wait((self._fetch_now(),))
            await asyncio.sleep(self._refresh_s)

    def _fetch_now(self) -> asyncio.Task[None]:
        """Begin to fetch the keys, where that is not being done."""
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(self._fetch_s):
                fetched = await on_thread(self._load)
        except Exception as error:  # noqa: BLE001  # whatever the issuer makes the client raise, known keys stay good
            failure = str(error) if isinstance(error, StartupError) else f"{type(error).__name__}: {error}".rstrip(": ")
            if failure != self._failure:
                known = len(self._keys)
                self._log.warning("The issuer's keys cannot be had; those known stay good", reason=failure, known=known)
            self._failure = failure
        else:
            # one that stays is the same object: `holds` asks for that
            self._keys = {key_id: self._same(key_id, key) for key_id, key in fetched.items()}
            if self._failure is not None:
                self._log.info("The issuer's keys can be had again", known=len(self._keys))
            self._failure = None
        finally:
            self._tried_s = time.monotonic()

    def _same(self, key_id: KeyId, key: Key) -> Key:
        known = self._keys.get(key_id)
        return known if known is not None and known == key else key


def _get(url: str, within_s: float) -> dict[KeyId, Key]:
    """The keys at a URL. No redirect is followed: who answers at the URL is trusted, nobody else.

    Raises:
        ValueError: the answer is none of keys, or too long.
        TimeoutError: it does not end.
        httpx2.HTTPError: there is none.
    """
    by_s, body = time.monotonic() + within_s, bytearray()
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    with (
        httpx2.Client(
            verify=ssl.create_default_context(),
            trust_env=url.startswith("https:"),  # else a proxy of the environment's could answer for this machine
            timeout=within_s,
            follow_redirects=False,
        ) as client,
        client.stream("GET", url, headers=headers) as response,
    ):
        if response.status_code != 200 or response.headers.get("content-encoding", "identity") != "identity":
            raise ValueError(f"status {response.status_code}, where 200 and an answer as it is were asked for")
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > MAX_BYTES:
                raise ValueError(f"over {MAX_BYTES} bytes")
            if time.monotonic() > by_s:
                raise TimeoutError
    return keys_of(bytes(body))


def _read(path: Path) -> dict[KeyId, Key]:
    """The keys of a file. Raises StartupError."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            raise StartupError(f"{path}: not a file of keys; give the path of a JWK set")
        if status.st_mode & stat.S_IWOTH:
            raise StartupError(f"{path}: everybody may change it; make it chmod o-w")
        keys = keys_of(path.read_bytes())
    except OSError as error:
        raise StartupError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None
    except (ValueError, RecursionError) as error:
        raise StartupError(f"{path}: not a JWK set ({error}); give the file that the issuer publishes") from None
    if not keys:
        raise StartupError(f"{path}: no key in it can be used; each needs a kid, and kty RSA (2048 bits), EC or OKP")
    return keys


def keys_of(text: bytes) -> dict[KeyId, Key]:
    """The keys of a JWK set that are for signatures, of several with one id the first. Raises ValueError."""
    table: object = json.loads(text)
    entries = cast("dict[str, object]", table).get("keys") if isinstance(table, dict) else None
    if not isinstance(entries, list):
        raise ValueError("no array 'keys'")  # noqa: TRY004  # of a text
    keys: dict[KeyId, Key] = {}
    for entry in cast("list[object]", entries)[:MOST_KEYS]:
        if isinstance(entry, dict):
            jwk = cast("dict[str, Any]", entry)
            if (key := _key(jwk)) is not None:
                keys.setdefault((jwk["kid"], jwk["kty"]), key)
    return keys


def _key(jwk: dict[str, Any]) -> Key | None:
    """One entry's public key; None for one that is not for signatures, too short, or without `kid`."""
    is_signing = jwk.get("kty") in ("RSA", "EC", "OKP") and jwk.get("use") in _USES
    is_strong = jwk.get("kty") != "RSA" or len(str(jwk.get("n"))) in _OF_RSA
    if not (is_signing and is_strong and isinstance(jwk.get("kid"), str)):
        return None
    with suppress(Exception):  # whatever a key that is none makes joserfc raise, the others are good
        return JWKRegistry.import_key({name: jwk[name] for name in _MEMBERS & jwk.keys()})
    return None
