"""Prediction on Dask arrays: a small graph, the same numbers wherever it runs, and clear errors."""

from __future__ import annotations

import dataclasses
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import dask
import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from dask import delayed
from dask.base import collections_to_expr

from xh2cm.errors import InputError
from xh2cm.loop.threads import loop_threads
from xh2cm.model.hybrid import HybridModel
from xh2cm.physics import LinearGroundwater
from xh2cm.prediction.block import threads_of_a_task
from xh2cm.prediction.predict import predict_dataset
from xh2cm.settings import PredictOptions

FIT = {"scheme": "cells", "width": 6, "epochs": 1, "progress": False}
WHAT = {"variables": ["ET", "NEE", "soil_capacity"], "member": "held-out", "keep_state": True}


ON_A_CLUSTER = pytest.mark.slow("starts a cluster of Dask workers")


@pytest.fixture(scope="module")
def ds(twin):
    return twin.isel(time=slice(0, 90), month=slice(0, 3))


@pytest.fixture(scope="module")
def fit(ds):
    return ds.h2cm.fit(2, **FIT)


@pytest.fixture(scope="module")
def store(ds, tmp_path_factory):
    path = tmp_path_factory.mktemp("dask") / "twin.zarr"
    lazy = ds.drop_dims("month").drop_encoding().chunk(lat=1, lon=1)
    lazy.to_zarr(path, encoding={name: {"fill_value": np.nan} for name in lazy.data_vars}, consolidated=False)
    return path


@pytest.fixture(scope="module")
def lazy(store, fit):
    return xr.open_zarr(store, consolidated=False).h2cm.predict(fit, **WHAT)


@pytest.fixture(scope="module")
def serial(lazy):
    return lazy.compute(scheduler="synchronous")


def graph_of(*collections):
    """What a scheduler is given."""
    return collections_to_expr(collections).optimize().__dask_graph__()


# -- the graph ------------------------------------------------------------------------------------------------------


def test_one_task_for_each_chunk_of_cells_with_a_name(lazy):
    arrays = [array.data for array in lazy.data_vars.values()]
    graph = graph_of(*arrays)
    names = [dask.utils.key_split(key) for key in graph]
    assert names.count("h2cm_predict") == 8
    assert names.count("h2cm_weights") == 1


def test_the_weights_are_in_the_graph_once(ds, fit):
    wide = HybridModel(len(fit.features), width=60)
    weights = torch.stack([wide.initial(torch.Generator().manual_seed(k)) for k in range(2)])
    heavy = pickle.dumps(weights)
    big = type(fit)(
        weights, wide, fit.scaling, fit.features, fit.labels, fit.losses, fit.spinup, fit.provenance, fit.maps
    )
    sizes = []
    for chunks in ({"lat": 1}, {"lat": 1, "lon": 1}):
        tasks = graph_of(ds.chunk(chunks).h2cm.predict(big)["ET"].data).values()
        sizes.append(sum(len(pickle.dumps(task)) for task in tasks))  # one by one, as a scheduler sends them
    assert len(heavy) < sizes[0] < 2 * len(heavy)
    assert sizes[1] - sizes[0] < 0.5 * len(heavy)


def test_chunks_that_differ_from_variable_to_variable(ds, fit):
    mixed = ds.chunk(lat=1).assign(vpd=ds["vpd"].chunk(lon=3, time=17))
    out = mixed.h2cm.predict(fit)
    assert out["ET"].chunksizes == {"time": (90,), "lat": (1, 1), "lon": (3, 1)}
    xr.testing.assert_allclose(out.compute(), ds.h2cm.predict(fit), rtol=1e-5, atol=1e-5)


# -- where it runs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scheduler",
    ["threads", pytest.param("processes", marks=pytest.mark.slow("starts processes"))],
)
def test_the_same_numbers_by_any_scheduler(lazy, serial, scheduler):
    xr.testing.assert_identical(lazy.compute(scheduler=scheduler, num_workers=2), serial)


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed", reason="needs distributed: pip install 'xh2cm[distributed]'")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", memory_limit=0
        ) as cluster,
        distributed.Client(cluster, timeout=60) as client,
    ):
        yield client


@ON_A_CLUSTER
def test_a_cluster_gives_the_serial_numbers(client, lazy, serial):
    xr.testing.assert_identical(client.compute(lazy).result(timeout=120), serial)


def test_the_library_does_without_distributed():
    code = "import sys, xh2cm.prediction.predict, xh2cm.accessor; sys.exit('distributed' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@ON_A_CLUSTER
def test_a_refusal_comes_through_a_cluster_as_it_is(client, ds, fit):
    state = ds.isel(time=slice(0, 40)).h2cm.predict(fit, keep_state=True)
    state["state"][:, 0, 0] = np.nan
    out = ds.isel(time=slice(40, None)).chunk(lat=1).h2cm.predict(fit, state=state)
    with pytest.raises(InputError, match="state: has gaps at lat"):
        client.compute(out).result(timeout=120)


def gated(block, go, block_id):
    """Hold the last chunk of forcing back until it is told to go."""
    from distributed import Event, get_client

    if block_id == (0, 1, 3) and not Event(go, client=get_client()).wait(timeout=100):
        raise TimeoutError(go)
    return block


