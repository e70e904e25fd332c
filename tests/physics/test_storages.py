"""Processes with storages of their own that ship: against days worked out by hand, budgets, gradients."""

from __future__ import annotations

from math import comb, exp, log

import pytest
import torch
from loops import close, result
from test_open import made_up

from xh2cm.model import HybridModel
from xh2cm.physics import CascadeRouting, DeepSoil, LiquidWaterSnow, Processes, StoredInterception, step
from xh2cm.physics.validate import plausible

ALL = Processes(snow=LiquidWaterSnow(), interception=StoredInterception(), more=(DeepSoil(), CascadeRouting()))

DRAWN = {
    "snow": Processes(snow=LiquidWaterSnow()),
    "interception": Processes(interception=StoredInterception()),
    "routing": Processes(more=(CascadeRouting(),)),
    "water": Processes.water(snow=LiquidWaterSnow(), interception=StoredInterception(), more=(CascadeRouting(2),)),
    "deep soil": Processes(more=(DeepSoil(),)),
    "all": ALL,
}


def number(*values):
    return [torch.tensor([[value]], dtype=torch.float64) for value in values]


def floats(tensors):
    return [float(x) for x in tensors]


def test_snow_melts_is_held_and_freezes_again():
    snow = LiquidWaterSnow()
    # 3 degC, rain of 5: 2 mm per degree melt 6 of 20; 2 of liquid and 6 are more than 0.1 of the 14 left
    found = floats(snow(*number(20.0, 2.0, 5.0, 3.0, 2.0, 0.9, 0.1, 0.05)))
    assert found == pytest.approx([0.0, 5.0, 2 + 6 - 1.4, 6.0, 0.0])
    # -4 degC, snow of 5: 0.05 x 2 x 4 = 0.4 freeze; 0.1 of 20 + 4.5 + 0.4 hold the rest
    found = floats(snow(*number(20.0, 2.0, 5.0, -4.0, 2.0, 0.9, 0.1, 0.05)))
    assert found == pytest.approx([4.5, 0.0, 0.0, 0.0, 0.4])
    # more frost than water
    assert floats(snow(*number(20.0, 0.1, 0.0, -40.0, 2.0, 0.9, 0.1, 0.05)))[4] == pytest.approx(0.1)


def test_rain_is_held_by_leaves_dries_and_drips():
    held = StoredInterception()
    # capacity 0.5 x 2 = 1, of which 0.4 are held: 0.6 of 5 are caught; wet all over, so at the limit of 0.7
    assert floats(held(*number(5.0, 0.7, 0.5, 0.4, 2.0))) == pytest.approx([0.7, 0.6, 0.0])
    # no rain: half wet
    assert floats(held(*number(0.0, 0.4, 0.5, 0.5, 2.0))) == pytest.approx([0.4 * exp(2 / 3 * log(0.5)), 0.0, 0.0])
    # leaves have fallen: capacity 0.2, 0.3 drip
    assert floats(held(*number(0.0, 0.0, 0.1, 0.5, 2.0))) == pytest.approx([0.0, 0.0, 0.3])


def test_water_percolates_is_drawn_and_drains():
    deep = DeepSoil()
    # wetness 0.5 ** 3 of 16 percolate; energy left 5 - 1 - 2 = 2, half of it by leaves, half of that; 0.1 of the rest
    found = floats(deep(*number(50.0, 100.0, 40.0, 5.0, 1.0, 2.0, 0.5, 16.0, 3.0, 200.0, 0.5, 0.1)))
    assert found == pytest.approx([2.0, 0.5, 3.95])
    # a full deep layer takes nothing; no energy is left; a soil that holds less than it could conduct
    assert floats(deep(*number(50.0, 100.0, 200.0, 3.0, 1.0, 2.0, 0.5, 16.0, 3.0, 200.0, 0.5, 0.1))) == [0.0, 0.0, 20.0]
    assert floats(deep(*number(1.0, 1.0, 0.0, 9.0, 0.0, 0.0, 1.0, 16.0, 3.0, 200.0, 1.0, 0.1))) == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("stores", [1, 3, 5])
