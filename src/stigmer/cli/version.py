"""`stigmer version`."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

import typer


def version() -> None:
    """Print the version."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    typer.echo(f"stigmer {_version()} (Python {python})")


def _version() -> str:
    try:
        return installed_version("stigmer-server")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"
