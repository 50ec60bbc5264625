"""What a command of ours leaves when it has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Done(NamedTuple):
    """Its exit status, and what it has written."""

    status: int
    out: str
    err: str


Command = Callable[..., Done]
"""Runs a command with the arguments given."""
