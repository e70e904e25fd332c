"""A process of one's own in each of the nine slots: trained, closed, shown, saved and loaded."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr

import xh2cm
from xh2cm import Parameter, Processes
from xh2cm.errors import FitError
from xh2cm.model import HybridModel
from xh2cm.physics import SoilAndCanopyEvaporation, residuals, step, validate
from xh2cm.variables import Forcing, State

QUICK = {"folds": 2, "only": [0], "scheme": "cells", "width": 6, "batch_size": 3, "epochs": 1, "progress": False}
DECAY = (1 - 0.005 * 0.01) ** 2
"""What two steps of AdamW leave of a weight that has no gradient."""


@dataclasses.dataclass(frozen=True)
class WetBulbSnow:
    """Snow falls while dry air can still cool it to freezing; it melts by a learned rate above a chosen degree."""

    threshold: float = 0.5
    parameters = (
        Parameter("warm_melt", "melt per day and degree above the threshold", "kg m-2 d-1 K-1", upper=9.0),
        Parameter("cooling", "cooling of falling snow by dry air", "K hPa-1", upper=1.0, varies="global"),
    )

    def __call__(self, swe, precipitation, temperature, vpd, warm_melt, cooling):
        snowfall = precipitation * torch.sigmoid(4.0 * (cooling * vpd - temperature))
        melt = warm_melt * (temperature - self.threshold).clamp(min=0.0)
        return snowfall, precipitation - snowfall, torch.minimum(swe + snowfall, melt)


@dataclasses.dataclass(frozen=True)
class ExponentialInterception:
    """Leaves fill the slower the fuller they are."""

    parameters = (Parameter("leaf_store", "rain that leaves can hold", "kg m-2 d-1", 0.1, 8.0, "static"),)

    def __call__(self, rainfall, available_energy, fapar, leaf_store):
        held = fapar * leaf_store * (1.0 - torch.exp(-rainfall / leaf_store))
        return torch.minimum(held, torch.minimum(rainfall, available_energy))


@dataclasses.dataclass(frozen=True)
class OneEvaporation(SoilAndCanopyEvaporation):
    """Soil and leaves draw on the water that is above wilting, as long as the air takes it."""

    parameters = (Parameter("openness", "share of the possible evaporation", "1", upper=1.0),)

    def __call__(self, soil_moisture, soil_capacity, available_energy, fapar, openness):
        whole = openness * torch.minimum(available_energy, soil_moisture * soil_moisture / soil_capacity)
        return (1.0 - fapar) * whole, fapar * whole


@dataclasses.dataclass(frozen=True)
class LeakySoil:
    """What fits stays, less what macropores lead past."""

    parameters = (Parameter("macropores", "share of water led past the soil", "1", upper=0.9, varies="static"),)

    def __call__(self, soil_moisture, water_input, soil_capacity, macropores):
        room = (soil_capacity - soil_moisture).clamp(min=0.0) / water_input.clamp(min=1e-8)
        return (1.0 - macropores) * room.clamp(max=1.0)


@dataclasses.dataclass(frozen=True)
class StormRunoff:
    """The more water at once, the more of it runs off."""

    parameters = (Parameter("infiltration", "water that can infiltrate on a day", "kg m-2 d-1", 0.1, 200.0, "global"),)

    def __call__(self, excess_water, infiltration):
        return excess_water * excess_water / (excess_water + infiltration)


@dataclasses.dataclass(frozen=True)
class TwoStores:
    """The fuller the store, the more of it drains fast."""

    parameters = (
        Parameter("slow_drain", "share released a day by an empty store", "d-1", upper=0.1, varies="global"),
        Parameter("half_drain", "groundwater of which half of the fast drain is open", "kg m-2", 1.0, 300.0, "static"),
    )

    def __call__(self, groundwater, slow_drain, half_drain):
        return groundwater * (slow_drain + 0.3 * groundwater / (groundwater + half_drain))


@dataclasses.dataclass(frozen=True)
class SaturatingGPP:
    """More light helps less and less; CO2 helps by its own half-saturation."""

    parameters = (
        Parameter("light_capacity", "uptake in the brightest light", "g m-2 d-1", upper=40.0),
        Parameter("co2_half", "CO2 at half of the uptake", "1e-6", 50.0, 900.0, "global"),
    )

    def __call__(self, net_radiation, fapar, co2, light_capacity, co2_half):
        light = net_radiation.clamp(min=0.0) * fapar
        return light_capacity * light / (light + 60.0) * co2 / (co2 + co2_half)


@dataclasses.dataclass(frozen=True)
class MoistRespiration:
    """Soil breathes by warmth and wetness, plants by what they take up."""

    parameters = (
        Parameter("plant_share", "share of uptake that plants respire", "1", upper=0.9),
        Parameter("soil_breath", "respiration of warm wet soil", "g m-2 d-1", upper=20.0),
        Parameter("warmth_rate", "increase of respiration by temperature", "K-1", 0.01, 0.2, "global"),
    )

    def __call__(self, gpp, temperature, soil_moisture, soil_capacity, plant_share, soil_breath, warmth_rate):
        wet = soil_moisture / soil_capacity
        return plant_share * gpp, soil_breath * wet * torch.exp(warmth_rate * (temperature - 15.0))


@dataclasses.dataclass(frozen=True)
class HarvestedNEE:
    """A share of what grows is carried away and breathed out."""

    parameters = (Parameter("harvest", "share of net primary production harvested", "1", upper=0.5, varies="static"),)

    def __call__(self, gpp, ra, ter, harvest):
        return ter - gpp + harvest * (gpp - ra).clamp(min=0.0)


OWN = {
    "snow": WetBulbSnow(),
    "interception": ExponentialInterception(),
    "evaporation": OneEvaporation(),
    "soil": LeakySoil(),
    "runoff": StormRunoff(),
    "groundwater": TwoStores(),
    "gpp": SaturatingGPP(),
    "respiration": MoistRespiration(),
    "nee": HarvestedNEE(),
}


@pytest.fixture(scope="module")
def short(twin):
    """Four months of the twin."""
    return twin.isel(time=slice(0, 120), month=slice(0, 4))


def moved(fit, name):
    """How far the loss has moved what a parameter comes from, which starts where the seed says."""
    model: HybridModel = fit.model
    before, after = model.unpack(model.initial(torch.Generator().manual_seed(0))), model.unpack(fit.weights[0])
    if model.parameters[name].varies == "global":
        return abs(float(after[f"global.{name}"] - DECAY * before[f"global.{name}"]))
    (net,) = (net for net, gives in model.gives.items() if name in gives)
    return abs(float((after[f"{net}.head.bias"] - DECAY * before[f"{net}.head.bias"])[model.gives[net].index(name)]))


@pytest.mark.parametrize("slot", Processes.slots)
def test_a_process_of_ones_own(slot, short, tmp_path):
    processes = Processes(**{slot: OWN[slot]})
    fit = short.h2cm.fit(processes=processes, **QUICK)
    assert int(fit.losses["skipped_steps"].sum()) == 0
    assert fit.losses["loss"].sel(target="total", split="training").notnull().all()

    out = short.h2cm.predict(fit, variables="all")
    for residual in ("water_residual", "carbon_residual"):
        assert float(abs(out[residual]).max()) < 1e-3
    for p in OWN[slot].parameters:
        assert moved(fit, p.name) > 1e-5, p.name
        assert out[p.name].attrs["units"] == p.units
        assert out[p.name].attrs["long_name"] == p.long_name
        limits = p.attrs.keys() & {"valid_min", "valid_range"}
        assert limits or not np.isfinite([p.lower, p.upper]).any(), p.name  # each bound is written down
        assert all(np.array_equal(out[p.name].attrs[key], np.float32(p.attrs[key])) for key in limits)
        assert out[p.name].dims == {"daily": ("time", "lat", "lon"), "static": ("lat", "lon"), "global": ()}[p.varies]
        assert ((out[p.name] > p.lower) & (out[p.name] < p.upper)).all()

    folder = fit.save(tmp_path / "fit")
    with pytest.raises(FitError, match=rf"other processes: give load_fit\(path, processes=Processes\({slot} = "):
        xh2cm.load_fit(folder)
    back = xh2cm.load_fit(folder, processes=processes)
    xr.testing.assert_identical(short.h2cm.predict(back, variables="all"), out)


@pytest.mark.usefixtures("compiler")
def test_all_nine_are_trained_in_the_fast_loop_to_the_same_numbers(short, tmp_path, monkeypatch):
    monkeypatch.setenv("XH2CM_CACHE", str(tmp_path))
    plain, fast = (short.h2cm.fit(processes=Processes(**OWN), loop=loop, **QUICK) for loop in ("plain", "fast"))
    xr.testing.assert_allclose(fast.losses["loss"], plain.losses["loss"], rtol=1e-4)
    outs = [short.h2cm.predict(fast, variables="all", loop=loop) for loop in ("plain", "fast")]
    assert {p.name for process in OWN.values() for p in process.parameters} <= set(outs[0])
    for name in ("ET", "runoff", "TWS", "SWE", "GPP", "TER", "NEE"):
        assert float(abs(outs[0][name] - outs[1][name]).max()) <= 1e-4 * float(abs(outs[0][name]).max()), name
    for residual in ("water_residual", "carbon_residual"):
        assert float(abs(outs[1][residual]).max()) < 1e-3


def test_what_nee_holds_beyond_respiration_and_uptake_is_its_sum_with_nep():
    processes = Processes(nee=OWN["nee"])
    days = {n: x.double() for n, x in (validate.drawn(processes.parameters) | validate.plausible()).items()}
    state, forcing = (fields(*(days[n] for n in fields._fields)) for fields in (State, Forcing))
    after, fluxes = step(processes, state, forcing, days)
    torch.testing.assert_close(fluxes.nep, fluxes.gpp - fluxes.ter)
    torch.testing.assert_close(fluxes.nee + fluxes.nep, days["harvest"] * after.npp)
    assert residuals(state, after, fluxes).carbon_residual.abs().max() < 1e-9
