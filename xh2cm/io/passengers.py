"""Bring coordinates and attributes that only travel along into a form that files hold."""

from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xh2cm.data.cf import encoded, is_moment
from xh2cm.errors import StoreError

__all__ = ["fit_for_files", "plain"]

MARKS = ("_FillValue", "missing_value")
"""Attributes that say which values are missing."""

DECODED = ("calendar", "dtype", "units", *MARKS)
"""Attributes of dates in a file that the dates themselves replace."""


def fit_for_files(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset as NetCDF and Zarr hold it, encoded as CF asks; see `plain`."""
    ready = encoded(plain(dataset))
    for variable in ready.variables.values():
        if variable.attrs.keys() & set(MARKS):  # not decoded: they stay as they are
            variable.encoding = {key: value for key, value in variable.encoding.items() if key not in MARKS}
    return ready


def plain(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset of types that NetCDF and Zarr hold.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    Dataset
        The same numbers and labels. Levels of a stacked index lie along its dimension; categories and text of pandas
        are text; attributes that are dates or mappings are text, true and false are 1 and 0, None is left out.

    Raises
    ------
    StoreError
        Names with a slash, complex numbers and records of several values, which files do not hold; all at once.

    Examples
    --------
    >>> import pandas as pd, xarray as xr
    >>> cells = pd.MultiIndex.from_tuples([("DE", 1), ("FR", 2)], names=["country", "number"])
    >>> coords = xr.Coordinates.from_pandas_multiindex(cells, "site")
    >>> ds = xr.Dataset({"ET": ("site", [1.0, 2.0], {"checked": True, "on": pd.Timestamp("2001-01-01")})}, coords)
    >>> found = plain(ds)
    >>> list(found.coords), found["ET"].attrs
    (['country', 'number'], {'checked': 1, 'on': '2001-01-01T00:00:00'})
    """
    stacked = [dim for dim in dataset.dims if isinstance(dataset.indexes.get(dim), pd.MultiIndex)]
    found = dataset.reset_index(stacked).copy()
    refused = [f"{name!r} holds a slash" for name in (*found.variables, *found.dims) if "/" in str(name)]
    refused += [f"{name!r} holds complex numbers" for name, v in found.variables.items() if v.dtype.kind == "c"]
    refused += [
        f"{name!r} holds records of several values" for name, v in found.variables.items() if v.dtype.kind == "V"
    ]
    if refused:
        raise StoreError(f"a file cannot hold the dataset: {'; '.join(dict.fromkeys(refused))}: rename or drop these")
    renamed = {name: str(name) for name in (*found.variables, *found.dims) if not isinstance(name, str)}
    found = found.rename(renamed)
    for name in list(found.variables):
        values = plain_values(found.variables[name])
        if values is not found.variables[name]:
            found = found.drop_indexes(name) if name in found.xindexes else found
            found = found.assign_coords({name: values}) if name in found.coords else found.assign({name: values})
    for variable in found.variables.values():
        is_date = is_moment(variable) or variable.dtype.kind == "m"
        dropped = DECODED if is_date else ("dtype",) if variable.dtype.kind == "b" else ()
        variable.attrs = plain_attributes({k: v for k, v in variable.attrs.items() if k not in dropped})
    found.attrs = plain_attributes(found.attrs)
    return found


def plain_values(variable: xr.Variable) -> xr.Variable:
    """Return a variable of a type that files hold: numbers, dates or text."""
    dtype: Any = variable.dtype
    if isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize not in (4, 8):
        return variable.astype(np.float32 if dtype.itemsize < 4 else np.float64)
    if isinstance(dtype, np.dtype) and dtype.kind not in "OT":
        return variable
    if variable.chunks is not None and isinstance(dtype, np.dtype):
        return variable
    values = variable.to_index_variable().to_index() if variable.ndim == 1 else np.ravel(variable.values)
    if isinstance(dtype, np.dtype) and dtype.kind == "O" and all(map(is_held, values)):
        return variable
    lost, listed = pd.isna(np.asarray(values, dtype=object)), list(values)
    if not isinstance(dtype, np.dtype) and pd.api.types.is_numeric_dtype(dtype):
        held = np.asarray([np.nan if gap else value for gap, value in zip(lost, listed, strict=True)])
    else:
        held = np.empty(len(listed), dtype=object)
        held[:] = ["" if gap else str(value) for gap, value in zip(lost, listed, strict=True)]
    return xr.Variable(variable.dims, np.reshape(held, variable.shape), variable.attrs)


def is_held(value: Any) -> bool:
    """Return whether a file holds an object as it is: text, bytes, or a date of a calendar."""
    return isinstance(value, str | bytes) or hasattr(value, "calendar")


def plain_attributes(attributes: dict[Any, Any]) -> dict[str, Any]:
    """Return attributes as files hold them: text and numbers, under names that are text."""
    found = {str(name).replace("/", "_"): plain_attribute(value) for name, value in attributes.items()}
    return {name: value for name, value in found.items() if name and value is not None}


def plain_attribute(value: Any) -> Any:
    """Return one attribute as files hold it; None for nothing."""
    if isinstance(value, bool | np.bool_):
        return int(value)
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and value.ndim <= 1 and value.size:
        return value
    if value is None or isinstance(value, str | float | np.floating | np.integer):
        return value
    if isinstance(value, np.datetime64):
        value = pd.Timestamp(value)
    if isinstance(value, datetime.date):  # also a datetime and a Timestamp of pandas
        return value.isoformat()
    if isinstance(value, np.ndarray | list | tuple):
        parts = [plain_attribute(part) for part in np.ravel(np.asarray(value, dtype=object))]
        whole = np.ndim(np.asarray(value, dtype=object)) <= 1
        for kinds in ((int, float, np.integer, np.floating), (str,)):
            if parts and whole and all(isinstance(part, kinds) for part in parts):
                return parts
        return json.dumps(parts, default=str) if parts else None
    return json.dumps(value, default=str) if isinstance(value, dict) else str(value)
