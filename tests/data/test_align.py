"""Labelled arrays meet by label: the result is that of the labels, whatever the order, or an error that names them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from xh2cm.data.align import align, doubled
from xh2cm.errors import InputError

GRID = xr.DataArray(
    np.arange(24.0).reshape(2, 3, 4),
    coords={
        "time": pd.date_range("2001-01-01", periods=2),
        "lat": [60.1, 30.0, -0.3],
        "lon": [-135.0, -45.2, 45.0, 135.7],
    },
    dims=("time", "lat", "lon"),
)


def refused(array: xr.DataArray | xr.Dataset, like: xr.DataArray, **how: object) -> str:
    with pytest.raises(InputError) as error:
        align(array, like, "area", **how)  # type: ignore[type-var, arg-type]
    return str(error.value)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_order_and_convention_gives_the_same(data: st.DataObject) -> None:
    """Permuted, rounded, in another convention of longitudes, at noon, with labels to spare, transposed."""
    array = GRID
    for dim in data.draw(st.sets(st.sampled_from(["time", "lat", "lon"]))):
        array = array.isel({dim: data.draw(st.permutations(range(array.sizes[dim])))})
    if data.draw(st.booleans()):
        array = array.assign_coords(lon=array["lon"] % 360)
    if data.draw(st.booleans()):
        array = array.assign_coords(lat=array["lat"].astype("float32"), lon=array["lon"].astype("float32"))
    if data.draw(st.booleans()):
        array = array.assign_coords(lat=array["lat"] + data.draw(st.floats(-9e-5, 9e-5)))
    if data.draw(st.booleans()):
        array = array.assign_coords(time=array["time"] + np.timedelta64(12, "h"))
    if data.draw(st.booleans()):
        array = xr.concat([array, array.assign_coords(lat=array["lat"] - 7)], "lat")
    array = array.transpose(*data.draw(st.permutations(array.dims)))
    xr.testing.assert_identical(align(array, GRID, "area").transpose(*GRID.dims), GRID)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_other_places_are_never_taken_for_these(data: st.DataObject) -> None:
    """Shifted by more than rounding, cut, doubled or renamed: refused, with the axis and the value named."""
    dim = data.draw(st.sampled_from(["lat", "lon"]))
    change = data.draw(st.sampled_from(["shift", "cut", "double", "rename"]))
    if change == "shift":
        offset = data.draw(st.floats(2e-3, 25) | st.floats(-25, -2e-3))
        said = refused(GRID.assign_coords({dim: GRID[dim] + offset}), GRID)
        assert f"labels of the dataset along '{dim}', the first" in said
        assert "offset" in said
    elif change == "cut":
        keep = data.draw(st.sets(st.integers(0, GRID.sizes[dim] - 1), max_size=GRID.sizes[dim] - 1, min_size=1))
        assert "lacks" in refused(GRID.isel({dim: sorted(keep)}), GRID)
    elif change == "double":
        again = data.draw(st.integers(0, GRID.sizes[dim] - 1))
        more = GRID.isel({dim: [*range(GRID.sizes[dim]), again]})
        assert "more than once" in refused(more, GRID)
    else:
        assert f"it has no '{dim}'" in refused(GRID.rename({dim: "y"}), GRID, on=GRID.dims)


def test_half_a_step_is_said() -> None:
    regular = GRID.assign_coords(lat=[60.0, 59.0, 58.0])
    moved = regular.assign_coords(lat=regular["lat"] + 0.5)
    assert "the nearest of its own is 59.5 (offset -0.5, half a step)" in refused(moved, regular)


def test_a_closed_circle_of_longitudes_keeps_its_ends() -> None:
    circle = xr.DataArray([1.0, 2.0, 3.0], coords={"lon": [-180.0, 0.0, 180.0]}, dims="lon")
    xr.testing.assert_identical(align(circle[::-1], circle, "area"), circle)
    assert "more than once" in refused(circle, circle.isel(lon=[1, 2]).assign_coords(lon=[360.0, 540.0]))


def test_whole_numbers_and_text_are_exact() -> None:
    ids = xr.DataArray([1, 2], coords={"gauge": [1013500, 1013501]}, dims="gauge")
    xr.testing.assert_identical(align(ids[::-1], ids, "area"), ids)
    assert "lacks 2 of the 2" in refused(ids.assign_coords(gauge=ids["gauge"] + 5), ids)
    named = xr.DataArray([1, 2], coords={"site": ["FI-Hyy", "DE-Tha"]}, dims="site")
    as_objects = named.assign_coords(site=named["site"].astype(object))
    xr.testing.assert_identical(align(as_objects[::-1], named, "area"), named)


def test_stacked_axes_are_compared_level_by_level() -> None:
    cells = GRID.isel(time=0, drop=True).stack(cell=("lat", "lon"))
    other = GRID.isel(time=0, drop=True).assign_coords(lat=GRID["lat"] + 1e-6, lon=GRID["lon"] % 360)
    xr.testing.assert_identical(align(other.stack(cell=("lat", "lon"))[::-1], cells, "area"), cells)


def test_days_of_any_calendar() -> None:
    days = xr.date_range("2001-01-01", periods=2, use_cftime=True)
    xr.testing.assert_identical(align(GRID.assign_coords(time=days).isel(time=[1, 0]), GRID, "area"), GRID)
    later = GRID.assign_coords(time=GRID["time"] + np.timedelta64(1, "D"))
    assert "the first 2001-01-01; its own are 2001-01-02 to 2001-01-03" in refused(later, GRID)


def test_axes_without_labels_are_taken_by_position_where_places_agree() -> None:
    places = xr.DataArray([1.0, 2.0], coords={"lat": ("site", [10.0, 20.0]), "name": ("site", ["a", "b"])}, dims="site")
    single = places.assign_coords(lat=places["lat"].astype("float32"))
    xr.testing.assert_equal(align(single, places, "area").drop_vars("lat"), places.drop_vars("lat"))
    assert "lies elsewhere: its lat is 20 where that of the dataset is 10" in refused(places[::-1], places)
    assert "has 1 along 'site', the dataset has 2, and labels are missing" in refused(places[:1], places)
    numbered = places.assign_coords(site=[0, 1])
    renumbered = numbered[::-1].assign_coords(site=[0, 1])
    assert "lies elsewhere: its lat is 20 where that of the dataset is 10" in refused(renumbered, numbered)


def test_points_of_a_grid() -> None:
    """Towers, or the one cell that was selected, take their own cell of a map on a grid."""
    towers = xr.DataArray(
        [0, 0], coords={"lat": ("site", [30.0, 60.1]), "lon": ("site", [45.0, 224.999999 + 1e-6])}, dims="site"
    )
    found = align(GRID.isel(time=0, drop=True), towers, "area", on=["site"])
    assert found.values.tolist() == [6.0, 0.0]
    one = GRID.isel(lat=2, lon=3)
    assert align(GRID, one, "area", on=["time"]).values.tolist() == one.values.tolist()
    assert "lacks 1 of the 1 labels" in refused(GRID, one.assign_coords(lat=5.0), on=["time"])


def test_places_written_twice() -> None:
    assert doubled(pd.Index([10.0, 20.0, 30.0])) == []
    assert doubled(pd.Index([10.0, 10.000001, 20.0])) == [(10.0, 10.000001)]
    joined = pd.Index(sorted({*np.arange(-175.0, 180, 10), *np.arange(5.0, 360, 10)}))
    assert len(doubled(joined, longitude=True)) == 18
    assert doubled(joined) == []
    assert doubled(pd.Index([-180.0, 0.0, 180.0]), longitude=True) == []
