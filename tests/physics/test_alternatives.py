"""The alternatives that ship: budgets, gradients, the fast loop, and what each is known to do."""

from __future__ import annotations

import dataclasses
import inspect
import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from loops import given, result, same

import xh2cm.physics
from xh2cm.model import HybridModel
from xh2cm.physics import (
    BetaSoil,
    BucketSoil,
    LightUseGPP,
    LinearGroundwater,
    LloydTaylorRespiration,
    PenmanMonteithEvaporation,
    PowerGroundwater,
    PriestleyTaylorEvaporation,
    Processes,
    Q10Respiration,
    RadiationSnow,
    SoilAndCanopyEvaporation,
    WaterUseGPP,
    residuals,
    step,
)
from xh2cm.physics.evaporation import saturation_slope
from xh2cm.physics.processes import SLOTS, homes
from xh2cm.physics.validate import probe
from xh2cm.variables import Forcing, State

ALONE = {
    "snow": RadiationSnow(),
    "soil": BetaSoil(),
    "groundwater": PowerGroundwater(),
    "gpp": LightUseGPP(),
    "respiration": LloydTaylorRespiration(),
}
ALTERNATIVES = {
    **{type(process).__name__: Processes(**{slot: process}) for slot, process in ALONE.items()},
    "PriestleyTaylorEvaporation": Processes(evaporation=PriestleyTaylorEvaporation()),
    "PenmanMonteithEvaporation": Processes(evaporation=PenmanMonteithEvaporation()),
    "all, by Priestley and Taylor": Processes(**ALONE, evaporation=PriestleyTaylorEvaporation()),
    "all, by Penman and Monteith": Processes(**ALONE, evaporation=PenmanMonteithEvaporation()),
}
SHIPPED = {
    name: kind()
    for name in xh2cm.physics.__all__
    if inspect.isclass(kind := getattr(xh2cm.physics, name)) and homes(kind) and not hasattr(kind, "storages")
}
"""Without those that bring storages, which have tests of their own."""


def test_every_process_that_ships_is_tried_here():
    found = {type(getattr(p, slot)) for p in ({"default": Processes()} | ALTERNATIVES).values() for slot in SLOTS}
    assert found == {type(process) for process in SHIPPED.values()}


@pytest.mark.parametrize("process", SHIPPED.values(), ids=SHIPPED)
def test_a_process_that_ships_stands_the_probe_and_names_its_source(process):
    (slot,) = set(homes(type(process)))
    calls = Processes(**{slot: process}).calls
    turns = (slot, "limit") if slot == "evaporation" else (slot,)
    for turn in turns:
        assert probe(turn, process, *calls[turn], SLOTS.get(turn, ("available_energy",))) == []
    assert "doi:10." in type(process).__doc__
    assert dataclasses.fields(process) == ()


def drawn(generator, processes, scale, dtype):
    """Any state, any day, any parameters."""

    def draw(low=0.0, high=1.0):
        return low + (high - low) * torch.rand(2, 64, generator=generator, dtype=dtype)

    parameters = {p.name: draw(p.lower, min(p.upper, p.lower + 500)) for p in processes.parameters}
    moisture = draw() * parameters["soil_capacity"].clamp(max=scale)
    state = State(draw(0, scale), moisture, draw(0, scale), draw(), draw(0, 5))
    forcing = Forcing(draw(-100, 300), draw(0, scale), draw(215, 320), draw(0, 80), draw(300, 500))
    return state, forcing, parameters


@pytest.mark.parametrize("processes", ALTERNATIVES.values(), ids=ALTERNATIVES)
@hypothesis.given(seed=st.integers(0, 2**31), scale=st.sampled_from([0.0, 1.0, 30.0, 500.0]))
@hypothesis.settings(deadline=None, max_examples=25)
def test_budgets_close_and_gradients_are_finite_for_any_parameters(processes, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-3)):
        state, forcing, parameters = drawn(generator, processes, scale, dtype)
        learned = {name: x.requires_grad_() for name, x in (state._asdict() | parameters).items()}
        after, fluxes = step(processes, State(*(learned[n] for n in State._fields)), forcing, parameters)
        left = residuals(state, after, fluxes)
        assert left.water_residual.abs().max() <= tolerance
        assert (left.carbon_residual.abs() <= tolerance * (1 + fluxes.gpp.abs() + fluxes.rh.abs())).all()
        assert all((storage >= -tolerance).all() for storage in after[:3])
        assert all(x.isfinite().all() for x in (*after, *fluxes))
        total = sum(x.sum() for x in (*after, *fluxes))
        slopes = torch.autograd.grad(total, list(learned.values()), allow_unused=True)
        assert all(x is None or x.isfinite().all() for x in slopes)


