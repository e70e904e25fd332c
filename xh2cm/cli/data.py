"""Commands on data: ``check``, ``rechunk``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from dask.utils import parse_bytes

from xh2cm.cli.options import (
    Data,
    Mask,
    Missing,
    Names,
    NoStatic,
    Overwrite,
    Progress,
    Static,
    Units,
    about_data,
    about_output,
    bar,
    described,
    refuse_place,
)
from xh2cm.data.files import open_path
from xh2cm.data.report import Report
from xh2cm.errors import InputError

commands = typer.Typer()


@commands.command(epilog="Example: xh2cm check era5.zarr --names precipitation=tp --units tp='m day-1' --names co2=410")
def check(
    path: Data,
    names: Names = None,
    units: Units = None,
    forcing: Annotated[
        list[str] | None,
        about_data(metavar="NAME", help="A forcing that the model needs; all five if not given. Repeat for more."),
    ] = None,
    target: Annotated[
        list[str] | None, about_data(metavar="NAME", help="A target that must be usable. Repeat for more.")
    ] = None,
    static: Static = None,
    no_static: NoStatic = False,
    mask: Mask = None,
    missing: Missing = "drop",
    as_json: Annotated[bool, about_output("--json", help="Print report and findings as JSON.")] = False,
) -> None:
    """Find, convert and derive what the model needs, and say what was found and what is wrong."""
    told = described(names, units, static, no_static, mask, missing)
    try:
        with bar():
            report = open_path(path).h2cm.check(forcing=forcing, targets=target, **told)
    except InputError as error:
        if not as_json:
            raise
        findings = [finding._asdict() for finding in error.findings]
        typer.echo(json.dumps({"findings": findings, "report": None}, indent=1))
        raise typer.Exit(1) from None
    typer.echo(json.dumps({"findings": [], "report": plain(report)}, indent=1) if as_json else str(report))


def plain(report: Report) -> dict[str, Any]:
    """A report as JSON can hold it, which knows no NaN."""
    rows = [{key: None if value != value else value for key, value in row._asdict().items()} for row in report.rows]
    return {
        "usable": report.usable,
        "cells": report.cells,
        "outside": report.outside,
        "dropped": dict(report.dropped),
        "period": report.period,
        "variables": rows,
        "notes": list(report.notes),
    }


@commands.command(epilog="Example: xh2cm rechunk by_day.zarr by_cells.zarr --memory '4 GiB'")
def rechunk(
    path: Data,
    out: Annotated[Path, typer.Argument(metavar="STORE", help="Zarr store (a folder) to write.")],
    memory: Annotated[str, about_output(metavar="SIZE", help="About how much memory may be used.")] = "1 GiB",
    progress: Progress = True,
    overwrite: Overwrite = False,
) -> None:
    """Write data once more in chunks of cells with their whole records, as training and prediction read them."""
    refuse_place(out, overwrite, "zarr.json", [path])
    try:
        size = parse_bytes(memory)
    except ValueError:
        raise typer.BadParameter(f"{memory!r} is no size such as '4 GiB'", param_hint="--memory") from None
    with bar(progress):
        open_path(path).h2cm.rechunk(out, memory=size, overwrite=overwrite)
    typer.echo(f"{path} written to {out} in chunks of cells")
