"""A Slurm of one node, installed and started here: an array that survives its faults, and a Dask cluster on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
import xarray as xr

import xh2cm
from xh2cm.datasets.open import open_path

NODE = Path(__file__).with_name("single_node.sh")
ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 200
"""Seconds that anything may take on a busy machine."""

HOW = {"scheme": "cells", "epochs": 16, "patience": 0, "width": 6, "window": 60, "spinup": 30}
OPTIONS = ["--folds", "2", *(text for name, value in HOW.items() for text in (f"--{name}", str(value)))]


pytestmark = pytest.mark.slow("starts Slurm")


@pytest.fixture(autouse=True)
def _interruption():
    """Restore what a process does when it is interrupted: a cluster of Dask changes it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def slurm():
    """Environment in which the commands of Slurm find it, and its jobs this checkout."""
    with tempfile.TemporaryDirectory(prefix="xh2cm-slurm-", ignore_cleanup_errors=True) as folder:
        try:
            done = subprocess.run(
                [NODE, "start", folder],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, check=False,
            )  # fmt: skip
            if done.returncode == 77:
                pytest.skip(done.stdout.splitlines()[-1])
            assert done.returncode == 0, done.stdout
            paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
            yield {**os.environ, "SLURM_CONF": f"{folder}/slurm.conf", "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        finally:
            subprocess.run([NODE, "stop", folder], timeout=PATIENCE, check=True)


@pytest.fixture(scope="module")
def place(twin, tmp_path_factory):
    """Folder with half a year of the twin, of a name that wants quotes."""
    folder = tmp_path_factory.mktemp("it's 100% here")
    short = twin.isel(time=slice(0, 181), month=slice(0, 6)).drop_encoding()
    short.chunk(lat=1).h2cm.to_zarr(folder / "the twin.zarr")
    return folder


@pytest.fixture
def ask(slurm, place):
    """Run a command in the folder of the data."""

    def run(*command):
        done = subprocess.run(
            [str(part) for part in command],
            cwd=place, env=slurm, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout.strip()

    return run


def until(true, place):
    """Wait for something, and show what the jobs have said if it does not come."""
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise TimeoutError({log.name: log.read_text()[-2000:] for log in place.glob("runs/slurm/*.log")})
        time.sleep(0.5)


def test_an_array_goes_on_through_every_fault_and_is_gathered(ask, slurm, place):
    """One task goes back into the queue as when its time is up; one is killed, and its array submitted again."""
    program = [sys.executable, "-m", "xh2cm"]
    alone = [*program, "fit", "the twin.zarr", *OPTIONS, "--memory", "1GiB", "--out", "undisturbed"]
    with subprocess.Popen(alone, cwd=place, env=slurm, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:
        try:
            options = [*OPTIONS, "--save-every", "0.002", "--memory-per-job", "2GiB", "--time", "30"]
            submit = ask(*program, "slurm", *options, "the twin.zarr", "--out", "runs", "--sbatch", "comment=two words")
            disturb(ask, place, ask("bash", "-ec", f'{submit}\necho "$fit"').split()[-1])
            ask("bash", "-ec", submit)
            until(lambda: not ask("squeue", "--noheader"), place)
            assert other.wait(timeout=PATIENCE) == 0
        finally:
            other.kill()
    for fold in (0, 1):
        assert " going on in runs/fold-" in (place / "runs" / "slurm" / f"fold-{fold}.log").read_text()
    found, wanted = (xh2cm.load_fit(place / name) for name in ("runs/fit", "undisturbed"))
    assert found.folds == wanted.folds == (0, 1)
    assert torch.equal(found.weights, wanted.weights)
    xr.testing.assert_identical(found.losses, wanted.losses)
    assert found.fingerprint == wanted.fingerprint


def disturb(ask, place, array):
    """Do harm to both tasks half-way; in the end the first is done, the second is not, and nothing was gathered."""

    def state(fold):
        shown = ask("scontrol", "show", "job", f"{array}_{fold}")
        return next(word.partition("=")[2] for word in shown.split() if word.startswith("JobState="))

    for fold in (0, 1):
        until(lambda fold=fold: [*place.glob(f"runs/fold-{fold}/state.00001*")], place)
    ask("scancel", "--signal=USR1", "--batch", f"{array}_0")
    ask("scancel", "--signal=KILL", f"{array}_1")
    until(lambda: state(1) in ("CANCELLED", "FAILED"), place)
    until(lambda: not ask("squeue", "--noheader"), place)  # the job that gathers too has left
    assert state(0) == "COMPLETED"
    assert [(place / "runs" / f"fold-{fold}" / "fit").exists() for fold in (0, 1)] == [True, False]
    assert not (place / "runs" / "fit").exists()


def test_a_dask_cluster_on_slurm_gives_the_local_numbers(slurm, place, tmp_path, monkeypatch):
    jobqueue = pytest.importorskip("dask_jobqueue", reason="needs dask-jobqueue: pip install 'xh2cm[distributed]'")
    distributed = pytest.importorskip("distributed")
    for name in ("SLURM_CONF", "PYTHONPATH", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, slurm[name])
    ds = open_path(place / "the twin.zarr")
    how = {**HOW, "epochs": 2, "patience": None, "progress": False}
    local = ds.h2cm.fit(2, **how)
    with (
        jobqueue.SLURMCluster(
            cores=1, memory="2GB", walltime="00:30:00", interface="lo", log_directory=str(tmp_path),
            scheduler_options={"dashboard_address": None},
        ) as cluster,
        distributed.Client(cluster, timeout=PATIENCE) as client,
    ):  # fmt: skip
        cluster.scale(2)
        client.wait_for_workers(2, timeout=PATIENCE)
        fit = ds.h2cm.fit(2, client=client, **how)
        found = client.compute(ds.h2cm.predict(fit)).result(timeout=PATIENCE)
    assert fit.fingerprint == local.fingerprint
    xr.testing.assert_identical(found, ds.h2cm.predict(local).compute())
