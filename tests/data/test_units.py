"""Units at the door: each one that users have works or fails clearly, and nobody else's registry is touched."""

from __future__ import annotations

import subprocess
import sys

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from xh2cm.data.units import SPELLINGS, conversion, to_canonical
from xh2cm.errors import InputError
from xh2cm.variables import FORCING, SOURCES, STATIC, TARGETS

KNOWN = {**FORCING, **SOURCES, **STATIC, **TARGETS}

WORKS = [
    ("air_temperature", "K", 280.0, 280.0),
    ("air_temperature", "degC", 10.0, 283.15),
    ("air_temperature", "deg C", 10.0, 283.15),
    ("air_temperature", "°C", 10.0, 283.15),
    ("air_temperature", "Celsius", 10.0, 283.15),
    ("air_temperature", "degF", 50.0, 283.15),
    ("air_temperature", "degree_fahrenheit", 50.0, 283.15),
    ("precipitation", "mm day-1", 3.0, 3.0),
    ("precipitation", "mm/day", 3.0, 3.0),
    ("precipitation", "mm d**-1", 3.0, 3.0),
    ("precipitation", "mm per day", 3.0, 3.0),
    ("precipitation", "kg m-2 s-1", 1e-4, 8.64),
    ("precipitation", "kg.m-2.s-1", 1e-4, 8.64),
    ("precipitation", "kg m-2 d-1", 3.0, 3.0),
    ("precipitation", "inch/day", 1.0, 25.4),
    ("precipitation", "inches/day", 1.0, 25.4),
    ("precipitation", "in day-1", 1.0, 25.4),
    ("precipitation", "m day-1", 0.01, 10.0),
    ("precipitation", "m s-1", 1e-7, 8.64),
    ("precipitation", "0.1 mm day-1", 30.0, 3.0),
    ("net_radiation", "W m-2", 100.0, 100.0),
    ("net_radiation", "W/m^2", 100.0, 100.0),
    ("net_radiation", "J m-2 day-1", 8.64e6, 100.0),
    ("net_radiation", "MJ m-2 day-1", 8.64, 100.0),
    ("vpd", "hPa", 7.0, 7.0),
    ("vpd", "kPa", 0.7, 7.0),
    ("vpd", "Pa", 700.0, 7.0),
    ("vpd", "mbar", 7.0, 7.0),
    ("vpd", "mb", 7.0, 7.0),
    ("co2", "ppm", 400.0, 400.0),
    ("co2", "ppmv", 400.0, 400.0),
    ("co2", "1e-6", 400.0, 400.0),
    ("co2", "10^-6", 400.0, 400.0),
    ("co2", "umol mol-1", 400.0, 400.0),
    ("co2", "umolCO2 mol-1", 400.0, 400.0),
    ("co2", "mol mol-1", 4e-4, 400.0),
    ("co2", "1", 4e-4, 400.0),
    ("relative_humidity", "%", 60.0, 0.6),
    ("fAPAR", "1", 0.6, 0.6),
    ("fAPAR", "%", 60.0, 0.6),
    ("fAPAR", "fraction", 0.6, 0.6),
    ("specific_humidity", "kg kg-1", 0.01, 0.01),
    ("specific_humidity", "g kg-1", 10.0, 0.01),
    ("ET", "W m-2", 100.0, 8.64 / 2.45),
    ("ET", "MJ m-2 day-1", 2.45, 1.0),
    ("ET", "mm day-1", 3.0, 3.0),
    ("GPP", "gC m-2 d-1", 5.0, 5.0),
    ("GPP", "g C m-2 d-1", 5.0, 5.0),
    ("GPP", "g m-2 day-1", 5.0, 5.0),
    ("GPP", "gC/m2/day", 5.0, 5.0),
    ("GPP", "kg m-2 s-1", 1e-7, 8.64),
    ("GPP", "kg C m-2 s-1", 1e-7, 8.64),
    ("GPP", "umolCO2 m-2 s-1", 1.0, 12.011e-6 * 86400),
    ("GPP", "umol m-2 s-1", 1.0, 12.011e-6 * 86400),
    ("GPP", "µmol CO2 m-2 s-1", 1.0, 12.011e-6 * 86400),
    ("GPP", "gCO2 m-2 d-1", 44.009, 12.011),
    ("TWS", "m", 0.5, 500.0),
    ("TWS", "cm", 50.0, 500.0),
    ("TWS", "mm", 500.0, 500.0),
    ("TWS", "kg m-2", 500.0, 500.0),
    ("SWE", "m of water equivalent", 0.5, 500.0),
    ("SWE", "mm w.e.", 500.0, 500.0),
    ("area", "m2", 5.0, 5.0),
    ("area", "km2", 5.0, 5e6),
    ("area", "acres", 1.0, 4046.87261),
    ("elevation", "ft", 100.0, 30.48),
]