@pytest.mark.parametrize("processes", ALTERNATIVES.values(), ids=ALTERNATIVES)
def test_every_parameter_is_learned_through_a_record_from_bare_land(processes):
    model = HybridModel(3, processes, width=5)
    weights, *rest = given(model, cells=8, days=60)
    weights.requires_grad_()
    _, outputs = model.run(weights, *rest, ["et", "runoff", "tws", "swe", "gpp", "ter", "nee", "fapar"])
    (gradient,) = torch.autograd.grad(sum(x.square().mean() for x in outputs.values()), weights)
    assert gradient.isfinite().all()
    named = model.unpack(gradient)
    for p in processes.parameters:
        if p.varies == "global":
            found = named[f"global.{p.name}"]
        else:
            (net,) = (net for net, gives in model.gives.items() if p.name in gives)
            found = named[f"{net}.head.bias"][:, model.gives[net].index(p.name)]
        assert (found != 0).all(), p.name


FAST = {
    "all": ALTERNATIVES["all, by Priestley and Taylor"],
    "the other limit": ALTERNATIVES["all, by Penman and Monteith"],
}


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    "processes",
    [
        pytest.param(FAST["all"], id="all"),
        pytest.param(FAST["the other limit"], id="the other limit", marks=pytest.mark.slow("compiles a further model")),
    ],
)
def test_the_fast_loop_gives_the_plain_ones_numbers(processes, tmp_path, monkeypatch):
    monkeypatch.setenv("XH2CM_CACHE", str(tmp_path))
    model = HybridModel(2, processes, width=5)
    outputs, carry, gradients = result(model, "plain", torch.float64)
    fast_outputs, fast_carry, fast_gradients = result(model, "fast")
    for name, expected in outputs.items():
        if name.endswith("residual"):
            assert fast_outputs[name].abs().max() <= 1e-3
        else:
            assert same(fast_outputs[name], expected, 1e-5), name
    assert all(same(x, y, 1e-5) for x, y in zip(fast_carry, carry, strict=True))
    for name, expected in gradients.items():
        assert same(fast_gradients[name], expected, 1e-4), name
    # nothing is worked out lane by lane
    assert "each(" not in model.scheme.model.split("static inline void sight(")[1].split("struct Net0")[0]


# -- what is known of each --------------------------------------------------------------------------------------------


def number(*values):
    return torch.tensor([values], dtype=torch.float64)


def test_snow_melts_in_the_sun_and_mixes_with_rain_around_its_temperature():
    nothing, one = number(0.0, 0.0, 0.0), number(1.0, 1.0, 1.0)
    swe, sun = number(100.0, 100.0, 3.0), number(100.0, 100.0, 100.0)
    melt = RadiationSnow()(swe, nothing, number(-1.0, 2.0, 2.0), sun, 3 * one, 0.5 * one, one, one)[2]
    # 100 W m-2 are 8.64 MJ m-2 d-1, which melt 25.87 kg at 0.334 MJ kg-1; half of that, and 3 kg for each of 2 K
    np.testing.assert_allclose(melt, [[0.0, 12.934 + 6.0, 3.0]], rtol=1e-4)
    snow, rain, _ = RadiationSnow()(nothing, 10 * one, number(-9.0, 1.0, 11.0), sun, one, one, one, 0.8 * one)
    np.testing.assert_allclose(snow, [[8.0, 4.0, 0.0]], atol=1e-3)
    np.testing.assert_allclose(rain, [[0.0, 5.0, 10.0]], atol=1e-3)


def test_slope_of_the_saturation_vapour_pressure_is_that_of_the_tables():
    # FAO-56, annex 2, table 2.4: 0.047, 0.082, 0.145 and 0.243 kPa per degC at 1, 10, 20 and 30 degC
    np.testing.assert_allclose(saturation_slope(number(1.0, 10.0, 20.0, 30.0)), [[0.47, 0.82, 1.45, 2.43]], atol=6e-3)


