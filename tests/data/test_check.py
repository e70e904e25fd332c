"""The door: any shape of land comes in, and everything wrong is told at once."""

from __future__ import annotations

import html.parser
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xh2cm.data.check import check
from xh2cm.data.report import Report
from xh2cm.errors import Finding, H2CMWarning, InputError

DAYS = 400
WEATHER = {"rn": (120.0, "W m-2"), "pr": (2.5, "mm day-1"), "tas": (283.0, "K"), "vpd": (6.0, "hPa")}
FORCING = ["net_radiation", "precipitation", "air_temperature", "vpd", "co2"]


def world(land: dict[str, int] | None = None, **coords: Any) -> xr.Dataset:
    """Plausible forcing on some land axes."""
    land = {"site": 3} if land is None else land
    draw = np.random.default_rng(0)
    shape = (DAYS, *land.values())
    data: dict[str, Any] = {}
    for name, (value, units) in WEATHER.items():
        noise = 0.1 * draw.random(shape) * (name != "tas")
        data[name] = ("time", *land), (value * (1 + noise)).astype("float32"), {"units": units}
    data["co2"] = (("time",), np.full(DAYS, 371.0, "float32"), {"units": "ppm"})
    return xr.Dataset(data, {"time": pd.date_range("2001-01-01", periods=DAYS)} | coords)


def findings_of(ds: xr.Dataset, **arguments: Any) -> tuple[Finding, ...]:
    with pytest.raises(InputError) as caught:
        check(ds, **arguments)
    assert all(text for finding in caught.value.findings for text in finding)
    assert all(str(finding.variable) in str(caught.value) for finding in caught.value.findings)
    return caught.value.findings


def finding_of(ds: xr.Dataset, **arguments: Any) -> Finding:
    (finding,) = findings_of(ds, **arguments)
    return finding


# ---------------------------------------------------------------------------------------------------------- shapes


def test_sites() -> None:
    ds = world(site=["a", "b", "c"]).assign(depth=("site", [1.0, 2.0, 3.0]))
    report = check(ds)
    canonical = report.dataset
    assert set(FORCING) <= set(canonical.data_vars)
    assert canonical["mask"].dims == ("site",)
    assert canonical["mask"].dtype == bool
    assert canonical["mask"].all()
    assert canonical["static"].dims == ("feature", "site")
    assert canonical["static"].dtype == "float32"
    assert canonical["feature"].values.tolist() == ["depth"]
    assert canonical["site"].values.tolist() == ["a", "b", "c"]
    assert canonical["area"].values.tolist() == [1.0, 1.0, 1.0]
    assert all(canonical[name].dtype == "float32" for name in FORCING)
    assert report.usable == report.cells == 3
    assert any("weigh the same" in note for note in report.notes)


@pytest.mark.parametrize("lat", [[40.0, 41.0, 42.0], [42.0, 41.0, 40.0]])
@pytest.mark.parametrize("lon", [[358.0, 359.0], [-2.0, -1.0]])
def test_regular_grid_in_any_order(lat: list[float], lon: list[float]) -> None:
    ds = world({"lat": 3, "lon": 2}, lat=lat, lon=lon)
    ds["tas"] = ds["tas"].transpose("lon", "time", "lat")
    canonical = check(ds).dataset
    assert canonical["lat"].values.tolist() == lat
    assert canonical["lon"].values.tolist() == lon
    radius = 6371007.2
    band = radius**2 * np.deg2rad(1.0) * (np.sin(np.deg2rad(41.5)) - np.sin(np.deg2rad(40.5)))
    assert canonical["area"].sel(lat=41.0).values == pytest.approx(band)
    assert canonical["area"].dims == ("lat", "lon")
    assert canonical["lat"].attrs["standard_name"] == "latitude"


def test_curvilinear_grid_with_a_mask() -> None:
    places = np.add.outer(np.linspace(40, 42, 3), np.linspace(0, 1, 2))
    attrs = {"units": "degrees_north"}
    ds = world({"y": 3, "x": 2}, latitude_of_cell=(("y", "x"), places, attrs), xc=(("y", "x"), places - 80))
    ds["lsm"] = ("y", "x"), np.array([[1.0, 0.4], [0.5, np.nan], [0.9, 0.0]])
    report = check(ds)
    assert report.dataset["mask"].values.tolist() == [[True, False], [True, False], [True, False]]
    assert report.outside == 3
    assert report.dataset["latitude_of_cell"].attrs["standard_name"] == "latitude"


def test_one_cell() -> None:
    report = check(world({}).assign(depth=2.0, crs=((), 0, {"grid_mapping_name": "latitude_longitude"})))
    assert report.dataset["mask"].dims == ()
    assert report.dataset["static"].dims == ("feature",)
    assert report.dataset["feature"].values.tolist() == ["depth"]
    assert report.usable == report.cells == 1


def test_a_grid_of_one_row() -> None:
    canonical = check(world({"lat": 1, "lon": 4}, lat=[40.0], lon=[1.0, 2.0, 3.0, 4.0])).dataset
    assert canonical["area"].values.tolist() == [[1.0] * 4]


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_calendars(calendar: str) -> None:
    ds = world().assign_coords(time=xr.date_range("2001-01-01", periods=DAYS, calendar=calendar, use_cftime=True))
    report = check(ds)
    assert report.dataset["time"].dt.calendar == calendar
    assert calendar in report.period


