"""Commands that train: ``fit``, ``gather``, ``slurm``."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

import xh2cm
from xh2cm.cli.config import Config, Configured, WriteConfig
from xh2cm.cli.facts import fit_facts
from xh2cm.cli.options import (
    READERS,
    AsJson,
    Data,
    Entry,
    Overwrite,
    Progress,
    a_target,
    about_job,
    about_output,
    about_running,
    about_training,
    entry,
    mapping,
    refuse_place,
    takes,
)
from xh2cm.cli.output import progress_shown, tell
from xh2cm.cli.report import note
from xh2cm.data.folds import FoldOptions
from xh2cm.data.options import DataOptions
from xh2cm.datasets.open import open_path
from xh2cm.disk.atomic import replace
from xh2cm.jobs.slurm import Job, fit_script, gather_script, submission
from xh2cm.settings import LossOptions, RunOptions, Training

commands = typer.Typer()


def target_and_how(text: str) -> Entry:
    """Read ``NAME`` or ``NAME=HOW``."""
    return entry()(text) if "=" in text else Entry(text, None)


@commands.command(
    rich_help_panel="Training",
    cls=Configured,
    epilog="Example: xh2cm fit basin.nc --out basin_fit --folds 5 --scheme degrees --target runoff --epochs 100. "
    "After a kill the same command goes on where it was.",
)
@takes(FoldOptions, LossOptions, Training, RunOptions, DataOptions, without=("targets", "run", "client", "progress"))
def fit(
    path: Data,
    out: Annotated[
        Path, about_output(metavar="RUN", help="Folder for the checkpoints of the training, and then for the fit.")
    ],
    target: Annotated[
        list[Entry] | None,
        about_training(
            parser=target_and_how,
            autocompletion=a_target,
            metavar="NAME[=HOW]",
            help="Target, with its comparison (GPP=daily); all targets of the data by default. Repeat for more.",
        ),
    ] = None,
    width: Annotated[
        int | None, about_training(help="Hidden units of the daily networks; as published by default.")
    ] = None,
    water: Annotated[bool, about_training("--water", help="Water-only model: no carbon, and no CO2 needed.")] = False,
    pin: Annotated[
        list[Entry] | None,
        about_training(
            parser=READERS["pin"].parse,
            metavar="NAME=VALUE",
            help="Parameter, and the number, map in the data or learned constant (global) that it is pinned to; "
            "--pin global for all. Repeat for more.",
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        about_running(
            metavar="ADDRESS", help="Address of a Dask cluster whose workers train the folds, such as tcp://host:8786."
        ),
    ] = None,
    progress: Progress = True,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    config: Config = None,
    write_config: WriteConfig = None,
    **told: Any,
) -> None:
    """Train the model, all folds in one pass, on whichever targets the data hold."""
    from xh2cm.train.checkpoint import is_run  # with torch, which the command line does without until here

    how = [one.value for one in target or ()]
    if any(how) and not all(how):
        raise typer.BadParameter("say for every target how to compare it, or for none", param_hint="--target")
    targets = mapping("--target", target) if any(how) else [one.name for one in target or ()] or None
    if overwrite or not is_run(out):
        refuse_place(out, overwrite, "run.json", [path])
        shutil.rmtree(out, ignore_errors=True)
    with progress_shown(progress) as drawn:
        done = open_path(path).h2cm.fit(
            targets=targets,
            width=width,
            processes=xh2cm.Processes.water() if water else xh2cm.Processes(),
            pin=READERS["pin"].value("--pin", pin),
            run=out,
            client=scheduler,
            progress=drawn,
            **told | {"patience": told["patience"] or None},
        )
    note(out, path, {f.name: told[f.name] for f in dataclasses.fields(DataOptions)})
    tell(as_json, {"out": out, "fit": fit_facts(done)}, f"{done!r}\nsaved in {out}")


@commands.command(rich_help_panel="Training", epilog="Example: xh2cm gather runs/fold-* --out basin_fit")
def gather(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", exists=True, help="Runs or fits written by `xh2cm fit`.")
    ],
    out: Annotated[Path, about_output(metavar="FIT", help="Folder the fit is saved in.")],
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Join fits of some folds each into one."""
    refuse_place(out, overwrite, "fit.json", runs)
    done = xh2cm.gather([xh2cm.load_fit(run) for run in runs])
    place = done.save(out, overwrite=overwrite)
    tell(as_json, {"out": place, "fit": fit_facts(done)}, f"{done!r}\nsaved in {place}")


@commands.command(
    rich_help_panel="Training",
    epilog="Example: xh2cm slurm era5.zarr --out runs --folds 10 --epochs 100 --cpus 4 --time 1-00:00:00 | bash",
    context_settings={"ignore_unknown_options": True},
)
def slurm(
    trained: Annotated[
        list[str],
        typer.Argument(metavar="PATH [OPTIONS OF FIT]...", help="Data and options of `xh2cm fit`."),
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
        str | None, about_job(metavar="D-HH:MM:SS", help="Time limit; a task requeues itself before the end.")
    ] = None,
    partition: Annotated[str | None, about_job(help="Partition of the cluster.")] = None,
    account: Annotated[str | None, about_job(help="Account to charge.")] = None,
    mail: Annotated[
        str | None, about_job(metavar="ADDRESS", help="Address for messages when the job has ended or failed.")
    ] = None,
    sbatch: Annotated[
        list[str] | None,
        about_job(metavar="NAME=VALUE", help="Any other option of sbatch (qos=long). Repeat for more."),
    ] = None,
    overwrite: Annotated[bool, about_output("--overwrite", help="Replace existing scripts.")] = False,
) -> None:
    """Write scripts for Slurm, an array with one fold per task and a job that gathers, and print how to submit them."""
    command = typer.main.get_command(commands).commands["fit"]  # type: ignore[attr-defined]
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
            replace(path, text.encode())
    except OSError as error:
        raise typer.BadParameter(f"{out} cannot be written: {error}", param_hint="--out") from None
    typer.echo(submission(*scripts))
