"""Folds and batches without observations: an error, a warning or NaN, never a loss of 0."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from xh2cm.errors import H2CMWarning, InputError
from xh2cm.model.loss import Compared, Truth, losses
from xh2cm.targets import Target

FIT = {"epochs": 2, "width": 4, "progress": False, "loop": "plain"}


@pytest.fixture(scope="module")
def short(twin):
    return twin.isel(time=slice(0, 90), month=slice(0, 3))


@pytest.fixture(scope="module")
def labels(short):
    return short.h2cm.folds(2, scheme="cells").drop_attrs()


def test_a_fold_without_any_observation_is_refused(short, labels):
    """Fold 0 has nothing to train on, fold 1 nothing to stop early by."""
    ds = short.assign(GPP=short["GPP"].where(labels == 0))
    with pytest.raises(InputError) as refused:
        ds.h2cm.fit(labels, targets=["GPP"], patience=2, **FIT)
    said = {finding.variable: finding.problem for finding in refused.value.findings}
    assert said == {
        "fold 0": "has no observation of GPP to train on",
        "fold 1": "has no observation of GPP to validate with, so it cannot stop early",
    }


def test_a_fold_without_observations_of_one_target_is_warned_of(short, labels):
    ds = short.assign(GPP=short["GPP"].where(labels == 0))
    with pytest.warns(H2CMWarning) as warned:
        fit = ds.h2cm.fit(labels, targets=["GPP", "ET"], patience=2, **FIT)
    said = " ".join(str(w.message) for w in warned)
    assert "target GPP has no observation to train on in fold 0" in said
    assert "target GPP has no observation to validate with in fold 1" in said
    loss = fit.losses["loss"].sel(target="GPP")
    assert loss.sel(split="training", fold=0).isnull().all()
    assert loss.sel(split="validation", fold=1).isnull().all()
    assert loss.sel(split="validation", fold=0).notnull().all()
    assert fit.losses["loss"].sel(target=["ET", "total"]).notnull().all()


def test_without_early_stopping_a_validation_without_observations_is_nan(short, labels):
    ds = short.assign(GPP=short["GPP"].where(labels == 0))
    with pytest.warns(H2CMWarning, match="validate with in fold 1, so its validation loss is NaN there"):
        fit = ds.h2cm.fit(labels, targets=["GPP"], only=[1], patience=None, **FIT)
    assert fit.losses["loss"].sel(split="validation").isel(target=[0, -1]).isnull().all()
    assert fit.losses["loss"].sel(split="training", target="total").notnull().all()


@pytest.mark.parametrize("step", ["daily", "monthly"])
def test_days_without_observations(short, step):
    """Labels of days: what was observed in the days of one fold only cannot train that fold."""
    days = xr.DataArray((np.arange(90) >= 59).astype(int), coords={"time": short["time"]})  # from March on
    if step == "monthly":
        ds = short.assign(GPP=short["GPP"].where(short["month"].dt.month == 3))
    else:
        daily = (0 * short["vpd"] + 1.0).assign_attrs(units="g m-2 day-1").where(days == 1)
        ds = short.drop_vars("GPP").assign(GPP=daily)
    with pytest.raises(InputError, match="fold 1: has no observation of GPP to train on"):
        ds.h2cm.fit(days, targets={"GPP": step}, patience=None, **FIT)


def test_a_target_observed_nowhere_in_the_folds(short, labels):
    """Only in the test cells: nothing can be trained."""
    own = labels.copy()
    own[0, 0] = -1
    ds = short.assign(GPP=short["GPP"].where(own == -1))
    with pytest.raises(InputError, match="target GPP: has no observation in any cell or day of the folds"):
        ds.h2cm.fit(own, targets=["GPP", "ET"], **FIT)


@pytest.mark.parametrize("compare", ["monthly", "daily", "seasonal", "anomaly", "standardised", "interannual"])
def test_the_loss_of_nothing_is_nan(compare):
    """Fold 1 of the batch has no observation: NaN for the target, and nothing in the total or its gradient."""
    days = 60
    one = torch.ones(2, 3, days)
    month = (torch.arange(days) >= 30).long().expand(2, 3, days)
    values = torch.rand(2, 3, days)
    values[1] = torch.nan
    truth = Truth(values, torch.ones(2, 3, days, dtype=torch.bool), "daily", torch.ones(2))
    compared = Compared(
        counts=torch.ones(2, 3, dtype=torch.bool),
        area=torch.ones(2, 3),
        allowed=torch.ones(2, 3, days, dtype=torch.bool),
        month=month,
        month_days=torch.full((2, 3, 2), 30),
        of_year=torch.tensor([0, 1]).expand(2, 3, 2),
    )
    predicted = (2 * one).requires_grad_()
    found = losses([Target("GPP", "gpp", compare)], {"gpp": predicted}, {"GPP": truth}, compared, ())
    assert found["GPP"][0].isfinite()
    assert found["GPP"][1].isnan()
    assert found["total"].tolist() == [found["GPP"][0].item(), 0.0]
    (slope,) = torch.autograd.grad(found["total"].sum(), predicted)
    assert slope.isfinite().all()
    assert not slope[1].any()
