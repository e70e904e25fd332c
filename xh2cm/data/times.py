"""Time axes: which one the forcing is on, and whether it is daily, sorted and whole."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from datetime import timedelta

import cftime
import numpy as np
import pandas as pd
import xarray as xr

from xh2cm.errors import Finding

__all__ = [
    "calendars",
    "daily_findings",
    "datetime_dimensions",
    "day_numbers",
    "label",
    "month_numbers",
    "record_findings",
]


def datetime_dimensions(dataset: xr.Dataset) -> dict[Hashable, Hashable]:
    """Find the dimensions that are time axes.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    dict of dimension to coordinate
        Of several time coordinates along a dimension the one named like it counts.
    """
    found: dict[Hashable, Hashable] = {}
    for name, variable in dataset.variables.items():
        if variable.ndim == 1 and _is_time(variable) and found.get(variable.dims[0]) != variable.dims[0]:
            found[variable.dims[0]] = name
    return found


def _is_time(variable: xr.Variable) -> bool:
    if variable.dtype.kind == "M":
        return True
    return variable.dtype == object and len(calendars(variable)) == 1


def calendars(variable: xr.Variable) -> set[str]:
    """Name the calendars of the cftime dates that a variable of objects holds; empty if it holds anything else.

    Parameters
    ----------
    variable : Variable

    Returns
    -------
    set of str
        One for a time axis.
    """
    dates = variable.values[~pd.isnull(variable.values)]
    return {date.calendar for date in dates} if all(isinstance(date, cftime.datetime) for date in dates) else set()


def day_numbers(time: xr.DataArray) -> np.ndarray:
    """Count the days of a time axis.

    Parameters
    ----------
    time : DataArray of datetime64 or cftime, one dimension

    Returns
    -------
    ndarray of int
        Days since some day, by the calendar of the axis.
    """
    if time.dtype.kind == "M":
        return time.values.astype("datetime64[D]").astype(np.int64)
    return np.array([moment.toordinal() for moment in time.values], dtype=np.int64)


def month_numbers(time: xr.DataArray) -> np.ndarray:
    """Count the months of a time axis, the same number for the same month in every calendar.

    Parameters
    ----------
    time : DataArray of datetime64 or cftime

    Returns
    -------
    ndarray of int
        ``12 year + month - 1``
    """
    if time.dtype.kind == "M":
        return time.values.astype("datetime64[M]").astype(np.int64) + 12 * 1970
    return np.asarray(12 * time.dt.year + time.dt.month - 1)


def label(time: xr.DataArray) -> str:
    """Write a moment as its day, and its hour where it has one.

    Parameters
    ----------
    time : DataArray without dimensions

    Returns
    -------
    str
    """
    text = str(time.dt.strftime("%Y-%m-%d %H:%M").values)
    return text.removesuffix(" 00:00").removesuffix(" 12:00")


def daily_findings(time: xr.DataArray, name: str, ending: bool = False) -> Iterator[Finding]:
    """Say why a time axis is not daily, sorted and whole.

    Parameters
    ----------
    time : DataArray
        The axis.
    name : str
        What the user calls it.
    ending : bool
        Whether steps of less than a day are stamped at their end.

    Yields
    ------
    Finding
    """
    if bool(time.isnull().any()):
        yield Finding(name, f"{int(time.isnull().sum())} time steps are no time (NaT)", f'ds = ds.dropna("{name}")')
        return
    if time.size < 2:
        yield Finding(name, f"has {time.size} time step, too few to be a daily record", "give a longer record")
        return
    days = day_numbers(time)
    if np.any(np.diff(days) < 0):
        at = int(np.argmax(np.diff(days) < 0))
        problem = f"is not sorted: {label(time[at])} comes before {label(time[at + 1])}"
        yield Finding(name, problem, f'ds = ds.sortby("{name}")')
        time = time[np.argsort(time.values, kind="stable")]
        days = day_numbers(time)
    steps = np.diff(days)
    same = time.values[1:] == time.values[:-1]
    if same.any():
        at = int(np.argmax(same))
        problem = f"{int(same.sum())} time steps stand twice, the first {label(time[at])}"
        yield Finding(name, problem, f'ds = ds.drop_duplicates("{name}")')
    if np.any((steps == 0) & ~same):
        at = int(np.argmax((steps == 0) & ~same))
        problem = f"has steps of less than a day: {_moment(time[at])} and {_moment(time[at + 1])}"
        ends = ', closed="right", label="left"' * ending
        remedy = f'take means of the days: ds = ds.resample({name}="1D"{ends}).mean(keep_attrs=True)'
        yield Finding(name, problem, remedy)
    elif np.median(steps) > 1:
        kind = "monthly" if 28 <= np.median(steps) <= 31 else f"{np.median(steps):g}-daily"
        problem = f"is {kind}, not daily: {label(time[0])}, {label(time[1])}, ..."
        yield Finding(name, problem, "give daily forcing: the model steps by days, and months hide rain and frost")
    elif np.any(steps > 1):
        yield _gaps(time, days, name)


def _moment(time: xr.DataArray) -> str:
    return str(time.dt.strftime("%Y-%m-%d %H:%M").values)


def _gaps(time: xr.DataArray, days: np.ndarray, name: str) -> Finding:
    """Name the first gaps, and the longest stretch without one."""
    before = np.flatnonzero(np.diff(days) > 1)
    shown = ", ".join(f"between {label(time[i])} and {label(time[i + 1])}" for i in before[:3])
    more = ", ..." if before.size > 3 else ""
    problem = f"{int((np.diff(days)[before] - 1).sum())} days are missing: {shown}{more}"
    leap_days = np.asarray((time.dt.month == 2) & (time.dt.day == 28))[before] & (np.diff(days)[before] == 2)
    if time.dtype.kind == "M" and leap_days.all():
        return Finding(name, f"{problem}: leap days", f'ds = ds.convert_calendar("noleap", dim="{name}")')
    starts, ends = np.concatenate([[0], before + 1]), np.concatenate([before, [time.size - 1]])
    longest = int(np.argmax(ends - starts))
    first, last = label(time[starts[longest]]), label(time[ends[longest]])
    whole = f'ds = ds.sel({name}=slice("{first}", "{last}"))'
    return Finding(name, problem, f"fill them, or keep the longest stretch without a gap: {whole}")


def record_findings(time: xr.DataArray, name: str) -> Iterator[Finding]:
    """Say why the time axis of a target is neither daily nor monthly; it may have gaps.

    Parameters
    ----------
    time : DataArray
    name : str
        The target.

    Yields
    ------
    Finding
    """
    axis = str(time.dims[0])
    if bool(time.isnull().any()):
        yield Finding(name, f"its axis {axis} holds no time (NaT)", f'ds = ds.dropna("{axis}")')
        return
    steps = np.diff(day_numbers(time))
    if np.any(steps < 0):
        yield Finding(name, f"its axis {axis} is not sorted", f'ds = ds.sortby("{axis}")')
    elif np.any(steps == 0):
        at = int(np.argmax(steps == 0))
        yield Finding(name, f"its axis {axis} holds {label(time[at])} twice", f'ds = ds.drop_duplicates("{axis}")')
    elif time.size > 1 and steps.min() > 1 and np.any(np.diff(month_numbers(time)) == 0):
        problem = f"its axis {axis} is neither daily nor monthly: {label(time[0])}, {label(time[1])}, ..."
        yield Finding(name, problem, _one_a_month(time, name))


def _one_a_month(time: xr.DataArray, name: str) -> str:
    """Write as code how the steps of an axis become months: by a shift of some days if that is all it takes."""
    axis = str(time.dims[0])
    for days in (days for size in range(1, 16) for days in (-size, size)):
        shift = np.timedelta64(days, "D") if time.dtype.kind == "M" else timedelta(days=days)
        if np.all(np.diff(month_numbers(time.copy(data=time.values + shift))) > 0):
            moved = f'ds["{axis}"] {"-" if days < 0 else "+"} np.timedelta64({abs(days)}, "D")'
            return f"count stamps at the turn of a month to the other: ds = ds.assign_coords({axis}={moved})"
    new = "month" if axis != "month" else "calendar_month"
    mean = f'ds["{name}"].resample({axis}="MS").mean(keep_attrs=True).rename({axis}="{new}")'
    return f'average it to months: ds = ds.drop_vars("{name}").merge({mean})'


def time_dimension(array: xr.DataArray) -> Hashable | None:
    """The dimension of a variable that is time, by its coordinate."""
    for dim in array.dims:
        if dim in array.coords and (
            array[dim].dtype.kind == "M" or xr.core.common._contains_cftime_datetimes(array[dim].variable)
        ):
            return dim
    return None
