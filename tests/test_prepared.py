"""Data that were checked once: the same numbers as data that are checked again, without reading them again."""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np
import pytest
import xarray as xr

import xh2cm
from xh2cm.data.check import check, narrowed

HOW = {"scheme": "cells", "epochs": 1, "width": 4, "loop": "plain", "progress": False}
FORCING = ["rn", "pr", "tas", "vpd", "co2"]


@pytest.fixture(scope="module")
def ds(twin):
    return twin.isel(time=slice(0, 90), month=slice(0, 3)).drop_encoding()


def counting(ds: xr.Dataset, reads: Counter[tuple[str, tuple[int, ...]]], **chunks: int) -> xr.Dataset:
    """Chunks of each daily variable, which count how often they are computed."""

    def counted(name: str, block: np.ndarray, block_info=None) -> np.ndarray:
        if block_info:
            reads[name, tuple(block_info[0]["chunk-location"])] += 1
        return block

    lazy = ds.chunk(chunks)
    found = {}
    for name, array in lazy.data_vars.items():
        if "time" in array.dims:
            kept = {"dtype": array.dtype, "meta": np.empty((0,) * array.ndim, array.dtype)}
            found[name] = array.copy(data=array.data.map_blocks(partial(counted, str(name)), **kept))
    return lazy.assign(found)


def test_each_chunk_is_read_once_to_check_once_to_train_and_once_to_predict(ds, tmp_path) -> None:
    reads: Counter[tuple[str, tuple[int, ...]]] = Counter()
    prepared = counting(ds, reads, lat=2, lon=4).h2cm.check()
    assert set(reads.values()) == {1}
    fit = prepared.fit(prepared.folds(2, scheme="cells"), epochs=2, width=4, loop="plain", progress=False)
    assert set(reads.values()) == {2}
    prepared.predict(fit, member="held-out").h2cm.to_zarr(tmp_path / "out.zarr")
    assert set(reads.values()) == {3}
    assert fit == ds.h2cm.fit(2, **{**HOW, "epochs": 2})
    stored = xr.open_zarr(tmp_path / "out.zarr")
    xr.testing.assert_allclose(stored["ET"], ds.h2cm.predict(fit, member="held-out")["ET"], rtol=1e-6)


def test_a_streamed_training_begins_after_one_look_at_the_forcing(ds) -> None:
    reads: Counter[tuple[str, tuple[int, ...]]] = Counter()
    prepared = counting(ds, reads, lat=1, lon=1).h2cm.check()
    how = {**HOW, "epochs": 1, "targets": ["GPP", "TWS"], "patience": None}
    streamed = prepared.fit(2, memory="16 kB", **how)
    forcing = [count for (name, chunk), count in reads.items() if len(chunk) == 3]  # CO2 is the same for all cells
    assert set(forcing) == {3}  # to check, to train on, to validate with
    whole = ds.h2cm.fit(2, **how)
    for one, other in zip(streamed.scaling, whole.scaling, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_methods_give_what_the_accessor_gives(ds) -> None:
    prepared = ds.h2cm.check()
    fit = prepared.fit(2, **HOW)
    assert fit == ds.h2cm.fit(2, **HOW) == xh2cm.fit(ds, 2, **HOW) == xh2cm.fit(prepared, 2, **HOW)
    xr.testing.assert_identical(prepared.folds(2, scheme="cells"), ds.h2cm.folds(2, scheme="cells"))
    for verb, arguments in {
        "predict": {"variables": ["ET"]},
        "response": {"change": {"air_temperature": 1.0}, "variables": ["ET"]},
        "sensitivity": {"variable": "ET"},
    }.items():
        xr.testing.assert_identical(getattr(prepared, verb)(fit, **arguments), getattr(ds.h2cm, verb)(fit, **arguments))
        xr.testing.assert_identical(
            getattr(xh2cm, verb)(prepared, fit, **arguments), getattr(prepared, verb)(**arguments)
        )
    np.testing.assert_array_equal(prepared.to_tensors(device="cpu").forcing, ds.h2cm.to_tensors(device="cpu").forcing)


def test_which_cells_are_usable_follows_for_each_model(ds) -> None:
    co2 = ds["co2"].broadcast_like(ds["clay"]).transpose("time", ...)
    holed = ds.assign(co2=co2.where((ds["lat"] != ds["lat"].values[0]) | (ds["time"] != ds["time"].values[3])))
    reads: Counter[tuple[str, tuple[int, ...]]] = Counter()
    prepared = counting(holed, reads, lat=2).h2cm.check(missing="drop")
    assert prepared.usable < prepared.cells
    water = ["net_radiation", "precipitation", "air_temperature", "vpd"]
    narrow, whole = narrowed(prepared, forcing=water), check(holed.chunk(lat=2), forcing=water, missing="drop")
    assert narrow.usable == whole.usable == prepared.cells
    assert str(narrow) == str(whole)
    xr.testing.assert_identical(narrow.dataset.compute(), whole.dataset.compute())
    model = xh2cm.Model(processes=xh2cm.Processes.water(), width=4)
    how = {name: value for name, value in HOW.items() if name != "width"}
    assert prepared.fit(2, model=model, **how) == holed.h2cm.fit(2, model=model, **how)


@pytest.mark.parametrize(
    "asked",
    [
        {"targets": ["GPP"]},
        {"targets": []},
        {"static": ["clay"]},
        {"forcing": ["air_temperature"]},
        {"pinned": ["clay"]},
    ],
    ids=str,
)
def test_a_part_of_a_report_is_the_report_of_that_part(ds, asked) -> None:
    prepared = ds.chunk(lat=2).h2cm.check()
    part = narrowed(prepared, **asked)
    pinned = asked.pop("pinned", [])
    whole = check(ds.chunk(lat=2).drop_vars(pinned), **asked)
    assert str(part) == str(whole)
    xr.testing.assert_identical(part.dataset.compute(), whole.dataset.compute())


def test_what_was_said_to_check_cannot_be_said_again(ds) -> None:
    with pytest.raises(xh2cm.InputError, match=r"units: cannot be changed .*\n.*ds.h2cm.check\(units=...\)"):
        ds.h2cm.check().fit(2, units={"pr": "mm day-1"}, **HOW)


@pytest.mark.parametrize("many", [iter, "index"])
def test_targets_may_come_from_anything_that_names_them(ds, many) -> None:
    import pandas as pd

    names = pd.Index(["GPP", "ET"]) if many == "index" else iter(["GPP", "ET"])
    assert ds.h2cm.fit(2, targets=names, **HOW) == ds.h2cm.fit(2, targets=["GPP", "ET"], **HOW)
