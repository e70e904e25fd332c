"""A training that is stopped goes on where it was, and ends with the weights of one that was not."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import xh2cm
from xh2cm.datasets.open import open_path
from xh2cm.disk.atomic import sole_writer
from xh2cm.errors import FitError, H2CMWarning, StoreError
from xh2cm.loop import cache
from xh2cm.train import Run

HOW = {
    "folds": 2, "scheme": "cells", "epochs": 3, "width": 4, "window": 40, "spinup": 10, "batch_size": 2,
    "loop": "plain", "progress": False, "save_every": 0,
}  # fmt: skip
STREAMED = {"memory": "10 kB"}


@pytest.fixture(scope="module")
def land(twin):
    return twin.isel(time=slice(0, 59), month=slice(0, 2)).drop_encoding().chunk(lat=1, lon=2)


@pytest.fixture(scope="module")
def undisturbed(land):
    return {"whole": land.h2cm.fit(**HOW), "streamed": land.h2cm.fit(**HOW, **STREAMED)}


AGAIN = pytest.mark.slow("the same stop at another step")


class Stopped(BaseException):
    pass


def stop_after(monkeypatch, number):
    """Let a training die at its so many-th step or end of an epoch, after the state was written."""
    keep, calls = Run.keep, iter(range(number))

    def and_die(self, course):
        keep(self, course)
        if next(calls, None) is None:
            raise Stopped

    monkeypatch.setattr(Run, "keep", and_die)


@pytest.mark.parametrize(
    "at", [0, pytest.param(1, marks=AGAIN), 4, pytest.param(7, marks=AGAIN), pytest.param(13, marks=AGAIN)]
)
@pytest.mark.parametrize("kind", ["whole", "streamed"])
def test_a_stopped_training_ends_with_the_same_weights(land, undisturbed, tmp_path, monkeypatch, kind, at):
    how = HOW | (STREAMED if kind == "streamed" else {})
    with monkeypatch.context() as patch:
        stop_after(patch, at)
        with pytest.raises(Stopped):
            land.h2cm.fit(run=tmp_path / "run", **how)
    with pytest.raises(FitError, match="not finished"):
        xh2cm.load_fit(tmp_path / "run")
    again = land.h2cm.fit(run=tmp_path / "run", **how)
    assert torch.equal(again.weights, undisturbed[kind].weights)
    xr.testing.assert_identical(again.losses, undisturbed[kind].losses)
    assert xh2cm.load_fit(tmp_path / "run").fingerprint == again.fingerprint


def test_a_run_remembers_how_its_cells_were_cut(land, undisturbed, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(Stopped):
            land.h2cm.fit(run=tmp_path / "run", **HOW, **STREAMED)
    with pytest.raises(FitError, match=r"portions was '. blocks, .* at once' and is 'one'"):
        land.h2cm.fit(run=tmp_path / "run", memory="1 GB", **HOW)
    assert land.h2cm.fit(run=tmp_path / "run", **HOW).fingerprint == undisturbed["streamed"].fingerprint


def test_what_fits_into_memory_is_trained_as_if_it_were_not_chunked(land, undisturbed):
    assert land.compute().h2cm.fit(**HOW).fingerprint == undisturbed["whole"].fingerprint
    assert undisturbed["streamed"].fingerprint != undisturbed["whole"].fingerprint  # samples come in another order


@pytest.mark.slow("starts a process and kills it")
def test_a_process_that_is_killed(land, tmp_path):
    store = land.h2cm.to_zarr(tmp_path / "twin.zarr")
    code = f"""
