"""Fits and predictions where each place has days of its own."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xh2cm
from xh2cm.errors import FitError, InputError

HOW = {"epochs": 2, "width": 6, "batch_size": 4, "window": 90, "spinup": 60, "progress": False}


@pytest.fixture(scope="module")
def ragged(twin) -> xr.Dataset:
    """Places that begin late, end early, have short and long gaps, and one that is complete."""
    ds = twin.isel(time=slice(0, 500), month=slice(0, 17)).copy()
    day = xr.DataArray(np.arange(500), dims="time")
    there = {
        (0, 0): day >= 100,
        (0, 1): day < 400,
        (0, 2): (day < 150) | (day > 160),
        (0, 3): (day < 150) | (day > 290),
        (1, 0): day % 37 != 5,
    }
    keep = xr.ones_like(ds["vpd"], dtype=bool)
    for (row, column), days in there.items():
        keep[{"lat": row, "lon": column}] = days.values
    return ds.assign(vpd=ds["vpd"].where(keep), net_radiation=ds["net_radiation"].where(keep.shift(time=0)))


@pytest.fixture(scope="module")
def fit(ragged):
    return ragged.h2cm.fit(2, scheme="cells", loop="plain", **HOW)


def complete(ds, fit):
    return np.isfinite(ds[list(fit.model.forcing)].to_array()).all("variable")


def test_every_day_that_has_forcing_is_predicted_and_no_other(ragged, fit):
    out = ragged.h2cm.predict(fit, variables="all")
    for name in ("ET", "TWS", "NEE", "water_residual"):
        xr.testing.assert_equal(
            out[name].notnull().drop_vars(out[name].coords),
            complete(ragged, fit).drop_vars(complete(ragged, fit).coords).transpose(*out[name].dims),
        )
    assert float(abs(out["water_residual"]).max()) < 1e-3


@pytest.mark.usefixtures("compiler")
def test_chunks_and_the_compiled_loop_change_nothing(ragged, fit):
    plain, lazy, fast = (
        ds.h2cm.predict(fit, loop=loop).load()
        for ds, loop in ((ragged, "plain"), (ragged.chunk(lat=1, lon=2), "plain"), (ragged, "fast"))
    )
    xr.testing.assert_allclose(lazy, plain, rtol=1e-5, atol=1e-5)
    xr.testing.assert_allclose(fast, plain, rtol=1e-3, atol=1e-3)


def test_a_place_is_predicted_as_it_is_alone(ragged, fit):
    whole = ragged.h2cm.predict(fit, loop="plain")
    late = ragged.isel(lat=0, lon=[0], time=slice(100, None)).h2cm.predict(fit, loop="plain")
    xr.testing.assert_allclose(
        whole.isel(lat=0, lon=[0], time=slice(100, None))["ET"], late["ET"], rtol=1e-5, atol=1e-5
    )


def test_a_long_gap_is_followed_by_a_spin_up(ragged, fit):
    """The stretch behind it is what it is by itself."""
    whole = ragged.h2cm.predict(fit, loop="plain").isel(lat=0, lon=[3], time=slice(291, None))
    alone = ragged.isel(lat=0, lon=[3], time=slice(291, None)).h2cm.predict(fit, loop="plain")
    xr.testing.assert_allclose(whole["TWS"], alone["TWS"], rtol=1e-5, atol=1e-4)


def test_storages_are_held_over_a_short_gap(ragged, fit):
    swe = ragged.h2cm.predict(fit, variables=["SM"], loop="plain")["SM"].isel(lat=0, lon=2)
    before, after = float(swe[149]), float(swe[161])
    assert abs(after - before) < 30  # it has not begun anew


def test_a_record_with_gaps_goes_on_from_its_state(ragged, fit):
    whole = ragged.h2cm.predict(fit, loop="plain")
    first = ragged.isel(time=slice(0, 450)).h2cm.predict(fit, keep_state=True, loop="plain")
    second = ragged.isel(time=slice(450, None)).h2cm.predict(fit, state=first, loop="plain")
    for name in ("ET", "TWS"):
        np.testing.assert_allclose(second[name], whole[name].isel(time=slice(450, None)), rtol=1e-4, atol=1e-4)


def test_streamed_as_in_memory(ragged):
    how = {**HOW, "epochs": 1, "batch_size": 1000, "loop": "plain"}
    chunked = ragged.chunk(lat=1, lon=2)
    streamed, whole = (chunked.h2cm.fit(2, scheme="cells", memory=m, **how) for m in ("90 kB", "1 GB"))
    for a, b in zip(streamed.scaling, whole.scaling, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert np.isfinite(streamed.losses["loss"].sel(target="total")).all()


def test_a_run_with_gaps_goes_on_bit_for_bit(ragged, tmp_path):
    how = {**HOW, "loop": "plain"}
    undisturbed = ragged.h2cm.fit(2, scheme="cells", **how)
    ragged.h2cm.fit(2, scheme="cells", run=tmp_path / "run", **{**how, "epochs": 1})
    resumed = ragged.h2cm.fit(2, scheme="cells", run=tmp_path / "run", **how)
    assert resumed.fingerprint == undisturbed.fingerprint


def test_other_data_where_forcing_is_missing_change_no_weight(ragged, fit):
    hidden = ~complete(ragged, fit)
    other = ragged.assign(air_temperature=ragged["air_temperature"].where(~hidden, 300.0))
    assert other.h2cm.fit(2, scheme="cells", loop="plain", **HOW).fingerprint == fit.fingerprint


def test_a_split_trains_one_model_that_never_sees_the_test(ragged):
    split = {"validation": slice("2002-01-01", "2002-02-28"), "test": slice("2002-03-01", None)}
    how = {**HOW, "loop": "plain", "split": split}
    fit = ragged.h2cm.fit(**how)
    assert fit.folds == (0,)
    hidden = ragged["month"] >= np.datetime64("2002-03-01")
    changed = ragged.assign(GPP=(1.1 * ragged["GPP"]).where(hidden, ragged["GPP"]).assign_attrs(ragged["GPP"].attrs))
    assert changed.h2cm.fit(**how).fingerprint == fit.fingerprint
    assert np.isfinite(fit.losses["loss"].sel(target="total", split="validation")).all()
    with pytest.raises(FitError, match="no fold held out"):
        ragged.h2cm.predict(fit, member="held-out")
    assert np.isfinite(ragged.h2cm.predict(fit)["ET"]).any()


def test_one_model_of_everything(ragged):
    fit = ragged.h2cm.fit(1, patience=None, loop="plain", **HOW)
    assert fit.folds == (0,)
    with pytest.raises(InputError, match="cannot stop early"):
        ragged.h2cm.fit(1, loop="plain", **HOW)


def test_folds_in_space_and_time(ragged):
    labels = ragged.h2cm.folds(2, scheme="cells", test=slice("2002-01-01", None))
    assert set(labels.dims) == {"time", "lat", "lon"}
    assert (labels.sel(time=slice("2002-01-01", None)) == -1).all()
    assert set(np.unique(labels.sel(time=slice(None, "2001-12-31")))) == {0, 1}
    with pytest.raises(InputError, match="holds no day"):
        ragged.h2cm.folds(2, scheme="cells", test=slice("2010", None))


def test_towers_each_with_their_own_years(shared):
    ds = xr.open_dataset(shared("data/differland_towers.nc")).load()
    prepared = ds.h2cm.check()
    assert prepared.usable == 16
    how = {**HOW, "window": 365, "spinup": 365, "batch_size": 32, "epochs": 1}
    fit = prepared.fit(2, scheme="cells", targets={"GPP": "daily", "ET": "daily"}, **how)
    out = prepared.predict(fit)
    has = np.isfinite(prepared.dataset[list(fit.model.forcing)].to_array()).all("variable")
    assert (out["GPP"].notnull() == has).all()
    assert isinstance(fit, xh2cm.Fit)
