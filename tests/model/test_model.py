"""The hybrid model against the published one's numbers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from xh2cm.datasets.published import from_published
from xh2cm.errors import InputError
from xh2cm.model import PUBLISHED_NETWORKS, HybridModel, Net, Scaling
from xh2cm.model.loss import Compared, Truth, losses
from xh2cm.model.optimiser import AdamW
from xh2cm.targets import PRIORS, TARGET_TABLE

OUTPUTS = {
    "soil_capacity": "sm_max",
    "interception_capacity": "alpha_Ei",
    "snow_melt_rate": "alpha_snow_melt_ts",
    "soil_evaporation_fraction": "alpha_Es_ts",
    "transpiration_fraction": "alpha_T_ts",
    "soil_recharge_fraction": "alpha_r_soil_ts",
    "groundwater_recharge_fraction": "alpha_r_gw_ts",
    "fapar": "fAPAR_nn_ts",
    "wue": "wue_ts",
    "cue": "cue_ts",
    "basal_respiration": "basal_resp_rate_ts",
    "snowfall": "snow_acc_ts",
    "snow_melt": "snow_melt_ts",
    "swe": "swe_ts",
    "interception": "Ei_ts",
    "soil_evaporation": "Es_ts",
    "transpiration": "T_ts",
    "et": "ET_ts",
    "water_input": "water_input_ts",
    "soil_recharge": "r_soil_ts",
    "groundwater_recharge": "r_gw_ts",
    "soil_moisture": "SM_ts",
    "surface_runoff": "runoff_surface_ts",
    "baseflow": "baseflow_ts",
    "runoff": "runoff_total_ts",
    "groundwater": "GW_ts",
    "tws": "tws_ts",
    "precipitation_corrected": "prec_actual_ts",
    "gpp": "gpp_ts",
    "npp": "npp_ts",
    "ra": "Ra_ts",
    "rh": "Rh_ts",
    "ter": "ter_ts",
    "nep": "nep_ts",
    "nee": "nee_ts",
    "snowfall_correction": "beta_snow",
    "baseflow_coefficient": "beta_baseflow",
    "q10": "beta_q10",
    "co2_sensitivity": "beta_co2",
}


@pytest.fixture(scope="module")
def published(parity):
    """The published model's input, weights and numbers."""
    return {k: torch.from_numpy(v) for k, v in np.load(parity / "model.npz").items()}


def scaling_of(given):
    return Scaling(*(given[f"stat_{k}"] for k in ("means_forcing", "stds_forcing", "means_static", "stds_static")))


def test_outputs_equal_the_published_ones(published):
    model = HybridModel(features=30)
    weights = model.pack(
        from_published({k[8:]: v for k, v in published.items() if k.startswith("weight0_")})
    ).unsqueeze(0)
    forcing, static, scaling = (
        published["forcing"].unsqueeze(0),
        published["static"].unsqueeze(0),
        scaling_of(published),
    )
    with torch.no_grad():
        carry, _ = model.run(weights, forcing, static, scaling)
        for name, theirs in {
            "swe": "swe_t",
            "soil_moisture": "SM_t",
            "groundwater": "GW_t",
            "fapar": "fAPAR_nn_t",
            "npp": "npp_t",
        }.items():
            expected = published[f"spinup_{theirs}"].squeeze(-1)
            assert (getattr(carry.state, name)[0] - expected).abs().max() <= 1e-4 * expected.abs().max(), name
        _, ours = model.run(weights, forcing, static, scaling, list(OUTPUTS), carry)
    for name, theirs in OUTPUTS.items():
        expected = published[f"out_{theirs}"]
        assert (ours[name][0].reshape(expected.shape) - expected).abs().max() <= 1e-4 * expected.abs().max(), name


