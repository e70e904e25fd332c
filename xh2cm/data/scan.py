"""One look at every value: ranges, gaps and what they mean, each chunk read once."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xh2cm.data.gaps import complete_days, missing_runs
from xh2cm.data.match import KNOWN
from xh2cm.data.reading import Found, Input, called, within_forcing
from xh2cm.errors import Finding
from xh2cm.variables import FORCING, Var

__all__ = [
    "Facts",
    "fingerprint",
    "forcing_days",
    "gaps",
    "outside_land",
    "reasons_to_drop",
    "survey",
    "with_values",
    "without_rounding",
]

ROUNDING = 1e-3  # values this little below a lower bound of 0 are rounding, in canonical units
SUPERSATURATION = 5.0  # hPa a derived deficit may lie below 0: humidity and temperature are measured apart
FEW_CELLS = 100  # up to so many cells it is told from when to when each has its forcing
SHOWN_CELLS = 12

Fact = tuple[str, str, str]
"""Role (forcing, sources, targets, features, cell), variable, and what is asked."""

Facts = Mapping[Fact, np.ndarray]
"""What was counted."""


class Bounds(NamedTuple):
    """Of what can be: below `lower` lies rounding, below `limit` what cannot be."""

    limit: float = -math.inf
    lower: float = -math.inf
    upper: float = math.inf


MASK = "cell", "mask", "values"


def survey(found: Found, source: Input) -> Facts:
    """Count and range every variable in one computation.

    Parameters
    ----------
    found : Found
    source : Input

    Returns
    -------
    Facts
        For every variable ``lowest``, ``highest`` (of finite values within the mask; infinite where there is none),
        the number of values ``below``, ``rounding`` and ``above`` its plausible range, and ``count``, the number of
        finite values along all but the land axes; of lazy forcing also ``sum`` and ``squares`` along these; ``bits``,
        their binary digits added up along these, of what a model reads; of forcing ``gaps``, the runs of missing days;
        ``present``, on time and land, for a few cells.
    """
    asked: dict[Fact, xr.DataArray] = {}
    for key, array in found.forcing.items():
        depth = SUPERSATURATION if _is_derived_deficit(key, array) else ROUNDING
        asked |= _asked("forcing", key, array, source, found.mask, FORCING[key], depth)
        asked["forcing", key, "gaps"] = missing_runs(array, source.land, source.shape, key)
        if array.dims == ("time",):
            asked["forcing", key, "first"] = (~_finite(array)).argmax("time")
    for key, array in found.sources.items():
        asked |= _asked("sources", key, array, source, found.mask, KNOWN[key])
    for key, array in found.targets.items():
        inside = {dim: within_forcing(source, source.dataset[dim]) for dim in source.time_axes(array)}
        asked |= _asked("targets", key, array.isel(inside), source, found.mask, source.known[key])
    for key, array in found.quality.items():
        asked["quality", key, "odd"] = ((array < 0) | (array > 1)).sum()
        asked["quality", key, "absent"] = (array.isnull() & _finite(found.targets[key])).sum()
    for key, mark in found.filled.items():
        asked["filled", key, "count"] = mark.sum()
    if {"temperature_min", "temperature_max"} <= found.sources.keys():
        crossed = found.sources["temperature_max"] < found.sources["temperature_min"]
        asked["sources", "temperature_max", "crossed"] = crossed.sum()
    if found.mask is not None:
        asked[MASK] = found.mask
    if found.area is not None:
        asked["cell", "area", "values"] = found.area
    if math.prod(source.shape) <= FEW_CELLS:
        asked |= {("forcing", key, "present"): _finite(array) for key, array in found.forcing.items()}
    for key, array in found.features.items():  # small and many: less work in memory than as tasks
        asked["features", key, "values"] = array
    answers = xr.Dataset({str(number): array for number, array in enumerate(asked.values())}).compute()
    known = {fact: answers[str(number)] for number, fact in enumerate(asked)}
    for key in found.features:
        known |= _asked("features", key, known.pop(("features", key, "values")), source, known.get(MASK))
    return dict(_apart(known, source))


def _asked(
    role: str,
    key: str,
    array: xr.DataArray,
    source: Input,
    mask: xr.DataArray | None,
    var: Var | None = None,
    depth: float = ROUNDING,
) -> dict[Fact, xr.DataArray]:
    """Collect the facts to count for a variable."""
    within = mask is not None and set(mask.dims) <= set(array.dims)
    bounds = Bounds() if var is None else Bounds(var.lower - depth, var.lower, var.upper)
    other = [dim for dim in array.dims if dim not in source.land]
    asked = {
        (role, key, "range"): (array.where(mask) if within else array).reduce(_range, array.dims, bounds=bounds),
    }
    if role == "forcing" and array.chunks is not None:  # what may be streamed is normalised without another pass
        asked[role, key, "sums"] = array.reduce(_sums, other, least=bounds.lower if bounds.lower == 0 else -math.inf)
    else:
        asked[role, key, "count"] = _finite(array).sum(other)
    if role in ("forcing", "sources", "features") and "derivation" not in array.attrs:
        asked[role, key, "bits"] = _bits(array).sum(other)
    return asked


def _finite(array: xr.DataArray) -> xr.DataArray:
    finite: xr.DataArray = xr.ufuncs.isfinite(array)
    return finite


def _bits(array: xr.DataArray) -> xr.DataArray:
    """Values as integers: these add up to the same in any order, in any chunks and on any machine."""
    return array.copy(data=array.data.view(f"i{array.dtype.itemsize}"))


def _is_derived_deficit(key: str, array: xr.DataArray) -> bool:
    return key == "vpd" and "derivation" in array.attrs


RANGE: Mapping[str, Callable[..., Any]] = {
    "lowest": np.min,
    "highest": np.max,
    "below": np.sum,
    "rounding": np.sum,
    "above": np.sum,
}
"""Facts about all values of a variable, and how those about its chunks become one."""


def _range(values: Any, axis: tuple[int, ...], bounds: Bounds) -> Any:
    """`RANGE` along axes, in one task a chunk."""
    look = partial(_look, bounds=bounds)
    if isinstance(values, np.ndarray):
        return look(values, axis)
    import dask.array  # takes longer to import than all the rest, and only arrays of Dask need it

    nothing = look(np.empty((0,) * values.ndim), axis)
    return dask.array.reduction(values, look, _joined, axis=axis, dtype=nothing.dtype, meta=nothing)


def _look(values: np.ndarray, axis: tuple[int, ...], keepdims: bool = False, *, bounds: Bounds) -> np.ndarray:
    """`RANGE` of finite values."""
    finite = np.isfinite(values)
    marks = {
        "below": values < bounds.limit,
        "rounding": (values >= bounds.limit) & (values < bounds.lower),
        "above": values > bounds.upper,
    }
    counts = {name: (finite & marked).sum(axis, keepdims=keepdims) for name, marked in marks.items()}
    lowest = np.where(finite, values, np.inf).min(axis, keepdims=keepdims, initial=np.inf)
    highest = np.where(finite, values, -np.inf).max(axis, keepdims=keepdims, initial=-np.inf)
    return _record({"lowest": lowest, "highest": highest, **counts})


def _sums(values: Any, axis: tuple[int, ...], least: float) -> Any:
    """Number, sum and sum of squares of finite values along axes, in double precision; lower ones count as `least`."""
    import dask.array

    add = partial(_add, least=least)
    nothing = add(np.empty((0,) * values.ndim, values.dtype), axis)
    return dask.array.reduction(values, add, _added, axis=axis, dtype=nothing.dtype, meta=nothing)


def _add(values: np.ndarray, axis: tuple[int, ...], keepdims: bool = False, *, least: float) -> np.ndarray:
    finite, whole = np.isfinite(values), np.array(values, dtype=np.float64)
    if np.isfinite(least):
        np.maximum(whole, least, out=whole)
    if finite.all():  # as nearly always: sums of truth values take as long as the rest
        total = whole.sum(axis, keepdims=keepdims)
        count = np.full_like(total, finite.size // max(total.size, 1))
    else:
        whole[~finite] = 0.0
        total, count = whole.sum(axis, keepdims=keepdims), finite.sum(axis, keepdims=keepdims)
    squares = np.square(whole, out=whole).sum(axis, keepdims=keepdims)
    return _record({"count": count, "sum": total, "squares": squares})


def _added(parts: np.ndarray, axis: tuple[int, ...], keepdims: bool = False) -> np.ndarray:
    return _record({name: parts[name].sum(axis, keepdims=keepdims) for name in parts.dtype.names or ()})


def _joined(parts: np.ndarray, axis: tuple[int, ...], keepdims: bool = False) -> np.ndarray:
    return _record({name: join(parts[name], axis=axis, keepdims=keepdims) for name, join in RANGE.items()})


def _record(facts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Arrays side by side."""
    found = np.empty(np.shape(next(iter(facts.values()))), [(name, "f8") for name in facts])
    for name, values in facts.items():
        found[name] = values
    return found


