"""No kind is left out of the conformance suite."""

from __future__ import annotations

from conformance_facts import KINDS

from stigmer.handlers import HANDLERS


def test_every_kind_that_is_served_is_in_the_suite() -> None:
    assert sorted(facts.name for facts in KINDS) == sorted(handler.kind.name for handler in HANDLERS)
