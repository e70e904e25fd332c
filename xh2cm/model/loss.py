"""Targets and priors as tables, and the one error they are all compared by.

Everything is per fold: predictions are (fold, cell, time), an error is (fold, cell), a loss (fold,).

References
----------
Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["COMPARISONS", "PRIORS", "TARGET_TABLE", "Compared", "Prior", "Target", "Truth", "losses"]

Comparison = Literal["anomaly", "seasonal", "monthly", "daily", "interannual", "ratio"]


@dataclasses.dataclass(frozen=True)
class Target:
    """A row of the table: what is compared with what, and how.

    Parameters
    ----------
    name : str
        Public name of the observation.
    fields : tuple of str
        What the model must record for it; a ratio has two.
    compare : str
        A key of `COMPARISONS`, or ``"daily"``, ``"interannual"``, ``"ratio"``.
    weight : float
    """

    name: str
    fields: tuple[str, ...]
    compare: Comparison
    weight: float = 1.0


@dataclasses.dataclass(frozen=True)
class Prior:
    """What is known of a global constant beforehand: ``((x - mean) / std) ** 2`` is added to the loss."""

    parameter: str
    mean: float
    std: float


TARGET_TABLE: tuple[Target, ...] = (
    Target("TWS", ("tws",), "anomaly"),
    Target("ET", ("et",), "seasonal"),
    Target("runoff", ("runoff",), "seasonal"),
    Target("SWE", ("swe",), "monthly"),
    Target("fAPAR", ("fapar",), "monthly"),
    Target("GPP", ("gpp",), "seasonal"),
    Target("NEE", ("nee",), "monthly"),
    Target("NEE_IAV", ("nee",), "interannual"),
    Target("CUE", ("npp", "gpp"), "ratio"),
    Target("TER", ("ter",), "monthly"),
    Target("NPP", ("npp",), "monthly"),
)
"""The published comparisons; respiration and NPP, which the published model is not trained on, month by month."""

PRIORS: tuple[Prior, ...] = (Prior("co2_sensitivity", 0.0015, 0.0005), Prior("q10", 1.5, 0.3))


class Truth(NamedTuple):
    """A target's values for the cells of a batch, (fold, cell, day, month or 1); NaN counts for nothing.

    ``axis`` marks what the target's time axis holds, ``std`` (fold,) standardises the difference.
    """

    values: Tensor
    axis: Tensor
    step: str
    std: Tensor


class Compared(NamedTuple):
    """The cells of a batch: which count, what they weigh, which of their days may be looked at, and their months."""

    counts: Tensor  # (fold, cell) bool
    area: Tensor  # (fold, cell)
    allowed: Tensor  # (fold, cell, time) bool
    month: Tensor  # (fold, cell, time) month of the window a day belongs to
    month_days: Tensor  # (fold, cell, month) days the month has in the calendar
    of_year: Tensor  # (fold, cell, month) 0 for January


def bins(values: Tensor, where: Tensor, number: int) -> Tensor:
    """Sum values (fold, cell, n) into numbered bins (fold, cell, number)."""
    return values.new_zeros(*values.shape[:2], number).scatter_add(2, where, values)


def ratio(above: Tensor, below: Tensor) -> Tensor:
    """Divide, with 0 where there is nothing to divide by."""
    return above / below.clamp(min=1e-12)


class Paired(NamedTuple):
    """Prediction and observation on one axis of days or months, and where each of them counts."""

    predicted: Tensor
    observed: Tensor
    in_axis: Tensor
    valid: Tensor
    of_year: Tensor


def paired_daily(predicted: Tensor, truth: Truth, batch: Compared) -> Paired:
    """Day by day."""
    in_axis = truth.axis & batch.allowed
    return Paired(predicted, truth.values.nan_to_num(), in_axis, truth.values.isfinite() & in_axis, batch.month)


def paired_monthly(predicted: Tensor, truth: Truth, batch: Compared) -> Paired:
    """Month by month: whole months for a monthly target; for a daily one the mean of the days that were observed."""
    number = batch.month_days.shape[2]
    if truth.step == "daily":
        valid = (truth.values.isfinite() & batch.allowed).to(predicted.dtype)
        count = bins(valid, batch.month, number)
        observed = ratio(bins(truth.values.nan_to_num() * valid, batch.month, number), count)
        return Paired(
            ratio(bins(predicted * valid, batch.month, number), count), observed, count > 0, count > 0, batch.of_year
        )
    count = bins(batch.allowed.to(predicted.dtype), batch.month, number)
    in_axis = truth.axis & (count == batch.month_days)
    mean = ratio(bins(predicted * batch.allowed, batch.month, number), count)
    return Paired(mean, truth.values.nan_to_num(), in_axis, truth.values.isfinite() & in_axis, batch.of_year)


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


def as_seasonal(p: Paired) -> tuple[Tensor, Tensor]:
    """Difference of the mean seasonal cycles."""
    predicted, _ = seasonal_cycle(p.predicted, p.in_axis, p.of_year)
    observed, valid = seasonal_cycle(p.observed, p.valid, p.of_year)
    return predicted - observed, valid


COMPARISONS: Mapping[str, Callable[[Paired], tuple[Tensor, Tensor]]] = {
    "monthly": as_monthly,
    "daily": as_monthly,
    "anomaly": as_anomaly,
    "seasonal": as_seasonal,
}
"""How a paired series becomes a difference (fold, cell, n) and where it counts."""


def cell_error(difference: Tensor, valid: Tensor, std: Tensor) -> Tensor:
    """Sum of squared standardised differences over the number of valid ones, 0 without any; (fold, cell)."""
    squared = torch.where(valid, difference, 0.0).div(std[:, None, None]).square()
    return squared.sum(2) / valid.sum(2).clamp(min=1)


def batch_mean(values: Tensor, counts: Tensor) -> Tensor:
    """Mean over the cells of a batch that count, (fold,)."""
    return (values * counts).sum(1) / counts.sum(1).clamp(min=1)


def interannual(predicted: Tensor, truth: Truth, batch: Compared) -> Tensor:
    """Area-weighted mean of the batch: predicted months less their seasonal cycle against the observed anomaly."""
    p = paired_monthly(predicted, truth, batch)
    cycle, _ = seasonal_cycle(p.predicted, p.in_axis, p.of_year)
    anomaly = p.predicted - cycle.gather(2, p.of_year)
    weight = (batch.area * batch.counts).to(predicted.dtype).unsqueeze(2)
    total = weight.sum(1).clamp(min=1e-12)
    in_axis = p.in_axis & batch.counts.unsqueeze(2)
    difference = ((anomaly * in_axis - p.observed * p.valid) * weight).sum(1) / total  # (fold, month)
    months = in_axis.any(1) & p.valid.any(1)
    squared = torch.where(months, difference, 0.0).div(truth.std[:, None]).square()
    return squared.sum(1) / months.sum(1).clamp(min=1)


def ratio_of_means(above: Tensor, below: Tensor, truth: Truth, batch: Compared) -> Tensor:
    """Ratio of the means over time against a static target; 0.5 where there is next to nothing below."""
    of_time = batch.allowed.to(above.dtype)
    upper, lower = mean_where(above, of_time), mean_where(below, of_time)
    small = lower < 0.1
    predicted = torch.where(small, 0.5, upper / torch.where(small, 1.0, lower))
    valid = truth.values.isfinite() & batch.counts.unsqueeze(2)
    return batch_mean(cell_error(predicted - truth.values.nan_to_num(), valid, truth.std), batch.counts)


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
    """
    found = {}
    for target in targets:
        truth, predicted = truths[target.name], [outputs[f] for f in target.fields]
        if target.compare == "interannual":
            found[target.name] = interannual(predicted[0], truth, batch)
        elif target.compare == "ratio":
            found[target.name] = ratio_of_means(predicted[0], predicted[1], truth, batch)
        else:
            pair = paired_daily if target.compare == "daily" else paired_monthly
            difference, valid = COMPARISONS[target.compare](pair(predicted[0], truth, batch))
            found[target.name] = batch_mean(cell_error(difference, valid, truth.std), batch.counts)
    weights = {t.name: t.weight for t in targets}
    for prior in priors:
        if prior.parameter in outputs:
            found[prior.parameter] = ((outputs[prior.parameter] - prior.mean) / prior.std).square()
    found["total"] = sum(weights.get(name, 1.0) * value for name, value in found.items())  # type: ignore[assignment]
    return found
