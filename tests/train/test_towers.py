"""The rivals of the towers' example are fair: as many weights, and blind to what is held out."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import xarray as xr

import xh2cm
from xh2cm.model import HybridModel, Scaling


@pytest.fixture(scope="module")
def towers() -> ModuleType:
    sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
    try:
        return __import__("towers")
    finally:
        del sys.path[0]


@pytest.fixture(scope="module")
def observed() -> xr.Dataset:
    """Three places, 400 days, with daily fluxes that follow the weather."""
    twin = xh2cm.tutorial.open_dataset("twin").isel(time=slice(400)).stack(site=("lat", "lon"))
    forcing = twin.isel(site=[3, 20, 40]).drop_vars(["site", "lat", "lon"])[
        ["net_radiation", "precipitation", "air_temperature", "vpd", "co2", "elevation", "sand"]
    ]
    warmth = (forcing["air_temperature"] - 263.15).clip(min=0) / 10
    gpp, ter = warmth * (forcing["net_radiation"] / 50).clip(min=0), warmth + 0.2
    fluxes = {"GPP": gpp, "TER": ter, "NEE": ter - gpp, "ET": gpp / 3}
    of_unit = {name: x.assign_attrs(units="kg m-2 d-1" if name == "ET" else "g m-2 d-1") for name, x in fluxes.items()}
    fapar = (0 * gpp + 0.5).assign_attrs(units="1")
    return (
        forcing.assign(of_unit).assign(fAPAR=fapar).assign_coords(site=["CH-Dav", "b", "c"]).transpose("time", "site")
    )


@pytest.fixture(params=["time", "site"])
def labels(observed: xr.Dataset, request: pytest.FixtureRequest) -> xr.DataArray:
    if request.param == "site":
        return xr.DataArray([0, 1, 1], {"site": observed["site"]})
    return (observed["time"] < observed["time"][200]).astype(int)


def test_lstm_is_as_large_as_the_hybrid_model(towers: ModuleType) -> None:
    for features in (0, 4):
        hybrid = HybridModel(features, width=towers.WIDTH).size
        lstm = towers.PureLSTM(features, torch.zeros(5), torch.ones(5)).initial(torch.Generator()).numel()
        assert abs(lstm / hybrid - 1) < 0.03


def test_lstm_goes_on_where_it_stopped(towers: ModuleType) -> None:
    dice = torch.Generator().manual_seed(0)
    model = towers.PureLSTM(2, torch.arange(5.0), torch.ones(5))
    weights = model.initial(dice)[None]
    forcing, static = torch.randn(1, 3, 40, 5, generator=dice), torch.randn(1, 3, 2, generator=dice)
    scaling = Scaling(torch.zeros(1, 5), torch.ones(1, 5), torch.zeros(1, 2), torch.ones(1, 2))
    with torch.no_grad():
        _, whole = model.run(weights, forcing, static, scaling, model.fluxes)
        memory = model.spun_up(weights, forcing[:, :, :25], static, scaling)
        _, rest = model.run(weights, forcing[:, :, 25:], static, scaling, model.fluxes, memory)
    for name in model.fluxes:
        torch.testing.assert_close(rest[name], whole[name][:, :, 25:])


@pytest.mark.parametrize("rival", ["lstm", "hybrid", "climatology"])
def test_rivals_do_not_see_what_is_held_out(
    towers: ModuleType, observed: xr.Dataset, labels: xr.DataArray, rival: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(towers, "SETTINGS", towers.SETTINGS | {"epochs": 1, "spinup": 30})
    monkeypatch.setattr(towers, "WIDTH", 6)

    def of_fold_0(ds: xr.Dataset) -> xr.Dataset:
        predict = (
            towers.climatology(ds, labels) if rival == "climatology" else getattr(towers, rival)(ds, labels, seed=0)
        )
        return predict(ds)[towers.FLUXES].sel(fold=0)

    added = {"GPP": 2.0, "TER": 1.0, "NEE": -1.0, "ET": 0.5}  # they still belong together
    other = {flux: observed[flux].where(labels != 0, observed[flux] + more) for flux, more in added.items()}
    seen = {flux: observed[flux].where(labels == 0, observed[flux] + more) for flux, more in added.items()}
    other["fAPAR"] = observed["fAPAR"].where(labels != 0, 0.9)
    kept, *changed = (of_fold_0(observed.assign(new)) for new in ({}, other, seen))
    xr.testing.assert_equal(kept, changed[0])
    assert all(float(abs(kept[flux] - changed[1][flux]).max()) > 1e-3 for flux in towers.FLUXES)


def test_scores_and_closure_are_those_of_days_that_were_observed(towers: ModuleType, observed: xr.Dataset) -> None:
    truth = observed[towers.FLUXES]
    gaps = truth.where(observed["time"].dt.day % 3 > 0)
    rivals = {name: truth.expand_dims(seed=2) + add for name, add in (("hybrid", 0.0), ("LSTM", 1.0))}
    rivals["climatology"] = rivals["LSTM"].isel(seed=[0])
    skill = towers.scored(rivals, gaps)
    of_hybrid = skill[skill["rival"] == "hybrid"]
    np.testing.assert_allclose(of_hybrid[["mean", "low", "high"]], 1.0, rtol=1e-5)
    here = gaps["ET"].sel(site="b")
    (row,) = towers.of_days(skill).query("rival == 'LSTM'").loc[[("ET", "b")]]["mean"]
    assert row == pytest.approx(1 - 1 / float(here.var()), rel=1e-4)
    assert set(skill[skill["scale"] == "monthly"]["n"]) == {13}
    closure = towers.sense(rivals, gaps, observed["net_radiation"])["rms closure"].unstack()
    np.testing.assert_allclose(closure["observed"], 0.0, atol=1e-5)
    np.testing.assert_allclose(closure["LSTM"], 1.0, rtol=1e-5)
