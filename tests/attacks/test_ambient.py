"""Settings of arrays and tensors made elsewhere change neither the numbers nor the errors."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import torch
import xarray as xr
import zarr

import xh2cm
from xh2cm.ambient import undisturbed
from xh2cm.datasets.open import open_path

FIT = {"scheme": "cells", "epochs": 1, "width": 4, "progress": False}


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


STATES: dict[str, Any] = {
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "meta": lambda: default_device("meta"),
    "on a device": lambda: torch.device("meta"),
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "NumPy raises": lambda: np.errstate(all="raise"),
    "no attributes": lambda: xr.set_options(keep_attrs=False),
    "attributes": lambda: xr.set_options(keep_attrs=True),
    "exact joins": lambda: xr.set_options(arithmetic_join="exact"),
    "outer joins": lambda: xr.set_options(arithmetic_join="outer"),
    "version 2": lambda: zarr.config.set({"default_zarr_format": 2}),
}


def verbs(ds: xr.Dataset, folder: Path) -> tuple[xh2cm.Fit, xr.Dataset, xr.Dataset]:
    fit = ds.h2cm.fit(2, **FIT)
    path = fit.save(folder / "fit", overwrite=True)
    out = ds.h2cm.predict(xh2cm.load_fit(path))
    lazy = ds.chunk(lat=1).h2cm.predict(fit, variables=["ET", "GPP"])
    written = open_path(lazy.h2cm.to_zarr(folder / "out.zarr", overwrite=True)).load()
    xr.testing.assert_identical(
        written["ET"].drop_vars("time_bnds", errors="ignore"), out["ET"].drop_vars("time_bnds", errors="ignore")
    )
    return fit, out, out.h2cm.score(ds)


@pytest.fixture(scope="module")
def usual(short: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[xh2cm.Fit, xr.Dataset, xr.Dataset]:
    return verbs(short, tmp_path_factory.mktemp("usual"))


@pytest.mark.parametrize("state", STATES)
def test_no_state_reaches_the_numbers(
    short: xr.Dataset, usual: tuple[xh2cm.Fit, xr.Dataset, xr.Dataset], tmp_path: Path, state: str
) -> None:
    with STATES[state]():
        fit, out, scores = verbs(short, tmp_path)
    assert torch.equal(fit.weights, usual[0].weights)
    xr.testing.assert_identical(out, usual[1])
    xr.testing.assert_identical(scores, usual[2])


def test_the_state_is_put_back() -> None:
    with contextlib.ExitStack() as stack:
        for state in ("float64", "inference", "autocast", "NumPy raises", "exact joins"):
            stack.enter_context(STATES[state]())
        with undisturbed():
            assert torch.get_default_dtype() == torch.float32
            assert torch.is_grad_enabled()
            assert not torch.is_inference_mode_enabled()
            assert not torch.is_autocast_enabled("cpu")
        assert torch.get_default_dtype() == torch.float64
        assert torch.is_inference_mode_enabled()
        assert torch.is_autocast_enabled("cpu")
        assert np.geterr()["invalid"] == "raise"
        assert xr.get_options()["arithmetic_join"] == "exact"


def test_threads_share_it() -> None:
    """The last one to leave puts the default type back, not the first."""
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with undisturbed():
            inside.set()
            leave.wait(10)

    with default_dtype(torch.float64):
        other = threading.Thread(target=stay)
        other.start()
        inside.wait(10)
        with undisturbed():
            pass
        assert torch.get_default_dtype() == torch.float32
        leave.set()
        other.join()
        assert torch.get_default_dtype() == torch.float64


def test_a_failure_in_one_state_does_not_stick(short: xr.Dataset) -> None:
    fit = short.h2cm.fit(2, **FIT, loop="plain")
    with default_dtype(torch.float64), contextlib.suppress(Exception):
        fit.model.scheme.source("cpu.cpp")
    short.h2cm.predict(fit, loop="fast")


def test_the_scheduler_does_not_matter(short: xr.Dataset, usual: tuple[xh2cm.Fit, xr.Dataset, xr.Dataset]) -> None:
    lazy = short.chunk(lat=1, lon=2)
    undisturbed_gpp = lazy.h2cm.predict(usual[0])["GPP"].compute()
    xr.testing.assert_allclose(undisturbed_gpp, usual[1]["GPP"], rtol=1e-5, atol=1e-5)  # other cells, other rounding
    for scheduler in ("synchronous", "threads"):
        with dask.config.set(scheduler=scheduler), default_dtype(torch.float64):
            xr.testing.assert_equal(lazy.h2cm.predict(usual[0])["GPP"].compute(), undisturbed_gpp)