@pytest.mark.parametrize("release", [0.2, 0.7, 1.0])
def test_a_cascade_has_the_unit_hydrograph_that_is_written_of_it(stores, release):
    call = CascadeRouting(stores).__call__
    rate, held, found = torch.tensor(release), [torch.tensor(0.0)] * stores, []
    for day in range(40):
        flows = call(torch.tensor(1.0 if day == 0 else 0.0), rate, *held)
        held = [x + enters - leaves for x, enters, leaves in zip(held, flows[:-1], flows[1:], strict=True)]
        found.append(float(flows[-1]))
    expected = [comb(stores + d - 1, d) * release**stores * (1 - release) ** d for d in range(40)]
    assert found == pytest.approx(expected, abs=1e-6)
    assert sum(found) + float(sum(held)) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("processes", DRAWN.values(), ids=DRAWN)
def test_budgets_close(processes):
    model = HybridModel(3, processes, width=6)
    carry, out = model.run(*made_up(model, days=60), names=list(model.outputs))
    assert out["water_residual"].abs().max() < 1e-9
    for storage in processes.storages:
        assert out[storage.name].min() >= -1e-12, storage.name
        assert out[storage.name].max() > 0, storage.name
        assert torch.equal(getattr(carry.state, storage.name), out[storage.name][..., -1])
    if "routed_runoff" in out:
        assert torch.allclose(out["runoff"], out["routed_runoff"], atol=1e-12)
        on_the_way = sum(out[s.name] for s in processes.storages if s.name.startswith("channel_"))
        assert torch.allclose((out["channel_inflow"] - out["runoff"]).cumsum(-1), on_the_way, atol=1e-9)


@pytest.mark.parametrize("processes", DRAWN.values(), ids=DRAWN)
def test_each_parameter_has_a_gradient_and_none_is_infinite(processes):
    days = {name: x.double() for name, x in plausible().items()}
    like = days["swe"]
    given = {p.name: torch.full_like(like, p.default) for p in processes.parameters if p.name != "fapar"}
    given |= {"fapar": days["fapar"]}
    free = {name: x.clone().requires_grad_() for name, x in given.items()}
    stored = [torch.full_like(like, 200.5 if s.name == "deep_soil" else 0.7) for s in processes.storages]
    stored = [x.requires_grad_() for x in stored]
    state = processes.State(*(days[n] for n in ("swe", "soil_moisture", "groundwater", "fapar", "npp")), *stored)
    forcing = processes.Forcing(*(days[n] for n in processes.Forcing._fields))
    after, fluxes = step(processes, state, forcing, free)
    total = sum(x.sum() for x in (*after, *fluxes) if x is not None and x.requires_grad)
    brought = {p.name for process in processes.all.values() if hasattr(process, "storages") for p in process.parameters}
    names = [n for n in free if n in brought]
    slopes = torch.autograd.grad(total, [*(free[n] for n in names), *stored], allow_unused=True)
    for name, slope in zip([*names, *(s.name for s in processes.storages)], slopes, strict=True):
        assert slope is not None, name
        assert slope.isfinite().all(), name
    for name, slope in zip(names, slopes, strict=False):
        if name != "snowfall_correction":
            assert slope.abs().max() > 0, name


@pytest.mark.usefixtures("compiler")
def test_the_fast_loop_is_the_plain_one():
    model = HybridModel(3, ALL, width=6)
    inputs = made_up(model, dtype=torch.float32)
    close(result(model, "fast", inputs=inputs), result(model, "plain", inputs=inputs), 1e-4, 1e-3)


def test_a_library_of_storages_passes_what_a_users_is_asked():
    """The library's own are not asked when they are made; a subclass elsewhere is."""

    class Snow(LiquidWaterSnow):
        pass

    class Interception(StoredInterception):
        pass

    class Routing(CascadeRouting):
        pass

    class Deep(DeepSoil):
        pass

    assert all(hasattr(kind, "storages") and "References" in kind.__doc__ for kind in (LiquidWaterSnow, CascadeRouting))
    for one in (Snow, Interception, Routing, Deep):
        one.__module__ = "elsewhere"
    Processes(snow=Snow(), interception=Interception(), more=(Deep(), Routing()))
