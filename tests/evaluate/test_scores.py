"""Scores: by hand, beside second libraries, at every scale, on every land, and what is said where there are none."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings

import dask
import dask.threaded
import hydroeval
import numpy as np
import pandas as pd
import pytest
import scores.continuous
import xarray as xr

from xh2cm.errors import InputError
from xh2cm.evaluate.align import SCALES
from xh2cm.evaluate.scores import COUNTS, METRICS, REASONS, metrics, score
from xh2cm.targets import Target

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")  # no score warns of what it can say

UNITS = {"GPP": "g m-2 d-1", "ET": "kg m-2 d-1", "NEE": "g m-2 d-1", "NPP": "g m-2 d-1", "TWS": "kg m-2", "CUE": "1"}
UNITS |= {"NEE_IAV": "g m-2 d-1", "SWE": "kg m-2"}


def daily(seed: int, days: int = 731, start: str = "2001-01-01", dims=("site",), sizes=(2,), name="GPP") -> xr.Dataset:
    """A season with noise, as a prediction or as observations."""
    time = pd.date_range(start, periods=days)
    season = 5 + 3 * np.sin(2 * np.pi * np.arange(days) / 365.25)
    noise = np.random.default_rng(seed).normal(size=(days, *sizes))
    values = season.reshape(-1, *[1] * len(sizes)) + noise
    array = xr.DataArray(values.astype(np.float32), dims=("time", *dims), coords={"time": time})
    return array.assign_attrs(units=UNITS[name]).to_dataset(name=name)


def gappy(ds: xr.Dataset, seed: int = 7) -> xr.Dataset:
    """The same without a third of the values, and without one whole month."""
    there = xr.zeros_like(next(iter(ds.values())), dtype=bool)
    there[:] = np.random.default_rng(seed).random(there.shape) > 1 / 3
    return ds.where(there & (ds["time"].dt.strftime("%Y-%m") != "2001-03"))


def one(found: xr.Dataset, name: str, scale: str, variable: str = "GPP", **where) -> float:
    return float(found[name].sel(variable=variable, scale=scale, **where))


def why(found: xr.Dataset, scale: str, variable: str = "GPP", name: str = "reason", **where) -> str:
    return [*REASONS][int(found[name].sel(variable=variable, scale=scale, **where))]


def agree(found: xr.Dataset, predicted: np.ndarray, observed: np.ndarray, within: float = 1e-9) -> None:
    """Equal to what two other libraries make of the same pair."""
    both = np.isfinite(predicted) & np.isfinite(observed)
    p, o = predicted[both].astype(float), observed[both].astype(float)
    kge, r, alpha, beta = hydroeval.evaluator(hydroeval.kge, p, o).ravel()
    theirs = {"KGE": kge, "r": r, "KGE_alpha": alpha, "KGE_beta": beta}
    theirs |= {"NSE": hydroeval.evaluator(hydroeval.nse, p, o)[0], "RMSE": hydroeval.evaluator(hydroeval.rmse, p, o)[0]}
    theirs["bias"] = p.mean() - o.mean()
    for name, value in theirs.items():
        np.testing.assert_allclose(found[name], value, rtol=within, atol=within, err_msg=name)
    pair = xr.DataArray(p, dims="t"), xr.DataArray(o, dims="t")
    np.testing.assert_allclose(found["NSE"], scores.continuous.nse(*pair), rtol=within)
    np.testing.assert_allclose(found["KGE"], scores.continuous.kge(*pair), rtol=within)
    np.testing.assert_allclose(found["r"], scores.continuous.correlation.pearsonr(*pair), rtol=within)
    assert found["count"] == both.sum()


# -- the metrics -----------------------------------------------------------------------------------------------------


def test_by_hand():
    """Means 3.5 and 2.5; squared errors 1, 0, 1, 4; variances 2.75 and 1.25; covariance 1.75."""
    found = metrics(xr.DataArray([2.0, 2, 4, 6], dims="t"), xr.DataArray([1.0, 2, 3, 4], dims="t"), "t")
    r = 1.75 / np.sqrt(2.75 * 1.25)
    alpha, beta = np.sqrt(2.75 / 1.25), 3.5 / 2.5
    by_hand = {
        "NSE": 1 - 1.5 / 1.25,
        "KGE": 1 - np.sqrt((r - 1) ** 2 + (alpha - 1) ** 2 + (beta - 1) ** 2),
        "r": r,
        "KGE_alpha": alpha,
        "KGE_beta": beta,
        "RMSE": np.sqrt(1.5),
        "bias": 1.0,
    }
    assert by_hand.keys() == METRICS.keys()
    for name, value in by_hand.items():
        assert found[name].item() == pytest.approx(value, rel=1e-12), name
    assert found["count"] == 4
    assert found["reason"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_as_second_libraries_have_it(seed):
    ours, theirs = daily(seed)["GPP"], gappy(daily(seed + 10))["GPP"]
    ours[5:9, 0] = np.nan
    found = metrics(ours, theirs, "time")
    for k in range(2):
        agree(found.isel(site=k), ours[:, k].values, theirs[:, k].values)


def test_whole_weights_are_repetitions():
    p, o = daily(0, 40)["GPP"], daily(1, 40)["GPP"]
    weighted = metrics(p, o, ["time", "site"], weights=xr.DataArray([3.0, 1.0], dims="site"))
    repeated = metrics(p.isel(site=[0, 0, 0, 1]), o.isel(site=[0, 0, 0, 1]), ["time", "site"])
    for name in METRICS:
        np.testing.assert_allclose(weighted[name], repeated[name], rtol=1e-12, err_msg=name)


def test_a_perfect_prediction():
    o = daily(0)["GPP"]
    found = metrics(o, o, "time").isel(site=0)
    assert [found[name].item() for name in METRICS] == pytest.approx([1, 1, 1, 1, 1, 0, 0], abs=1e-12)
    mean = metrics(o.mean("time").broadcast_like(o), o, "time").isel(site=0)
    assert mean["NSE"].item() == pytest.approx(0, abs=1e-6)


# -- the scales ------------------------------------------------------------------------------------------------------


def scaled(series: pd.Series, scale: str) -> pd.Series:
    """The scales once more, in pandas."""
    if scale == "daily":
        return series
    monthly = series.resample("MS").mean()
    cycle = monthly.groupby(monthly.index.month)
    if scale == "monthly":
        return monthly
    if scale == "seasonal":
        return cycle.mean()
    if scale == "interannual":
        return (monthly - cycle.transform("mean")).where(cycle.transform("count") > 1)
    return pd.Series([monthly.mean()])


@pytest.mark.parametrize("scale", SCALES[:4])
def test_each_scale_of_daily_observations(scale):
    prediction, observed = daily(0, 1400), gappy(daily(1, 1400))
    found = prediction.h2cm.score(observed)
    for k in range(2):
        p, o = (ds["GPP"].isel(site=k).to_series() for ds in (prediction, observed))
        here = found.sel(variable="GPP", scale=scale).isel(site=k)
        p, o = (scaled(x.where(o.notna()).astype(float), scale).values for x in (p, o))
        if scale != "interannual":
            agree(here, p, o)
        else:  # the means are zero, and KGE is not defined
            assert np.isnan(here["KGE"])
            assert why(found, scale, site=k) == "no_mean"
            kept = np.isfinite(o)
            np.testing.assert_allclose(here["NSE"], hydroeval.evaluator(hydroeval.nse, p[kept], o[kept])[0], rtol=1e-9)
            np.testing.assert_allclose(here["r"], np.corrcoef(p[kept], o[kept])[0, 1], rtol=1e-9)
            assert here["count"] == kept.sum()


def test_means_of_cells_are_a_pattern_in_space():
    place = xr.DataArray([0.0, 2, 3, 7], dims="site")
    prediction, observed = daily(0, sizes=(4,)) + place, daily(1, sizes=(4,)) + 2 * place
    for ds in (prediction, observed):
        ds["GPP"].attrs["units"] = UNITS["GPP"]
    found = prediction.h2cm.score(observed)
    p, o = (ds["GPP"].astype(float).resample(time="MS").mean().mean("time").values for ds in (prediction, observed))
    here = found.sel(variable="GPP", scale="mean")
    agree(xr.Dataset({name: here[f"{name}_pooled"] for name in (*METRICS, "count")}), p, o, 1e-6)
    assert why(found, "mean", site=0) == "too_few_values"
    np.testing.assert_allclose(here["bias"], p - o)


def test_days_that_were_not_observed_do_not_matter():
    prediction, observed = daily(0), gappy(daily(1))
    other = prediction.where(observed["GPP"].notnull(), -1e6)
    other["GPP"].attrs = prediction["GPP"].attrs
    xr.testing.assert_allclose(prediction.h2cm.score(observed), other.h2cm.score(observed))


def test_what_is_missing_is_counted():
    prediction, observed = daily(0), daily(1)
    observed["GPP"][:40, 0] = np.nan  # January and nine days
    prediction["GPP"][100:103] = np.nan
    found = prediction.h2cm.score(observed)
    counts = {name: found[name].sel(variable="GPP").isel(site=0) for name in COUNTS}
    told = {scale: tuple(int(count.sel(scale=scale)) for count in counts.values()) for scale in SCALES}
    assert told["daily"] == (731 - 40 - 3, 40, 3)
    assert told["monthly"] == (24, 1, 0)  # 2003-01 has a day
    assert told["seasonal"] == (12, 0, 0)
    assert told["interannual"] == (24, 1, 0)
    assert told["mean"] == (1, 0, 0)
    pooled = {name: int(found[f"{name}_pooled"].sel(variable="GPP", scale="daily")) for name in COUNTS}
    assert pooled == {"count": 2 * 728 - 40, "missing": 40, "unused": 6}


def test_a_calendar_month_seen_in_one_year_has_no_anomaly():
    prediction, observed = daily(0, 365 + 31), daily(1, 365 + 31)
    found = prediction.h2cm.score(observed)
    assert one(found, "count", "interannual", site=0) == 2
    assert one(found, "unused", "interannual", site=0) == 11
    assert why(found, "interannual", site=0) == "too_few_values"


def months(ds: xr.Dataset, label: str = "MS") -> xr.Dataset:
    found = ds.resample(time=label).mean().rename(time="month")
    for name in found:
        found[name].attrs = ds[name].attrs
    return found


@pytest.mark.parametrize("label", ["MS", "ME"])
def test_monthly_observations_want_whole_months(label):
    whole = daily(1, 1400)
    prediction = daily(0, 1400).isel(time=slice(10, 1250))  # from the 11th of January to the 3rd of June
    found = prediction.h2cm.score(months(whole, label))
    p, o = (scaled(ds["GPP"].isel(site=1).to_series().astype(float), "monthly") for ds in (prediction, whole))
    p.iloc[[0, -1]] = np.nan
    agree(found.sel(variable="GPP", scale="monthly").isel(site=1), p.values, o.reindex(p.index).values, 1e-6)
    assert one(found, "unused", "monthly", site=1) == 2
    assert why(found, "daily", site=1) == "not_at_this_scale"
    assert one(found, "count", "daily", site=1) == 0
    assert np.isnan(one(found, "RMSE", "daily", site=1))
    assert one(found, "cells", "daily") == 0
    assert one(found, "cells", "monthly") == 2


def test_a_monthly_axis_may_be_called_time():
    prediction, observed = daily(0), months(daily(1))
    expected = prediction.h2cm.score(observed)
    xr.testing.assert_identical(prediction.h2cm.score(observed.rename(month="time")), expected)


def test_storage_is_compared_without_its_level():
    prediction, observed = daily(0, name="TWS"), gappy(daily(1, name="TWS"))
    found = prediction.h2cm.score(observed)
    shifted = prediction + xr.DataArray([100.0, -50.0], dims="site")
    shifted["TWS"].attrs = prediction["TWS"].attrs
    for name in ("NSE", "r", "RMSE", "NSE_pooled"):
        np.testing.assert_allclose(shifted.h2cm.score(observed)[name], found[name], rtol=1e-4, atol=1e-4)
    assert abs(one(found, "bias", "monthly", "TWS", site=0)) < 1e-6
    assert {why(found, scale, "TWS", site=0) for scale in SCALES[:4]} == {"no_mean"}
    assert why(found, "mean", "TWS", site=0) == "not_at_this_scale"
    p, o = (ds["TWS"].isel(site=0).to_series().astype(float) for ds in (prediction, observed))
    p, o = (scaled(x.where(o.notna()), "monthly").values for x in (p, o))
    p, o = (x - np.nanmean(x) for x in (p, o))
    kept = np.isfinite(o)
    theirs = hydroeval.evaluator(hydroeval.nse, p[kept], o[kept])[0]
    assert one(found, "NSE", "monthly", "TWS", site=0) == pytest.approx(theirs, rel=1e-9)


def test_an_observed_anomaly_and_an_observed_ratio():
    prediction = xr.merge([daily(0, name="NEE"), daily(1, name="GPP"), daily(2, name="NPP")])
    nee = daily(3, name="NEE")
    monthly = months(nee)["NEE"]
    calendar = monthly["month"].dt.month.values
    usual = [monthly[calendar == k].mean("month") for k in calendar]
    observed = xr.Dataset({"NEE_IAV": monthly - xr.concat(usual, "month").values})
    observed["NEE_IAV"].attrs["units"] = UNITS["NEE_IAV"]
    observed["CUE"] = ("site", [0.5, 0.4], {"units": "1"})
    found = prediction.h2cm.score(observed)
    assert found["variable"].values.tolist() == ["NEE_IAV", "CUE"]
    same = prediction.h2cm.score(months(nee))
    for name in ("NSE", "r", "RMSE"):
        np.testing.assert_allclose(
            found[name].sel(variable="NEE_IAV", scale="interannual"),
            same[name].sel(variable="NEE", scale="interannual"),
            rtol=1e-4,
        )
    assert why(found, "monthly", "NEE_IAV", site=0) == "not_at_this_scale"
    cue = prediction["NPP"].mean("time") / prediction["GPP"].mean("time")
    np.testing.assert_allclose(found["bias"].sel(variable="CUE", scale="mean"), cue - [0.5, 0.4], rtol=1e-5)


# -- targets of one's own ----------------------------------------------------------------------------------------------


def test_a_gauge_shows_the_mean_of_its_cells():
    at = {"lat": [50.0, 49.0], "lon": [0.0, 1.0, 2.0]}
    prediction = daily(0, dims=("lat", "lon"), sizes=(2, 3), name="ET").assign_coords(at)
    prediction["ET"][:, 1, 2] = np.nan
    prediction["ET"][:10, 0, 0] = np.nan
    share = np.zeros((4, 2, 3))
    share[0, 0, :2], share[1, 1, 0], share[2, 1, 1:] = [3, 1], 0.5, 1
    observed = gappy(daily(1, dims=("gauge",), sizes=(4,), name="ET")).rename(ET="flow")
    observed = observed.assign_coords(at).assign(share=(("gauge", "lat", "lon"), share))
    observed = observed.assign_coords(gauge=["a", "b", "c", "d"])
    row = Target("flow", "ET", "daily", cells="share")
    found = prediction.h2cm.score(observed, targets=[row])
    assert found["NSE"].dims == ("variable", "scale", "gauge")
    assert found["gauge"].values.tolist() == ["a", "b", "c", "d"]
    assert "lat" not in found.coords
    assert found["units"].item() == "kg m-2 d-1"
    et = prediction["ET"]
    agree(
        found.sel(variable="flow", scale="daily", gauge="a"),
        (0.75 * et[:, 0, 0] + 0.25 * et[:, 0, 1]).values,
        observed["flow"].sel(gauge="a").values,
        1e-6,
    )
    agree(found.sel(variable="flow", scale="daily", gauge="b"), et[:, 1, 0].values, observed["flow"][:, 1].values)
    assert [why(found, "daily", "flow", gauge=k) for k in "cd"] == ["no_prediction", "no_prediction"]
    assert one(found, "cells", "daily", "flow") == 2
    apart = prediction.h2cm.score(observed, targets=[row], groups=xr.DataArray([1, 1, 2, 2], dims="gauge"))
    np.testing.assert_allclose(apart["NSE"].sel(group=1, gauge="a"), found["NSE"].sel(gauge="a"))
    folds = xr.concat([prediction, prediction + 1], "fold")
    shifted = folds.h2cm.score(observed, targets=[row])["bias"].sel(gauge="a", scale="daily", variable="flow")
    np.testing.assert_allclose(shifted.diff("fold"), 1, rtol=1e-5)


def test_rows_of_ones_own():
    prediction = xr.merge([daily(0, name="GPP"), daily(4, name="ET"), daily(5, name="TWS")])
    quality = xr.DataArray(np.linspace(-0.5, 1, 731).clip(0), dims="time")
    observed = xr.merge([daily(1), daily(2, name="ET").rename(ET="lysimeter")]).assign(
        qc=quality * xr.ones_like(daily(1)["GPP"])
    )
    rows = [Target("GPP", quality="qc"), Target("lysimeter", "ET")]
    found = prediction.h2cm.score(observed, targets=rows)
    assert found["variable"].values.tolist() == ["GPP", "lysimeter"]
    assert one(found, "count", "daily", site=0) == int((quality > 0).sum())
    expected = prediction.h2cm.score(daily(2, name="ET"))
    np.testing.assert_allclose(found["NSE"].sel(variable="lysimeter"), expected["NSE"].sel(variable="ET"))
    level = prediction.h2cm.score(daily(2, name="TWS"), targets=[Target("TWS", compare="monthly")])
    assert why(level, "monthly", "TWS", site=0) == "scored"


# -- the land, the folds, the groups ---------------------------------------------------------------------------------


def test_cells_of_a_grid_weigh_by_area():
    at = {"lat": [60.0, 0.0, -30.0], "lon": [0.0, 10.0]}
    prediction, observed = (daily(k, dims=("lat", "lon"), sizes=(3, 2)).assign_coords(at) for k in range(2))
    found = prediction.h2cm.score(observed)
    assert found["NSE"].dims == ("variable", "scale", "lat", "lon")
    assert found["NSE_pooled"].dims == ("variable", "scale")
    area = np.cos(np.deg2rad(xr.DataArray(at["lat"], dims="lat"))) * xr.DataArray([1.0, 1.0], dims="lon")
    p, o = (ds["GPP"].drop_vars(["lat", "lon"]) for ds in (prediction, observed))
    error = ((p - o) ** 2).weighted(area).mean()
    mean = o.weighted(area).mean()
    nse = 1 - error / ((o - mean) ** 2).weighted(area).mean()
    assert one(found, "NSE_pooled", "daily") == pytest.approx(float(nse), rel=1e-5)
    given = prediction.h2cm.score(observed.assign(area=(("lat", "lon"), np.ones((3, 2)), {"units": "m2"})))
    assert one(given, "RMSE_pooled", "daily") == pytest.approx(float(np.sqrt(((p - o) ** 2).mean())), rel=1e-5)
    heavy = observed.assign(area=(("lat", "lon"), [[1, 1], [1, 1], [1, 1e6]], {"units": "m2"}))
    for name in METRICS:
        alone = prediction.h2cm.score(heavy)
        cell = one(alone, name, "monthly", lat=-30, lon=10)
        assert one(alone, f"{name}_pooled", "monthly") == pytest.approx(cell, abs=1e-4)
        assert one(alone, f"{name}_median", "monthly") == pytest.approx(cell, abs=1e-4)


def test_one_cell():
    prediction, observed = (daily(k).isel(site=0) for k in range(2))
    found = prediction.h2cm.score(observed)
    assert found["NSE"].dims == ("variable", "scale")
    for name in METRICS:
        np.testing.assert_allclose(found[name], found[f"{name}_pooled"], atol=1e-12)
        np.testing.assert_allclose(found[name], found[f"{name}_median"])


def test_cells_that_are_not_predicted_are_no_cells():
    prediction, observed = daily(0, sizes=(3,)), daily(1, sizes=(3,))
    prediction["GPP"][:, 2] = np.nan
    found = prediction.h2cm.score(observed)
    assert why(found, "daily", site=2) == "no_prediction"
    assert one(found, "missing_pooled", "daily") == 0
    assert one(found, "unused_pooled", "daily") == 731
    assert one(found, "cells", "daily") == 2
    smaller = prediction.isel(site=[0, 1]).h2cm.score(observed.isel(site=[0, 1]))
    np.testing.assert_allclose(found["KGE_pooled"], smaller["KGE_pooled"])
    np.testing.assert_allclose(found["NSE_median"], smaller["NSE_median"])


def test_every_fold_is_scored():
    folds = [daily(k) for k in range(3)]
    prediction, observed = xr.concat(folds, xr.DataArray([0, 2, 5], dims="fold", name="fold")), gappy(daily(9))
    found = prediction.h2cm.score(observed)
    assert found["NSE"].dims == ("variable", "scale", "fold", "site")
    assert found["NSE_pooled"].dims == ("variable", "scale", "fold")
    for k, number in enumerate([0, 2, 5]):
        alone = folds[k].h2cm.score(observed)
        for name in (*METRICS, *(f"{name}_pooled" for name in METRICS), *(f"{name}_median" for name in METRICS)):
            np.testing.assert_allclose(found[name].sel(fold=number), alone[name], rtol=1e-9, atol=1e-9)


def test_groups_of_cells():
    prediction, observed = daily(0, sizes=(4,)), gappy(daily(1, sizes=(4,)))
    labels = xr.DataArray(["forest", "grass", "forest", ""], dims="site")
    found = prediction.h2cm.score(observed, groups=labels)
    assert found["NSE"].dims == ("group", "variable", "scale", "site")
    assert found["group"].values.tolist() == ["forest", "grass"]
    alone = prediction.isel(site=[0, 2]).h2cm.score(observed.isel(site=[0, 2]))
    np.testing.assert_allclose(found["NSE_pooled"].sel(group="forest"), alone["NSE_pooled"])
    np.testing.assert_allclose(found["NSE"].sel(group="forest").isel(site=[0, 2]), alone["NSE"])
    assert np.isnan(found["NSE"].sel(group="forest").isel(site=1)).all()
    named = prediction.h2cm.score(observed.assign(cover=labels), groups="cover")
    xr.testing.assert_identical(named, found)


def test_groups_of_years_take_whole_months():
    prediction, observed = daily(0), daily(1)
    years = prediction["time"].dt.year.where(prediction["time"].dt.year < 2003).rename("year")
    found = prediction.h2cm.score(observed, groups=years)
    assert found["group"].values.tolist() == [2001, 2002]
    alone = prediction.sel(time="2002").h2cm.score(observed.sel(time="2002"))
    np.testing.assert_allclose(found["NSE"].sel(group=2002), alone["NSE"])
    turn = xr.where(prediction["time"] < np.datetime64("2001-06-16"), "early", "late")
    found = prediction.h2cm.score(months(observed), groups=turn)
    assert found["count"].sel(variable="GPP", scale="monthly").isel(site=0).values.tolist() == [5, 18]  # not June


def test_groups_of_cells_and_days():
    prediction, observed = daily(0), daily(1)
    years = prediction["time"].dt.year
    labels = xr.where(xr.DataArray([True, False], dims="site"), years, 4000 - years)
    found = prediction.h2cm.score(observed, groups=labels)
    alone = prediction.isel(site=1).sel(time="2002").h2cm.score(observed.isel(site=1).sel(time="2002"))
    np.testing.assert_allclose(found["NSE"].sel(group=1998).isel(site=1), alone["NSE"])


def test_other_calendars_and_longer_records_lie_side_by_side():
    prediction, observed = daily(0), daily(1)
    expected = prediction.sel(time=slice(None, "2002")).h2cm.score(observed)
    longer = xr.concat([daily(2, 100, "2000-09-23"), observed], "time")
    longer["GPP"].attrs = observed["GPP"].attrs
    turned = longer.convert_calendar("noleap")
    assert turned["time"].dtype == object
    found = prediction.sel(time=slice(None, "2002")).h2cm.score(turned)
    xr.testing.assert_identical(found.drop_vars("units"), expected.drop_vars("units"))


def test_dask_is_computed_once_and_gives_the_same():
    prediction, observed = daily(0, sizes=(4,)), months(daily(1, sizes=(4,)))
    lazy = prediction.chunk(site=1), observed.chunk(site=2)
    calls = []

    def scheduler(graph, keys, **kwargs):
        calls.append(keys)
        return dask.threaded.get(graph, keys, **kwargs)

    with dask.config.set(scheduler=scheduler):
        found = lazy[0].h2cm.score(lazy[1])
    assert len(calls) == 1
    xr.testing.assert_allclose(found, prediction.h2cm.score(observed))
    time_chunks = prediction.chunk(time=100).h2cm.score(observed)
    xr.testing.assert_allclose(time_chunks, found)


# -- where there is no score -----------------------------------------------------------------------------------------


def test_series_without_a_score_say_why():
    prediction, observed = daily(0, sizes=(7,), name="NPP"), daily(1, sizes=(7,), name="NPP")
    p, o = prediction["NPP"], observed["NPP"]
    o[:, 0] = 0.1  # the mean of many 0.1 is not 0.1
    p[:, 1] = 0.1
    o[:, 2] = np.nan
    o[2:, 3] = np.nan
    p[:300, 4], o[300:, 4] = np.nan, np.nan
    o[:, 5] -= o[:, 5].mean()
    o[:, 5] -= o[:, 5].mean()
    found = prediction.h2cm.score(observed)
    why_not = [why(found, "daily", "NPP", site=k) for k in range(7)]
    assert why_not == [
        "constant_observation",
        "constant_prediction",
        "no_observation",
        "too_few_values",
        "no_overlap",
        "no_mean",
        "scored",
    ]
    there = {name: found[name].sel(variable="NPP", scale="daily").notnull().values.tolist() for name in METRICS}
    assert there["NSE"] == [False, True, False, False, False, True, True]
    assert there["r"] == [False, False, False, False, False, True, True]
    assert there["KGE"] == [False, False, False, False, False, False, True]
    assert there["KGE_alpha"] == [False, True, False, False, False, True, True]
    assert there["KGE_beta"] == [True, True, False, False, False, False, True]
    assert there["RMSE"] == there["bias"] == [True, True, False, True, False, True, True]
    assert why(found, "interannual", "NPP", site=0) == "constant_observation"
    assert why(found, "seasonal", "NPP", site=1) == "constant_prediction"
    assert why(found, "daily", "NPP", "reason_pooled") == "scored"


def test_rounding_is_no_variation():
    o = daily(0)["GPP"].isel(site=0).astype(float)
    flat = 0.1 + 1e-12 * daily(1)["GPP"].isel(site=0).astype(float)
    found = metrics(flat, o, "time")
    assert np.isnan(found[["r", "KGE"]].to_array()).all()
    assert [*REASONS][int(found["reason"])] == "constant_prediction"
    assert np.isnan(metrics(o, flat, "time")[["NSE", "r", "KGE", "KGE_alpha"]].to_array()).all()


def test_a_year_of_one_value_everywhere():
    observed = daily(1).map(xr.zeros_like)
    observed["GPP"].attrs["units"] = UNITS["GPP"]
    found = daily(0).h2cm.score(observed)
    assert why(found, "daily", name="reason_pooled") == "constant_observation"
    assert np.isnan(one(found, "NSE_median", "daily"))
    assert one(found, "RMSE_pooled", "daily") > 0


@pytest.mark.parametrize(
    "change",
    [
        lambda o: o.isel(site=[1, 0]),
        lambda o: o.assign_coords(site=o["site"].astype("float32") + np.float32(1e-5)),
        lambda o: xr.concat([o, o.assign_coords(site=o["site"] + 9)], "site"),
        lambda o: o.transpose("time", "site"),
        lambda o: o.assign_coords(time=o["time"] + np.timedelta64(12, "h")),
    ],
    ids=["order", "rounding", "more", "transposed", "noon"],
)
def test_observations_are_aligned_by_their_coordinates(change):
    """Labels decide, never positions, and a latitude in single precision is the same latitude."""
    prediction, observed = (daily(k).assign_coords(site=[52.3, 52.4]) for k in (0, 1))
    observed["GPP"] = observed["GPP"] * xr.DataArray([1.0, 2.0], dims="site")
    observed["GPP"].attrs["units"] = UNITS["GPP"]
    expected = prediction.h2cm.score(observed)
    xr.testing.assert_identical(prediction.h2cm.score(change(observed)), expected)


def test_infinite_values_are_missing():
    prediction, observed = daily(0), daily(1)
    observed["GPP"][3], prediction["GPP"][5] = np.inf, -np.inf
    found = prediction.h2cm.score(observed)
    assert (one(found, "missing", "daily", site=0), one(found, "unused", "daily", site=0)) == (1, 1)
    assert np.isfinite(one(found, "NSE", "daily", site=0))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p, o: (p["GPP"], o), r"prediction: is a DataArray"),
        (lambda p, o: (p, o["GPP"]), r"observations: is a DataArray"),
        (lambda p, o: (p, o.rename(GPP="something")), r"hold nothing to compare with what is predicted \(GPP\)"),
        (lambda p, o: (p.rename(GPP="something"), o), r"hold nothing to compare"),
        (lambda p, o: (p, o.assign_coords(time=o["time"] + np.timedelta64(5000, "D"))), r"runs from 2014.*outside"),
        (lambda p, o: (p, o.isel(site=[0])), r"observations: has 1 along 'site', the prediction has 2"),
        (lambda p, o: (p, o.rename(site="gauge")), r"lies on the axes \(time, gauge\), the prediction on \(site\)"),
        (
            lambda p, o: (p.assign_coords(site=["a", "b"]), o.assign_coords(site=["b", "c"])),
            r"lacks 1 of the 2 labels of the prediction along 'site', the first a",
        ),
        (lambda p, o: (p.resample(time="MS").mean(), o), r"is not daily and in order"),
        (lambda p, o: (p.isel(time=[0]), o), r"is not daily and in order"),
        (lambda p, o: (p.mean("time"), o), r"has no axis `time`"),
        (lambda p, o: (p, o.drop_attrs()), r"GPP: has no units"),
        (lambda p, o: (p, o.assign(area=("site", [1.0, 1.0], {"units": "K"}))), r"area: is in 'K'"),
        (lambda p, o: (p, o.assign(area=("site", [0.0, np.nan], {"units": "m2"}))), r"area: is above 0 in no cell"),
        (lambda p, o: (p, o.isel(time=[0, 8, 16, 24])), r"neither daily nor monthly"),
    ],
)
def test_what_cannot_be_compared_is_an_error_with_a_remedy(change, said):
    prediction, observed = change(daily(0), daily(1))
    with pytest.raises(InputError, match="(?s)" + said + ".*->"):
        score(prediction, observed)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"groups": "cover"}, r"no variable 'cover' in the observations"),
        ({"groups": xr.DataArray([1, 2], dims="region")}, r"lie on \('region',\), not on time, site"),
        ({"groups": xr.DataArray([1, 2, 3], dims="site")}, r"groups: has 3 along 'site', what is compared has 2"),
        ({"groups": xr.DataArray([np.nan, np.nan], dims="site")}, r"hold no label"),
        ({"groups": xr.DataArray(1)}, r"lie on \(\)"),
        ({"targets": ["ET"]}, r"ET: was asked for and is not in the prediction"),
        ({"targets": ["GPPP"]}, r"'GPPP'"),
        ({"names": {"GPP": "nothing"}}, r"is mapped to 'nothing'"),
        ({"names": {"gross": "GPP"}}, r"names no variable of the model"),
        ({"targets": [Target("GPP", mapping=np.log)]}, r"target GPP: is mapped, and no variable of the prediction"),
        ({"targets": [Target("GPP", compare="standardised")]}, r"target GPP: has no units to be scored in"),
        ({"targets": ["GPP", Target("flow", "GPP", cells="share")]}, r"different land: GPP on site, flow on gauge"),
        ({"units": {"gp": "1"}}, r"units\['gp'\]: names no variable of the dataset"),
        ({"units": {"GPP": "mm day-1"}}, r"GPP: is in 'mm day-1'"),
    ],
)
def test_arguments_that_mean_nothing(arguments, said):
    flow = daily(1, dims=("gauge",), sizes=(1,))["GPP"]
    observed = daily(1).assign(flow=flow, share=(("gauge", "site"), [[1, 1]]))
    with pytest.raises(InputError, match=said):
        daily(0).h2cm.score(observed, **arguments)


def test_the_library_of_scores_is_imported_when_it_is_needed():
    code = "import sys, xh2cm; sys.exit(bool({'torch', 'scores'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- what is said beside the numbers ---------------------------------------------------------------------------------


def test_names_units_and_targets_are_those_of_check():
    prediction = xr.merge([daily(0, name="GPP"), daily(5, name="ET")])
    other = daily(1).rename(GPP="flux") / 12.011e-6 / 86400
    found = prediction.h2cm.score(other, names={"GPP": "flux"}, units={"flux": "umolCO2 m-2 s-1"})
    expected = prediction.h2cm.score(daily(1))
    for name in METRICS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-4)
    both = xr.merge([daily(1, name="GPP"), daily(2, name="ET")])
    assert prediction.h2cm.score(both)["variable"].values.tolist() == ["ET", "GPP"]
    assert prediction.h2cm.score(both, targets=["GPP"])["variable"].values.tolist() == ["GPP"]
    late = daily(2, name="ET", start="2011-01-01").rename(time="later")
    found = prediction.h2cm.score(xr.merge([daily(1), late]))
    assert found["variable"].values.tolist() == ["GPP"]
    assert "ET is left out" in found.attrs["comment"]


def test_attributes(tmp_path):
    prediction = xr.merge([daily(0, name="GPP"), daily(5, name="ET")], combine_attrs="drop")
    found = prediction.h2cm.score(xr.merge([daily(1, name="GPP"), daily(2, name="ET")]))
    assert found["units"].to_series().to_dict() == {"GPP": "g m-2 d-1", "ET": "kg m-2 d-1"}
    for name, array in found.items():
        assert array.attrs["long_name"], name
        assert ("units" in array.attrs) != (name.split("_")[0] in {"RMSE", "bias", "reason"}), name
    flags = found["reason"].attrs
    assert len(flags["flag_meanings"].split()) == len(flags["flag_values"]) == len(REASONS)
    assert flags["flag_values"].dtype == found["reason"].dtype == np.int8
    assert found.attrs["held_out"].startswith("unknown")
    found.to_netcdf(tmp_path / "scores.nc")
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "scores.nc"), found)
    found.h2cm.to_zarr(tmp_path / "scores.zarr")
    xr.testing.assert_equal(xr.open_zarr(tmp_path / "scores.zarr").load(), found)


def test_what_was_not_held_out_does_not_look_like_it(twin):
    twin = twin.isel(time=slice(0, 120), month=slice(0, 4))
    fit = twin.h2cm.fit(2, scheme="cells", width=6, epochs=1, progress=False)
    for member, answer, words in (
        ("held-out", "yes", r"\(held out\)"),
        ("mean", "no", r"\(mean of the folds\)"),
        ("all", "no", r"\(each fold\)"),
        (1, "only where fold 1", r"\(fold 1\)"),
    ):
        found = twin.h2cm.predict(fit, variables=["ET"], member=member).h2cm.score(twin)
        assert found.attrs["member"] == str(member)
        assert found.attrs["held_out"].startswith(answer)
        assert all(re.search(words, found[f"NSE{of}"].attrs["long_name"]) for of in ("", "_pooled", "_median"))
    by_fold = twin.h2cm.predict(fit, variables=["ET"], member=1).h2cm.score(twin, groups=fit.labels)
    held = twin.h2cm.predict(fit, variables=["ET"], member="held-out").h2cm.score(twin, groups=fit.labels)
    np.testing.assert_allclose(by_fold["NSE_pooled"].sel(group=1), held["NSE_pooled"].sel(group=1), rtol=1e-4)


# -- real data -------------------------------------------------------------------------------------------------------


def test_towers(shared):
    """Years held out at real towers; the numbers once more from pandas and hydroeval."""
    with xr.open_dataset(shared("data/flux_sites_1996_2014.nc")) as whole:
        ds = whole.sel(time=slice("2009", "2010")).load()
    assert (ds["forcing_ok"] == 1).all()
    targets = ["GPP", "ET"]
    learning = {"window": 91, "spinup": 91, "width": 6, "epochs": 1, "progress": False}
    fit = ds.h2cm.fit(2, scheme="years", targets=dict.fromkeys(targets, "daily"), **learning)
    out = ds.h2cm.predict(fit, variables=targets, member="held-out")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = out.h2cm.score(ds, groups=fit.labels)
    assert found.attrs["held_out"].startswith("yes")
    for year, label in zip(("2009", "2010"), fit.labels.sel(time=["2009-07-01", "2010-07-01"]).values, strict=True):
        here = found.sel(group=label, variable="GPP", site="FR-Pue")
        p = out["GPP"].sel(site="FR-Pue", time=year).to_series().astype(float)
        o = ds["gpp"].sel(site="FR-Pue", time=year).to_series().astype(float)
        agree(here.sel(scale="daily"), p.values, o.values)
        p, o = (scaled(x.where(o.notna()), "monthly").values for x in (p, o))
        agree(here.sel(scale="monthly"), p, o)
    unseen = found["reason"].sel(variable="ET", site="CH-Dav", scale="daily")
    assert (unseen == [*REASONS].index("no_observation")).all()
    assert (found["missing"].sel(variable="ET", site="CH-Dav", scale="daily") == 365).all()


def test_the_table_is_what_is_looked_at_first(twin):
    out = xr.Dataset({"ET": twin["ET"].rename(month="time").resample(time="D").ffill()})
    out["ET"].attrs["units"] = twin["ET"].attrs["units"]
    scores = out.h2cm.score(twin)
    table = scores.h2cm.score_table()
    assert table.index.names == ["variable", "scale"]
    assert ("ET", "daily") not in table.index  # observed by month
    assert table.loc[("ET", "monthly"), "observations"] == scores["count_pooled"].sel(variable="ET", scale="monthly")
    assert table.loc[("ET", "mean"), "NSE, pooled"] == round(
        scores["NSE_pooled"].sel(variable="ET", scale="mean").item(), 2
    )
    assert table.loc[("ET", "interannual"), "absent because"] == "no mean"
    groups = out.h2cm.score(twin, groups=xr.where(twin["lat"] > 0, "north", "south")).h2cm.score_table()
    assert groups.index.names == ["group", "variable", "scale"]
    with pytest.raises(InputError, match="scores: are none"):
        twin.h2cm.score_table()
