"""The group behind `stigmer`: commands that are modules of this package, imported on demand. `stigmer.cli` runs it."""

from __future__ import annotations

import difflib
import importlib
import platform
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from stigmer.cli import COMMANDS

if TYPE_CHECKING:
    # typer carries its own click and exports no name for these two
    from typer._click.core import Command, Context
    from typer._click.formatting import HelpFormatter


class Sectioned(TyperCommand):
    """A command whose help shows its options under the headings that they are given."""

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Print the options, those without a heading first."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            heading = getattr(option, "rich_help_panel", None) or "Options"
            record = option.get_help_record(ctx)
            sections.setdefault(heading, []).extend([record] if record else [])
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class Commands(TyperGroup):
    """A group whose commands are modules of this package, imported on demand."""

    def list_commands(self, ctx: Context) -> list[str]:  # noqa: ARG002  # as the base
        """The commands in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """The command, freshly imported; None where there is none, a usage error where one is spelled alike."""
        if cmd_name not in COMMANDS:
            near = difflib.get_close_matches(cmd_name, COMMANDS, n=1)
            return ctx.fail(f"No such command '{cmd_name}'. Did you mean '{near[0]}'?") if near else None
        name = cmd_name.replace("-", "_")
        found: Any = getattr(importlib.import_module(f"stigmer.cli.{name}"), name)
        app = _typer()
        if callable(found):
            app.command(cmd_name, cls=Sectioned)(found)
        else:
            app.callback(help=COMMANDS[cmd_name], no_args_is_help=True)(lambda: None)
            for name, function in found.items():
                app.command(name, cls=Sectioned)(function)
        return get_command(app)

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:  # noqa: ARG002  # as the base
        """Print the list from `COMMANDS`, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def run() -> None:
    """Run the command line of this process and exit. Raises StartupError."""
    get_command(_app())(prog_name="stigmer")


def own_version() -> str:
    """The line that tells the version of this command."""
    import stigmer  # noqa: PLC0415  # quick help: what knows the version is imported when it is asked for

    return f"stigmer {stigmer.__version__} (Python {platform.python_version()})"


def _typer() -> typer.Typer:
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _app() -> typer.Typer:
    app = _typer()
    app.callback(cls=Commands, invoke_without_command=True)(_stigmer)
    return app


def _stigmer(
    ctx: typer.Context,
    *,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version of this command.")] = False,
) -> None:
    """Stigmer, a control plane for AI agents: their resources in one SQLite file, served over gRPC.

    Start with `stigmer serve`; `stigmer COMMAND --help` explains the rest.
    """
    if show_version:
        typer.echo(own_version())
    elif ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
