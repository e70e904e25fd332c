"""Coordinates and layout of files according to the CF conventions.

References
----------
CF Metadata Conventions, version 1.11, https://cfconventions.org
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from datetime import timedelta
from typing import Any

import cftime
import numpy as np
import xarray as xr

from xh2cm.data.times import day_numbers
from xh2cm.variables import STATIC

__all__ = ["CONVENTIONS", "encoded", "horizontal", "time_attrs", "with_axes"]

CONVENTIONS = "CF-1.11 CF-1.8"
"""What files adhere to; older readers look for the older name."""

BOUNDS = "bnds"
"""Dimension of lower and upper bound."""


def with_axes(dataset: xr.Dataset, land: Sequence[Hashable]) -> xr.Dataset:
    """Add bounds of the days, and say of each coordinate which axis it is.

    Parameters
    ----------
    dataset : Dataset
        Daily, with a coordinate ``time``.
    land : sequence of str
        Dimensions of the land.

    Returns
    -------
    Dataset
        With a coordinate ``time_bnds``; on towers and catchments, whose land is one dimension with latitude and
        longitude along it, with a ``featureType``.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xh2cm.data.cf import with_axes
    >>> days = np.array(["2001-01-01T12", "2001-01-02T12"], dtype="datetime64[ns]")
    >>> daily = with_axes(xr.Dataset(coords={"time": days}), ())
    >>> daily["time_bnds"].dt.strftime("%d %H:%M").values.tolist()
    [['01 00:00', '02 00:00'], ['02 00:00', '03 00:00']]
    """
    found = with_days(dataset)
    attrs: dict[Hashable, dict[str, Any]] = {
        "time": time_attrs(dataset["time"]),
        "fold": {"standard_name": "realization", "long_name": "fold of the training", "units": "1"},
    }
    latitude, longitude = horizontal(found)
    if latitude is not None and longitude is not None:
        if latitude.ndim == longitude.ndim == 1 and {*latitude.dims, *longitude.dims} == set(land):
            if len(land) == 2:
                attrs |= {latitude.name: {"axis": "Y"}, longitude.name: {"axis": "X"}}
            else:
                attrs[land[0]] = {"cf_role": "timeseries_id"}
                found.attrs["featureType"] = "timeSeries"
        elif latitude.ndim == 2:
            attrs |= dict(zip(latitude.dims, ({"axis": "Y"}, {"axis": "X"}), strict=True))
    for name, coordinate in found.coords.items():
        nameless = name != "time_bnds" and "standard_name" not in coordinate.attrs
        named = {"long_name": str(name).replace("_", " ")} if nameless else {}
        coordinate.attrs = named | coordinate.attrs | attrs.get(name, {})
    return encoded(found)


def with_days(dataset: xr.Dataset) -> xr.Dataset:
    """Add the bounds of the days."""
    days = dataset["time"].to_index().floor("D")
    return dataset.assign_coords(time_bnds=(("time", BOUNDS), np.stack([days, days + timedelta(days=1)], -1)))


def time_attrs(time: xr.DataArray) -> dict[str, str]:
    """Attributes of a time axis that has the bounds ``time_bnds``.

    Parameters
    ----------
    time : DataArray

    Returns
    -------
    dict of str to str
    """
    leaps = time.dt.calendar in ("standard", "proleptic_gregorian", "julian")
    named = {"standard_name": "time", "long_name": "time", "axis": "T", "bounds": "time_bnds"}
    return named | ({"units_metadata": "leap_seconds: none"} if leaps else {})


def horizontal(dataset: xr.Dataset) -> tuple[xr.DataArray | None, xr.DataArray | None]:
    """Find the coordinates that are latitude and longitude, by their standard names.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    latitude, longitude : DataArray or None
    """

    def called(key: str) -> xr.DataArray | None:
        wanted = STATIC[key].standard_name
        return next((c for c in dataset.coords.values() if c.attrs.get("standard_name") == wanted), None)

    return called("latitude"), called("longitude")


def encoded(dataset: xr.Dataset) -> xr.Dataset:
    """Return the encoding of each variable, the same for NetCDF and Zarr.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    Dataset
        The same numbers. Chunks, filters and fill values of the files it was read from are forgotten. Only data
        have a fill value; moments are float64, in the same units as their bounds; integers along an axis have 32 bits,
        which every CF version knows, where these are enough; limits have the type of what they limit. The bounds of
        days, which ``out[["ET"]]`` loses, are put back.

    Examples
    --------
    >>> import xh2cm
    >>> from xh2cm.data.cf import encoded
    >>> encoded(xh2cm.tutorial.open_dataset("twin"))["lat"].encoding
    {'_FillValue': None}
    """
    fresh = with_days_again(dataset).copy()
    whole = {*fresh.coords, *(variable.attrs.get("bounds") for variable in fresh.variables.values())}
    for name, variable in fresh.variables.items():
        kind = variable.dtype.kind
        variable.encoding = {"_FillValue": None} if name in whole and kind not in "UOT" else {}
        if variable.attrs.get("bounds") not in {None, *fresh.variables}:
            variable.attrs = {key: value for key, value in variable.attrs.items() if key != "bounds"}
        if is_moment(variable):
            variable.encoding = {"dtype": "float64", "_FillValue": None}
        elif kind == "f" and name not in whole:
            variable.encoding = {"_FillValue": variable.dtype.type(np.nan), "zlib": True, "complevel": 4}
            limits = variable.attrs.keys() & {"valid_min", "valid_max", "valid_range"}
            variable.attrs = variable.attrs | {key: variable.dtype.type(variable.attrs[key]) for key in limits}
        elif kind in "iu" and name in whole and fits_int32(variable.values):
            variable.encoding["dtype"] = "int32"
    for moments in (v for v in fresh.variables.values() if is_moment(v) and "bounds" in v.attrs and v.size):
        bounds = fresh[moments.attrs["bounds"]].variable
        for variable in (moments, bounds):
            variable.encoding["units"] = f"days since {origin(moments, bounds)}"
    return fresh


def fits_int32(values: np.ndarray) -> bool:
    """Return whether integers fit 32 bits; those of a nullable type with gaps are floats here, and stay so."""
    return values.dtype.kind in "iu" and not (abs(values.astype(np.int64)) >> 31).any()


def with_days_again(dataset: xr.Dataset) -> xr.Dataset:
    """Add the bounds of days, where they are spoken of and not there."""
    time = dataset.get("time")
    if time is None or time.attrs.get("bounds") != "time_bnds" or "time_bnds" in dataset.variables:
        return dataset
    daily = time.dims == ("time",) and time.size > 1 and (np.diff(day_numbers(time)) == 1).all()
    return with_days(dataset) if daily else dataset


def origin(moments: xr.Variable, bounds: xr.Variable) -> str:
    """Reference date of the time axis: a midnight, unless float64 could not represent the times exactly."""
    first, opening = (xr.DataArray(variable.values.flat[0]).dt for variable in (moments, bounds))
    exact = first.hour % 3 == first.minute == first.second == first.microsecond == 0  # whole binary parts of a day
    since = opening.floor("D").dt if exact else first
    return str(since.strftime("%Y-%m-%d %H:%M:%S").item())


def is_moment(variable: xr.Variable) -> bool:
    """Return whether a variable holds dates."""
    if variable.dtype != object:
        return bool(variable.dtype.kind == "M")
    return bool(variable.size) and isinstance(variable.values.flat[0], cftime.datetime)
