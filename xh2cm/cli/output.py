"""Output of commands: results as text or one JSON object on standard output, progress on standard error."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import typer
from dask.callbacks import Callback
from dask.diagnostics.progress import ProgressBar
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from xh2cm.console import printed
from xh2cm.errors import H2CMError, InputError
from xh2cm.text import printable

__all__ = ["Commands", "progress_shown", "tell"]

log = logging.getLogger(__name__)

MINUTE = 60.0
"""Seconds between two lines of progress."""


class Commands(TyperGroup):
    """Commands whose refusals are said without a traceback, as JSON where that is asked for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Check whether JSON is requested, which must be known even if parsing fails."""
        ctx.obj = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; what xh2cm refuses is exit status 1."""
        try:
            return super().invoke(ctx)
        except H2CMError as error:
            if ctx.obj:
                findings = error.findings if isinstance(error, InputError) else ()
                said = [finding._asdict() for finding in findings] or [{"problem": str(error)}]
                typer.echo(json.dumps({"findings": said}, indent=1))
            else:
                told = Text.assemble(("error: ", "bold red"), str(error))
                if isinstance(error, InputError) and any("=" in finding.remedy for finding in error.findings):
                    told.append(
                        '\nWhat is said of arguments holds for options: names={"a": "b"} is --names a=b.', "dim"
                    )
                Console(stderr=True).print(told, soft_wrap=True)
            raise typer.Exit(1) from None


def tell(as_json: bool, facts: Mapping[str, Any], *texts: str | Table) -> None:
    """Print the result of a command.

    Parameters
    ----------
    as_json : bool
    facts : mapping of str
        For programs.
    *texts : str or Table
        For people.
    """
    if as_json:
        typer.echo(json.dumps({"findings": [], **plain(facts)}, indent=1, allow_nan=False))
        return
    console = Console()
    if not console.is_terminal:  # a file has no edge
        console.width = 200
    for text in texts:
        if isinstance(text, Table):
            with console.capture() as drawn:
                console.print(text)
            typer.echo("\n".join(line.rstrip() for line in drawn.get().splitlines()))
        else:
            typer.echo(printable(text))


def plain(value: Any) -> Any:
    """The same as JSON can hold it, which knows no NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if isinstance(value, int | str | None) else str(value)


def table(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str] | None = None) -> Table:
    """Rows for people.

    Parameters
    ----------
    rows : sequence of mapping
        By the name of the column; numbers are put to the right and rounded to four digits.
    titles : mapping of str to str, optional
        Of the columns; their names if not given.

    Returns
    -------
    Table
    """
    titles = titles or {name: name for name in rows[0]}
    found = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, title in titles.items():
        found.add_column(
            Text(printable(title)), justify="left" if any(isinstance(row[name], str) for row in rows) else "right"
        )
    for row in rows:
        found.add_row(*(Text(printable(as_text(row[name]))) for name in titles))
    return found


def as_text(value: Any) -> str:
    """A cell of a table."""
    if isinstance(value, float | np.floating):
        return f"{value:.4g}" if np.isfinite(value) else "-"
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value)


@contextlib.contextmanager
def progress_shown(shown: bool = True) -> Iterator[bool]:
    """Report progress on standard error: a bar in a terminal, otherwise log lines of xh2cm and Dask.

    Parameters
    ----------
    shown : bool

    Yields
    ------
    bool
        Whether bars are to be drawn.
    """
    drawn = shown and sys.stderr.isatty()
    if drawn:
        with ProgressBar(minimum=1.0, out=sys.stderr):
            yield drawn
    elif shown:
        with printed(), Lines():  # type: ignore[no-untyped-call]
            yield drawn
    else:
        yield drawn


class Lines(Callback):
    """A logged line for each minute that Dask computes."""

    def _start_state(self, dsk: Any, state: Any) -> None:
        self.last = time.monotonic()

    def _posttask(self, key: Any, result: Any, dsk: Any, state: Mapping[str, Any], worker_id: Any) -> None:
        if time.monotonic() - self.last >= MINUTE:
            self.last = time.monotonic()
            done = len(state["finished"])
            log.info("%d of %d tasks", done, sum(len(state[k]) for k in ("finished", "waiting", "ready", "running")))
