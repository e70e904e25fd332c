"""Prediction: lazily, on any land, in any calendar, and back from disk as it was."""

from __future__ import annotations

import dataclasses

import dask
import numpy as np
import pytest
import xarray as xr

import xh2cm
from xh2cm.errors import FitError, InputError, StoreError
from xh2cm.model import SpinUp
from xh2cm.prediction.predict import DEFAULT_VARIABLES, predict_dataset
from xh2cm.settings import PredictOptions
from xh2cm.variables import FORCING, OUTPUTS

FIT = {"scheme": "cells", "width": 6, "epochs": 1, "progress": False}


@pytest.fixture(scope="module")
def short(twin):
    return twin.isel(time=slice(0, 90), month=slice(0, 3))


@pytest.fixture(scope="module")
def fit(short):
    return short.h2cm.fit(2, **FIT)


@pytest.fixture(scope="module")
def bare(short):
    """A fit without static features, for land of any shape."""
    return short[[*FORCING, "ET", "GPP"]].h2cm.fit(2, **FIT)


def never(*_, **__):
    raise AssertionError("something was computed")


def test_the_published_store_and_checkpoint_predict_what_the_published_code_predicts(parity):
    ds = xh2cm.open_published(parity / "published/store.zarr.zip")
    expected = np.load(parity / "published/expected.npz")
    names = {
        "ET": "ET_ts",
        "runoff": "runoff_total_ts",
        "TWS": "tws_ts",
        "GPP": "gpp_ts",
        "TER": "ter_ts",
        "NEE": "nee_ts",
        "SWE": "swe_ts",
        "SM": "SM_ts",
        "GW": "GW_ts",
        "fAPAR": "fAPAR_nn_ts",
        "NPP": "npp_ts",
        "transpiration": "T_ts",
        "wue": "wue_ts",
        "cue": "cue_ts",
        "groundwater_recharge_fraction": "alpha_r_gw_ts",
        "soil_capacity": "sm_max",
        "interception_capacity": "alpha_Ei",
        "q10": "beta_q10",
        "co2_sensitivity": "beta_co2",
        "snowfall_correction": "beta_snow",
        "baseflow_coefficient": "beta_baseflow",
    }
    out = ds.h2cm.predict(xh2cm.load_fit(parity / "published/model.ckpt"), variables=list(names)).compute()
    land = out.stack(cell=("lat", "lon")).isel(cell=np.flatnonzero(ds["mask"].values.reshape(-1)))
    np.testing.assert_allclose(land["lat"], expected["latlon"][:, 0])
    for name, theirs in names.items():
        ours = land[name].transpose("cell", ...) if "cell" in land[name].dims else land[name]
        assert abs(ours.values - expected[theirs]).max() <= 1e-4 * abs(expected[theirs]).max(), name


def test_dask_in_lazy_out_and_the_same_numbers(short, fit):
    lazy = short.chunk(lat=1, lon=2)
    checked = lazy.h2cm.check(targets=[]).dataset  # reads the forcing once
    with dask.config.set(scheduler=never):
        out = predict_dataset(
            checked, PredictOptions(fit, variables=["ET", "TWS", "q10", "soil_capacity"], member="held-out")
        )
    assert out["ET"].chunks is not None
    xr.testing.assert_allclose(  # products of matrices of other sizes round otherwise
        out.compute(scheduler="synchronous"),
        short.h2cm.predict(fit, variables=["ET", "TWS", "q10", "soil_capacity"], member="held-out"),
        rtol=1e-5,
        atol=1e-5,
    )
    xr.testing.assert_equal(out.compute(scheduler="threads"), out.compute(scheduler="synchronous"))


def test_every_variable_by_name_with_attributes(short, fit):
    out = short.h2cm.predict(fit, variables="all")
    assert set(DEFAULT_VARIABLES) <= set(out.data_vars)
    assert {v.name for v in OUTPUTS.values()} <= set(out.data_vars)
    assert {p.name for p in fit.model.processes.parameters if p.name != "fapar"} <= set(out.data_vars)
    assert all(out[name].attrs["units"] and out[name].attrs["long_name"] for name in out.data_vars)
    assert out["ET"].attrs["standard_name"] == "water_evapotranspiration_flux"
    assert out["ET"].dims == ("time", "lat", "lon")
    assert out["soil_capacity"].dims == ("lat", "lon")
    assert out["q10"].dims == ()
    assert float(abs(out["water_residual"]).max()) < 1e-3
    assert float(abs(out["carbon_residual"]).max()) < 1e-3
    change = out["TWS"].diff("time")
    budget = (out["precipitation_corrected"] - out["ET"] - out["runoff"]).isel(time=slice(1, None))
    np.testing.assert_allclose(budget, change, atol=2e-3)
    np.testing.assert_allclose(out["NEE"], out["TER"] - out["GPP"], atol=1e-4)


