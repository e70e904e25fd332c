"""Targets that do not fit as they are: aligned where that is safe and said, else left out, of which `fit` warns."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xh2cm
from xh2cm.errors import H2CMWarning, InputError

FIT = {"folds": 2, "scheme": "cells", "epochs": 1, "width": 4, "progress": False, "loop": "plain"}


@pytest.fixture(scope="module")
def short(twin):
    return twin.isel(time=slice(0, 90), month=slice(0, 3))[
        ["net_radiation", "precipitation", "air_temperature", "vpd", "co2", "ET", "GPP"]
    ]


def with_gpp(ds: xr.Dataset, gpp: xr.DataArray) -> xr.Dataset:
    """The dataset with another GPP, on axes of its own."""
    own = {dim: f"{dim}_gpp" for dim in gpp.dims}
    return ds.drop_vars("GPP").merge(gpp.rename(own).rename("GPP"))


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.assign_coords(lon=(a["lon"] + 180) % 360 - 180).sortby("lon"),
        lambda a: a.assign_coords(lat=a["lat"] + 1e-5),
        lambda a: a.assign_coords(lat=a["lat"].astype("float32"))[:, ::-1],
        lambda a: a.transpose("lon", "lat", "month"),
    ],
    ids=["longitudes", "rounding", "single precision", "transposed"],
)
def test_a_target_on_the_same_places_is_aligned(short, change):
    expected = short.h2cm.check().dataset["GPP"]
    report = with_gpp(short, change(short["GPP"])).h2cm.check()
    found = report.dataset["GPP"]
    np.testing.assert_array_equal(found.transpose(..., "lat", "lon"), expected.transpose(..., "lat", "lon"))
    assert any("GPP is aligned by its coordinates, lat_gpp to lat, lon_gpp to lon" in note for note in report.notes)
    assert not report.left_out


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda a: a.assign_coords(lat=a["lat"] + 50),
            r"along 'lat', the first .*; the nearest of its own is .*offset",
        ),
        (lambda a: a.isel(lon=[0, 1]), "lacks 2 of the 4 labels of the forcing along 'lon'"),
        (lambda a: a.isel(month=[0, 0, 1]), "twice"),
        (lambda a: a.assign_coords(month=a["month"] + np.timedelta64(3650, "D")), "outside the forcing's"),
    ],
    ids=["half a cell", "fewer cells", "a doubled month", "another decade"],
)
def test_a_target_that_does_not_fit_is_warned_of_by_fit(short, change, says):
    ds = with_gpp(short, change(short["GPP"]))
    report = ds.h2cm.check()
    assert "GPP" not in report.dataset
    assert len(report.left_out) == 1
    with pytest.warns(H2CMWarning, match=f"GPP is left out: .*{says}") as warned:
        fit = ds.h2cm.fit(**FIT)
    assert len(warned) == 1
    assert "GPP" not in fit.losses["target"].values
    with pytest.raises(InputError, match=says):
        ds.h2cm.fit(targets=["GPP"], **FIT)


def test_every_eighth_day_is_warned_of(short):
    gpp = short["vpd"].isel(time=slice(None, None, 8)).drop_attrs().assign_attrs(units="g m-2 day-1")
    ds = short.drop_vars("GPP").merge(gpp.rename(time="time_gpp").rename("GPP"))
    with pytest.warns(H2CMWarning, match=r"GPP is left out: .*neither daily nor monthly"):
        ds.h2cm.fit(**FIT)


def test_a_target_that_xarray_joined_away_is_warned_of(short):
    """Noon for midnight: what is assigned is NaN everywhere."""
    daily = short["vpd"].drop_attrs().assign_attrs(units="g m-2 day-1")
    noon = daily.assign_coords(time=daily["time"] + np.timedelta64(12, "h"))
    ds = short.drop_vars("GPP").assign(GPP=noon)
    assert ds["GPP"].isnull().all()
    with pytest.warns(H2CMWarning, match="GPP is left out: .* holds no value .* noon for midnight"):
        ds.h2cm.fit(**FIT)


def test_joined_axes_of_two_conventions_are_refused(short):
    other = short[["GPP"]].assign_coords(lon=(short["lon"] + 180) % 360 - 180)
    joined = xr.merge([short.drop_vars("GPP"), other], join="outer")
    with pytest.raises(InputError, match=r"lon: holds \d places twice, such as .*: unlike axes were joined"):
        joined.h2cm.check()


def test_what_no_target_constrains_is_said_in_the_prediction(short):
    fit = short.h2cm.fit(targets=["ET"], **FIT)
    out = short.h2cm.predict(fit)
    assert {n for n in out if "not constrained" in out[n].attrs.get("comment", "")} == {"GPP", "TER", "NEE"}
    both = short.h2cm.fit(targets=["ET", "GPP"], **FIT)
    out = short.h2cm.predict(both)
    assert {n for n in out if "comment" in out[n].attrs} == {"TER", "NEE"}


def test_forcing_far_from_that_of_the_training_is_warned_of(short):
    fit = short.h2cm.fit(**FIT)
    assert set(fit.provenance["forcing_range"]) == set(fit.model.forcing)
    low, _ = fit.provenance["forcing_range"]["air_temperature"]
    assert low == pytest.approx(float(short["air_temperature"].min()), abs=1e-3)
    short.h2cm.predict(fit)  # nothing to say
    warmer = (short["air_temperature"] + 20).assign_attrs(short["air_temperature"].attrs)
    with pytest.warns(H2CMWarning, match=r"far outside what the fit was trained on.*air_temperature is .* in training"):
        short.assign(air_temperature=warmer).h2cm.predict(fit)
    with pytest.warns(H2CMWarning, match=r"co2 is 6\d\d"):
        short.h2cm.response(fit, {"co2": 300.0})


def test_what_a_fit_notes(short, tmp_path):
    labels = short.h2cm.folds(2, scheme="cells").astype(int)
    labels[0, 0] = -1
    fit = short.h2cm.fit(labels, **{k: v for k, v in FIT.items() if k not in ("folds", "scheme")})
    notes = fit.provenance["notes"]
    assert "1 of 8 cells are set aside as test" in notes
    assert "an epoch is 1 optimiser step in each fold: 4 samples of 90 days in batches of 128" in notes
    daily = short["vpd"].drop_attrs().assign_attrs(units="g m-2 day-1")
    fit = short.drop_vars("GPP").assign(GPP=daily).h2cm.fit(targets=["GPP"], **FIT)
    assert "GPP was observed daily and is compared as means of the calendar months" in fit.provenance["notes"]
    assert xh2cm.load_fit(fit.save(tmp_path / "fit")).provenance["notes"] == fit.provenance["notes"]
