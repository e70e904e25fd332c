"""Splits into training, validation and test."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xh2cm.data.split import SEEN, TEST, split_labels
from xh2cm.errors import InputError

TOWERS = xr.Dataset(
    {"mask": ("site", [True, True, True, False])},
    coords={"site": ["A", "B", "C", "D"], "time": pd.date_range("2001-01-01", "2003-12-31")},
)
GRID = xr.Dataset(
    {"mask": (("lat", "lon"), np.ones((2, 3), dtype=bool))},
    coords={"lat": [10.0, 20.0], "lon": [0.0, 1.0, 2.0], "time": pd.date_range("2001-01-01", "2002-12-31")},
)


def test_by_periods():
    found = split_labels(TOWERS, {"training": slice("2002", "2003"), "test": ("2001-01-01", "2001-06-30")})
    assert found.dims == ("time",)
    years = found.time.dt.year
    assert (found[years >= 2002] == SEEN).all()
    assert (found[years < 2002] == TEST).all()  # the second half of 2001 is in no part


def test_by_places():
    found = split_labels(TOWERS, {"validation": ["B"], "test": ["C"]})
    assert found.values[:3].tolist() == [SEEN, 0, TEST]
    assert np.isnan(found.values[3])


def test_by_both_and_by_masks():
    late = {"time": slice("2003", None), "site": ["A", "B"]}
    found = split_labels(TOWERS, {"validation": late})
    assert set(found.dims) == {"time", "site"}
    assert (found.sel(time="2003", site=["A", "B"]) == 0).all()
    assert (found.sel(site="C") == SEEN).all()
    assert (found.sel(time=slice(None, "2002"), site="A") == SEEN).all()
    north = split_labels(GRID, {"test": GRID["lat"] > 15})
    assert (north.sel(lat=20.0) == TEST).all()
    assert (north.sel(lat=10.0) == SEEN).all()


def test_place_by_place():
    found = split_labels(TOWERS, {"training": {"A": slice("2001", "2002"), "B": ("2002-01-01", "2003-12-31")}})
    assert (found.sel(site="A", time="2003") == TEST).all()
    assert (found.sel(site="A", time=slice("2001", "2002")) == SEEN).all()
    assert (found.sel(site="B", time="2001") == TEST).all()
    assert (found.sel(site="C") == TEST).all()


def test_masks_meet_by_label():
    mask = TOWERS["site"] == "B"
    backward = split_labels(TOWERS, {"test": mask.isel(site=slice(None, None, -1))})
    xr.testing.assert_equal(backward, split_labels(TOWERS, {"test": mask}))
    with pytest.raises(InputError, match="lacks 2 of the 4 labels"):
        split_labels(TOWERS, {"test": mask.isel(site=slice(0, 2))})


@pytest.mark.parametrize(
    ("split", "said"),
    [
        (["A"], "is a list"),
        ({"train": ["A"]}, "is not a part of a split"),
        ({"test": ["Z"]}, "'Z', which the dataset does not hold"),
        ({"test": slice("2010", "2011")}, "holds no day"),
        ({"validation": ["A"], "test": ["A", "B"]}, "shares 1 days or places"),
        ({"validation": ["A", "B"], "test": ["C"]}, "leaves nothing to train on"),
        ({"test": xr.DataArray([True], dims="gauge")}, "has the dimension gauge"),
        ({"test": slice("soon", None)}, "selects nothing along time"),
    ],
)
def test_what_cannot_be_split(split, said):
    with pytest.raises(InputError, match=said):
        split_labels(TOWERS, split)


def test_places_need_a_single_land_axis():
    with pytest.raises(InputError, match="the land axes are lat, lon"):
        split_labels(GRID, {"test": ["A"]})
