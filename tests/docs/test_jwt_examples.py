"""The settings that docs/callers.md shows for issuers of JWTs are ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from markdown_text import blocks, document

from stigmer.access.setup import authenticators
from stigmer.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = [block.text for block in blocks(document("docs/callers.md")) if block.language == "toml"]


@pytest.mark.parametrize("text", EXAMPLES)
def test_each_makes_an_authenticator(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(text)
    settings = Settings.load(config=tmp_path / "s.toml")
    assert settings.model_fields_set > {"jwt_issuer", "jwt_audience", "jwt_keys"}
    assert [one.takes for one in authenticators(settings)] == [f"JWT of {settings.jwt_issuer}"]


def test_there_is_one_of_people_and_one_of_workloads() -> None:
    assert len(EXAMPLES) == 2
