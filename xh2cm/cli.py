"""``xh2cm`` on the command line: it reads arguments, calls what the accessor calls, and prints what comes of it."""

from __future__ import annotations

import inspect
import json
import logging
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import xarray as xr
from dask.diagnostics.progress import ProgressBar
from dask.utils import parse_bytes

import xh2cm
from xh2cm.accessor import H2CMAccessor
from xh2cm.data import tutorial
from xh2cm.data.files import open_path
from xh2cm.data.folds import Scheme
from xh2cm.data.report import Report
from xh2cm.disk import replace
from xh2cm.errors import FitError, H2CMError, InputError
from xh2cm.slurm import Job, fit_script, gather_script, submission

try:
    import typer
    from rich.console import Console
    from rich.text import Text
except ModuleNotFoundError as error:
    raise SystemExit(f"the command line needs {error.name}, which is not installed: pip install 'xh2cm[cli]'") from None

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
    epilog="Exit status: 0 done, 1 the input, fit or store cannot be used, 2 the command line cannot.",
)

FIT, PREDICT, EXPORT = (
    {name: parameter.default for name, parameter in inspect.signature(method).parameters.items()}
    for method in (H2CMAccessor.fit, H2CMAccessor.predict, H2CMAccessor.to_cmip)
)
"""Defaults, which stand there."""

DATA = "data.json"
"""In a run, where its data are and what is what in them."""

about_data = partial(typer.Option, rich_help_panel="What is what in the data")
about_folds = partial(typer.Option, rich_help_panel="Folds")
about_training = partial(typer.Option, rich_help_panel="Training")
about_job = partial(typer.Option, rich_help_panel="What a task asks Slurm for")
about_output = partial(typer.Option, rich_help_panel="Output")

# -- what several commands take ------------------------------------------------------------------------------------

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


def show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"xh2cm {xh2cm.__version__}")
        raise typer.Exit


# -- the commands --------------------------------------------------------------------------------------------------


