"""``xh2cm`` on the command line: it reads arguments, calls what the accessor calls, and prints what comes of it."""

from __future__ import annotations

from typing import Annotated

import xh2cm

try:
    import rich  # noqa: F401
    import typer
except ModuleNotFoundError as error:
    raise SystemExit(f"the command line needs {error.name}, which is not installed: pip install 'xh2cm[cli]'") from None

from xh2cm.cli import data, demo, info, report, results, training
from xh2cm.cli.output import Commands

__all__ = ["app", "main"]

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
    epilog="Exit status: 0 done, 1 the input, fit or store cannot be used, 2 the command line cannot.",
)
for group in (demo, info, data, training, results, report):
    app.add_typer(group.commands)


def show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"xh2cm {xh2cm.__version__}")
        raise typer.Exit


@app.callback()
def describe(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Hybrid modelling of the land's water and carbon cycles (H2CM): check daily forcing, train, predict."""


def main() -> None:
    """Run the command line."""
    app(prog_name="xh2cm")
