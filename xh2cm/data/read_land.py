"""Read what describes the land: mask, area, static features and places."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xh2cm.data.align import align
from xh2cm.data.reading import PLACES, Input, _axes, _bare, _names, _read_fitting, place_name, undecoded_finding
from xh2cm.errors import Finding, InputError, closest
from xh2cm.targets import Target
from xh2cm.variables import FORCING, STATIC, TARGETS

EARTH_RADIUS = 6_371_007.2  # m, of the sphere with the earth's surface

FEATURE_AXES = ("feature", "features", "variable", "predictor", "band")


def read_mask(source: Input, mask: object, findings: list[Finding]) -> xr.DataArray | None:
    """Read the land mask the user gives.

    Parameters
    ----------
    source : Input
    mask : str or DataArray, optional
        By default a variable known as a mask.
    findings : list of Finding
        Added to.

    Returns
    -------
    DataArray of bool or None
        True where the mask is, or is at least a half; None where there is none.
    """
    ds = source.dataset
    if isinstance(mask, xr.DataArray):
        name, array = "mask", mask
    elif mask is not None and not isinstance(mask, str):
        findings.append(Finding("mask", f"is a {type(mask).__name__}", "give a DataArray, or the name of a variable"))
        return None
    else:
        known = [match.source for match in source.matches.get("mask", [])]
        name = mask or (str(known[0]) if known else "")
        if not name:
            return None
        if name not in ds:
            findings.append(Finding(f"mask={name!r}", "is not in the dataset", closest(name, _names(ds))))
            return None
        array = ds[name]
    if set(array.dims) != set(source.land):
        problem = f"has the axes {_axes(array.dims)}, and the land {_axes(source.land)}"
        other = [dim for dim in array.dims if dim not in source.land]
        remedy = f"take one: .isel({other[0]}=0, drop=True)" if other else "give a mask on all of these axes"
        findings.append(Finding(name, problem, remedy))
        return None
    try:
        bare = _bare(align(array, ds, name, on=source.land))
    except InputError as error:
        findings += error.findings
        return None
    return bare if bare.dtype == bool else bare >= 0.5


def read_area(source: Input, findings: list[Finding]) -> xr.DataArray | None:
    """Read the area of the cells, where it is given.

    Parameters
    ----------
    source : Input
    findings : list of Finding
        Added to.

    Returns
    -------
    DataArray or None
        m2, on all land axes.
    """
    try:
        area = _read_fitting(source, "area", source.land)
    except InputError as error:
        findings += error.findings
        return None
    if area is None:
        return None
    whole = xr.DataArray(np.zeros(source.shape), dims=source.land)
    return (area.astype("float64") + whole).transpose(*source.land)


def grid_area(source: Input) -> xr.DataArray | None:
    """Compute the area of the cells of a regular grid of latitude and longitude.

    Parameters
    ----------
    source : Input

    Returns
    -------
    DataArray or None
        m2, on the land axes; None on any other land, and on a grid of one row or column.
    """
    latitude, longitude = (source.dataset.get(place_name(source, key)) for key in PLACES)
    if latitude is None or longitude is None or {*latitude.dims, *longitude.dims} != set(source.land):
        return None
    if not (latitude.ndim == longitude.ndim == 1 and len(source.land) == 2 and min(latitude.size, longitude.size) > 1):
        return None
    if not all(np.all(np.isfinite(axis)) for axis in (latitude, longitude)) or np.any(np.abs(latitude) > 90):
        return None
    height, width = (np.deg2rad(np.median(np.abs(np.diff(axis.values)))) for axis in (latitude, longitude))
    if not height * width > 0:
        return None
    south_to_north = 2 * np.sin(height / 2) * np.cos(np.deg2rad(latitude.values.astype("float64")))
    rows = xr.DataArray(EARTH_RADIUS**2 * width * south_to_north, dims=latitude.dims)
    return (rows * xr.DataArray(np.ones(longitude.size), dims=longitude.dims)).transpose(*source.land)


def read_features(
    source: Input, static: Any, wanted: Mapping[str, Target], findings: list[Finding], notes: list[str]
) -> dict[str, xr.DataArray]:
    """Read the static features: those named, or all numbers that stand on the land axes and have no role.

    Parameters
    ----------
    source : Input
    static : sequence of str, optional
    wanted : mapping of str to Target
        Their variables are no features.
    findings : list of Finding
        Added to.
    notes : list of str
        Added to.

    Returns
    -------
    dict of str to DataArray
    """
    ds = source.dataset
    if static is None:
        roles = {match.source for key in (*FORCING, *STATIC, *TARGETS) for match in source.matches.get(key, [])}
        roles |= {name for key, row in wanted.items() for name in (key, row.quality, row.cells)}
        free = [name for name in _names(ds) if name not in roles and _is_feature(source, ds[name])]
        names = [name for name in free if ds[name].dtype.kind in "fiu"]
        if len(names) < len(free):
            words = ", ".join(name for name in free if name not in names)
            notes.append(f"not static features, for they hold no numbers: {words}")
    else:
        names = [static] if isinstance(static, str) or not isinstance(static, Iterable) else list(static)
    read: dict[str, xr.DataArray] = {}
    for name in names:
        if not isinstance(name, str) or name not in ds:
            there = [other for other in _names(ds) if _is_feature(source, ds[other])]
            findings.append(Finding(f"static: {name!r}", "is not in the dataset", closest(name, there)))
            continue
        array = ds[name]
        if undecoded := undecoded_finding(array):
            findings.append(undecoded)
            continue
        others = [dim for dim in array.dims if dim not in source.land]
        on_land = array.ndim - len(others) == len(source.land)
        if array.dtype.kind in "fiub" and on_land and "time" not in others and len(others) <= 1:
            layers = {feature: _bare(layer).astype("float32") for feature, layer in _layers(array, others)}
            for key in ("mean", "std"):  # what a published layout standardises its features by
                stored = np.atleast_1d(array.attrs.get(key, []))
                if len(stored) == len(layers) and stored.dtype.kind in "fiu":
                    for layer, number in zip(layers.values(), stored, strict=True):
                        layer.attrs[key] = float(number)
            read |= layers
        else:
            problem = f"holds {array.dtype} on {_axes(array.dims)}, no number for each cell of {_axes(source.land)}"
            remedy = f"make it numbers on the land axes, or leave it out: static=[...] without {name!r}"
            findings.append(Finding(name, problem, remedy))
    return read


def _is_feature(source: Input, array: xr.DataArray) -> bool:
    """Return whether a variable describes cells, unlike weights of gauges and grid mappings."""
    others = [str(dim).lower() for dim in array.dims if dim not in source.land]
    on_land = array.ndim - len(others) == len(source.land) and "grid_mapping_name" not in array.attrs
    return on_land and (not others or (len(others) == 1 and others[0] in FEATURE_AXES))


def _layers(array: xr.DataArray, others: Sequence[Hashable]) -> Iterator[tuple[str, xr.DataArray]]:
    """Split a variable that holds several features along an axis of its own."""
    if not others:
        yield str(array.name), array
        return
    axis = others[0]
    values = array[axis].values if axis in array.coords else np.arange(array.sizes[axis])
    for number, value in enumerate(values):
        yield value if isinstance(value, str) else f"{array.name}_{value}", array.isel({axis: number}, drop=True)


def place(land: xr.DataArray, number: int) -> str:
    """Describe the place of a cell.

    Parameters
    ----------
    land : DataArray
        On the land dimensions.
    number : int
        Of the cell among all, with the land dimensions flattened.

    Returns
    -------
    str

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xh2cm.data.read_land import place
    >>> place(xr.DataArray(np.ones((2, 3)), coords={"lat": [10.0, 20.0]}, dims=("lat", "x")), 4)
    'lat 20.0, x 1'
    """
    at = dict(zip(land.dims, np.unravel_index(number, land.shape) if land.dims else (), strict=True))
    named = (f"{dim} {land[dim].values[i] if dim in land.coords else i}" for dim, i in at.items())
    return ", ".join(named) or "the cell"
