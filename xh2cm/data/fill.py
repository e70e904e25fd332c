"""Fill short gaps of the forcing by named rules, where this is asked for; count and mark each filled day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xh2cm.errors import Finding

__all__ = ["RULES", "Fill", "asked_fills", "filled"]

RULES: Mapping[str, int | None] = {"linear": 5, "zero": 5, "climatology": 31, "neighbour": None}
"""Rules by name, and the longest gap in days that each fills if no other length is given; None for any."""

DAYS_OF_SEASON = 15
"""Days before and after a day of the year whose mean is its climatology."""

EARTH = 6371.0
"""Radius of the earth, km."""


class Fill(NamedTuple):
    """Rule that fills the gaps of a variable.

    Parameters
    ----------
    rule : str
        One of `RULES`, or the name of a variable of the dataset that stands in.
    days : int, optional
        Longest gap that is filled; any if not given.
    """

    rule: str
    days: int | None = None

    def __str__(self) -> str:
        length = "gaps of any length" if self.days is None else f"gaps of up to {self.days} days"
        return f"{self.rule if self.rule in RULES else f'from {self.rule}'}, {length}"


def asked_fills(fill: Any, forcing: Sequence[str], present: Sequence[str], findings: list[Finding]) -> dict[str, Fill]:
    """Read the argument ``fill``.

    Parameters
    ----------
    fill : mapping of str to str or (str, int), or None
        Rule by forcing variable, with the longest gap in days if not that of the rule.
    forcing, present : sequence of str
        Forcing variables, and all variables of the dataset.
    findings : list of Finding
        Added to.

    Returns
    -------
    dict of str to Fill
    """
    found: dict[str, Fill] = {}
    example = 'give a mapping such as fill={"air_temperature": "linear", "precipitation": ("zero", 2)}'
    if fill is not None and not isinstance(fill, Mapping):
        findings.append(Finding("fill", f"is a {type(fill).__name__}", example))
        return found
    for key, given in (fill or {}).items():
        pair = given if isinstance(given, tuple) else (given,)
        if key not in forcing:
            findings.append(Finding(f"fill[{key!r}]", "names no forcing variable", f"fill one of {', '.join(forcing)}"))
        elif len(pair) > 2 or not isinstance(pair[0], str):
            findings.append(Finding(f"fill[{key!r}]", f"is {given!r:.60}", example))
        elif pair[0] not in RULES and pair[0] not in present:
            remedy = f"give one of {', '.join(RULES)}, or the name of a variable"
            findings.append(Finding(f"fill[{key!r}]", f"{pair[0]!r} is neither a rule nor a variable", remedy))
        elif len(pair) == 2 and not (isinstance(pair[1], int) and not isinstance(pair[1], bool) and pair[1] > 0):
            findings.append(Finding(f"fill[{key!r}]", f"{pair[1]!r} is not a number of days", example))
        else:
            found[key] = Fill(pair[0], pair[1] if len(pair) == 2 else RULES.get(pair[0]))
    return found


def filled(
    array: xr.DataArray,
    fill: Fill,
    time: xr.DataArray,
    other: xr.DataArray | None = None,
    places: tuple[np.ndarray, np.ndarray] | None = None,
) -> xr.DataArray:
    """Fill the gaps of a forcing variable.

    Parameters
    ----------
    array : DataArray
        On ``time``, and on land axes.
    fill : Fill
    time : DataArray
        Days.
    other : DataArray, optional
        The variable that stands in, in the same units.
    places : (ndarray, ndarray), optional
        Latitudes and longitudes along the only land axis, degrees: for ``"neighbour"``.

    Returns
    -------
    DataArray
        Lazy if the array is; what was there is as it was.

    Notes
    -----
    ``"linear"`` interpolates between the days before and after a gap, ``"zero"`` takes 0, ``"climatology"`` the mean of
    the same place over all years in the `DAYS_OF_SEASON` days around the day of the year, and ``"neighbour"`` the value
    of the nearest place on the same day.

    Examples
    --------
    >>> import numpy as np, pandas as pd, xarray as xr
    >>> from xh2cm.data.fill import Fill, filled
    >>> time = xr.DataArray(pd.date_range("2001-01-01", periods=6), dims="time")
    >>> array = xr.DataArray([1.0, np.nan, 3.0, np.nan, np.nan, 6.0], dims="time")
    >>> filled(array, Fill("linear", 1), time).values
    array([ 1.,  2.,  3., nan, nan,  6.])
    """
    whole = array.chunk(time=-1) if array.chunks else array
    if fill.rule == "linear":
        number = whole.assign_coords(time=np.arange(whole.sizes["time"]))
        candidate = number.interpolate_na("time").drop_vars("time")
    elif fill.rule == "zero":
        candidate = xr.zeros_like(whole)
    elif fill.rule == "climatology":
        candidate = climatology(whole, time)
    elif fill.rule == "neighbour":
        candidate = whole if places is None else of_neighbour(whole, *places)
    else:
        candidate = whole if other is None else other.broadcast_like(whole).transpose(*whole.dims)
    short = whole.isnull() if fill.days is None else gap_length(whole) <= fill.days
    found = whole.where(~(short & whole.isnull()), candidate.astype(whole.dtype))
    found = found.chunk(dict(array.chunksizes)) if array.chunks else found
    return found.assign_attrs(array.attrs)


def gap_length(array: xr.DataArray) -> xr.DataArray:
    """Return the length in days of the gap that each missing value belongs to, 0 where there is a value."""

    def length(values: np.ndarray) -> np.ndarray:
        missing = np.isnan(values)
        edges = np.diff(missing.astype(np.int8), axis=-1, prepend=0, append=0)
        begins, ends = np.nonzero(edges == 1), np.nonzero(edges == -1)
        found = np.zeros(values.shape, dtype=np.int64)
        flat, days = found.reshape(-1), ends[-1] - begins[-1]
        start = np.ravel_multi_index(begins, values.shape) if len(days) else begins[-1]
        at = np.repeat(start, days) + np.arange(days.sum()) - np.repeat(np.cumsum(days) - days, days)
        flat[at] = np.repeat(days, days)
        return found

    found: xr.DataArray = xr.apply_ufunc(
        length,
        array,
        input_core_dims=[["time"]],
        output_core_dims=[["time"]],
        dask="parallelized",
        output_dtypes=[np.int64],
    )
    return found.transpose(*array.dims)


def climatology(array: xr.DataArray, time: xr.DataArray) -> xr.DataArray:
    """Return the mean over all years of the days around each day of the year; NaN where there is none."""
    day = time.dt.dayofyear.values - 1

    def mean(values: np.ndarray) -> np.ndarray:
        year = np.zeros((*values.shape[:-1], 2, 366))
        there = np.isfinite(values)
        for row, x in enumerate((np.where(there, values, 0.0), there.astype(float))):
            np.add.at(np.moveaxis(year[..., row, :], -1, 0), day, np.moveaxis(x, -1, 0))
        around = [np.roll(year, shift, -1) for shift in range(-DAYS_OF_SEASON, DAYS_OF_SEASON + 1)]
        total, count = np.moveaxis(np.sum(around, 0), -2, 0)
        found: np.ndarray = np.where(count > 0, total / np.maximum(count, 1), np.nan)[..., day]
        return found

    found: xr.DataArray = xr.apply_ufunc(
        mean, array, input_core_dims=[["time"]], output_core_dims=[["time"]], dask="parallelized", output_dtypes=[float]
    )
    return found.transpose(*array.dims)


def of_neighbour(array: xr.DataArray, latitude: np.ndarray, longitude: np.ndarray) -> xr.DataArray:
    """Return the values of the nearest other place."""
    (land,) = (dim for dim in array.dims if dim != "time")
    lat, lon = np.radians(latitude), np.radians(longitude)
    across = np.sin(np.subtract.outer(lat, lat) / 2) ** 2
    across += np.outer(np.cos(lat), np.cos(lat)) * np.sin(np.subtract.outer(lon, lon) / 2) ** 2
    distance = 2 * EARTH * np.arcsin(np.sqrt(across))
    np.fill_diagonal(distance, np.inf)
    return array.isel({land: distance.argmin(1)})
