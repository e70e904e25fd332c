"""The spread over folds, and whether it is as wide as observations need: known draws must come out as what they are."""

from __future__ import annotations

import dask
import dask.threaded
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xh2cm.errors import InputError
from xh2cm.evaluate.ensemble import coverage, spread

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")  # of means over nothing, of divisions by 0

DAYS, SITES = 1200, 5
GPP = {
    "units": "g m-2 d-1",
    "long_name": "gross primary production",
    "cell_methods": "time: mean",
    "valid_range": [0, 9],
}


def draws(folds: int, wide: float = 1.0, seed: int = 0) -> tuple[xr.Dataset, xr.Dataset]:
    """Folds and an observation that differ from what is common to them alike; ``wide`` stretches the folds."""
    random = np.random.default_rng(seed)
    time = pd.date_range("2001-01-01", periods=DAYS)
    common = 5 + 3 * random.normal(size=(DAYS, SITES))
    fold = common + wide * random.normal(size=(folds, DAYS, SITES))
    observed = common + random.normal(size=(DAYS, SITES))
    coords = {"time": time, "site": list("abcde")}
    prediction = xr.DataArray(fold, dims=("fold", "time", "site"), coords={"fold": range(folds), **coords})
    truth = xr.DataArray(observed, dims=("time", "site"), coords=coords)
    return tuple(x.assign_attrs(GPP).to_dataset(name="GPP") for x in (prediction, truth))


# -- spread ----------------------------------------------------------------------------------------------------------


def test_statistics_by_hand():
    values = xr.DataArray([[1.0, 2], [3, 2], [8, 2]], dims=("fold", "time"), attrs=GPP)
    found = spread(xr.Dataset({"GPP": values, "q10": ("fold", [1.0, 1.5, 2.0]), "elevation": ((), 3.0)}))
    assert found["GPP_mean"].values.tolist() == [4, 2]
    assert found["GPP_min"].values.tolist() == [1, 2]
    assert found["GPP_max"].values.tolist() == [8, 2]
    np.testing.assert_allclose(found["GPP_std"], [np.sqrt((9 + 1 + 16) / 2), 0])
    assert found["q10_std"].item() == 0.5
    assert len(found) == 8


def test_attributes_of_the_spread():
    prediction = draws(3)[0].assign_attrs(member="all")
    found = spread(prediction)
    assert found["GPP_std"].attrs == {
        "units": "g m-2 d-1",
        "long_name": "gross primary production, standard deviation over the folds",
        "cell_methods": "time: mean realization: standard_deviation",
    }
    assert found["GPP_max"].attrs["valid_range"] == [0, 9]
    assert found["GPP_max"].attrs["cell_methods"] == "time: mean realization: maximum"
    assert found.attrs["member"] == "all"
    assert "not the whole uncertainty" in found.attrs["comment"]
    assert found["GPP_mean"].dims == ("time", "site")


def test_the_spread_is_lazy():
    def never(*_, **__):
        raise AssertionError("something was computed")

    prediction = draws(3)[0]
    with dask.config.set(scheduler=never):
        found = prediction.chunk(site=2).h2cm.spread()
    xr.testing.assert_allclose(found.compute(), prediction.h2cm.spread())


# -- coverage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folds", [3, 10])
def test_draws_of_one_distribution_are_calibrated(folds):
    prediction, observed = draws(folds)
    found = prediction.h2cm.coverage(observed).sel(variable="GPP")
    most = (folds - 1) / (folds + 1)
    np.testing.assert_allclose(found["expected"], [min(level, most) for level in (0.5, 0.8, 0.9, 1.0)])
    assert found["interval"].values.tolist() == ["50 %", "80 %", "90 %", "range"]
    # 6000 independent days: a standard error of 0.0065; 40 months x 5: 0.035. Quantiles between folds are a little wide
    np.testing.assert_allclose(found["coverage"].sel(scale="daily"), found["expected"], atol=0.03)
    np.testing.assert_allclose(found["coverage"].sel(scale="monthly"), found["expected"], atol=0.11)
    np.testing.assert_allclose(found["coverage"].sel(scale="daily", interval="range"), most, atol=0.02)
    assert found["spread_skill"].sel(scale="daily") == pytest.approx(1, abs=0.03)
    assert found["spread_skill"].sel(scale="monthly") == pytest.approx(1, abs=0.15)
    ranks = found["rank_histogram"].sel(scale="daily")
    assert ranks.sizes["rank"] == folds + 1
    np.testing.assert_allclose(ranks, 1 / (folds + 1), atol=0.02)
    assert found["count"].sel(scale="daily") == DAYS * SITES


@pytest.mark.parametrize(("wide", "verdict"), [(0.3, "narrow"), (3.0, "wide")])
def test_a_wrong_spread_is_seen(wide, verdict):
    prediction, observed = draws(8, wide)
    found = prediction.h2cm.coverage(observed).sel(variable="GPP", scale="daily")
    ranks = found["rank_histogram"].values
    if verdict == "narrow":
        assert (found["coverage"] < found["expected"] - 0.2).all()
        assert found["spread_skill"] < 0.5
        assert min(ranks[[0, -1]]) > 2 * max(ranks[1:-1])
    else:
        assert (found["coverage"] > found["expected"] + 0.1).all()
        assert found["spread_skill"] > 1.5
        assert max(ranks[[0, -1]]) < min(ranks[1:-1])


