"""README.md is short and true, and the links of every page lead somewhere."""

from __future__ import annotations

import re

import pytest
from markdown_text import PAGES, ROOT, blocks, document

from stigmer.settings import Settings
from stigmer.store.sqlite.files import FILE_NAME

README = document("README.md")
COMMANDS = [line[2:] for block in blocks(README) if block.language == "console" for line in block.text.splitlines()]
MAX_LINES = 140
"""What somebody reads who wants to know whether it is for them; all else has a page of its own."""


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= MAX_LINES


def test_every_make_target_that_the_readme_names_exists() -> None:
    targets = re.findall(r"^([a-z]+):", document("Makefile"), re.MULTILINE)
    named = [command.split()[1] for command in COMMANDS if command.startswith("make ")]
    assert named == ["demo", "test"]
    assert set(named) <= set(targets)


def test_what_is_shared_with_the_original_is_named_as_it_is() -> None:
    directory, listen = "~/.stigmer", Settings.model_fields["listen"].default[0]
    assert f"`{directory}/{FILE_NAME}`" in README
    assert f"port {listen.rpartition(':')[2]}" in README


@pytest.mark.parametrize("name", [*PAGES, "CHANGELOG.md"])
def test_every_link_to_a_file_leads_to_one(name: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", document(name))
    here = (ROOT / name).parent
    assert [target for target in targets if "://" not in target and not (here / target).exists()] == []


@pytest.mark.parametrize("name", PAGES)
def test_no_document_names_a_package_index_or_a_machine_of_ours(name: str) -> None:
    text = document(name)
    assert "/work/" not in text
    assert "index-url" not in text


@pytest.mark.parametrize("name", PAGES)
def test_every_link_to_a_heading_leads_to_one(name: str) -> None:
    here = (ROOT / name).parent
    for target, heading in re.findall(r"\]\(([^):]*)#([^)]+)\)", document(name)):
        text = (here / target).read_text() if target else document(name)
        headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
        assert heading in slugs, (target, heading)