def _apart(known: Mapping[Fact, xr.DataArray], source: Input) -> Iterator[tuple[Fact, np.ndarray]]:
    """Values of every fact, those that were asked for together one by one."""
    for (role, key, fact), array in known.items():
        values = _values(array, source)
        for name in values.dtype.names or [fact]:
            yield (role, key, name), values[name] if values.dtype.names else values


def _values(array: xr.DataArray, source: Input) -> np.ndarray:
    if array.dtype == object:
        return np.asarray(array.values)
    order = [dim for dim in ("time", *source.land) if dim in array.dims]
    return np.asarray(array.transpose(*order).values)


def fingerprint(facts: Facts, usable: np.ndarray) -> str:
    """Give what a model reads a short name that another forcing, or one changed in any value, would not have.

    Parameters
    ----------
    facts : Facts
    usable : ndarray of bool

    Returns
    -------
    str
        First 16 digits of the SHA-256 of the sums of each cell's values as integers, by variable, and of the usable
        cells. What is derived is known by its sources. The same whatever the chunks and the order of computation; days
        that change places within a cell are not seen.
    """
    digest = hashlib.sha256(np.ascontiguousarray(usable).tobytes())
    for (role, key, fact), values in facts.items():
        if fact == "bits":
            digest.update(f"{role} {key} {values.shape}".encode() + np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:16]