def small(folds, cells=5, days=40, features=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    forcing = torch.rand(folds, cells, days, 5, generator=generator) * torch.tensor(
        [200.0, 10.0, 30.0, 20.0, 50.0]
    ) + torch.tensor([0.0, 0.0, 265.0, 0.0, 350.0])
    static = torch.randn(folds, cells, features, generator=generator)
    ones = torch.ones(folds, features)
    return (
        forcing,
        static,
        Scaling(
            torch.tensor([[100.0, 5, 280, 10, 370]]).expand(folds, 5),
            torch.tensor([[50.0, 3, 9, 5, 15]]).expand(folds, 5),
            0 * ones,
            ones,
        ),
    )


def test_a_fold_among_many_is_the_fold_alone():
    model = HybridModel(features=3)
    forcing, static, scaling = small(3)
    weights = torch.stack([model.initial(torch.Generator().manual_seed(k)) for k in range(3)])
    _, together = model.run(weights, forcing, static, scaling, ["gpp", "tws"])
    for k in range(3):
        one = slice(k, k + 1)
        _, alone = model.run(
            weights[one], forcing[one], static[one], Scaling(*(s[one] for s in scaling)), ["gpp", "tws"]
        )
        for name in together:
            torch.testing.assert_close(together[name][one], alone[name], rtol=1e-5, atol=1e-6)


def test_the_stretches_of_the_walk_do_not_show():
    from xh2cm.loop import walk

    def day(_, carry, today):
        new = torch.tanh(carry + today[0].sum(-1))
        return new, {"x": new}

    record = torch.randn(1, 2, 50, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    grads = []
    for stretch in (7, 50):
        _, out = walk(day, (), torch.zeros(1, 2), (record,), ["x"], stretch)
        grads.append(torch.autograd.grad(out["x"].square().sum(), record)[0])
    torch.testing.assert_close(*grads, rtol=0, atol=0)


def test_water_closes_over_a_record_of_the_whole_model():
    forcing, static, scaling = small(2, days=200)
    model = HybridModel(features=3)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-3)):
        weights = torch.stack([model.initial(torch.Generator().manual_seed(k)) for k in range(2)]).to(dtype)
        with torch.no_grad():
            _, out = model.run(
                weights,
                forcing.to(dtype),
                static.to(dtype),
                Scaling(*(s.to(dtype) for s in scaling)),
                ["water_residual", "carbon_residual"],
            )
        assert out["water_residual"].abs().max() <= tolerance
        assert out["carbon_residual"].abs().max() <= tolerance


def test_no_static_features_is_a_model_too():
    forcing, _, scaling = small(2)
    empty = torch.zeros(2, 0)
    model = HybridModel(features=0)
    weights = torch.stack([model.initial(torch.Generator().manual_seed(k)) for k in range(2)])
    _, out = model.run(
        weights,
        forcing,
        torch.zeros(2, 5, 0),
        scaling._replace(static_mean=empty, static_std=empty),
        ["et", "soil_capacity"],
    )
    assert torch.isfinite(out["et"]).all()
    assert (out["soil_capacity"] > 90).all()


@pytest.mark.parametrize(
    ("networks", "says"),
    [
        ((*PUBLISHED_NETWORKS, Net("extra", "lstm", ("static",), ("wue",))), "parameter wue: given by 2 networks"),
        (PUBLISHED_NETWORKS[:-1], None),
        (
            (*PUBLISHED_NETWORKS[:-1], dataclasses.replace(PUBLISHED_NETWORKS[-1], kind="transformer")),
            "unknown kind 'transformer'",
        ),
        (
            (*PUBLISHED_NETWORKS[:-1], dataclasses.replace(PUBLISHED_NETWORKS[-1], inputs=("net_radiatoin",))),
            "did you mean 'net_radiation'",
        ),
        (PUBLISHED_NETWORKS[1:], "exactly one net of kind 'static'"),
        (
            (*PUBLISHED_NETWORKS[:-1], Net("respiration", "lstm", ("static",), ("soil_capacity",))),
            "given by 2 networks",
        ),
    ],
)
def test_a_table_of_networks_is_checked(networks, says):
    if says is None:  # what no row names goes to the row that takes the rest
        assert "basal_respiration" in HybridModel(features=1, networks=networks).gives["partition"]
    else:
        with pytest.raises(InputError, match=says):
            HybridModel(features=1, networks=networks)


