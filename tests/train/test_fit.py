"""Training of all folds at once, and the fit that comes of it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
import xarray as xr

import xh2cm
from xh2cm.errors import FitError, InputError, StoreError
from xh2cm.model import HybridModel, SpinUp
from xh2cm.model.optimiser import AdamW
from xh2cm.physics import DegreeDaySnow, Processes
from xh2cm.targets import TARGET_TABLE
from xh2cm.train import (
    Batch,
    Portions,
    Samples,
    Training,
    label_tensor,
    normalisation,
    train,
)
from xh2cm.train.normalisation import moments
from xh2cm.train.tensors import to_tensors
from xh2cm.variables import Parameter

QUICK = {"scheme": "cells", "width": 6, "batch_size": 3, "progress": False, "seed": 3}


@pytest.fixture(scope="module")
def short(twin):
    """Two months of the twin, for what needs many steps."""
    return twin.isel(time=slice(0, 59), month=slice(0, 2))


def test_ten_folds_at_once_are_ten_folds_alone(short):
    """After 20 steps each, to 1e-5 of the largest weight."""
    short = short.isel(time=slice(0, 31), month=slice(0, 1))
    labels = xr.DataArray(
        np.arange(8).reshape(2, 4) % 4, dims=("lat", "lon"), coords={"lat": short.lat, "lon": short.lon}
    )
    settings = {
        **QUICK,
        "scheme": None,
        "epochs": 10,
        "patience": None,
    }  # 6 training cells in batches of 3: two steps an epoch
    together = short.h2cm.fit(labels, **settings)
    for k in range(4):
        alone = short.h2cm.fit(labels, only=[k], **settings)
        difference = (alone.weights[0] - together.weights[k]).abs().max() / together.weights[k].abs().max()
        assert difference <= 1e-5, (k, float(difference))
        np.testing.assert_allclose(alone.losses["loss"].isel(fold=0), together.losses["loss"].isel(fold=k), rtol=1e-3)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(short):
    one, two = (short.h2cm.fit(2, epochs=2, **QUICK) for _ in range(2))
    assert torch.equal(one.weights, two.weights)
    other = short.h2cm.fit(2, epochs=2, **{**QUICK, "seed": 4})
    assert not torch.equal(one.weights, other.weights)
    before = torch.get_rng_state()
    short.h2cm.fit(2, epochs=1, **QUICK)
    assert torch.equal(before, torch.get_rng_state())  # the user's random state is left alone


def test_training_lowers_the_loss(twin):
    half = twin.isel(time=slice(0, 180), month=slice(0, 6))
    loss = half.h2cm.fit(2, epochs=6, learning_rate=0.02, **QUICK).losses["loss"].sel(target="total")
    assert (loss.sel(split="training").isel(epoch=-1) < 0.8 * loss.sel(split="training").isel(epoch=0)).all()
    assert (loss.sel(split="validation").isel(epoch=-1) < loss.sel(split="validation").isel(epoch=0)).all()


def test_what_a_fold_does_not_see_cannot_change_its_weights(short):
    labels = short.h2cm.folds(2, scheme="cells")
    spoiled = short.copy()
    for name in ("ET", "TWS", "GPP", "runoff", "SWE", "NEE", "fAPAR", "CUE"):
        spoiled[name] = short[name].where(labels != 0, 0.9 * short[name])
    for name in ("net_radiation", "vpd"):
        spoiled[name] = short[name].where(labels != 0, short[name] * 0.5)
    one, two = (ds.h2cm.fit(labels, epochs=2, patience=None, **{**QUICK, "scheme": None}) for ds in (short, spoiled))
    assert torch.equal(one.weights[0], two.weights[0])
    assert not torch.equal(one.weights[1], two.weights[1])


def test_what_a_year_does_not_show_cannot_change_the_fold_that_holds_it_out(twin):
    labels = twin.h2cm.folds(2, scheme="years")
    held = int(labels.sel(time="2001").isel(time=0))
    spoiled = twin.assign(
        {name: twin[name].where(twin["month"].dt.year != 2001, 0.3) for name in ("ET", "GPP", "runoff")}
    )
    settings = {**QUICK, "scheme": None, "epochs": 1, "patience": None, "targets": ["ET", "GPP", "runoff"]}
    settings |= {"batch_size": 8, "spinup": 30}
    one, two = (ds.h2cm.fit(labels, **settings) for ds in (twin, spoiled))
    assert torch.equal(one.weights[held], two.weights[held])
    assert not torch.equal(one.weights[1 - held], two.weights[1 - held])


def test_a_step_that_is_not_finite_is_skipped_counted_and_only_for_its_fold(short):
    dataset = short.h2cm.check().dataset
    cells = to_tensors(dataset, "cpu")
    label = label_tensor(short.h2cm.folds(2, scheme="cells"), cells)
    rows = [t for t in TARGET_TABLE if t.name in ("ET", "GPP")]
    model, settings = HybridModel(len(cells.features), width=6), Training(epochs=3, patience=None, batch_size=2)
    scales = normalisation(Portions.whole(cells, label), [0, 1], rows)
    good = train(Portions.whole(cells, label), [0, 1], model, rows, scales, settings, progress=False)
    broken = scales._replace(targets={**scales.targets, "ET": scales.targets["ET"] * torch.tensor([1.0, torch.nan])})
    with pytest.warns(xh2cm.H2CMWarning, match="fold 1: 6 steps were skipped, .* the loss of ET not finite"):
        found = train(Portions.whole(cells, label), [0, 1], model, rows, broken, settings, progress=False)
    assert found.losses["skipped_steps"].values.tolist() == [0, 6]
    assert torch.equal(found.weights[0], good.weights[0])
    assert found.weights[1].isfinite().all()
    assert found.losses["loss"].sel(fold=1, split="training", target="ET").isnull().all()


def test_early_stop_keeps_the_best_weights(short):
    short = short.isel(time=slice(0, 31), month=slice(0, 1))
    fit = short.h2cm.fit(
        2, epochs=40, patience=2, learning_rate=0.2, batch_size=3, scheme="cells", width=4, progress=False
    )
    loss = fit.losses["loss"].sel(split="validation", target="total")
    for k in range(2):
        series = loss.sel(fold=k).dropna("epoch")
        assert series.sizes["epoch"] == int(series.argmin("epoch")) + 1 + 2 or series.sizes["epoch"] == 40
    assert loss.sizes["epoch"] < 40


def test_the_optimiser_is_torch_adamw_for_every_fold():
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 20, generator=generator)
    ours = AdamW.fresh(start)
    theirs = [start[k].clone().requires_grad_() for k in range(3)]
    optimisers = [torch.optim.AdamW([w], lr=0.005) for w in theirs]
    for step in range(7):
        gradient = torch.randn(3, 20, generator=generator)
        takes = torch.tensor([True, step != 3, step % 2 == 0])
        ours.step(gradient, 0.005, takes)
        for k in takes.nonzero().flatten():
            theirs[k].grad = gradient[k].clone()
            optimisers[k].step()
    torch.testing.assert_close(ours.weights, torch.stack([w.detach() for w in theirs]), rtol=1e-6, atol=1e-7)


def test_the_learning_rate_falls_every_thirty_epochs():
    """As published: 30 epochs at the first rate, counted from 0."""
    rates = [Training(learning_rate=0.005).rate(epoch) for epoch in (0, 29, 30, 59, 60)]
    assert rates == pytest.approx([0.005, 0.005, 0.0035, 0.0035, 0.00245])


def test_windows_cover_the_record_and_spin_up_on_the_days_before(twin):
    cells = to_tensors(twin.h2cm.check().dataset, "cpu")
    label = torch.arange(8).remainder(2).unsqueeze(1)
    rows = tuple(t for t in TARGET_TABLE if t.name == "ET")
    samples = Samples(cells, label, rows, Training(window=200, spinup=SpinUp(90)))
    assert sorted(set(samples.windows[1].tolist())) == [0, 200, 400, 530]  # the last reaches back, nothing is dropped
    batch = Batch(
        torch.tensor([0]), torch.tensor([[1, 1]]), torch.tensor([[0, 400]]), torch.ones(1, 2, dtype=torch.bool)
    )
    spin, _, forcing, _, _ = samples.inputs(batch)
    assert torch.equal(forcing[0, 1], cells.forcing[1, 400:600])
    assert torch.equal(spin[0, 1], cells.forcing[1, 310:400])
    assert torch.equal(spin[0, 0], cells.forcing[1, 0:90])
    truths, compared = samples.truth(batch, "training", {"ET": torch.ones(1)})
    months = cells.calendar.month[400:600]
    assert torch.equal(compared.month[0, 1], months - months[0])
    assert torch.equal(
        truths["ET"].values[0, 1, :7].nan_to_num(),
        cells.targets["ET"].values[1, months[0] : months[0] + 7].nan_to_num(),
    )
    fit = twin.h2cm.fit(2, epochs=1, window=200, spinup=90, **QUICK)
    assert fit.losses["loss"].sel(target="total").notnull().all()


def test_normalisation_is_of_the_training_cells(twin):
    labels = twin.h2cm.folds(2, scheme="cells")
    fit = twin.h2cm.fit(labels, epochs=1, **{**QUICK, "scheme": None, "batch_size": 8}, spinup=30)
    for k in range(2):
        seen = twin["air_temperature"].where(labels != k)
        assert float(fit.scaling.forcing_mean[k, 2]) == pytest.approx(float(seen.mean()), rel=1e-5)
        assert float(fit.scaling.forcing_std[k, 2]) == pytest.approx(float(seen.std()), rel=1e-4)


def test_daily_and_years_normalisation(twin):
    labels = twin.h2cm.folds(2, scheme="years")
    fit = twin.h2cm.fit(labels, epochs=1, **{**QUICK, "scheme": None, "batch_size": 8}, spinup=30)
    seen = twin["air_temperature"].where(labels != 0)
    assert float(fit.scaling.forcing_mean[0, 2]) == pytest.approx(float(seen.mean()), rel=1e-5)
    assert float(fit.scaling.static_mean[0, 0]) == pytest.approx(float(twin["elevation"].mean()), rel=1e-5)


def test_a_constant_forcing_is_no_division_by_zero(short):
    fit = short.assign(co2=short["co2"].where(False, 400.0)).h2cm.fit(2, epochs=1, **QUICK)
    assert fit.weights.isfinite().all()
    assert int(fit.losses["skipped_steps"].sum()) == 0


def test_the_rounding_of_a_constant_is_no_variance(short):
    """One value a million times has sums that do not cancel to the last bit."""
    cells = to_tensors(short.assign(co2=short["co2"].where(False, 371.3)).h2cm.check().dataset, "cpu")
    scaling = normalisation(Portions.whole(cells, torch.arange(8).remainder(2)[:, None]), [0, 1], ()).scaling
    assert scaling.forcing_std[:, 4].tolist() == [1.0, 1.0]
    found = torch.tensor([3.0, 3 * 371.3, 3 * 371.3**2 * (1 + 1e-15)], dtype=torch.float64)[:, None]
    assert moments({1: found}, [0], torch.zeros(3, 1, dtype=torch.float64))[1].item() == 1.0


def test_one_target_or_a_few_are_enough(short):
    fit = short[["net_radiation", "precipitation", "air_temperature", "vpd", "co2", "ET"]].h2cm.fit(
        2, epochs=1, **QUICK
    )
    assert fit.losses["target"].values.tolist() == ["ET", "co2_sensitivity", "q10", "total"]
    assert fit.features == ()


def test_weights_of_targets_count(short):
    plain, heavy = (
        short.h2cm.fit(2, epochs=1, targets=["ET", "GPP"], weights=w, **QUICK) for w in (None, {"GPP": 3.0})
    )
    loss = heavy.losses["loss"].isel(epoch=0, fold=0, split=1)
    parts = (
        loss.sel(target="ET") + 3 * loss.sel(target="GPP") + loss.sel(target="q10") + loss.sel(target="co2_sensitivity")
    )
    assert float(loss.sel(target="total")) == pytest.approx(float(parts), rel=1e-5)
    assert not torch.equal(plain.weights, heavy.weights)


def test_priors_pull_as_told_and_are_written_down(short):
    """The first step sees the start of q10, 1 + 9 sigmoid(-3), against the prior that was given, or none."""
    settings = {**QUICK, "targets": {"NEE": "monthly", "CUE": "ratio"}, "epochs": 1, "batch_size": 8}
    tight, free = (short.h2cm.fit(2, priors=p, **settings) for p in ({"q10": (3.0, 0.1)}, {}))
    assert tight.losses["target"].values.tolist() == ["NEE", "CUE", "q10", "total"]
    assert free.losses["target"].values.tolist() == ["NEE", "CUE", "total"]
    seen = tight.losses["loss"].sel(target="q10", split="training", epoch=1)
    np.testing.assert_allclose(seen, ((1 + 9 / (1 + np.exp(3)) - 3.0) / 0.1) ** 2, rtol=1e-5)
    assert tight.provenance["priors"] == [{"parameter": "q10", "mean": 3.0, "std": 0.1}]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"targets": ["Evap"]}, "Evap"),
        ({"targets": {"CUE": "monthly"}}, "is static and cannot be compared monthly"),
        ({"priors": {"q11": (1.5, 0.3)}}, "prior of q11: the model has no such global constant"),
        ({"priors": {"q10": (1.5, 0.0)}}, "standard deviation 0.0"),
        ({"targets": {"ET": "dayly"}}, "cannot be compared as 'dayly'"),
        ({"targets": {"ET": "daily"}}, "is monthly and cannot be compared daily"),
        ({"weights": {"LE": 2.0}}, "weight of LE"),
        ({"epochs": 0}, "epochs: 0 is too small"),
        ({"window": 3}, "window: 3 is too small"),
        ({"spinup": 0}, "spinup.days: 0 is too small"),
        ({"device": "cuda:77"}, "device: 'cuda:77' cannot be used here"),
        ({"device": "toaster"}, "device: 'toaster' cannot be used here"),
        ({"only": [9]}, "fold 9: there is no such fold"),
        ({"normalise": "stored"}, "has no attributes `mean` and `std`"),
        ({"normalise": "all"}, "'all' is unknown"),
        ({"folds": 99}, "99"),
    ],
)
def test_wrong_arguments_are_named(short, arguments, says):
    with pytest.raises(InputError, match=says):
        short.h2cm.fit(**{"folds": 2, "epochs": 1, **QUICK, **arguments})


def test_a_dataset_without_targets_cannot_be_fitted(short):
    with pytest.raises(InputError, match="targets: the dataset holds none"):
        short[["net_radiation", "precipitation", "air_temperature", "vpd", "co2"]].h2cm.fit(2, epochs=1, **QUICK)


def test_a_fold_without_training_or_validation_samples_is_an_error(short):
    cells = to_tensors(short.h2cm.check().dataset, "cpu")
    rows = [t for t in TARGET_TABLE if t.name == "ET"]
    model = HybridModel(len(cells.features), width=4)
    portions = Portions.whole(cells, torch.zeros(8, 1, dtype=torch.long))
    scales = normalisation(portions, [1], rows)
    with pytest.raises(InputError, match="fold 0: has no sample to train on"):
        train(portions, [0], model, rows, scales, Training(epochs=1), progress=False)
    with pytest.raises(InputError, match="fold 1: has no sample to validate on"):
        train(portions, [1], model, rows, scales, Training(epochs=1), progress=False)


# -- saving and loading ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_fit(short):
    return short.h2cm.fit(2, epochs=1, **QUICK)


def test_a_saved_fit_comes_back_whole(small_fit, tmp_path, short):
    back = xh2cm.load_fit(small_fit.save(tmp_path / "fit"))
    assert torch.equal(back.weights, small_fit.weights)
    assert back.fingerprint == small_fit.fingerprint
    assert back.features == small_fit.features
    assert back.spinup == small_fit.spinup
    assert back.provenance == json.loads(json.dumps(small_fit.provenance))
    assert back.model.networks == small_fit.model.networks
    xr.testing.assert_identical(back.losses, small_fit.losses)
    xr.testing.assert_equal(back.labels, small_fit.labels)
    xr.testing.assert_identical(
        short.h2cm.predict(back, member="held-out"), short.h2cm.predict(small_fit, member="held-out")
    )
    assert "2 folds" in repr(back)
    assert f"<code>{back.fingerprint}</code>" in back._repr_html_()


def test_a_fit_is_not_overwritten_unasked(small_fit, tmp_path):
    small_fit.save(tmp_path / "fit")
    with pytest.raises(StoreError, match="exists: give another path, or overwrite=True"):
        small_fit.save(tmp_path / "fit")
    small_fit.save(tmp_path / "fit", overwrite=True)
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "fit").stat().st_mode == (tmp_path / "plain").stat().st_mode  # others may read it as any folder
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fit", "plain"]  # nothing half-written is left
    (tmp_path / "other").mkdir()
    with pytest.raises(StoreError, match="exists"):
        small_fit.save(tmp_path / "other", overwrite=True)  # no fit: not ours to replace


def test_a_fit_that_cannot_be_written_says_so(small_fit, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        small_fit.save(tmp_path / "file" / "fit")


@dataclasses.dataclass(frozen=True)
class SlowSnow:
    """A process of one's own."""

    slowness: float = 0.5
    parameters = (Parameter("slow_melt", "melt of slow snow", "kg m-2 d-1 K-1", upper=9.0),)

    def __call__(self, swe, precipitation, temperature, slow_melt):
        snow = torch.where(temperature < 0, precipitation, 0.0)
        return snow, precipitation - snow, torch.minimum(swe, self.slowness * slow_melt * temperature.clamp(min=0))