def test_time_axis_of_another_name() -> None:
    ds = world().rename(time="day").assign(GPP=(("month", "site"), np.ones((13, 3)), {"units": "gC m-2 d-1"}))
    report = check(ds.assign_coords(month=pd.date_range("2001-01-01", periods=13, freq="MS")))
    assert report.dataset["vpd"].dims == ("time", "site")
    assert report.dataset["GPP"].dims == ("month", "site")


def test_time_that_is_not_the_index_and_a_target_that_took_its_name() -> None:
    ds = world().rename(time="day").drop_vars("day").assign(date=("day", pd.date_range("2001-01-01", periods=DAYS)))
    ds = ds.assign(GPP=(("time", "site"), np.ones((13, 3)), {"units": "gC m-2 d-1"}))
    report = check(ds.assign_coords(time=pd.date_range("2001-01-01", periods=13, freq="MS")))
    assert report.dataset["vpd"].dims == ("time", "site")
    assert report.dataset["GPP"].dims == ("target_time", "site")


def test_constant_carbon_dioxide_and_other_numbers() -> None:
    canonical = check(world().drop_vars("co2"), names={"co2": 410}).dataset
    assert canonical["co2"].dims == ("time",)
    assert (canonical["co2"] == 410).all()
    canonical = check(world(), names={"co2": 4.1e-4}, units={"co2": "mol mol-1"}).dataset
    assert canonical["co2"].values == pytest.approx(410)


def test_scalar_coordinates_do_not_clash() -> None:
    ds = world()
    ds["tas"] = ds["tas"].assign_coords(height=2.0)
    assert float(check(ds).dataset["height"]) == 2.0


# ------------------------------------------------------------------------------------------------- names and units


def test_found_by_mapping_name_and_standard_name() -> None:
    names = {"rn": "A", "pr": "B", "tas": "T2M", "vpd": "C"}
    ds = world().rename(names)
    ds["A"].attrs["standard_name"] = "surface_net_downward_radiative_flux"
    ds["C"].attrs["standard_name"] = "water_vapor_saturation_deficit_in_air"
    report = check(ds, names={"Precipitation": "B"})
    by = {row.name: (row.found, row.by) for row in report.rows}
    assert by["net_radiation"] == ("A", "standard name")
    assert by["precipitation"] == ("B", "mapping")
    assert by["air_temperature"] == ("T2M", "name")
    assert report.dataset["vpd"].attrs["original_name"] == "C"


def test_extremes_are_never_the_mean() -> None:
    ds = world().rename(tas="tasmin")
    ds["tasmax"] = ds["tasmin"] + 8
    ds["warmest"] = ds["tasmax"].assign_attrs(cell_methods="time: maximum")
    for name in ("tasmin", "tasmax", "warmest"):
        ds[name].attrs |= {"units": "K", "standard_name": "air_temperature"}
    canonical = check(ds).dataset
    assert "mean of daily minimum and maximum" in canonical["air_temperature"].attrs["derivation"]
    ds["coldest"] = ds["tasmin"]  # an extreme by its name in no list, its standard name that of the mean
    ds["mean"] = (ds["tasmin"] + 3).assign_attrs(units="K", standard_name="air_temperature")
    finding = finding_of(ds)
    assert "'coldest' or 'mean'" in finding.problem
    canonical = check(ds, names={"air_temperature": "mean"}).dataset
    assert canonical["air_temperature"].values == pytest.approx(ds["mean"].values)


def test_two_equally_good_candidates() -> None:
    ds = world()
    ds["prcp"] = ds["pr"]
    ds["tp"] = ds["pr"]
    assert check(ds).rows[1].found == "pr"  # the CMIP name is the table's own
    finding = finding_of(ds.drop_vars("pr"))
    assert finding.variable == "precipitation"
    assert "'prcp' or 'tp'" in finding.problem
    assert 'names={"precipitation": "prcp"}' in finding.remedy


def test_a_short_name_of_another_variable_is_passed_over() -> None:
    ds = world()
    ds["q"] = ds["vpd"].assign_attrs(units="kg kg-1", standard_name="specific_humidity")
    assert "runoff" not in check(ds).dataset


def test_a_forcing_that_is_absent_and_one_that_cannot_be_derived() -> None:
    findings = findings_of(world().drop_vars(["pr", "co2", "vpd"]))
    assert [finding.variable for finding in findings] == ["vpd", "precipitation", "co2"]
    assert "dew point" in findings[0].remedy
    assert 'names={"precipitation": ...}' in findings[1].remedy
    assert 'names={"co2": 410.0}' in findings[2].remedy


def test_mappings_that_lead_nowhere() -> None:
    findings = findings_of(world(), names={"precipitaton": "pr", "vpd": "vdp"}, units={"tass": "K"})
    problems = {finding.variable: finding.remedy for finding in findings}
    assert "'precipitation'" in problems["names['precipitaton']"]
    assert "'vpd'" in problems["vpd"]
    assert "'tas'" in problems["units['tass']"]


def test_units_unknown_missing_and_of_another_quantity_are_told_together() -> None:
    ds = world()
    ds["rn"].attrs["units"] = "Wm2"
    del ds["pr"].attrs["units"]
    ds["tas"].attrs["units"] = "hPa"
    findings = {finding.variable: finding for finding in findings_of(ds)}
    assert set(findings) == {"rn", "pr", "tas"}
    assert 'units={"rn": "W m-2"}' in findings["rn"].remedy
    assert 'units={"pr": "mm day-1"}' in findings["pr"].remedy
    assert "'hPa'" in findings["tas"].problem
    stated = {"rn": "W m-2", "pr": "mm day-1", "air_temperature": "K"}  # by the table's name too
    assert check(ds, units=stated).usable == 3


