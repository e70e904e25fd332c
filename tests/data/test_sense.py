"""Values, signs, steps and stamps that are wrong are put right, refused or warned of, never taken in silence."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xh2cm
from xh2cm.data.check import check
from xh2cm.data.derive import day_angle, day_length
from xh2cm.data.report import Report
from xh2cm.errors import Finding, H2CMWarning, InputError
from xh2cm.variables import FORCING as FORCINGS
from xh2cm.variables import OUTPUTS, STATIC, TARGETS
from xh2cm.variables import SOURCES as OTHERS

WATER_AND_CARBON = ("ET", "GPP", "NEE", "runoff", "TWS", "SWE", "fAPAR")
FORCING = ("net_radiation", "precipitation", "air_temperature", "vpd", "co2")
CODE = re.compile(
    r"(?:^|[:,;] |, then )((?:ds|totals)(?:\[[^=]*?\](?:\.attrs\[.*?\])?)? = .*?|units=\{.*?\})"
    r"(?=$|; |, then |, and it is|, of which|; or | \((?:or|and) )"
)


@pytest.fixture(scope="module")
def land() -> xr.Dataset:
    """Three years of the twin in a few cells, with its monthly targets."""
    return xh2cm.tutorial.open_dataset("twin").isel(lat=slice(0, 6, 2), lon=slice(0, 8, 2)).load()


def outcome(ds: xr.Dataset, **arguments: Any) -> tuple[Report | None, list[Finding], list[str]]:
    """Check a dataset; return the report, or all findings, and the warnings."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            report = check(ds, **arguments)
        except InputError as error:
            return None, list(error.findings), []
    return report, [], [str(w.message) for w in heard if issubclass(w.category, H2CMWarning)]


def with_code(finding: Finding) -> list[str]:
    """Return the statements in a remedy."""
    return [found.strip() for found in CODE.findall(finding.remedy)]


def remedied(ds: xr.Dataset, findings: list[Finding], **arguments: Any) -> Report:
    """Run the code of all remedies on the data that provoked them, and check again."""
    space: dict[str, Any] = {"ds": ds.copy(deep=True), "np": np, "pd": pd, "xr": xr}
    units: dict[str, str] = dict(arguments.pop("units", {}))
    for finding in findings:
        statements = with_code(finding)
        assert statements, finding
        for statement in statements:
            if statement.startswith("units="):
                units |= ast.literal_eval(statement.removeprefix("units="))
            else:
                exec(statement, space)  # noqa: S102
    return check(space["ds"], units=units, **arguments)


def same(report: Report, truth: xr.Dataset, name: str, rtol: float = 1e-4) -> bool:
    """Tell if a variable came out as it is in the canonical dataset of the truth."""
    found, wanted = (x[name].transpose(*truth[name].dims).values for x in (report.dataset, truth))
    return found.shape == wanted.shape and bool(np.allclose(found, wanted, rtol=rtol, atol=1e-4, equal_nan=True))


# -- ranges and marks --------------------------------------------------------------------------------------------------


def test_every_variable_of_the_table_has_two_bounds() -> None:
    every = {**FORCINGS, **OTHERS, **STATIC, **OUTPUTS, **TARGETS}
    assert [name for name, var in every.items() if not np.isfinite([var.lower, var.upper]).all()] == []
    assert [name for name, var in every.items() if not var.lower < var.upper] == []


@settings(max_examples=12, deadline=None, suppress_health_check=[*HealthCheck], derandomize=True)
@given(
    name=st.sampled_from([*WATER_AND_CARBON, "CUE", *FORCING]),
    mark=st.sampled_from([-9999.0, -6999.0, -999.0, 9.96921e36, 1e20, -32768.0, 65535.0]),
    share=st.sampled_from([0.0005, 0.02, 0.4]),
    seed=st.integers(0, 99),
)
def test_marks_of_missing_values_are_known_in_every_role(
    land: xr.Dataset, name: str, mark: float, share: float, seed: int
) -> None:
    """They are recognised before units are guessed, and the remedy leaves what was there, and gaps."""
    array = land[name].isel(time=slice(0, 400)) if "time" in land[name].dims else land[name]
    whole = land.isel(time=slice(0, 400))
    keep = xr.DataArray(np.random.default_rng(seed).random(array.shape) > share, dims=array.dims)
    keep[(0,) * array.ndim] = False
    holed = whole.assign({name: array.where(keep, mark)})
    report, findings, _ = outcome(holed)
    assert report is None
    (finding,) = findings
    assert finding.variable == name
    assert "which marks missing values" in finding.problem
    space = {"ds": holed.copy(deep=True)}
    exec(with_code(finding)[0], space)  # noqa: S102
    xr.testing.assert_equal(space["ds"][name], array.where(keep))


