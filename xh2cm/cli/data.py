"""Commands on data: ``check``, ``folds``, ``rechunk``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from dask.utils import parse_bytes

from xh2cm.accessor import H2CMAccessor
from xh2cm.cli.options import (
    DPI,
    AsJson,
    Data,
    FoldGroups,
    FoldScheme,
    FoldSize,
    FoldTest,
    Mask,
    Missing,
    Names,
    NoStatic,
    Overwrite,
    Progress,
    Static,
    Units,
    a_target,
    about_data,
    about_folds,
    about_output,
    defaults,
    described,
    mark_of,
    one_of,
    refuse_picture,
    refuse_place,
)
from xh2cm.cli.output import progress_shown, table, tell
from xh2cm.data.folds import TEST
from xh2cm.data.report import Report
from xh2cm.datasets.open import open_path
from xh2cm.disk.atomic import drafted, writing
from xh2cm.variables import FORCING

commands = typer.Typer(rich_help_panel="Data")
FOLDS = defaults(H2CMAccessor.folds)

Forcing = Annotated[
    list[str] | None,
    about_data(
        metavar="NAME",
        autocompletion=one_of(FORCING),
        help="A forcing that the model needs; all five if not given. Repeat for more.",
    ),
]


@commands.command(
    rich_help_panel="Data",
    epilog="Example: xh2cm check era5.zarr --names precipitation=tp --units tp='m day-1' --names co2=410",
)
def check(
    path: Data,
    names: Names = None,
    units: Units = None,
    forcing: Forcing = None,
    target: Annotated[
        list[str] | None,
        about_data(metavar="NAME", autocompletion=a_target, help="A target that must be usable. Repeat for more."),
    ] = None,
    static: Static = None,
    no_static: NoStatic = False,
    mask: Mask = None,
    missing: Missing = "drop",
    as_json: AsJson = False,
) -> None:
    """Find, convert and derive what the model needs, and say what was found and what is wrong."""
    told = described(names, units, static, no_static, mask, missing)
    with progress_shown():
        report = open_path(path).h2cm.check(forcing=forcing, targets=target, **told)
    tell(as_json, {"report": facts(report)}, str(report))


def facts(report: Report) -> dict[str, Any]:
    """A report for programs."""
    return {
        "usable": report.usable,
        "cells": report.cells,
        "outside": report.outside,
        "dropped": report.dropped,
        "period": report.period,
        "variables": [row._asdict() for row in report.rows],
        "notes": report.notes,
    }


@commands.command(
    rich_help_panel="Data", epilog="Example: xh2cm folds basin.nc --folds 5 --scheme degrees --plot folds.png"
)
def folds(
    path: Data,
    folds: Annotated[int, about_folds(help="How many folds.")] = FOLDS["folds"],
    scheme: FoldScheme = None,
    size: FoldSize = None,
    groups: FoldGroups = None,
    test: FoldTest = None,
    seed: Annotated[int, about_folds(help="Of the draw; 1 is the published one, and that of `xh2cm fit`.")] = FOLDS[
        "seed"
    ],
    out: Annotated[
        Path | None, about_output(metavar="STORE", help="Labels to write: a Zarr store (a folder), or NetCDF (.nc).")
    ] = None,
    plot: Annotated[Path | None, about_output(metavar="FILE", help="Picture to write: .png, .pdf, .svg, ...")] = None,
    names: Names = None,
    units: Units = None,
    forcing: Forcing = None,
    static: Static = None,
    no_static: NoStatic = False,
    mask: Mask = None,
    missing: Missing = "drop",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Show how cells (or years) are dealt to the folds, and how many each has, before anything is trained."""
    told = described(names, units, static, no_static, mask, missing)
    if out:
        refuse_place(out, overwrite, mark_of(out), [path])
    if plot:
        refuse_picture(plot, "--plot")
        refuse_place(plot, overwrite, "", [path], "--plot")
    with progress_shown():
        labels = (
            open_path(path)
            .h2cm.folds(folds, scheme=scheme, size=size, groups=groups, test=test, seed=seed, forcing=forcing, **told)
            .compute()
        )
    what = "days" if labels.dims == ("time",) else "cells"
    numbers, counts = np.unique(labels.values[np.isfinite(labels.values)].astype(int), return_counts=True)
    rows = [
        {"fold": "test" if k == TEST else int(k), what: int(n), "share": n / counts.sum()}
        for k, n in zip(numbers, counts, strict=True)
    ]
    if out:
        written = labels.drop_encoding().to_dataset(name="fold")
        (written.h2cm.to_netcdf if out.suffix == ".nc" else written.h2cm.to_zarr)(out, overwrite=overwrite)
    if plot:
        from xh2cm.plots import plots as pictures

        figure: Any = pictures.folds(labels).figure
        with writing(plot), drafted(plot) as draft:
            figure.savefig(draft, dpi=DPI)
    places = [f"labels written to {out}"] * bool(out) + [f"drawn in {plot}"] * bool(plot)
    about = {"scheme": labels.attrs.get("scheme"), "counted": what, "folds": rows, "out": out, "plot": plot}
    tell(as_json, about, f"{folds} folds, scheme {about['scheme']}\n", table(rows), "\n".join(["", *places]))


@commands.command(rich_help_panel="Data", epilog="Example: xh2cm rechunk by_day.zarr by_cells.zarr --memory '4 GiB'")
def rechunk(
    path: Data,
    out: Annotated[Path, typer.Argument(metavar="STORE", help="Zarr store (a folder) to write.")],
    memory: Annotated[str, about_output(metavar="SIZE", help="About how much memory may be used.")] = "1 GiB",
    progress: Progress = True,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write data once more in chunks of cells with their whole records, as training and prediction read them."""
    refuse_place(out, overwrite, "zarr.json", [path])
    try:
        size = parse_bytes(memory)
    except ValueError:
        raise typer.BadParameter(f"{memory!r} is no size such as '4 GiB'", param_hint="--memory") from None
    with progress_shown(progress):
        open_path(path).h2cm.rechunk(out, memory=size, overwrite=overwrite)
    tell(as_json, {"out": out}, f"{path} written to {out} in chunks of cells")
