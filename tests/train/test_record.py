"""Records with gaps: stretches of days, and windows of places that each have their own days."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xh2cm.model import HybridModel, Scaling, SpinUp, ragged
from xh2cm.model.loss import losses
from xh2cm.settings import Training
from xh2cm.targets import Target
from xh2cm.train.record import Record, stretches
from xh2cm.train.sampling import Samples, batches
from xh2cm.train.tensors import to_tensors

ROWS = (Target("ET", "et", "monthly"), Target("TWS", "tws", "anomaly"), Target("runoff", "runoff", "seasonal"))


@settings(max_examples=60, deadline=None)
@given(complete=arrays(bool, (3, 17)), bridge=st.integers(0, 5))
def test_stretches_are_the_complete_days_cut_at_long_gaps(complete, bridge):
    cell, first, days = stretches(complete, bridge)
    for one, row in enumerate(complete):
        there = np.flatnonzero(row)
        cuts = np.flatnonzero(np.diff(there) > bridge + 1) + 1
        wanted = [part for part in np.split(there, cuts) if len(part)]
        own = cell == one
        assert [there[a : a + n].tolist() for a, n in zip(first[own], days[own], strict=True)] == [
            part.tolist() for part in wanted
        ]


@settings(max_examples=40, deadline=None)
@given(complete=arrays(bool, (3, 17)), bridge=st.integers(0, 3))
def test_a_record_finds_the_stretch_of_each_of_its_days(complete, bridge):
    complete[:, 0] = True
    record = Record.of(3, 17, torch.from_numpy(complete), bridge, torch.device("cpu"))
    for number, (cell, first, days) in enumerate(zip(record.cell, record.first, record.days, strict=True)):
        for start in range(int(first), int(first + days)):
            assert int(record.at(cell, torch.tensor(start))) == number
            assert complete[int(cell), int(record.day[cell, start])]


def test_a_complete_record_is_one_stretch_a_cell():
    record = Record.of(2, 5, None, 30, torch.device("cpu"))
    other = Record.of(2, 5, torch.ones(2, 5, dtype=torch.bool), 30, torch.device("cpu"))
    for name in ("day", "cell", "first", "days"):
        assert torch.equal(getattr(record, name), getattr(other, name))


def with_gaps(cells, complete):
    """Cells without forcing on the days that are not `complete`."""
    forcing = cells.forcing.masked_fill(~complete.unsqueeze(-1), torch.nan)
    return dataclasses.replace(cells, forcing=forcing, complete=complete)


def evaluated(cells, model, weights, training, rows=ROWS):
    """Loss of each window, by cell and first day on the time axis, and the gradient of their sum."""
    label = torch.ones(len(cells.forcing), 1, dtype=torch.int64)
    samples = Samples(cells, label, rows, training)
    weights = weights.clone().requires_grad_()
    (batch,) = batches({0: samples.of(0, "training")}, 99, "cpu")
    width, features = cells.forcing.shape[2], cells.static.shape[1]
    scaling = Scaling(
        *(torch.full((1, n), x) for n, x in ((width, 1.0), (width, 9.0), (features, 0.5), (features, 2.0)))
    )
    given = samples.inputs(batch)
    with torch.no_grad():
        carry = ragged.spun_up(
            model, weights, given.spin, given.static, scaling, training.spinup, "plain", given.spin_days
        )
    fields = [name for row in rows for name in row.fields]
    _, outputs = ragged.run(model, weights, given.forcing, given.static, scaling, fields, carry, "plain", given.days)
    truths, compared = samples.truth(batch, "training", {row.name: torch.ones(1) for row in rows})
    found = {}
    total = torch.zeros(())
    for at, (cell, start) in enumerate(zip(batch.cell[0].tolist(), batch.start[0].tolist(), strict=True)):
        own = compared._replace(counts=torch.arange(batch.cell.shape[1])[None] == at)
        loss = losses(rows, outputs, truths, own, ())["total"].sum()
        found[cell, int(samples.record.day[cell, start])] = float(loss)
        total = total + loss
    return found, torch.autograd.grad(total, weights)[0]


@pytest.fixture(scope="module")
def short(twin):
    return twin.isel(lat=[0], time=slice(0, 400), month=slice(0, 14))


@pytest.mark.parametrize(
    "training",
    [
        Training(spinup=SpinUp(60)),
        Training(spinup=SpinUp()),
        Training(spinup=SpinUp(45, passes=2)),
        Training(window=90, spinup=SpinUp(60)),
    ],
    ids=str,
)
def test_places_with_their_own_years_give_what_they_give_alone(short, training):
    """Loss and gradient of a batch of records of different length are the sum of those of each record by itself."""
    periods = {0: (0, 400), 1: (59, 300), 2: (31, 400), 3: (0, 120)}
    cells = to_tensors(short.h2cm.check().dataset, "cpu")
    model = HybridModel(len(cells.features), width=6)
    weights = model.initial(torch.Generator().manual_seed(0)).unsqueeze(0)
    complete = torch.zeros(cells.forcing.shape[:2], dtype=torch.bool)
    for cell, (first, last) in periods.items():
        complete[cell, first:last] = True
    together, gradient = evaluated(with_gaps(cells, complete), model, weights, training)
    alone, slopes = {}, torch.zeros_like(gradient)
    for cell, (first, last) in periods.items():
        one = short.isel(lon=[cell], time=slice(first, last))
        loss, slope = evaluated(to_tensors(one.h2cm.check().dataset, "cpu"), model, weights, training)
        alone |= {(cell, first + start): value for (_, start), value in loss.items()}
        slopes += slope
    assert together.keys() == alone.keys()
    for key, value in alone.items():
        assert together[key] == pytest.approx(value, rel=1e-5), key
    torch.testing.assert_close(gradient, slopes, rtol=1e-4, atol=1e-5 * float(slopes.abs().max()))


def test_no_window_crosses_a_long_gap_and_storages_are_held_over_a_short_one(short):
    cells = to_tensors(short.h2cm.check().dataset, "cpu")
    complete = torch.ones(cells.forcing.shape[:2], dtype=torch.bool)
    complete[0, 100:110] = False  # bridged
    complete[1, 100:150] = False  # not bridged
    training = Training(window=80, spinup=SpinUp(30, bridge=20))
    samples = Samples(with_gaps(cells, complete), torch.ones(4, 1, dtype=torch.int64), ROWS, training)
    cell, start, days = samples.windows
    for one, first, length in zip(cell, start, days, strict=True):
        day = samples.record.day[one, first : first + length]
        assert int(day.diff().max()) <= 21
    assert int(days[cell == 0].sum()) >= 390
    assert sorted(samples.record.days[samples.record.cell == 1].tolist()) == [100, 250]


def test_missing_days_are_never_run_and_never_compared(short):
    """Whatever stands on a missing day, loss and gradient stay the same, and are finite."""
    cells = to_tensors(short.h2cm.check().dataset, "cpu")
    model = HybridModel(len(cells.features), width=6)
    weights = model.initial(torch.Generator().manual_seed(0)).unsqueeze(0)
    complete = torch.from_numpy(np.random.default_rng(0).random(cells.forcing.shape[:2]) > 0.2)
    training = Training(window=90, spinup=SpinUp(60))
    nothing, slope = evaluated(with_gaps(cells, complete), model, weights, training)
    other = dataclasses.replace(with_gaps(cells, complete), forcing=cells.forcing.where(complete.unsqueeze(-1), 1e30))
    something, slopes = evaluated(other, model, weights, training)
    assert nothing == something
    assert np.isfinite([*nothing.values()]).all()
    assert torch.equal(slope, slopes)
    assert slope.isfinite().all()
