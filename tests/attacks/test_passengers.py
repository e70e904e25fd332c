"""Coordinates and attributes that only travel along are written, by every writer, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xh2cm
from xh2cm.datasets.open import open_path
from xh2cm.errors import StoreError

FIT = {"scheme": "cells", "epochs": 1, "width": 4, "progress": False, "loop": "plain"}


def of_time(**attributes: Any) -> Callable[[xr.Dataset], xr.Dataset]:
    def give(ds: xr.Dataset) -> xr.Dataset:
        given = ds.copy()
        given["time"].attrs |= attributes
        given["lat"].attrs |= {key: value for key, value in attributes.items() if key not in ("units", "calendar")}
        return given

    return give


def stacked(ds: xr.Dataset) -> xr.Dataset:
    return ds.stack(cell=("lat", "lon"))


def one_axis(ds: xr.Dataset) -> xr.Dataset:
    return ds.stack(site=("lat", "lon")).reset_index("site")


def labelled(labels: Any) -> Callable[[xr.Dataset], xr.Dataset]:
    return lambda ds: one_axis(ds).assign_coords(site=labels)


NAMES = [f"site {k}" for k in range(8)]
PASSENGERS: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "height": lambda ds: ds.assign_coords(height=2.0),
    "number": lambda ds: ds.assign_coords(number=0, expver="0001"),
    "spatial_ref": lambda ds: ds.assign_coords(spatial_ref=((), 0, {"crs_wkt": "GEOGCS[...]", "GeoTransform": "0 1"})),
    "basin on the land": lambda ds: ds.assign_coords(basin=(("lat", "lon"), np.arange(8).reshape(2, 4))),
    "text on the land": lambda ds: ds.assign_coords(basin=(("lat", "lon"), np.full((2, 4), "Rhine"))),
    "season": lambda ds: ds.assign_coords(season=ds["time"].dt.season),
    "a date": lambda ds: ds.assign_coords(reference=np.datetime64("2001-01-01", "ns")),
    "a span": lambda ds: ds.assign_coords(step=np.timedelta64(1, "D").astype("timedelta64[ns]")),
    "flag": lambda ds: ds.assign_coords(flag=("lat", [True, False])),
    "float16": lambda ds: ds.assign_coords(half=("lat", np.array([1, 2], np.float16))),
    "units of time": of_time(units="days since 1850-01-01", calendar="standard"),
    "fill values": of_time(_FillValue=-999.0, missing_value=-999.0),
    "true": of_time(checked=True, wrong=np.bool_(False)),
    "None": of_time(nothing=None),
    "a mapping": of_time(about={"a": 1, "b": [1, 2]}),
    "a moment": of_time(made=pd.Timestamp("2001-01-01"), other=np.datetime64("2001-01-01")),
    "lists": of_time(empty=[], mixed=[1, "a"], flags=[True, False], deep=[[1, 2], [3]], texts=["a", "b"]),
    "a large number": of_time(large=2**70, number=np.float32(1.5)),
    "a path": of_time(path=Path("/somewhere"), kind=np.dtype("f4")),
    "names of attributes": of_time(**{"a/b": 1, "c d": 2}),
    "stacked": stacked,
    "categories": labelled(pd.CategoricalIndex(NAMES)),
    "strings": labelled(pd.array(NAMES, dtype="string")),
    "objects": labelled(np.array(NAMES, dtype=object)),
    "periods": labelled(pd.period_range("2001", periods=8, freq="M")),
    "intervals": labelled(pd.interval_range(0, 8)),
    "nullable": lambda ds: one_axis(ds).assign_coords(code=("site", pd.array([1, None, *range(6)], dtype="Int64"))),
    "missing text": lambda ds: one_axis(ds).assign_coords(code=("site", pd.array(["a", None] * 4, dtype="string"))),
}


@pytest.mark.parametrize("what", PASSENGERS)
def test_every_writer_takes_it(short: xr.Dataset, tmp_path: Path, what: str) -> None:
    ds = PASSENGERS[what](short)
    fit = ds.h2cm.fit(2, **FIT)
    assert xh2cm.load_fit(fit.save(tmp_path / "fit")).fingerprint == fit.fingerprint
    out = ds.h2cm.predict(fit, variables=["ET", "GPP"])
    stored = open_path(out.h2cm.to_zarr(tmp_path / "out.zarr")).load()
    with xr.open_dataset(out.h2cm.to_netcdf(tmp_path / "out.nc")) as file:
        written = file.load()
    lazy = PASSENGERS[what](short.chunk(time=-1)).h2cm.predict(fit, variables=["ET"])
    again = open_path(lazy.h2cm.to_zarr(tmp_path / "lazy.zarr")).load()
    for found in (stored["ET"], written["ET"].transpose(*out["ET"].dims, missing_dims="ignore"), again["ET"]):
        np.testing.assert_array_equal(found.values.ravel()[:40], out["ET"].values.ravel()[:40])
    if {"lat", "lon"} <= set(out.dims):
        paths = out.h2cm.to_cmip(tmp_path / "cmip", variables=["ET"])
        with xr.open_dataset(paths[-1]) as file:
            assert file["evspsbl"].sizes == {"time": 3, "lat": 2, "lon": 4}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_labels_come_back(short: xr.Dataset, tmp_path: Path) -> None:
    ds = labelled(pd.CategoricalIndex(NAMES))(short)[["vpd"]]
    assert open_path(ds.h2cm.to_zarr(tmp_path / "a.zarr"))["site"].values.tolist() == NAMES
    with xr.open_dataset(ds.h2cm.to_netcdf(tmp_path / "a.nc")) as file:
        assert file["site"].values.tolist() == NAMES
    levels = open_path(stacked(short)[["vpd"]].h2cm.to_zarr(tmp_path / "b.zarr"))
    np.testing.assert_array_equal(levels["lat"].values, np.repeat(short["lat"].values, 4))


def test_what_no_file_holds_is_refused_by_name(short: xr.Dataset, tmp_path: Path) -> None:
    ds = short[["vpd"]].assign_coords({"a/b": 1, "c": ("lat", [1j, 2j]), "d": ("lat", np.zeros(2, [("e", "i4")]))})
    for write, name in ((ds.h2cm.to_zarr, "a.zarr"), (ds.h2cm.to_netcdf, "a.nc")):
        with pytest.raises(StoreError, match=r"'a/b' holds a slash; 'c' holds complex numbers; 'd' holds records"):
            write(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_one_tower_without_dimensions_works_through_every_verb(twin: xr.Dataset, tmp_path: Path) -> None:
    tower = twin.isel(lat=0, lon=0)
    fit = tower.h2cm.fit(2, scheme="years", epochs=1, width=4, progress=False)
    assert xh2cm.load_fit(fit.save(tmp_path / "fit")).fingerprint == fit.fingerprint
    out = tower.h2cm.predict(fit, variables="all", member="held-out")
    assert out["ET"].dims == ("time",)
    stored = open_path(out.h2cm.to_zarr(tmp_path / "out.zarr"))
    np.testing.assert_array_equal(stored["ET"], out["ET"])
    out.h2cm.to_netcdf(tmp_path / "out.nc")
    assert np.isfinite(out.h2cm.score(tower)["NSE"]).any()
    tower.h2cm.response(fit, {"air_temperature": 1.0}, variables=["ET"])
    lazy = tower.chunk(time=-1).h2cm.predict(fit, variables=["ET"])
    np.testing.assert_allclose(lazy["ET"], tower.h2cm.predict(fit, variables=["ET"])["ET"], rtol=1e-5)


@pytest.mark.parametrize("value", ["../x", "a/b", "", "a b", "$(id)", "x" * 65, 3, "a\n"])
@pytest.mark.parametrize("facet", ["source_id", "experiment_id", "member_id", "grid_label"])
def test_names_of_files_lead_nowhere_else(short: xr.Dataset, tmp_path: Path, facet: str, value: Any) -> None:
    prediction = short[["vpd"]].rename(vpd="ET")
    with pytest.raises(xh2cm.InputError, match=facet):
        prediction.h2cm.to_cmip(tmp_path, **{facet: value})