def test_companions_are_no_variables() -> None:
    ds = world().rename(tas="warmth")
    ds["warmth"].attrs |= {"standard_name": "air_temperature", "ancillary_variables": "doubt"}
    ds["warmth_flag"] = ds["doubt"] = ds["warmth"]
    assert {row.name: row.found for row in check(ds).rows}["air_temperature"] == "warmth"


def test_forcing_on_other_axes() -> None:
    ds = world({"lat": 2, "lon": 3})
    ds["rn"] = ds["rn"].expand_dims(level=2)
    ds["pr"] = ds["pr"].isel(time=0, drop=True)
    ds["vpd"] = ds["vpd"].isel(lon=0, drop=True)
    # the one with most axes says what the land is
    problems = {finding.variable: finding for finding in findings_of(ds.isel(level=[0]).squeeze("level"))}
    assert "does not vary in time" in problems["pr"].problem
    assert "(time, lat)" in problems["vpd"].problem
    ds = world({"lat": 2, "lon": 3}).assign_coords(elevation=("gauge", np.ones(4), {"units": "m"}))
    ds = ds.drop_vars("vpd").assign(huss=(ds["rn"] * 0 + 0.005).assign_attrs(units="1"))
    finding = finding_of(ds)
    assert finding.variable == "elevation"
    assert "(gauge)" in finding.problem


def test_carbon_dioxide_of_one_number_a_cell() -> None:
    ds = world().assign(co2=("site", [370.0, 371.0, 372.0], {"units": "ppm"}))
    assert check(ds).dataset["co2"].sizes == {"time": DAYS, "site": 3}


def test_words_are_no_forcing() -> None:
    ds = world()
    ds["P"] = ds["pr"].astype(str)
    assert "no numbers" in finding_of(ds, names={"precipitation": "P"}).problem


# ---------------------------------------------------------------------------------------------------------- ranges


@pytest.mark.parametrize(
    ("name", "values", "likely"),
    [("tas", 11.3, "degC"), ("tas", 80.0, "degF"), ("pr", 2e4, ""), ("co2", 4e-4, "mol mol-1"), ("vpd", 900.0, "Pa")],
)
def test_values_of_another_unit(name: str, values: float, likely: str) -> None:
    ds = world()
    ds[name] = (ds[name] * 0 + values).assign_attrs(ds[name].attrs)
    finding = finding_of(ds)
    assert finding.variable == name
    assert f"{values:.4g}" in finding.problem
    assert likely in finding.problem
    if likely:
        assert f'units={{"{name}": "{likely}"}}' in finding.remedy
        assert check(ds, units={name: likely}).usable == 3


def test_a_source_of_another_unit_is_told_once() -> None:
    ds = world().drop_vars(["tas", "vpd"])
    for name, value in (("tasmin", 5.0), ("tasmax", 15.0)):
        ds[name] = (ds["rn"] * 0 + value).assign_attrs(units="K")
    findings = findings_of(ds)
    assert {finding.variable for finding in findings} == {"tasmin", "tasmax"}


def test_negative_precipitation_is_refused_and_rounding_is_counted() -> None:
    ds = world()
    ds["pr"][5, 1] = -2.0
    finding = finding_of(ds)
    assert "1 values" in finding.problem
    assert "-2" in finding.problem
    assert '.where((ds["pr"] >= 0))' in finding.remedy
    ds["pr"][5, 1] = -1e-5
    report = check(ds)
    assert report.dataset["precipitation"].min() == 0.0
    assert report.dataset["precipitation"].attrs["units"] == "kg m-2 d-1"
    assert any("precipitation: 1 values below 0 set to 0" in note for note in report.notes)


def test_marks_of_missing_values() -> None:
    ds = world()
    ds["tas"][0, 0] = -9999.0
    finding = finding_of(ds)
    assert "-9999, which marks missing values" in finding.problem
    assert finding.remedy.endswith('ds["tas"] = ds["tas"].where((ds["tas"] > -4858))')


def test_what_lies_outside_the_mask_does_not_count() -> None:
    ds = world().assign(mask=("site", [True, False, True]))
    ds["tas"][:, 1] = 0.0
    assert check(ds).usable == 2


def test_supersaturated_air_has_no_deficit() -> None:
    ds = world().drop_vars("vpd").assign(hurs=lambda ds: (ds["rn"] * 0 + 102.0).assign_attrs(units="%"))
    with pytest.warns(H2CMWarning, match="vpd: its mean is -0.2"):
        report = check(ds)
    assert (report.dataset["vpd"] == 0).all()
    assert any("more vapour than at saturation" in note for note in report.notes)
    ds["d2m"] = (ds["tas"] + 15).assign_attrs(units="K")
    finding = finding_of(ds)
    assert finding.variable == "vpd"
    assert "dew point" in finding.remedy


def test_a_year_without_rain_is_strange() -> None:
    ds = world()
    ds["pr"] = (ds["pr"] / 86400).assign_attrs(units="mm day-1")
    with pytest.warns(H2CMWarning, match="pr: its mean over the record is .*: are its units and sign right?"):
        notes = check(ds).notes
    assert any(note.startswith("pr: its mean over the record") for note in notes)