def test_a_mark_in_other_units_is_known(land: xr.Dataset) -> None:
    celsius = (land["air_temperature"] - 273.15).assign_attrs(units="degC")
    celsius[5, 0, 0] = -99.0
    (finding,) = outcome(land.assign(air_temperature=celsius))[1]
    assert "1 values are -99, which marks missing values" in finding.problem


def test_two_marks_are_one_finding(land: xr.Dataset) -> None:
    gpp = land["GPP"].copy()
    gpp[3, 0, 0], gpp[4, 1, 1] = -9999.0, 1e20
    report, findings, _ = outcome(land.assign(GPP=gpp))
    assert "2 values are -9999 and 1e+20" in findings[0].problem
    assert report is None
    assert remedied(land.assign(GPP=gpp), findings).usable == land["sand"].size


def test_an_extreme_that_repeats_is_warned_of(land: xr.Dataset) -> None:
    gpp = land["GPP"].copy()
    gpp[3:9, 0, 0] = 45.0
    with pytest.warns(H2CMWarning, match=r"GPP: the highest value 45 occurs 6 times, apart from all others"):
        check(land.assign(GPP=gpp))


def test_marks_in_static_features_are_refused(land: xr.Dataset) -> None:
    sand = land["sand"].copy()
    sand[0, 0] = -9999.0
    (finding,) = outcome(land.assign(sand=sand))[1]
    assert finding.variable == "sand"
    assert "-9999, which marks missing values" in finding.problem


def test_marks_are_told_together_with_missing_units(land: xr.Dataset) -> None:
    gpp = land["GPP"].drop_attrs()
    gpp[3, 0, 0] = -9999.0
    findings = outcome(land.assign(GPP=gpp))[1]
    assert any("has no units" in finding.problem for finding in findings)
    assert any("-9999, which marks missing values" in finding.problem for finding in findings)


@pytest.mark.parametrize("name", ["ET", "n_cells", "GPP"])
def test_packed_numbers_are_to_be_decoded(land: xr.Dataset, name: str) -> None:
    attrs = {"scale_factor": 0.01, "_FillValue": np.int16(-9999), "units": "mm day-1"}
    array = land[name] if name in land else land["sand"]
    packed = (array.fillna(-99.99) * 100).round().astype("int16").drop_attrs().assign_attrs(attrs)
    packed.attrs["units"] = array.attrs["units"]
    report, findings, _ = outcome(land.assign({name: packed}))
    assert report is None
    assert [finding.variable for finding in findings] == [name]
    assert "is not decoded" in findings[0].problem
    assert "ds = xr.decode_cf(ds)" in findings[0].remedy


FACTORS = {
    "ET": (28.0, 1000.0, 1e4, 0.01),
    "GPP": (1000.0, 28.0, 10.0, 1e-3),
    "runoff": (1e4, 100.0),
    "NEE": (1000.0, 28.0),
    "fAPAR": (100.0, 0.01),
    "precipitation": (1000.0, 0.01),
    "net_radiation": (1 / 24, 24.0, 11.6),
    "vpd": (10.0, 0.1, 100.0),
    "co2": (1e-6, 0.1),
}


@pytest.mark.parametrize(("name", "factor"), [(name, factor) for name, f in FACTORS.items() for factor in f])
def test_wrong_units_are_refused_or_warned_of(land: xr.Dataset, name: str, factor: float) -> None:
    report, findings, heard = outcome(land.assign({name: land[name] * factor}))
    told = [finding.variable for finding in findings] or heard
    assert report is None or heard
    assert any(name in text for text in told)


