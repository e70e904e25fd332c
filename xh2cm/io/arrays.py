"""Labelled arrays as plain tensors and JSON: what a fit keeps of them, and no more than that when they are read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import cftime
import numpy as np
import safetensors.numpy
import xarray as xr

__all__ = ["packed", "unpacked"]

LIMITS = {"variables": 4096, "dimensions": 8, "attributes": 256, "characters": 2**16}
"""Largest numbers of variables in a file, of dimensions and attributes of each, and of characters of an attribute."""

FIELDS = {"dims", "shape", "kind", "attrs", "coordinate"}
"""Entries of the description of a variable."""

ABOUT = "about"
"""Key of the description among the metadata of a file."""


def packed(dataset: xr.Dataset) -> bytes:
    """Write a dataset as one safetensors file.

    Parameters
    ----------
    dataset : Dataset
        Numbers, truth values, text and dates; anything else becomes text.

    Returns
    -------
    bytes
        Arrays as tensors, text and dates as JSON in bytes; dimensions, types and attributes as JSON in the metadata.

    Examples
    --------
    >>> import xarray as xr
    >>> from xh2cm.io.arrays import packed, unpacked
    >>> ds = xr.Dataset({"loss": ("fold", [0.5, 0.25])}, coords={"fold": ["a", "b"]})
    >>> unpacked(packed(ds)).identical(ds)
    True
    """
    tensors, about = {}, {}
    for name, variable in dataset.variables.items():
        tensors[str(name)], kind = encoded(variable.values)
        attrs = {str(key): plain(value) for key, value in variable.attrs.items()}
        about[str(name)] = {
            "dims": [*map(str, variable.dims)],
            "shape": [*variable.shape],
            "kind": kind,
            "attrs": attrs,
            "coordinate": name in dataset.coords,
        }
    whole = {"variables": about, "attrs": {str(key): plain(value) for key, value in dataset.attrs.items()}}
    return safetensors.numpy.save(tensors, {ABOUT: json.dumps(whole)})


def encoded(values: np.ndarray) -> tuple[np.ndarray, str]:
    """Return an array as numbers, and the kind of what they stand for."""
    if values.dtype.kind in "biuf" and values.dtype.itemsize <= 8:
        return np.array(values, dtype=values.dtype.newbyteorder("="), order="C"), "number"
    if values.dtype.kind in "mM":
        return np.array(values, order="C").view(np.int64), str(values.dtype)
    several = values.reshape(-1).tolist()
    kind = "text"
    if several and all(isinstance(one, cftime.datetime) for one in several):
        kind = f"cftime {several[0].calendar}"
        several = [one.isoformat() for one in several]
    text = json.dumps([str(one) for one in several]).encode()
    return np.frombuffer(text, np.uint8).copy(), kind


def plain(value: Any) -> Any:
    """Return an attribute as JSON can hold it; arrays keep their type."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {"array": value.tolist(), "dtype": value.dtype.name}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool) else str(value)


def unpacked(content: bytes) -> xr.Dataset:
    """Read what `packed` has written.

    Parameters
    ----------
    content : bytes

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        If it is anything else; counts and sizes are compared with the size of the file before anything is made of them.
    """
    about, tensors = described(content), safetensors.numpy.load(content)
    variables = about["variables"]
    require({*variables} == {*tensors}, "its tensors are not those that it describes")
    found = {name: variable(one, tensors[name]) for name, one in variables.items()}
    coordinates = {name: v for name, v in found.items() if variables[name]["coordinate"] is True}
    data = {name: v for name, v in found.items() if name not in coordinates}
    return xr.Dataset(data, coordinates, attributes(about["attrs"]))


def described(content: bytes) -> Mapping[str, Any]:
    """Return the description of a file, if it is one and counts no more than it may."""
    size = int.from_bytes(content[:8], "little")
    require(2 <= size <= len(content) - 8, "its header is longer than the file")
    about: dict[str, Any] = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][ABOUT])
    require(isinstance(about, dict) and {*about} == {"variables", "attrs"}, "it does not describe a dataset")
    variables = about["variables"]
    require(isinstance(variables, dict) and len(variables) <= LIMITS["variables"], "it names too many variables")
    for one in variables.values():
        require(
            isinstance(one, dict) and {*one} == {"dims", "shape", "kind", "attrs", "coordinate"}, "a variable is odd"
        )
        dims, shape = one["dims"], one["shape"]
        fits = isinstance(dims, list) and isinstance(shape, list) and len(dims) == len(shape) <= LIMITS["dimensions"]
        require(fits and all(isinstance(d, str) for d in dims), "a variable has odd dimensions")
        require(all(type(n) is int and n >= 0 for n in shape), "a variable has an odd shape")
        require(math.prod(shape) <= len(content), "a variable is larger than the file")
    return about


def variable(about: Mapping[str, Any], values: np.ndarray) -> xr.Variable:
    """Return a variable from its numbers and its description."""
    kind, shape = about["kind"], tuple(about["shape"])
    if kind != "number":
        if str(kind).startswith(("datetime64[", "timedelta64[")):
            require(values.dtype == np.int64, "dates are not whole numbers")
            values = values.view(kind)
        else:
            texts = json.loads(values.astype(np.uint8, casting="no").tobytes())
            require(isinstance(texts, list) and len(texts) == math.prod(shape), "a text has an odd length")
            require(all(isinstance(one, str) for one in texts), "a text is something else")
            name, _, calendar = str(kind).partition(" ")
            require(name == "text" or (name == "cftime" and bool(calendar)), f"its kind {kind!r:.60} is unknown")
            values = np.array(texts, dtype=None if texts else "U1")
            if name == "cftime":
                dates = [cftime.datetime.strptime(one, DATE, calendar=calendar) for one in texts]
                values = np.array(dates, dtype=object)
            values = values.reshape(shape)
    require(values.shape == shape, "a variable has another shape than it says")
    return xr.Variable(about["dims"], values, attributes(about["attrs"]))


DATE = "%Y-%m-%dT%H:%M:%S"
"""A date of a calendar, as ISO 8601 has it."""


def attributes(told: Any) -> dict[str, Any]:
    """Return attributes as they were written."""
    require(isinstance(told, dict) and len(told) <= LIMITS["attributes"], "it has too many attributes")
    found = {}
    for name, value in told.items():
        require(len(str(value)) <= LIMITS["characters"], "an attribute is too long")
        is_array = isinstance(value, dict) and {*value} == {"array", "dtype"}
        require(is_array or not isinstance(value, dict), "an attribute is something else")
        found[name] = np.array(value["array"], dtype=NUMBERS[value["dtype"]]) if is_array else value
    return found


NUMBERS = {name: np.dtype(name) for name in ("bool", "float16", "float32", "float64")} | {
    f"{sign}int{bits}": np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)
}
"""Types of numbers in attributes."""


def require(holds: bool, problem: str) -> None:
    """Raise a ValueError unless something holds."""
    if not holds:
        raise ValueError(problem)
