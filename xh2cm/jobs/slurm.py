"""Scripts for Slurm: an array of jobs that trains one fold a task, and a job that gathers them."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dask.utils import parse_bytes

from xh2cm.errors import Finding, InputError

__all__ = ["Job", "fit_script", "gather_script", "submission"]

LAST_CALL = 120
"""Seconds before the end of its time when a task is told to go back into the queue."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Resources that a task requests from Slurm; the site chooses those that are not given.

    Parameters
    ----------
    cpus : int
        Processor cores, and threads.
    memory : str, optional
        Such as ``"16GiB"``.
    gpus : int
    time : str, optional
        As Slurm writes it: ``days-hours:minutes:seconds``.
    partition, account, mail : str, optional
        Where to run, whom to charge, and whom to write to at the end.
    others : sequence of str
        Any other option of sbatch, without its dashes: ``"qos=long"``.

    Examples
    --------
    >>> print(*Job(cpus=4, memory="16GiB", time="1-00:00:00").size())
    --cpus-per-task=4 --mem=16384M --time=1-00:00:00
    """

    cpus: int = 1
    memory: str | None = None
    gpus: int = 0
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    mail: str | None = None
    others: Sequence[str] = ()

    @property
    def mebibytes(self) -> int:
        """The memory in MiB, 0 if not given.

        Raises
        ------
        InputError
            If it is no amount.
        """
        try:
            found = math.ceil(parse_bytes(self.memory or 0) / 2**20)
        except ValueError:
            found = 0
        if self.memory and found < 2:
            raise InputError(
                [Finding("memory_per_job", f"{self.memory!r} is no amount of memory", 'give it such as "16GiB"')]
            )
        return found

    def site(self) -> Iterator[str]:
        """Options of sbatch that hold for any job."""
        yield from (f"--{name}={value}" for name in ("partition", "account") if (value := getattr(self, name)))
        yield from (f"--{other}" for other in self.others)

    def size(self) -> Iterator[str]:
        """Options of sbatch that say how big a job is."""
        yield f"--cpus-per-task={self.cpus}"
        if self.mebibytes:
            yield f"--mem={self.mebibytes}M"
        if self.gpus:
            yield f"--gpus={self.gpus}"
        if self.time:
            yield f"--time={self.time}"


def fit_script(arguments: Sequence[str], *, folds: int, runs: Path, job: Job, memory: bool = False) -> str:
    """Write the script of an array that trains one fold a task.

    Parameters
    ----------
    arguments : sequence of str
        What ``xh2cm fit`` is told, without ``--out`` and ``--fold``.
    folds : int
        As many as ``fit`` deals: 0, 1, ..., ``folds - 1``.
    runs : Path
        Folder for a run of each fold, ``fold-0`` and so on.
    job : Job
    memory : bool
        Whether `arguments` say how much memory the data may take. If they do not, half of the job's: what is free on
        the node is not the job's, and portions that differ from task to task would be another training.

    Returns
    -------
    str

    Raises
    ------
    InputError
        If there are fewer than two folds, the memory is no amount, or Slurm cannot read a name.

    Examples
    --------
    >>> text = fit_script(["era5.zarr", "--folds", "3"], folds=3, runs=Path("runs"), job=Job(cpus=4))
    >>> next(line for line in text.splitlines() if "--array" in line)
    '#SBATCH --array=0-2'
    """
    refuse_folds(folds)
    given = [*arguments]
    if job.mebibytes and not memory and not job.gpus:
        given += ["--memory", f"{job.mebibytes // 2}MiB"]
    mail = (f"--mail-user={job.mail}", "--mail-type=FAIL") if job.mail else ()
    return f"""\
#!/usr/bin/env bash
# Trains {folds} folds, one in each task of an array. A task that is killed or goes back into the queue goes on from its
# last state. Submit the same script again and tasks that failed go on, those that are done end at once.
#
# A fold of each number from 0; 0-{folds - 1}%4 is four at a time
{directives("--job-name=xh2cm-fit", f"--array=0-{folds - 1}")}
# What a task gets
{directives(*job.size(), *job.site(), *mail)}
# Go back into the queue after a preemption or a node's failure, and {LAST_CALL} s before the time is up (see below)
{directives("--requeue", f"--signal=B:USR1@{LAST_CALL}")}
# Where paths begin, and what a task says: one file for a fold, kept when it starts again
{directives(f"--chdir={Path.cwd()}", log(runs, "fold-%a"), "--open-mode=append")}

