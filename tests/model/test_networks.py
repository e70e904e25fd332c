"""The table of networks: what each kind computes, and how rows are changed."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import xarray as xr

import xh2cm
from xh2cm.errors import FitError, InputError
from xh2cm.model import KINDS, HybridModel
from xh2cm.model.layers import MLP
from xh2cm.model.net import EMBEDDING, STATE_INPUTS, Net
from xh2cm.model.network import PUBLISHED_NETWORKS
from xh2cm.variables import FORCING

QUICK = {"folds": 2, "scheme": "cells", "width": 6, "epochs": 1, "spinup": 20, "progress": False}

STATIC = PUBLISHED_NETWORKS[0]
EVERYTHING = (*FORCING, *STATE_INPUTS, "static")

TABLES = {
    "a GRU in each place": xh2cm.networks(lstm={"kind": "gru"}),
    "an MLP in each place": xh2cm.networks(lstm={"kind": "mlp"}),
    "one LSTM for all": (STATIC, Net("all", "lstm", EVERYTHING, ("*",))),
    "one MLP for all": (STATIC, Net("all", "mlp", EVERYTHING, ("*",))),
    "other inputs and widths": xh2cm.networks(
        partition={"inputs": (..., "air_temperature"), "width": 5},
        productivity={"kind": "gru", "width": 7},
        respiration={"inputs": ("air_temperature", "relative_soil_moisture")},
        static={"width": 4},
    ),
    "a row that sees nothing": xh2cm.networks(respiration={"inputs": ()}, water_use={"inputs": ()}),
    "a row more": (
        *xh2cm.networks(partition={"outputs": ("snow_melt_rate", "*")}),
        Net("recharge", "gru", ("precipitation", "groundwater"), ("groundwater_recharge_fraction",)),
    ),
}


@pytest.fixture(scope="module")
def short(twin):
    """Two months of the twin."""
    return twin.isel(time=slice(0, 59), month=slice(0, 2))


# -- what a kind computes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "cell"), [("gru", torch.nn.GRUCell), ("lstm", torch.nn.LSTMCell)])
def test_a_recurrent_cell_is_that_of_torch(kind, cell):
    """Numbers and gradients, fold by fold, with the inputs in the order of the row."""
    dice = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=dice, dtype=torch.float64).requires_grad_()  # noqa: E731
    net = Net("x", kind, ("vpd", "static", "swe", "precipitation"), ("wue", "cue"), width=7)
    ours = KINDS[kind]
    weights = {name: draw(2, *w.shape) for name, w in ours.weights(net.size, 2, 7).items()}
    embedding, forcing, state = draw(2, 4, EMBEDDING), draw(5, 2, 4, 2), draw(5, 2, 4, 1)
    leaves = [*weights.values(), embedding, forcing, state]

    ready = ours.ready(weights, net, embedding)
    memory, found = ours.memory(torch.zeros(2, 4, dtype=torch.float64), 7), []
    for today, seen in zip(forcing, state, strict=True):
        raw, memory = ours.day(ready, [today, seen], memory)
        found.append(raw)

    expected = []
    for fold in range(2):
        own = {name: w[fold] for name, w in weights.items()}
        theirs = cell(net.size, 7, dtype=torch.float64)
        gates = {name: own[name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        kept, series = None, []
        for today, seen in zip(forcing[:, fold], state[:, fold], strict=True):
            x = torch.cat([today[:, :1], embedding[fold], seen, today[:, 1:]], 1)
            kept = torch.func.functional_call(theirs, gates, (x, kept))
            hidden = kept[0] if kind == "lstm" else kept
            series.append(hidden @ own["head.weight"].T + own["head.bias"])
        expected.append(torch.stack(series))
    found, expected = torch.stack(found), torch.stack(expected, 1)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    by = torch.linspace(0.5, 1.0, found.numel(), dtype=torch.float64).view_as(found)
    for one, other in zip(*(torch.autograd.grad((x * by).sum(), leaves) for x in (found, expected)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_a_gru_has_three_quarters_of_the_weights_and_starts_as_torch_starts_it():
    own = KINDS["gru"].weights(9, 2, 16)
    theirs = dict(torch.nn.GRUCell(9, 16).named_parameters())
    assert {name: own[name].shape for name in theirs} == {name: tuple(w.shape) for name, w in theirs.items()}
    assert {own[name].bound for name in theirs} == {1 / 4}


# -- rows in use -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_is_trained_used_saved_and_read_again(table, short, tmp_path):
    fit = short.h2cm.fit(networks=table, **QUICK)
    start = fit.model.initial(torch.Generator().manual_seed(0))
    assert torch.isfinite(fit.weights).all()
    assert fit.weights.shape == (2, len(start))
    assert not int(fit.losses["skipped_steps"].sum())
    out = short.h2cm.predict(fit, variables=["GPP", "ET", "wue", "snow_melt_rate", "water_residual"])
    for name, series in out.items():
        assert series.notnull().all(), name
    assert abs(out["water_residual"]).max() <= 1e-3
    again = xh2cm.load_fit(fit.save(tmp_path / "fit"))
    assert again.model.networks == table
    xr.testing.assert_identical(short.h2cm.predict(again)["GPP"], out["GPP"])


class Persistent(MLP):
    """A kind that somebody brings: an MLP on a running mean of its inputs, written without a line of ours changed."""

    def memory(self, cells, width):
        return (cells.new_zeros(*cells.shape, 1),)

    def day(self, ready, features, memory):
        seen = torch.cat(list(features), -1)
        mean = 0.9 * memory[0] + 0.1 * seen.mean(-1, keepdim=True)
        raw, _ = super().day(ready, [seen + mean], ())
        return raw, (mean,)


def test_a_kind_of_ones_own_is_trained_and_read_again_where_it_is_known(short, tmp_path, monkeypatch):
    with monkeypatch.context() as known:
        known.setitem(KINDS, "persistent", Persistent())
        fit = short.h2cm.fit(networks=xh2cm.networks(mlp={"kind": "persistent"}), **QUICK)
        out = short.h2cm.predict(fit)
        path = fit.save(tmp_path / "fit")
        xr.testing.assert_identical(short.h2cm.predict(xh2cm.load_fit(path)), out)
    with pytest.raises(FitError, match=r"KINDS\['persistent'\]"):
        xh2cm.load_fit(path)


def test_a_network_can_be_taken_alone_and_changes_no_other():
    """Initial weights of the rows before a changed one are the same: they are drawn in the order of the table."""
    published, changed = HybridModel(3), HybridModel(3, networks=xh2cm.networks(respiration={"kind": "gru"}))
    one, other = (m.unpack(m.initial(torch.Generator().manual_seed(1))[None]) for m in (published, changed))
    for name, w in one.items():
        if not name.startswith("respiration."):
            assert torch.equal(w, other[name]), name


# -- changing rows -----------------------------------------------------------------------------------------------------


def test_rows_are_changed_by_their_names_and_by_their_kind():
    assert xh2cm.networks() == xh2cm.PUBLISHED_NETWORKS == PUBLISHED_NETWORKS
    table = xh2cm.networks(lstm={"kind": "gru", "width": 50}, productivity={"width": 64}, mlp={"width": 30})
    assert [(net.name, net.kind, net.width) for net in table] == [
        ("static", "static", None),
        ("partition", "gru", 50),
        ("water_use", "mlp", 30),
        ("productivity", "gru", 64),
        ("respiration", "gru", 50),
    ]
    assert [(net.inputs, net.outputs) for net in table] == [(net.inputs, net.outputs) for net in PUBLISHED_NETWORKS]


def test_dots_stand_for_what_a_row_has():
    (_, _, before, *_), (_, _, after, *_) = (
        xh2cm.networks(),
        xh2cm.networks(water_use={"inputs": ("swe", ..., "co2"), "outputs": [..., "cue"]}),
    )
    assert after.inputs == ("swe", *before.inputs, "co2")
    assert after.outputs == (*before.outputs, "cue")


def test_any_table_can_be_changed():
    mine = (STATIC, Net("all", "lstm", ("static",), ("*",)))
    assert xh2cm.networks(mine, all={"inputs": (..., "vpd")})[1] == dataclasses.replace(
        mine[1], inputs=("static", "vpd")
    )


@dataclasses.dataclass(frozen=True)
class ThresholdRunoff:
    """A process with a daily parameter that no published row names."""

    parameters = (xh2cm.Parameter("threshold", "share of the soil that is full before it runs", "1", upper=1.0),)

    def __call__(self, excess_water, soil_moisture, soil_capacity, threshold):
        return excess_water * torch.sigmoid(10 * (soil_moisture / soil_capacity - threshold))


def test_a_new_parameter_goes_to_the_row_that_is_told():
    processes = xh2cm.Processes(runoff=ThresholdRunoff())
    assert "threshold" in HybridModel(3, processes).gives["partition"]
    told = xh2cm.networks(respiration={"outputs": (..., "threshold")})
    model = HybridModel(3, processes, told)
    assert model.gives["respiration"] == ("basal_respiration", "soil_evaporation_fraction", "threshold")
    assert "threshold" not in model.gives["partition"]


def test_all_mistakes_are_told_at_once():
    with pytest.raises(InputError) as caught:
        xh2cm.networks(
            partiton={"kind": "gru"},
            gru={"width": 3},
            productivity="gru",
            lstm={"widht": 64, "inputs": "vpd"},
            water_use={"kind": "transformer", "inputs": ("vdp", "static", "static"), "width": 0},
            respiration={"outputs": {"wue"}, "width": 1.5},
        )
    told = [str(finding) for finding in caught.value.findings]
    for says in (
        "networks(partiton=...): there is no such row, and no row of such a kind\n    -> did you mean 'partition'?",
        "networks(gru=...): there is no such row",
        'networks(productivity=...): \'gru\' names no field\n    -> write productivity={"kind": "gru"}',
        "networks(lstm=...): unknown field 'widht'\n    -> did you mean 'width'?",
        "networks(lstm=...): inputs are 'vpd'\n    -> give a tuple of names",
        "network water_use: unknown kind 'transformer'\n    -> use one of lstm, gru, mlp, or add yours",
        "network water_use: sees 'static' 2 times",
        "network water_use: a width of 0",
        "networks(respiration=...): outputs are {'wue'}",
        "network respiration: a width of 1.5",
    ):
        assert sum(text.startswith(says) for text in told) == 1, (says, told)
    assert len(told) == 10


def test_what_a_row_gives_is_looked_at_with_the_processes(short):
    table = xh2cm.networks(water_use={"outputs": ("weu", "transpiration_fraction")})
    with pytest.raises(InputError, match=r"network water_use: unknown output 'weu'\n *-> did you mean 'wue'"):
        short.h2cm.fit(networks=table, **QUICK)
    with pytest.raises(InputError, match=r"network water_use: unknown input 'vdp'\n *-> did you mean 'vpd'"):
        xh2cm.Model(networks=xh2cm.networks(water_use={"inputs": ("vdp", "static")}))
    with pytest.raises(InputError, match="parameter cue: given by 2 networks"):
        short.h2cm.fit(networks=xh2cm.networks(water_use={"outputs": (..., "cue")}), **QUICK)


def test_two_rows_of_one_name_are_refused():
    with pytest.raises(InputError, match="2 rows are called 'respiration'"):
        HybridModel(3, networks=(*PUBLISHED_NETWORKS, Net("respiration", "mlp", ("vpd",), ())))