def test_observations_are_looked_at_where_they_are_scored(land: xr.Dataset) -> None:
    few = land.isel(time=slice(0, 90), month=slice(0, 3))
    predicted = few[[]].assign(ET=few["net_radiation"] * 0 + 1.0, GPP=few["net_radiation"] * 0 + 1.0)
    marked = few.assign(ET=few["ET"].where(few["lat"] > 0, -9999.0))
    with pytest.raises(InputError, match=r"ET: .* values are -9999, which marks missing values"):
        predicted.h2cm.score(marked)
    with pytest.raises(InputError, match=r"GPP: .* negative \(mean .*\), and gross primary production is positive"):
        predicted.h2cm.score(few.assign(GPP=-few["GPP"]))
    with pytest.raises(InputError, match=r"GPP: .* values are not between -20 and 60"):
        predicted.h2cm.score(few.assign(GPP=1000 * few["GPP"]))


# -- means against each other ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ET", "GPP", "runoff", "net_radiation"])
def test_a_turned_sign_is_refused_and_put_right(land: xr.Dataset, name: str) -> None:
    turned = land.assign({name: -land[name]})
    findings = outcome(turned)[1]
    assert [finding.variable for finding in findings] == [name]
    if name != "runoff":
        assert same(remedied(turned, findings), check(land).dataset, name)


def test_exchange_is_compared_with_respiration_and_production(land: xr.Dataset) -> None:
    month = land["GPP"].dims
    respired = (land["GPP"] * 0.8 + 0.1).assign_attrs(land["GPP"].attrs | {"standard_name": ""})
    exchange = (respired - land["GPP"]).assign_attrs(land["NEE"].attrs)
    whole = land.assign(TER=respired.transpose(*month), NEE=exchange)
    report, _, heard = outcome(whole)
    assert report is not None
    assert not heard
    (finding,) = outcome(whole.assign(NEE=-exchange))[1]
    assert finding.variable == "NEE"
    assert "of the opposite sign" in finding.problem
    assert same(remedied(whole.assign(NEE=-exchange), [finding]), report.dataset, "NEE")
    assert any("belong together" in text for text in outcome(whole.assign(NEE=exchange * 5))[2])


def test_evapotranspiration_above_precipitation_is_warned_of(land: xr.Dataset) -> None:
    with pytest.warns(
        H2CMWarning, match=r"ET: its mean is [\d.]+ mm a day, and that of precipitation [\d.]+: more than"
    ):
        check(land.assign(precipitation=land["precipitation"] * 0.3))


# -- sign --------------------------------------------------------------------------------------------------------------


UP = "surface_net_upward_mass_flux_of_carbon_dioxide_expressed_as_carbon_due_to_all_land_processes"
TURNED: dict[str, tuple[str, str, dict[str, str]]] = {
    "NEE of a downward standard name": ("NEE", "NEE", {"standard_name": UP.replace("upward", "downward")}),
    "NEE positive down": ("NEE", "nee", {"positive": "down"}),
    "NEE in words": ("NEE", "nee", {"long_name": "net ecosystem exchange (positive downward)"}),
    "NEP": ("NEE", "NEP", {}),
    "nbp": ("NEE", "nbp", {"standard_name": UP.replace("upward", "downward")}),
    "rn upward": ("net_radiation", "rn", {"standard_name": "surface_net_upward_radiative_flux"}),
    "latent heat downward": ("ET", "latent_heat", {"standard_name": "surface_downward_latent_heat_flux"}),
    "slhf": ("ET", "slhf", {"standard_name": "surface_upward_latent_heat_flux"}),
    "GRIB": ("ET", "heat", {"standard_name": "surface_upward_latent_heat_flux", "GRIB_shortName": "slhf"}),
}


@pytest.mark.parametrize("case", TURNED)
def test_directions_are_read(land: xr.Dataset, case: str) -> None:
    key, name, attrs = TURNED[case]
    heat = key == "ET"
    array = -land[key] * (2.45e6 / 86400 if heat else 1.0)
    array.attrs = {"units": "W m-2" if heat else land[key].attrs["units"], **attrs}
    report = check(land.drop_vars(key).assign({name: array}))
    assert same(report, check(land).dataset, key)
    assert any(note.startswith(f"{key}: the sign of {name} was turned") for note in report.notes)