def test_members(short, fit):
    every = short.h2cm.predict(fit, member="all")
    assert every["ET"].dims == ("fold", "time", "lat", "lon")
    mean = short.h2cm.predict(fit)
    np.testing.assert_allclose(mean["ET"], every["ET"].mean("fold"), rtol=1e-5, atol=1e-6)
    for k in fit.folds:
        np.testing.assert_allclose(
            short.h2cm.predict(fit, member=k)["GPP"], every["GPP"].sel(fold=k), rtol=1e-4, atol=1e-5
        )
    held = short.h2cm.predict(fit, member="held-out")
    np.testing.assert_allclose(
        held["GPP"], every["GPP"].where(fit.labels == every["fold"]).sum("fold"), rtol=1e-4, atol=1e-5
    )


def test_held_out_years(twin):
    fit = twin.h2cm.fit(2, **{**FIT, "scheme": "years"})
    every, held = (twin.h2cm.predict(fit, member=m)["ET"] for m in ("all", "held-out"))
    np.testing.assert_allclose(held, every.where(fit.labels == every["fold"]).sum("fold"), rtol=1e-5, atol=1e-6)


def test_test_cells_get_the_mean_of_the_folds(short):
    labels = short.h2cm.folds(2, scheme="cells").astype(int)
    labels[0, 0] = -1
    fit = short.h2cm.fit(labels, **{**FIT, "scheme": None})
    held, mean = (short.h2cm.predict(fit, member=m)["ET"].isel(lat=0, lon=0) for m in ("held-out", "mean"))
    np.testing.assert_allclose(held, mean, rtol=1e-5)


def reshaped(ds, shape):
    """The twin's first cells on land of another shape."""
    cells = (
        ds[list(FORCING)].stack(site=("lat", "lon")).isel(site=slice(0, 6)).reset_index("site").transpose("time", ...)
    )
    if shape == "site":
        return cells.assign_coords(site=[f"tower {k}" for k in range(6)])
    if shape == "nhru":
        return cells.rename(site="nhru")
    if shape == "one cell":
        return cells.isel(site=0, drop=True)
    y, x = np.meshgrid(np.arange(2), np.arange(3), indexing="ij")
    bent = cells.drop_vars(["lat", "lon"]).assign_coords(site=np.arange(6))
    arrays = {
        name: ((*a.dims[:-1], "y", "x"), a.values.reshape(*a.shape[:-1], 2, 3), a.attrs)
        if "site" in a.dims
        else a.variable
        for name, a in bent.data_vars.items()
    }
    return xr.Dataset(
        arrays,
        coords={
            "time": ds["time"],
            "latitude": (("y", "x"), 40 + y + 0.1 * x),
            "longitude": (("y", "x"), 8 + x + 0.1 * y),
        },
    )


@pytest.mark.parametrize("shape", ["site", "nhru", "one cell", "curvilinear"])
@pytest.mark.parametrize("lazy", [False, True])
def test_land_of_any_shape(short, bare, shape, lazy):
    ds = reshaped(short, shape)
    expected = short.h2cm.predict(bare, static=[])["ET"].values.reshape(90, -1)[:, :6]
    out = (ds.chunk() if lazy else ds).h2cm.predict(bare)
    land = [d for d in ds["vpd"].dims if d != "time"]
    assert out["ET"].dims == ("time", *land)
    values = out["ET"].values.reshape(90, -1)
    np.testing.assert_allclose(values, expected[:, : values.shape[1]], rtol=1e-4, atol=1e-5)
    assert set(out.coords) >= {c for c in ds.coords if set(ds[c].dims) <= {"time", *land}}
    back = ds.h2cm.to_tensors(device="cpu")
    again = back.to_dataset({"vpd": back.forcing[:, :, 3]})["vpd"]
    np.testing.assert_array_equal(again.transpose(*ds["vpd"].dims).values, ds["vpd"].values)


