"""A small HTTP server that speaks Vault's transit API for one key, `stigmer`, as far as a key service needs it."""

from __future__ import annotations

import base64
import json
import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar

from stigmer.secrets.cipher import Cipher, NotOpened

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "dev-only-token"
_PREFIX = "vault:v1:"


class Transit(BaseHTTPRequestHandler):
    """Encrypts and decrypts under a key that is gone with the process."""

    cipher: ClassVar = Cipher(os.urandom(32))
    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(self.path)
        if self.headers["X-Vault-Token"] != TOKEN:
            self._answer(403, {"errors": ["permission denied"]})
        elif self.path == "/v1/transit/encrypt/stigmer":
            sealed = self.cipher.encrypt(base64.b64decode(body["plaintext"]), body["associated_data"].encode())
            self._answer(200, {"data": {"ciphertext": _PREFIX + base64.b64encode(sealed).decode(), "key_version": 1}})
        elif self.path == "/v1/transit/decrypt/stigmer":
            self._decrypt(body)
        else:
            self._answer(404, {"errors": []})

    def _decrypt(self, body: dict[str, str]) -> None:
        try:
            sealed = base64.b64decode(body["ciphertext"].removeprefix(_PREFIX))
            value = self.cipher.decrypt(sealed, body["associated_data"].encode())
        except (NotOpened, ValueError):
            self._answer(400, {"errors": ["cipher: message authentication failed"]})
        else:
            self._answer(200, {"data": {"plaintext": base64.b64encode(value).decode()}})

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base
        """Say nothing."""


@contextmanager
def transit() -> Iterator[int]:
    """The port of a server that runs while the block does."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Transit)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