def test_a_stated_direction_that_agrees_changes_nothing(land: xr.Dataset) -> None:
    nee = land["NEE"].assign_attrs(standard_name=UP, positive="up")
    report = check(land.assign(NEE=nee))
    assert same(report, check(land).dataset, "NEE")
    assert not any("turned" in note for note in report.notes)


# -- step and stamp ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "units"), [(3600.0, "J m-2 hour-1"), (86400.0, "J m-2 day-1")])
def test_amounts_of_energy_are_told_by_their_numbers(land: xr.Dataset, seconds: float, units: str) -> None:
    amounts = land.assign(net_radiation=(land["net_radiation"] * seconds).assign_attrs(units="J m-2"))
    _, findings, _ = outcome(amounts)
    (finding,) = findings
    assert f'units={{"net_radiation": "{units}"}}' in finding.remedy
    assert same(remedied(amounts, findings), check(land).dataset, "net_radiation")


def test_amounts_of_months_are_divided_by_their_days(land: xr.Dataset) -> None:
    sums = land.assign(ET=(land["ET"] * land["month"].dt.days_in_month).assign_attrs(units="mm"))
    _, findings, _ = outcome(sums)
    assert "day-1" not in findings[0].remedy.split(", then")[0]
    assert same(remedied(sums, findings), check(land).dataset, "ET")
    sums["ET"].attrs["units"] = "mm/month"
    assert same(remedied(sums, outcome(sums)[1]), check(land).dataset, "ET")


def test_amounts_of_eight_days_are_divided_by_eight(land: xr.Dataset) -> None:
    eight = pd.date_range("2001-01-01", periods=40, freq="8D")
    ds = land.rename(month="week").isel(week=slice(0, 36)).assign_coords(week=eight[:36])
    ds["ET"] = (ds["ET"] * 8).assign_attrs(units="mm")
    finding = next(f for f in outcome(ds, targets=["ET"])[1] if "amount" in f.problem)
    assert 'ds["ET"] = ds["ET"] / 8, then units={"ET": "mm day-1"}' in finding.remedy


def test_sums_are_divided_by_their_steps(land: xr.Dataset) -> None:
    days = land["month"].dt.days_in_month
    sums = land.assign(ET=(land["ET"] * days).assign_attrs(units="mm", cell_methods="time: sum"))
    sums["precipitation"] = sums["precipitation"].assign_attrs(units="mm", cell_methods="time: sum")
    report = check(sums)
    assert same(report, check(land).dataset, "ET")
    assert same(report, check(land).dataset, "precipitation")
    assert sum("holds sums over its steps" in note for note in report.notes) == 2


def test_units_a_time_step_are_those_of_a_day(land: xr.Dataset) -> None:
    steps = land.assign(precipitation=land["precipitation"].assign_attrs(units="mm timestep-1"))
    _, findings, _ = outcome(steps)
    assert 'units={"precipitation": "mm day-1"}' in findings[0].remedy
    assert same(remedied(steps, findings), check(land).dataset, "precipitation")


def hourly(land: xr.Dataset, since_midnight: bool, stamped: int) -> xr.Dataset:
    """30 days in hours: rain and radiation as amounts, of each hour or since midnight, stamped at its begin or end."""
    few = land.isel(time=slice(0, 30)).drop_vars([n for n in land if "month" in land[n].dims])
    hours = pd.date_range("2001-01-01", periods=30 * 24, freq="h")
    day = few.sel(time=hours.floor("D")).assign_coords(time=hours)
    sun = np.clip(np.sin((np.arange(720) % 24 - 6) / 12 * np.pi), 0, None)
    share = xr.DataArray(sun / sun[:24].sum(), dims="time", coords={"time": hours})
    amounts = {
        "precipitation": (day["precipitation"] * share).assign_attrs(units="mm"),
        "net_radiation": (day["net_radiation"] * share * 86400).assign_attrs(units="J m-2"),
    }
    if since_midnight:
        days = {n: a.groupby(a["time"].dt.floor("D")) for n, a in amounts.items()}
        amounts = {n: grouped.cumsum("time").assign_coords(time=hours) for n, grouped in days.items()}
        amounts = {n: a.assign_attrs(units=u) for (n, a), u in zip(amounts.items(), ("mm", "J m-2"), strict=True)}
    ds = day.assign(amounts)
    moved = ds[list(amounts)].assign_coords(time=hours + pd.Timedelta(hours=stamped))
    rest = ds.drop_vars(list(amounts))
    rest = rest.assign_coords(time=hours + pd.Timedelta(hours=stamped))
    return rest.merge(moved)


