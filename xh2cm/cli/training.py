"""Commands that train: ``fit``, ``gather``, ``slurm``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Literal

import typer

import xh2cm
from xh2cm.accessor import H2CMAccessor
from xh2cm.cli.config import Config, Configured, WriteConfig
from xh2cm.cli.facts import fit_facts
from xh2cm.cli.options import (
    AsJson,
    Data,
    Device,
    Entry,
    FoldGroups,
    FoldScheme,
    FoldSize,
    FoldTest,
    Loop,
    Mask,
    Missing,
    Names,
    NoStatic,
    Overwrite,
    Progress,
    Static,
    Units,
    a_target,
    about_folds,
    about_job,
    about_output,
    about_running,
    about_training,
    connected,
    defaults,
    described,
    entry,
    mapping,
    mean_and_std,
    number_or_name,
    refuse_place,
)
from xh2cm.cli.output import progress_shown, tell
from xh2cm.cli.report import note
from xh2cm.datasets.open import open_path
from xh2cm.disk.atomic import replace
from xh2cm.jobs.slurm import Job, fit_script, gather_script, submission

commands = typer.Typer()
FIT = defaults(H2CMAccessor.fit)


def target_and_how(text: str) -> Entry:
    """Read ``NAME`` or ``NAME=HOW``."""
    return entry()(text) if "=" in text else Entry(text, None)


@commands.command(
    rich_help_panel="Training",
    cls=Configured,
    epilog="Example: xh2cm fit basin.nc --out basin_fit --folds 5 --scheme degrees --target runoff --epochs 100. "
    "After a kill the same command goes on where it was.",
)
def fit(
    path: Data,
    out: Annotated[
        Path, about_output(metavar="RUN", help="Folder that the states of the training are kept in, and then the fit.")
    ],
    folds: Annotated[int, about_folds(help="How many folds.")] = FIT["folds"],
    scheme: FoldScheme = None,
    size: FoldSize = None,
    groups: FoldGroups = None,
    test: FoldTest = None,
    only: Annotated[
        list[int] | None,
        about_folds("--only", "--fold", metavar="FOLD", help="Train this fold only. Repeat for more."),
    ] = None,
    target: Annotated[
        list[Entry] | None,
        about_training(
            parser=target_and_how,
            autocompletion=a_target,
            metavar="NAME[=HOW]",
            help="What to train on, and how to compare it (GPP=daily); all there are if not given. Repeat for more.",
        ),
    ] = None,
    weights: Annotated[
        list[Entry] | None,
        about_training(
            parser=entry(float), metavar="NAME=NUMBER", help="Weight of a target, 1 if not given. Repeat for more."
        ),
    ] = None,
    priors: Annotated[
        list[Entry] | None,
        about_training(
            parser=entry(mean_and_std, alone=["none"]),
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
        list[Entry] | None,
        about_training(
            parser=entry(number_or_name, alone=["global"]),
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
        about_running(
            metavar="BYTES",
            help="What the data may take, such as 4GiB; half of what is free if not given. More streams.",
        ),
    ] = None,
    save_every: Annotated[
        float, about_running(metavar="MINUTES", help="Between two states within an epoch; one is kept after each.")
    ] = FIT["save_every"],
    scheduler: Annotated[
        str | None,
        about_running(
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
    progress: Progress = True,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    config: Config = None,
    write_config: WriteConfig = None,
) -> None:
    """Train the model, all folds in one pass, on whichever targets the data hold."""
    from xh2cm.train.checkpoint import is_run  # with torch, which the command line does without until here

    told = described(names, units, static, no_static, mask, missing)
    how = [one.value for one in target or ()]
    if any(how) and not all(how):
        raise typer.BadParameter("say for every target how to compare it, or for none", param_hint="--target")
    targets = mapping("--target", target) if any(how) else [one.name for one in target or ()] or None
    if overwrite or not is_run(out):
        refuse_place(out, overwrite, "run.json", [path])
        shutil.rmtree(out, ignore_errors=True)
    with progress_shown(progress) as drawn:
        done = open_path(path).h2cm.fit(
            folds,
            scheme=scheme,
            size=size,
            groups=groups,
            test=test,
            only=only,
            targets=targets,
            weights=mapping("--weights", weights),
            priors={} if priors == [Entry("none", None)] else mapping("--priors", priors),
            epochs=epochs,
            patience=patience or None,
            batch_size=batch_size,
            learning_rate=learning_rate,
            window=window,
            spinup=spinup,
            width=width,
            processes=xh2cm.Processes.water() if water else None,
            pin="global" if pin == [Entry("global", None)] else mapping("--pin", pin),
            normalise=normalise,
            seed=seed,
            memory=memory,
            run=out,
            save_every=save_every,
            client=scheduler and connected(scheduler),
            loop=loop,
            device=device,
            progress=drawn,
            **told,
        )
    note(out, path, told)
    tell(as_json, {"out": out, "fit": fit_facts(done)}, f"{done!r}\nsaved in {out}")


@commands.command(rich_help_panel="Training", epilog="Example: xh2cm gather runs/fold-* --out basin_fit")
def gather(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", exists=True, help="What `xh2cm fit` has left.")],
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
