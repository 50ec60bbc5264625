"""How much a test tries: little by default, much in `make long`, which runs what is marked `long` or `longer`."""

from __future__ import annotations

import os

LONG = "STIGMER_LONG" in os.environ


def examples(few: int, many: int) -> int:
    """How many of them."""
    return many if LONG else few
