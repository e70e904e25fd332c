"""Models, made-up inputs and comparisons shared by the tests of the loops over days."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import pytest
import torch
from torch.utils._pytree import tree_leaves

from xh2cm.model import PUBLISHED_NETWORKS, HybridModel, Net, Scaling, networks
from xh2cm.model.layers import Recurrent
from xh2cm.model.net import STATE_INPUTS
from xh2cm.physics import Processes
from xh2cm.variables import FORCING, Parameter


@dataclasses.dataclass(frozen=True)
class CurvedRunoff:
    """A process that a user might bring: own parameters, a curve, a branch, a constant tensor."""

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("curve", "curvature", "1", lower=0.5, upper=3.0),
        Parameter("steepness", "steepness", "1", lower=0.1, varies="global", default=1.413262),
    )

    def __call__(self, excess_water, soil_moisture, soil_capacity, curve, steepness):
        wet = (soil_moisture / soil_capacity).clamp(1e-3, 1.0)
        share = torch.where(wet > torch.tensor(0.5), torch.tanh(steepness * wet**curve), wet.square() * torch.sqrt(wet))
        return excess_water * share.clamp(max=1.0)


class MinimalGated(Recurrent):
    """A minimal gated unit (Zhou et al., 2016, doi:10.1007/s11633-016-1006-2), which resets after the product."""

    gates = ("inputs", "both", "hidden")

    def cell(self, gates, memory):
        new, forget, old = gates
        share = torch.sigmoid(forget)
        return (torch.lerp(memory[0], torch.tanh(new + share * old), share),)


class PeepholeLSTM(Recurrent):
    """An LSTM whose output gate looks at the new cell state (Gers and Schmidhuber, 2000)."""

    gates = ("both", "both", "both", "both")
    memories = 2

    def cell(self, gates, memory):
        enter, forget, new, leave = gates
        cell = torch.sigmoid(forget) * memory[1] + torch.sigmoid(enter) * torch.tanh(new)
        return torch.sigmoid(leave + 0.5 * cell) * torch.tanh(cell), cell


OWN_KINDS = {"minimal": MinimalGated(), "peephole": PeepholeLSTM()}
"""Kinds of networks that a user might bring."""

ODD_TABLE = (
    PUBLISHED_NETWORKS[0],
    Net("one", "lstm", ("precipitation", "swe", "npp", "static"), ("snow_melt_rate", "curve"), width=13),
    Net("two", "mlp", ("relative_soil_moisture", "groundwater"), ("wue", "transpiration_fraction"), width=17),
    Net("three", "lstm", ("net_radiation", "vpd"), ("cue",), width=3),
    Net("four", "mlp", ("air_temperature", "static"), ("*",), width=9),
    Net("five", "gru", ("fapar", "vpd", "static"), ("basal_respiration",), width=21),
    Net("six", "gru", ("static",), ("soil_evaporation_fraction",), width=1),
    Net("seven", "mlp", (), ("groundwater_recharge_fraction",), width=2),
)
"""Widths that fill no register, nets without forcing, without state, without static features, without anything."""

ONE_FOR_ALL = PUBLISHED_NETWORKS[0], Net("all", "lstm", (*FORCING, *STATE_INPUTS, "static"), ("*",))

MODELS = {
    "published": HybridModel(features=3, width=16),
    "no static features": HybridModel(features=0, width=16),
    "another physics and table": HybridModel(3, Processes(runoff=CurvedRunoff()), ODD_TABLE),
    "a GRU in each place": HybridModel(3, networks=networks(lstm={"kind": "gru"}), width=16),
    "one LSTM for all": HybridModel(3, networks=ONE_FOR_ALL, width=16),
    "one MLP for all": HybridModel(3, networks=networks(ONE_FOR_ALL, lstm={"kind": "mlp"}), width=16),
}

FURTHER = pytest.mark.slow("compiles a further model")
EVERY_MODEL = pytest.mark.parametrize(
    "model",
    [
        pytest.param(model, id=name, marks=() if name in ("published", "another physics and table") else FURTHER)
        for name, model in MODELS.items()
    ],
)
"""All models; `make test` takes the published one and one of everything else."""

GATED = pytest.mark.parametrize(
    "model",
    [
        pytest.param(MODELS["published"], id="LSTM"),
        pytest.param(MODELS["a GRU in each place"], id="GRU", marks=FURTHER),
    ],
)

PINNED = [
    tuple((parameter.name, "global") for parameter in Processes().parameters),
    (("soil_capacity", "map"), ("fapar", "global")),
]
"""Pins of models; the first leaves no networks."""


def given(model, folds=2, cells=19, days=37, dtype=torch.float32):
    dice = torch.Generator().manual_seed(1)
    forcing = torch.rand(folds, cells, days, 5, generator=dice) * torch.tensor([200.0, 10, 30, 20, 50])
    forcing += torch.tensor([-20.0, 0, 262, 0, 350])
    mean, std = torch.tensor([[100.0, 5, 280, 10, 370]]), torch.tensor([[50.0, 3, 9, 5, 15]])
    static = torch.randn(folds, cells, model.features, generator=dice)
    ones = torch.ones(folds, model.features)
    scaling = (mean.expand(folds, 5), std.expand(folds, 5), 0 * ones, ones)
    weights = torch.stack([model.initial(torch.Generator().manual_seed(k)) for k in range(folds)])
    return weights.to(dtype), forcing.to(dtype), static.to(dtype), Scaling(*(x.to(dtype) for x in scaling))


def result(model, loop, dtype=torch.float32, inputs=None):
    """Outputs and final carry, and a gradient that all of them enter."""
    weights, *rest = given(model, dtype=dtype) if inputs is None else inputs
    weights = weights.clone().requires_grad_()
    names = list(model.outputs)
    carry, outputs = model.run(weights, *rest, names, loop=loop)
    parts = [*outputs.values(), *tree_leaves(carry)]
    loss = sum((x * torch.linspace(0.5, 1.0, x.numel()).to(x).view_as(x)).square().mean() for x in parts)
    return dict(outputs), tree_leaves(carry), model.unpack(torch.autograd.grad(loss, weights)[0])


def same(found, expected, tolerance):
    return not expected.numel() or (found - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=1e-12)


def given_maps(model, cells=5, days=40):
    """Weights of two folds and made-up land for a model."""
    dice = torch.Generator().manual_seed(1)
    forcing = torch.rand(2, cells, days, 5, generator=dice) * torch.tensor([200.0, 10, 30, 20, 50])
    forcing += torch.tensor([-20.0, 0, 262, 0, 350])
    walked = [list(FORCING).index(name) for name in model.forcing]
    static = torch.randn(2, cells, model.features, generator=dice)
    maps = torch.rand(2, cells, len(model.maps), generator=dice)
    mean, std = torch.tensor([[100.0, 5, 280, 10, 370]]), torch.tensor([[50.0, 3, 9, 5, 15]])
    scaling = (mean[:, walked].expand(2, -1), std[:, walked].expand(2, -1), 0 * static[:, 0], 0 * static[:, 0] + 1)
    weights = torch.stack([model.initial(torch.Generator().manual_seed(k)) for k in range(2)])
    return weights, forcing[..., walked], torch.cat([static, maps], -1), Scaling(*scaling)


def close(found, expected, outputs=1e-5, gradients=1e-4):
    for name, x in expected[0].items():
        if name.endswith("residual"):
            assert found[0][name].abs().max() <= 1e-3
        else:
            assert same(found[0][name], x, outputs), name
    assert all(same(x, y, outputs) for x, y in zip(found[1], expected[1], strict=True))
    for name, x in expected[2].items():
        assert same(found[2][name], x, gradients), name