@pytest.mark.parametrize(("key", "units", "number", "canonical"), WORKS)
def test_unit_works(key: str, units: str, number: float, canonical: float) -> None:
    array = xr.DataArray([number, np.nan], dims="time", name="mine", attrs={"units": units})
    converted = to_canonical(array, KNOWN[key])
    assert converted.values[0] == pytest.approx(canonical, rel=1e-7)
    assert np.isnan(converted.values[1])
    assert converted.attrs["units"] == KNOWN[key].units  # as the table writes it, not as pint would
    assert converted.attrs.get("original_units", KNOWN[key].units) == units


FAILS = [
    ("air_temperature", None, "no units", '"K"'),
    ("air_temperature", " ", "no units", '"K"'),
    ("air_temperature", "celcius", "not known", "degC"),
    ("air_temperature", "mm", "no unit of", '"K"'),
    ("air_temperature", "C m-2", "no unit of", '"K"'),
    ("precipitation", "mm", "does not say of how long", '"mm day-1"'),
    ("precipitation", "m", "does not say of how long", '"m day-1"'),
    ("precipitation", "in", "does not say of how long", '"in day-1"'),
    ("precipitation", "kg m-2", "does not say of how long", '"kg m-2 day-1"'),
    ("precipitation", "W m-2", "no unit of", '"mm day-1"'),
    ("precipitation", "gC m-2 d-1", "no unit of", '"mm day-1"'),
    ("precipitation", "m3 s-1", "no unit of", "give the right variable"),
    ("precipitation", "mmday-1", "not known", '"mm day-1"'),
    ("precipitation", "~", "not known", '"mm day-1"'),
    ("precipitation", "(0 - 1)", "not known", "units="),
    ("precipitation", "mm month-1", "28 to 31 days", "days_in_month"),
    ("GPP", "gC m-2 month-1", "28 to 31 days", "days_in_month"),
    ("ET", "mm mon-1", "28 to 31 days", "days_in_month"),
    ("net_radiation", "J m-2", "does not say of how long", '"J m-2 day-1"'),
    ("net_radiation", "W", "no unit of", '"W m-2"'),
    ("vpd", "%", "no unit of", '"hPa"'),
    ("vpd", "pa", "no unit of", '"Pa"'),
    ("co2", "kg kg-1", "ratio of masses", "44.009"),
    ("co2", "hPa", "no unit of", '"ppm"'),
    ("GPP", "mm/day", "no unit of", '"gC m-2 day-1"'),
    ("GPP", "gC m-2", "does not say of how long", '"gC m-2 day-1"'),
    ("GPP", "W m-2", "no unit of", '"gC m-2 day-1"'),
    ("ET", "umol m-2 s-1", "no unit of", '"mm day-1"'),
    ("TWS", "mm day-1", "no unit of", '"mm"'),
    ("area", "m", "no unit of", '"m2"'),
]


