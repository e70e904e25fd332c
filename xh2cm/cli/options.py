"""Options of several commands, and how their values are read."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import re
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from xh2cm.data.folds import FoldOptions, LabelOptions, Scheme
from xh2cm.data.options import NameOptions
from xh2cm.options import described
from xh2cm.settings import (
    DeviceOptions,
    FittedOptions,
    LoopOptions,
    LossOptions,
    PredictOptions,
    RunOptions,
    Training,
)
from xh2cm.variables import FORCING, OUTPUTS, TARGETS

DPI = 150
"""Resolution of a figure in dots per inch."""


@dataclass(frozen=True)
class Entry:
    """Name and value of an option that may be repeated.

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


def rule_and_days(text: str) -> str | tuple[str, int]:
    """Read a rule, and the longest gap in days where one is given."""
    rule, _, days = text.partition(",")
    return (rule, int(days)) if days else rule


def period_or_places(text: str) -> slice | list[str]:
    """Read a period FIRST:LAST, either of which may be absent, or places A,B,C."""
    first, colon, last = text.partition(":")
    return slice(first or None, last or None) if colon else text.split(",")


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

NoStatic = Annotated[bool, about_data("--no-static", help="No static features at all.")]
Overwrite = Annotated[bool, about_output("--overwrite", help="Replace existing output.")]
Progress = Annotated[
    bool, about_running(help="Report progress on standard error: a bar in a terminal, lines elsewhere.")
]
AsJson = Annotated[bool, about_output("--json", help="Print one JSON object, also for errors.")]


@dataclass(frozen=True)
class Reader:
    """Reader of the value of an option whose type alone does not determine it.

    Parameters
    ----------
    kind : type
    metavar : str
    parse : callable, optional
    alone : mapping of str to object
        Words that stand alone in place of ``NAME=VALUE``, and what they mean.
    completion : callable, optional
    note : str
        Added to the help.
    flags : tuple of str
        Spellings, if they are not only the name.
    """

    kind: Any
    metavar: str | None = None
    parse: Callable[[str], Entry] | None = None
    alone: Mapping[str, Any] = field(default_factory=dict)
    completion: Callable[[str], list[str]] | None = None
    note: str = ""
    flags: tuple[str, ...] = ()

    def value(self, option: str, given: Any) -> Any:
        """Return what a function is to be given."""
        if self.parse is None:
            return given
        if given and len(given) == 1 and given[0].name in self.alone and given[0].value is None:
            return self.alone[given[0].name]
        return mapping(option, given)


Many, Table = list[str] | None, list[Entry] | None

READERS = {
    "names": Reader(Table, "NAME=SOURCE", entry(number_or_name)),
    "units": Reader(Table, "SOURCE=UNITS", entry()),
    "static": Reader(Many, "SOURCE"),
    "mask": Reader(str | None, "SOURCE"),
    "forcing": Reader(Many, "NAME", completion=one_of(FORCING)),
    "folds": Reader(int),
    "scheme": Reader(Scheme | None, "SCHEME", note=f"One of {', '.join(get_args(Scheme))}."),
    "groups": Reader(str | None, "SOURCE"),
    "test": Reader(float | None, "SHARE"),
    "only": Reader(list[int] | None, "FOLD", flags=("--only", "--fold")),
    "weights": Reader(Table, "NAME=NUMBER", entry(float)),
    "priors": Reader(Table, "NAME=MEAN,STD", entry(mean_and_std, alone=["none"]), {"none": {}}, note="Or none."),
    "pin": Reader(Table, "NAME=VALUE", entry(number_or_name, alone=["global"]), {"global": "global"}),
    "patience": Reader(int, note="0 for never."),
    "window": Reader(int | None, "DAYS"),
    "spinup": Reader(int | None, "DAYS"),
    "memory": Reader(str | None, "BYTES"),
    "save_every": Reader(float, "MINUTES"),
    "device": Reader(str | None, "DEVICE"),
    "missing": Reader(Literal["skip", "drop", "raise"]),
    "fill": Reader(Table, "NAME=RULE[,DAYS]", entry(rule_and_days)),
    "split": Reader(
        Table,
        "PART=FIRST:LAST",
        entry(period_or_places),
        note="training, validation or test, each a period FIRST:LAST or places A,B.",
    ),
    "normalise": Reader(Literal["training", "stored"]),
    "loop": Reader(Literal["auto", "plain", "fast"]),
    "member": Reader(str, "MEMBER", completion=one_of(["mean", "all", "held-out"])),
}
"""Options that are more than a number or a truth value."""

