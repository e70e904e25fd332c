"""Read from time bounds, stamps and cell methods which time a value speaks of."""

from __future__ import annotations

import re
from collections.abc import Hashable

import numpy as np
import pandas as pd
import xarray as xr

from xh2cm.data.times import datetime_dimensions, day_numbers, label

__all__ = [
    "days_of_each",
    "hours_a_step",
    "is_instantaneous",
    "is_sum",
    "since_midnight",
    "stamped_at_end",
    "with_bounds",
]

_DAY = np.timedelta64(1, "D")


def bounds_of_time(ds: xr.Dataset, name: Hashable) -> tuple[np.ndarray, np.ndarray] | None:
    """Return begin and end of each step of a time axis, where CF bounds give them."""
    time = ds[name]
    bounds = ds.variables.get(time.attrs.get("bounds", time.encoding.get("bounds")))
    if bounds is None or bounds.ndim != 2 or bounds.shape != (time.size, 2) or bounds.dims[0] != time.dims[0]:
        return None
    if bounds.dtype.kind != time.dtype.kind or time.dtype.kind not in "MO" or pd.isnull(bounds.values).any():
        return None
    return bounds.values[:, 0], bounds.values[:, 1]


def with_bounds(ds: xr.Dataset, notes: list[str]) -> xr.Dataset:
    """Move stamps that lie outside their bounds to the time they speak of.

    Parameters
    ----------
    ds : Dataset
    notes : list of str
        What is moved is added here.

    Returns
    -------
    Dataset
        Where a stamp lies outside the bounds of its step, or at their end, all stamps of the axis are at the begin of a
        day, and in the middle of anything longer.
    """
    for name in datetime_dimensions(ds).values():
        bounds, time = bounds_of_time(ds, name), ds[name]
        if bounds is None or time.isnull().any():
            continue
        begin, end = bounds
        try:
            outside = ~((begin <= time.values) & (time.values < end))
        except TypeError:  # calendars differ
            continue
        if not outside.any():
            continue
        length = end - begin
        day = length <= (_DAY if time.dtype.kind == "M" else pd.Timedelta("1D").to_pytimedelta())
        moved = np.where(day, begin, begin + length / 2)
        placed = time.copy(data=moved.astype(time.dtype))
        at = int(np.argmax(outside))
        notes.append(
            f"{name}: {int(outside.sum()):,} stamps lie at the end of their bounds or outside them and are moved, "
            f"{label(time[at])} to {label(placed[at])}"
        )
        ds = ds.assign_coords({name: placed.variable})
    return ds


def stamped_at_end(ds: xr.Dataset, name: Hashable) -> bool:
    """Tell whether steps of less than a day are stamped at their end, by bounds, or first and last stamp.

    Parameters
    ----------
    ds : Dataset
    name : str
        Of the time coordinate.

    Returns
    -------
    bool
    """
    bounds, time = bounds_of_time(ds, name), ds[name]
    if bounds is not None:
        return bool(np.all(bounds[1] == time.values))
    hours = hours_a_step(time)
    first, last = ((float(time[at].dt.hour) + float(time[at].dt.minute) / 60) for at in (0, -1))
    return 0 < hours < 24 and first == hours and last == 0


def hours_a_step(time: xr.DataArray) -> float:
    """Return the median length of the steps of a time axis, in hours; NaN for one step."""
    if time.size < 2 or time.isnull().any():
        return float("nan")
    if time.dtype.kind == "M":
        return float(np.median(np.diff(time.values)) / np.timedelta64(1, "s")) / 3600
    return float(np.median([step.total_seconds() for step in np.diff(time.values)])) / 3600


def days_of_each(ds: xr.Dataset, name: Hashable) -> xr.DataArray | None:
    """Return the days that each step of a time axis covers: by its bounds, or as days or calendar months.

    Parameters
    ----------
    ds : Dataset
    name : str
        Of the time coordinate.

    Returns
    -------
    DataArray or None
        None where the steps are neither, and no bounds say it.
    """
    bounds, time = bounds_of_time(ds, name), ds[name]
    if bounds is not None:
        length = bounds[1] - bounds[0]
        days = length / _DAY if time.dtype.kind == "M" else [step.total_seconds() / 86400 for step in length]
        return xr.DataArray(np.asarray(days, dtype=float), dims=time.dims)
    hours = hours_a_step(time)
    if hours == 24:
        return xr.DataArray(np.ones(time.size), dims=time.dims)
    if 28 * 24 <= hours <= 31 * 24:
        return xr.DataArray(np.asarray(time.dt.days_in_month, dtype=float), dims=time.dims)
    return None


def is_sum(array: xr.DataArray) -> bool:
    """Tell whether cell methods say that a variable is a sum over each step."""
    return bool(re.search(r"\btime\d?\s*:\s*sum\b", str(array.attrs.get("cell_methods", ""))))


def is_instantaneous(array: xr.DataArray) -> bool:
    """Tell whether cell methods say that a variable holds for moments, not for steps or the ends of days."""
    return bool(re.search(r"\btime\d?\s*:\s*point\b(?! *\(at the end of)", str(array.attrs.get("cell_methods", ""))))


def since_midnight(array: xr.DataArray, time: xr.DataArray) -> bool:
    """Tell whether amounts grow from midnight to midnight, as those of ERA5-Land do.

    Parameters
    ----------
    array : DataArray
        In steps of less than a day, of which the first 10 days of one cell are looked at.
    time : DataArray
        Its time axis.

    Returns
    -------
    bool
    """
    hours = hours_a_step(time)
    if not 0 < hours <= 12:
        return False
    dim = time.dims[0]
    few = array.isel({d: 0 if d != dim else slice(0, int(240 / hours)) for d in array.dims})
    values = np.asarray(few.values, dtype=float)
    of_day = np.asarray(time.isel({dim: slice(0, values.size)}).dt.hour) + 0.0
    growth, fresh = np.diff(values), of_day[1:] == hours  # the first step after midnight starts anew
    days = day_numbers(time.isel({dim: slice(0, values.size)}))[1:]
    grows = growth >= -1e-6 * np.nanmax(np.abs(values), initial=1e-30)
    steps = [int(np.sum((growth > 0) & (days == day) & ~fresh)) for day in np.unique(days)]
    falls = growth[fresh] < 0
    return bool(grows[~fresh].all() and falls.any() and sum(count >= 2 for count in steps) >= 2)
