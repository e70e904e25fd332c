"""The state at the end of a prediction: the next one goes on as if there had been no end."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xh2cm
from xh2cm.cli import app
from xh2cm.errors import InputError
from xh2cm.model import SpinUp
from xh2cm.prediction.restart import carried

FIT = {"scheme": "cells", "width": 6, "epochs": 1, "progress": False}
WHAT = ["ET", "SM", "NEE", "soil_capacity", "q10"]
CUT = 47  # no multiple of anything


@pytest.fixture(scope="module")
def ds(twin):
    return twin.isel(time=slice(0, 90), month=slice(0, 3))


@pytest.fixture(scope="module")
def fit(ds):
    return ds.h2cm.fit(2, **FIT)


def halves(ds, first=CUT):
    return ds.isel(time=slice(0, first)), ds.isel(time=slice(first, None))


@pytest.fixture(scope="module")
def kept(ds, fit):
    return halves(ds)[0].h2cm.predict(fit, keep_state=True, spinup=SpinUp(CUT), loop="plain")


@pytest.mark.parametrize("loop", ["plain", "fast"])
@pytest.mark.parametrize("member", ["mean", "all", "held-out", 1])
def test_two_halves_are_the_whole_bit_for_bit(ds, fit, member, loop):
    settings = {"variables": WHAT, "member": member, "loop": loop}
    whole = ds.h2cm.predict(fit, spinup=CUT, **settings)
    before, after = halves(ds)
    first = before.h2cm.predict(fit, spinup=CUT, keep_state=True, **settings)
    second = after.h2cm.predict(fit, state=first, **settings)
    xr.testing.assert_equal(whole.isel(time=slice(CUT, None)), second)
    xr.testing.assert_equal(whole.isel(time=slice(0, CUT)), first.drop_vars(["state", "state_fold"]))


def test_a_chain_of_three_on_dask_through_the_disk(ds, fit, tmp_path):
    settings = {"member": "held-out", "loop": "plain", "keep_state": True}
    whole = ds.chunk(lat=1, time=20).h2cm.predict(fit, spinup=20, **settings)
    state = None
    for k, days in enumerate((slice(0, 20), slice(20, 22), slice(22, 90))):
        part = ds.isel(time=days).chunk(lat=1)
        out = part.h2cm.predict(fit, state=state, spinup=20 if state is None else None, **settings)
        assert out["state"].chunks is not None
        path = tmp_path / f"{k}.zarr"
        if k == 1:
            out.to_netcdf(path)
            state = xr.open_dataset(path, chunks={})
        else:
            state = xr.open_zarr(out.h2cm.to_zarr(path))
    np.testing.assert_array_equal(state["NEE"].values, whole["NEE"].isel(time=slice(22, None)).values)
    xr.testing.assert_equal(state["state"].compute(), whole["state"].compute())


def test_what_a_state_holds(ds, fit, kept):
    state = kept["state"]
    assert state.dims == ("state_fold", "lat", "lon", "carried")
    assert state.dtype == np.float32
    assert state["state_fold"].values.tolist() == list(fit.folds)
    assert state.sizes["carried"] == carried(fit.model) == 5 + 3 * 2 * 6
    assert state.attrs["day"] == f"{ds['time'].values[CUT - 1]!s:.10}"
    assert state.attrs["fit"] == fit.fingerprint
    swe, soil, ground = (state.isel(carried=k).mean("state_fold") for k in range(3))
    again = halves(ds)[0].h2cm.predict(fit, variables=["SWE", "SM", "GW"], spinup=CUT, loop="plain").isel(time=-1)
    for name, ours in {"SWE": swe, "SM": soil, "GW": ground}.items():
        np.testing.assert_allclose(ours, again[name], rtol=1e-6)


def test_the_state_of_each_fold_does_for_other_members(ds, fit, kept):
    every = halves(ds)[1].h2cm.predict(fit, state=kept, member="all", loop="plain")
    one = halves(ds)[1].h2cm.predict(fit, state=kept, member=1, loop="plain")
    np.testing.assert_allclose(one["ET"], every["ET"].sel(fold=1), rtol=1e-4, atol=1e-6)


def test_held_out_keeps_the_fold_of_each_cell(ds, fit):
    state = halves(ds)[0].h2cm.predict(fit, member="held-out", keep_state=True)["state"]
    xr.testing.assert_equal(state.notnull().all("carried"), fit.labels == state["state_fold"])


def test_only_constants_and_the_state(ds, fit):
    out = ds.h2cm.predict(fit, variables=["q10"], keep_state=True)
    assert set(out.data_vars) == {"q10", "state"}
    assert out["state"].notnull().all()


def test_scores_and_spread_leave_the_state_alone(ds, fit):
    out = ds.h2cm.predict(fit, member="all", keep_state=True)
    plain = out.drop_vars(["state", "state_fold"])
    xr.testing.assert_equal(out.h2cm.spread(), plain.h2cm.spread())
    xr.testing.assert_equal(out.h2cm.score(ds), plain.h2cm.score(ds))


def test_forcing_with_gaps_now_and_then(ds, fit):
    """Cells that were out of use have no state, and cannot be gone on with; cells that fall out do no harm."""
    hole = (ds["lat"] == ds["lat"][0]) & (ds["lon"] == ds["lon"][1])
    holed = ds.assign(vpd=ds["vpd"].where(~hole).assign_attrs(ds["vpd"].attrs))
    before, after = halves(ds)
    less = halves(holed)[0].h2cm.predict(fit, keep_state=True)
    with pytest.raises(InputError, match=r"state: has gaps at lat .*, lon .*, where there is forcing now"):
        after.h2cm.predict(fit, state=less)
    whole = before.h2cm.predict(fit, keep_state=True)
    out = halves(holed)[1].h2cm.predict(fit, state=whole)
    assert int(out["ET"].isnull().all("time").sum()) == 1


def changed(what, ds, fit, kept):
    """A dataset, a fit, a state and a member that do not belong together."""
    after, member = halves(ds)[1], "mean"
    lat = kept["lat"]
    if what == "another fit":
        fit = ds.h2cm.fit(2, **{**FIT, "seed": 9})
    if what == "a gap of days":
        after = halves(ds, CUT + 3)[1]
    if what == "the same days":
        after = halves(ds)[0]
    if what == "fewer cells":
        kept = kept.isel(lon=slice(0, 2))
    if what == "cells elsewhere":
        kept = kept.assign_coords(lat=lat + 1)
    if what == "no state":
        kept = kept.drop_vars("state")
    if what == "no attributes":
        kept = kept.drop_attrs()
    if what == "one fold":
        kept = kept.isel(state_fold=[0])
    if what == "held out":
        kept = halves(ds)[0].h2cm.predict(fit, keep_state=True, member="held-out")
    if what == "numbers lost":
        kept = kept.isel(carried=slice(0, 9))
    if what == "a number":
        kept = 3
    return after, fit, kept, member


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("another fit", r"is of the fit \w{16}, this is \w{16}"),
        ("a gap of days", "end of 2001-02-16, and the dataset begins on 2001-02-20: it needs that of 2001-02-19"),
        ("the same days", "end of 2001-02-16, and the dataset begins on 2001-01-01: it needs that of 2000-12-31"),
        ("fewer cells", "lacks 2 of the 4 labels of the dataset along 'lon', the first"),
        ("cells elsewhere", r"lacks 2 of the 2 labels of the dataset along .lat., the first 65; .*offset \+1"),
        ("no state", "is not in what was given, which holds ET"),
        ("a number", "is not in what was given, which is a int"),
        ("no attributes", "has lost its attributes day, fit, member"),
        ("one fold", r"holds the folds \[0\], and member='mean' needs 1 too"),
        ("held out", "was kept with member='held-out'"),
        ("numbers lost", "has 9 numbers a cell, this fit carries 41"),
    ],
)
def test_a_state_of_something_else_is_refused(ds, fit, kept, what, says):
    after, fit, state, member = changed(what, ds, fit, kept)
    with pytest.raises(InputError, match=says):
        after.h2cm.predict(fit, state=state, member=member)


def test_a_state_is_aligned_by_its_coordinates(ds, fit, kept):
    after = halves(ds)[1]
    expected = after.h2cm.predict(fit, state=kept)
    turned = kept.isel(lat=slice(None, None, -1), lon=[3, 1, 0, 2])
    xr.testing.assert_equal(after.h2cm.predict(fit, state=turned), expected)
    moved = turned.assign_coords(lon=turned["lon"] - 360, lat=turned["lat"].astype("float32"))
    xr.testing.assert_equal(after.h2cm.predict(fit, state=moved), expected)
    part = after.isel(lat=[1], lon=[2, 0])
    xr.testing.assert_allclose(part.h2cm.predict(fit, state=kept), expected.isel(lat=[1], lon=[2, 0]), rtol=1e-5)


def test_all_that_is_wrong_with_a_state_at_once(ds, fit, kept):
    with pytest.raises(InputError) as refused:
        ds.h2cm.predict(fit, state=kept.isel(lon=[0], state_fold=[1]))
    assert len(refused.value.findings) == 3


def test_a_state_needs_no_spin_up(ds, fit, kept):
    with pytest.raises(InputError, match="spinup: is given beside a state"):
        halves(ds)[1].h2cm.predict(fit, state=kept, spinup=30)


@pytest.mark.parametrize("calendar", ["noleap", "360_day"])
def test_the_day_before_in_any_calendar(twin, calendar):
    days = 365 if calendar == "noleap" else 360
    time = xr.date_range("2000-01-01", periods=days + 30, freq="D", calendar=calendar, use_cftime=True)
    ds = twin.drop_dims("month", errors="ignore")
    ds = ds.isel(time=slice(0, days + 30)).assign_coords(time=time)
    fit = twin.isel(time=slice(0, 90), month=slice(0, 3)).h2cm.fit(2, **FIT)
    first = ds.isel(time=slice(0, days)).h2cm.predict(fit, keep_state=True)
    assert first["state"].attrs["day"] == ("2000-12-31" if calendar == "noleap" else "2000-12-30")
    assert ds.isel(time=slice(days, None)).h2cm.predict(fit, state=first)["ET"].notnull().all()


def test_on_the_command_line(ds, fit, tmp_path):
    from typer.testing import CliRunner

    def run(*arguments):
        done = CliRunner().invoke(app, ["predict", *map(str, arguments), "--no-progress", "--loop", "plain"])
        assert done.exit_code == 0, done.output
        return done

    saved, (before, after) = fit.save(tmp_path / "fit"), halves(ds.drop_dims("month", errors="ignore"))
    stores = [part.h2cm.to_zarr(tmp_path / f"{name}.zarr") for name, part in {"a": before, "b": after}.items()]
    first, second = tmp_path / "first.zarr", tmp_path / "second.zarr"
    assert "state" in run(stores[0], "--fit", saved, "--out", first, "--keep-state").output
    run(stores[1], "--fit", saved, "--out", second, "--state", first)
    expected = after.h2cm.predict(fit, state=before.h2cm.predict(fit, keep_state=True, loop="plain"), loop="plain")
    np.testing.assert_allclose(xr.open_zarr(second)["ET"], expected["ET"], rtol=1e-5, atol=1e-6)
    refused = CliRunner().invoke(
        app,
        ["predict", str(stores[1]), "--fit", str(saved), "--state", str(first), "--out", str(first), "--overwrite"],
    )
    assert refused.exit_code == 2
    assert "holds what is read" in " ".join(refused.output.replace("│", " ").split())


def test_water_only_and_networks_without_memory(ds):
    land = ds[["precipitation", "air_temperature", "net_radiation", "vpd", "ET"]]
    fit = land.h2cm.fit(2, **FIT, processes=xh2cm.Processes.water(), pin="global")
    assert carried(fit.model) == 5
    before, after = halves(land)
    first = before.h2cm.predict(fit, keep_state=True, loop="plain")
    whole = land.h2cm.predict(fit, spinup=CUT, loop="plain")
    second = after.h2cm.predict(fit, state=first, loop="plain")
    np.testing.assert_array_equal(second["TWS"], whole["TWS"].isel(time=slice(CUT, None)))