def gaps(facts: Facts, role: str, key: str, array: xr.DataArray, outside: np.ndarray) -> tuple[int, int]:
    """Count the values that are missing on land.

    Parameters
    ----------
    facts : Facts
    role, key : str
    array : DataArray
        The variable.
    outside : ndarray of bool
        Cells that are no land.

    Returns
    -------
    missing, size : int
    """
    count = facts[role, key, "count"]
    if count.shape == outside.shape:
        count = count[~outside]
    size = array.size // max(facts[role, key, "count"].size, 1) * count.size
    return size - int(count.sum()), size


def without_rounding(found: Found, facts: Facts, notes: list[str]) -> Found:
    """Set the little that lies below 0 to 0 where that is the bound, and say so.

    Parameters
    ----------
    found : Found
    facts : Facts
    notes : list of str
        Added to.

    Returns
    -------
    Found
    """
    forcing = dict(found.forcing)
    for key, array in found.forcing.items():
        count = int(facts["forcing", key, "rounding"])
        if count and FORCING[key].lower == 0:
            forcing[key] = array.clip(min=0.0, keep_attrs=True)
            why = "more vapour than at saturation" if _is_derived_deficit(key, array) else "rounding"
            lowest = f"the lowest {float(facts['forcing', key, 'lowest']):.2g} {FORCING[key].units}"
            notes.append(f"{key}: {count:,} values below 0 set to 0 ({why}; {lowest})")
    return dataclasses.replace(found, forcing=forcing)


