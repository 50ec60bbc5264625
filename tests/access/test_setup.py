"""Which authenticators the settings ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stigmer.access.setup import authenticators
from stigmer.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


def taken(settings: Settings) -> list[str]:
    return [one.takes for one in authenticators(settings)]


def test_each_is_there_where_it_is_set(tmp_path: Path) -> None:
    tokens = {"tokens_file": tmp_path / "tokens"}
    jwt = {"jwt_issuer": "https://id", "jwt_audience": "a", "jwt_keys": "https://id/keys", "jwt_role_claim": "role"}
    assert taken(Settings()) == []
    assert taken(Settings.model_validate(tokens)) == ["bearer token"]
    assert taken(Settings.model_validate(jwt)) == ["JWT of https://id"]
    assert taken(Settings.model_validate(tokens | jwt)) == ["bearer token", "JWT of https://id"]
