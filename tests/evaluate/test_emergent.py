"""Emergent quantities: ratios of sums, physically what they must be, lazily, and what cannot be computed said."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr

from xh2cm.datasets.twin import truth
from xh2cm.datasets.twin import twin as make_twin
from xh2cm.errors import InputError
from xh2cm.evaluate.emergent import QUANTITIES, emergent_quantities, rain_pulses
from xh2cm.physics.evaporation import LATENT_HEAT
from xh2cm.variables import FORCING

FROM_FORCING = {name for name, q in QUANTITIES.items() if set(q.needs) & FORCING.keys()}


@pytest.fixture(scope="module")
def forcing():
    return make_twin(cells=(4, 2), years=2)


@pytest.fixture(scope="module")
def known(forcing):
    """True fluxes, in balance with the climate."""
    return truth(forcing, passes=2)


def never(*_, **__):
    raise AssertionError("something was computed")


def test_the_true_land_is_physical(known, forcing):
    found = known.h2cm.emergent(forcing)
    assert set(found.data_vars) == set(QUANTITIES)
    water = found["runoff_ratio"] + found["evaporation_ratio"]
    warm = (forcing["air_temperature"] > 273.15).all("time")
    assert warm.any()
    assert not warm.all()
    np.testing.assert_allclose(water.where(warm, 1), 1, atol=0.002)  # what is left is the change of storage
    assert (water > known.attrs["snowfall_correction"]).all()  # undercatch of snowfall is no water of the model
    assert (water < 1.002).all()
    for name in ("runoff_ratio", "transpiration_share", "evaporative_fraction", "CUE"):
        assert ((found[name] > 0) & (found[name] < 1)).all(), name
    np.testing.assert_allclose(found["CUE"], known["NPP"].sum("time") / known["GPP"].sum("time"), rtol=1e-5)
    assert (found["CUE"] > 0.4).all()
    assert (found["CUE"] < 0.5).all()  # what the twin's plants have
    of_leaf = (known["wue"] * forcing["co2"] * known.attrs["co2_sensitivity"]).where(known["transpiration"] > 0)
    assert (found["WUE_transpiration"] > of_leaf.min("time")).all()
    assert (found["WUE_transpiration"] < of_leaf.max("time")).all()
    np.testing.assert_allclose(found["WUE"], found["WUE_transpiration"] * found["transpiration_share"], rtol=1e-5)
    np.testing.assert_allclose(found["PUE"], found["WUE"] * found["evaporation_ratio"], rtol=1e-5)


@pytest.mark.parametrize("over", ["record", "year", "month"])
def test_a_ratio_is_one_of_sums(known, forcing, over):
    found = emergent_quantities(known, forcing, over=over)
    assert {a.dims for a in found.values()} == {("lat", "lon") if over == "record" else (over, "lat", "lon")}
    labels = {"record": np.ones(730), "year": known["time.year"].values, "month": known["time.month"].values}[over]
    energy = 0.0864 * forcing["net_radiation"].values.astype(float)
    expected = {
        "evaporative_fraction": (LATENT_HEAT * known["ET"].values, energy, 0.05),
        "LUE": (known["GPP"].values, known["fAPAR"].values * energy.clip(0), 0.05),
        "PUE": (known["GPP"].values, forcing["precipitation"].values, 0.01),
        "transpiration_share": (known["transpiration"].values, known["ET"].values, 0.01),
    }
    for name, (above, below, least) in expected.items():
        values = []
        for label in np.unique(labels):
            days = labels == label
            sums = below[days].sum(0, dtype=float)
            enough = sums / days.sum() >= least
            values.append(np.where(enough, above[days].sum(0, dtype=float) / np.where(enough, sums, 1), np.nan))
        np.testing.assert_allclose(found[name].values.reshape(len(values), 4, 2), values, rtol=1e-5, err_msg=name)


def test_next_to_nothing_below_gives_nan_and_says_so(known):
    dead = known.assign(ET=known["ET"].where(known["lat"] < 60, 1e-4), GPP=known["GPP"].where(known["lat"] > -30, 0))
    found = emergent_quantities(dead)
    assert found["WUE"].sel(lat=65).isnull().all()
    assert found["WUE"].sel(lat=slice(60, None)).notnull().all()
    assert found["CUE"].sel(lat=-35).isnull().all()
    assert found["WUE"].sel(lat=-35).values.tolist() == [0, 0]
    assert "NaN where the daily mean of ET is below 0.01" in found["WUE"].attrs["comment"]
    holed = known.assign(GPP=known["GPP"].where(known["time"] > known["time"][364]))
    both = known.isel(time=slice(365, None))
    np.testing.assert_allclose(emergent_quantities(holed)["WUE"], emergent_quantities(both)["WUE"], rtol=1e-6)


def test_attributes(known, forcing):
    for name, array in emergent_quantities(known, forcing).items():
        assert array.dtype == np.float32
        assert array.attrs["long_name"]
        assert array.attrs["units"] in {"1", "g kg-1", "g MJ-1"}, name
        assert "doi:" in array.attrs["references"]
        assert set(array.attrs) == {"long_name", "units", "comment", "references"}  # nothing of what it is made of
    assert "not given photosynthetically active radiation" in QUANTITIES["LUE"].long_name


def test_lazy_in_lazy_out_and_along_folds(known, forcing):
    every = xr.concat([known, 2 * known], "fold", data_vars="all").assign_coords(fold=[0, 1])
    lazy = every.chunk(lat=2, time=400)
    with dask.config.set(scheduler=never):
        found = {over: emergent_quantities(lazy, forcing.chunk(lat=2), over=over) for over in ("record", "year")}
        pulses = rain_pulses(lazy, forcing.chunk(time=400), after=2)
    assert found["year"]["WUE"].dims == ("fold", "year", "lat", "lon")
    for over, quantities in found.items():
        xr.testing.assert_allclose(quantities.compute(), emergent_quantities(every, forcing, over=over))
    np.testing.assert_allclose(found["record"]["PUE"].sel(fold=1), 2 * found["record"]["PUE"].sel(fold=0), rtol=1e-6)
    xr.testing.assert_allclose(pulses.compute(), rain_pulses(every, forcing, after=2))


def test_what_cannot_be_computed_is_said(known, forcing):
    found = known[["GPP", "ET"]].h2cm.emergent()
    assert set(found.data_vars) == {"WUE"}
    assert "PUE: needs precipitation" in found.attrs["not_computed"]
    assert "LUE: needs fAPAR, net_radiation" in found.attrs["not_computed"]
    assert "WUE:" not in found.attrs["not_computed"]
    assert "not_computed" not in known.h2cm.emergent(forcing).attrs
    assert set(known.h2cm.emergent().data_vars) == set(QUANTITIES) - FROM_FORCING
    found = known[["GPP"]].h2cm.emergent(forcing, quantities=["PUE"])
    assert list(found.data_vars) == ["PUE"]


def test_forcing_in_its_own_names_and_units(known, forcing):
    theirs = forcing.rename(precipitation="P")
    theirs["P"] = (forcing["precipitation"] / 86400).assign_attrs(units="kg m-2 s-1")
    theirs = theirs.assign(Q=theirs["P"])  # a name that says nothing
    found = known.h2cm.emergent(theirs.drop_vars("P"), names={"precipitation": "Q"})
    xr.testing.assert_allclose(found, known.h2cm.emergent(forcing))
    pulses = known.h2cm.rain_pulses(theirs.drop_vars("P"), flux="Rh", names={"precipitation": "Q"})
    assert (pulses["rain_events"] > 0).all()


def test_other_calendars(known, forcing):
    time = xr.date_range("2001-01-01", periods=730, freq="D", calendar="noleap", use_cftime=True)
    found = known.assign_coords(time=time).h2cm.emergent(forcing.assign_coords(time=time), over="year")
    assert found["year"].values.tolist() == [2001, 2002]


def test_all_that_is_wrong_is_found_at_once(known, forcing):
    with pytest.raises(InputError) as error:
        known[["GPP"]].h2cm.emergent(quantities=["WUEE", "runof_ratio", "CUE", "PUE"], over="decade")
    text = str(error.value)
    assert "5 problems" in text
    assert "did you mean 'WUE'" in text
    assert "did you mean 'runoff_ratio'" in text
    assert "predict it: variables=[..., 'NPP']" in text
    assert "give the forcing: out.h2cm.emergent(ds)" in text
    assert "'decade' is unknown" in text
    with pytest.raises(InputError, match="forcing: lacks"):
        known.h2cm.emergent(forcing.isel(time=slice(0, 400)))
    with pytest.raises(InputError, match="needs GPP, ET"):
        known[["SWE"]].h2cm.emergent()


# -- rain pulses -----------------------------------------------------------------------------------------------------


def test_a_pulse_is_found_as_it_was_made():
    rain, ter = np.zeros(200), np.full(200, 2.0)
    for day in (2, 30, 60, 64, 100, 195):  # too early, good, good, not dry before, too little, too late
        rain[day] = 4.0 if day == 100 else 8.0
        ter[day : day + 2] += (1.0, 0.5)
    days = xr.date_range("2001-01-01", periods=200)
    ds = xr.Dataset({"TER": ("time", ter), "precipitation": ("time", rain)}, coords={"time": days})
    found = rain_pulses(ds, ds, before=3, after=10)
    assert int(found["rain_events"]) == 2
    assert found["lag"].values.tolist() == list(range(-3, 11))
    expected = np.ones(14)
    expected[3:5] = 1.5, 1.25
    expected[7:9] = 1.25, 1.125  # the rain of day 64, four days after that of day 60
    np.testing.assert_allclose(found["TER_pulse"], expected, rtol=1e-6)
    assert int(rain_pulses(ds, ds, rain=3.0)["rain_events"]) == 3
    assert int(rain_pulses(ds, ds, after=4)["rain_events"]) == 3


def test_a_day_with_as_much_rain_as_the_threshold_is_not_dry():
    rain = np.zeros(60)
    rain[[20, 40]], rain[36] = 8.0, 1.0
    ds = xr.Dataset({"TER": ("time", np.full(60, 2.0)), "precipitation": ("time", rain)})
    assert int(rain_pulses(ds, ds, dry=1.0, dry_days=5, before=3, after=3)["rain_events"]) == 1
    assert int(rain_pulses(ds, ds, dry=1.0 + 1e-9, dry_days=5, before=3, after=3)["rain_events"]) == 2
    assert int(rain_pulses(ds, ds, rain=8.0, before=3, after=3)["rain_events"]) >= 1  # and one of just enough is rain


def test_pulses_on_the_twin_are_what_a_loop_over_events_finds(known, forcing):
    found = rain_pulses(known, forcing, flux="Rh", dry_days=4, before=2, after=5)
    for lat in range(4):
        rain, flux = forcing["precipitation"].values[:, lat, 0], known["Rh"].values[:, lat, 0]
        days = [d for d in range(4, 725) if rain[d] >= 5 and (rain[d - 4 : d] < 1).all()]
        windows = np.array([flux[d - 2 : d + 6] for d in days])
        here = found.isel(lat=lat, lon=0)
        assert int(here["rain_events"]) == len(days) > 5
        np.testing.assert_allclose(here["Rh_pulse"], windows.sum(0) / windows[:, :2].mean(1).sum(), rtol=1e-5)
    assert abs(found["Rh_pulse"].sel(lag=slice(None, -1)).mean("lag") - 1).max() < 1e-6
    assert found["Rh_pulse"].attrs["units"] == "1"
    assert "heterotrophic respiration around rain" in found["Rh_pulse"].attrs["long_name"]
    assert "5 kg m-2 d-1 or more after 4 days below 1" in found["rain_events"].attrs["comment"]


def test_no_rain_no_pulse(known, forcing):
    dry = forcing.assign(precipitation=forcing["precipitation"].where(forcing["lat"] > 0, 0.0))
    found = rain_pulses(known, dry)
    assert found["TER_pulse"].sel(lat=-35).isnull().all()
    assert found["rain_events"].sel(lat=-35).values.tolist() == [0, 0]
    assert found["TER_pulse"].sel(lat=65).notnull().all()


def test_thresholds_that_cannot_be(known, forcing):
    with pytest.raises(InputError) as error:
        known[["TER"]].h2cm.rain_pulses(forcing, flux="terr", rain=0.5, dry_days=0, before=0, after=-1)
    assert "did you mean 'TER'" in str(error.value)
    assert {f.variable for f in error.value.findings} == {"flux terr", "rain", "dry_days", "before", "after"}
    with pytest.raises(InputError, match="is not in the forcing"):
        rain_pulses(known, forcing[["vpd"]])
    with pytest.raises(InputError, match="forcing: lacks"):
        rain_pulses(known, forcing.isel(lat=slice(0, 2)))
