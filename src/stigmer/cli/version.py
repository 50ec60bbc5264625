"""`stigmer version`."""

from __future__ import annotations

import sys

import typer

import stigmer


def version() -> None:
    """Print the version."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    typer.echo(f"stigmer {stigmer.__version__} (Python {python})")