TARGETS_PUBLISHED = {
    "TWS": "tws",
    "ET": "et_xbase",
    "runoff": "q_v2",
    "SWE": "swe_bc",
    "fAPAR": "fapar",
    "GPP": "gpp",
    "NEE": "nee",
    "NEE_IAV": "nee_iav",
}
STDS = {
    "TWS": "tws",
    "ET": "et",
    "runoff": "q",
    "SWE": "swe",
    "fAPAR": "fapar",
    "GPP": "gpp",
    "NEE": "nee",
    "NEE_IAV": "nee_iav",
    "CUE": "cue",
}
LOSSES = {
    "TWS": "tws",
    "ET": "et",
    "runoff": "runoff",
    "SWE": "swe",
    "fAPAR": "fapar",
    "GPP": "gpp",
    "NEE": "nee",
    "NEE_IAV": "nee_iav",
    "CUE": "cue",
    "co2_sensitivity": "beta_co2",
    "q10": "beta_q10",
    "total": "loss_sum",
}


def published_loss(published, model, weights):
    """The published training step's losses."""
    month = published["forcing_months"] - published["forcing_months"][0]
    days = torch.bincount(month)
    truths = {}
    for name, theirs in TARGETS_PUBLISHED.items():
        assert (published[f"target_months_{theirs}"] == published["forcing_months"].unique()).all()
        truths[name] = Truth(
            published[f"target_{theirs}"][None],
            torch.ones(1, 12, len(days), dtype=torch.bool),
            "monthly",
            published[f"stat_std_{STDS[name]}"][None],
        )
    truths["CUE"] = Truth(
        published["cue"][None, :, None],
        torch.ones(1, 12, 1, dtype=torch.bool),
        "static",
        published["stat_std_cue"][None],
    )
    batch = Compared(
        counts=torch.ones(1, 12, dtype=torch.bool),
        area=published["grid_area"][None],
        allowed=torch.ones(1, 12, 730, dtype=torch.bool),
        month=month.expand(1, 12, -1),
        month_days=days.expand(1, 12, -1),
        of_year=(torch.arange(len(days)) % 12).expand(1, 12, -1),
    )
    targets = [t for t in TARGET_TABLE if t.name in truths]
    names = {f for t in targets for f in t.fields} | {p.parameter for p in PRIORS}
    forcing, static, scaling = (
        published["forcing"].unsqueeze(0),
        published["static"].unsqueeze(0),
        scaling_of(published),
    )
    with torch.no_grad():
        carry, _ = model.run(weights, forcing, static, scaling)
    return losses(targets, model.run(weights, forcing, static, scaling, sorted(names), carry)[1], truths, batch)


def published_weights(published, model):
    return model.pack(from_published({k[8:]: v for k, v in published.items() if k.startswith("weight0_")}))[None]


def test_losses_and_gradients_equal_the_published_ones(published):
    model = HybridModel(features=30)
    weights = published_weights(published, model).requires_grad_()
    found = published_loss(published, model, weights)
    for name, theirs in LOSSES.items():
        expected = published[f"loss_{theirs}"]
        assert (found[name] - expected).abs() <= 1e-4 * max(1.0, abs(expected)), (
            name,
            found[name].item(),
            expected.item(),
        )
    (gradient,) = torch.autograd.grad(found["total"], weights)
    theirs = from_published({k[5:]: v for k, v in published.items() if k.startswith("grad_")})
    for name, ours in model.unpack(gradient).items():
        assert (ours[0] - theirs[name]).abs().max() <= 1e-3 * theirs[name].abs().max(), name


@pytest.mark.parametrize("number", [3, pytest.param(10, marks=pytest.mark.slow("ten steps of 12 cells and two years"))])
def test_training_steps_equal_the_published_ones(published, number):
    model = HybridModel(features=30)
    optimiser, rate = AdamW.fresh(published_weights(published, model)), torch.tensor([0.005])
    for expected in published["train_losses"][:number]:
        weights = optimiser.weights.clone().requires_grad_()
        total = published_loss(published, model, weights)["total"]
        assert (total - expected).abs() <= 1e-3 * expected
        (gradient,) = torch.autograd.grad(total.sum(), weights)
        optimiser.step(gradient.clamp(-0.5, 0.5), rate, torch.ones(1, dtype=torch.bool))