@pytest.mark.parametrize("stamped", [0, 1])
def test_hourly_amounts_are_put_right_in_one_round(land: xr.Dataset, stamped: int) -> None:
    ds = hourly(land, since_midnight=False, stamped=stamped)
    _, findings, _ = outcome(ds)
    report = remedied(ds, findings)
    truth = check(land.isel(time=slice(0, 30))).dataset
    assert report.dataset.sizes["time"] == 30
    for name in ("precipitation", "net_radiation", "air_temperature"):
        assert same(report, truth, name, rtol=1e-3), name


@pytest.mark.parametrize("calendar", ["standard", "noleap"])
def test_bounds_say_which_month_a_stamp_means(land: xr.Dataset, calendar: str) -> None:
    begin = xr.date_range("2001-01-01", periods=37, freq="MS", calendar=calendar, use_cftime=calendar != "standard")
    ds = land.convert_calendar(calendar, use_cftime=calendar != "standard") if calendar != "standard" else land
    ds = ds.assign_coords(month=("month", begin[1:], {"bounds": "month_bnds"}))
    ds["month_bnds"] = ("month", "bnds"), np.stack([np.asarray(begin[:-1]), np.asarray(begin[1:])], 1)
    report = check(ds)
    assert (report.dataset["month"].dt.month == land["month"].dt.month.values).all()
    assert any("stamps lie at the end of their bounds" in note for note in report.notes)


def test_bounds_say_which_day_a_stamp_means(land: xr.Dataset) -> None:
    days = pd.DatetimeIndex(land["time"].values)
    ds = land.assign_coords(time=("time", days + pd.Timedelta("1D"), {"bounds": "time_bnds"}))
    ds["time_bnds"] = ("time", "bnds"), np.stack([days.values, (days + pd.Timedelta("1D")).values], 1)
    report = check(ds)
    np.testing.assert_array_equal(report.dataset["time"].values, land["time"].values)


def test_surveys_are_compared_on_their_day(land: xr.Dataset) -> None:
    days = pd.DatetimeIndex(land["time"].values)[14::30]
    daily = xr.DataArray(np.linspace(0, 200, land.sizes["time"]), {"time": land["time"]}, ("time",))
    seen = (daily.sel(time=days) + 0 * land["sand"]).rename(time="survey").drop_attrs()
    ds = land.drop_vars("SWE").assign(swe=seen.assign_attrs(units="mm", cell_methods="time: point"))
    report = check(ds)
    found = report.dataset["SWE"]
    assert found.dims[0] == "time"
    assert int(found.notnull().sum()) == seen.size
    kept = found.dropna("time", how="all").isel(lat=0, lon=0)
    np.testing.assert_allclose(kept.values, daily.sel(time=days).values, rtol=1e-5)


def test_solutions_at_the_turn_of_a_month_are_counted_to_the_other(land: xr.Dataset) -> None:
    middle = pd.date_range("2001-01-01", periods=36, freq="MS") + pd.Timedelta("14D")
    stamps = middle.to_series().to_numpy(copy=True)
    stamps[9], stamps[10] = np.datetime64("2001-11-01"), np.datetime64("2001-11-16")
    ds = land.assign_coords(month=stamps)
    _, findings, _ = outcome(ds, targets=["TWS"])
    assert same(remedied(ds, findings[:1], targets=["TWS"]), check(land, targets=["TWS"]).dataset, "TWS")


# -- daylight means ----------------------------------------------------------------------------------------------------


