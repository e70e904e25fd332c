"""Short gaps of the forcing, filled by rules that are asked for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from xh2cm.data.fill import Fill, asked_fills, climatology, filled, gap_length

DAYS = 800
TIME = xr.DataArray(pd.date_range("2001-01-01", periods=DAYS), dims="time")


def season(places=3):
    wave = -np.cos(np.arange(DAYS) * 2 * np.pi / 365.25)
    return xr.DataArray(10 + np.outer(np.arange(1, places + 1), wave), dims=("site", "time"))


@settings(max_examples=60, deadline=None)
@given(missing=arrays(bool, (2, 12)))
def test_each_gap_has_its_length(missing):
    found = gap_length(xr.DataArray(np.where(missing, np.nan, 1.0), dims=("site", "time"))).values
    for row, lengths in zip(missing, found, strict=True):
        runs = "".join("x" if one else " " for one in row).split()
        assert sorted(lengths[row].tolist()) == sorted(n for run in runs for n in [len(run)] * len(run))
        assert not lengths[~row].any()


@pytest.mark.parametrize("chunks", [None, {"time": 100, "site": 1}], ids=["numpy", "dask"])
@pytest.mark.parametrize(
    ("rule", "within"), [("linear", 0.5), ("climatology", 0.7), ("neighbour", 3.1), ("zero", 13.1)]
)
def test_a_rule_fills_short_gaps_and_leaves_long_ones(rule, within, chunks):
    truth = season()
    array = truth.copy()
    array[0, 50:54], array[1, 200:260] = np.nan, np.nan
    given = array if chunks is None else array.chunk(chunks)
    places = np.array([50.0, 50.1, 10.0]), np.array([8.0, 8.0, 100.0])
    found = filled(given, Fill(rule, 5), TIME, places=places).compute()
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1, 200:260]).all()
    assert float(abs(found - truth)[0].max()) < within
    xr.testing.assert_equal(found.where(array.notnull()), array)


def test_another_variable_stands_in():
    array, other = season().copy(), season() + 0.25
    array[2, 10:500] = np.nan
    found = filled(array, Fill("era"), TIME, other=other)
    assert np.allclose(found[2, 10:500], other[2, 10:500])
    assert np.isnan(filled(array, Fill("era", 30), TIME, other=other)[2, 10:500]).all()


def test_the_climatology_of_a_place_without_values_is_missing():
    array = season().copy()
    array[0] = np.nan
    found = climatology(array, TIME)
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1:]).all()


@pytest.mark.parametrize(
    ("fill", "said"),
    [
        (["linear"], "is a list"),
        ({"air_temprature": "linear"}, "names no forcing variable"),
        ({"air_temperature": "spline"}, "neither a rule nor a variable"),
        ({"air_temperature": ("linear", 0)}, "is not a number of days"),
        ({"air_temperature": 3}, "is 3"),
    ],
)
def test_what_cannot_be_asked_for_is_a_finding(fill, said):
    findings = []
    assert asked_fills(fill, ["air_temperature"], ["era"], findings) == {}
    assert said in str(findings[0])


def test_rules_bring_their_own_longest_gap():
    told = {"air_temperature": "linear", "vpd": ("linear", 2), "precipitation": "era"}
    found = asked_fills(told, [*told], ["era"], [])
    assert found == {"air_temperature": Fill("linear", 5), "vpd": Fill("linear", 2), "precipitation": Fill("era")}