@pytest.mark.parametrize(("key", "units", "problem", "remedy"), FAILS)
def test_unit_fails_clearly(key: str, units: str | None, problem: str, remedy: str) -> None:
    array = xr.DataArray([1.0], dims="time", name="mine", attrs={} if units is None else {"units": units})
    with pytest.raises(InputError) as caught:
        to_canonical(array, KNOWN[key])
    (finding,) = caught.value.findings
    assert finding.variable == "mine"
    assert problem in finding.problem
    assert remedy in finding.remedy
    assert '"mine"' in finding.remedy
    assert not units or not units.strip() or repr(units) in finding.problem


@given(st.text(max_size=12))
def test_no_text_lets_another_error_escape(text: str) -> None:
    try:
        scale, offset = conversion("mine", text, FORCING["precipitation"])
    except InputError:
        return
    assert np.isfinite([scale, offset]).all()


SPELLED = [(key, units) for key, var in KNOWN.items() for units in SPELLINGS[var.quantity] if var.quantity != "angle"]


@given(st.sampled_from(SPELLED), st.floats(-1e3, 1e3))
def test_what_is_suggested_works_and_goes_there_and_back(spelled: tuple[str, str], number: float) -> None:
    key, units = spelled
    scale, offset = conversion("mine", units, KNOWN[key])
    there = to_canonical(xr.DataArray([number], attrs={"units": units}), KNOWN[key]).item()
    rounding = 1e-9 * abs(offset / scale) + 1e-12
    assert (there - offset) / scale == pytest.approx(number, rel=1e-9, abs=rounding)


@given(st.sampled_from(sorted(KNOWN)))
def test_canonical_units_are_the_identity(key: str) -> None:
    assert conversion("mine", KNOWN[key].units, KNOWN[key]) == (1.0, 0.0)


def test_stated_units_come_before_attributes() -> None:
    array = xr.DataArray([1.0], name="tp", attrs={"units": "m"})
    assert to_canonical(array, FORCING["precipitation"], "m day-1").item() == 1000.0


def test_dask_stays_dask_and_single_precision_stays_single() -> None:
    lazy = xr.DataArray(
        da.zeros((4, 6), chunks=(2, 3), dtype="float32"), dims=("time", "cell"), attrs={"units": "degF"}
    )
    converted = to_canonical(lazy, FORCING["air_temperature"])
    assert dask.is_dask_collection(converted.data)
    assert converted.chunks == lazy.chunks
    assert converted.dtype == "float32"
    assert float(converted[0, 0]) == pytest.approx(255.3722, rel=1e-6)


def test_attributes_of_the_old_numbers_are_gone() -> None:
    attrs = {"units": "degC", "valid_range": [-50, 50], "cell_methods": "time: point"}
    array = xr.DataArray(np.array([1], dtype="int16"), dims="time", name="t2m", attrs=attrs)
    array.encoding = {"scale_factor": 0.1, "dtype": "int16"}
    converted = to_canonical(array, FORCING["air_temperature"])
    expected = {"original_name": "t2m", "original_units": "degC"}
    assert converted.attrs == FORCING["air_temperature"].attrs | expected
    assert converted.encoding == {}
    assert array.attrs == attrs


def test_stored_statistics_go_along_into_the_new_units() -> None:
    stored = {"units": "degC", "mean": 7.0, "std": 4.0}
    warm = to_canonical(xr.DataArray([7.0], attrs=stored), FORCING["air_temperature"])
    assert warm.attrs["mean"] == pytest.approx(280.15)
    assert warm.attrs["std"] == 4.0  # a difference of degrees has no zero to move
    rain = to_canonical(xr.DataArray([1.0], attrs=stored | {"units": "cm day-1"}), FORCING["precipitation"])
    assert (rain.attrs["mean"], rain.attrs["std"]) == (70.0, 40.0)


def test_the_users_registry_is_left_alone() -> None:
    code = (
        "import pint; mine = pint.UnitRegistry(); pint.set_application_registry(mine)\n"
        "from xh2cm.data.units import conversion; from xh2cm.variables import FORCING\n"
        "conversion('x', 'ppmv', FORCING['co2'])\n"
        "assert pint.application_registry.get() is mine\n"
        "from cf_xarray.units import units\n"
        "assert 'gcarbon' not in units and 'ppmv' not in units\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