def test_maximum_below_minimum_is_counted() -> None:
    ds = world().drop_vars("rn").assign_coords(lat=("site", [40.0, 41.0, 42.0]))
    ds["tasmin"] = (ds["tas"] + 0).assign_attrs(units="K")
    ds["tasmax"] = (ds["tas"] + 9).assign_attrs(units="K")
    ds["tasmax"][7, 0] -= 10
    assert any("below the minimum 1 times" in note for note in check(ds).notes)


# ------------------------------------------------------------------------------------------------------------ time


def test_unsorted() -> None:
    finding = finding_of(world().isel(time=[0, 1, 3, 2, *range(4, DAYS)]))
    assert "2001-01-04 comes before 2001-01-03" in finding.problem
    assert 'ds.sortby("time")' in finding.remedy


def test_duplicates() -> None:
    finding = finding_of(world().isel(time=[0, 1, 1, *range(2, DAYS)]))
    assert "2001-01-02" in finding.problem
    assert "drop_duplicates" in finding.remedy


def test_gaps() -> None:
    ds = world().rename(time="day").isel(day=[*range(10), *range(12, 50), *range(51, DAYS)])
    finding = finding_of(ds)
    assert finding.variable == "day"
    assert "3 days are missing: between 2001-01-10 and 2001-01-13, between 2001-02-19 and 2001-02-21" in finding.problem
    assert 'ds = ds.sel(day=slice("2001-02-21", "2002-02-04"))' in finding.remedy
    assert check(ds.sel(day=slice("2001-02-21", "2002-02-04"))).usable == 3


def test_missing_leap_days_belong_to_another_calendar() -> None:
    time = pd.date_range("2003-06-01", periods=DAYS + 1)
    ds = world().assign_coords(time=time[(time.month != 2) | (time.day != 29)])
    assert "noleap" in finding_of(ds).remedy
    assert check(ds.convert_calendar("noleap")).usable == 3


def test_hours() -> None:
    finding = finding_of(world().assign_coords(time=pd.date_range("2001-01-01", periods=DAYS, freq="6h")))
    assert "less than a day: 2001-01-01 00:00 and 2001-01-01 06:00" in finding.problem
    assert 'resample(time="1D")' in finding.remedy


@pytest.mark.parametrize(("frequency", "kind"), [("MS", "monthly"), ("8D", "8-daily")])
def test_months(frequency: str, kind: str) -> None:
    finding = finding_of(world().assign_coords(time=pd.date_range("1971-01-01", periods=DAYS, freq=frequency)))
    assert f"is {kind}, not daily" in finding.problem


def test_days_stamped_at_noon() -> None:
    assert check(world().assign_coords(time=pd.date_range("2001-01-01 12:00", periods=DAYS))).usable == 3


def test_no_time() -> None:
    ds = world()
    finding = finding_of(ds.drop_vars("time"))
    assert finding.variable == "time"
    assert "date_range" in finding.remedy
    number = ds.assign_coords(time=("time", np.arange(DAYS), {"units": "days since 2001-01-01"}))
    assert "xr.decode_cf" in finding_of(number).remedy
    assert check(xr.decode_cf(number)).usable == 3


def test_not_a_time() -> None:
    time = pd.date_range("2001-01-01", periods=DAYS).to_series()
    time.iloc[3] = pd.NaT
    assert "NaT" in finding_of(world().assign_coords(time=time.to_numpy())).problem


def test_a_single_day_and_no_day() -> None:
    assert "too few" in finding_of(world().isel(time=[0])).problem
    assert "length 0" in finding_of(world().isel(time=[])).problem


# ---------------------------------------------------------------------------------------------------- NaN and mask


def gappy() -> xr.Dataset:
    ds = world(site=["a", "b", "c"])
    ds["vpd"][:100, 1] = np.nan
    ds["pr"][300:, 2] = np.nan
    ds["tas"][7, 2] = np.inf
    return ds


def test_cells_with_gaps_are_used_on_the_days_they_have() -> None:
    ds = gappy()
    report = check(ds)
    assert report.usable == 3
    complete = np.isfinite(report.dataset[list(FORCING)].to_array()).all("variable").sum("time")
    assert report.dataset["forcing_days"].values.tolist() == complete.values.tolist()
    assert "2 of 3 cells have all forcing on" in str(report)
    lazy = check(ds.chunk(time=37, site=2)).dataset["forcing_days"]
    assert lazy.values.tolist() == complete.values.tolist()


def test_cells_with_gaps_are_dropped_and_counted_when_asked() -> None:
    report = check(gappy(), missing="drop")
    assert report.dataset["mask"].values.tolist() == [True, False, False]
    assert report.dropped["vpd is missing on some days"] == 1
    assert report.dropped["precipitation is missing on some days"] == 1
    assert report.dropped["air_temperature is missing on some days"] == 1
    assert {row.name: row.missing for row in report.rows}["vpd"] == 100
    (note,) = [note for note in report.notes if "to use more cells" in note]
    assert "site b from 2001-04-11 to 2002-02-04" in note
    assert "site c from 2001-01-09 to 2001-10-27" in note


def test_cells_with_gaps_are_refused_when_asked() -> None:
    findings = findings_of(gappy(), missing="raise")
    assert [f.problem for f in findings if "vpd" in f.problem] == ["vpd is missing on some days in 1"]
    assert 'missing="drop"' in findings[0].remedy
    assert "missing" in finding_of(world(), missing="fill").variable


