"""Callers known by a JWT: whose are taken, and what nobody is known by."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from bearing import bearing
from hypothesis import given
from hypothesis import strategies as st
from issuer import AUDIENCE, ISSUER, claims, encoded, key_for, public, publishing, sealed, signed
from joserfc.jwk import OctKey

from stigmer.access.jwt import Jwt
from stigmer.access.jwt_claims import ClaimNames
from stigmer.access.jwt_keys import keys_of
from stigmer.access.jwt_verifier import MAX_BYTES, Verifier
from stigmer.access.principal import Principal
from stigmer.errors import Unauthenticated
from stigmer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

ALGORITHMS: tuple[str, ...] = Settings.model_fields["jwt_algorithms"].default
NAMES = ClaimNames(role="role", organizations="orgs")
NOW = int(time.time())


@pytest.fixture(autouse=True)
def _clock_of_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokens below are signed when they are collected."""
    monkeypatch.setattr(time, "time", lambda: float(NOW))


def file_of(path: Path, *keys: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"keys": keys}))
    return path


@pytest.fixture
async def jwt(tmp_path: Path) -> AsyncGenerator[Jwt]:
    keys = file_of(tmp_path / "keys", public(key_for("ES256")), public(key_for("RS256")), public(key_for("EdDSA")))
    async with Jwt(ISSUER, AUDIENCE, keys, ALGORITHMS, NAMES) as jwt:
        yield jwt


async def known(jwt: Jwt, token: str) -> Principal:
    identity = await jwt.authenticate(bearing(token))
    assert identity is not None
    assert identity.still() == identity.principal
    return identity.principal


async def refusal(jwt: Jwt, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await jwt.authenticate(bearing(token))
    assert caught.value.__cause__ is None
    assert not any(part in caught.value.message for part in token.split(".") if len(part) > 8)
    return caught.value.message


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_token_of_each_algorithm_says_who_calls(tmp_path: Path, algorithm: str) -> None:
    keys = file_of(tmp_path / "keys", public(key_for(algorithm)))
    async with Jwt(ISSUER, AUDIENCE, keys, ALGORITHMS, NAMES) as jwt:
        token = signed(claims(orgs=["acme", "elsewhere"]), algorithm)
        assert await known(jwt, token) == Principal("oidc:ann", "editor", frozenset({"acme", "elsewhere"}))


async def test_spiffe_s_tokens_name_a_workload(tmp_path: Path) -> None:
    """As SPIRE signs them, and as it publishes its bundle."""
    keys = file_of(tmp_path / "keys", public(key_for("ES256", "workload"), use="jwt-svid"))
    names = ClaimNames(default_role="runner")
    async with Jwt(ISSUER, AUDIENCE, keys, ALGORITHMS, names) as jwt:
        token = signed(
            claims(sub="spiffe://example.org/ns/agents/sa/worker", role=None), key=key_for("ES256", "workload")
        )
        assert await known(jwt, token) == Principal(
            "oidc:spiffe://example.org/ns/agents/sa/worker", "runner", frozenset()
        )


@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["another", AUDIENCE]])
async def test_the_audience_may_be_one_of_several(jwt: Jwt, audience: object) -> None:
    await known(jwt, signed(claims(aud=audience)))


@pytest.mark.parametrize("type_", [None, "JWT", "jwt", "at+jwt", "application/at+jwt", "JOSE"])
async def test_access_and_id_tokens_are_taken(jwt: Jwt, type_: str | None) -> None:
    await known(jwt, signed(typ=type_))


@pytest.mark.parametrize(
    "times", [{"exp": NOW - 50}, {"iat": NOW + 50}, {"nbf": NOW + 50}, {"exp": NOW + 9.5}, {"exp": 2**70}]
)
async def test_clocks_may_be_a_minute_apart(jwt: Jwt, times: dict[str, float]) -> None:
    await known(jwt, signed(claims(**times)))


async def test_headers_that_others_make_use_of_change_nothing(jwt: Jwt) -> None:
    await known(jwt, signed(nonce="1", x5t="aGVsbG8"))


