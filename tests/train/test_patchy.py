"""Training and prediction on land with sea, gaps, partial months, test cells and test days."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import xh2cm
from xh2cm import Target
from xh2cm.train import Run

TARGETS = [Target("TWS"), Target("ET", compare="monthly"), Target("GPP", compare="monthly", quality="gpp_qc")]
HOW = {"targets": TARGETS, "width": 5, "epochs": 2, "batch_size": 3, "patience": None, "spinup": 30, "progress": False}


@pytest.fixture(scope="module")
def fit(patchy, patchy_labels):
    return patchy.h2cm.fit(patchy_labels, **HOW)


def of_month(labels, months):
    """Labels of days as those of the months they belong to."""
    of_month = labels.groupby("time.month").first().reindex(month=months.dt.month, fill_value=False)
    return of_month.drop_vars("month").astype(bool)


def test_cells_are_used_on_the_days_that_have_forcing(patchy):
    checked = patchy.h2cm.check(targets=TARGETS)
    assert (checked.cells, checked.usable, checked.outside) == (8, 7, 1)
    assert (checked.dataset["forcing_days"] < patchy.sizes["time"]).sum() == 2  # the sea, and the cell with a gap
    assert patchy.h2cm.check(targets=TARGETS, missing="drop").usable == 6
    assert "observations have no quality and count for nothing" in str(checked)


def test_what_is_kept_for_a_test_changes_no_weight(patchy, patchy_labels, fit):
    """Neither through the loss nor through what is scaled by."""
    spoiled, hidden = patchy.copy(), patchy_labels == -1
    for name in ("TWS", "ET", "GPP"):
        where = of_month(hidden, patchy["month"]) if "time" in hidden.dims else hidden
        spoiled[name] = patchy[name].where(~where, 0.7).assign_attrs(patchy[name].attrs)
    if "lat" in hidden.dims:
        for name in ("vpd", "clay"):
            spoiled[name] = patchy[name].where(~hidden, 0.5 * patchy[name]).assign_attrs(patchy[name].attrs)
    again = spoiled.h2cm.fit(patchy_labels, **HOW)
    assert torch.equal(again.weights, fit.weights)
    xr.testing.assert_identical(again.losses, fit.losses)
    for ours, theirs in zip(again.scaling, fit.scaling, strict=True):
        assert torch.equal(ours, theirs)


def test_what_is_kept_for_a_test_is_predicted_by_the_mean_of_the_folds(patchy, patchy_labels, fit):
    every, held = (patchy.h2cm.predict(fit, variables=["GPP", "TWS"], member=m) for m in ("all", "held-out"))
    for name in every:
        for label, expected in {0: every.sel(fold=0), 1: every.sel(fold=1), -1: every.mean("fold")}.items():
            mine = (patchy_labels == label) & every[name].notnull().all("fold")
            assert mine.any()
            np.testing.assert_allclose(
                held[name].where(mine), expected[name].where(mine), rtol=1e-4, atol=1e-4, err_msg=f"{name} of {label}"
            )
        apart = abs(every[name].sel(fold=0) - every[name].sel(fold=1)).where(patchy_labels == -1)
        assert float(apart.max()) > 100 * 1e-4 * float(abs(every[name]).mean())  # so that one fold is not the mean


def test_targets_outside_the_record_count_for_nothing(patchy, patchy_labels, fit):
    """Nor do those of its first and last month, which are not whole, but for the spread by which errors are scaled."""
    outside = (patchy["month"] < patchy["time"][0].dt.floor("D") - np.timedelta64(28, "D")) | (
        patchy["month"] > patchy["time"][-1]
    )
    assert int(outside.sum()) == 2
    spoiled = patchy.assign({n: patchy[n].where(~outside, 0.9).assign_attrs(patchy[n].attrs) for n in ("TWS", "ET")})
    again = spoiled.h2cm.fit(patchy_labels, **HOW)
    assert torch.equal(again.weights, fit.weights)
    xr.testing.assert_identical(again.losses, fit.losses)


def test_an_observation_without_quality_counts_for_nothing(patchy, patchy_labels, fit):
    none, full = (patchy.assign(gpp_qc=patchy["gpp_qc"].fillna(weight)) for weight in (0.0, 1.0))
    assert torch.equal(none.h2cm.fit(patchy_labels, **HOW).weights, fit.weights)
    assert not torch.equal(full.h2cm.fit(patchy_labels, **HOW).weights, fit.weights)


def test_all_folds_at_once_are_the_folds_alone(patchy, patchy_labels, fit):
    for k in fit.folds:
        alone = patchy.h2cm.fit(patchy_labels, only=[k], **HOW)
        largest = fit.weights[k].abs().max()
        assert (alone.weights[0] - fit.weights[k]).abs().max() <= 1e-5 * largest
        assert torch.equal(alone.scaling.forcing_mean[0], fit.scaling.forcing_mean[k])


@pytest.mark.parametrize("memory", [None, pytest.param("25 kB", marks=pytest.mark.slow("streams"))])
def test_a_stopped_training_ends_with_the_same_weights(patchy, patchy_labels, fit, tmp_path, monkeypatch, memory):
    class Stopped(BaseException):
        pass

    def keep_and_stop(run, course, keep=Run.keep):
        keep(run, course)
        raise Stopped

    land = patchy.drop_encoding().chunk(lat=1, lon=2)
    how = HOW | {"save_every": 0, **({} if memory is None else {"memory": memory})}
    whole = fit if memory is None else land.h2cm.fit(patchy_labels, **how)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "keep", keep_and_stop)
        with pytest.raises(Stopped):
            land.h2cm.fit(patchy_labels, run=tmp_path / "run", **how)
    again = land.h2cm.fit(patchy_labels, run=tmp_path / "run", **how)
    assert torch.equal(again.weights, whole.weights)
    xr.testing.assert_identical(again.losses, whole.losses)


def test_a_saved_fit_and_a_written_prediction_come_back_whole(patchy, fit, tmp_path):
    back = xh2cm.load_fit(fit.save(tmp_path / "fit"))
    xr.testing.assert_equal(back.labels, fit.labels)
    lazy = patchy.chunk(lat=1, lon=2).h2cm.predict(back, variables=["ET", "TWS"], member="held-out")
    written = xr.open_zarr(lazy.h2cm.to_zarr(tmp_path / "out.zarr")).compute()
    expected = patchy.h2cm.predict(fit, variables=["ET", "TWS"], member="held-out")
    xr.testing.assert_allclose(written, expected, rtol=1e-5, atol=1e-5)
    assert int(written["ET"].isnull().all("time").sum()) == 1  # the sea
    assert int(written["ET"].isnull().any("time").sum()) == 2  # and the cell with a gap, on the days of the gap
