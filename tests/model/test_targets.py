"""Targets of one's own: any variable, mapped, weighed by its quality, or the mean of a gauge's cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import xh2cm
from xh2cm import Target
from xh2cm.errors import InputError
from xh2cm.model.loss import Compared, Truth, losses
from xh2cm.targets import TARGET_TABLE, leaf_area_index, unconstrained
from xh2cm.train import (
    Batch,
    Drawn,
    Portions,
    Samples,
    Training,
    batches,
    gauge_label,
    label_tensor,
    normalisation,
)
from xh2cm.train.fitting import chosen_targets
from xh2cm.train.tensors import to_tensors
from xh2cm.variables import OUTPUTS

QUICK = {"scheme": "cells", "width": 4, "batch_size": 3, "progress": False, "epochs": 1}
FORCING = ["net_radiation", "precipitation", "air_temperature", "vpd", "co2"]


@pytest.fixture(scope="module")
def short(twin):
    return twin.isel(time=slice(0, 59), month=slice(0, 2))


@pytest.fixture(scope="module")
def daily(short):
    """Daily observations of what the model computes, made up; two gauges of two cells each."""
    random = np.random.default_rng(0)
    shape = short["vpd"].drop_attrs()
    shares = np.zeros((3, 2, 4))
    shares[0, 0, :2], shares[1, 1, 1:3], shares[2, 0, 3] = (1.0, 3.0), (0.5, 0.5), 2.0
    return short[[*FORCING, "elevation"]].assign(
        GPP=shape.copy(data=random.random(shape.shape)).assign_attrs(units="g m-2 d-1"),
        gpp_qc=shape.copy(data=random.random(shape.shape)),
        swc=shape.copy(data=30 + random.random(shape.shape)).assign_attrs(units="%"),
        lai=shape.copy(data=random.random(shape.shape)).assign_attrs(units="m2 m-2"),
        flow=(("gauge", "time"), random.random((3, 59)), {"units": "mm day-1"}),
        share=(("gauge", "lat", "lon"), shares),
        mean_runoff=(("lat", "lon"), random.random((2, 4)), {"units": "mm day-1"}),
    )


# -- what is compared --------------------------------------------------------------------------------------------------


def compared(days, cells=2):
    return Compared(
        counts=torch.ones(1, cells, dtype=torch.bool),
        area=torch.ones(1, cells),
        allowed=torch.ones(1, cells, days, dtype=torch.bool),
        month=torch.zeros(1, cells, days, dtype=torch.long),
        month_days=torch.full((1, cells, 1), days),
        of_year=torch.zeros(1, cells, 1, dtype=torch.long),
    )


def loss_of(target, predicted, observed, step="daily", quality=None):
    days = predicted.shape[2]
    truth = Truth(observed, torch.ones(1, 2, observed.shape[2], dtype=torch.bool), step, torch.ones(1), quality)
    return losses([target], {target.fields[0]: predicted}, {target.name: truth}, compared(days), ())[target.name]


def test_a_daily_error_weighs_each_day_by_its_quality():
    predicted = torch.tensor([[[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]])
    observed = torch.tensor([[[0.0, 0.0, torch.nan], [1.0, 2.0, 3.0]]])
    quality = torch.tensor([[[1.0, 0.5, 1.0], [0.0, 0.0, 1.0]]])
    found = loss_of(Target("GPP", "gpp", "daily"), predicted, observed, quality=quality)
    assert float(found) == pytest.approx(((1 * 1 + 0.5 * 4) / 1.5 + 9) / 2)


def test_a_month_of_weighed_days_is_their_weighed_mean():
    predicted, observed = torch.tensor([[[1.0, 5.0], [1.0, 1.0]]]), torch.tensor([[[0.0, 2.0], [1.0, 1.0]]])
    quality = torch.tensor([[[1.0, 0.5], [1.0, 1.0]]])
    found = loss_of(Target("GPP", "gpp", "monthly"), predicted, observed, quality=quality)
    assert float(found) == pytest.approx(((1 + 2.5) / 1.5 - 1 / 1.5) ** 2 / 2)


def months_of(*lengths):
    """Two cells with months of so many days, all of which may be looked at."""
    month = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).expand(1, 2, -1)
    return Compared(
        counts=torch.ones(1, 2, dtype=torch.bool),
        area=torch.ones(1, 2),
        allowed=torch.ones(1, 2, sum(lengths), dtype=torch.bool),
        month=month,
        month_days=torch.tensor(lengths).expand(1, 2, -1),
        of_year=torch.arange(len(lengths)).expand(1, 2, -1),
    )


def monthly_loss(compare, predicted, observed, batch):
    axis = torch.ones(1, 2, observed.shape[2], dtype=torch.bool)
    truth, row = Truth(observed, axis, "monthly", torch.ones(1)), Target("TWS", "tws", compare)
    return float(losses([row], {"tws": predicted}, {"TWS": truth}, batch, ())["TWS"])


def test_an_anomaly_is_from_the_mean_of_the_observed_months():
    """In the first cell the second month is not observed: its prediction enters no mean."""
    predicted = torch.tensor([[[1.0, 3.0, 100.0, 100.0, 6.0, 6.0]] * 2])
    observed = torch.tensor([[[0.0, torch.nan, 4.0]] * 2])
    found = monthly_loss("anomaly", predicted, observed, months_of(2, 2, 2))
    assert found == pytest.approx(0.0, abs=1e-9)  # months of 2, 100 and 6 against 0 and 4
    other = monthly_loss("anomaly", predicted + torch.tensor([0.0, 0, 0, 0, 1, 1]), observed, months_of(2, 2, 2))
    assert other == pytest.approx(0.25)


@pytest.mark.parametrize("compare", ["monthly", "anomaly", "seasonal"])
def test_a_month_counts_where_all_its_days_may_be_looked_at(compare):
    predicted = torch.tensor([[[1.0, 1.0, 5.0, 9.0, 2.0, 2.0]] * 2])
    observed = torch.tensor([[[1.0, 0.0, 2.0]] * 2])
    batch = months_of(2, 2, 2)
    assert monthly_loss(compare, predicted, observed, batch) > 1
    hidden = batch.allowed.clone()
    hidden[:, :, 3] = False
    assert monthly_loss(compare, predicted, observed, batch._replace(allowed=hidden)) == pytest.approx(0.0, abs=1e-9)
    longer = batch._replace(month_days=torch.tensor([2, 3, 2]).expand(1, 2, -1))  # the window cuts the month
    assert monthly_loss(compare, predicted, observed, longer) == pytest.approx(0.0, abs=1e-9)


def test_a_seasonal_cycle_is_of_the_months_that_were_observed():
    predicted = torch.tensor([[[1.0, 7.0, 3.0]] * 2])
    observed = torch.tensor([[[2.0, torch.nan, 4.0]] * 2])
    batch = months_of(1, 1, 1)._replace(of_year=torch.tensor([0, 1, 0]).expand(1, 2, -1))
    assert monthly_loss("seasonal", predicted, observed, batch) == pytest.approx(1.0)


def test_what_is_standardised_knows_no_units():
    series = torch.randn(1, 2, 40, generator=torch.Generator().manual_seed(0))
    row = Target("swc", "SM", "standardised")
    assert float(loss_of(row, series, 7 + 0.1 * series)) < 1e-9
    assert float(loss_of(row, series, 7 - 0.1 * series)) == pytest.approx(4.0, rel=1e-4)
    constant = torch.full_like(series, 3.0)
    assert loss_of(row, series, constant).isnan()  # says nothing
    flat = constant.clone().requires_grad_()
    loss_of(row, flat, series).sum().backward()
    assert flat.grad.isfinite().all()


def test_a_static_target_is_compared_with_the_mean():
    predicted = torch.tensor([[[1.0, 3.0], [5.0, 5.0]]])
    found = loss_of(Target("q", "runoff", "static"), predicted, torch.tensor([[[1.0], [torch.nan]]]), "static")
    assert float(found) == pytest.approx((2.0 - 1.0) ** 2 / 2)


def test_a_mapping_stands_between_model_and_observation():
    fapar = torch.rand(1, 2, 9, generator=torch.Generator().manual_seed(1))
    row = Target("lai", "fAPAR", "daily", mapping=leaf_area_index)
    assert row.fields == ("fapar",)
    assert float(loss_of(row, fapar, -2 * torch.log(1 - fapar))) < 1e-9


# -- gauges ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gauged(daily):
    row = Target("flow", "runoff", "daily", cells="share")
    dataset = daily.h2cm.check(targets=[row]).dataset
    cells = to_tensors(dataset, "cpu", ["flow"])
    return dataset, cells, (row,)


def test_shares_of_a_gauge_add_up(gauged):
    _, cells, _ = gauged
    shares = cells.targets["flow"].shares
    torch.testing.assert_close(shares.sum(1), torch.ones(3))
    assert shares[0, :2].tolist() == [0.25, 0.75]


def test_a_gauge_is_the_mean_of_its_cells_window_by_window(gauged):
    _, cells, rows = gauged
    label = torch.full((8, 1), 1)
    samples = Samples(cells, label, rows, Training(window=28))
    batch = Batch(
        torch.tensor([0]),
        torch.tensor([[0, 1, 0, 5, 6, 3]]),
        torch.tensor([[0, 0, 28, 0, 0, 28]]),
        torch.ones(1, 6, dtype=torch.bool),
    )
    truths, among = samples.truth(batch, "training", {"flow": torch.ones(1)})
    gauges = truths["flow"].gauges
    assert gauges.batch.counts.tolist() == [[True, True, True]]  # not gauge 0 from day 28: a cell of it is not there
    expected = torch.tensor([[0.25, 0.75, 0, 0, 0, 0], [0, 0, 0, 0.5, 0.5, 0], [0, 0, 0, 0, 0, 1.0]])
    torch.testing.assert_close(gauges.shares[0], expected)
    flow = cells.targets["flow"].values
    torch.testing.assert_close(truths["flow"].values[0], torch.stack([flow[0, :28], flow[1, :28], flow[2, 28:56]]))
    predicted = torch.rand(1, 6, 28, generator=torch.Generator().manual_seed(0))
    found = losses(rows, {"runoff": predicted}, truths, among, ())["flow"]
    mean = torch.stack([0.25 * predicted[0, 0] + 0.75 * predicted[0, 1], predicted[0, 3:5].mean(0), predicted[0, 5]])
    assert float(found) == pytest.approx(float((mean - truths["flow"].values[0]).square().mean()), rel=1e-5)


def test_a_gauge_shows_nothing_on_days_that_are_hidden_in_one_of_its_cells(gauged):
    _, _, rows = gauged
    label = torch.ones(8, 59, dtype=torch.long)
    label[0, :10] = 0  # the first cell of the first gauge, held out by fold 0 for ten days
    samples = Samples(gauged[1], label, rows, Training())
    (batch,) = batches({0: samples.of(0, "training")}, 99, "cpu")
    truths, _ = samples.truth(batch, "training", {"flow": torch.ones(1)})
    shown = truths["flow"].gauges.batch.allowed[0]
    assert shown[0].tolist() == [False] * 10 + [True] * 49
    assert shown[1:].all()


def test_the_cells_of_a_gauge_are_walked_in_one_step(gauged):
    _, cells, rows = gauged
    samples = Samples(cells, torch.full((8, 1), 1), rows, Training(window=28))
    drawn = samples.of(0, "training").shuffled(torch.Generator().manual_seed(5))
    seen = [set(zip(b.cell[0].tolist(), b.start[0].tolist(), strict=True)) for b in batches({0: drawn}, 3, "cpu")]
    for start in sorted(set(samples.windows[1].tolist())):
        for pair in ((0, 1), (5, 6)):
            assert sum({(cell, start) for cell in pair} <= one for one in seen) == 1
    assert sum(map(len, seen)) == len(drawn.cell)
    assert all(len(one) <= 3 for one in seen)


def test_without_gauges_samples_are_shuffled_and_cut_as_they_stand():
    drawn = Drawn(torch.arange(10, 17), torch.zeros(7, dtype=torch.long), torch.arange(7))
    order = torch.randperm(7, generator=torch.Generator().manual_seed(3))
    assert torch.equal(drawn.shuffled(torch.Generator().manual_seed(3)).cell, drawn.cell[order])
    assert [one.cell.tolist() for one in drawn.steps(3)] == [[10, 11, 12], [13, 14, 15], [16]]


def test_a_gauge_of_two_folds_is_seen_by_none_of_them(gauged):
    _, cells, rows = gauged
    shares = cells.targets["flow"].shares
    label = torch.tensor([0, 1, 0, 1, 0, 0, 0, 1])[:, None]
    assert gauge_label(label, shares).squeeze(1).tolist() == [-1, 0, 1]
    for fold in (0, 1):
        for split in ("training", "validation"):
            samples = Samples(cells, label, rows, Training())
            (batch,) = batches({fold: samples.of(fold, split)}, 99, "cpu")
            truths, _ = samples.truth(batch, split, {"flow": torch.ones(1)})
            assert not torch.equal(truths["flow"].values[0, :, 0], cells.targets["flow"].values[:1, 0])
            assert truths["flow"].values.shape[1] == 1  # its own gauge, or the other fold's


def test_gauges_of_several_folds_are_told(daily):
    rows = [Target("flow", "runoff", "daily", cells="share")]
    some = xr.DataArray([[0, 1, 1, 0], [1, 1, 1, 0]], dims=("lat", "lon"))
    settings = QUICK | {"scheme": None, "patience": None}
    with pytest.warns(xh2cm.H2CMWarning, match="1 of 3 gauges have cells of several folds and count in none"):
        daily.h2cm.fit(some, targets=rows, **settings)
    none = daily.assign(share=daily["share"] + 1)
    with pytest.raises(InputError, match=r"3 of 3 gauges.*\n.*groups=\"catchment\""):
        none.h2cm.fit(some, targets=rows, **settings)


def test_a_gauge_with_a_cell_that_cannot_be_used_is_left_out_and_told(daily):
    holed = daily.copy()
    holed["vpd"] = daily["vpd"].where((daily["lat"] != daily["lat"][0]) | (daily["lon"] != daily["lon"][0]))
    report = holed.h2cm.check(targets=[Target("flow", "runoff", cells="share")])
    assert "flow: 1 of 3 gauges have no cells, or some that cannot be used" in str(report)
    assert float(report.dataset["flow_cells"].isel(gauge=0).sum()) == 0


def test_streamflow_alone_trains_a_model(daily):
    rows = [Target("flow", "runoff", "daily", cells="share")]
    groups = xr.DataArray([[0, 0, 1, 1], [1, 1, 1, 0]], dims=("lat", "lon"))
    settings = QUICK | {"epochs": 12, "learning_rate": 0.05, "scheme": None, "patience": None}
    fit = daily.h2cm.fit(groups, targets=rows, **settings)
    loss = fit.losses["loss"].sel(target="flow", split="training").mean("fold")
    assert loss.isel(epoch=-1) < 0.9 * loss.isel(epoch=0)
    assert fit.provenance["targets"][0]["cells"] == "share"
    assert "flow" in repr(fit)


def test_real_gauges_of_the_delaware(shared):
    ds = xr.open_dataset(shared("data/drb_grid_daily.nc")).isel(time=slice(90, 150))
    row = Target("gauge_runoff", "runoff", "daily", cells="catchment_weight", weight=2.0)
    with ds, pytest.warns(xh2cm.H2CMWarning, match="of several folds"):
        fit = ds.h2cm.fit(2, targets=[row], patience=None, **QUICK | {"scheme": "degrees", "size": 1.0})
    assert (fit.losses["loss"].sel(target="gauge_runoff", split="training") > 0).all()


# -- through the door --------------------------------------------------------------------------------------------------


def test_what_is_worth_nothing_is_as_if_it_were_not_there(daily):
    cut = daily["gpp_qc"] < 0.5
    weighed = daily.assign(gpp_qc=(~cut).astype(float))
    missing = daily.assign(GPP=daily["GPP"].where(~cut))
    one = weighed.h2cm.fit(2, targets=[Target("GPP", compare="daily", quality="gpp_qc")], **QUICK)
    two = missing.h2cm.fit(2, targets={"GPP": "daily"}, **QUICK)
    torch.testing.assert_close(one.losses["loss"].values, two.losses["loss"].values, rtol=0.2, atol=0.2)
    three = daily.h2cm.fit(2, targets=[Target("GPP", compare="daily", quality="gpp_qc")], **QUICK)
    assert not np.allclose(three.losses["loss"].sel(target="GPP"), one.losses["loss"].sel(target="GPP"))


def test_rows_of_all_sorts_train_together(daily):
    rows = [
        "GPP",
        Target("swc", "SM", "standardised", weight=0.5),
        Target("lai", "fAPAR", mapping=leaf_area_index),
        Target("mean_runoff", "runoff"),
        Target("flow", "runoff", cells="share"),
    ]
    with pytest.warns(xh2cm.H2CMWarning) as warned:
        fit = daily.h2cm.fit(2, targets=rows, **QUICK)
    said = [str(one.message) for one in warned]
    assert any("2 of 3 gauges" in text for text in said)
    assert any("flow has no observation to train on in fold 1" in text for text in said)
    told = {row["name"]: row for row in fit.provenance["targets"]}
    assert {name: row["compare"] for name, row in told.items()} == {
        "GPP": "seasonal",
        "swc": "standardised",
        "lai": "daily",
        "mean_runoff": "static",
        "flow": "daily",
    }
    assert told["lai"]["mapping"] == "leaf_area_index"
    assert fit.features == ("elevation",)  # what is observed is no feature
    loss = fit.losses["loss"].sel(split="training").isel(epoch=0)
    parts = sum(told[name]["weight"] * loss.sel(target=name).fillna(0.0) for name in told)  # NaN without observations
    priors = loss.sel(target="q10") + loss.sel(target="co2_sensitivity")
    whole = loss.sel(target="total") - parts - priors
    assert abs(whole.isel(fold=1)) < 1e-4  # in fold 0 a batch without a gauge has a part less
    xr.testing.assert_allclose(daily.h2cm.predict(fit)["ET"], daily.h2cm.predict(fit)["ET"])


def test_latent_heat_is_evapotranspiration(daily):
    heat = (daily["GPP"] * 100).assign_attrs(units="W m-2")
    dataset = daily.assign(LE=heat).h2cm.check(targets=[Target("LE", compare="daily")]).dataset
    np.testing.assert_allclose(dataset["ET"], heat * 0.0864 / 2.45, rtol=1e-5)


def test_units_of_a_target_of_ones_own_are_those_of_its_field(daily):
    ds = daily.assign(swe_obs=(daily["GPP"] * 2).assign_attrs(units="cm"))
    dataset = ds.h2cm.check(targets=[Target("swe_obs", "SWE")]).dataset
    np.testing.assert_allclose(dataset["swe_obs"], 20 * daily["GPP"], rtol=1e-5)
    with pytest.raises(InputError, match="swc"):
        daily.h2cm.check(targets=[Target("swc", "SM")])  # % is no amount of water


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([Target("nothing")], r"'nothing'.*\n.*Target\(\"nothing\", fields="),
        ([Target("nothing", "SM")], "nothing: was asked for and is not in the dataset"),
        ([Target("vpd", "SM")], "is called like a variable of the model"),
        ([Target("GPP"), "gpp"], "asked for twice"),
        ([Target("GPP", quality="qc")], "quality='qc'"),
        ([Target("GPP", quality="swc")], "are not between 0 and 1"),
        ([Target("GPP", quality="elevation")], "has the axes"),
        ([Target("flow", "runoff")], r"say which cells it is the mean of"),
        ([Target("flow", "runoff", cells="elevation")], "give shares on one axis such as gauge"),
        ([Target("flow", "runoff", cells="shares")], "did you mean 'share'"),
        ([Target("lai", "fapr", mapping=leaf_area_index)], "does not compute 'fapr'"),
        ([Target("lai", ("fAPAR", "GPP"), "daily")], "has 2 fields"),
        ([Target("mean_runoff", "runoff", "daily")], "is static and cannot be compared daily"),
        ([Target("GPP", compare="static")], "is daily and cannot be compared static"),
        ([Target("GPP", weight=-1.0)], "has the weight -1.0"),
        ([Target("GPP", compare="interannual", quality="gpp_qc")], "knows no quality"),
    ],
)
def test_wrong_rows_are_named(daily, rows, says):
    with pytest.raises(InputError, match=says):
        daily.h2cm.fit(2, targets=rows, **QUICK)


def test_shares_that_cannot_be_are_named(daily):
    negative = daily.assign(share=-daily["share"])
    with pytest.raises(InputError, match="shares below 0 or NaN"):
        negative.h2cm.check(targets=[Target("flow", "runoff", cells="share")])
    with pytest.raises(InputError, match="no gauge has cells"):
        daily.assign(share=0 * daily["share"]).h2cm.check(targets=[Target("flow", "runoff", cells="share")])


def test_observations_without_quality_are_counted(daily):
    report = daily.assign(gpp_qc=daily["gpp_qc"].where(daily["gpp_qc"] > 0.5)).h2cm.check(
        targets=[Target("GPP", quality="gpp_qc")]
    )
    assert any("observations have no quality" in note for note in report.notes)


def test_the_table_stays_the_published_one():
    steps = {t.name: "static" if t.name == "CUE" else "monthly" for t in TARGET_TABLE}
    assert chosen_targets(steps, None, None, xh2cm.HybridModel(1).outputs) == TARGET_TABLE


def test_normalisation_of_gauges_is_of_those_in_training(gauged):
    dataset, cells, rows = gauged
    labels = xr.DataArray([[0, 0, 1, 1], [1, 1, 1, 0]], dims=("lat", "lon"), coords=dataset["mask"].coords)
    scales = normalisation(Portions.whole(cells, label_tensor(labels, cells)), [0, 1], rows)
    flow = cells.targets["flow"].values
    expected = [flow[1:3].std(correction=0), flow[0].std(correction=0)]
    torch.testing.assert_close(scales.targets["flow"], torch.stack(expected), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("targets", "left"),
    [
        ([[*row.fields] for row in TARGET_TABLE], []),
        ([["et"]], ["GPP", "Ra", "Rh", "TER", "NEP", "NEE", "NPP"]),
        ([["gpp"]], ["precipitation_corrected", "ET", "runoff", "TWS", "TER", "NEE"]),
        ([["et"], ["gpp"], ["nee"]], ["Ra", "Rh", "NPP"]),
        ([["et"], ["ter"], ["nee"]], ["Ra", "Rh", "NPP"]),
        ([["et"], ["npp", "gpp"]], ["GPP", "NPP"]),
    ],
)
def test_what_no_target_constrains(targets, left):
    found = unconstrained(targets)
    assert {*left} <= {*found}
    assert bool(left) == bool(found)
    assert not {"water_residual", "carbon_residual", "fAPAR"} & {*found}
    constrained = {var.name for field, var in OUTPUTS.items() if [field] in targets}
    assert not constrained & {*found}
