"""Observations laid beside predictions: the same cells, the same days or months, masked alike, at each scale.

Nothing here is a metric; what is here is what a metric may look at.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from xh2cm.data.match import KNOWN, closest, find_variables
from xh2cm.data.reading import Input, asked_targets, grid_area, read_area, read_targets
from xh2cm.data.times import datetime_dimensions, day_numbers, month_numbers
from xh2cm.errors import Finding, InputError
from xh2cm.variables import TARGETS

__all__ = ["SCALES", "Pairs", "Scale", "Series", "Together", "at_scale", "pair_up", "split", "together"]

Scale = Literal["daily", "monthly", "seasonal", "interannual", "mean"]
Every = Literal["day", "month", "record"]

SCALES: tuple[Scale, ...] = ("daily", "monthly", "seasonal", "interannual", "mean")
"""Days; calendar months; the mean cycle of the calendar months; months less that cycle; one mean a cell."""

RELATIVE = {"TWS", "NEE_IAV"}
"""Observed as anomalies: their level means nothing, and each cell's own mean is taken off on both sides."""

ANOMALY = {"NEE_IAV": "NEE"}
"""Observed less their seasonal cycle already: compared at the interannual scale with the variable named here."""

RATIOS = {"CUE": ("NPP", "GPP")}
"""Observed as one number a cell: compared with the ratio of two means over time."""

NEXT_TO_NOTHING = 0.1
"""Below this mean the denominator of a ratio says nothing, as in the loss of the model."""

ROUNDING = 1e-6
"""What is smaller than this share of the numbers it is the difference of is rounding, not signal."""


class Together(NamedTuple):
    """A variable at one scale, both sides NaN where either is absent; (step, ...).

    ``expected`` says where there is a prediction (of every fold), ``seen`` where there is an observation.
    """

    predicted: xr.DataArray
    observed: xr.DataArray
    expected: xr.DataArray
    seen: xr.DataArray


class Series(NamedTuple):
    """A variable as it was observed: by days (``step`` is 32 months + day), by months (since year 0), or once."""

    values: Together
    every: Every
    relative: bool
    anomaly: bool


@dataclasses.dataclass(frozen=True)
class Pairs:
    """What can be compared, in memory, and what the cells weigh.

    Parameters
    ----------
    series : mapping of str to Series
        By public name.
    area : DataArray, m2
        On the land axes; ones where nothing is known of it.
    notes : tuple of str
        What was left out, and why.
    """

    series: Mapping[str, Series]
    area: xr.DataArray
    notes: tuple[str, ...]


# -- laying side by side ---------------------------------------------------------------------------------------------


def pair_up(
    prediction: xr.Dataset,
    observations: xr.Dataset,
    targets: Sequence[str] | None = None,
    names: Mapping[str, str | float] | None = None,
    units: Mapping[str, str] | None = None,
) -> Pairs:
    """Lay the observations of a dataset beside a prediction.

    Parameters
    ----------
    prediction : Dataset
        As `predict` gives it; daily, with a dimension ``fold`` or without.
    observations : Dataset
        On the same land; daily or monthly, on a time axis of any name.
    targets, names, units
        As for `check`.

    Returns
    -------
    Pairs
        Dask arrays are computed, all in one go: monthly observations need the monthly means of a prediction only.

    Raises
    ------
    InputError
        Nothing in common, another land, another time, units that are not known; all of it at once.
    """
    findings = [
        Finding(name, f"is a {type(given).__name__}", f"give a Dataset: {remedy}")
        for name, given, remedy in (
            ("prediction", prediction, "what ds.h2cm.predict(fit) returns"),
            ("observations", observations, "the one the model was made with, or its report.dataset"),
        )
        if not isinstance(given, xr.Dataset)
    ]
    if findings:
        raise InputError(findings)
    findings += _unfit(prediction, observations)
    if findings:
        raise InputError(findings)

    names = names or {}
    source = _beside(prediction, observations, names, units or {}, findings)
    sides = {name: RATIOS.get(name, (ANOMALY.get(name, name),)) for name in TARGETS}
    asked_for, asked = asked_targets(targets, names, findings)
    wanted = [name for name in asked_for if set(sides[name]) <= set(prediction.data_vars)]
    for name in asked_for if targets is not None else ():
        if name not in wanted:
            remedy = f"out = ds.h2cm.predict(fit, variables={list(sides[name])})"
            findings.append(Finding(name, "was asked for and is not in the prediction", remedy))
    notes: list[str] = []
    found = read_targets(source, wanted, asked & {*wanted}, findings, notes)
    if not found and not findings:
        problem = f"hold nothing to compare with what is predicted ({', '.join(map(str, prediction)) or 'nothing'})"
        name_it = f'say where it is: names={{"{wanted[0] if wanted else "GPP"}": "..."}}'
        remedy = "give observations of the land and the time of the prediction" if notes else name_it
        findings.append(Finding("observations", "; ".join([problem, *notes]), remedy))
    if findings:
        raise InputError(dict.fromkeys(findings))

    area = read_area(source, findings)
    if findings:
        raise InputError(findings)
    if area is None:
        area = grid_area(source)
    if area is None:
        area = xr.DataArray(np.ones(source.shape), dims=source.land)
    laid = {name: _laid(prediction, sides[name], array, source) for name, array in found.items()}
    computed, weights = _computed(([side for _, *side in laid.values()], area))  # so a lazy prediction is made once
    series = {
        name: Series(together(*side), every, name in RELATIVE, name in ANOMALY)
        for (name, (every, *_)), side in zip(laid.items(), computed, strict=True)
    }
    weights = weights.fillna(0.0).clip(min=0.0)
    if not weights.any():
        raise InputError([Finding("area", "is above 0 in no cell", "give the area of the cells, or leave it out")])
    return Pairs(series, weights, tuple(notes))


