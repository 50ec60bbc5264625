"""What makes a JWT a good one: its form, its algorithm, its signature and its times. joserfc does the cryptography.

`jwt` imports it on a thread, where JWT is set: joserfc takes 0.1 s.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from joserfc import jwt
from joserfc.errors import BadSignatureError, ClaimError, ExpiredTokenError, JoseError, UnsupportedAlgorithmError
from joserfc.jws import JWSRegistry
from joserfc.registry import HeaderParameter
from joserfc.util import urlsafe_b64decode

from stigmer.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from joserfc.jwk import Key

    from stigmer.access.jwt_keys import KeyId

MAX_BYTES = 16 * 2**10
"""The longest JWT that is looked at."""
SKEW_S = 60
"""How far the issuer's clock and this one may be apart."""
_TYPES = ("jwt", "at+jwt", "application/at+jwt", "jose")
"""What the header's `typ` may say, RFC 8725 3.11: other tokens of the issuer's, such as for a logout, are none."""


class Verified(NamedTuple):
    """The claims of a good JWT, and when it ends, in seconds since 1970."""

    claims: dict[str, Any]
    ends_s: float


class _Strict(json.JSONDecoder):
    """JSON without names that come twice: of two, another reader might take the other one."""

    def __init__(self) -> None:
        super().__init__(object_pairs_hook=_once, parse_constant=_no_constant)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


class _Pinned(JWSRegistry):
    """Takes the algorithms allowed, and no header that changes how a token is read (`crit`, `b64`)."""

    max_header_length = MAX_BYTES

    def __init__(self, algorithms: Sequence[str]) -> None:
        refused = {name: HeaderParameter("changes how a token is read", "none") for name in ("crit", "b64")}
        super().__init__(refused, algorithms, strict_check_header=False)
        self._pinned = frozenset(algorithms)

    def get_alg(self, name: str) -> Any:  # noqa: ANN401  # joserfc exports no name for it
        if name not in self._pinned:
            raise UnsupportedAlgorithmError("not one of those allowed")
        return self.algorithms[name]  # without the base's warning of EdDSA, by which most issuers still mean Ed25519


class Verifier:
    """Verifies the JWTs of one issuer for one audience.

    Args:
        issuer: what `iss` has to be.
        audience: what `aud` has to be, or to have among others.
        algorithms: those that a signature may be of; each asks for a key of its own type.
    """

    def __init__(self, issuer: str, audience: str, algorithms: Sequence[str]) -> None:
        self._issuer, self._algorithms = issuer, tuple(algorithms)
        self._registry = _Pinned(algorithms)
        self._claims = jwt.JWTClaimsRegistry(
            leeway=SKEW_S,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
            iat={"essential": True},
        )

    def key_id(self, token: str) -> KeyId | None:
        """By which key a JWT says that it is signed; None where it says that it is another issuer's.

        Raises:
            Unauthenticated: it cannot be good, whatever the key.
        """
        if len(token) > MAX_BYTES:
            raise Unauthenticated(f"the JWT is longer than {MAX_BYTES} bytes: have the issuer leave out what it can")
        try:
            header, claims = (
                json.loads(urlsafe_b64decode(part.encode()), cls=_Strict) for part in token.split(".")[:2]
            )
            algorithm, kid, type_ = header.get("alg"), header.get("kid"), header.get("typ", "jwt")
            is_foreign = claims.get("iss") != self._issuer
        except Exception:  # noqa: BLE001  # whatever bytes that are no JWT make the readers of JSON and base64 raise
            raise Unauthenticated("the JWT cannot be read: ask the issuer for another one") from None
        if is_foreign:
            return None
        if algorithm not in self._algorithms:
            raise Unauthenticated(f"the JWT is signed in a way that is not taken: use {', '.join(self._algorithms)}")
        if not isinstance(type_, str) or type_.lower() not in _TYPES:
            raise Unauthenticated("the JWT is of another type: send an access token or an ID token")
        if not isinstance(kid, str) or not kid:
            raise Unauthenticated("the JWT does not say which key it is signed with (kid): have the issuer say it")
        return kid, self._registry.get_alg(algorithm).key_type

    def verified(self, token: str, key: Key) -> Verified:
        """What a JWT says that the key has signed and that is good now.

        Raises:
            Unauthenticated: it is not; says why.
        """
        try:
            claims = jwt.decode(token, key, registry=self._registry, decoder_cls=_Strict).claims
            self._claims.validate(claims)
        except ExpiredTokenError:
            raise Unauthenticated("the JWT has expired: ask the issuer for another one") from None
        except ClaimError as error:
            raise Unauthenticated(f"the JWT is not for this server now: check its claim '{error.claim}'") from None
        except BadSignatureError:
            raise Unauthenticated("the JWT's signature is wrong: ask the issuer for another one") from None
        except JoseError as error:
            raise Unauthenticated(f"the JWT is not taken ({error.error}): ask the issuer for another one") from None
        except Exception:  # noqa: BLE001  # as above; what cannot be verified is no yes
            raise Unauthenticated("the JWT cannot be read: ask the issuer for another one") from None
        return Verified(claims, claims["exp"] + SKEW_S)