@ON_A_CLUSTER
def test_a_worker_that_is_killed_half_way_does_no_harm(client, store, fit):
    """The worker that holds the weights dies with all it did, when some chunks are done and one cannot be."""
    from distributed import Event

    checked = xr.open_zarr(store, consolidated=False).h2cm.check(static=fit.features, targets=[]).dataset
    serial = predict_dataset(checked, PredictOptions(fit, variables=["ET", "NEE"])).compute(scheduler="synchronous")
    vpd = checked["vpd"].data
    held_back = checked["vpd"].copy(data=vpd.map_blocks(gated, go="go", dtype=vpd.dtype, meta=vpd._meta))
    out = predict_dataset(checked.assign(vpd=held_back), PredictOptions(fit, variables=["ET", "NEE"]))
    north, whole = client.compute([out.isel(lat=0), out])
    north.result(timeout=120)
    assert not whole.done()
    pids = client.run(os.getpid)
    killed = next(worker for worker, keys in client.has_what().items() if any("h2cm_weights" in str(k) for k in keys))
    os.kill(pids[killed], signal.SIGKILL)
    Event("go", client=client).set()
    xr.testing.assert_identical(whole.result(timeout=120), serial)
    client.wait_for_workers(2, timeout=60)
    assert pids[killed] not in client.run(os.getpid).values()


SEEN = set()
"""Numbers of threads of the loop and of PyTorch: on the main thread, and beside others."""


@dataclasses.dataclass(frozen=True)
class Looking(LinearGroundwater):
    """Looks around from inside the run."""

    def __call__(self, groundwater, baseflow_coefficient):
        first = threading.current_thread() is threading.main_thread()
        SEEN.add((first, loop_threads(), torch.get_num_threads()))
        return super().__call__(groundwater, baseflow_coefficient)


def test_tasks_beside_each_other_take_one_thread_each(ds, fit):
    processes = dataclasses.replace(fit.model.processes, groundwater=Looking())
    watched = dataclasses.replace(fit, model=dataclasses.replace(fit.model, processes=processes))
    out = ds.isel(time=slice(0, 5)).chunk(lat=1, lon=1).h2cm.predict(watched, variables=["ET"], loop="plain")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    SEEN.clear()  # of the questions a process is asked when it is put in
    try:
        for scheduler in ("threads", "synchronous"):
            out.compute(scheduler=scheduler, num_workers=2)
    finally:
        torch.set_num_threads(before)
    assert sorted(SEEN) == [(False, 1, 1), (True, 2, 1)]


def test_the_threads_of_the_main_thread_are_left_alone():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        others = [threading.Thread(target=threads_in_a_task) for _ in range(3)]
        for other in others:
            other.start()
        for other in others:
            other.join()
        assert threads_in_a_task() == torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def threads_in_a_task():
    with threads_of_a_task():
        return torch.get_num_threads()


@pytest.mark.slow("starts processes that import everything")
def test_other_processes_take_one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(threads_in_a_task).result(timeout=60) == 1


# -- what was read is not what was checked ----------------------------------------------------------------------------


@pytest.fixture
def copy(store, tmp_path):
    return shutil.copytree(store, tmp_path / "copy.zarr")


def test_a_chunk_that_is_lost_after_the_check_is_named(copy, fit):
    out = xr.open_zarr(copy, consolidated=False).h2cm.predict(fit)
    (copy / "vpd" / "c" / "0" / "1" / "2").unlink()
    said = r"vpd: was complete when it was checked, and now is nan on 2001-01-01, at lat \S+, lon \S+ \(and on 89 more"
    with pytest.raises(InputError, match=said):
        out.compute(scheduler="synchronous")
    whole = out.isel(lat=0).compute()  # all others are as good as before
    assert whole["ET"].notnull().all()
    again = xr.open_zarr(copy, consolidated=False).h2cm.predict(fit)
    assert (
        int(again["ET"].isnull().all("time").sum().compute(scheduler="synchronous")) == 1
    )  # a new check leaves the cell out, and says so


def test_static_features_are_looked_at_again_too(ds, fit):
    checked = ds.h2cm.check(static=fit.features, targets=[]).dataset
    checked["static"][2, 1, 1] = np.nan
    with pytest.raises(InputError, match=f"{fit.features[2]}: was complete when it was checked, and now is nan at lat"):
        predict_dataset(checked, PredictOptions(fit))


def test_forcing_of_another_length_than_was_announced(ds, fit):
    """As a store gives it that was cut or went on, where nothing else refuses it before."""
    checked = ds.h2cm.check(static=fit.features, targets=[]).dataset
    shorter = da.from_delayed(delayed(checked["vpd"].values[:60]), (90, 2, 4), np.float32)
    out = predict_dataset(checked.assign(vpd=checked["vpd"].copy(data=shorter)).chunk(time=-1), PredictOptions(fit))
    with pytest.raises(InputError, match=r"vpd: was read as \(2, 4, 60\), where \(2, 4, 90\) was announced"):
        out.compute(scheduler="synchronous")


def test_a_store_that_was_cut_after_the_check(ds, fit, tmp_path):
    lazy = ds.drop_dims("month").drop_encoding().chunk(time=30, lat=1)
    lazy.to_zarr(tmp_path / "cut.zarr", consolidated=False)
    out = xr.open_zarr(tmp_path / "cut.zarr", consolidated=False).h2cm.predict(fit)
    zarr.open_array(tmp_path / "cut.zarr" / "vpd").resize((60, 2, 4))
    with pytest.raises(InputError, match="vpd: was complete when it was checked, and now is nan on 2001-03-02"):
        out.compute(scheduler="synchronous")
