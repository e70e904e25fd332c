"""Observations laid beside predictions: the same cells, the same days or months, masked alike, at each scale.

Nothing here is a metric; what is here is what a metric may look at.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from xh2cm.data.align import align
from xh2cm.data.balances import observation_findings
from xh2cm.data.match import KNOWN, find_variables
from xh2cm.data.read_land import grid_area, read_area
from xh2cm.data.read_targets import asked_targets, read_targets, with_targets
from xh2cm.data.reading import Input
from xh2cm.data.steps import with_bounds
from xh2cm.data.times import datetime_dimensions, day_numbers, month_numbers
from xh2cm.errors import Finding, H2CMWarning, InputError, closest
from xh2cm.targets import TARGET_TABLE, Comparison, Target
from xh2cm.variables import OUTPUTS

__all__ = ["SCALES", "Pairs", "Scale", "Series", "Together", "at_scale", "pair_up", "split", "together"]

Scale = Literal["daily", "monthly", "seasonal", "interannual", "mean"]
Every = Literal["day", "month", "record"]

SCALES: tuple[Scale, ...] = ("daily", "monthly", "seasonal", "interannual", "mean")
"""Days; calendar months; the mean cycle of the calendar months; months less that cycle; one mean a cell."""

TABLE: Mapping[str, Target] = {row.name: row for row in TARGET_TABLE}

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
    """A variable as it was observed: by days (``step`` is 32 months + day), by months (since year 0), or once.

    Of ``compare`` only this matters here: an ``anomaly`` has no level, what is ``interannual`` has no cycle either.
    """

    values: Together
    every: Every
    compare: Comparison | Literal[""]


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of predictions and observations in memory, with their coordinates.

    Parameters
    ----------
    series : mapping of str to Series
        By public name.
    units : mapping of str to str
    frame : Dataset
        The coordinates of land, time and folds, and ``area`` on the land: what a cell weighs.
    notes : tuple of str
        What was left out, and why.
    """

    series: Mapping[str, Series]
    units: Mapping[str, str]
    frame: xr.Dataset
    notes: tuple[str, ...]

    @property
    def area(self) -> xr.DataArray:
        """Area of the cells, m2, without coordinates; ones where nothing is known of it, and for gauges."""
        return _bare(self.frame["area"])


# -- laying side by side ---------------------------------------------------------------------------------------------


