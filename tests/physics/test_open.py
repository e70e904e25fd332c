"""Processes that bring forcing, storages and fluxes of their own."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from canopy_store import CanopyStore
from litter import Litter
from loops import close, result

import xh2cm
from xh2cm import Flux, InputError, Parameter, Storage, Var
from xh2cm.model import HybridModel, Scaling
from xh2cm.physics import DegreeDaySnow, LinearGroundwater, Processes, Q10Respiration
from xh2cm.variables import OUTPUTS

WATER = HybridModel(
    3,
    Processes.water(more=(CanopyStore(),)),
    xh2cm.networks(xh2cm.model.WATER_NETWORKS, partition={"inputs": (..., "wind_speed", "canopy_water")}),
    width=8,
)
CARBON = HybridModel(3, Processes(more=(Litter(),)), width=8)
"""One of water, whose networks see its forcing and storage, and one of carbon."""

RANGES = {
    "net_radiation": (-20.0, 200.0),
    "precipitation": (0.0, 12.0),
    "air_temperature": (262.0, 30.0),
    "vpd": (0.0, 20.0),
    "co2": (350.0, 50.0),
    "wind_speed": (0.0, 10.0),
    "soil_temperature": (270.0, 25.0),
}


def made_up(model, folds=2, cells=5, days=40, dtype=torch.float64):
    dice = torch.Generator().manual_seed(1)
    low, width = (torch.tensor([RANGES[name][i] for name in model.forcing]) for i in (0, 1))
    forcing = low + width * torch.rand(folds, cells, days, len(low), generator=dice)
    static = torch.randn(folds, cells, model.features, generator=dice)
    none = torch.zeros(folds, model.features)
    scaling = ((low + width / 2).expand(folds, -1), width.expand(folds, -1), none, none + 1)
    weights = torch.stack([model.initial(torch.Generator().manual_seed(k)) for k in range(folds)])
    return weights.to(dtype), forcing.to(dtype), static.to(dtype), Scaling(*(x.to(dtype) for x in scaling))


@pytest.mark.parametrize("name", ["canopy_store", "litter"])
def test_a_file_of_forty_lines_brings_a_forcing_a_storage_and_two_fluxes(name):
    lines = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 40


def test_water_closes_and_what_is_brought_counts_in_et_and_tws():
    carry, out = WATER.run(*made_up(WATER), names=list(WATER.outputs))
    assert out["water_residual"].abs().max() < 1e-9
    parts = out["interception"] + out["soil_evaporation"] + out["transpiration"]
    assert torch.allclose(out["et"] - parts, out["canopy_drying"], atol=1e-12)
    assert out["canopy_drying"].max() > 0.01
    storages = out["swe"] + out["soil_moisture"] + out["groundwater"] + out["canopy_water"]
    assert torch.equal(out["tws"], storages)
    flow = (out["canopy_catch"] - out["canopy_drying"]).cumsum(-1)
    assert torch.allclose(out["canopy_water"], flow, atol=1e-12)
    assert torch.equal(carry.state.canopy_water, out["canopy_water"][..., -1])
    assert torch.allclose(
        out["water_input"], out["rainfall"] + out["snow_melt"] - out["interception"] - out["canopy_catch"]
    )


def test_carbon_closes_and_what_is_brought_counts_in_ter_and_nee():
    _, out = CARBON.run(*made_up(CARBON), names=list(CARBON.outputs))
    assert out["carbon_residual"].abs().max() < 1e-9
    assert out["water_residual"].abs().max() < 1e-9
    assert torch.allclose(out["ter"], out["ra"] + out["rh"] + out["litter_respiration"])
    assert torch.allclose(out["nee"], out["ter"] - out["gpp"])
    assert torch.allclose(out["npp"], out["gpp"] - out["ra"])
    assert torch.allclose(out["litter"], 100 + (out["litterfall"] - out["litter_respiration"]).cumsum(-1), atol=1e-9)
    assert out["litter_respiration"].min() > 0.01


@pytest.mark.parametrize("model", [WATER, CARBON], ids=["water", "carbon"])
def test_half_the_days_and_then_the_rest_are_all_of_them(model):
    weights, forcing, static, scaling = made_up(model)
    names = list(model.processes.outputs)
    _, whole = model.run(weights, forcing, static, scaling, names)
    carry, first = model.run(weights, forcing[:, :, :20], static, scaling, names)
    _, second = model.run(weights, forcing[:, :, 20:], static, scaling, names, carry)
    for name in names:
        assert torch.equal(torch.cat([first[name], second[name]], -1), whole[name])


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("model", [WATER, CARBON], ids=["water", "carbon"])
def test_the_fast_loop_is_the_plain_one(model):
    inputs = made_up(model, dtype=torch.float32)
    close(result(model, "fast", inputs=inputs), result(model, "plain", inputs=inputs), 1e-4, 1e-3)


@pytest.mark.parametrize("model", [WATER, CARBON], ids=["water", "carbon"])
def test_each_parameter_that_is_brought_has_a_gradient(model):
    weights, *rest = made_up(model)
    names = list(model.processes.outputs)
    free = weights.requires_grad_()
    _, out = model.run(free, *rest, names)
    (slope,) = torch.autograd.grad(sum(out[n].mean() for n in names), free)
    heads = [name for name in model.layout if name.endswith("head.bias")]
    named = model.unpack(slope)
    for net in (model.static, *model.daily):
        for at, name in enumerate(model.gives[net.name]):
            if name in {p.name for process in model.processes.more for p in process.parameters}:
                assert named[f"{net.name}.head.bias"][:, at].abs().min() > 0, (name, heads)


def test_outputs_forcing_and_attributes_follow_from_what_is_declared():
    assert WATER.forcing == ("net_radiation", "precipitation", "air_temperature", "vpd", "wind_speed")
    assert {"canopy_water", "canopy_catch", "canopy_drying", "wind_drying"} <= WATER.outputs.keys()
    assert WATER.outputs["canopy_water"].attrs == {
        "long_name": "water on leaves",
        "units": "kg m-2",
        "cell_methods": OUTPUTS["swe"].cell_methods,
    }
    assert WATER.outputs["canopy_drying"].attrs["units"] == "kg m-2 d-1"
    assert CARBON.outputs["litter"].attrs["units"] == "g m-2"
    assert CARBON.outputs["litterfall"].attrs["units"] == "g m-2 d-1"
    printed = repr(xh2cm.Model(processes=WATER.processes, networks=WATER.networks))
    assert "canopy_water" in printed
    assert "surface_water -> canopy_water" in printed
    assert "wind_speed" in xh2cm.Model(processes=WATER.processes)._repr_html_()
    assert pickle.loads(pickle.dumps(WATER)) == WATER  # noqa: S301 - made here


def test_what_nobody_asks_for_is_not_needed():
    @dataclasses.dataclass(frozen=True)
    class Idle(CanopyStore):
        def __call__(self, surface_water, canopy_water):
            return 0.0 * surface_water, 0.5 * canopy_water

    assert "wind_speed" not in HybridModel(3, Processes(more=(Idle(),))).forcing


@dataclasses.dataclass(frozen=True)
class Channel:
    """A linear channel that delays runoff."""

    after: ClassVar = "groundwater"
    storages: ClassVar = (Storage("channel", "water on its way in rivers"),)
    fluxes: ClassVar = (
        Flux("channel_inflow", "river", "channel", "runoff that enters the channel"),
        Flux("streamflow", "channel", "river", "water that leaves the channel"),
    )
    parameters: ClassVar = (Parameter("release", "fraction released a day", "d-1", upper=1.0, varies="global"),)

    def __call__(self, river, channel, release):
        return river, release * channel


@dataclasses.dataclass(frozen=True)
class Irrigation:
    """Water that comes from outside, and goes down to where nothing comes back from."""

    after: ClassVar = "snow"
    storages: ClassVar = ()
    fluxes: ClassVar = (
        Flux("irrigation", "outside", "surface_water", "irrigation"),
        Flux("leakage", "soil_moisture", "outside", "leakage to deep layers"),
    )
    parameters: ClassVar = ()

    def __call__(self, soil_moisture, soil_capacity):
        return 0.01 * (soil_capacity - soil_moisture).clamp(min=0.0), 0.001 * soil_moisture


@dataclasses.dataclass(frozen=True)
class LitterRespiration(Q10Respiration):
    """Soil respires what the litter holds: the flux of the slot comes from another place."""

    storages: ClassVar = (Storage("litter", "carbon in litter", "carbon", start=50.0),)
    fluxes: ClassVar = (
        Flux("rh", "litter", "atmosphere"),
        Flux("litterfall", "biosphere", "litter", "litterfall"),
    )

    def __call__(self, gpp, temperature, cue, basal_respiration, q10, litter):
        ra, _ = super().__call__(gpp, temperature, cue, basal_respiration, q10)
        return ra, 0.01 * litter, 0.3 * (gpp - ra)


@pytest.mark.parametrize(
    "processes",
    [
        Processes(more=(Channel(),)),
        Processes.water(more=(Irrigation(), Channel(), CanopyStore())),
        Processes(respiration=LitterRespiration()),
    ],
    ids=["channel", "three", "respiration"],
)
def test_budgets_close_for_any_graph_of_storages(processes):
    model = HybridModel(3, processes, width=6)
    _, out = model.run(*made_up(model), names=list(model.outputs))
    assert out["water_residual"].abs().max() < 1e-9
    if processes.carbon:
        assert out["carbon_residual"].abs().max() < 1e-9
    if "streamflow" in out:
        assert torch.allclose(out["runoff"], out["streamflow"], atol=1e-12)
        assert torch.allclose(out["channel_inflow"], out["surface_runoff"] + out["baseflow"])
    if "litter" in out:
        assert torch.allclose(out["litter"], 50 + (out["litterfall"] - out["rh"]).cumsum(-1), atol=1e-9)


def brought(**changes):
    """A process like `Channel`, with some of its declarations changed."""
    return type("Odd", (Channel,), changes)()


def returning(text, given="river, channel, release"):
    """A process like `Channel` that returns something else."""
    return brought(__call__=eval(f"lambda self, {given}: ({text})"))  # noqa: S307


@pytest.mark.parametrize(
    ("process", "says"),
    [
        (
            brought(fluxes=(Flux("a", "snow", "channel", "a"), Flux("b", "channel", "rivers", "b"))),
            r"(?s)Odd.a: comes from 'snow', which is no storage.*Odd.b: goes to 'rivers'.*did you mean 'river'",
        ),
        (
            brought(fluxes=(Flux("a", "biosphere", "channel", "a"), Flux("b", "channel", "river", "b"))),
            "joins biosphere and channel, which no budget has in common",
        ),
        (
            brought(fluxes=(Flux("a", "atmosphere", "outside", "a"), Flux("b", "channel", "river", "b"))),
            "joins atmosphere and outside, which no budget has in common",
        ),
        (brought(after="nee"), "after: is 'nee', no slot that something can follow"),
        (brought(after="runof"), "is 'runof', no slot"),
        (
            brought(fluxes=(Flux("a", "surface_water", "channel", "a"), Flux("b", "channel", "river", "b"))),
            "moves surface_water after groundwater, when all of it has moved on",
        ),
        (brought(storages=Storage("channel", "channel")), "no tuple of Storage"),
        (brought(storages=(Storage("swe", "snow"),)), "the name is taken by the model"),
        (
            brought(storages=(Storage("channel", "one"), Storage("channel", "two"))),
            "Odd.channel: the name is taken by Odd",
        ),
        (
            returning("river, channel + 1.0"),
            "takes .* of .* that are in channel",
        ),
        (returning("river"), "gives 1 where 2 fluxes must be given"),
        (
            returning("river, -channel"),
            "streamflow is .*, which is negative",
        ),
        (
            returning("river, chanel", "river, chanel"),
            "asks for 'chanel'.*\n.*did you mean 'channel'",
        ),
        (DegreeDaySnow(), r"Processes\(snow=DegreeDaySnow\(\)\)"),
    ],
)
def test_what_cannot_be_booked_is_refused_when_the_model_is_made(process, says):
    with pytest.raises(InputError, match=says):
        Processes(more=(process,))


def test_two_of_a_class_and_two_of_a_name_are_refused():
    with pytest.raises(InputError, match="holds 2 processes of the class Channel"):
        Processes(more=(Channel(), Channel()))
    with pytest.raises(InputError, match="channel: the name is taken by Channel"):
        Processes(more=(Channel(), brought()))


def test_two_processes_may_need_the_same_forcing():
    class Other(CanopyStore):
        storages = (Storage("moss_water", "water in moss"),)
        fluxes = (Flux("moss_catch", "surface_water", "moss_water", "a"), Flux("b", "moss_water", "atmosphere", "b"))

        def __call__(self, surface_water, moss_water, wind_speed):
            return 0.1 * surface_water, 0.01 * moss_water * torch.exp(-wind_speed)

    both = Processes(more=(CanopyStore(), Other()))
    assert list(both.forcing) == ["wind_speed"]
    Other.forcing = (Var("wind_speed", "wind", "m s-1", "any"),)
    with pytest.raises(InputError, match=r"Other\.wind_speed: the name is taken by CanopyStore"):
        Processes(more=(CanopyStore(), Other()))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Storage("snow pack", "x"), "cannot be the name of an argument"),
        (lambda: Storage("x", ""), "has no long_name"),
        (lambda: Storage("x", "x", "wather"), "budget='wather' is unknown"),
        (lambda: Storage("x", "x", start=float("nan")), "has start=nan"),
        (lambda: Storage("x", "x", scale=0.0), "has scale=0.0"),
        (lambda: Storage("x", "x", "none"), "has no units"),
        (lambda: Flux("a b", "swe", "river", "x"), "cannot be the name of an argument"),
        (lambda: Flux("a", "swe", "swe", "x"), "begins and ends in 'swe'"),
    ],
)
def test_a_storage_or_flux_that_cannot_be_is_refused(make, says):
    with pytest.raises(InputError, match=says):
        make()


def test_a_storage_of_no_budget_keeps_its_own_account():
    @dataclasses.dataclass(frozen=True)
    class Warmth:
        storages: ClassVar = (Storage("warmth", "sum of temperature", "none", units="degC d", scale=100.0),)
        fluxes: ClassVar = (
            Flux("warming", "outside", "warmth", "warmth gained", units="degC"),
            Flux("cooling", "warmth", "outside", "warmth lost", units="degC"),
        )
        parameters: ClassVar = ()

        def __call__(self, temperature, warmth):
            return temperature.clamp(min=0.0), 0.05 * warmth

    model = HybridModel(3, Processes(more=(Warmth(),)), width=6)
    _, out = model.run(*made_up(model), names=list(model.outputs))
    assert torch.allclose(out["warmth"], (out["warming"] - out["cooling"]).cumsum(-1))
    _, bare = (published := HybridModel(3, width=6)).run(*made_up(published), names=["tws", "ter"])
    assert torch.equal(out["tws"], bare["tws"])
    assert model.outputs["warmth"].attrs["units"] == "degC d"


def test_yesterdays_groundwater_is_what_baseflow_sees():
    """A storage is visible as the processes before have left it; recharge joins after baseflow was asked."""
    seen = {}

    class Looking(LinearGroundwater):
        def __call__(self, groundwater, baseflow_coefficient):
            seen["groundwater"] = groundwater
            return super().__call__(groundwater, baseflow_coefficient)

    model = HybridModel(3, Processes(groundwater=Looking()), width=6)
    weights, forcing, static, scaling = made_up(model, days=2)
    model.run(weights, forcing[:, :, :1], static, scaling)
    assert seen["groundwater"].abs().max() == 0.0
