"""Comparison of predictions with observations, and the loss.

Everything is per fold: predictions are (fold, cell, time), an error is (fold, cell), a loss (fold,).

References
----------
Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from xh2cm.targets import PRIORS, Prior, Target

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["COMPARISONS", "Compared", "Gauges", "Truth", "losses"]

Split = Literal["training", "validation"]

SPLITS: tuple[Split, ...] = ("training", "validation")


class Truth(NamedTuple):
    """A target's values for the cells of a batch, (fold, cell, day, month or 1); NaN counts for nothing.

    ``axis`` marks what the target's time axis holds, ``std`` (fold,) standardises the difference, ``quality`` weighs
    each value. What gauges show, (fold, gauge, ...), is compared with means over ``gauges``.
    """

    values: Tensor
    axis: Tensor
    step: str
    std: Tensor
    quality: Tensor | None = None
    gauges: Gauges | None = None


class Compared(NamedTuple):
    """The cells of a batch: which count, what they weigh, which of their days may be looked at, and their months."""

    counts: Tensor  # (fold, cell) bool
    area: Tensor  # (fold, cell)
    allowed: Tensor  # (fold, cell, time) bool
    month: Tensor  # (fold, cell, time) month of the window a day belongs to
    month_days: Tensor  # (fold, cell, month) days the month has in the calendar
    of_year: Tensor  # (fold, cell, month) 0 for January


class Gauges(NamedTuple):
    """Gauges that observe the mean of several cells of a batch: weights of the cells, and the gauges as cells."""

    shares: Tensor  # (fold, gauge, cell)
    batch: Compared


def bins(values: Tensor, where: Tensor, number: int) -> Tensor:
    """Sum values (fold, cell, n) into numbered bins (fold, cell, number)."""
    return values.new_zeros(*values.shape[:2], number).scatter_add(2, where, values)


def ratio(above: Tensor, below: Tensor) -> Tensor:
    """Divide, with 0 where there is nothing to divide by."""
    return above / below.clamp(min=1e-12)


class Paired(NamedTuple):
    """Prediction and observation on one axis of days or months, where the one counts, and how much the other."""

    predicted: Tensor
    observed: Tensor
    in_axis: Tensor  # bool
    valid: Tensor  # 0 where nothing was observed, else 1 or the quality
    of_year: Tensor


def weighed(where: Tensor, truth: Truth) -> Tensor:
    """Return the weight of each observation."""
    found = (truth.values.isfinite() & where).to(truth.values.dtype)
    return found if truth.quality is None else found * truth.quality


def paired_daily(predicted: Tensor, truth: Truth, batch: Compared) -> Paired:
    """Pair daily values."""
    in_axis = truth.axis & batch.allowed
    return Paired(predicted, truth.values.nan_to_num(), in_axis, weighed(in_axis, truth), batch.month)


def paired_monthly(predicted: Tensor, truth: Truth, batch: Compared) -> Paired:
    """Month by month: whole months for a monthly target; for a daily one the mean of the days that were observed."""
    number = batch.month_days.shape[2]
    if truth.step == "daily":
        valid = weighed(batch.allowed, truth)
        count, days = bins(valid, batch.month, number), bins((valid > 0).to(valid.dtype), batch.month, number)
        observed = ratio(bins(truth.values.nan_to_num() * valid, batch.month, number), count)
        mean = ratio(bins(predicted * valid, batch.month, number), count)
        return Paired(mean, observed, count > 0, ratio(count, days), batch.of_year)
    count = bins(batch.allowed.to(predicted.dtype), batch.month, number)
    in_axis = truth.axis & (count == batch.month_days)
    mean = ratio(bins(predicted * batch.allowed, batch.month, number), count)
    return Paired(mean, truth.values.nan_to_num(), in_axis, weighed(in_axis, truth), batch.of_year)


def mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Mean over time of what counts, (fold, cell, 1)."""
    return ratio((values * where).sum(2, keepdim=True), where.sum(2, keepdim=True).to(values.dtype))