def _unfit(prediction: xr.Dataset, observations: xr.Dataset) -> Iterator[Finding]:
    """Say why the two cannot lie side by side."""
    if "time" not in prediction.indexes:
        yield Finding("prediction", "has no axis `time`", "give what ds.h2cm.predict(fit) returns")
        return
    steps = np.diff(day_numbers(prediction["time"]))
    if prediction.sizes["time"] < 2 or steps.min() < 1 or np.median(steps) > 1:
        problem = "is not daily and in order"
        yield Finding("prediction", problem, "give what ds.h2cm.predict(fit) returns: it is averaged to months here")
    for dim in _land(prediction):
        if dim not in observations.dims:
            axes = ", ".join(map(str, observations.dims)) or "none"
            problem = f"have no axis {dim!r}, on which the prediction lies (theirs are {axes})"
            yield Finding("observations", problem, f'bring them to it, or rename theirs: ds.rename(...="{dim}")')
        elif observations.sizes[dim] != prediction.sizes[dim]:
            problem = f"have {observations.sizes[dim]} along {dim!r}, the prediction has {prediction.sizes[dim]}"
            yield Finding("observations", problem, f'select the same cells: ds = ds.sel({dim}=out["{dim}"])')
        elif not _same_axis(prediction, observations, dim):
            problem = f"lie elsewhere along {dim!r} than the prediction, or in another order"
            yield Finding("observations", problem, f'bring them there: ds = ds.reindex({dim}=out["{dim}"])')


def _same_axis(one: xr.Dataset | xr.DataArray, other: xr.Dataset, dim: Hashable) -> bool:
    """Whether an axis has the same length, and the same labels where both have some."""
    labelled = dim in one.indexes and dim in other.indexes
    return one.sizes[dim] == other.sizes[dim] and not (labelled and not one.indexes[dim].equals(other.indexes[dim]))


def _land(prediction: xr.Dataset) -> tuple[Hashable, ...]:
    """Axes of a prediction that are neither time nor fold."""
    axes = [tuple(dim for dim in array.dims if dim not in ("time", "fold")) for array in prediction.values()]
    return max(axes, key=len, default=())


def _beside(
    prediction: xr.Dataset,
    observations: xr.Dataset,
    names: Mapping[str, str | float],
    units: Mapping[str, str],
    findings: list[Finding],
) -> Input:
    """The observations as a dataset whose ``time`` is that of the prediction: what reads targets reads these too."""
    ds = observations
    for dim, name in datetime_dimensions(ds).items():
        ds = ds if dim == name else ds.swap_dims({dim: name})
    if "time" in {*ds.variables, *ds.dims}:
        ds = ds.rename(time="observed_time")
    land = _land(prediction)
    places = {name: c for name, c in prediction.coords.items() if set(c.dims) <= set(land) and name not in ds.variables}
    ds = ds.assign_coords({"time": prediction["time"], **{n: c.variable for n, c in places.items() if c.dims}})
    present = [str(name) for name in observations.variables]
    strange = [name for name in units if name not in present and name not in KNOWN]
    findings += [Finding(f"units[{n!r}]", "names no variable of the dataset", closest(n, present)) for n in strange]
    return Input(ds, find_variables(ds, names, units, findings), units, land)


