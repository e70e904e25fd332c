"""On real data every learned parameter gets a gradient wherever an observation can inform it, and from nowhere else.

A fold of its own for each cell, all with the same weights: so a row of the gradient is what one cell says. The gradient
by a parameter's row of the last layer's bias is that by the parameter's raw number, summed over the days; a global
constant is a weight itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
import xarray as xr

from xh2cm.model import HybridModel, Scaling, SpinUp
from xh2cm.model.loss import losses
from xh2cm.train import Batch, Portions, Samples, Training, normalisation
from xh2cm.train.fitting import chosen_targets
from xh2cm.train.tensors import to_tensors

WINDOW = Training(window=365, spinup=SpinUp(365))
ONLY_RESPIRATION = {"q10", "basal_respiration"}
"""What soil respires feeds back on nothing: without TER or NEE they are not informed."""
ONLY_SNOW = {"snowfall_correction", "snow_melt_rate"}


class Step(NamedTuple):
    """Loss and gradients of one step, a fold at a time."""

    loss: torch.Tensor  # (fold,)
    weights: torch.Tensor  # (fold, weight)
    parameters: dict[str, np.ndarray]  # (fold,)


def step(ds, together=None):
    """A training step of the published model; every cell alone, or some of them in one fold."""
    cells = to_tensors(ds.h2cm.check().dataset, "cpu")
    model = HybridModel(len(cells.features))
    rows = chosen_targets({name: o.step for name, o in cells.targets.items()}, None, None, model.outputs)
    label = torch.zeros(len(cells.forcing), 1, dtype=torch.int64)  # all are trained on by a fold called 1
    samples = Samples(cells, label, rows, WINDOW)
    cell = torch.arange(len(label))[:, None] if together is None else torch.tensor([together])
    batch = Batch(torch.ones(len(cell), dtype=torch.int64), cell, 0 * cell, torch.ones_like(cell, dtype=torch.bool))
    scales = normalisation(Portions.whole(cells, label), [1], rows)
    scaling = Scaling(*(x.expand(len(cell), -1) for x in scales.scaling))
    weights = model.initial(torch.Generator().manual_seed(0)).repeat(len(cell), 1).requires_grad_()

    spin, _, forcing, _, static = samples.inputs(batch)
    with torch.no_grad():
        carry = model.spun_up(weights, spin, static, scaling, WINDOW.spinup)
    fields = sorted({field for target in rows for field in target.fields})
    _, outputs = model.run(weights, forcing, static, scaling, fields, carry)
    stds = {name: std.expand(len(cell)) for name, std in scales.targets.items()}
    loss = losses(rows, outputs, *samples.truth(batch, "training", stds))["total"]
    (gradient,) = torch.autograd.grad(loss.sum(), weights)
    named = model.unpack(gradient)
    found = {n: named[f"global.{n}"][:, 0] for n, p in model.parameters.items() if p.varies == "global"}
    for net in model.networks:
        bias = named[f"{net.name}.head.bias"]
        found |= {name: bias[:, k] for k, name in enumerate(model.gives[net.name])}
    assert found.keys() == model.parameters.keys()
    return Step(loss.detach(), gradient, {name: x.numpy() for name, x in found.items()})


def silent(found, cell):
    """Parameters that a cell says nothing about."""
    return {name for name, x in found.parameters.items() if x[cell] == 0}


@pytest.fixture(scope="module")
def towers(shared):
    """Half a year: all targets at FR-Pue, GPP alone at FI-Hyy, some days at CH-Lae, nothing at CH-Dav."""
    ds = xr.load_dataset(shared("data/flux_sites_1996_2014.nc"))
    whole = np.flatnonzero((ds["forcing_ok"] == 1).all("site"))
    year = ds.isel(time=whole).isel(time=slice(0, 181))
    few = (year["site"] != "CH-Lae") | (year["time"].dt.dayofyear % 36 == 1)
    targets = {
        name: year[name].where(few & (year["site"] != "CH-Dav")) for name in ("gpp", "et", "ter", "nee", "fapar")
    }
    return year.assign(targets)


@pytest.fixture(scope="module")
def at_towers(towers):
    return step(towers)


def test_towers(towers, at_towers):
    assert at_towers.weights.isfinite().all()
    sites = towers["site"].values.tolist()
    assert {site: int(towers["gpp"].sel(site=site).count()) for site in sites}["CH-Lae"] == 6
    snow = ((towers["tair"] <= 273.15) & (towers["precip"] > 0)).any("time")
    assert dict(zip(sites, snow.values.tolist(), strict=True)) == {
        "CH-Dav": True,
        "CH-Lae": True,
        "FI-Hyy": True,
        "FR-Pue": False,
    }
    assert silent(at_towers, sites.index("FR-Pue")) == ONLY_SNOW
    assert silent(at_towers, sites.index("FI-Hyy")) == ONLY_RESPIRATION
    assert silent(at_towers, sites.index("CH-Lae")) == ONLY_RESPIRATION


def test_a_cell_without_observations_says_nothing_and_poisons_nothing(towers, at_towers):
    blind = towers["site"].values.tolist().index("CH-Dav")
    others = [k for k in range(4) if k != blind]
    assert at_towers.loss[blind] == 0
    assert (at_towers.weights[blind] == 0).all()
    with_it, without = step(towers, [*others, blind]), step(towers, others)
    assert with_it.loss * 4 == pytest.approx(without.loss * 3, rel=1e-6)  # a batch is a mean over its cells
    scale = float(without.weights.abs().max())
    torch.testing.assert_close(with_it.weights * 4, without.weights * 3, rtol=1e-4, atol=1e-5 * scale)
    torch.testing.assert_close(without.weights[0] * 3, at_towers.weights.sum(0), rtol=1e-4, atol=1e-5 * scale)


def test_delaware(shared):
    """Runoff in most cells, nothing in the others."""
    ds = xr.load_dataset(shared("data/drb_grid_daily.nc")).isel(time=slice(0, 181), lat=slice(4, 7))
    land = ds["precip"].notnull().all("time").stack(cell=("lat", "lon")).values
    seen = ds["runoff"].notnull().any("time").stack(cell=("lat", "lon")).values[land]
    found = step(ds)
    assert found.weights.isfinite().all()
    assert 0 < (~seen).sum() < len(seen) == len(found.loss)
    for cell, observed in enumerate(seen):
        assert silent(found, cell) == (ONLY_RESPIRATION if observed else set(found.parameters)), cell
    assert (found.weights[~seen] == 0).all()


def test_snow_at_canadian_cities(shared):
    """Snow water informs melt and undercatch directly, and all that decides how wet the networks see the land."""
    ds = xr.load_dataset(shared("data/era5_canadian_cities_1990_1993.nc")).isel(time=slice(0, 181))
    found = step(ds)
    assert found.weights.isfinite().all()
    assert (found.loss > 0).all()
    for cell, city in enumerate(ds["site"].values):
        # in Victoria snow is at most 1 kg m-2 and gone on the first mild day, however fast it may melt
        told = {"snowfall_correction"} if city == "Victoria" else found.parameters.keys() - ONLY_RESPIRATION
        assert silent(found, cell) == found.parameters.keys() - told, city