def seasonal_cycle(values: Tensor, where: Tensor, of_year: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of each calendar month over the years, (fold, cell, 12), and where there is one."""
    count = bins(where.to(values.dtype), of_year, 12)
    return ratio(bins(values * where, of_year, 12), count), count > 0


def as_monthly(p: Paired) -> tuple[Tensor, Tensor]:
    """Difference of the values themselves."""
    return p.predicted - p.observed, p.valid


def as_anomaly(p: Paired) -> tuple[Tensor, Tensor]:
    """Difference of the anomalies from each cell's own mean over the observed months."""
    return p.predicted - mean_where(p.predicted, p.valid) - (p.observed - mean_where(p.observed, p.valid)), p.valid


def as_standardised(p: Paired) -> tuple[Tensor, Tensor]:
    """Difference of the anomalies, each over its own standard deviation; nothing where the observation is constant."""
    anomalies = [x - mean_where(x, p.valid) for x in (p.predicted, p.observed)]
    of_predicted, of_observed = (mean_where(x.square(), p.valid) for x in anomalies)
    scaled = [
        x / square.clamp(min=1e-9).sqrt() for x, square in zip(anomalies, (of_predicted, of_observed), strict=True)
    ]
    return scaled[0] - scaled[1], p.valid * (of_observed > 1e-9)


def as_seasonal(p: Paired) -> tuple[Tensor, Tensor]:
    """Difference of the mean seasonal cycles."""
    predicted, _ = seasonal_cycle(p.predicted, p.in_axis, p.of_year)
    observed, valid = seasonal_cycle(p.observed, p.valid, p.of_year)
    return predicted - observed, valid


COMPARISONS: Mapping[str, Callable[[Paired], tuple[Tensor, Tensor]]] = {
    "monthly": as_monthly,
    "daily": as_monthly,
    "anomaly": as_anomaly,
    "standardised": as_standardised,
    "seasonal": as_seasonal,
}
"""How a paired series becomes a difference (fold, cell, n), and how much each counts."""


def cell_error(difference: Tensor, valid: Tensor, std: Tensor) -> Tensor:
    """Mean of the squared standardised differences, each as much as it counts, 0 without any; (fold, cell)."""
    squared = torch.where(valid > 0, difference, 0.0).div(std[:, None, None]).square()
    return ratio((squared * valid).sum(2), valid.sum(2))


def batch_mean(values: Tensor, counts: Tensor) -> Tensor:
    """Mean over the cells of a batch that count, (fold,)."""
    return (values * counts).sum(1) / counts.sum(1).clamp(min=1)


def interannual(predicted: Tensor, truth: Truth, batch: Compared) -> tuple[Tensor, Tensor]:
    """Return the loss of the area-weighted mean of the batch, and whether any month counts, (fold,) each.

    Predicted months less their seasonal cycle are compared with the observed anomaly.
    """
    p = paired_monthly(predicted, truth, batch)
    cycle, _ = seasonal_cycle(p.predicted, p.in_axis, p.of_year)
    anomaly = p.predicted - cycle.gather(2, p.of_year)
    weight = (batch.area * batch.counts).to(predicted.dtype).unsqueeze(2)
    total = weight.sum(1).clamp(min=1e-12)
    in_axis = p.in_axis & batch.counts.unsqueeze(2)
    difference = ((anomaly * in_axis - p.observed * p.valid) * weight).sum(1) / total  # (fold, month)
    months = in_axis.any(1) & (p.valid > 0).any(1)
    squared = torch.where(months, difference, 0.0).div(truth.std[:, None]).square()
    return squared.sum(1) / months.sum(1).clamp(min=1), months.any(1)


def means(predicted: Sequence[Tensor], batch: Compared) -> list[Tensor]:
    """Means over time, (fold, cell, 1) each."""
    return [mean_where(x, batch.allowed) for x in predicted]


def ratio_of_means(above: Tensor, below: Tensor) -> Tensor:
    """Ratio of two means over time; 0.5 where there is next to nothing below."""
    small = below < 0.1
    return torch.where(small, 0.5, above / torch.where(small, 1.0, below))


def losses(
    targets: Sequence[Target],
    outputs: Mapping[str, Tensor],
    truths: Mapping[str, Truth],
    batch: Compared,
    priors: Sequence[Prior] = PRIORS,
) -> dict[str, Tensor]:
    """Loss of each target and prior, and ``"total"``, their weighted sum.

    Parameters
    ----------
    targets : sequence of Target
    outputs : mapping of str to Tensor
        What the model recorded: (fold, cell, time), and (fold,) for the constants the priors speak of.
    truths : mapping of str to Truth
        By target name.
    batch : Compared
    priors : sequence of Prior
        Those whose constant was not recorded are left out.

    Returns
    -------
    dict of str to Tensor, (fold,)
        NaN for a target of which the batch holds no observation, which adds nothing to the total. In the mean over the
        cells of a batch, a cell without an observation counts as 0, as published.
    """
    found = {}
    observed = {}
    for target in targets:
        truth, cells = truths[target.name], batch
        predicted = [outputs[f] for f in target.fields]
        if target.mapping is not None:
            predicted = [target.mapping(*predicted)]
        if truth.gauges is not None:
            predicted, cells = [torch.bmm(truth.gauges.shares, x) for x in predicted], truth.gauges.batch
        if target.compare == "interannual":
            found[target.name], observed[target.name] = interannual(predicted[0], truth, cells)
            continue
        if truth.step == "static":
            mean = means(predicted, cells)
            difference = (ratio_of_means(*mean) if target.compare == "ratio" else mean[0]) - truth.values.nan_to_num()
            valid = weighed(cells.counts.unsqueeze(2), truth)
        else:
            daily = target.compare == "daily" or (target.compare, truth.step) == ("standardised", "daily")
            pair = (paired_daily if daily else paired_monthly)(predicted[0], truth, cells)
            difference, valid = COMPARISONS[target.compare](pair)
        found[target.name] = batch_mean(cell_error(difference, valid, truth.std), cells.counts)
        observed[target.name] = ((valid > 0) & cells.counts.unsqueeze(2)).flatten(1).any(1)
    weights = {t.name: t.weight for t in targets}
    for prior in priors:
        if prior.parameter in outputs:
            found[prior.parameter] = ((outputs[prior.parameter] - prior.mean) / prior.std).square()
    total: Tensor = sum(weights.get(name, 1.0) * value for name, value in found.items())  # type: ignore[assignment]
    for name, where in observed.items():
        found[name] = torch.where(where, found[name], torch.nan)
    return found | {"total": total}