def test_by_hand():
    """Folds 1, 3, 5 each day; observed 0, 1, 2, 3, 4, 6: four within the range, the ranks of 1 and 3 shared out."""
    time = pd.date_range("2001-01-01", periods=6)
    prediction = xr.DataArray([[1.0] * 6, [3.0] * 6, [5.0] * 6], dims=("fold", "time"), coords={"time": time})
    observed = xr.DataArray([0.0, 1, 2, 3, 4, 6], dims="time", coords={"time": time})
    prediction, observed = (x.assign_attrs(units="g m-2 d-1").to_dataset(name="GPP") for x in (prediction, observed))
    found = prediction.h2cm.coverage(observed, levels=[0.25]).sel(variable="GPP", scale="daily")
    # The quarter lies from 0.375 x 4 = the 1.5th to the 2.5th lowest of three: from 2 to 4
    assert found["coverage"].values == pytest.approx([3 / 6, 4 / 6])
    assert found["expected"].values == pytest.approx([0.25, 0.5])
    assert found["rank_histogram"].values * 6 == pytest.approx([1.5, 2, 1.5, 1])
    assert found["spread"] == pytest.approx(2)
    assert found["error"] == pytest.approx(np.sqrt((9 + 4 + 1 + 0 + 1 + 9) / 6))
    assert found["spread_skill"] == pytest.approx(np.sqrt(4 / 3) * 2 / np.sqrt(24 / 6))


def test_cells_weigh_by_area():
    prediction, observed = draws(4)
    alone = prediction.isel(site=[1]).h2cm.coverage(observed.isel(site=[1]))
    heavy = observed.assign(area=("site", [1.0, 1e9, 1, 1, 1], {"units": "m2"}))
    found = prediction.h2cm.coverage(heavy)
    for name in ("coverage", "rank_histogram", "spread", "error", "spread_skill"):
        np.testing.assert_allclose(found[name], alone[name], rtol=1e-6, atol=1e-6)


def test_gaps_scales_and_groups():
    prediction, observed = draws(4)
    observed["GPP"][:100, 0] = np.nan
    prediction["GPP"][2, 200:210] = np.nan
    found = prediction.h2cm.coverage(observed)
    told = {name: int(found[name].sel(variable="GPP", scale="daily")) for name in ("count", "missing", "unused")}
    assert told == {"count": (DAYS - 10) * SITES - 100, "missing": 100, "unused": 10 * SITES}
    labels = xr.DataArray([0.0, 0, 1, 1, np.nan], dims="site")
    apart = prediction.h2cm.coverage(observed, groups=labels)
    alone = prediction.isel(site=[2, 3]).h2cm.coverage(observed.isel(site=[2, 3]))
    np.testing.assert_allclose(apart["coverage"].sel(group=1), alone["coverage"])
    months = observed.resample(time="MS").mean()
    months["GPP"].attrs = GPP
    monthly = prediction.h2cm.coverage(months)
    assert np.isnan(monthly["coverage"].sel(variable="GPP", scale="daily")).all()
    assert monthly["count"].sel(variable="GPP", scale="daily") == 0
    assert monthly["count"].sel(variable="GPP", scale="seasonal") == 12 * SITES


def test_nothing_to_look_at_is_no_crash():
    prediction, observed = draws(3)
    observed["GPP"][:] = np.nan
    found = prediction.h2cm.coverage(observed)
    for name in ("coverage", "rank_histogram", "spread", "error", "spread_skill"):
        assert np.isnan(found[name]).all(), name
    weightless = draws(3)[1].where(observed["site"] == "a").assign(area=("site", [0.0, 1, 1, 1, 1], {"units": "m2"}))
    assert np.isnan(prediction.h2cm.coverage(weightless)["coverage"]).all()
    flat = prediction * 0
    flat["GPP"].attrs = GPP
    same = flat.isel(fold=0, drop=True)
    found = flat.h2cm.coverage(same).sel(variable="GPP", scale="daily")
    assert (found["coverage"] == 1).all()  # a bound belongs to its interval
    assert np.isnan(found["spread_skill"])


def test_dask_is_computed_once():
    prediction, observed = draws(3)
    calls = []

    def scheduler(graph, keys, **kwargs):
        calls.append(keys)
        return dask.threaded.get(graph, keys, **kwargs)

    with dask.config.set(scheduler=scheduler):
        found = prediction.chunk(site=1).h2cm.coverage(observed.chunk(site=2))
    assert len(calls) == 1
    xr.testing.assert_allclose(found, prediction.h2cm.coverage(observed))


@pytest.mark.parametrize(
    ("change", "levels", "said"),
    [
        (lambda ds: ds.isel(fold=0, drop=True), (0.5,), "has no dimension fold"),
        (lambda ds: ds.isel(fold=[0]), (0.5,), "has a single fold"),
        (lambda ds: ds, (0.5, 90), "90 is not between 0 and 1"),
    ],
)
def test_what_has_no_spread_is_an_error(change, levels, said):
    prediction, observed = draws(3)
    with pytest.raises(InputError, match=said):
        coverage(change(prediction), observed, levels=levels)
    if "fold" in said:
        with pytest.raises(InputError, match=said):
            spread(change(prediction))


def test_of_a_fit(twin, tmp_path):
    twin = twin.isel(time=slice(0, 120), month=slice(0, 4))
    fit = twin.h2cm.fit(3, scheme="cells", width=6, epochs=1, progress=False)
    out = twin.h2cm.predict(fit, variables=["ET", "TWS", "q10"], member="all")
    around = out.h2cm.spread()
    assert (around["ET_min"] <= around["ET_mean"]).all()
    assert around["q10_std"].dims == ()
    found = out.h2cm.coverage(twin)
    assert found.attrs["member"] == "all"
    assert found.attrs["held_out"].startswith("no")
    assert "not the whole uncertainty" in found.attrs["comment"]
    assert found["coverage"].dims == ("variable", "scale", "interval")
    for name, array in found.items():
        assert array.attrs["long_name"], name
    found.to_netcdf(tmp_path / "coverage.nc")
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "coverage.nc"), found)