@pytest.fixture
def shortwave(land: xr.Dataset) -> xr.Dataset:
    """The twin with incoming and net long-wave radiation in the place of net radiation."""
    sun = (land["net_radiation"].clip(min=0.0) + 40.0).drop_attrs().assign_attrs(units="W m-2")
    long = (0 * sun - 40.0).assign_attrs(units="W m-2")
    return land.drop_vars("net_radiation").assign(srad=sun, lw_net=long)


def test_daylight_means_are_spread_over_the_day(shortwave: xr.Dataset) -> None:
    truth = check(shortwave).dataset
    length = day_length(shortwave["lat"], day_angle(shortwave["time"])).clip(min=0.01)
    daylight = (shortwave["srad"] / length).transpose(*shortwave["srad"].dims)
    said = daylight.assign_attrs(units="W m-2", long_name="daylight average incident shortwave radiation")
    report = check(shortwave.assign(srad=said))
    assert same(report, truth, "net_radiation", rtol=2e-3)
    known = shortwave.assign(srad=daylight.assign_attrs(units="W m-2"))
    known["dayl"] = (86400 * length).transpose("time", "lat").assign_attrs(units="s")
    assert same(check(known), truth, "net_radiation", rtol=2e-3)


def test_daylight_means_without_a_word_are_refused(shared: Callable[[str], Any]) -> None:
    ds = xr.open_dataset(shared("data/camels_us_daily.nc")).isel(basin=slice(0, 40), time=slice(0, 1461)).load()
    truth = check(ds, names={"co2": 370.0}).dataset
    length = day_length(ds["lat"], day_angle(ds["time"]))
    srad = (ds["sw_in"] / length).transpose(*ds["sw_in"].dims).drop_attrs().assign_attrs(units="W m-2")
    ds = ds.drop_vars("sw_in").assign(srad=srad.astype("float32"))
    _, findings, _ = outcome(ds, names={"co2": 370.0})
    (finding,) = findings
    assert "mean over the daylight hours, as in Daymet?" in finding.problem
    report = remedied(ds, findings, names={"co2": 370.0})
    assert float(report.dataset["net_radiation"].mean()) == pytest.approx(
        float(truth["net_radiation"].mean()), rel=0.05
    )


# -- other remedies ----------------------------------------------------------------------------------------------------


def test_numbers_that_are_dates_become_these_dates(land: xr.Dataset) -> None:
    dates = pd.date_range("2004-01-01", periods=land.sizes["time"]).strftime("%Y%m%d").astype(int)
    ds = land.drop_vars([n for n in land if "month" in land[n].dims]).drop_vars("month").assign_coords(time=dates)
    _, findings, _ = outcome(ds)
    report = remedied(ds, findings)
    assert report.period.split(", ")[1].startswith("2004-01-01")


def test_monthly_carbon_dioxide_keeps_its_course(land: xr.Dataset) -> None:
    monthly = land["co2"].resample(time="MS").mean().rename(time="month")
    ds = land.drop_vars("co2").assign(co2=monthly.assign_attrs(units="ppm"))
    _, findings, _ = outcome(ds)
    found = remedied(ds, findings).dataset["co2"]
    assert found.dims == ("time",)
    assert float(abs(found - check(land).dataset["co2"]).max()) < 2


def test_gaps_in_rain_are_not_interpolated(land: xr.Dataset) -> None:
    rain = land["precipitation"].isel(lat=0, lon=0, drop=True)
    rain[5:8] = np.nan
    findings = outcome(land.assign(precipitation=rain))[1]
    assert not any("interpolate_na" in finding.remedy for finding in findings)


def test_flags_and_counts_among_static_features_are_said(land: xr.Dataset) -> None:
    some = xr.zeros_like(land["sand"].drop_attrs())
    some[0, 0] = 3.0
    ds = land.assign(n_hru=some.astype("int16"), runoff_coverage=some / 3, benchmark=some.astype("int8"), kind=some)
    (note,) = [note for note in check(ds).notes if "whole numbers, flags or coverages" in note]
    assert all(name in note for name in ("n_hru", "runoff_coverage", "benchmark", "kind"))
    assert "elevation" not in note