def test_a_process_of_ones_own_is_learned_saved_and_asked_for(short, tmp_path):
    processes = Processes(snow=SlowSnow())
    fit = short.h2cm.fit(2, epochs=1, processes=processes, **QUICK)
    out = short.h2cm.predict(fit, variables=["slow_melt", "water_residual", "snow_melt"])
    assert out["slow_melt"].attrs["units"] == "kg m-2 d-1 K-1"
    assert float(abs(out["water_residual"]).max()) < 1e-3
    folder = fit.save(tmp_path / "fit")
    with pytest.raises(FitError, match=r"other processes: give load_fit\(path, processes=Processes\(snow = SlowSnow"):
        xh2cm.load_fit(folder)
    with pytest.raises(FitError, match="other processes"):
        xh2cm.load_fit(folder, processes=Processes(snow=SlowSnow(slowness=0.9)))
    with pytest.raises(FitError, match="other processes"):
        xh2cm.load_fit(folder, processes=Processes(snow=DegreeDaySnow()))
    back = xh2cm.load_fit(folder, processes=processes)
    xr.testing.assert_identical(short.h2cm.predict(back), short.h2cm.predict(fit))


def test_constants_with_their_spread_over_folds(twin):
    fit = twin.h2cm.fit(3, scheme="cells", width=6, epochs=1, progress=False)
    constants = fit.constants()
    every = twin.h2cm.predict(fit, variables=["q10", "baseflow_coefficient"], member="all")
    declared = {n: p for n, p in fit.model.parameters.items() if p.varies == "global"}
    assert set(constants.data_vars) == {f"{n}{end}" for n in declared for end in ("", "_mean", "_std")}
    assert constants["fold"].values.tolist() == list(fit.folds)
    for name in ("q10", "baseflow_coefficient"):
        xr.testing.assert_equal(constants[name], every[name])
        values = constants[name].values.astype(float)
        assert float(constants[f"{name}_mean"]) == pytest.approx(values.mean())
        assert float(constants[f"{name}_std"]) == pytest.approx(values.std(ddof=1), rel=1e-3)
    for name, p in declared.items():
        assert ((constants[name] > p.lower) & (constants[name] < p.upper)).all()
        assert constants[name].attrs == p.attrs
        assert constants[f"{name}_std"].attrs["units"] == p.units
        assert constants[f"{name}_std"].attrs["long_name"] == f"{p.long_name}, standard deviation over folds"
    one = dataclasses.replace(fit, weights=fit.weights[:1], losses=fit.losses.isel(fold=[0]))
    assert one.constants()["q10_std"].isnull()
