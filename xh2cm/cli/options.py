"""What several commands take, and how it is read."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from xh2cm.data.folds import Scheme
from xh2cm.variables import OUTPUTS, TARGETS

DPI = 150
"""Points of a picture in an inch."""


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Defaults of arguments, which stand there and nowhere else."""
    return {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}


@dataclass(frozen=True)
class Entry:
    """What an option that is repeated says of a name.

    Parameters
    ----------
    name : str
    value : object
        None for a word that stands alone.
    """

    name: str
    value: Any


def entry(read: Callable[[str], Any] = str, *, alone: Container[str] = ()) -> Callable[[str], Entry]:
    """Give a reader of ``NAME=VALUE``, and of words that may stand alone."""

    def parse(text: str) -> Entry:
        name, _, value = text.partition("=")
        if text in alone:
            return Entry(text, None)
        try:
            if name and value:
                return Entry(name, read(value))
        except ValueError:
            pass
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE")

    return parse


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


about_data = partial(typer.Option, rich_help_panel="What is what in the data")
about_folds = partial(typer.Option, rich_help_panel="Folds")
about_training = partial(typer.Option, rich_help_panel="Training")
about_job = partial(typer.Option, rich_help_panel="What a task asks Slurm for")
about_output = partial(typer.Option, rich_help_panel="Output")
about_running = partial(typer.Option, rich_help_panel="Running")

Data = Annotated[
    Path,
    typer.Argument(
        exists=True, metavar="PATH", help="Daily data: Zarr (folder or .zip), NetCDF, or the published layout."
    ),
]


def one_of(names: Iterable[str]) -> Callable[[str], list[str]]:
    """Give what a shell completes a name with."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


an_output = one_of([var.name for var in OUTPUTS.values()])
a_target = one_of(TARGETS)

Names = Annotated[
    list[Entry] | None,
    about_data(
        "--names",
        parser=entry(number_or_name),
        metavar="NAME=SOURCE",
        help="A variable of the model and its name in the data, or a number (co2=410). Repeat for more.",
    ),
]
Units = Annotated[
    list[Entry] | None,
    about_data(
        "--units",
        parser=entry(),
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
    about_running(help="How to walk through time: compiled where that pays, in PyTorch, or compiled."),
]
Device = Annotated[
    str | None, about_running(metavar="DEVICE", help="cpu, cuda, cuda:1, ...; the best there is if not given.")
]
Overwrite = Annotated[bool, about_output("--overwrite", help="Replace what an earlier run has written.")]
Progress = Annotated[
    bool, about_running(help="Say on standard error how far it is: a bar in a terminal, lines elsewhere.")
]
AsJson = Annotated[bool, about_output("--json", help="Print one JSON object, also of what is refused.")]
FoldSize = Annotated[float | None, about_folds(help="Side of a block, in cells (blocks) or degrees.")]
FoldGroups = Annotated[str | None, about_folds(metavar="SOURCE", help="Labels of the groups.")]
FoldTest = Annotated[float | None, about_folds(metavar="SHARE", help="Share put aside for a test.")]
FoldScheme = Annotated[
    Scheme | None,
    about_folds(metavar="SCHEME", help=f"What stays together in a fold: {', '.join(get_args(Scheme))}."),
]


def mapping(option: str, entries: Sequence[Entry] | None) -> dict[str, Any] | None:
    """What all entries of an option say together."""
    for one in entries or ():
        if one.value is None:
            raise typer.BadParameter(f"{one.name!r} is not NAME=VALUE", param_hint=option)
    return {one.name: one.value for one in entries or ()} or None


def described(
    names: list[Entry] | None,
    units: list[Entry] | None,
    static: list[str] | None,
    no_static: bool,
    mask: str | None,
    missing: str,
) -> dict[str, Any]:
    """What `check` is told about the data."""
    if static and no_static:
        raise typer.BadParameter("cannot be given together with --no-static", param_hint="--static")
    return {
        "names": mapping("--names", names),
        "units": mapping("--units", units),
        "static": [] if no_static else static,
        "mask": mask,
        "missing": missing,
    }


def mark_of(store: Path) -> str:
    """A file that a store to replace must hold: a Zarr store its metadata; a NetCDF file is one itself."""
    return "" if store.suffix == ".nc" else "zarr.json"


def refuse_picture(out: Path, option: str = "--out") -> None:
    """Refuse a picture that cannot be drawn here, or not in that format, and make ready for one that can."""
    import matplotlib as mpl
    from matplotlib.backend_bases import FigureCanvasBase

    import xh2cm.plots.plots  # noqa: F401  (says how to install matplotlib where it is not there)

    mpl.use("Agg")
    formats = FigureCanvasBase.get_supported_filetypes()
    if out.suffix.removeprefix(".") not in formats:
        raise typer.BadParameter(f"{out} is none of .{', .'.join(formats)}", param_hint=option)


def refuse_place(out: Path, overwrite: bool, mark: str, kept: Sequence[Path], option: str = "--out") -> None:
    """Refuse a place that must not be written to before hours are spent, rather than after.

    Parameters
    ----------
    out : Path
    overwrite : bool
    mark : str
        A file that what an earlier run has written holds; anything else is never replaced.
    kept : sequence of Path
        What is read, and must not be replaced meanwhile.
    option : str
        Which has named the place.
    """
    if any(out.resolve() in (path.resolve(), *path.resolve().parents) for path in kept):
        raise typer.BadParameter(f"{out} holds what is read: give another path", param_hint=option)
    if out.exists() and not (overwrite and (out / mark).exists()):
        remedy = (
            "give another path"
            if overwrite or not (out / mark).exists()
            else "give another path, or --overwrite to replace it"
        )
        raise typer.BadParameter(f"{out} exists: {remedy}", param_hint=option)
    above = next(path for path in out.absolute().parents if path.exists())
    if not (above.is_dir() and os.access(above, os.W_OK)):
        raise typer.BadParameter(f"{out} cannot be written: {above} takes no files", param_hint=option)


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