def test_sea_is_not_missing_data() -> None:
    ds = world({"lat": 2, "lon": 3})
    for name in ("rn", "pr", "tas", "vpd"):
        ds[name][:, 0, :2] = np.nan
    report = check(ds, missing="raise")
    assert report.outside == 2
    assert report.usable == 4
    assert {row.name: row.missing for row in report.rows}["vpd"] == 0


def test_carbon_dioxide_over_the_sea_makes_no_land() -> None:
    ds = world({"lat": 2, "lon": 3})
    ds["co2"] = (ds["rn"] * 0 + 371).assign_attrs(units="ppm")
    for name in ("rn", "pr", "tas", "vpd"):
        ds[name][:, 0, :2] = np.nan
    assert check(ds, missing="raise").outside == 2


def test_a_forcing_without_any_value() -> None:
    ds = world()
    ds["vpd"][:] = np.nan
    finding = finding_of(ds)
    assert finding.variable == "vpd"
    assert "all NaN" in finding.problem


def test_no_cell_whole() -> None:
    ds = gappy()
    ds["rn"][0, 0] = np.nan
    finding = finding_of(ds, missing="drop")
    assert "none is usable" in finding.problem
    start, end = finding.remedy.split('slice("')[1].split('")')[0].split('", "')
    assert check(ds.sel(time=slice(start, end))).usable >= 1


def test_carbon_dioxide_missing_on_some_days_is_missing_everywhere() -> None:
    ds = world()
    ds["co2"][10:12] = np.nan
    report = check(ds)
    assert (report.dataset["forcing_days"] == 398).all()
    assert "co2 is missing on 2 days, the first 2001-01-11: these are used in no cell" in report.notes
    finding = finding_of(ds, missing="drop")
    assert "missing on 2 of 400 days, the first 2001-01-11" in finding.problem
    assert "interpolate_na" in finding.remedy


def test_masks() -> None:
    ds = world(site=["a", "b", "c"]).assign(mine=("site", [0.2, 0.7, 1.0]))
    assert check(ds, mask="mine").dataset["mask"].values.tolist() == [False, True, True]
    array = xr.DataArray([True, False, True], {"site": ["a", "b", "c"]}, "site")
    assert check(ds, mask=array).dataset["mask"].values.tolist() == [True, False, True]
    other = array.assign_coords(site=["a", "b", "d"])
    found = finding_of(ds, mask=other)
    assert found.problem.startswith("lacks 1 of the 3 labels of the dataset along 'site', the first c")
    both = eval(found.remedy.partition("ds = ")[2], {"ds": ds, "mask": other, "np": np})  # noqa: S307
    assert check(both, mask=other).dataset["mask"].values.tolist() == [True, False]
    assert check(ds, mask=array[::-1]).dataset["mask"].values.tolist() == [True, False, True]
    assert "'mine'" in finding_of(ds, mask="min").remedy
    assert "(time, site)" in finding_of(ds, mask="rn").problem
    assert "no land" in finding_of(ds, mask=array & False).problem


def test_area() -> None:
    ds = world().assign(hru_area=("site", [1.0, 2.0, np.nan], {"units": "acres"}))
    report = check(ds)
    assert report.dataset["area"].values[:2] == pytest.approx([4046.87261, 8093.74522])
    assert report.dropped["area is missing or not above 0"] == 1
    none = check(ds.assign(hru_area=("site", [1.0, 0.0, -2.0], {"units": "acres"})))
    assert none.dataset["mask"].values.tolist() == [True, False, False]
    assert finding_of(ds.assign(hru_area=("site", [1.0, 2.0, 3.0]))).variable == "hru_area"


# --------------------------------------------------------------------------------------------------------- targets


def with_targets() -> xr.Dataset:
    ds = world()
    months = pd.date_range("2001-01-01", periods=13, freq="MS")
    data = {
        "GPP": (("month", "site"), np.full((13, 3), 4.0), {"units": "umolCO2 m-2 s-1"}),
        "GPP_qc": (("month", "site"), np.ones((13, 3)), {"units": "1"}),
        "tws": (("month", "site"), np.full((13, 3), 0.2), {"units": "m"}),
        "le": (("time", "site"), np.full((DAYS, 3), 80.0), {"units": "W m-2"}),
        "CUE": (("site",), [0.4, 0.5, np.nan], {"units": "1"}),
    }
    return ds.assign(data).assign_coords(month=months)


BESIDE = {"mask", "area", "static", "forcing_days"}
"""Variables of a canonical dataset beside forcing and targets."""


def test_targets_are_found_and_converted() -> None:
    canonical = check(with_targets()).dataset
    assert {"GPP", "TWS", "ET", "CUE"} <= set(canonical.data_vars)
    assert canonical["GPP"].values == pytest.approx(4 * 1.0377504)
    assert canonical["TWS"].values == pytest.approx(200)
    assert canonical["ET"].values == pytest.approx(80 * 0.0864 / 2.45)
    assert canonical["CUE"].dims == ("site",)
    assert canonical["static"].sizes["feature"] == 0
    only = check(with_targets(), targets=["gpp"]).dataset
    assert "TWS" not in only
    assert set(check(with_targets(), targets=[]).dataset.data_vars) == {*FORCING, *BESIDE}


def test_latent_heat_gives_way_to_evaporation() -> None:
    ds = with_targets()
    ds["water"] = (ds["le"] * 0 + 3).assign_attrs(units="mm day-1", standard_name="water_evapotranspiration_flux")
    (row,) = [row for row in check(ds).rows if row.name == "ET"]
    assert row.found == "water"