# module load ..., where the nodes need it

export OMP_NUM_THREADS="$SLURM_CPUS_PER_TASK" # threads as many as there are cores
trap 'scontrol requeue "$SLURM_JOB_ID"' USR1

{shlex.join([sys.executable, "-m", "xh2cm", "fit", *given])} \\
    --out {shlex.quote(f"{runs}/fold-")}"$SLURM_ARRAY_TASK_ID" --fold "$SLURM_ARRAY_TASK_ID" &
wait $! || wait $! # the signal ends the first
"""


def gather_script(*, folds: int, runs: Path, job: Job) -> str:
    """Write the script of the job that gathers the folds when all are trained.

    Parameters
    ----------
    folds : int
    runs : Path
        As of `fit_script`; the fit is saved in the folder ``fit`` there.
    job : Job
        Of the array; this one is smaller.

    Returns
    -------
    str

    Raises
    ------
    InputError
        As of `fit_script`.

    Examples
    --------
    >>> text = gather_script(folds=3, runs=Path("runs"), job=Job())
    >>> text.splitlines()[-1].partition(" -m ")[2]
    'xh2cm gather runs/fold-{0..2} --out runs/fit --overwrite'
    """
    refuse_folds(folds)
    mail = (f"--mail-user={job.mail}", "--mail-type=END,FAIL") if job.mail else ()
    return f"""\
#!/usr/bin/env bash
# Joins the {folds} folds into one fit.
{directives("--job-name=xh2cm-gather", "--cpus-per-task=1", "--time=30", *job.site(), *mail)}
# Leave the queue if a fold has failed
{directives("--kill-on-invalid-dep=yes")}
{directives("--requeue", f"--chdir={Path.cwd()}", log(runs, "gather"), "--open-mode=append")}

# module load ..., where the nodes need it

{shlex.join([sys.executable, "-m", "xh2cm", "gather"])} {shlex.quote(f"{runs}/fold-")}{{0..{folds - 1}}} \
--out {shlex.quote(f"{runs}/fit")} --overwrite
"""


def submission(array: Path, gather: Path) -> str:
    """Write the lines of a shell that submit both scripts.

    Parameters
    ----------
    array, gather : Path

    Returns
    -------
    str

    Examples
    --------
    >>> print(submission(Path("runs/fit.sbatch"), Path("runs/gather.sbatch")))
    fit=$(sbatch --parsable runs/fit.sbatch)
    sbatch --dependency=afterok:"${fit%%;*}" runs/gather.sbatch
    """
    first, second = (shlex.quote(str(path)) for path in (array, gather))
    # A site of several clusters gives "number;cluster"
    return f'fit=$(sbatch --parsable {first})\nsbatch --dependency=afterok:"${{fit%%;*}}" {second}'


def directives(*options: str) -> str:
    """Lines that sbatch reads, which takes quotes as a shell does."""
    if wrong := [option for option in options if not option.isprintable() or "\\" in option]:
        remedy = "give it without line breaks and backslashes"
        raise InputError(
            Finding(name.strip("-"), f"Slurm cannot read {value!r} in a script", remedy)
            for name, _, value in (option.partition("=") for option in wrong)
        )
    parts = (option.partition("=") for option in options)
    return "\n".join(f"#SBATCH {name}{sign}{sign and shlex.quote(value)}" for name, sign, value in parts)


def log(runs: Path, name: str) -> str:
    """File that a job's words go to; Slurm replaces what follows a percent sign."""
    return f"--output={str(runs).replace('%', '%%')}/slurm/{name}.log"


def refuse_folds(folds: int) -> None:
    """Check the number of folds."""
    if folds < 2:
        raise InputError([Finding("folds", f"{folds} leaves nothing to validate with", "folds=2 or more")])