async def test_an_identity_ends_with_its_token(jwt: Jwt, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = await jwt.authenticate(bearing(signed(claims(exp=NOW + 100))))
    assert identity is not None
    monkeypatch.setattr(time, "time", lambda: NOW + 159.0)
    assert identity.still().name == "oidc:ann"
    monkeypatch.setattr(time, "time", lambda: NOW + 160.0)
    with pytest.raises(Unauthenticated, match="the JWT has expired"):
        identity.still()


@pytest.mark.parametrize(
    "credentials",
    [
        bearing(),
        bearing(signed(), signed()),
        bearing(signed(), scheme="DPoP"),
        bearing("stg_a.b.c"),
        bearing("a.b"),
        bearing("a.b.c.d.e"),
        bearing(signed(claims(iss="https://evil.example.com"))),
        bearing(signed(claims(iss=f"{ISSUER}/"))),
        bearing(signed(claims(iss=None))),
        bearing(signed(claims(iss=[ISSUER]))),
        bearing(signed(claims(iss="https://evil.example.com"), typ="other", kid=None)),
    ],
)
async def test_what_is_no_jwt_of_the_issuer_is_left_to_others(jwt: Jwt, credentials: Any) -> None:
    assert await jwt.authenticate(credentials) is None


def unsigned(algorithm: str) -> str:
    header = {"alg": algorithm, "typ": "JWT", "kid": "1"}
    return f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims()).encode())}."


def by_secret(secret: bytes, kid: str = "1") -> str:
    """Signed by HMAC with what everybody knows."""
    header = {"alg": "HS256", "typ": "JWT", "kid": kid}
    signing = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims()).encode())}"
    return f"{signing}.{encoded(hmac.new(secret, signing.encode(), hashlib.sha256).digest())}"


RSA = key_for("RS256")


@pytest.mark.parametrize(
    "token",
    [
        *(unsigned(name) for name in ("none", "None", "NONE", "")),
        by_secret(RSA.as_pem(private=False)),  # type: ignore[union-attr]  # a key of RSA
        by_secret(json.dumps(public(RSA)).encode()),
        by_secret(public(RSA)["n"].encode()),
        by_secret(b""),
        signed(alg=None),
        signed(alg=["ES256"]),
        signed(alg="ES256K"),
    ],
)
async def test_algorithms_that_are_not_asymmetric_are_refused(jwt: Jwt, token: str) -> None:
    assert (await refusal(jwt, token)).startswith("the JWT is signed in a way that is not taken: use RS256, ")


async def test_an_algorithm_that_is_not_allowed_is_refused(tmp_path: Path) -> None:
    keys = file_of(tmp_path / "keys", public(key_for("ES256")), public(key_for("RS256")))
    async with Jwt(ISSUER, AUDIENCE, keys, ["ES256"], NAMES) as jwt:
        await known(jwt, signed())
        assert (await refusal(jwt, signed(algorithm="RS256"))).endswith("not taken: use ES256")


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (signed(claims(aud="another")), "check its claim 'aud'"),
        (signed(claims(aud=["another", "third"])), "check its claim 'aud'"),
        (signed(claims(aud=None)), "check its claim 'aud'"),
        (signed(claims(aud=[])), "check its claim 'aud'"),
        (signed(claims(aud=[[AUDIENCE]])), "check its claim 'aud'"),
        (signed(claims(aud={AUDIENCE: True})), "check its claim 'aud'"),
        (signed(claims(exp=None)), "check its claim 'exp'"),
        (signed(claims(exp=str(NOW + 3600))), "check its claim 'exp'"),
        (signed(claims(exp=True)), "check its claim 'exp'"),
        (signed(claims(exp=NOW - 61)), "the JWT has expired: ask the issuer for another one"),
        (signed(claims(iat=None)), "check its claim 'iat'"),
        (signed(claims(iat=NOW + 120)), "check its claim 'iat'"),
        (signed(claims(nbf=NOW + 120)), "check its claim 'nbf'"),
        (signed(claims(sub=7)), "check its claim 'sub'"),
        (signed(claims(sub=None)), "names nobody: its claim 'sub'"),
        (signed(claims(sub="")), "names nobody"),
        (signed(claims(sub="a\nb")), "names nobody"),
        (signed(claims(role=None)), "gives no role: its claim 'role' has to hold one of reader, runner, editor, admin"),
        (signed(claims(role="owner")), "gives no role"),
        (signed(kid=None), "does not say which key"),
        (signed(kid=1), "does not say which key"),
        (signed(kid=""), "does not say which key"),
        (signed(kid="2"), "a key that its issuer does not publish"),
        (signed(key=key_for("ES256", "2"), kid="1"), "signature is wrong"),
        (signed(algorithm="ES384", key=key_for("ES384")), "is not taken"),  # the key published is of another curve
        (signed(typ="logout+jwt"), "of another type"),
        (signed(typ=1), "of another type"),
        (signed(crit=["exp"]), "not taken"),
        (signed(crit=["b64"], b64=False), "not taken"),
        (signed(b64=False), "not taken"),
        (signed(crit=7), "cannot be read"),
        (signed(jwk=public(key_for("ES256", "2")), key=key_for("ES256", "2"), kid="1"), "signature is wrong"),
        (signed(signed().encode(), cty="JWT"), "cannot be read"),  # a JWT within a JWT
        (signed(b"[]"), "cannot be read"),
        (signed(b'"text"'), "cannot be read"),
        (signed(b"[" * 5000), "cannot be read"),
        (signed(json.dumps(claims()).encode().replace(b'"exp":', b'"exp":NaN,"x":')), "cannot be read"),
        (signed(json.dumps(claims()).encode()[:-1] + b',"sub":"admin"}'), "cannot be read"),
        (signed(json.dumps(claims()).encode()[:-1] + b',"s\\u0075b":"admin"}'), "cannot be read"),
        (sealed(b'{"alg":"ES256","kid":"2","kid":"1"}', json.dumps(claims()).encode(), key_for("ES256")), "be read"),
        (sealed(b'{"alg":"ES256","kid":"1"} x'[:-2], b"", key_for("ES256")), "cannot be read"),
        (f"{signed()}=", "cannot be read|signature is wrong"),
        (signed().rpartition(".")[0] + ".", "signature is wrong"),
        (signed()[:-4], "signature is wrong"),
        ("..", "cannot be read"),
        ("a.b.c", "cannot be read"),
        ("ä.ü.ö", "cannot be read"),
        (f"{'A' * MAX_BYTES}.e.", f"longer than {MAX_BYTES} bytes"),
        (signed(claims(more="x" * MAX_BYTES)), f"longer than {MAX_BYTES} bytes"),
    ],
)
async def test_what_is_not_good_is_refused_and_says_why(jwt: Jwt, token: str, why: str) -> None:
    message = await refusal(jwt, token)
    assert any(part in message for part in why.split("|"))