TYPES: Mapping[str, Any] = {"int": int, "float": float, "bool": bool, "float | None": float | None}
"""Types of the others, by their annotation."""

PANELS = {
    NameOptions: "What is what in the data",
    FoldOptions: "Folds",
    LabelOptions: "Folds",
    LossOptions: "Training",
    Training: "Training",
    RunOptions: "Running",
    LoopOptions: "Running",
    DeviceOptions: "Running",
    PredictOptions: "Output",
    FittedOptions: "Output",
}
"""Headings under which the options of a class are shown; of others those of their base."""

SENTENCE = re.compile(r"(?<=[.;])\s")


def takes(*declared: type, without: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option to a command for every field of some declarations: type, default and help are taken from there.

    Parameters
    ----------
    *declared : dataclass
    without : collection of str
        Fields that the command does not have, or has of its own.

    Returns
    -------
    callable
        A decorator; the command gets what the fields are to be, by their names.
    """

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.kind is not p.VAR_KEYWORD]
        taken = {p.name for p in own} | {*without, "_"}
        options = {}
        for kind in declared:
            told = described(kind)
            for each in dataclasses.fields(kind):
                if each.name not in taken and each.name not in options:
                    options[each.name] = option(kind, each, told[each.name][1])
        if "static" in options:
            options["no_static"] = inspect.Parameter(
                "no_static", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=NoStatic
            )

        @functools.wraps(command)
        def called(**given: Any) -> None:
            if given.get("static") and given.get("no_static"):
                raise typer.BadParameter("cannot be given together with --no-static", param_hint="--static")
            if given.pop("no_static", False):
                given["static"] = []
            for name in options.keys() & READERS.keys() & given.keys():
                given[name] = READERS[name].value(f"--{name.replace('_', '-')}", given[name])
            command(**given)

        parameters = [*(p.replace(kind=p.KEYWORD_ONLY) for p in own), *options.values()]
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in parameters}
        return called

    return decorated


def option(kind: type, each: dataclasses.Field[Any], text: str) -> inspect.Parameter:
    """Return the parameter of a command for a field of a declaration."""
    reader = READERS.get(each.name) or Reader(TYPES[str(each.type)])
    several = reader.parse is not None or reader.kind in (Many, list[int] | None)
    first = SENTENCE.split(text.replace("``", ""))[0].rstrip(".;")
    help_text = " ".join([f"{first}.", *filter(None, [reader.note, "Repeat for more." * several])])
    home = next(base for base in kind.__mro__ if each.name in vars(base).get("__annotations__", {}))
    panel = next((PANELS[base] for base in home.__mro__ if base in PANELS), PANELS[NameOptions])
    about = typer.Option(
        *(reader.flags or [f"--{each.name.replace('_', '-')}"]),
        help=" ".join(help_text.split()), metavar=reader.metavar, parser=reader.parse,
        autocompletion=reader.completion, rich_help_panel=panel,
    )  # fmt: skip
    annotation = Annotated[reader.kind, about]  # type: ignore[name-defined]
    return inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=annotation)


def mapping(option: str, entries: Sequence[Entry] | None) -> dict[str, Any] | None:
    """Return the entries of an option as one mapping."""
    for one in entries or ():
        if one.value is None:
            raise typer.BadParameter(f"{one.name!r} is not NAME=VALUE", param_hint=option)
    return {one.name: one.value for one in entries or ()} or None


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