def test_targets_that_do_not_fit() -> None:
    ds = with_targets()
    ds["GPP"] = ("month", "gauge"), np.ones((13, 5)), {"units": "gC m-2 d-1"}
    ds["tws"] = ds["tws"] * np.nan
    ds["tws"].attrs["units"] = "mm"
    late = pd.date_range("2011-01-01", periods=13, freq="MS")
    ds["runoff"] = xr.DataArray(np.ones((13, 3)), {"later": late}, ("later", "site"), attrs={"units": "mm/day"})
    weeks = pd.date_range("2001-01-01", periods=40, freq="8D")
    ds["fapar"] = xr.DataArray(np.ones((40, 3)) / 2, {"eight": weeks}, ("eight", "site"), attrs={"units": "1"})
    report = check(ds)
    left = {"GPP": "(gauge)", "TWS": "no value", "runoff": "outside", "fAPAR": "neither daily nor monthly"}
    for name, why in left.items():
        assert name not in report.dataset
        assert any(note.startswith(f"{name} is left out") and why in note for note in report.notes)
    findings = findings_of(ds, targets=["GPP", "TWS", "runoff", "fAPAR"])
    assert {finding.variable for finding in findings} == {"GPP", "tws", "runoff", "fapar"}
    assert finding_of(ds, names={"runoff": "runoff"}).variable == "runoff"


def test_targets_of_another_kind_of_time() -> None:
    ds = with_targets()
    ds["CUE"] = (ds["GPP"] * 0 + 0.5).assign_attrs(units="1")
    ds["tws"] = ds["tws"].mean("month", keep_attrs=True)
    findings = {finding.variable: finding.problem for finding in findings_of(ds, targets=["CUE", "TWS"])}
    assert "varies along month" in findings["CUE"]
    assert "no time axis" in findings["tws"]


@pytest.mark.parametrize(
    ("months", "problem"),
    [([0, 2, 1], "not sorted"), ([0, 1, 1], "2001-02-01 twice"), ([0, 1, None], "NaT")],
)
def test_target_axes_that_cannot_be_read(months: list[int | None], problem: str) -> None:
    first = np.datetime64("2001-01", "M")
    times = [
        np.datetime64("NaT", "ns") if month is None else (first + month).astype("datetime64[ns]") for month in months
    ]
    gpp = xr.DataArray(np.ones((3, 3)), {"month": times}, ("month", "site"), attrs={"units": "gC m-2 d-1"})
    assert problem in finding_of(world().assign(GPP=gpp), targets=["GPP"]).problem


def test_targets_asked_for_and_not_there() -> None:
    findings = findings_of(with_targets(), targets=["GPP", "NEE", "TSW"])
    assert [finding.variable for finding in findings] == ["targets: 'TSW'", "NEE"]
    assert "'TWS'" in findings[0].remedy


def test_a_target_without_units_says_how_to_go_on_without_it() -> None:
    ds = with_targets()
    del ds["GPP"].attrs["units"]
    finding = finding_of(ds)
    assert 'units={"GPP": "gC m-2 day-1"}' in finding.remedy
    assert "targets=[...]" in finding.remedy
    assert check(ds, targets=["TWS"]).usable == 3


def test_a_target_that_is_partly_within_the_forcing() -> None:
    ds = with_targets().isel(time=slice(0, 100))
    assert any(note == "GPP: 4 of 13 steps lie within the forcing's time" for note in check(ds).notes)


def test_a_target_beyond_what_can_be() -> None:
    ds = with_targets().assign(fapar=lambda ds: (ds["GPP"] * 10).assign_attrs(units="1"))
    assert 'units={"fapar": "%"}' in finding_of(ds).remedy


# -------------------------------------------------------------------------------------------------------- features


def test_static_features() -> None:
    ds = world(site=["a", "b", "c"], lat=("site", [1.0, 2.0, 3.0])).assign(
        elevation=("site", [1.0, 2.0, np.nan]),
        kind=("site", [1, 2, 2]),
        name_of=("site", ["x", "y", "z"]),
        same=("site", [1.0, 1.0, 1.0]),
        weight=(("gauge", "site"), np.ones((4, 3))),
        rare=(("variable", "site"), np.arange(6.0).reshape(2, 3)),
    )
    report = check(ds)
    expected = ["elevation", "kind", "same", "rare_0", "rare_1"]
    assert report.dataset["feature"].values.tolist() == expected
    assert report.dataset["mask"].values.tolist() == [True, True, False]
    assert report.dropped["static feature elevation is missing"] == 1
    assert any("name_of" in note for note in report.notes)
    assert any("same everywhere" in note and "same" in note for note in report.notes)
    assert check(ds, static=["kind"]).usable == 3
    assert check(ds, static=[]).dataset["static"].shape == (0, 3)
    assert "'kind'" in finding_of(ds, static=["kin"]).remedy
    assert finding_of(ds, static=["name_of"]).variable == "name_of"
    assert finding_of(ds, missing="raise").problem.startswith("static feature elevation is missing")


# --------------------------------------------------------------------------------------------------------- laziness


