"""What can be set of a client's calls; `Client.with_options` gives a client with others on the same connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Options:
    """How calls are made.

    Attributes:
        timeout_s: how long a unary call may take, its repetitions included; None for as long as it takes.
        max_retries: how often a call is repeated where that is safe.
        retry_s: how long it is repeated, counted from the first failure; a stream is opened again for as long.
        org: of what is made or named without an organization.
        dry_run: writes are tried and not done.
        metadata: sent along with each call.
    """

    timeout_s: float | None = 10.0
    max_retries: int = 10
    retry_s: float = 10.0
    org: str = ""
    dry_run: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