def pair_up(
    prediction: xr.Dataset,
    observations: xr.Dataset,
    targets: Sequence[str | Target] | None = None,
    names: Mapping[str, str | float] | None = None,
    units: Mapping[str, str] | None = None,
) -> Pairs:
    """Match the observations of a dataset with a prediction.

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
    findings = findings or list(_not_daily(prediction))
    if findings:
        raise InputError(findings)
    land = land_of(prediction)
    remedy = "give observations of all cells of the prediction, or cut it: out = out.sel(...)"
    observations = align(observations, prediction, "observations", on=land, what="the prediction", remedy=remedy)

    names = names or {}
    asked_for, asked = asked_targets(targets, names, findings)
    rows = {name: _completed(name, row) for name, row in asked_for.items()}
    wanted = {name: row for name, row in rows.items() if set(shown_by(row)) <= set(prediction.data_vars)}
    findings += _not_comparable(wanted)
    if targets is not None:
        findings += _not_predicted({name: row for name, row in rows.items() if name not in wanted})
    notes: list[str] = []
    doubts: list[str] = []
    observations = with_bounds(observations, notes)
    source = with_targets(_beside(prediction, observations, names, units or {}, findings), wanted)
    found, quality, shares = read_targets(source, wanted, asked & {*wanted}, findings, notes, notes)
    if not found and not findings:
        problem = f"hold nothing to compare with what is predicted ({', '.join(map(str, prediction)) or 'nothing'})"
        name_it = f'say where it is: names={{"{next(iter(wanted), "GPP")}": "..."}}'
        remedy = "give observations of the land and the time of the prediction" if notes else name_it
        findings.append(Finding("observations", "; ".join([problem, *notes]), remedy))
    lands = {name: shares[name].dims[:1] if name in shares else land for name in found}
    if len({*lands.values()}) > 1:
        told = ", ".join(f"{name} on {' and '.join(map(str, dims)) or 'one cell'}" for name, dims in lands.items())
        findings.append(Finding("targets", f"lie on different land: {told}", "score them apart: targets=[...]"))
    area = None if shares else read_area(source, findings)
    if findings:
        raise InputError(dict.fromkeys(findings))

    land = next(iter(lands.values()))
    if area is None and not shares:
        area = grid_area(source)
    if area is None:
        area = xr.DataArray(np.ones([source.dataset.sizes[dim] for dim in land]), dims=land)
    laid = {}
    for name, array in found.items():
        kept = array.where(quality[name] > 0) if name in quality else array
        laid[name] = _laid(prediction, wanted[name], kept, shares.get(name), source)
    computed, weights = _computed(([side for _, *side in laid.values()], area))  # so a lazy prediction is made once
    for (name, array), (_, observed) in zip(found.items(), computed, strict=True):
        seen = observed.assign_attrs(array.attrs)
        findings += observation_findings(seen, name, source.known[name], doubts)
    if findings:
        raise InputError(dict.fromkeys(findings))
    for doubt in doubts:
        warnings.warn(doubt, H2CMWarning, stacklevel=3)
    weights = weights.fillna(0.0).clip(min=0.0)
    if not weights.any():
        raise InputError([Finding("area", "is above 0 in no cell", "give the area of the cells, or leave it out")])
    return Pairs(
        series={
            name: Series(together(*side), every, wanted[name].compare)
            for (name, (every, *_)), side in zip(laid.items(), computed, strict=True)
        },
        units={name: source.known[name].units for name in laid},
        frame=_frame(prediction, source.dataset, weights),
        notes=tuple(notes),
    )


def _completed(name: str, row: Target) -> Target:
    """A row with what the table says of it where the user did not."""
    table = TABLE.get(name, row)
    return dataclasses.replace(row, fields=row.fields or table.fields, compare=row.compare or table.compare)


def shown_by(row: Target) -> list[str]:
    """Public names of what shows a target."""
    return [OUTPUTS[field].name if field in OUTPUTS else field for field in row.fields]


def _not_comparable(wanted: Mapping[str, Target]) -> Iterator[Finding]:
    """Describe the rows that training can compare, but that cannot be scored in units."""
    for name, row in wanted.items():
        if row.mapping is not None or row.compare == "standardised":
            problem = "is mapped, and no variable of the prediction" if row.mapping else "has no units to be scored in"
            series = f'out["{shown_by(row)[0]}"], ds["{name}"], "time"'
            yield Finding(f"target {name}", problem, f"from xh2cm.evaluate.scores import metrics: metrics({series})")


def _not_predicted(rows: Mapping[str, Target]) -> Iterator[Finding]:
    for name, row in rows.items():
        remedy = f"out = ds.h2cm.predict(fit, variables={shown_by(row)})"
        yield Finding(name, "was asked for and is not in the prediction", remedy)


def _frame(prediction: xr.Dataset, beside: xr.Dataset, area: xr.DataArray) -> xr.Dataset:
    """Coordinates of what is compared."""
    places = {name: c.variable for name, c in beside.coords.items() if c.dims and set(c.dims) <= {*area.dims}}
    rest = {name: c.variable for name, c in prediction.coords.items() if set(c.dims) <= {"time", "fold"}}
    return xr.Dataset({"area": area}, coords={**rest, **places})


def _not_daily(prediction: xr.Dataset) -> Iterator[Finding]:
    """Say why a dataset is no daily prediction."""
    if "time" not in prediction.indexes:
        yield Finding("prediction", "has no axis `time`", "give what ds.h2cm.predict(fit) returns")
        return
    steps = np.diff(day_numbers(prediction["time"]))
    if prediction.sizes["time"] < 2 or steps.min() < 1 or np.median(steps) > 1:
        problem = "is not daily and in order"
        yield Finding("prediction", problem, "give what ds.h2cm.predict(fit) returns: it is averaged to months here")


def land_of(prediction: xr.Dataset) -> tuple[Hashable, ...]:
    """Return the axes of a prediction that are neither time nor fold, leaving out a state that was kept with it."""
    arrays = [array for array in prediction.values() if "carried" not in array.dims]
    axes = [tuple(dim for dim in array.dims if dim not in ("time", "fold")) for array in arrays]
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
    land = land_of(prediction)
    places = {name: c for name, c in prediction.coords.items() if set(c.dims) <= set(land) and name not in ds.variables}
    ds = ds.assign_coords({"time": prediction["time"], **{n: c.variable for n, c in places.items() if c.dims}})
    present = [str(name) for name in observations.variables]
    strange = [name for name in units if name not in present and name not in KNOWN]
    findings += [Finding(f"units[{n!r}]", "names no variable of the dataset", closest(n, present)) for n in strange]
    return Input(ds, find_variables(ds, names, units, findings), units, land)


def _laid(
    prediction: xr.Dataset, row: Target, array: xr.DataArray, share: xr.DataArray | None, source: Input
) -> tuple[Every, xr.DataArray, xr.DataArray]:
    """One variable, predicted and observed on the same steps, lazily."""
    sides = [_finite(_bare(prediction[name])) for name in shown_by(row)]
    if share is not None:
        sides = [_of_gauges(side, share) for side in sides]
    axes = source.time_axes(array)
    observed = _finite(array)
    if not axes:
        means = [side.mean("time") for side in sides]
        one = means[0] if len(means) == 1 else means[0] / means[1].where(means[1] >= NEXT_TO_NOTHING)
        return "record", one.expand_dims(step=[0]), observed.expand_dims(step=[0])
    time, when = prediction["time"], source.dataset[axes[0]]
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
    observed = observed.rename({axes[0]: "step"}).assign_coords(step=labels).reindex(step=predicted["step"])
    return every, predicted, observed


def _of_gauges(array: xr.DataArray, share: xr.DataArray) -> xr.DataArray:
    """Weighted mean of the cells of each gauge, NaN where one of them has no value."""
    land = share.dims[1:]
    total = share.sum(land)
    whole = xr.dot(array.notnull().astype(float), (share > 0).astype(float), dim=land) == (share > 0).sum(land)
    mean: xr.DataArray = xr.dot(array.fillna(0.0), share, dim=land) / total.where(total > 0)
    return mean.where(whole)


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
    """Average a variable to a time scale.

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
    pair, every, compare = series
    pair = pair._replace(predicted=pair.predicted.astype(float), observed=pair.observed.astype(float))
    if compare == "interannual":
        return interannual(pair) if scale == "interannual" else None
    if every == "record":
        return pair if scale == "mean" else None
    relative = compare == "anomaly"
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
    """Subtract each cell's own mean over the compared values, on both sides."""
    predicted, observed = (departure(side, side.mean("step")) for side in pair[:2])
    return pair._replace(predicted=predicted, observed=observed)


def interannual(monthly: Together) -> Together:
    """Subtract the mean seasonal cycle, on both sides."""
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


def split(pairs: Pairs, groups: str | xr.DataArray, observations: xr.Dataset) -> Iterator[tuple[Any, Pairs]]:
    """Yield the cells and days of each label.

    Parameters
    ----------
    pairs : Pairs
    groups : str or DataArray
        Labels on the land axes, on time or on both, such as ``fit.labels``, or the name of a variable of the
        observations that holds them; NaN and empty text belong to no group.
    observations : Dataset

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
    if findings:
        raise InputError(findings)
    remedy = "label every cell or day that is compared"
    groups = align(groups, pairs.frame, "groups", on=groups.dims, what="what is compared", remedy=remedy)
    labels = _bare(groups.compute())
    named = labels.notnull()
    if labels.dtype.kind in "OUST":
        labels = labels.astype(str)
        named &= labels != ""
    if not named.any():
        raise InputError([Finding("groups", "hold no label (all NaN or empty)", "label the cells or days to look at")])
    time = pairs.frame["time"]
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
    """Set values outside a group to NaN."""
    return Together(pair.predicted.where(where), pair.observed.where(where), pair.expected & where, pair.seen & where)