@pytest.mark.parametrize(
    "key",
    [
        public(key_for("ES256"), use="enc"),
        public(key_for("ES256"), alg="ECDH-ES"),
        public(key_for("ES256"), alg="ES384"),
        public(key_for("ES256"), key_ops=["sign"]),
        public(key_for("ES256"), kid="other"),
        public(key_for("ES256"), kty="oct", k="c2VjcmV0"),
        OctKey.import_key("secret" * 8).as_dict(kid="1"),
        {"kid": "1", "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
    ],
)
async def test_a_key_that_is_not_for_these_signatures_verifies_none(tmp_path: Path, key: dict[str, Any]) -> None:
    async with publishing(key) as issuer, Jwt(ISSUER, AUDIENCE, issuer.url, ALGORITHMS, NAMES) as jwt:
        await refusal(jwt, signed())


TOKEN = signed(key=key_for("ES256"))
CHARACTERS = st.sampled_from("ABCXYZabcxyz0189-_.=+/ ~")


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """The token with a few characters put in, taken out or changed, or its parts in another order."""
    text = TOKEN
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.just("") | CHARACTERS) + text[at + draw(st.integers(0, 1)) :]
    parts = draw(st.permutations(text.split("."))) if draw(st.booleans()) else text.split(".")
    return ".".join(parts)


@given(mutated())
def test_no_changed_token_is_good(token: str) -> None:
    if token == TOKEN:
        return
    verifier = Verifier(ISSUER, AUDIENCE, ALGORITHMS)
    (key,) = keys_of(json.dumps({"keys": [public(key_for("ES256"))]}).encode()).values()
    with pytest.raises(Unauthenticated):
        verifier.verified(token, key)
    with suppress(Unauthenticated):
        verifier.key_id(token)


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=80))
def test_no_bytes_are_good_or_raise_anything_else(header: bytes, body: bytes, signature: bytes) -> None:
    verifier = Verifier(ISSUER, AUDIENCE, ALGORITHMS)
    (key,) = keys_of(json.dumps({"keys": [public(key_for("ES256"))]}).encode()).values()
    token = ".".join(map(encoded, (header, body, signature)))
    for step in (verifier.key_id, lambda one: verifier.verified(one, key)):
        with pytest.raises(Unauthenticated):
            step(token)
