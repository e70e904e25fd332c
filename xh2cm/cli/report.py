"""``xh2cm report``, and what a run remembers of its data for it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import xarray as xr

import xh2cm
from xh2cm.cli.options import (
    AsJson,
    Overwrite,
    Progress,
    about_data,
    about_output,
    refuse_place,
    takes,
)
from xh2cm.cli.output import progress_shown, tell
from xh2cm.data.options import DataOptions
from xh2cm.datasets.open import open_path
from xh2cm.disk.atomic import beside, replace, writing
from xh2cm.errors import FitError

commands = typer.Typer()

DATA = "data.json"
"""File in a run with the path of its data and the options for reading them."""


@commands.command(rich_help_panel="Results", epilog="Example: xh2cm report run --out report.html")
@takes(DataOptions)
def report(
    run: Annotated[
        Path,
        typer.Argument(exists=True, metavar="RUN", help="Run of `xh2cm fit`, a saved fit, or a published .ckpt file."),
    ],
    out: Annotated[Path, about_output(metavar="FILE", help="HTML page to write.")] = Path("report.html"),
    data: Annotated[
        Path | None,
        about_data(
            exists=True, metavar="PATH", help="Data to check, predict and score; those of `xh2cm fit` if not given."
        ),
    ] = None,
    prediction: Annotated[
        Path | None,
        about_data(
            exists=True,
            metavar="STORE",
            help="Prediction written by `xh2cm predict`. By default all variables are predicted from the data, "
            "held out where possible, into a temporary store.",
        ),
    ] = None,
    progress: Progress = True,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    **told: Any,
) -> None:
    """Write one HTML page of a run: data check, folds, training, scores, maps, budgets, settings."""
    import matplotlib as mpl

    from xh2cm.page.page import write_page  # which says how to install matplotlib where it is not there

    mpl.use("Agg")
    if data is None and (run / DATA).is_file():
        data, told = noted(run / DATA, told)
        if not data.exists():
            typer.echo(f"{data}, which {run} was trained on, is not there: give --data", err=True)
            data = None
    refuse_place(out, overwrite, "", [path for path in (run, data, prediction) if path])
    fitted = xh2cm.load_fit(run)
    with progress_shown(progress), writing(out), beside(out.absolute()) as folder:
        given = open_path(data) if data else None
        if prediction is None and given is not None:
            prediction = predicted(given, fitted, told).h2cm.to_zarr(folder / "prediction.zarr")
        shown = open_path(prediction) if prediction else None
        write_page(out, fit=fitted, prediction=shown, data=given, overwrite=overwrite, **told)
    tell(as_json, {"out": out}, f"page written to {out}")


def note(run: Path, data: Path, told: Mapping[str, Any]) -> None:
    """Record in a run the path of its data, relative to the run, and the options for reading them."""
    path = os.path.relpath(data.resolve(), run.resolve())
    replace(run / DATA, json.dumps({"path": path, **told}, indent=1).encode())


def noted(file: Path, told: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Return the recorded path and options of a run's data, where the command line gives no others."""
    try:
        known = json.loads(file.read_text())
        return Path(os.path.normpath(file.parent.resolve() / known["path"])), {
            key: value or known[key] for key, value in told.items()
        }
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise FitError(f"{file} cannot be read ({error}): delete it, and give --data") from error


def predicted(given: xr.Dataset, fitted: xh2cm.Fit, told: dict[str, Any]) -> xr.Dataset:
    """Predict all variables, held out where the labels are known, otherwise with the mean of the folds."""
    try:
        return given.h2cm.predict(fitted, variables="all", member="held-out", **told)  # type: ignore[no-any-return]
    except FitError:
        return given.h2cm.predict(fitted, variables="all", **told)  # type: ignore[no-any-return]