def test_a_wet_surface_evaporates_more_where_it_is_warm_and_where_air_is_dry():
    radiation, warm = number(150.0, 150.0, -40.0), number(0.0, 25.0, 5.0)
    published = SoilAndCanopyEvaporation().limit(radiation)
    equilibrium = PriestleyTaylorEvaporation().limit(radiation, warm, number(1.0, 1.0, 1.0))
    slope = saturation_slope(warm)
    np.testing.assert_allclose(equilibrium, published * slope / (slope + 0.674))
    assert (equilibrium < published)[0, :2].all()
    assert equilibrium[0, 0] < equilibrium[0, 1]
    wind = number(0.02, 0.02, 0.02)
    moist, dry = (PenmanMonteithEvaporation().limit(radiation, warm, number(*(d,) * 3), wind) for d in (0.0, 10.0))
    np.testing.assert_allclose(moist[0, :2], equilibrium[0, :2])
    # 1215.6 J m-3 K-1 * 10 hPa * 0.02 m s-1 by slope and psychrometric constant, over 2.45 MJ kg-1
    np.testing.assert_allclose((dry - moist)[0, :2], (243.12 / (slope + 0.674) * 0.0864 / 2.45)[0, :2], rtol=1e-4)
    assert moist[0, 2] == 0  # nothing condenses
    assert dry[0, 2] > 0  # and dry air evaporates without the sun, as in winter


def test_a_power_of_one_is_the_linear_reservoir_and_none_gives_more_than_there_is():
    stored, release = number(0.0, 1.0, 100.0, 900.0), number(*(0.02,) * 4)
    linear = LinearGroundwater()(stored, release)
    np.testing.assert_allclose(PowerGroundwater()(stored, release, torch.ones_like(stored)), linear)
    squared = PowerGroundwater()(stored, release, 2 * torch.ones_like(stored))
    np.testing.assert_allclose(squared, [[0.0, 0.02 / 100, 2.0, 0.02 * 900 * 9]])
    assert torch.equal(PowerGroundwater()(stored, 10 * release, 4 * torch.ones_like(stored))[0, 3], stored[0, 3])


def test_wet_soil_lets_more_water_through_and_full_soil_all():
    moisture, capacity = number(0.0, 50.0, 90.0, 100.0), number(*(100.0,) * 4)
    retained = BetaSoil()(moisture, number(*(5.0,) * 4), capacity, number(*(2.0,) * 4))
    np.testing.assert_allclose(retained, [[1.0, 0.75, 0.19, 0.0]], atol=1e-9)
    flood = BetaSoil()(moisture, number(*(500.0,) * 4), capacity, number(*(2.0,) * 4))
    np.testing.assert_allclose(flood * 500.0, [[100.0, 50.0, 10.0, 0.0]])
    room = BucketSoil()(moisture, number(*(500.0,) * 4), capacity, number(*(1.0,) * 4))
    np.testing.assert_allclose(room, flood)


def test_light_is_used_in_warm_and_moist_air_and_with_co2():
    def gpp(radiation=100.0, temperature=20.0, vpd=5.0, co2=400.0):
        rest = (0.5, 1.0, 12.0, 46.5, 0.0015)
        return float(LightUseGPP()(*(number(x) for x in (radiation, temperature, vpd, co2, *rest))))

    assert gpp() == pytest.approx(0.5 * 8.64 * 0.6)  # g C of 8.64 MJ, of which half is absorbed
    assert gpp(temperature=2.0) == pytest.approx(0.5 * gpp())
    assert gpp(vpd=26.5) == pytest.approx(0.5 * gpp())
    assert gpp(co2=800.0) == pytest.approx(2 * gpp())
    assert gpp(temperature=-8.0) == gpp(vpd=60.0) == gpp(radiation=-20.0) == 0.0
    assert WaterUseGPP.parameters[-1] is LightUseGPP.parameters[-1]  # so that its prior holds here too


def test_respiration_is_the_basal_one_at_15_degrees_and_follows_lloyd_and_taylor():
    temperature, basal, none = number(15.0, 25.0, -10.0, -80.0), number(*(2.0,) * 4), number(*(0.0,) * 4)
    _, rh = LloydTaylorRespiration()(none, temperature, none, basal, number(*(308.56,) * 4))
    expected = [2.0, 2 * math.exp(308.56 * (1 / 61.02 - 1 / 71.02)), 2 * math.exp(308.56 * (1 / 61.02 - 1 / 36.02)), 0]
    np.testing.assert_allclose(rh, [expected], atol=1e-12)
    both = zip(LloydTaylorRespiration.parameters[:2], Q10Respiration.parameters[:2], strict=True)
    assert all(ours is theirs for ours, theirs in both)
