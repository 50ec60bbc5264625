"""What it costs to know who calls: get with a token, and with a JWT, beside get of a server that asks nobody."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from joserfc import jwk, jwt

from benchmarks import load, messages, servers
from benchmarks.load import Calls
from benchmarks.rounds import Row, interleave

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.scenarios import Bench

CALLERS = 16
ISSUER, AUDIENCE, HOUR_S = "https://id.example.com", "stigmer", 3600.0


def callers(bench: Bench) -> dict[str, Row]:
    """Whole servers over TCP: what a call brings is checked once, and known then."""
    data, ids = bench.filled("callers", bench.size.few)
    gets = tuple(messages.get(id_) for id_ in ids)
    known = {"none": ([], ""), "token": _token(bench.directory), "JWT": _jwt(bench.directory)}
    with ExitStack() as stack:
        variants = {}
        for name, (flags, credential) in known.items():
            copy = bench.directory / f"callers-{name}"
            servers.copied(data, copy)
            server = stack.enter_context(servers.stigmer(copy, flags=flags))
            headers = (("authorization", f"Bearer {credential}"),) if credential else ()
            plan = Calls(messages.GET, gets, CALLERS, bench.size.seconds, headers)
            variants[name] = partial(bench.sample, load.unary, server, plan)
        taken = interleave(bench.size, variants)
    return {
        f"callers {name}": Row(
            f"get with a {name}, {CALLERS} callers", "calls", "the same with no credentials", taken[name], taken["none"]
        )
        for name in ("token", "JWT")
    }


def _token(directory: Path) -> tuple[list[str], str]:
    """Flags of a server that takes a token, and the token."""
    token, path = f"stg_{secrets.token_urlsafe(32)}", directory / "tokens"
    path.touch(mode=0o600)
    path.write_text(f"bench:admin:*::{hashlib.sha256(token.encode()).hexdigest()}\n")
    return ["--tokens-file", str(path)], token


def _jwt(directory: Path) -> tuple[list[str], str]:
    """Flags of a server that takes a JWT, and one that is good for an hour."""
    key, path = jwk.generate_key("EC", "P-256", {"kid": "1"}), directory / "keys.json"
    path.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    path.chmod(0o600)
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "bench", "iat": now, "exp": now + HOUR_S, "orgs": ["*"]}
    issuer = ["--jwt-issuer", ISSUER, "--jwt-audience", AUDIENCE, "--jwt-keys", str(path)]
    flags = [*issuer, "--jwt-default-role", "admin", "--jwt-organizations-claim", "orgs"]
    return flags, jwt.encode({"alg": "ES256", "kid": "1"}, claims, key)