def lazy_world(counts: Counter[str]) -> xr.Dataset:
    """Forcing of which every chunk counts how often it is made."""
    ds = world({"lat": 4, "lon": 6}, lat=[40.0, 41.0, 42.0, 43.0], lon=np.arange(6.0))
    ds = ds.assign(
        tasmin=(ds["tas"] - 4).assign_attrs(units="K"),
        tasmax=(ds["tas"] + 4).assign_attrs(units="K"),
        ET=(ds["pr"] / 2).assign_attrs(units="mm day-1"),
        depth=(("lat", "lon"), np.arange(24.0).reshape(4, 6)),
    ).drop_vars(["tas", "rn", "vpd"])

    def counted(block: np.ndarray, block_info: Any, variable: str) -> np.ndarray:
        counts[f"{variable} {block_info[0]['chunk-location']}"] += 1
        return block

    for name in ("tasmin", "tasmax", "pr", "ET"):
        chunks = da.from_array(ds[name].values, chunks=(200, 2, 3))
        blocks = chunks.map_blocks(counted, variable=name, dtype=chunks.dtype, meta=np.array((), dtype=chunks.dtype))
        ds[name] = ds[name].copy(data=blocks)
    return ds


def test_each_chunk_is_computed_once_and_the_dataset_stays_lazy() -> None:
    counts: Counter[str] = Counter()
    ds = lazy_world(counts)
    counts.clear()
    report = check(ds)
    assert len(counts) == 4 * 2 * 2 * 2
    assert set(counts.values()) == {1}
    for name in ("net_radiation", "precipitation", "air_temperature", "vpd", "ET"):
        assert dask.is_dask_collection(report.dataset[name].data), name
        assert report.dataset[name].chunks == ((200, 200), (2, 2), (3, 3))
    assert set(counts.values()) == {1}
    eager = check(ds.compute()).dataset
    xr.testing.assert_allclose(report.dataset.compute(), eager, rtol=1e-5)


def test_one_computation() -> None:
    runs: list[int] = []

    def scheduler(graph: Any, keys: Any, **arguments: Any) -> Any:
        runs.append(1)
        return dask.get(graph, keys, **arguments)

    ds = lazy_world(Counter())
    with dask.config.set(scheduler=scheduler):
        check(ds)
    assert len(runs) == 1


def test_sunshine_on_a_curvilinear_grid_is_lazy(monkeypatch: pytest.MonkeyPatch) -> None:
    ds = lazy_world(Counter()).drop_vars(["lat", "lon"])
    ds = ds.assign_coords(place=(("lat", "lon"), np.full((4, 6), 45.0), {"standard_name": "latitude"}))
    seen = []

    def recorded(latitude: xr.DataArray, angle: xr.DataArray) -> xr.DataArray:
        seen.append((latitude.chunks, angle.chunks))
        return latitude * 0 + angle * 0 + 400.0

    monkeypatch.setattr("xh2cm.data.derive.extraterrestrial_radiation", recorded)
    check(ds)
    assert set(seen) == {(((2, 2), (3, 3)), ((200, 200),))}


# ----------------------------------------------------------------------------------------------------------- report


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open += [tag] if tag != "br" else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read_report() -> Report:
    ds = gappy().assign(hurs=lambda ds: (ds["rn"] * 0 + 60).assign_attrs(units="%"), depth=("site", [1.0, 2.0, 3.0]))
    name = "a_very_long_name_<of>_precipitation"
    return check(ds.rename(pr=name).drop_vars("vpd"), names={"precipitation": name})


def test_report_in_a_terminal() -> None:
    text = str(read_report())
    assert max(map(len, text.splitlines())) <= 110
    for part in (
        "3 of 3 cells usable",
        "of 3 cells",
        "400 days, 2001-01-01 to 2002-02-04",
        "relative humidity",
        "depth",
        "missing",
    ):
        assert part in text


def test_report_in_a_notebook() -> None:
    text = read_report()._repr_html_()
    parser = Tags()
    parser.feed(text)
    assert not parser.open
    assert "&lt;of&gt;" in text
    assert "relative humidity" in text


def test_report_as_a_table() -> None:
    table = read_report().to_dataframe().set_index("name")
    assert table.loc["relative_humidity", "units_from"] == "%"
    assert table.loc["precipitation", "missing"] == 100
    assert table.loc["vpd", "derivation"]


def test_only_a_dataset_is_checked() -> None:
    finding = finding_of(world()["vpd"])  # type: ignore[arg-type]
    assert "DataArray" in finding.problem


# -------------------------------------------------------------------------------------------------------- real data


def test_delaware(shared: Callable[[str], Path]) -> None:
    ds = xr.open_dataset(shared("data/drb_grid_daily.nc"))
    report = check(ds)
    assert (report.cells, report.outside, report.usable) == (135, 59, 76)
    assert report.dataset["vpd"].max() == pytest.approx(18.3, abs=0.1)
    assert set(report.dataset.data_vars) == {*FORCING, "runoff", *BESIDE}
    assert report.dataset["feature"].size == 14
    assert float(report.dataset["area"].sum()) == pytest.approx(float(ds["hru_area"].sum()) * 1e6)


def test_towers(shared: Callable[[str], Path]) -> None:
    ds = xr.open_dataset(shared("data/flux_sites_1996_2014.nc"))
    assert check(ds).usable == 4
    report = check(ds, missing="drop")
    assert report.dataset["site"][report.dataset["mask"]].values.tolist() == ["FI-Hyy"]
    assert any("CH-Lae from 2004-01-01 to 2014-12-31" in note for note in report.notes)
    whole = check(ds.sel(time=slice("2004", "2014")))
    assert whole.usable == 4
    assert {"GPP", "ET", "NEE", "TER", "fAPAR"} <= set(whole.dataset.data_vars)
    assert {row.name: row.found for row in whole.rows}["ET"] == "et"
    heat = check(ds.drop_vars(["et", "et_corr"]), targets=["ET"]).dataset["ET"]
    assert float((heat - ds["et"]).mean()) == pytest.approx(0, abs=0.05)


