"""The command ``info``, which describes the installation or a path."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Annotated, Any

import typer
import xarray as xr
from dask.utils import format_bytes
from rich.table import Table

import xh2cm
from xh2cm.cli.facts import best_epochs, fit_facts
from xh2cm.cli.options import AsJson
from xh2cm.cli.output import table, tell
from xh2cm.datasets.open import open_path
from xh2cm.versions import as_text, versions

commands = typer.Typer()

Told = tuple[dict[str, Any], list[str | Table]]
"""For programs, and for people."""


@commands.command(rich_help_panel="First steps", epilog="Example: xh2cm info basin_fit")
def info(
    path: Annotated[
        Path | None,
        typer.Argument(exists=True, metavar="[PATH]", help="A run, fit, checkpoint, Zarr store or NetCDF file."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Describe a run, fit, store or file; without a path, print the versions and the machine for a problem report."""
    if path is None:
        found = versions()
        tell(as_json, found, as_text(found))
        return
    is_fit = path.suffix == ".ckpt" or any((path / name).exists() for name in ("fit.json", "fit/fit.json"))
    about = fit_told if is_fit else run_told if (path / "run.json").exists() else data_told
    facts, texts = about(path)
    size = size_on_disk(path)
    tell(as_json, {"path": path, "bytes": size, **facts}, *texts, f"{format_bytes(size)} in {path}")


def fit_told(path: Path) -> Told:
    """A fit, or a run that has ended with one."""
    fit = xh2cm.load_fit(path)
    rows = best_epochs(fit)
    return {"kind": "fit", "fit": fit_facts(fit)}, [f"{fit!r}\n", *tabled(rows)]


def run_told(path: Path) -> Told:
    """Describe an unfinished run from `run.json` and the table of losses."""
    try:
        about = json.loads((path / "run.json").read_text())
        targets = [row["name"] for row in about["targets"]]
        folds, period, cells = about["folds"], about["period"], about["cells"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise xh2cm.FitError(f"{path / 'run.json'} does not describe a run ({error})") from None
    losses = path / "losses.csv"
    try:
        text = losses.read_text(encoding="utf-8") if losses.exists() else ""
        whole = [row["epoch"] for row in csv.DictReader(text.splitlines()) if row["loss"]]  # the last line may be torn
        epoch = max(map(int, whole), default=0)
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise xh2cm.FitError(
            f"{losses} is not a table of losses ({error}): delete it, the run writes it anew"
        ) from None
    facts = {"kind": "run", "epoch": epoch, "folds": folds, "targets": targets, "period": period, "cells": cells}
    lines = {"epoch": epoch, "folds": folds, "targets": ", ".join(map(str, targets)), "period": period, "cells": cells}
    text = "\n".join(f"  {key:<12} {value}" for key, value in lines.items())
    return facts, [f"a run that is not finished: it goes on with the command that began it\n{text}\n"]


def data_told(path: Path) -> Told:
    """Data, a prediction or scores."""
    ds = open_path(path)
    kind = "NetCDF file" if path.is_file() and path.suffix != ".zip" else "Zarr store"
    attributes = {key: value for key, value in ds.attrs.items() if isinstance(value, str | int | float)}
    rows = [described(name, array) for name, array in ds.data_vars.items()]
    head = f"{kind}: {', '.join(f'{dim} {size:,}' for dim, size in ds.sizes.items())}"
    lines = [
        f"  {key:<22} {str(value) if len(str(value)) < 90 else str(value)[:87] + '...'}"
        for key, value in attributes.items()
    ]
    facts = {"kind": kind, "sizes": ds.sizes, "variables": rows, "attributes": attributes}
    return facts, ["\n".join([head, *lines, ""]), *tabled(rows)]


def tabled(rows: list[dict[str, Any]]) -> list[str | Table]:
    """Rows and a line below them, if there are any."""
    return [table(rows), ""] if rows else []


def described(name: Any, array: xr.DataArray) -> dict[str, Any]:
    """A row for a variable."""
    chunks = "x".join(str(lengths[0]) for lengths in array.chunks) if array.chunks else ""
    return {
        "variable": str(name),
        "on": ", ".join(map(str, array.dims)),
        "type": str(array.dtype),
        "chunks": chunks,
        "units": str(array.attrs.get("units", "")),
        "long_name": str(array.attrs.get("long_name", "")),
    }


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(p.stat().st_size for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file())