@pytest.mark.parametrize("turn", ["latitude upwards", "longitude 0-360"])
def test_orientation_does_not_matter(short, fit, turn):
    turned = (
        short.sortby("lat")
        if turn == "latitude upwards"
        else short.assign_coords(lon=short["lon"] % 360 - 180).sortby("lon")
    )
    out = turned.h2cm.predict(fit)
    back = (
        out.sortby("lat", ascending=False)
        if turn == "latitude upwards"
        else out.assign_coords(lon=(out["lon"] + 180) % 360).sortby("lon")
    )
    expected = short.h2cm.predict(fit)
    if turn == "longitude 0-360":
        expected = expected.assign_coords(lon=(expected["lon"] % 360 - 180 + 180) % 360).sortby("lon")
    np.testing.assert_allclose(back["NEE"], expected["NEE"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("calendar", ["noleap", "360_day"])
def test_calendars(twin, calendar):
    days = 365 if calendar == "noleap" else 360
    time = xr.date_range("2001-01-01", periods=days, freq="D", calendar=calendar, use_cftime=True)
    months = xr.date_range("2001-01-01", periods=12, freq="MS", calendar=calendar, use_cftime=True)
    ds = twin.isel(time=slice(0, days), month=slice(0, 12)).assign_coords(time=time, month=months)
    cells = ds.h2cm.to_tensors(device="cpu")
    assert int(cells.calendar.days.sum()) == days
    fit = ds.h2cm.fit(2, **FIT)
    assert fit.losses["loss"].sel(target="ET").notnull().all()
    out = ds.h2cm.predict(fit)
    assert out["time"].dt.calendar == calendar


def test_cells_out_of_use_are_nan_and_all_others_whole(short, fit):
    holed = short.copy()
    holed["vpd"] = short["vpd"].where((short["lat"] != short["lat"][0]) | (short["lon"] != short["lon"][1]))
    out = holed.h2cm.predict(fit)
    assert out["ET"].isel(lat=0, lon=1).isnull().all()
    assert int(out["ET"].isnull().any("time").sum()) == 1


def test_what_is_written_opens_equal(short, fit, tmp_path):
    out = short.chunk(lat=1).h2cm.predict(fit, variables=["ET", "NEE", "q10"])
    path = out.h2cm.to_zarr(tmp_path / "out.zarr")
    xr.testing.assert_identical(xr.open_zarr(path).compute(), out.compute())
    with pytest.raises(StoreError, match="exists: give another path, or overwrite=True"):
        out.h2cm.to_zarr(path)
    out.h2cm.to_zarr(path, overwrite=True)
    (tmp_path / "mine").mkdir()
    with pytest.raises(StoreError, match="exists"):
        out.h2cm.to_zarr(tmp_path / "mine", overwrite=True)
    plain = short.h2cm.predict(fit)
    plain.to_zarr(tmp_path / "plain.zarr")
    xr.testing.assert_identical(xr.open_zarr(tmp_path / "plain.zarr").compute(), plain)
    plain.to_netcdf(tmp_path / "plain.nc")
    xr.testing.assert_identical(xr.open_dataset(tmp_path / "plain.nc").load(), plain)


def test_site_names_survive_the_disk(short, bare, tmp_path):
    out = reshaped(short, "site").h2cm.predict(bare)
    xr.testing.assert_equal(xr.open_zarr(out.h2cm.to_zarr(tmp_path / "sites.zarr")).compute(), out)


def test_spin_up_can_be_chosen(short, bare):
    long, none = (
        short.h2cm.predict(bare, variables=["TWS"], spinup=s)["TWS"] for s in (SpinUp(passes=3), SpinUp(passes=0))
    )
    assert float(none.isel(time=0).max()) < 60  # bare land filled by one day of rain at most
    assert float(abs(long - none).isel(time=0).max()) > 1
    drifting = short.h2cm.predict(bare, variables=["TWS"], spinup=SpinUp(passes=50, drift=1e9))["TWS"]
    np.testing.assert_allclose(drifting, short.h2cm.predict(bare, variables=["TWS"], spinup=SpinUp(passes=1))["TWS"])


def test_predict_before_fit(short):
    with pytest.raises(FitError, match=r"no fit yet: give one, `ds.h2cm.predict\(fit\)`"):
        short.copy().h2cm.predict()


def test_the_accessor_remembers_the_last_fit_of_this_object_only(short):
    ds = short.copy()
    fit = ds.h2cm.fit(2, **FIT)
    xr.testing.assert_identical(ds.h2cm.predict(), ds.h2cm.predict(fit))
    with pytest.raises(FitError, match="does not remember"):
        ds.copy().h2cm.predict()


def test_other_static_features_are_refused(short, fit):
    with pytest.raises(FitError, match="made for the static features"):
        short.drop_vars("slope").h2cm.predict(fit)
    with pytest.raises(FitError, match="made for the static features"):
        short.h2cm.predict(fit, static=["clay", "slope"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"variables": ["GPPP"]}, "did you mean 'GPP'"),
        ({"variables": ["et"]}, "did you mean 'ET'"),
        ({"member": 7}, "the fit has no fold 7"),
        ({"member": "best"}, "'best' is unknown"),
        ({"device": "cuda:99"}, "cannot be used here"),
    ],
)
def test_wrong_arguments_are_named(short, fit, arguments, says):
    with pytest.raises(InputError, match=says):
        short.h2cm.predict(fit, **arguments)