def test_reanalysis_in_chunks(shared: Callable[[str], Path]) -> None:
    ds = xr.open_dataset(shared("data/era5_canadian_cities_1990_1993.nc"), chunks={})
    report = check(ds)
    assert report.usable == 5
    assert dask.is_dask_collection(report.dataset["SWE"].data)


def test_carbon_dioxide_alone_lacks_the_rest(shared: Callable[[str], Path]) -> None:
    findings = findings_of(xr.open_dataset(shared("data/co2_mauna_loa_daily.nc")))
    assert {finding.variable for finding in findings} == {*FORCING} - {"co2"}


def test_a_wrong_unit_of_rain_hides_no_absent_temperature():
    rain = xr.DataArray(
        np.ones((3, 2)), dims=("time", "site"), attrs={"units": "in"}, coords={"time": pd.date_range("2001", periods=3)}
    )
    with pytest.raises(InputError) as error:
        check(xr.Dataset({"prcp": rain}))
    assert {"prcp", "air_temperature", "vpd", "net_radiation", "co2"} <= {f.variable for f in error.value.findings}


CHUNKS = [{"time": 90}, {"lat": 1, "lon": 2}, {"time": 150, "lat": 3}]


@pytest.fixture
def odd_world() -> xr.Dataset:
    """What is told of values: rounding, gaps, a mask, ranges, with some of each in every chunk."""
    ds = world({"lat": 4, "lon": 6}, lat=[40.0, 41.0, 42.0, 43.0], lon=np.arange(6.0))
    ds["pr"][::7] = -1e-4
    ds["pr"][17, 3, 5] = 900.0
    ds["ET"] = (ds["pr"].dims, np.where(ds["pr"] > 0, 2.0, np.nan), {"units": "mm day-1"})
    ds["ET"][5:, 2, 1] = 3.5
    ds["vpd"][100:120, 1, 2] = np.nan
    ds["depth"] = ("lat", "lon"), np.arange(24.0).reshape(4, 6)
    ds["mask"] = ("lat", "lon"), np.arange(24).reshape(4, 6) % 5 > 0
    return ds


@pytest.mark.parametrize("chunks", CHUNKS)
def test_chunks_do_not_change_what_is_told(odd_world: xr.Dataset, chunks: dict[str, int]) -> None:
    whole, parts = check(odd_world), check(odd_world.chunk(chunks))
    assert any("values below 0 set to 0" in note for note in whole.notes)
    assert (parts.rows, parts.notes, parts.dropped) == (whole.rows, whole.notes, whole.dropped)
    assert parts.dataset.attrs == whole.dataset.attrs
    highest = {row.name: row.highest for row in parts.rows}
    assert highest["ET"] == 3.5
    assert highest["precipitation"] == 900.0


@pytest.mark.parametrize("chunks", CHUNKS)
def test_chunks_do_not_change_what_is_refused(odd_world: xr.Dataset, chunks: dict[str, int]) -> None:
    odd_world["tas"] = odd_world["tas"].where(odd_world["time"].dt.day > 3, 20.0)
    odd_world["pr"][3:300:50] = 1e5
    found = findings_of(odd_world)
    assert [finding.variable for finding in found] == ["pr", "tas"]
    days = int((odd_world["time"].dt.day <= 3).sum())
    assert found[1].problem.startswith(f"{days * int(odd_world['mask'].sum()):,} values")
    assert findings_of(odd_world.chunk(chunks)) == found


def test_gaps_are_filled_when_asked_and_counted() -> None:
    ds = gappy().assign(era=lambda ds: ds["pr"].fillna(2e-5).assign_attrs(units="kg m-2 s-1"))
    before = check(ds)
    assert "filled" not in before.dataset
    report = check(ds, fill={"precipitation": "era", "vpd": ("linear", 200), "air_temperature": ("climatology", 3)})
    assert (report.dataset["forcing_days"] >= before.dataset["forcing_days"]).all()
    missing = {row.name: row.missing for row in before.rows}
    assert f"precipitation: {missing['precipitation']} missing values filled (era)" in report.notes
    marks = report.dataset["filled"]
    assert marks.dims == ("time", "site")
    changed = report.dataset["precipitation"].notnull() & before.dataset["precipitation"].isnull()
    assert marks.where(changed, True).all()
    same = before.dataset["precipitation"].notnull()
    xr.testing.assert_equal(report.dataset["precipitation"].where(same), before.dataset["precipitation"])
    lazy = check(ds.chunk(time=100), fill={"precipitation": "era"})
    assert lazy.dataset["precipitation"].chunks is not None
    xr.testing.assert_allclose(lazy.dataset["precipitation"].compute(), report.dataset["precipitation"])


def test_fills_that_cannot_be_are_told_together() -> None:
    ds = world(site=["a", "b", "c"])
    found = findings_of(ds, fill={"precipitation": "neighbour", "rain": "zero", "vpd": "spline"})
    assert [f.variable for f in found] == ["fill['rain']", "fill['vpd']", "fill['precipitation']"]
