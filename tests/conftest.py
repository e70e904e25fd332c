"""Fixtures shared by the tests: twins, published numbers, real data where they are."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr

from xh2cm.datasets.twin import observe, truth
from xh2cm.datasets.twin import twin as make_twin

REASON = "mark a test as slow with the reason: @pytest.mark.slow('starts a cluster')"
SET_BY_OTHERS = ("HDF5_PLUGIN_PATH", "PYTEST_CURRENT_TEST", "PYTHONHASHSEED", "TORCHINDUCTOR_CACHE_DIR")
"""Environment variables that pytest or a library sets when it is imported or (dask: the hash seed) starts processes."""

SHARED = Path(__file__).resolve().parents[2] / "shared"

collect_ignore_glob = ["conftest.py", "*/conftest.py"]
"""Files of one name in two folders, which cannot both be searched for doctests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse slow tests that do not say why they are."""
    for item in items:
        if any(len(mark.args) != 1 for mark in item.iter_markers("slow")):
            raise pytest.UsageError(f"{item.nodeid}: {REASON}")


def process_state() -> dict[str, object]:
    """Return what tests of one process share and none may leave changed."""
    state: dict[str, object] = {
        "environment": {k: v for k, v in os.environ.items() if k not in SET_BY_OTHERS},
        "folder": Path.cwd(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "dask": {name: dask.config.get(name, None) for name in ("scheduler", "pool", "num_workers")},
    }
    for name in (None, "xh2cm", "xh2cm.loop"):
        logger = logging.getLogger(name)
        handlers = [type(h).__name__ for h in logger.handlers if not type(h).__module__.startswith("_pytest")]
        state[f"logger {name}"] = logger.level, logger.propagate, logger.disabled, handlers
    if torch := sys.modules.get("torch"):
        state["torch"] = (
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.get_float32_matmul_precision(),
            torch.is_grad_enabled(),
        )
    pyplot = sys.modules.get("matplotlib.pyplot")
    state["figures"] = pyplot.get_fignums() if pyplot else []
    if client := sys.modules.get("distributed.client"):
        state["clients"] = [id(one) for one in client._global_clients.values()]
    return state


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Fail a test that leaves figures, clients, settings or the environment for the next one."""
    before = process_state()
    yield
    after = process_state()
    if after["figures"]:
        sys.modules["matplotlib.pyplot"].close("all")  # no test after this one fails for it too
    assert {name: after[name] for name in before.keys() & after.keys() if after[name] != before[name]} == {}


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """Path below the folder ``shared`` beside the repository; skips the test where it is absent."""

    def path(relative: str) -> Path:
        found = SHARED / relative
        if not found.exists():
            pytest.skip(f"needs ../shared/{relative}, which is not beside this checkout")
        return found

    return path


@pytest.fixture(scope="session")
def parity() -> Path:
    """Folder of numbers computed with the published code; its README says how."""
    return Path(__file__).parent / "data/parity"


@pytest.fixture(scope="session")
def twin() -> xr.Dataset:
    """Two years of a small synthetic twin with monthly targets; a test that changes it must copy it."""
    forcing = make_twin(cells=(2, 4), years=2)
    return forcing.merge(observe(truth(forcing, passes=1)))


@pytest.fixture(scope="session")
def patchy(twin: xr.Dataset) -> xr.Dataset:
    """The twin as observations are: a cell of sea, one with a gap in its forcing, targets and quality with gaps.

    The first and the last of its five months are not whole, and the targets go on for a month before and after.
    """
    ds = twin.isel(time=slice(41, 181), month=slice(0, 7)).copy()
    north, east = ds["lat"] == ds["lat"][0], ds["lon"] == ds["lon"][-1]
    for name, array in ds.data_vars.items():
        if {"lat", "lon"} <= set(array.dims):
            ds[name] = array.where(north | ~east)  # sea in the south-east
    ds["vpd"] = ds["vpd"].where(~(north & east & (ds["time"] == ds["time"][5])))
    ds["GPP"] = ds["GPP"].where(~(north & (ds["lon"] == ds["lon"][1])))
    random = np.random.default_rng(5).random(ds["GPP"].shape)
    ds["gpp_qc"] = ds["GPP"].copy(data=np.where(random < 0.3, np.nan, random)).drop_attrs()
    return ds


@pytest.fixture(scope="session", params=["cells", "days"])
def patchy_labels(patchy: xr.Dataset, request: pytest.FixtureRequest) -> xr.DataArray:
    """Labels of two folds on the land or the days of ``patchy``; -1 marks what is kept for a test."""
    if request.param == "cells":
        return xr.DataArray([[-1.0, 0, 1, 0], [1, 0, 1, np.nan]], {d: patchy[d] for d in ("lat", "lon")})
    month = patchy["time"].dt.month.drop_attrs()
    return xr.where(month < 4, 0, xr.where(month == 4, -1, 1)).rename(None)


@pytest.fixture(scope="session")
def compiler() -> str:
    """Path of what compiles the fast loop of a CPU; skips the test where there is none."""
    from xh2cm.loop import cache

    try:
        return cache.compiler()[0]
    except cache.Unbuilt as reason:
        pytest.skip(str(reason))
