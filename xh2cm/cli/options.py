"""What several commands take, and how it is read."""

from __future__ import annotations

import inspect
import math
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from dask.diagnostics.progress import ProgressBar


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Defaults of arguments, which stand there and nowhere else."""
    return {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}


about_data = partial(typer.Option, rich_help_panel="What is what in the data")
about_folds = partial(typer.Option, rich_help_panel="Folds")
about_training = partial(typer.Option, rich_help_panel="Training")
about_job = partial(typer.Option, rich_help_panel="What a task asks Slurm for")
about_output = partial(typer.Option, rich_help_panel="Output")

Data = Annotated[
    Path,
    typer.Argument(
        exists=True, metavar="PATH", help="Daily data: Zarr (folder or .zip), NetCDF, or the published layout."
    ),
]
Names = Annotated[
    list[str] | None,
    about_data(
        "--names",
        metavar="NAME=SOURCE",
        help="A variable of the model and its name in the data, or a number (co2=410). Repeat for more.",
    ),
]
Units = Annotated[
    list[str] | None,
    about_data(
        "--units",
        metavar="SOURCE=UNITS",
        help="Units of a variable of the data, before what the file says. Repeat for more.",
    ),
]
Static = Annotated[
    list[str] | None,
    about_data(metavar="SOURCE", help="A static feature; all numbers on the land axes if not given. Repeat for more."),
]
NoStatic = Annotated[bool, about_data("--no-static", help="No static features at all.")]
Mask = Annotated[str | None, about_data(metavar="SOURCE", help="The land: true, or 0.5 and more.")]
Missing = Annotated[
    Literal["drop", "raise"], about_data(help="Leave out land cells that lack data, and count them, or refuse.")
]
Loop = Annotated[
    Literal["auto", "plain", "fast"],
    about_output(help="How to walk through time: compiled where that pays, in PyTorch, or compiled."),
]
Device = Annotated[
    str | None, about_output(metavar="DEVICE", help="cpu, cuda, cuda:1, ...; the best there is if not given.")
]
Overwrite = Annotated[bool, about_output("--overwrite", help="Replace what an earlier run has written.")]
Progress = Annotated[bool, about_output(help="Show on standard error how far it is.")]


def mapping(option: str, entries: Sequence[str] | None, read: Callable[[str], Any] = str) -> dict[str, Any] | None:
    """Read ``NAME=VALUE`` entries of an option."""
    found = {}
    for entry in entries or ():
        name, sign, value = entry.partition("=")
        try:
            found[name] = read(value)
        except ValueError:
            sign = ""
        if not (sign and name and value):
            raise typer.BadParameter(f"{entry!r} is not NAME=VALUE", param_hint=option)
    return found or None


def number_or_name(text: str) -> float | str:
    """Read a number where it is one."""
    try:
        return float(text)
    except ValueError:
        return text


def mean_and_std(text: str) -> tuple[float, float]:
    """Read two numbers."""
    mean, std = map(float, text.split(","))
    return mean, std


def described(
    names: list[str] | None,
    units: list[str] | None,
    static: list[str] | None,
    no_static: bool,
    mask: str | None,
    missing: str,
) -> dict[str, Any]:
    """What `check` is told about the data."""
    if static and no_static:
        raise typer.BadParameter("cannot be given together with --no-static", param_hint="--static")
    return {
        "names": mapping("--names", names, number_or_name),
        "units": mapping("--units", units),
        "static": [] if no_static else static,
        "mask": mask,
        "missing": missing,
    }


def refuse_place(out: Path, overwrite: bool, mark: str, kept: Sequence[Path]) -> None:
    """Refuse a place that must not be written to before hours are spent, rather than after.

    Parameters
    ----------
    out : Path
    overwrite : bool
    mark : str
        A file that what an earlier run has written holds; anything else is never replaced.
    kept : sequence of Path
        What is read, and must not be replaced meanwhile.
    """
    if any(out.resolve() in (path.resolve(), *path.resolve().parents) for path in kept):
        raise typer.BadParameter(f"{out} holds what is read: give another path", param_hint="--out")
    if out.exists() and not (overwrite and (out / mark).exists()):
        remedy = (
            "give another path"
            if overwrite or not (out / mark).exists()
            else "give another path, or --overwrite to replace it"
        )
        raise typer.BadParameter(f"{out} exists: {remedy}", param_hint="--out")
    above = next(path for path in out.absolute().parents if path.exists())
    if not (above.is_dir() and os.access(above, os.W_OK)):
        raise typer.BadParameter(f"{out} cannot be written: {above} takes no files", param_hint="--out")


def bar(shown: bool = True) -> ProgressBar:
    """Progress of what Dask computes, where it takes longer than a moment."""
    return ProgressBar(minimum=1.0 if shown else math.inf, out=sys.stderr)


def connected(scheduler: str) -> Any:
    """A client of a Dask cluster."""
    try:
        from distributed import Client
    except ModuleNotFoundError:
        remedy = "pip install 'xh2cm[distributed]'"
        raise typer.BadParameter(f"needs distributed: {remedy}", param_hint="--scheduler") from None
    try:
        with Client(scheduler, timeout=10, set_as_default=False):  # one that fails would stay what Dask asks
            return Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{scheduler} does not answer: {error}", param_hint="--scheduler") from None
