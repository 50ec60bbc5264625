"""What a client shows of who calls."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import stigmer
import stigmer.app


class Key:
    """Knows callers by a token that can be given anew."""

    takes, headers = "bearer token", ("authorization",)

    def __init__(self) -> None:
        self.token = "one"

    async def authenticate(self, credentials: stigmer.Credentials) -> stigmer.Identity | None:
        shown = credentials.metadata.get("authorization")
        if shown is None:
            return None
        principal = self.holder(str(shown))
        return stigmer.Identity(principal, still=lambda: self.holder(str(shown)))

    def holder(self, shown: str) -> stigmer.Principal:
        if shown != f"Bearer {self.token}":
            raise stigmer.Unauthenticated("not this one")
        return stigmer.Principal("ann", "admin", frozenset({"acme"}))


async def test_a_client_of_the_environment_is_known_over_tls(
    tmp_path: Path, pems: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    files: dict[str, Any] = {"tls_cert": pems / "server.pem", "tls_key": pems / "server.key"}
    await asyncio.to_thread(token.write_text, "one\n")
    settings = await asyncio.to_thread(stigmer.Settings, data_dir=Path(":memory:"), **files)
    async with (
        stigmer.embedded(settings, authenticators=[Key()]) as plane,
        plane.listen("127.0.0.1:0") as server,
    ):
        said = {
            "SERVER": server.listens_on.replace("127.0.0.1", "localhost"),
            "CA": str(pems / "ca.pem"),
            "TOKEN_FILE": str(token),
            "ORG": "acme",
        }
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        for name, value in said.items():
            monkeypatch.setenv(f"STIGMER_{name}", value)
        async with stigmer.Client.from_env() as client:
            assert (await client.caller.whoami()).name == "ann"
            made = await client.environments.create(name="Prod")
            assert made.metadata
            assert made.metadata.org == "acme"


async def test_a_token_that_is_renewed_in_its_file_is_read_again(tmp_path: Path) -> None:
    key, file = Key(), tmp_path / "token"
    await asyncio.to_thread(file.write_text, "one\n")
    async with (
        stigmer.embedded(":memory:", authenticators=[key]) as plane,
        plane.listen("127.0.0.1:0") as server,
        stigmer.Client(server.listens_on, token_file=file) as client,
        stigmer.Client(server.listens_on, token="one") as stubborn,
        stigmer.Client(server.listens_on) as nobody,
    ):
        assert (await client.caller.whoami()).name == (await stubborn.caller.whoami()).name == "ann"
        with pytest.raises(stigmer.Unauthenticated) as caught:
            await nobody.caller.whoami()
        assert caught.value.takes == ("bearer token",)
        key.token = "two"
        for refused in (client, stubborn):
            with pytest.raises(stigmer.Unauthenticated):
                await refused.caller.whoami()
        await asyncio.to_thread(file.write_text, "two\n")
        assert (await client.caller.whoami()).name == "ann"
        await asyncio.to_thread(file.unlink)
        key.token = "three"
        with pytest.raises(FileNotFoundError, match="token"):
            await client.caller.whoami()
