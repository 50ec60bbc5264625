"""Callers known by a JWT that an issuer has signed: OpenID Connect, SPIFFE's JWT-SVID, Kubernetes' service accounts."""

from __future__ import annotations

import time
from importlib import import_module
from typing import TYPE_CHECKING, Self

from stigmer.access.credentials import Identity
from stigmer.access.threads import on_thread
from stigmer.access.token_lines import PREFIX
from stigmer.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stigmer.access.credentials import Credentials
    from stigmer.access.jwt_claims import ClaimNames
    from stigmer.access.jwt_keys import Keys
    from stigmer.access.jwt_verifier import Verifier
    from stigmer.access.principal import Principal


class Jwt:
    """An authenticator for the JWTs of one issuer: an async context manager, which keeps its keys while it is entered.

    Tokens of other issuers are left to other authenticators.

    Args:
        issuer: what `iss` has to be.
        audience: what `aud` has to be, or to have among others.
        keys: the URL or the file of the issuer's JWK set.
        algorithms: those that a signature may be of.
        names: which claims say who calls.
    """

    headers = ("authorization",)

    def __init__(
        self, issuer: str, audience: str, keys: str | Path, algorithms: Sequence[str], names: ClaimNames
    ) -> None:
        self.takes = f"JWT of {issuer}"
        self._issuer, self._audience, self._source = issuer, audience, keys
        self._algorithms, self._names = algorithms, names
        self._verifier: Verifier
        self._keys: Keys

    def __repr__(self) -> str:
        return f"<Jwt of {self._issuer}>"

    async def __aenter__(self) -> Self:
        """Read the file of keys, or begin to fetch them. Raises StartupError for a file that is none of keys."""
        await on_thread(self._prepare)
        await self._keys.__aenter__()
        return self

    def _prepare(self) -> None:
        """Import what is large and wanted here alone."""
        self._verifier = import_module("stigmer.access.jwt_verifier").Verifier(
            self._issuer, self._audience, self._algorithms
        )
        self._keys = import_module("stigmer.access.jwt_keys").Keys(self._source)

    async def __aexit__(self, *error: object) -> None:
        await self._keys.__aexit__(*error)

    async def authenticate(self, credentials: Credentials) -> Identity | None:
        """Who calls; None for what is no JWT, and for those of other issuers.

        Raises:
            Unauthenticated: it is not good.
            Unavailable: it is signed with a key that is not known, and the issuer does not answer.
        """
        token = credentials.bearer
        if token is None or token.startswith(PREFIX) or token.count(".") != 2:  # header, claims, signature
            return None
        key_id = self._verifier.key_id(token)
        if key_id is None:
            return None
        key = await self._keys.find(key_id)
        if key is None:
            raise Unauthenticated("the JWT is signed with a key that its issuer does not publish: ask for another one")
        claims, ends_s = self._verifier.verified(token, key)
        principal = self._names.principal(claims)

        def still() -> Principal:
            if time.time() >= ends_s:
                raise Unauthenticated("the JWT has expired: ask the issuer for another one")
            if not self._keys.holds(key_id, key):
                raise Unauthenticated("the JWT's key was withdrawn by its issuer: ask for another one")
            return principal

        return Identity(principal, still)