@app.callback()
def describe(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Hybrid modelling of the land's water and carbon cycles (H2CM): check daily forcing, train, predict."""


@app.command(epilog="Example: xh2cm check era5.zarr --names precipitation=tp --units tp='m day-1' --names co2=410")
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


@app.command(
    epilog="Example: xh2cm fit basin.nc --out basin_fit --folds 5 --scheme degrees --target runoff --epochs 100. "
    "After a kill the same command goes on where it was."
)
def fit(
    path: Data,
    out: Annotated[
        Path, about_output(metavar="RUN", help="Folder that the states of the training are kept in, and then the fit.")
    ],
    folds: Annotated[int, about_folds(help="How many folds.")] = FIT["folds"],
    scheme: Annotated[Scheme | None, about_folds(help="What stays together in a fold.")] = None,
    size: Annotated[float | None, about_folds(help="Side of a block, in cells (blocks) or degrees.")] = None,
    groups: Annotated[str | None, about_folds(metavar="SOURCE", help="Labels of the groups.")] = None,
    test: Annotated[float | None, about_folds(metavar="SHARE", help="Share put aside for a test.")] = None,
    only: Annotated[
        list[int] | None,
        about_folds("--only", "--fold", metavar="FOLD", help="Train this fold only. Repeat for more."),
    ] = None,
    target: Annotated[
        list[str] | None,
        about_training(
            metavar="NAME[=HOW]",
            help="What to train on, and how to compare it (GPP=daily); all there are if not given. Repeat for more.",
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        about_training(metavar="NAME=NUMBER", help="Weight of a target, 1 if not given. Repeat for more."),
    ] = None,
    priors: Annotated[
        list[str] | None,
        about_training(
            metavar="NAME=MEAN,STD",
            help="What is known of a global constant; as published if not given, --priors none for nothing. Repeat for "
            "more.",
        ),
    ] = None,
    epochs: Annotated[int, about_training(help="At most so many.")] = FIT["epochs"],
    patience: Annotated[
        int, about_training(help="Epochs without a better validation loss before a fold stops; 0 for never.")
    ] = FIT["patience"],
    batch_size: Annotated[int, about_training(help="Samples a fold sees in a step.")] = FIT["batch_size"],
    learning_rate: Annotated[float, about_training(help="Of the first epochs.")] = FIT["learning_rate"],
    window: Annotated[
        int | None, about_training(metavar="DAYS", help="Cut records into windows; whole records if not given.")
    ] = None,
    spinup: Annotated[
        int | None,
        about_training(metavar="DAYS", help="Days walked once before every window; its whole length if not given."),
    ] = None,
    width: Annotated[
        int | None, about_training(help="Hidden units of the daily networks; as published if not given.")
    ] = None,
    water: Annotated[bool, about_training("--water", help="Walk water alone: no carbon, and no CO2 needed.")] = False,
    pin: Annotated[
        list[str] | None,
        about_training(
            metavar="NAME=VALUE",
            help="A parameter, and the number, the map in the data or the one learned constant (global) it is pinned "
            "to; --pin global for all. Repeat for more.",
        ),
    ] = None,
    normalise: Annotated[
        Literal["training", "stored"],
        about_training(help="By each fold's training cells, or by the attributes mean and std of the data."),
    ] = FIT["normalise"],
    seed: Annotated[int, about_training(help="Of first weights and order of samples.")] = FIT["seed"],
    memory: Annotated[
        str | None,
        about_training(
            metavar="BYTES",
            help="What the data may take, such as 4GiB; half of what is free if not given. More streams.",
        ),
    ] = None,
    save_every: Annotated[
        float, about_output(metavar="MINUTES", help="Between two states within an epoch; one is kept after each.")
    ] = FIT["save_every"],
    scheduler: Annotated[
        str | None,
        about_output(
            metavar="ADDRESS", help="Of a Dask cluster whose workers take the folds, such as tcp://host:8786."
        ),
    ] = None,
    names: Names = None,
    units: Units = None,
    static: Static = None,
    no_static: NoStatic = False,
    mask: Mask = None,
    missing: Missing = "drop",
    loop: Loop = FIT["loop"],
    device: Device = None,
    progress: Annotated[
        bool, about_output(help="Show how far it is: a bar in a terminal, else a line of standard error an epoch.")
    ] = True,
    overwrite: Overwrite = False,
) -> None:
    """Train the model, all folds in one pass, on whichever targets the data hold."""
    from xh2cm.train.run import is_run  # with torch, which the command line does without until here

    told = described(names, units, static, no_static, mask, missing)
    how = [name.partition("=")[1] for name in target or ()]
    if any(how) and not all(how):
        raise typer.BadParameter("say for every target how to compare it, or for none", param_hint="--target")
    targets = mapping("--target", target) if any(how) else target
    shares = mapping("--weights", weights, float)
    if overwrite or not is_run(out):
        refuse_place(out, overwrite, "run.json", [path])
        shutil.rmtree(out, ignore_errors=True)
    shown = progress and sys.stderr.isatty()
    if progress and not shown:
        handler = logging.StreamHandler()
        handler.addFilter(logging.Filter("xh2cm"))
        logging.basicConfig(format="%(asctime)s %(message)s", handlers=[handler])
        logging.getLogger("xh2cm").setLevel(logging.INFO)
    with bar(shown):
        done = open_path(path).h2cm.fit(
            folds,
            scheme=scheme,
            size=size,
            groups=groups,
            test=test,
            only=only,
            targets=targets,
            weights=shares,
            priors={} if priors == ["none"] else mapping("--priors", priors, mean_and_std),
            epochs=epochs,
            patience=patience or None,
            batch_size=batch_size,
            learning_rate=learning_rate,
            window=window,
            spinup=spinup,
            width=width,
            processes=xh2cm.Processes.water() if water else None,
            pin="global" if pin == ["global"] else mapping("--pin", pin, number_or_name),
            normalise=normalise,
            seed=seed,
            memory=memory,
            run=out,
            save_every=save_every,
            client=scheduler and connected(scheduler),
            loop=loop,
            device=device,
            progress=shown,
            **told,
        )
    replace(out / DATA, json.dumps({"path": str(path.resolve()), **told}, indent=1).encode())
    typer.echo(f"{done!r}\nsaved in {out}")


@app.command(epilog="Example: xh2cm gather runs/fold-* --out basin_fit")
def gather(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", exists=True, help="What `xh2cm fit` has left.")],
    out: Annotated[Path, about_output(metavar="FIT", help="Folder the fit is saved in.")],
    overwrite: Overwrite = False,
) -> None:
    """Join fits of some folds each into one."""
    refuse_place(out, overwrite, "fit.json", runs)
    done = xh2cm.gather([xh2cm.load_fit(run) for run in runs])
    typer.echo(f"{done!r}\nsaved in {done.save(out, overwrite=overwrite)}")


@app.command(
    epilog="Example: xh2cm slurm era5.zarr --out runs --folds 10 --epochs 100 --cpus 4 --time 1-00:00:00 | bash",
    context_settings={"ignore_unknown_options": True},
)
def slurm(
    trained: Annotated[
        list[str],
        typer.Argument(metavar="PATH [OPTIONS OF FIT]...", help="What `xh2cm fit` is told: the data, and options."),
    ],
    out: Annotated[
        Path,
        about_output(
            metavar="RUNS", help="Folder for a run of each fold, for the fit, and for scripts and logs (slurm)."
        ),
    ],
    cpus: Annotated[int, about_job(min=1, help="Processor cores of a task, and threads.")] = 1,
    memory_per_job: Annotated[
        str | None,
        about_job(metavar="BYTES", help="Such as 16GiB; the data may take half of it, unless --memory says."),
    ] = None,
    gpus: Annotated[int, about_job(min=0, help="GPUs of a task.")] = 0,
    time: Annotated[
        str | None, about_job(metavar="D-HH:MM:SS", help="Before it is over, a task goes back into the queue.")
    ] = None,
    partition: Annotated[str | None, about_job(help="Where to run.")] = None,
    account: Annotated[str | None, about_job(help="Whom to charge.")] = None,
    mail: Annotated[str | None, about_job(metavar="ADDRESS", help="Whom to write to when it has ended or failed.")] = (
        None
    ),
    sbatch: Annotated[
        list[str] | None,
        about_job(metavar="NAME=VALUE", help="Any other option of sbatch (qos=long). Repeat for more."),
    ] = None,
    overwrite: Annotated[bool, about_output("--overwrite", help="Replace scripts that are there.")] = False,
) -> None:
    """Write scripts for Slurm, an array that trains one fold a task and a job that gathers, and print how to submit."""
    command = typer.main.get_command(app).commands["fit"]  # type: ignore[attr-defined]
    with command.make_context("xh2cm fit", [*trained, "--out", str(out / "fold-0")]) as told:
        for option, reason in {"only": "each task has its own fold", "scheduler": "each task trains by itself"}.items():
            if told.params[option]:
                raise typer.BadParameter(f"cannot be given: {reason}", param_hint=f"--{option}")
        folds, limited = told.params["folds"], told.params["memory"] is not None
    job = Job(
        cpus=cpus, memory=memory_per_job, gpus=gpus, time=time, partition=partition, account=account, mail=mail,
        others=sbatch or (),
    )  # fmt: skip
    scripts = {
        out / "slurm" / "fit.sbatch": fit_script(trained, folds=folds, runs=out, job=job, memory=limited),
        out / "slurm" / "gather.sbatch": gather_script(folds=folds, runs=out, job=job),
    }
    if there := [path for path in scripts if path.exists() and not overwrite]:
        raise typer.BadParameter(f"{there[0]} exists: --overwrite to replace it", param_hint="--out")
    try:
        for path, text in scripts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    except OSError as error:
        raise typer.BadParameter(f"{out} cannot be written: {error}", param_hint="--out") from None
    typer.echo(submission(*scripts))


@app.command(
    epilog="Example: xh2cm predict basin.nc --fit basin_fit --out basin_out.zarr --variable ET --member held-out"
)
def predict(
    path: Data,
    trained: Annotated[
        Path,
        about_output(
            "--fit", exists=True, metavar="FIT", help="What `xh2cm fit` has saved, or a published .ckpt file."
        ),
    ],
    out: Annotated[Path, about_output(metavar="STORE", help="Zarr store (a folder), or NetCDF file (.nc), to write.")],
    variable: Annotated[
        list[str] | None,
        about_output(
            metavar="NAME",
            help="A flux, storage or learned parameter, or all; the main six if not given. Repeat for more.",
        ),
    ] = None,
    member: Annotated[
        str,
        about_output(
            metavar="mean|all|held-out|FOLD",
            help="Mean over the folds, every fold, in each cell the fold that did not see it, or one fold.",
        ),
    ] = PREDICT["member"],
    spinup: Annotated[
        int | None, about_output(metavar="DAYS", help="Days walked once beforehand; as in training if not given.")
    ] = None,
    state: Annotated[
        Path | None,
        about_output(
            exists=True,
            metavar="STORE",
            help="Start, without a spin-up, from what a prediction of the days before has kept with --keep-state.",
        ),
    ] = None,
    keep_state: Annotated[
        bool, about_output("--keep-state", help="Also write the state at the end, to predict on from.")
    ] = PREDICT["keep_state"],
    pin: Annotated[
        list[str] | None,
        about_data(
            metavar="NAME=SOURCE",
            help="Another map or number for a parameter that the fit has pinned to a map. Repeat for more.",
        ),
    ] = None,
    names: Names = None,
    units: Units = None,
    static: Static = None,
    no_static: NoStatic = False,
    mask: Mask = None,
    missing: Missing = "drop",
    loop: Loop = PREDICT["loop"],
    device: Device = None,
    progress: Progress = True,
    overwrite: Overwrite = False,
) -> None:
    """Compute fluxes, storages and learned parameters, and write them to Zarr or NetCDF chunk by chunk."""
    told = described(names, units, static, no_static, mask, missing)
    as_netcdf = out.suffix == ".nc"
    refuse_place(out, overwrite, "" if as_netcdf else "zarr.json", [path, trained, *([state] if state else [])])
    if out.suffix == ".zip":
        raise typer.BadParameter(f"{out}: this writes a Zarr folder, call it {out.stem}.zarr", param_hint="--out")
    with bar(progress):
        found = open_path(path).h2cm.predict(
            xh2cm.load_fit(trained),
            variables="all" if variable == ["all"] else variable,
            member=int(member) if member.isdigit() else member,
            spinup=spinup,
            state=open_path(state) if state else None,
            keep_state=keep_state,
            pin=mapping("--pin", pin, number_or_name),
            loop=loop,
            device=device,
            **told,
        )
        (found.h2cm.to_netcdf if as_netcdf else found.h2cm.to_zarr)(out, overwrite=overwrite)
    typer.echo(f"{', '.join(map(str, found.data_vars))} written to {out}")


@app.command(epilog="Example: xh2cm export out.zarr cmip --variable ET --variable GPP --source-id H2CM-mine")
def export(
    store: Annotated[
        Path, typer.Argument(exists=True, metavar="STORE", help="What `xh2cm predict` has written, Zarr or NetCDF.")
    ],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder the files are written to.")],
    variable: Annotated[
        list[str] | None,
        about_output(metavar="NAME", help="A flux or storage; all with a name in CMIP6 if not given. Repeat for more."),
    ] = None,
    frequency: Annotated[
        Literal["mon", "day"], about_output(help="Means of whole months, as ILAMB wants them, or days.")
    ] = EXPORT["frequency"],
    source_id: Annotated[str, about_output(metavar="ID", help="Model, in the names of the files.")] = EXPORT[
        "source_id"
    ],
    experiment_id: Annotated[str, about_output(metavar="ID", help="Experiment, likewise.")] = EXPORT["experiment_id"],
    member_id: Annotated[str, about_output(metavar="ID", help="Member, likewise; folds count themselves.")] = EXPORT[
        "member_id"
    ],
    progress: Progress = True,
) -> None:
    """Write a prediction as CMIP6 names it, one NetCDF file a variable, for ILAMB and its like."""
    with bar(progress):
        files = open_path(store).h2cm.to_cmip(
            directory,
            variables=variable,
            frequency=frequency,
            source_id=source_id,
            experiment_id=experiment_id,
            member_id=member_id,
        )
    typer.echo("\n".join(map(str, files)))


@app.command(epilog="Example: xh2cm plot out.zarr --what map --variable ET --out et.png")
def plot(
    store: Annotated[
        Path,
        typer.Argument(
            exists=True, metavar="STORE", help="A prediction or data, Zarr or NetCDF; for losses and folds a fit."
        ),
    ],
    out: Annotated[Path, about_output(metavar="FILE", help="Picture to write: .png, .pdf, .svg, ...")],
    what: Annotated[
        Literal["map", "skill", "season", "series", "latitudes", "closure", "overview", "losses", "folds"],
        about_output(help="What to show; skill is that of the observations given."),
    ] = "overview",
    variable: Annotated[str | None, about_output(metavar="NAME", help="What to show it of.")] = None,
    observations: Annotated[
        Path | None, about_data(exists=True, metavar="PATH", help="Data that hold what was observed.")
    ] = None,
    names: Names = None,
    units: Units = None,
    when: Annotated[str | None, about_output(metavar="DATE", help="A day, month or year to map: 2001-07.")] = None,
    metric: Annotated[str | None, about_output(metavar="NAME", help="A score to map, NSE if not given.")] = None,
    scale: Annotated[
        str | None,
        about_output(metavar="SCALE", help="Of skill and series: daily, monthly, interannual; of skill also seasonal."),
    ] = None,
    dpi: Annotated[int, about_output(min=10, max=1200, help="Points of the picture in an inch.")] = 150,
    progress: Progress = True,
    overwrite: Overwrite = False,
) -> None:
    """Draw a map, seasonal cycle, series, score, budgets, losses, folds, or one page of them, into a file."""
    from xh2cm.results import plot as pictures  # which says how to install matplotlib where it is not there

    draw: Callable[..., Any] = pictures.values if what == "map" else getattr(pictures, what)
    import matplotlib as mpl
    from matplotlib.backend_bases import FigureCanvasBase

    mpl.use("Agg")
    formats = FigureCanvasBase.get_supported_filetypes()
    if out.suffix.removeprefix(".") not in formats:
        raise typer.BadParameter(f"{out} is none of .{', .'.join(formats)}", param_hint="--out")
    refuse_place(out, overwrite, "", [store, *([observations] if observations else [])])
    told = {"names": mapping("--names", names, number_or_name), "units": mapping("--units", units)}
    given: dict[str, Any]
    given = {"variable": variable, "observations": observations, **told, "when": when, "metric": metric, "scale": scale}
    takes = {*inspect.signature(draw).parameters} | ({"observations", *told} if what == "skill" else set())
    for option, value in given.items():
        if value is not None and option not in takes:
            raise typer.BadParameter(f"is not for --what {what}", param_hint=f"--{option}")
    for option in ("variable", *(["observations"] if what == "skill" else [])):
        if option in takes and given[option] is None:
            raise typer.BadParameter(f"is needed for --what {what}", param_hint=f"--{option}")
    chosen = {option: value for option, value in given.items() if value is not None}
    with bar(progress):
        shown: Any = xh2cm.load_fit(store) if what in ("losses", "folds") else open_path(store)
        if observations:
            chosen["observations"] = open_path(observations)
        if what == "skill":
            shown = shown.h2cm.score(chosen.pop("observations"), **{name: chosen.pop(name, None) for name in told})
        axes = draw(shown, **chosen)
    axes = axes if what in ("overview", "closure", "losses") else [axes]  # pages of several
    axes[0].figure.savefig(out, dpi=dpi)
    typer.echo(f"{what} drawn in {out}")


@app.command(epilog="Example: xh2cm report run --out report.html")
def report(
    run: Annotated[
        Path,
        typer.Argument(
            exists=True, metavar="RUN", help="What `xh2cm fit` has left, a saved fit, or a published .ckpt file."
        ),
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
            help="What `xh2cm predict` has written. If not given, all variables are predicted from the data, held out "
            "where that can be, into a store that is there for as long as this takes.",
        ),
    ] = None,
    names: Names = None,
    units: Units = None,
    static: Static = None,
    no_static: NoStatic = False,
    mask: Mask = None,
    missing: Missing = "drop",
    progress: Progress = True,
    overwrite: Overwrite = False,
) -> None:
    """Write one HTML page of a run: data check, folds, training, scores, maps, budgets, settings."""
    from xh2cm.results.page import write_page  # which says how to install matplotlib where it is not there

    told = described(names, units, static, no_static, mask, missing)
    import matplotlib as mpl

    mpl.use("Agg")
    if data is None and (run / DATA).is_file():
        data, told = noted(run / DATA, told)
        if not data.exists():
            typer.echo(f"{data}, which {run} was trained on, is not there: give --data", err=True)
            data = None
    refuse_place(out, overwrite, "", [path for path in (run, data, prediction) if path])
    fitted = xh2cm.load_fit(run)
    with bar(progress), tempfile.TemporaryDirectory(prefix=".report-", dir=out.absolute().parent) as folder:
        given = open_path(data) if data else None
        if prediction is None and given is not None:
            prediction = predicted(given, fitted, told).h2cm.to_zarr(Path(folder) / "prediction.zarr")
        shown = open_path(prediction) if prediction else None
        write_page(out, fit=fitted, prediction=shown, data=given, overwrite=overwrite, **told)
    typer.echo(f"page written to {out}")


def noted(file: Path, told: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Where the data of a run are, and what is what in them, where nothing else is said of it now."""
    try:
        known = json.loads(file.read_text())
        return Path(known["path"]), {key: value or known[key] for key, value in told.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FitError(f"{file} cannot be read ({error}): delete it, and give --data") from error


def predicted(given: xr.Dataset, fitted: xh2cm.Fit, told: dict[str, Any]) -> xr.Dataset:
    """All a fit says of data, each cell or year by the fold that has not seen it; by their mean on other land."""
    try:
        return given.h2cm.predict(fitted, variables="all", member="held-out", **told)  # type: ignore[no-any-return]
    except FitError:
        return given.h2cm.predict(fitted, variables="all", **told)  # type: ignore[no-any-return]


@app.command(epilog="Example: xh2cm rechunk by_day.zarr by_cells.zarr --memory '4 GiB'")
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


@app.command(epilog="Example: xh2cm demo --out demo.zarr")
def demo(
    dataset: Annotated[
        Literal["twin", "delaware"],
        about_data(help="Synthetic, on 6 x 8 cells; or the Delaware basin, 765 units, downloaded on first use."),
    ] = "twin",
    out: Annotated[Path, about_output(metavar="STORE", help="Zarr store (a folder) to write.")] = Path("demo.zarr"),
    overwrite: Overwrite = False,
) -> None:
    """Check, train and predict on tutorial data: all of it once, in about a minute.

    Small networks and few epochs: what it writes shows what outputs look like, not what the model can do.
    """
    refuse_place(out, overwrite, "zarr.json", [])
    about = tutorial.list_datasets().loc[dataset]
    typer.echo(f"{dataset}: {about['description']} ({about['licence']})\n")
    ds = tutorial.open_dataset(dataset)
    typer.echo(f"{ds.h2cm.check()}\n")
    done = ds.h2cm.fit(2, scheme="cells", epochs=3, width=16, window=365, spinup=365)
    typer.echo(f"{done!r}\n")
    predicted = ds.h2cm.predict(done)
    predicted.attrs["comment"] = f"Demonstration after 3 epochs on tutorial data: {about['description']}"
    predicted.h2cm.to_zarr(out, overwrite=overwrite)
    typer.echo(f"{', '.join(map(str, predicted.data_vars))} written to {out}")
    typer.echo("The full job on real data, scored against gauges, with a figure: `make demo` in a checkout of xh2cm")


def main() -> None:
    """Run the command line; what xh2cm refuses is said without a traceback."""
    try:
        app()
    except H2CMError as error:
        told = Text.assemble(("error: ", "bold red"), str(error))
        if isinstance(error, InputError):
            told.append('\nWhat is said of arguments holds for options: names={"a": "b"} is --names a=b.', "dim")
        Console(stderr=True).print(told, soft_wrap=True)
        sys.exit(1)