from xh2cm.datasets.open import open_path
open_path({str(store)!r}).h2cm.fit(run={str(tmp_path / "run")!r}, **{HOW!r})
"""
    with subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and process.poll() is None:
            if any((tmp_path / "run").glob("state.000005.*")):
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.001)
    assert process.returncode == -signal.SIGKILL
    opened = open_path(store)
    assert opened.h2cm.fit(run=tmp_path / "run", **HOW).fingerprint == opened.h2cm.fit(**HOW).fingerprint


def test_a_job_has_a_line_an_epoch_in_its_log_and_a_terminal_a_bar(land, capsys, caplog, monkeypatch):
    caplog.set_level(logging.WARNING, "xh2cm")  # whatever another test has set
    land.h2cm.fit(**HOW | {"progress": True})
    steps, *lines = capsys.readouterr().err.splitlines()
    assert " an epoch is 4 optimiser steps in each fold: " in steps
    assert [line.split()[2:4] for line in lines] == [["epoch", f"{k}:"] for k in (1, 2, 3)]
    assert "\r" not in "".join([steps, *lines])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    land.h2cm.fit(**HOW | {"progress": True})
    said = capsys.readouterr().err
    assert "training: 100%" in said
    assert "cell-days/s" not in said
    land.h2cm.fit(**HOW)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("terminal", [True, pytest.param(False, marks=pytest.mark.slow("compiles once more"))])
def test_it_is_said_when_the_loop_is_compiled(land, capsys, caplog, monkeypatch, tmp_path, terminal):
    caplog.set_level(logging.WARNING, "xh2cm")
    monkeypatch.setenv("XH2CM_CACHE", str(tmp_path))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    logger = logging.getLogger("xh2cm.loop")
    before = logger.level, logger.propagate, [*logger.handlers]
    fast = HOW | {"progress": True, "loop": "fast", "epochs": 1}
    for compiled in (True, False):  # it is kept
        cache.library.cache_clear()
        land.h2cm.fit(**fast)
        said = capsys.readouterr().err
        assert ("compiling the fast loop" in said) is compiled
        assert ("training: 100%" in said) is terminal
        assert ("epoch 1:" in said) is not terminal
    assert (logger.level, logger.propagate, [*logger.handlers]) == before


@pytest.fixture(scope="module")
def finished_once(land, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    land.h2cm.fit(run=folder, **HOW)
    return folder


@pytest.fixture
def finished(finished_once, tmp_path):
    return shutil.copytree(finished_once, tmp_path / "run")


def test_more_epochs_go_on_and_as_many_change_nothing(land, finished):
    before = xh2cm.load_fit(finished)
    assert land.h2cm.fit(run=finished, **HOW).fingerprint == before.fingerprint
    longer = land.h2cm.fit(run=finished, **HOW | {"epochs": 4})
    assert longer.losses.sizes["epoch"] == 4
    assert longer.fingerprint == land.h2cm.fit(**HOW | {"epochs": 4}).fingerprint


def test_the_table_of_losses_is_that_of_the_fit(finished):
    table = pd.read_csv(finished / "losses.csv").set_index(["split", "target", "epoch", "fold"])["loss"]
    loss = xh2cm.load_fit(finished).losses["loss"]
    np.testing.assert_array_equal(table.to_xarray().reindex_like(loss).values, loss.values)


def test_tensorboard_shows_the_losses(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished / "tensorboard")).Reload()
    loss = xh2cm.load_fit(finished).losses["loss"].sel(target="total", split="validation", fold=1)
    shown = events.Scalars("total/validation/fold 1")
    assert [event.step for event in shown] == loss["epoch"].values.tolist()
    np.testing.assert_allclose([event.value for event in shown], loss, rtol=1e-6)


def test_a_damaged_state_is_said_and_the_one_before_it_taken(land, finished):
    fingerprint = xh2cm.load_fit(finished).fingerprint
    before, last = sorted(finished.glob("state.*"))
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    with pytest.warns(H2CMWarning, match=f"{last.name} .its checksum differs"):
        again = land.h2cm.fit(run=finished, **HOW)
    assert again.fingerprint == fingerprint
    for state in finished.glob("state.*"):
        state.write_bytes(state.read_bytes()[:-1])
    with pytest.raises(FitError, match=r"no state in .* can be read"):
        land.h2cm.fit(run=finished, **HOW)
    assert before.exists() or last.exists()


def test_another_training_is_refused_with_what_differs(land, finished):
    with pytest.raises(FitError, match="seed was 0 and is 3"):
        land.h2cm.fit(run=finished, **HOW | {"seed": 3})
    changed = land.assign(vpd=land["vpd"] + 1)
    with pytest.raises(FitError, match="data was"):
        changed.h2cm.fit(run=finished, **HOW)
    (finished / "run.json").write_text("[]")
    with pytest.raises(FitError, match="does not describe a run"):
        land.h2cm.fit(run=finished, **HOW)
    (finished / "run.json").write_text("{")
    with pytest.raises(FitError, match="cannot be read"):
        land.h2cm.fit(run=finished, **HOW)


def test_a_run_has_one_writer(land, finished):
    with sole_writer(finished), pytest.raises(StoreError, match=f"written by process {os.getpid()} on .* since 2"):
        land.h2cm.fit(run=finished, **HOW)
    with sole_writer(finished):
        (finished / "writer.json").write_text(json.dumps({"pid": 1}))
        with pytest.raises(StoreError, match="by another process"):
            land.h2cm.fit(run=finished, **HOW)


def test_what_is_no_run_is_left_alone(land, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="is no run"):
        land.h2cm.fit(run=tmp_path, **HOW)
    with pytest.raises(StoreError, match="cannot be written"):
        land.h2cm.fit(run=tmp_path / "notes.txt" / "run", **HOW)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_disk_that_is_full_is_said_and_leaves_the_states_before(land, tmp_path, monkeypatch):
    store = land.h2cm.to_zarr(tmp_path / "twin.zarr")
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(Stopped):
            open_path(store).h2cm.fit(run=tmp_path / "run", **HOW)
    states = {path.name for path in (tmp_path / "run").glob("state.*")}
    code = f"""
import resource, signal, xh2cm
from xh2cm.datasets.open import open_path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # or the kernel ends the process
land = open_path({str(store)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    land.h2cm.fit(run={str(tmp_path / "run")!r}, **{HOW!r})
except xh2cm.StoreError as error:
    print("refused:", error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "refused: the state of the training cannot be written" in done.stdout
    assert states <= {path.name for path in (tmp_path / "run").glob("state.*")}


def test_a_run_that_goes_on_with_another_instruction_set_says_so(land, tmp_path):
    land.h2cm.fit(**HOW, run=tmp_path / "run")
    about = tmp_path / "run" / "run.json"
    known = json.loads(about.read_text())
    assert known["machine"].startswith("cpu (")
    about.write_text(json.dumps(known | {"machine": "cpu (SSE)"}))
    with pytest.warns(H2CMWarning, match=r"was begun on cpu \(SSE\) and goes on on cpu .*: the weights will not be"):
        land.h2cm.fit(**HOW, run=tmp_path / "run")
