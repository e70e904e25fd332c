"""Formulas against the worked examples of FAO-56, and what `check` derives against observations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from xh2cm.data import derive
from xh2cm.data.check import check

ZERO = 273.15
MEGAJOULES = 0.0864  # MJ m-2 d-1 in a W m-2


def number(value: float) -> xr.DataArray:
    return xr.DataArray(float(value))


@pytest.mark.parametrize(
    ("celsius", "kilopascal"), [(1.0, 0.657), (15.0, 1.705), (20.0, 2.338), (24.5, 3.075), (30.0, 4.243)]
)
def test_saturation_vapour_pressure(celsius: float, kilopascal: float) -> None:  # annex 2, table 2.3; example 3
    assert derive.saturation_vapour_pressure(number(ZERO + celsius)).item() / 10 == pytest.approx(kilopascal, abs=6e-4)


def test_standard_pressure() -> None:  # example 2
    assert derive.standard_pressure(number(1800)).item() == pytest.approx(818, abs=1)


@pytest.mark.parametrize(
    ("latitude", "day", "megajoules"),
    [(-20.0, 246, 32.2), (50.8, 187, 41.09), (13 + 44 / 60, 105, 38.06), (45 + 43 / 60, 196, 40.55)],
)
def test_extraterrestrial_radiation(latitude: float, day: int, megajoules: float) -> None:  # examples 8, 18, 17, 20
    angle = number(2 * np.pi * day / 365)
    radiation = derive.extraterrestrial_radiation(number(latitude), angle).item()
    assert radiation * MEGAJOULES == pytest.approx(megajoules, rel=2e-3)


def test_day_angle_turns_once_a_year_in_every_calendar() -> None:
    for calendar, days in (("noleap", 365), ("360_day", 360)):
        time = xr.date_range("2001-01-01", periods=days, calendar=calendar, use_cftime=True)
        angle = derive.day_angle(xr.DataArray(time, dims="time"))
        assert angle[-1].item() == pytest.approx(2 * np.pi)


def test_net_longwave_from_temperature() -> None:  # example 11: Rio de Janeiro in May
    clear, shortwave = number(18.8 / MEGAJOULES), number(14.5 / MEGAJOULES)
    net = derive.net_longwave_from_temperature(number(ZERO + 19.1), number(ZERO + 25.1), number(21), shortwave, clear)
    assert net.item() * MEGAJOULES == pytest.approx(-3.5, abs=0.05)


def test_clearness_is_at_most_one() -> None:
    clear = number(200)
    nets = [
        derive.net_longwave_from_temperature(number(280), number(290), number(8), number(shortwave), clear).item()
        for shortwave in (200, 260, 60, 20)
    ]
    assert nets[0] == nets[1] < nets[2] == nets[3] < 0


def test_day_of_uccle() -> None:  # example 18: net radiation of 6 July at 50 deg 48' N, 100 m
    above = derive.extraterrestrial_radiation(number(50.8), number(2 * np.pi * 187 / 365))
    clear = derive.clear_sky_shortwave(above, 100.0)
    assert clear.item() * MEGAJOULES == pytest.approx(30.90, abs=0.05)
    shortwave = number(22.07 / MEGAJOULES)
    cold, warm = number(ZERO + 12.3), number(ZERO + 21.5)
    longwave = derive.net_longwave_from_temperature(cold, warm, number(14.09), shortwave, clear)
    assert longwave.item() * MEGAJOULES == pytest.approx(-3.71, abs=0.02)
    assert (0.77 * shortwave + longwave).item() * MEGAJOULES == pytest.approx(13.28, abs=0.02)


def test_shortwave_from_temperature_range() -> None:  # example 15: Lyon in July
    above = number(40.6 / MEGAJOULES)
    clear = derive.clear_sky_shortwave(above, 200.0)
    shortwave = derive.shortwave_from_temperature_range(number(ZERO + 14.8), number(ZERO + 26.6), above, clear)
    assert shortwave.item() * MEGAJOULES == pytest.approx(22.3, abs=0.05)


def test_specific_humidity_at_saturation() -> None:
    pressure, saturated = 1000.0, derive.saturation_vapour_pressure(number(ZERO + 20)).item()
    humidity = 0.622 * saturated / (pressure - 0.378 * saturated)
    found = derive.vapour_pressure_from_specific_humidity(number(humidity), number(pressure)).item()
    assert found == pytest.approx(saturated)


def test_net_longwave_of_a_surface_as_warm_as_its_sky_is_nothing() -> None:
    assert derive.net_longwave(number(derive.STEFAN_BOLTZMANN * 290**4), number(290)).item() == pytest.approx(0)


@given(st.floats(-90, 90), st.integers(1, 365))
def test_the_sun_never_gives_less_than_nothing(latitude: float, day: int) -> None:
    radiation = derive.extraterrestrial_radiation(number(latitude), number(2 * np.pi * day / 365)).item()
    assert 0 <= radiation < 600


@pytest.mark.parametrize(("latitude", "day"), [(75.0, 1), (-75.0, 182), (90.0, 355)])
def test_polar_night(latitude: float, day: int) -> None:
    dark = derive.extraterrestrial_radiation(number(latitude), number(2 * np.pi * day / 365))
    assert dark.item() == 0
    cold = number(240)
    longwave = derive.net_longwave_from_temperature(cold, cold, number(0.3), dark, derive.clear_sky_shortwave(dark))
    assert -60 < longwave.item() < -5


@given(st.floats(230, 300), st.floats(0, 25), st.floats(-90, 90), st.integers(1, 365))
def test_temperature_alone_gives_a_plausible_day(coldest: float, warming: float, latitude: float, day: int) -> None:
    cold, warm = number(coldest), number(coldest + warming)
    above = derive.extraterrestrial_radiation(number(latitude), number(2 * np.pi * day / 365))
    clear = derive.clear_sky_shortwave(above)
    shortwave = derive.shortwave_from_temperature_range(cold, warm, above, clear)
    vapour = derive.saturation_vapour_pressure(cold)
    longwave = derive.net_longwave_from_temperature(cold, warm, vapour, shortwave, clear)
    assert 0 <= shortwave.item() <= clear.item()
    assert -200 < longwave.item() < 0


def weather(**variables: tuple[float, str]) -> xr.Dataset:
    """A year of constant weather at one place."""
    time = pd.date_range("2001-01-01", periods=365)
    here = {name: ("time", np.full(365, value), {"units": units}) for name, (value, units) in variables.items()}
    always = {"rn": (100.0, "W m-2"), "pr": (2.0, "mm day-1"), "co2": (371.0, "ppm")}
    rest = {name: ("time", np.full(365, value), {"units": units}) for name, (value, units) in always.items()}
    return xr.Dataset(rest | here, {"time": time, "lat": 50.8, "elevation": ((), 1800.0, {"units": "m"})})


ES = 6.108 * np.exp(17.27 * np.array([15.0, 19.75, 24.5]) / (np.array([15.0, 19.75, 24.5]) + 237.3))
RANGE = {"tasmin": (15.0, "degC"), "tasmax": (24.5, "degC")}
MEAN = {"tas": (19.75, "degC")}


@pytest.mark.parametrize(
    ("given_variables", "expected", "named"),
    [
        (MEAN | {"ea": (1.2, "kPa")}, ES[1] - 12.0, "vapour pressure as given"),
        (MEAN | RANGE | {"ea": (12.0, "hPa")}, (ES[0] + ES[2]) / 2 - 12.0, "eq. 11, 12"),
        (MEAN | {"d2m": (15.0, "degC")}, ES[1] - ES[0], "dew point (eq. 14)"),
        (RANGE | {"tdps": (15.0, "degC")}, (ES[2] - ES[0]) / 2, "dew point"),
        (MEAN | {"hurs": (60.0, "%")}, 0.4 * ES[1], "relative humidity (eq. 19)"),
        (MEAN | {"huss": (0.01, "kg kg-1"), "ps": (900.0, "hPa")}, ES[1] - 9 / (0.622 + 0.00378), "surface pressure"),
        (MEAN | {"huss": (0.01, "1")}, ES[1] - 8.178 / (0.622 + 0.00378), "standard pressure"),
        (RANGE, (ES[2] - ES[0]) / 2, "daily minimum as dew point (eq. 48)"),
    ],
)
def test_vapour_pressure_deficit(given_variables: dict[str, tuple[float, str]], expected: float, named: str) -> None:
    report = check(weather(**given_variables))
    deficit = report.dataset["vpd"]
    assert deficit.values == pytest.approx(expected, rel=2e-3)
    assert named in deficit.attrs["derivation"]
    assert "FAO-56" in deficit.attrs["derivation"]
    assert deficit.attrs["units"] == "hPa"


def test_mean_temperature() -> None:
    report = check(weather(**RANGE))
    assert report.dataset["air_temperature"].values == pytest.approx(ZERO + 19.75)
    assert "mean of daily minimum and maximum" in report.dataset["air_temperature"].attrs["derivation"]


SHORT, LONG = {"rsds": (200.0, "W m-2")}, {"rlds": (300.0, "W m-2")}
EMITTED = 5.670374e-8 * (ZERO + 19.75) ** 4


@pytest.mark.parametrize(
    ("components", "expected", "named"),
    [
        ({"rss": (150.0, "W m-2"), "rls": (-50.0, "W m-2")}, 100.0, "net long-wave as given"),
        (SHORT | LONG | {"rsus": (40.0, "W m-2"), "rlus": (380.0, "W m-2")}, 80.0, "incoming less outgoing long-wave"),
        (SHORT | LONG, 154.0 + 0.97 * (300 - EMITTED), "albedo 0.23"),
        (SHORT | LONG | {"albedo": (0.1, "1")}, 180.0 + 0.97 * (300 - EMITTED), "albedo as given"),
    ],
)
def test_net_radiation(components: dict[str, tuple[float, str]], expected: float, named: str) -> None:
    dataset = weather(**MEAN, vpd=(5.0, "hPa"), **components).drop_vars("rn")
    net = check(dataset).dataset["net_radiation"]
    assert net.values == pytest.approx(expected, abs=0.01)
    assert named in net.attrs["derivation"]


def test_net_radiation_of_shortwave_alone() -> None:  # example 18 again, through the door
    rest = {"tasmin": (12.3, "degC"), "tasmax": (21.5, "degC"), "ea": (1.409, "kPa"), "rsds": (22.07, "MJ m-2 day-1")}
    dataset = weather(**rest).drop_vars(["rn", "elevation"]).assign_coords(elevation=((), 100.0, {"units": "m"}))
    net = check(dataset.isel(time=slice(100, 250))).dataset["net_radiation"]  # a winter has no such radiation
    assert net[86].item() * MEGAJOULES == pytest.approx(13.28, abs=0.03)
    assert "eq. 39" in net.attrs["derivation"]


def test_net_radiation_of_temperature_alone() -> None:
    net = check(weather(**RANGE).drop_vars("rn")).dataset["net_radiation"]
    assert "Hargreaves" in net.attrs["derivation"]
    assert -60 < net.min() < 20
    assert 110 < net.max() < 200
    assert int(net.argmax("time")) == pytest.approx(172, abs=6)  # the summer solstice


def test_the_clear_sky_over_mountains_is_clearer() -> None:
    """So clear that the daily range meets it: net radiation differs by what the elevation adds to eq. 37."""
    wide = {"tasmin": (-5.0, "degC"), "tasmax": (24.5, "degC"), "ea": (0.8, "kPa")}
    low, high = (
        check(weather(**wide).drop_vars(["rn", "elevation"]).assign(elevation=((), e, {"units": "m"}))).dataset
        for e in (0.0, 3000.0)
    )
    above = derive.extraterrestrial_radiation(number(50.8), derive.day_angle(low["time"]))
    gained = (high["net_radiation"] - low["net_radiation"]).isel(time=slice(60, 300))
    np.testing.assert_allclose(gained, (0.77 * 2e-5 * 3000 * above).isel(time=slice(60, 300)), rtol=1e-3)


def test_clearness_is_against_the_clear_sky_of_the_elevation() -> None:
    known = RANGE | {"ea": (0.8, "kPa"), "rsds": (150.0, "W m-2")}
    nets = [
        check(weather(**known).drop_vars(["rn", "elevation"]).assign(elevation=((), e, {"units": "m"}))).dataset
        for e in (0.0, 3000.0)
    ]
    above = derive.extraterrestrial_radiation(number(50.8), derive.day_angle(nets[0]["time"]))
    cold, warm, vapour = number(ZERO + 15.0), number(ZERO + 24.5), number(8.0)
    for net, elevation in zip(nets, (0.0, 3000.0), strict=True):
        clear = derive.clear_sky_shortwave(above, elevation)
        longwave = derive.net_longwave_from_temperature(cold, warm, vapour, number(150.0), clear)
        np.testing.assert_allclose(net["net_radiation"], 0.77 * 150.0 + longwave, rtol=1e-4)
    assert float(abs(nets[0]["net_radiation"] - nets[1]["net_radiation"]).max()) > 1


def test_reflected_radiation_is_taken_from_what_came_in_and_not_from_an_estimate() -> None:
    estimated = check(weather(**RANGE, rsus=(40.0, "W m-2")).drop_vars("rn")).dataset["net_radiation"]
    without = check(weather(**RANGE).drop_vars("rn")).dataset["net_radiation"]
    assert "albedo 0.23" in estimated.attrs["derivation"]
    np.testing.assert_array_equal(estimated, without)


def test_where_the_sun_does_not_rise_half_the_sky_is_taken_as_clear() -> None:
    cold, dark = number(240), number(0.0)
    net = derive.net_longwave_from_temperature(cold, cold, number(0.3), dark, dark).item()
    emitted = derive.STEFAN_BOLTZMANN * 240**4
    assert net == pytest.approx(-emitted * (0.34 - 0.14 * 0.03**0.5) * (1.35 * 0.5 - 0.35))


def correlation_and_bias(derived: xr.DataArray, observed: xr.DataArray) -> tuple[float, float]:
    derived, observed = xr.broadcast(derived, observed)
    return float(xr.corr(derived, observed)), float((derived - observed).mean())


@pytest.mark.parametrize(
    ("without", "least"),
    [(["rn"], (0.95, 0.97)), (["rn", "lw_in"], (0.96, 0.975)), (["rn", "lw_in", "sw_in"], (0.89, 0.93))],
)
def test_derived_net_radiation_follows_the_reanalysis(
    shared: Callable[[str], Path], without: list[str], least: tuple[float, float]
) -> None:
    cities = xr.open_dataset(shared("data/era5_canadian_cities_1990_1993.nc")).sel(site=["Montréal", "Saskatoon"])
    derived = check(cities.drop_vars(without)).dataset["net_radiation"]
    for site, expected in zip(cities["site"].values, least, strict=True):
        agreement, bias = correlation_and_bias(derived.sel(site=site), cities["rn"].sel(site=site))
        assert agreement > expected
        assert abs(bias) < 15


def test_derivations_agree_with_those_of_the_delaware_file(shared: Callable[[str], Path]) -> None:
    basin = xr.open_dataset(shared("data/drb_grid_daily.nc"))
    derived = check(basin.drop_vars(["rn", "vpd"])).dataset
    assert float(abs(derived["vpd"] - 10 * basin["vpd"]).max()) < 0.1  # averaged over the cell after, not before
    assert float(abs(derived["net_radiation"] - basin["rn"]).mean()) < 0.1
    bare = check(basin.drop_vars(["rn", "vpd", "sw_in", "rh"])).dataset
    agreement, bias = correlation_and_bias(bare["net_radiation"], basin["rn"])
    assert agreement > 0.97
    assert abs(bias) < 5
    agreement, bias = correlation_and_bias(bare["vpd"], 10 * basin["vpd"])
    assert agreement > 0.88
    assert abs(bias) < 1
