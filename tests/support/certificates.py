"""Certificates for one test: an authority, a server, a client."""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


LOCAL = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
ELSEWHERE = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("192.0.2.1"))])
NAMES: dict[str, x509.ExtensionType] = {
    "stranger": x509.SubjectAlternativeName([x509.DNSName("stranger.test")]),
    "odd": x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x03\x86\x01\xff"),
}


def _usage(*, signs_others: bool) -> x509.KeyUsage:
    """What OpenSSL asks for where it is strict, as from Python 3.13 on."""
    others = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign"), False
    )
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=signs_others, encipher_only=False, decipher_only=False, **others
    )


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    names: x509.ExtensionType = LOCAL,
    lasts: dt.timedelta = dt.timedelta(hours=1),
) -> bytes:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + lasts)
        .add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
        .add_extension(names, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(_usage(signs_others=name == issuer), critical=True)
    )
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def key_bytes(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption(),
    )


def make(directory: Path) -> Path:
    """Write ca.pem and, for server, client, stranger (stranger.test) and odd (a URI that is no text), .pem and .key."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    (directory / "ca.key").write_bytes(key_bytes(authority_key))
    (directory / "ca.pem").write_bytes(_certificate("ca", authority_key, "ca", authority_key))
    for name in ("server", "client", *NAMES):
        key = ec.generate_private_key(ec.SECP256R1())
        (directory / f"{name}.pem").write_bytes(
            _certificate(name, key, "ca", authority_key, names=NAMES.get(name, LOCAL))
        )
        (directory / f"{name}.key").write_bytes(key_bytes(key))
    (directory / "locked.key").write_bytes(key_bytes(ec.generate_private_key(ec.SECP256R1()), b"secret"))
    (directory / "nonsense.pem").write_bytes(b"nonsense")
    return directory


def short_lived(directory: Path, seconds: float) -> tuple[Path, Path]:
    """Write another client's certificate, signed by the authority that `make` has written, and its key."""
    authority_key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
    assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
    key, lasts = ec.generate_private_key(ec.SECP256R1()), dt.timedelta(seconds=seconds)
    certificate, key_file = directory / "short.pem", directory / "short.key"
    certificate.write_bytes(_certificate("short", key, "ca", authority_key, lasts=lasts))
    key_file.write_bytes(key_bytes(key))
    return certificate, key_file


def self_signed(directory: Path) -> tuple[Path, Path]:
    """Write the certificate of a server elsewhere, which vouches for itself, and its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), "stigmer.test"
    certificate, key_file = directory / "self-signed.pem", directory / "self-signed.key"
    certificate.write_bytes(_certificate(name, key, name, key, names=ELSEWHERE))
    key_file.write_bytes(key_bytes(key))
    return certificate, key_file