def _laid(
    prediction: xr.Dataset, needed: tuple[str, ...], array: xr.DataArray, source: Input
) -> tuple[Every, xr.DataArray, xr.DataArray]:
    """One variable, predicted and observed on the same steps, lazily."""
    sides = [_finite(_bare(prediction[variable])) for variable in needed]
    observed = _finite(array.transpose(..., *source.land))
    axis = next((dim for dim in array.dims if dim not in source.land), None)
    if axis is None:
        above, below = (side.mean("time") for side in sides)
        ratio = above / below.where(below >= NEXT_TO_NOTHING)
        return "record", ratio.expand_dims(step=[0]), observed.expand_dims(step=[0])
    time, when = prediction["time"], source.dataset[axis]
    steps = np.diff(day_numbers(when))
    every: Every = "day" if steps.size and steps.min() == 1 else "month"
    side = sides[0].chunk(time=-1) if sides[0].chunks else sides[0]
    predicted = side.rename(time="step").assign_coords(step=_dates(time))
    if every == "month":
        month = month_numbers(time)
        length = np.asarray(time.dt.days_in_month)[np.unique(month, return_index=True)[1]]
        whole = sum_by(predicted.notnull(), month) == xr.DataArray(length, dims="step")
        predicted = mean_by(predicted, month).where(whole)
    labels = _dates(when) if every == "day" else month_numbers(when)
    observed = observed.rename({axis: "step"}).assign_coords(step=labels).reindex(step=predicted["step"])
    return every, predicted, observed


def _computed(lazy: Any) -> Any:
    """Compute all that is lazy at once."""
    import dask.base

    return dask.base.compute(lazy)[0]


def _dates(time: xr.DataArray) -> np.ndarray:
    """A number for each date, the same for the same date in every calendar, growing with it."""
    return np.asarray(month_numbers(time) * 32 + time.dt.day.values)


def _bare(array: xr.DataArray) -> xr.DataArray:
    return array.drop_vars(list(array.coords)).drop_attrs()


def _finite(array: xr.DataArray) -> xr.DataArray:
    return array.where(xr.ufuncs.isfinite(array))


def together(predicted: xr.DataArray, observed: xr.DataArray) -> Together:
    """Mask two series alike.

    Parameters
    ----------
    predicted : DataArray, (step, ...)
        With a dimension ``fold`` or without; it counts where every fold has a value.
    observed : DataArray, (step, ...)

    Returns
    -------
    Together
    """
    expected = predicted.notnull()
    expected = expected.all("fold") if "fold" in expected.dims else expected
    seen = observed.notnull()
    both = expected & seen
    return Together(predicted.where(both), observed.where(both), expected, seen)


# -- scales ----------------------------------------------------------------------------------------------------------


