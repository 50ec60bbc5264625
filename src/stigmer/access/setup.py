"""The authenticators that the settings ask for: `app` hands them to the gate, after a host's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from stigmer.access.certificates import Certificates
from stigmer.access.credentials import Authenticator
from stigmer.access.jwt import Jwt
from stigmer.access.jwt_claims import ClaimNames
from stigmer.access.tokens import Tokens

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from stigmer.settings import Settings


class Opened(Authenticator, Protocol):
    """An authenticator with files or keys: an async context manager, entered while its plane is open.

    Making one reads nothing. Until it is entered it knows nobody.
    """

    async def __aenter__(self) -> Self:
        """Read what it needs; raises StartupError where that cannot be read."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """End what it does in the background."""
        ...


def authenticators(settings: Settings) -> list[Opened]:
    """Those that the settings ask for, in the order in which they are asked."""
    found: list[Opened] = []
    if settings.tokens_file is not None:
        found.append(Tokens(settings.tokens_file))
    if settings.jwt_issuer and settings.jwt_audience and settings.jwt_keys:
        names = ClaimNames(
            settings.jwt_name_claim,
            settings.jwt_role_claim,
            settings.jwt_organizations_claim,
            settings.jwt_name_prefix,
            settings.jwt_default_role,
        )
        algorithms = settings.jwt_algorithms
        found.append(Jwt(settings.jwt_issuer, settings.jwt_audience, settings.jwt_keys, algorithms, names))
    if settings.certificates_file is not None:  # last: what a call brings goes before what its connection does
        found.append(Certificates(settings.certificates_file))
    return found
