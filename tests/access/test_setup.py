"""Which authenticators the settings ask for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from bearing import token, tokens_file
from issuer import AUDIENCE, ISSUER, publishing

from stigmer.access.setup import authenticators
from stigmer.app import embedded
from stigmer.errors import StartupError
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


async def test_a_plane_that_cannot_open_leaves_none_of_them_at_work(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    async with publishing() as issuer:
        before = asyncio.all_tasks()
        settings = Settings(
            data_dir=tmp_path / "data",
            tokens_file=tokens_file(tmp_path / "tokens", token("stg_ann")),
            jwt_issuer=ISSUER,
            jwt_audience=AUDIENCE,
            jwt_keys=issuer.url,
            jwt_default_role="reader",
        )
        with pytest.raises(StartupError, match="data"):
            await embedded(settings).__aenter__()
        assert [task for task in asyncio.all_tasks() - before if "Publisher.serve" not in repr(task)] == []
