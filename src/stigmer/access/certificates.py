"""Callers known by a client certificate that TLS has verified, one of whose names is in the certificates file.

A line of the file is `name:role:organizations:not_after:SAN`; the name of the alternative subject is written as OpenSSL
does, `URI:spiffe://acme/runner` or `DNS:runner.acme.example`. What is in the file holds a second later.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stigmer.access.credentials import Identity
from stigmer.access.principal import CERTIFICATES
from stigmer.access.token_lines import date_of, end_of, principal_of
from stigmer.access.watched_file import WATCH_S, WatchedFile, entries_of
from stigmer.errors import Unauthenticated
from stigmer.telemetry.logs import Seldom, get_logger

if TYPE_CHECKING:
    from pathlib import Path

    from stigmer.access.credentials import Certificate, Credentials
    from stigmer.access.principal import Principal

KINDS = ("URI:", "DNS:")
"""Of alternative subjects that a line may name."""
_FIELDS = "name:role:organizations:not_after:SAN"
_NOBODYS = "the client certificate is mapped to no caller, or to several: have its name put into the certificates file"

log = get_logger("stigmer.access.certificates")


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose certificates bear a name, and until when they are taken, in seconds since 1970."""

    principal: Principal
    ends_s: float


def holders_of(text: str) -> dict[str, Holder]:
    """What a certificates file holds, by the certificates' names; ValueError names the first lines that are wrong."""
    return entries_of(text, _holder_of)


def _holder_of(line: str) -> tuple[str, Holder]:
    fields = line.split(":", 4)
    if len(fields) != _FIELDS.count(":") + 1:
        raise ValueError(f"{len(fields)} fields; write {_FIELDS}")
    name, role, organizations, not_after, subject = fields
    if not subject.startswith(KINDS) or subject in KINDS:
        raise ValueError("SAN: write the certificate's name like URI:spiffe://acme/runner or DNS:runner.acme.example")
    principal = principal_of(name, role, organizations.split(",") if organizations else ())
    return _plain(subject), Holder(replace(principal, name=CERTIFICATES + name), end_of(date_of(not_after)))


def _plain(subject: str) -> str:
    """As two names of one host are alike: the case of a DNS name says nothing."""
    return subject.lower() if subject.startswith("DNS:") else subject


class Certificates(WatchedFile[str, Holder]):
    """An authenticator for the client certificates that a file maps to callers.

    A certificate that is mapped to nobody, or to two callers, is nobody's.

    Args:
        path: the certificates file.
        watch_s: seconds from one look at it to the next.
    """

    takes, headers = "client certificate", ()

    def __init__(self, path: Path, watch_s: float = WATCH_S) -> None:
        super().__init__(path, holders_of, f"write a line for each caller: {_FIELDS}", watch_s=watch_s)
        self._complaints = Seldom()

    async def authenticate(self, credentials: Credentials) -> Identity | None:
        """Whose certificate it is; None where there is none. Raises Unauthenticated if it is nobody's or expired."""
        certificate = credentials.peer.certificate
        if certificate is None:
            return None
        found = self._holders(certificate)
        if len(found) != 1:
            if self._complaints.now():
                names = sorted(one.name for one in found)
                log.warning("A client certificate is no one caller's", subjects=certificate.subjects, callers=names)
            raise Unauthenticated(_NOBODYS)
        return Identity(self._holder(certificate), lambda: self._holder(certificate))

    def _holder(self, certificate: Certificate) -> Principal:
        """Whose it is now. Raises Unauthenticated."""
        if certificate.ends_s <= time.time():
            raise Unauthenticated("the client certificate has expired: connect with another one")
        found = self._holders(certificate)
        if len(found) != 1:
            raise Unauthenticated("the client certificate is not mapped to a caller any more: ask for another one")
        return next(iter(found))

    def _holders(self, certificate: Certificate) -> set[Principal]:
        now_s, entries = time.time(), self.entries
        holders = [entries.get(_plain(subject)) for subject in certificate.subjects]
        return {one.principal for one in holders if one is not None and one.ends_s > now_s}