def with_values(
    found: Found,
    facts: Facts,
    source: Input,
    asked: set[str],
    findings: list[Finding],
    notes: list[str],
    left_out: list[str],
) -> Found:
    """Keep the targets that hold any value in the land and time of the forcing.

    Parameters
    ----------
    found : Found
    facts : Facts
    source : Input
    asked : set of str
        Targets whose absence is an error.
    findings : list of Finding
        Added to.
    notes, left_out : list of str
        Added to.

    Returns
    -------
    Found
    """
    kept = {}
    for key, array in found.targets.items():
        if np.isfinite(facts["targets", key, "lowest"]):
            kept[key] = array
            for dim in source.time_axes(array):
                within = within_forcing(source, source.dataset[dim])
                if not within.all():
                    notes.append(f"{key}: {within.sum():,} of {within.size:,} steps lie within the forcing's time")
        elif key in asked:
            problem = "holds no value (all NaN) in the land and time of the forcing"
            findings.append(Finding(called(array, key), problem, f"leave {key} out of targets, or give its values"))
        else:
            problem = "holds no value in the land and time of the forcing"
            if array.ndim:
                problem += (
                    "; if xarray joined it to the forcing, labels that are not equal (longitudes from 0 to 360, noon "
                    "for midnight, rounded latitudes) became NaN: give it on axes of its own"
                )
            left_out.append(f"{key} is left out: {called(array, key)} {problem}")
    for key in found.quality:
        odd, absent = (int(facts["quality", key, fact]) for fact in ("odd", "absent"))
        if odd:
            remedy = 'turn flags into weights, such as ds["qc"] = ds["qc"].isin([0, 1])'
            findings.append(Finding(f"quality of {key}", f"{odd:,} values are not between 0 and 1", remedy))
        if absent:
            notes.append(f"{key}: {absent:,} observations have no quality and count for nothing")
    return dataclasses.replace(found, targets=kept)


def outside_land(found: Found, facts: Facts, source: Input) -> np.ndarray:
    """Tell which cells are no land: outside the mask, or without one, where no forcing ever is.

    Parameters
    ----------
    found : Found
    facts : Facts
    source : Input

    Returns
    -------
    ndarray of bool
        On the land axes.
    """
    if found.mask is not None:
        return ~facts[MASK].astype(bool)
    keys = [key for key, array in found.forcing.items() if set(source.land) <= set(array.dims)]
    seen = [facts["forcing", key, "count"] > 0 for key in keys if key != "co2"]  # CO2 may be given over the sea too
    if not seen or not source.land:
        return np.zeros(source.shape, dtype=bool)
    return np.asarray(~np.any(seen, axis=0))


def forcing_days(found: Found, facts: Facts, source: Input) -> np.ndarray:
    """Count the days on which each cell has all forcing.

    Parameters
    ----------
    found : Found
    facts : Facts
    source : Input

    Returns
    -------
    ndarray of int
        On the land axes.
    """
    gaps = [facts["forcing", key, "gaps"] for key in found.forcing]
    return complete_days(gaps, math.prod(source.shape), source.days).reshape(source.shape)


def reasons_to_drop(
    found: Found, facts: Facts, source: Input, days: np.ndarray, *, whole: bool
) -> dict[str, np.ndarray]:
    """Tell which cells each variable leaves unusable.

    Parameters
    ----------
    found : Found
    facts : Facts
    source : Input
    days : ndarray of int
        From `forcing_days`.
    whole : bool
        Whether a cell must have its forcing on all days.

    Returns
    -------
    dict of str to ndarray of bool
        Reason to cells on the land axes.
    """
    reasons = {}
    if not whole:
        reasons["there is no day with all forcing"] = days == 0
    for key, array in found.forcing.items():
        if whole and set(source.land) <= set(array.dims):
            reasons[f"{key} is missing on some days"] = facts["forcing", key, "count"] < source.days
    for name in found.features:
        reasons[f"static feature {name} is missing"] = facts["features", name, "count"] == 0
    if found.area is not None:
        area = facts["cell", "area", "values"]
        reasons["area is missing or not above 0"] = ~(np.isfinite(area) & (area > 0))
    return reasons
