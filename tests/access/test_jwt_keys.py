"""An issuer's keys over HTTP and of a file: while they rotate, and while the issuer is away or ill."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import time
from typing import TYPE_CHECKING, Any

import certificates
import pytest
from bearing import bearing
from edge_rig import said
from issuer import AUDIENCE, ISSUER, Publisher, key_for, public, publishing, signed
from store_rows import until

from stigmer.access import jwt_keys
from stigmer.access.jwt import Jwt
from stigmer.access.jwt_claims import ClaimNames
from stigmer.access.jwt_keys import MAX_BYTES, Keys, keys_of
from stigmer.errors import StartupError, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

OLD, NEW = key_for("ES256", "old"), key_for("ES256", "new")
FIRST, NEXT = ("old", "EC"), ("new", "EC")
COMPLAINT = "The issuer's keys cannot be had; those known stay good"


@pytest.fixture
async def issuer() -> AsyncGenerator[Publisher]:
    async with publishing(public(OLD)) as issuer:
        yield issuer


async def test_a_key_is_there_as_soon_as_it_is_asked_for(issuer: Publisher) -> None:
    async with Keys(issuer.url) as keys:
        key = await keys.find(FIRST)
        assert key is not None
        assert keys.holds(FIRST, key)
        assert not key.is_private


async def test_a_key_that_is_not_known_has_them_fetched_once_for_all_who_ask(issuer: Publisher) -> None:
    async with Keys(issuer.url, pause_s=0) as keys:
        await keys.find(FIRST)
        issuer.keys.append(public(NEW))
        found = await asyncio.gather(*(keys.find(NEXT) for _ in range(50)))
        assert None not in found
        assert issuer.asked == 2


async def test_keys_that_nobody_has_do_not_have_them_fetched_again_and_again(issuer: Publisher) -> None:
    async with Keys(issuer.url) as keys:
        await keys.find(FIRST)
        for number in range(100):
            assert await keys.find((f"guess-{number}", "EC")) is None
        assert issuer.asked == 1


async def test_a_key_that_is_withdrawn_is_nobody_s_at_the_next_refresh_and_one_that_stays_is_the_same(
    issuer: Publisher,
) -> None:
    issuer.keys.append(public(NEW))
    async with Keys(issuer.url, refresh_s=0.01) as keys:
        old, new = await keys.find(FIRST), await keys.find(NEXT)
        assert old is not None
        assert new is not None
        del issuer.keys[0]
        await until(lambda: not keys.holds(FIRST, old))
        assert keys.holds(NEXT, new)


async def test_a_key_that_is_another_one_under_the_old_name_takes_its_place(issuer: Publisher) -> None:
    async with Keys(issuer.url, refresh_s=0.01) as keys:
        old = await keys.find(FIRST)
        assert old is not None
        issuer.keys[:] = [public(NEW, kid="old")]
        await until(lambda: not keys.holds(FIRST, old))
        assert await keys.find(FIRST) is not None


async def test_callers_whose_key_is_withdrawn_are_nobody_and_the_new_key_s_are_known(issuer: Publisher) -> None:
    names = ClaimNames(default_role="reader")
    async with Jwt(ISSUER, AUDIENCE, issuer.url, ["ES256"], names) as jwt:
        jwt._keys._pause_s = 0
        old = await jwt.authenticate(bearing(signed(key=OLD)))
        assert old is not None
        issuer.keys[:] = [public(NEW)]
        assert await jwt.authenticate(bearing(signed(key=NEW))) is not None
        with pytest.raises(Unauthenticated, match="key was withdrawn by its issuer"):
            old.still()
        with pytest.raises(Unauthenticated, match="does not publish"):
            await jwt.authenticate(bearing(signed(key=OLD)))


def answering(status: str = "200 OK", more: str = "", body: bytes = b"") -> Callable[[], tuple[str, str, bytes]]:
    return lambda: (status, more, body)


GOOD = json.dumps({"keys": [public(NEW)]}).encode()
ILL = {
    "garbage": answering(body=b"<html>not here</html>"),
    "another object": answering(body=b'{"error": "no"}'),
    "an array": answering(body=GOOD[9:-1]),
    "keys that are no array": answering(body=b'{"keys": {}}'),
    "nested without end": answering(body=b"[" * 100_000),
    "10 MB": answering(body=GOOD[:-1] + b" " * 10_000_000 + b"}"),
    "an error": answering("500 Internal Server Error", body=GOOD),
    "not modified": answering("304 Not Modified"),
    "elsewhere": answering("302 Found", "location: http://127.0.0.1:1/keys\r\n", GOOD),
    "compressed": answering(more="content-encoding: gzip\r\n", body=gzip.compress(GOOD)),
    "nothing": answering(),
}


@pytest.mark.parametrize("how", ILL)
async def test_an_issuer_that_is_ill_leaves_known_keys_good_and_says_yes_to_no_other(
    issuer: Publisher, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "stigmer")
    async with Keys(issuer.url, pause_s=0) as keys:
        await keys.find(FIRST)
        issuer.answer = ILL[how]
        for _ in range(2):
            with pytest.raises(Unavailable, match="the issuer's keys cannot be fetched: try again"):
                await keys.find(NEXT)
        assert [line["keys"] for line in said(caplog, COMPLAINT)] == [issuer.url]
        assert await keys.find(FIRST) is not None
        issuer.answer = answering(body=GOOD)
        assert await keys.find(NEXT) is not None
        assert len(said(caplog, "The issuer's keys can be had again")) == 1


async def test_an_issuer_that_hangs_holds_nobody_up_whose_key_is_known(issuer: Publisher) -> None:
    async with Keys(issuer.url, pause_s=0) as keys:
        await keys.find(FIRST)
        issuer.hangs = True
        waiting = asyncio.create_task(keys.find(NEXT))
        await until(lambda: issuer.asked == 2)
        assert await keys.find(FIRST) is not None
        assert not waiting.done()
        waiting.cancel()


async def test_an_issuer_that_hangs_is_given_up(issuer: Publisher) -> None:
    async with Keys(issuer.url, pause_s=0) as keys:
        await keys.find(FIRST)
        issuer.hangs, keys._fetch_s = True, 0.05
        with pytest.raises(Unavailable):
            await keys.find(NEXT)
        assert await keys.find(FIRST) is not None


async def test_a_caller_who_gives_up_ends_nobody_else_s_wait(issuer: Publisher) -> None:
    async with Keys(issuer.url, pause_s=0) as keys:
        await keys.find(FIRST)
        issuer.hangs = True
        first, second = (asyncio.create_task(keys.find(NEXT)) for _ in range(2))
        await until(lambda: issuer.asked == 2)
        first.cancel()
        await asyncio.wait((first,))
        assert not second.done()
        second.cancel()


async def test_an_issuer_that_is_down_at_the_start_is_asked_again(issuer: Publisher) -> None:
    issuer.answer = ILL["an error"]
    async with Keys(issuer.url, pause_s=0) as keys:
        with pytest.raises(Unavailable):
            await keys.find(FIRST)
        issuer.answer = None
        assert await keys.find(FIRST) is not None


async def test_a_port_where_nobody_listens_is_unavailable() -> None:
    async with publishing() as gone:
        pass
    async with Keys(gone.url) as keys:
        with pytest.raises(Unavailable):
            await keys.find(FIRST)


async def test_an_end_does_not_wait_for_an_issuer_that_hangs(issuer: Publisher) -> None:
    issuer.hangs = True
    async with Keys(issuer.url, fetch_s=60):
        await until(lambda: issuer.asked == 1)
        started_s = time.monotonic()
    assert time.monotonic() - started_s < 30


async def test_an_issuer_s_certificate_has_to_be_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = certificates.make(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(place / "server.pem", place / "server.key")
    async with publishing(public(OLD), tls=tls) as issuer:
        async with Keys(issuer.url) as keys:
            with pytest.raises(Unavailable):
                await keys.find(FIRST)
        monkeypatch.setenv("SSL_CERT_FILE", str(place / "ca.pem"))
        async with Keys(issuer.url) as keys:
            assert await keys.find(FIRST) is not None


async def test_no_proxy_answers_for_this_machine(issuer: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    async with publishing(public(NEW)) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url.removesuffix("/keys"))
        async with Keys(issuer.url, pause_s=0) as keys:
            assert await keys.find(FIRST) is not None
            assert await keys.find(NEXT) is None
        assert proxy.asked == 0


async def test_a_file_of_keys_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(json.dumps({"keys": [public(OLD)]}))
    async with Keys(file, pause_s=0) as keys:
        assert await keys.find(FIRST) is not None
        await asyncio.to_thread(file.write_bytes, GOOD)
        assert await keys.find(NEXT) is not None
        assert await keys.find(FIRST) is None
        await asyncio.to_thread(file.write_text, "nonsense")
        with pytest.raises(Unavailable):
            await keys.find(FIRST)
        assert await keys.find(NEXT) is not None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, r"cannot be read \(No such file or directory\); check the path"),
        ("nonsense", r"not a JWK set \(.*\); give the file that the issuer publishes"),
        ("[" * 100_000, "not a JWK set"),
        ('{"keys": []}', "no key in it can be used; each needs a kid"),
        (" " * (MAX_BYTES + 1), "not a file of keys; give the path of a JWK set"),
    ],
)
async def test_a_start_without_a_file_of_keys_is_refused(tmp_path: Path, content: str | None, why: str) -> None:
    if content is not None:
        (tmp_path / "keys").write_text(content)
    with pytest.raises(StartupError, match=why):
        await Keys(tmp_path / "keys").__aenter__()


async def test_a_file_that_everybody_may_change_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(GOOD)
    (tmp_path / "keys").chmod(0o666)
    with pytest.raises(StartupError, match="everybody may change it; make it chmod o-w"):
        await Keys(tmp_path / "keys").__aenter__()


def set_of(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


@pytest.mark.parametrize(
    "broken",
    [
        None,
        "text",
        {},
        {"kid": "x"},
        {"kid": "x", "kty": "EC"},
        {"kid": ["x"], "kty": "EC"},
        {"kid": "x", "kty": ["EC"]},
        {"kid": "x", "kty": "RSA", "n": 7, "e": "AQAB"},
        {"kid": "x", "kty": "RSA", "n": "A" * 172, "e": "AQAB"},  # 1024 bits
        {"kid": "x", "kty": "RSA", "n": "_" * 5000, "e": "AQAB"},  # verifying would take long
        public(OLD, kid=None),
        public(OLD, use="enc"),
        public(OLD, use="x509-svid"),
    ],
)
def test_a_broken_key_takes_nothing_from_the_others(broken: Any) -> None:
    assert keys_of(set_of(broken, public(NEW))).keys() == {NEXT}


def test_one_name_may_be_that_of_a_key_of_each_type() -> None:
    keys = keys_of(set_of(public(OLD), public(key_for("EdDSA", "old")), public(NEW, kid="old")))
    assert keys.keys() == {("old", "EC"), ("old", "OKP")}
    assert keys["old", "EC"].as_dict(private=False)["x"] == public(OLD)["x"]


def test_of_a_private_key_that_is_published_the_public_part_alone_is_kept() -> None:
    assert not keys_of(set_of(OLD.as_dict(private=True)))[FIRST].is_private


def test_of_a_set_without_end_the_first_keys_are_taken() -> None:
    keys = keys_of(set_of(*(public(OLD, kid=str(number)) for number in range(jwt_keys.MOST_KEYS + 1))))
    assert len(keys) == jwt_keys.MOST_KEYS