def test_held_out_needs_the_cells_of_the_fit(short, fit):
    with pytest.raises(InputError, match="fold labels of the fit: lacks 4 of the 4 labels of the dataset along 'lon'"):
        short.assign_coords(lon=short["lon"] + 1).h2cm.predict(fit, member="held-out")
    with pytest.raises(InputError, match=r"fold labels of the fit: lies on the axes .* it has no 'y'"):
        short.rename(lat="y").h2cm.predict(fit, member="held-out")
    with pytest.raises(FitError, match="need the labels of the folds"):
        short.h2cm.predict(dataclasses.replace(fit, labels=None), member="held-out")
    one = short.h2cm.fit(2, only=[0], **FIT)
    with pytest.raises(FitError, match="need every fold"):
        short.h2cm.predict(one, member="held-out")


@pytest.mark.parametrize(
    "change",
    [
        lambda ds: ds.sortby("lat"),
        lambda ds: ds.isel(lat=slice(None, None, -1), lon=[2, 0, 3, 1]),
        lambda ds: ds.isel(lon=[1, 3]),
        lambda ds: ds.isel(lat=1, lon=2),
        lambda ds: ds.transpose("lon", "lat", "time"),
        lambda ds: ds.assign_coords(lon=ds["lon"] - 360, lat=ds["lat"].astype("float32")),
        lambda ds: ds.assign_coords(time=ds["time"] + np.timedelta64(12, "h")),
        lambda ds: ds.isel(time=slice(10, 70)),
    ],
    ids=["sorted", "permuted", "subset", "one cell", "transposed", "longitudes", "noon", "days"],
)
@pytest.mark.parametrize("scheme", ["cells", "years"])
def test_held_out_is_by_label(short, scheme, change):
    """Whatever the order, the fold that had not seen a cell or day predicts it, and no other."""
    labels = short.h2cm.folds(2, scheme="cells").astype(int)
    if scheme == "years":
        labels = (short["time"].dt.month % 2).drop_attrs()  # of whole months, as the targets are monthly
    fit = short.h2cm.fit(labels, **{**FIT, "scheme": None})
    other = change(short.drop_dims("month"))
    every, held = (other.h2cm.predict(fit, member=m)["ET"] for m in ("all", "held-out"))
    if scheme == "cells":
        place = {"lat": other["lat"].astype(float), "lon": other["lon"] % 360}
        mine = labels.sel(place, method="nearest").assign_coords(lat=other["lat"], lon=other["lon"])
    else:
        mine = labels.sel(time=other["time"].dt.floor("D")).assign_coords(time=other["time"])
    expected = every.where(mine == every["fold"]).sum("fold")
    np.testing.assert_allclose(held, expected.transpose(*held.dims), rtol=1e-5, atol=1e-6)


def test_a_published_checkpoint_needs_stored_statistics(parity, short):
    fit = xh2cm.load_fit(parity / "published/model.ckpt")
    many = xr.concat([short["elevation"]] * 30, "feature").rename("static")
    with pytest.raises(InputError, match="has no attributes `mean` and `std`"):
        short[list(FORCING)].assign(static=many).h2cm.predict(fit)


@pytest.mark.filterwarnings("ignore:the forcing is far outside:xh2cm.errors.H2CMWarning")
def test_what_changes_in_a_dataset_is_seen(short, fit):
    ds = short.copy()
    before = ds.h2cm.predict(fit)
    ds["precipitation"] = (2 * ds["precipitation"]).assign_attrs(ds["precipitation"].attrs)
    assert not ds.h2cm.predict(fit).equals(before)


def test_a_store_can_be_replaced_by_what_is_computed_from_it(short, fit, tmp_path):
    store = short.h2cm.to_zarr(tmp_path / "store.zarr")
    expected = xr.open_zarr(store).h2cm.predict(fit).compute()
    xr.open_zarr(store).h2cm.predict(fit).h2cm.to_zarr(store, overwrite=True)
    xr.testing.assert_equal(xr.open_zarr(store).compute(), expected)
    assert [p.name for p in tmp_path.iterdir()] == ["store.zarr"]  # nothing half-written is left


def test_one_cell_without_axes_gives_everything_its_cell_of_the_grid_has(short, bare):
    one = short[[*FORCING]].isel(lat=1, lon=2)
    alone, grid = (ds.h2cm.predict(bare, variables="all") for ds in (one, short[[*FORCING]]))
    assert alone["soil_capacity"].dims == ()
    assert alone["ET"].dims == ("time",)
    for name in alone.data_vars:
        same = grid[name] if "lat" not in grid[name].dims else grid[name].isel(lat=1, lon=2)
        np.testing.assert_allclose(alone[name], same, rtol=1e-4, atol=1e-4)