def at_scale(series: Series, scale: Scale) -> Together | None:
    """Bring a variable to a scale.

    Parameters
    ----------
    series : Series
    scale : {"daily", "monthly", "seasonal", "interannual", "mean"}

    Returns
    -------
    Together or None
        float64; None where the observations do not reach this scale.

    Notes
    -----
    A month of daily observations is the mean of the days that were observed, on both sides; a monthly observation is
    compared with whole months. The seasonal cycle is the mean of each calendar month over the years observed; the
    interannual anomaly what is left of the months without it, where a calendar month was observed in two years or more
    (in one year alone it is zero by construction). Total water storage has no level: at every scale its own mean over
    the days or months compared is taken off.
    """
    pair, every, relative, anomaly = series
    pair = pair._replace(predicted=pair.predicted.astype(float), observed=pair.observed.astype(float))
    if anomaly:
        return interannual(pair) if scale == "interannual" else None
    if every == "record":
        return pair if scale == "mean" else None
    if scale == "daily":
        return (without_level(pair) if relative else pair) if every == "day" else None
    monthly = binned(pair, pair.observed["step"].values // 32) if every == "day" else pair
    monthly = without_level(monthly) if relative else monthly
    match scale:
        case "monthly":
            return monthly
        case "seasonal":
            return binned(monthly, monthly.observed["step"].values % 12)
        case "interannual":
            return interannual(monthly)
        case "mean":
            return None if relative else binned(monthly, np.zeros(monthly.observed.sizes["step"], int))


def without_level(pair: Together) -> Together:
    """Take each cell's own mean over what is compared off, on both sides."""
    predicted, observed = (departure(side, side.mean("step")) for side in pair[:2])
    return pair._replace(predicted=predicted, observed=observed)


def interannual(monthly: Together) -> Together:
    """Take the mean seasonal cycle off, on both sides."""
    calendar = monthly.observed["step"].values % 12
    often = sum_by(monthly.observed.notnull(), calendar) >= 2
    place = xr.DataArray(np.unique(calendar, return_inverse=True)[1], dims="step")
    cycle = binned(monthly, calendar)

    def less(array: xr.DataArray, mean: xr.DataArray) -> xr.DataArray:
        usual = mean.where(often).drop_vars("step").isel(step=place)
        return departure(array, usual)

    return monthly._replace(
        predicted=less(monthly.predicted, cycle.predicted), observed=less(monthly.observed, cycle.observed)
    )


def departure(array: xr.DataArray, usual: xr.DataArray) -> xr.DataArray:
    """Difference from what is usual, 0 where it is rounding."""
    difference = array - usual
    return difference.where(~(abs(difference) <= ROUNDING * abs(usual)), 0.0)


def binned(pair: Together, number: np.ndarray) -> Together:
    """Means over the steps of the same number."""
    return Together(
        mean_by(pair.predicted, number),
        mean_by(pair.observed, number),
        sum_by(pair.expected, number) > 0,
        sum_by(pair.seen, number) > 0,
    )


def mean_by(array: xr.DataArray, number: np.ndarray) -> xr.DataArray:
    """Mean of the values there are over the steps of the same number; NaN where there is none."""
    count = sum_by(array.notnull(), number)
    return sum_by(array.fillna(0.0), number) / count.where(count > 0)


def sum_by(array: xr.DataArray, number: np.ndarray) -> xr.DataArray:
    """Sum over the steps of the same number, in float64, lazily where the array is lazy."""
    order = np.argsort(number, kind="stable")
    numbers, starts = np.unique(number[order], return_index=True)

    def sums(values: np.ndarray) -> Any:
        return np.add.reduceat(values[..., order], starts, axis=-1, dtype=np.float64)

    total: xr.DataArray = xr.apply_ufunc(
        sums,
        array,
        input_core_dims=[["step"]],
        output_core_dims=[["step"]],
        exclude_dims={"step"},
        output_dtypes=[np.float64],
        dask="parallelized",
        dask_gufunc_kwargs={"output_sizes": {"step": numbers.size}},
    )
    return total.assign_coords(step=numbers)


# -- groups ----------------------------------------------------------------------------------------------------------


def split(
    pairs: Pairs, groups: str | xr.DataArray, prediction: xr.Dataset, observations: xr.Dataset
) -> Iterator[tuple[Any, Pairs]]:
    """Give the cells and days of one label after the other.

    Parameters
    ----------
    pairs : Pairs
    groups : str or DataArray
        Labels on the land axes, on time or on both, such as ``fit.labels``, or the name of a variable of the
        observations that holds them; NaN and empty text belong to no group.
    prediction, observations : Dataset
        What the pairs were made of.

    Yields
    ------
    label, Pairs
        The same cells and steps, masked. Of a monthly observation only months whole within the group are kept, and a
        number observed once a cell is kept where all days are.

    Raises
    ------
    InputError
        Labels that do not lie on the prediction.
    """
    if isinstance(groups, str):
        if groups not in observations.variables:
            known = [str(n) for n, v in observations.variables.items() if v.dims and v.dtype.kind in "OUSTiub"]
            raise InputError([Finding("groups", f"no variable {groups!r} in the observations", closest(groups, known))])
        groups = observations[groups]
    land = pairs.area.dims
    findings = []
    if not groups.dims or not set(groups.dims) <= {"time", *land}:
        axes = ", ".join(map(str, ("time", *land)))
        findings.append(Finding("groups", f"lie on {groups.dims}, not on {axes}", "give a label per cell, day or both"))
    for dim in {"time", *land} & {*groups.dims}:
        if not _same_axis(groups, prediction, dim):
            problem = f"lie elsewhere along {dim!r} than the prediction"
            findings.append(Finding("groups", problem, f'groups = groups.sel({dim}=out["{dim}"])'))
    if findings:
        raise InputError(findings)
    labels = _bare(groups.compute())
    named = labels.notnull()
    if labels.dtype.kind in "OUST":
        labels = labels.astype(str)
        named &= labels != ""
    if not named.any():
        raise InputError([Finding("groups", "hold no label (all NaN or empty)", "label the cells or days to look at")])
    time = prediction["time"]
    for one in np.unique(labels.values[named.values]):
        inside = (labels == one) & named
        if "time" in inside.dims:
            inside = inside.rename(time="step")
            days = inside.assign_coords(step=_dates(time))
            months = mean_by(inside.astype(float), month_numbers(time)) == 1
            where = {"day": days, "month": months, "record": inside.all("step")}
        else:
            where = dict.fromkeys(("day", "month", "record"), inside)
        series = {name: s._replace(values=_only(s.values, where[s.every])) for name, s in pairs.series.items()}
        yield one.item() if isinstance(one, np.generic) else one, dataclasses.replace(pairs, series=series)


def _only(pair: Together, where: xr.DataArray) -> Together:
    """Blank what is outside."""
    return Together(pair.predicted.where(where), pair.observed.where(where), pair.expected & where, pair.seen & where)
