"""Which processes coverage measures: that of the tests, and those that are started with MEASURED in their environment.

The others do not inherit coverage's variables: a client, or a server that is killed in the end, would only be slower.
"""

from __future__ import annotations

import os

MEASURED: dict[str, str] = {}


def keep() -> None:
    """Move coverage's variables from the environment to MEASURED."""
    MEASURED.update({name: os.environ.pop(name) for name in list(os.environ) if name.startswith("COVERAGE_")})
