"""Commands on data: ``check``, ``folds``, ``rechunk``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from dask.utils import parse_bytes

from xh2cm.cli.options import (
    DPI,
    AsJson,
    Data,
    Overwrite,
    Progress,
    a_target,
    about_data,
    about_output,
    mark_of,
    refuse_picture,
    refuse_place,
    takes,
)
from xh2cm.cli.output import progress_shown, table, tell
from xh2cm.data.folds import TEST, LabelOptions
from xh2cm.data.options import CheckOptions, ForcingOptions
from xh2cm.data.report import Report
from xh2cm.datasets.open import open_path
from xh2cm.disk.atomic import drafted, writing

commands = typer.Typer(rich_help_panel="Data")


@commands.command(
    rich_help_panel="Data",
    epilog="Example: xh2cm check era5.zarr --names precipitation=tp --units tp='m day-1' --names co2=410",
)
@takes(CheckOptions, without=("options", "targets"))
def check(
    path: Data,
    target: Annotated[
        list[str] | None,
        about_data(metavar="NAME", autocompletion=a_target, help="A target that must be usable. Repeat for more."),
    ] = None,
    as_json: AsJson = False,
    **told: Any,
) -> None:
    """Find, convert and derive the variables that the model needs, and report them with all problems."""
    with progress_shown():
        report = open_path(path).h2cm.check(targets=target, **told)
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
@takes(LabelOptions, ForcingOptions, without=("options",))
def folds(
    path: Data,
    out: Annotated[
        Path | None, about_output(metavar="STORE", help="Labels to write: a Zarr store (a folder), or NetCDF (.nc).")
    ] = None,
    plot: Annotated[Path | None, about_output(metavar="FILE", help="Picture to write: .png, .pdf, .svg, ...")] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    **told: Any,
) -> None:
    """Show how cells (or years) are dealt to the folds, and how many each has, before anything is trained."""
    if out:
        refuse_place(out, overwrite, mark_of(out), [path])
    if plot:
        refuse_picture(plot, "--plot")
        refuse_place(plot, overwrite, "", [path], "--plot")
    with progress_shown():
        labels = open_path(path).h2cm.folds(**told).compute()
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
        from matplotlib import pyplot as plt

        from xh2cm.plots import plots as pictures

        figure: Any = pictures.folds(labels).figure
        with writing(plot), drafted(plot) as draft:
            figure.savefig(draft, dpi=DPI)
        plt.close(figure)
    places = [f"labels written to {out}"] * bool(out) + [f"drawn in {plot}"] * bool(plot)
    about = {"scheme": labels.attrs.get("scheme"), "counted": what, "folds": rows, "out": out, "plot": plot}
    tell(as_json, about, f"{told['folds']} folds, scheme {about['scheme']}\n", table(rows), "\n".join(["", *places]))


@commands.command(rich_help_panel="Data", epilog="Example: xh2cm rechunk by_day.zarr by_cells.zarr --memory '4 GiB'")
def rechunk(
    path: Data,
    out: Annotated[Path, typer.Argument(metavar="STORE", help="Zarr store (a folder) to write.")],
    memory: Annotated[str, about_output(metavar="SIZE", help="About how much memory may be used.")] = "1 GiB",
    progress: Progress = True,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Rewrite data in chunks of cells with whole records, as training and prediction read them."""
    refuse_place(out, overwrite, "zarr.json", [path])
    try:
        size = parse_bytes(memory)
    except ValueError:
        raise typer.BadParameter(f"{memory!r} is no size such as '4 GiB'", param_hint="--memory") from None
    with progress_shown(progress):
        open_path(path).h2cm.rechunk(out, memory=size, overwrite=overwrite)
    tell(as_json, {"out": out}, f"{path} written to {out} in chunks of cells")
