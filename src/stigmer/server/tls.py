"""The server's side of TLS, from PEM files. `listening` makes the context, `server` listens with it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, NoReturn

from stigmer.errors import StartupError

if TYPE_CHECKING:
    from pathlib import Path


def server_context(cert: Path, key: Path, client_ca: Path | None = None, *, required: bool = True) -> ssl.SSLContext:
    """Make the context of a server that speaks HTTP/2 over TLS 1.2 or later.

    Args:
        cert: the server's certificate, then those that signed it.
        key: the private key of the first certificate, without a passphrase.
        client_ca: the authorities whose client certificates are taken (mutual TLS); None asks for none.
        required: whether clients without a certificate are turned away; one that is not good always is.

    Raises:
        StartupError: a file cannot be read, is not what it should be, or key and certificate are no pair.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    _load_pair(context, cert, key)
    if client_ca is not None:
        _load_authorities(context, client_ca, "the clients' authorities")
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def _load_pair(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    _require_readable(cert, "the certificate")
    _require_readable(key, "the private key")

    def passphrase() -> NoReturn:  # without it OpenSSL would ask on the terminal
        raise StartupError(f"the private key {key} has a passphrase: store it without ('openssl pkey -in … -out …')")

    try:
        context.load_cert_chain(cert, key, password=passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise StartupError(f"the private key {key} is not that of the certificate {cert}: give a pair") from error
        _load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), cert, "the certificate")
        raise StartupError(f"the private key {key} cannot be used ({_reason(error)}): give a PEM file") from error


def _load_authorities(context: ssl.SSLContext, path: Path, what: str) -> None:
    _require_readable(path, what)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise StartupError(f"{what} in {path} cannot be used ({_reason(error)}): give a PEM file") from error


def _require_readable(path: Path, what: str) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise StartupError(
            f"cannot read {what} in {path} ({error.strerror}): check its path and permissions"
        ) from error


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")
