"""Files under the names, units and signs of CMIP6."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr
from cf_checker import judged
from typer.testing import CliRunner

from xh2cm.cli import app
from xh2cm.datasets.twin import truth
from xh2cm.datasets.twin import twin as make_twin
from xh2cm.errors import H2CMWarning, InputError, StoreError
from xh2cm.io.cmip import TABLE, write_cmip
from xh2cm.variables import FORCING, OUTPUTS

FIT = {"scheme": "cells", "width": 6, "epochs": 1, "progress": False}
NAMED = [var.name for var in OUTPUTS.values() if var.cmip]


@pytest.fixture(scope="module")
def short(twin):
    return twin.isel(time=slice(0, 90), month=slice(0, 3))


@pytest.fixture(scope="module")
def fit(short):
    return short.h2cm.fit(2, **FIT)


@pytest.fixture(scope="module")
def out(short, fit):
    return short.h2cm.predict(fit, variables="all")


@pytest.fixture(scope="module")
def files(out, tmp_path_factory):
    written = out.h2cm.to_cmip(tmp_path_factory.mktemp("cmip"), variables=NAMED)
    return {path.name.split("_")[0]: path for path in written}


def opened(path):
    with xr.open_dataset(path) as file:
        return file.load()


def test_the_checker_finds_nothing(files):
    assert len(files) == len(NAMED) + 2
    assert {name: judged(path, "cf:1.11") for name, path in files.items()} == {name: [] for name in files}


def test_names_are_those_of_the_table_and_stand_for_one_variable_each(files):
    assert set(files) == {var.cmip for var in TABLE.values()} | {"areacella", "sftlf"}
    assert len({var.cmip for var in TABLE.values()}) == len(TABLE)
    for name, path in files.items():
        file = opened(path)
        assert set(file.data_vars) - {"time_bnds", "lat_bnds", "lon_bnds"} == {name}
        assert file.attrs["variable_id"] == name
        often = "fx" if name in ("areacella", "sftlf") else "Lmon"
        period = "" if often == "fx" else "_200101-200103"
        assert path.name == f"{name}_{often}_xh2cm_offline_r1i1p1f1_gn{period}.nc"


SECONDS = 86_400
FACTORS = {"water flux": 1 / SECONDS, "carbon flux": 1e-3 / SECONDS, "water amount": 1.0}


def test_values_are_monthly_means_in_units_of_cmip(out, files):
    months = out.sortby("lat").resample(time="MS").mean()
    for name, var in TABLE.items():
        file = opened(files[var.cmip])
        expected = months[name].values * FACTORS[var.quantity]
        np.testing.assert_allclose(file[var.cmip].values, expected, rtol=2e-6)
        assert file[var.cmip].attrs["units"] == ("kg m-2" if var.quantity == "water amount" else "kg m-2 s-1")
        assert file[var.cmip].attrs["standard_name"] == var.standard_name
        assert file[var.cmip].attrs["cell_methods"] == "area: mean where land time: mean"
        assert file["time_bnds"].dt.strftime("%m-%d").values.tolist()[1] == ["02-01", "03-01"]
        assert file["time"].dt.strftime("%m-%d %H").values.tolist()[1] == "02-15 00"


@pytest.mark.parametrize("names", [["NEP"], ["GPP", "TER"], ["NEE"], ["NEE", "GPP", "TER"]])
def test_the_land_gains_where_nep_is_positive(out, names, tmp_path):
    some = out[names]
    some["GPP"] = some.get("GPP", out["GPP"])  # one that is there anyway
    asked = ["NEE" if "NEE" in names else "NEP"]
    (path,) = (p for p in some.h2cm.to_cmip(tmp_path, variables=asked) if p.name.startswith("nep"))
    ours = -out["NEE"].sortby("lat").resample(time="MS").mean().values * FACTORS["carbon flux"]
    np.testing.assert_allclose(opened(path)["nep"].values, ours, rtol=1e-4, atol=1e-12)


def test_loss_of_carbon_that_is_no_respiration_is_no_part_of_nep(out, tmp_path):
    burnt = out[["GPP", "TER"]].assign(NEE=out["NEE"] + 5)
    (path,) = (p for p in burnt.h2cm.to_cmip(tmp_path, variables=["NEE"]) if p.name.startswith("nep"))
    np.testing.assert_allclose(
        opened(path)["nep"].mean(), -out["NEE"].resample(time="MS").mean().mean() * FACTORS["carbon flux"], rtol=1e-4
    )


def test_cells_have_their_area_and_are_land_where_there_is_a_prediction(short, fit, tmp_path):
    holed = short.copy()
    holed["vpd"] = short["vpd"].where((short["lat"] != short["lat"][0]) | (short["lon"] != short["lon"][1]))
    out = holed.h2cm.predict(fit, variables=["ET"])
    _, land, _ = map(opened, out.h2cm.to_cmip(tmp_path))
    assert float(land["sftlf"].sum()) == 100 * (land["sftlf"].size - 1)
    assert float(land["sftlf"].sel(lat=short["lat"][0], lon=short["lon"][1] % 360)) == 0


def test_cells_of_the_whole_globe_have_its_area(out, tmp_path):
    lat, lon = np.arange(-75.0, 90, 30), np.arange(-165.0, 180, 30)
    one = out[["ET"]].isel(lat=0, lon=0, drop=True).expand_dims(lat=lat, lon=lon).transpose("time", "lat", "lon")
    for name in ("lat", "lon"):
        one[name].attrs = out[name].attrs
    area, *_, et = map(opened, one.h2cm.to_cmip(tmp_path))
    assert float(area["areacella"].astype(float).sum()) == pytest.approx(4 * np.pi * 6_371_007.2**2, rel=1e-6)
    assert et["lon"].values.tolist() == list(np.arange(15.0, 360, 30))
    west, east = et["lon_bnds"].isel(bnds=0), et["lon_bnds"].isel(bnds=1)
    assert ((west < et["lon"]) & (et["lon"] < east)).all()
    assert (west.values[1:] == east.values[:-1]).all()


def test_longitudes_go_round_with_what_stands_on_them(short, fit, tmp_path):
    west = short.assign_coords(lon=(short["lon"].values + 180) % 360 - 180).sortby("lon", ascending=False)
    west["lon"].attrs = short["lon"].attrs
    a, b = (
        opened(ds.h2cm.predict(fit).h2cm.to_cmip(tmp_path / name, variables=["GPP"])[-1])
        for name, ds in {"a": short, "b": west}.items()
    )
    np.testing.assert_allclose(a["gpp"], b["gpp"], rtol=1e-4)
    np.testing.assert_array_equal(a["lon_bnds"], b["lon_bnds"])


def test_areas_are_those_the_library_reckons_with(short, files):
    ours = short.h2cm.check().dataset["area"].sortby("lat")
    file = opened(files["areacella"])
    inside = abs(file["lat_bnds"]).max("bnds") < 90  # a cell that would reach beyond the pole ends there
    np.testing.assert_allclose(
        file["areacella"].where(inside).values, ours.where(inside).transpose("lat", "lon").values, rtol=1e-6
    )


def test_folds_are_members(short, fit, tmp_path):
    every = short.h2cm.predict(fit, variables=["GPP", "q10"], member="all")
    paths = every.h2cm.to_cmip(tmp_path, member_id="r9i1p1f2")
    assert [p.name.split("_")[4] for p in paths] == 3 * ["r1i1p1f2"] + 3 * ["r2i1p1f2"]
    for fold, path in enumerate(p for p in paths if p.name.startswith("gpp")):
        months = every["GPP"].sel(fold=fold).sortby("lat").resample(time="MS").mean()
        np.testing.assert_allclose(opened(path)["gpp"].values, months * FACTORS["carbon flux"], rtol=2e-6)


def test_days(out, tmp_path):
    *_, path = out[["TWS"]].h2cm.to_cmip(tmp_path, frequency="day", source_id="H2CM-mine", experiment_id="test")
    assert path.name == "mrtws_Lday_H2CM-mine_test_r1i1p1f1_gn_20010101-20010331.nc"
    file = opened(path)
    np.testing.assert_array_equal(file["mrtws"].values, out["TWS"].sortby("lat").values)
    assert "point" in file["mrtws"].attrs["cell_methods"]
    assert set(file["time"].dt.hour.values) == {12}
    assert judged(path, "cf:1.11") == []


@pytest.mark.parametrize("calendar", ["noleap", "360_day"])
def test_months_of_every_calendar(short, fit, calendar, tmp_path):
    time = xr.date_range("2001-02-01", periods=60, calendar=calendar, use_cftime=True)
    forcing = short.drop_dims("month").isel(time=slice(0, 60)).assign_coords(time=time)
    out = forcing.h2cm.predict(fit, variables=["GPP"])
    if calendar == "noleap":
        with pytest.warns(H2CMWarning, match="1 of 3 months are not whole"):
            *_, path = out.h2cm.to_cmip(tmp_path)
    else:
        *_, path = out.h2cm.to_cmip(tmp_path)
    assert path.name.endswith("200102-200103.nc")
    days = [(end - start).days for start, end in opened(path)["time_bnds"].values]
    assert days == ([28, 31] if calendar == "noleap" else [30, 30])


def test_what_cmip_has_no_name_for_is_said(out, tmp_path):
    with pytest.warns(H2CMWarning, match="no name for it: TER, GW$"):
        out[["ET", "TER", "GW", "NEE", "q10"]].h2cm.to_cmip(tmp_path / "a")
    assert {p.name.split("_")[0] for p in (tmp_path / "a").iterdir()} == {"areacella", "sftlf", "evspsbl", "nep"}


def test_units_of_ones_own_are_converted(out, files, tmp_path):
    mine = out[["runoff"]].assign(runoff=(out["runoff"] / 1000).assign_attrs(units="m day-1"))
    *_, path = mine.h2cm.to_cmip(tmp_path)
    np.testing.assert_allclose(opened(path)["mrro"].values, opened(files["mrro"])["mrro"].values, rtol=1e-5)


def test_what_is_written_says_where_it_comes_from(files, fit):
    attrs = opened(files["gpp"]).attrs
    assert fit.fingerprint in attrs["source"]
    assert attrs["source"].startswith("xh2cm ")
    assert {"history", "date_created", "references", "title", "table_id", "frequency", "variant_label"} <= set(attrs)
    assert "mip_era" not in attrs
    assert opened(files["gpp"])["gpp"].attrs["cell_measures"] == "area: areacella"


def test_all_that_is_wrong_is_said_at_once(out, tmp_path):
    towers = out.stack(site=("lat", "lon")).reset_index("site").transpose("time", ...)
    with pytest.raises(InputError) as error:
        towers.h2cm.to_cmip(tmp_path / "a", variables=["GP", "TER"], frequency="year")
    assert [finding.variable for finding in error.value.findings] == [
        "land",
        "frequency",
        "variable GP",
        "variable TER",
    ]
    assert "did you mean 'GPP'?" in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda out: out.isel(lon=[0]), "is no regular grid"),
        (
            lambda out: out[["q10"]].assign_coords(lat=out["lat"], lon=out["lon"]),
            "has no variable with a name in CMIP6",
        ),
        (lambda out: out.resample(time="MS").mean(), "monthly, not daily"),
        (lambda out: out.isel(time=slice(0, 20)), "holds no whole month"),
        (lambda out: out.mean("time"), "is no dimension of the prediction"),
        (lambda out: out.drop_attrs(), "has no units|is no regular grid"),
    ],
)
def test_what_cannot_be_exported(out, change, says, tmp_path):
    with xr.set_options(keep_attrs=True):
        changed = change(out)
    with pytest.raises(InputError, match=says):
        changed.h2cm.to_cmip(tmp_path / "a")


@pytest.mark.parametrize("lacks", ["first", "last"])
def test_a_month_that_lacks_a_day_is_not_exported(out, tmp_path, lacks):
    """The record is January to March: without the first or the last day one of the months has 30 days of 31."""
    cut = out[["GPP"]].isel(time=slice(1, None) if lacks == "first" else slice(None, -1))
    with pytest.warns(H2CMWarning, match="1 of 3 months are not whole, and are not exported"):
        *_, path = cut.h2cm.to_cmip(tmp_path)
    kept = ["2001-02", "2001-03"] if lacks == "first" else ["2001-01", "2001-02"]
    assert opened(path)["time"].dt.strftime("%Y-%m").values.tolist() == kept


def test_nothing_is_overwritten_and_nothing_half_written(out, tmp_path):
    out[["ET"]].h2cm.to_cmip(tmp_path / "a")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "a").iterdir()}
    with pytest.raises(StoreError, match=r"holds areacella_.*: give another folder, experiment_id or member_id"):
        out[["GPP"]].h2cm.to_cmip(tmp_path / "a")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "a").iterdir()} == before
    assert len(out[["GPP"]].h2cm.to_cmip(tmp_path / "a", experiment_id="other")) == 3
    assert len(list((tmp_path / "a").iterdir())) == 6
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        out[["GPP"]].h2cm.to_cmip(tmp_path / "file")


def test_a_lazy_prediction_is_computed_once_for_all_files(short, fit, files, tmp_path):
    passes = []

    def counting(dsk, keys, **kwargs):
        passes.append(keys)
        return dask.get(dsk, keys, **kwargs)

    lazy = short.drop_dims("month").chunk(lat=1).h2cm.predict(fit, variables=["GPP", "ET", "TWS"])
    with dask.config.set(scheduler=counting):
        paths = lazy.h2cm.to_cmip(tmp_path)
    assert len(paths) == 5
    assert len(passes) == 1
    (storage,) = (path for path in paths if path.name.startswith("mrtws"))
    np.testing.assert_allclose(opened(storage)["mrtws"], opened(files["mrtws"])["mrtws"], rtol=1e-4)


def test_the_truth_of_the_twin_can_be_exported(tmp_path):
    known = truth(make_twin(cells=(2, 2), years=1), passes=0)
    assert len(write_cmip(known, tmp_path, variables=NAMED)) == len(NAMED) + 2


def test_command_line(short, fit, tmp_path):
    runner = CliRunner()
    short[list(FORCING) + list(fit.features)].to_netcdf(tmp_path / "data.nc")
    saved = fit.save(tmp_path / "fit")
    predict = ["predict", str(tmp_path / "data.nc"), "--fit", str(saved), "--out", str(tmp_path / "out.nc")]
    assert runner.invoke(app, [*predict, "--no-progress"]).exit_code == 0
    assert judged(tmp_path / "out.nc", "cf:1.11") == []
    assert runner.invoke(app, predict).exit_code == 2
    assert runner.invoke(app, [*predict, "--overwrite"]).exit_code == 0
    result = runner.invoke(app, ["export", str(tmp_path / "out.nc"), str(tmp_path / "cmip"), "--variable", "NEE"])
    assert result.exit_code == 0
    assert [line.rsplit("/", 1)[1].split("_")[0] for line in result.output.split()] == ["areacella", "sftlf", "nep"]
