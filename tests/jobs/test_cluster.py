"""Folds on the workers of a real Dask cluster."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
import torch
import xarray as xr

import xh2cm
from xh2cm.errors import FitError, InputError

distributed = pytest.importorskip("distributed")

HOW = {
    "folds": 3, "scheme": "cells", "epochs": 2, "width": 5, "window": 120, "spinup": 30, "batch_size": 4,
    "progress": False, "loop": "fast",
}  # fmt: skip


pytestmark = pytest.mark.slow("starts a cluster of Dask workers")


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def land(twin):
    return twin.isel(time=slice(0, 181), month=slice(0, 6)).drop_encoding().chunk(lat=1, lon=2)


def test_folds_on_workers_are_those_of_a_local_fit(land, client, tmp_path):
    local = land.h2cm.fit(**HOW)
    spread = land.h2cm.fit(client=client, run=tmp_path / "run", **HOW)
    torch.testing.assert_close(
        spread.weights, local.weights, rtol=1e-4, atol=1e-5
    )  # other folds stacked, other rounding
    assert spread.folds == local.folds
    assert spread.labels.identical(local.labels)
    xr.testing.assert_allclose(spread.losses, local.losses, rtol=1e-4)
    assert xh2cm.load_fit(tmp_path / "run").fingerprint == spread.fingerprint
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["fit", "folds-0-1", "folds-2"]
    again = land.h2cm.fit(client=client, run=tmp_path / "run", **HOW)  # nothing is left to do
    assert again.fingerprint == spread.fingerprint


def test_a_worker_that_dies_has_its_folds_go_on_elsewhere(land, client, tmp_path):
    undisturbed = land.h2cm.fit(client=client, **HOW | {"epochs": 12})
    pid = next(iter(client.run(os.getpid).values()))

    def kill_after_a_state():
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and not any((tmp_path / "run").glob("folds-*/state.000003.*")):
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_after_a_state)
    killer.start()
    spread = land.h2cm.fit(client=client, run=tmp_path / "run", save_every=0, **HOW | {"epochs": 12})
    killer.join()
    assert torch.equal(spread.weights, undisturbed.weights)


def test_what_workers_refuse_is_said_here(land, client):
    with pytest.raises(InputError, match="epochs"):
        land.h2cm.fit(client=client, **HOW | {"epochs": 0})
    with pytest.raises(InputError, match=r"GPQ.: is no target"):
        land.h2cm.fit(client=client, targets=["GPQ"], **HOW)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=None) as none,
        distributed.Client(none) as idle,
        pytest.raises(InputError, match="has no worker"),
    ):
        land.compute(scheduler="synchronous").h2cm.fit(client=idle, **HOW)  # lazy data would wait for a worker


def test_fits_that_do_not_belong_together(land):
    how = HOW | {"loop": "plain", "epochs": 1}
    zero = land.h2cm.fit(only=[0], **how)
    with pytest.raises(FitError, match="no fit to gather"):
        xh2cm.gather([])
    with pytest.raises(FitError, match=r"folds .0. are in more than one"):
        xh2cm.gather([zero, zero])
    with pytest.raises(FitError, match="they differ in training, width"):
        xh2cm.gather([zero, land.h2cm.fit(only=[1], **how | {"width": 4, "seed": 2})])
    with pytest.raises(FitError, match="they differ in fold labels"):
        xh2cm.gather([zero, land.h2cm.fit(only=[1], **how | {"folds": 2})])
