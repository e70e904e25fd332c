"""One look at every value: ranges, gaps and what they mean, each chunk read once."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xh2cm.data.derive import day_angle, extraterrestrial_radiation
from xh2cm.data.gaps import complete_days, missing_runs
from xh2cm.data.match import KNOWN
from xh2cm.data.reading import Found, Input, _bare, called, latitudes, within_forcing
from xh2cm.data.units import conversion
from xh2cm.errors import Finding
from xh2cm.variables import FORCING, Var

__all__ = [
    "Bounds",
    "Facts",
    "bounds_of",
    "fingerprint",
    "forcing_days",
    "gaps",
    "is_mark",
    "look_at",
    "outside_land",
    "reasons_to_drop",
    "scaling",
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
    """Plausible range of a variable: values between `limit` and `lower` are rounding, those below `limit` impossible.

    `scale` and `offset` give the numbers of the file: ``canonical = scale * number + offset``.
    """

    limit: float = -math.inf
    lower: float = -math.inf
    upper: float = math.inf
    scale: float = 1.0
    offset: float = 0.0


MARKS = (
    -99.0, -99.9, -99.99, -999.0, -999.9, -999.99, -6999.0, -7777.0, -8888.0, -9999.0, -9999.9, -99999.0, -999999.0,
    -32767.0, -32768.0, 9999.0, 9999.9, 32766.0, 32767.0, 65534.0, 65535.0, 99999.0, 999999.0, 2147483647.0,
    -2147483648.0,
)  # fmt: skip
"""Numbers that files put where a value is missing; any of 1e15 and more is one too."""

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
        For every variable `RANGE` of the finite values within the mask; along all but the land axes ``count``, the
        number of finite values, ``total``, their sum, and ``bits``, the sum of their binary digits, of what a model
        reads; of forcing ``gaps``, the runs of missing days; ``present``, on time and land, for a few cells.
        Of lazy forcing also ``sum`` and ``squares``, for normalisation.
    """
    asked: dict[Fact, xr.DataArray] = {}
    for key, array in found.forcing.items():
        depth = SUPERSATURATION if _is_derived_deficit(key, array) else ROUNDING
        asked |= _asked("forcing", key, array, source, found.mask, source.known[key], depth)
        asked["forcing", key, "gaps"] = missing_runs(array, source.land, source.shape, key)
        if array.dims == ("time",):
            asked["forcing", key, "first"] = (~_finite(array)).argmax("time")
    for key, array in found.sources.items():
        asked |= _asked("sources", key, array, source, found.mask, KNOWN[key])
    for key, array in found.targets.items():
        inside = {dim: within_forcing(source, source.dataset[dim]) for dim in source.time_axes(array)}
        asked |= _asked("targets", key, array.isel(inside), source, found.mask, source.known[key])
        if key == "NEE":
            asked |= _with_sun(key, array, source)
    for key, refused in source.refused.items():
        if refused.array.dtype.kind in "fiu":
            asked |= _asked("refused", key, refused.array.astype("float64"), source, found.mask)
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
        values = known["features", key, "values"]
        known["features", key, "whole"] = (values.isnull() | (values == values.round())).all()
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
    bounds = bounds_of(key, array, var, depth)
    other = [dim for dim in array.dims if dim not in source.land]
    read = role in ("forcing", "sources", "features") and "derivation" not in array.attrs
    streamed = role == "forcing" and array.chunks is not None  # is normalised without another pass
    least = (bounds.lower if bounds.lower == 0 else -math.inf) if streamed else None
    return {
        (role, key, "range"): (array.where(mask) if within else array).reduce(_range, array.dims, bounds=bounds),
        (role, key, "cells"): array.reduce(_sums, other, bits=read, least=least)
        if other
        else _sums_of_one(array, read),
    }


def _with_sun(key: str, array: xr.DataArray, source: Input) -> dict[Fact, xr.DataArray]:
    """Correlate a target with the radiation above the atmosphere, less its mean over the year."""
    latitude, axes = latitudes(source), source.time_axes(array)
    if latitude is None or not axes or not set(source.land) < set(array.dims) or array.sizes[axes[0]] < 12:
        return {}
    place = xr.DataArray(latitude.astype(np.float32), dims=source.land).clip(-90.0, 90.0)
    angle = _bare(day_angle(source.dataset[axes[0]]))
    sun = extraterrestrial_radiation(place, angle).astype("float32")
    sun = sun - sun.mean([axes[0]])
    sun = sun.chunk({dim: array.chunksizes[dim] for dim in sun.dims}) if array.chunksizes else sun
    there = _finite(array)
    flux, sun = array.where(there, 0.0), sun.where(there, 0.0)
    number = there.sum()
    sums = [value.sum(dtype=np.float64) / number for value in (flux, sun, flux * sun, flux**2, sun**2)]
    spread = (sums[3] - sums[0] ** 2) * (sums[4] - sums[1] ** 2)
    return {("targets", key, "with_sun"): (sums[2] - sums[0] * sums[1]) / spread.clip(1e-30) ** 0.5}


def bounds_of(key: str, array: xr.DataArray, var: Var | None, depth: float = ROUNDING) -> Bounds:
    """Return the plausible range of a variable that was read.

    Parameters
    ----------
    key : str
    array : DataArray
        In canonical units, as it was read.
    var : Var, optional
        None for a static feature, which may hold anything.
    depth : float
        How far below the range values are rounding.

    Returns
    -------
    Bounds
    """
    if var is None:
        return Bounds()
    scale, offset = (1.0, 0.0) if "derivation" in array.attrs else scaling(array, key, var)
    return Bounds(var.lower - depth, var.lower, var.upper, scale, offset)


def scaling(array: xr.DataArray, key: str, var: Var) -> tuple[float, float]:
    """Return what turned the numbers of the file into those of a variable that was read.

    Parameters
    ----------
    array : DataArray
        In canonical units, as `to_canonical` gives it.
    key : str
    var : Var

    Returns
    -------
    scale, offset : float
        ``canonical = scale * number + offset``
    """
    turned = -1.0 if "original_sign" in array.attrs else 1.0
    if var.quantity == "any" or "original_units" not in array.attrs:
        return turned, 0.0
    scale, offset = conversion(called(array, key), array.attrs["original_units"], var)
    return turned * scale, offset


def _finite(array: xr.DataArray) -> xr.DataArray:
    finite: xr.DataArray = xr.ufuncs.isfinite(array)
    return finite


def _is_derived_deficit(key: str, array: xr.DataArray) -> bool:
    return key == "vpd" and "derivation" in array.attrs


RANGE = (
    "lowest", "highest", "below", "rounding", "above", "negative", "inner_count", "inner_total",
    "low_count", "low_mark", "low_next", "high_count", "high_mark", "high_next",
)  # fmt: skip
"""Facts about all values of a variable.

Of the lowest value, and of the known marks of missing values beside it: how many values are one of these
(``low_count``), the innermost of them (``low_mark``), and the lowest of all other values (``low_next``); the same of
the highest. ``inner_count`` and ``inner_total`` are number and sum of the values between ``low_next`` and
``high_next``, or of all where neither end is a mark.
"""


def _range(values: Any, axis: tuple[int, ...], bounds: Bounds) -> Any:
    """`RANGE` along axes, in one task a chunk."""
    look, join = partial(_look, bounds=bounds), partial(_joined, bounds=bounds)
    if isinstance(values, np.ndarray):
        return look(values, axis)
    import dask.array  # takes longer to import than all the rest, and only arrays of Dask need it

    nothing = look(np.empty((0,) * values.ndim), axis)
    return dask.array.reduction(values, look, join, axis=axis, dtype=nothing.dtype, meta=nothing)


def look_at(values: np.ndarray, bounds: Bounds) -> dict[str, float]:
    """Return `RANGE` of an array in memory.

    Parameters
    ----------
    values : ndarray
    bounds : Bounds

    Returns
    -------
    dict of str to float
    """
    found = _look(values, (), bounds=bounds)
    return {name: float(found[name]) for name in RANGE}


def _look(values: np.ndarray, axis: object, keepdims: bool = False, *, bounds: Bounds) -> np.ndarray:
    """Return `RANGE` of all finite values, whatever the axes."""
    del axis
    finite = np.isfinite(values)
    kept = values.reshape(-1) if finite.all() else values[finite]
    found: dict[str, float] = dict.fromkeys(RANGE, 0.0)
    lowest, highest = (float(kept.min()), float(kept.max())) if kept.size else (math.inf, -math.inf)
    found |= {"lowest": lowest, "highest": highest}
    if lowest < bounds.limit:
        found["below"] = int(np.count_nonzero(kept < bounds.limit))
    if lowest < bounds.lower:
        found["rounding"] = np.count_nonzero(kept < bounds.lower) - found["below"]
    if highest > bounds.upper:
        found["above"] = int(np.count_nonzero(kept > bounds.upper))
    if lowest < 0:
        found["negative"] = int(np.count_nonzero(kept < 0))
    low = _end(kept, lowest, 1, bounds)
    high = _end(kept, highest, -1, bounds)
    inner = kept
    if is_mark(lowest, bounds):
        inner = inner[inner > low[1]]
    if is_mark(highest, bounds):
        inner = inner[inner < high[1]]
    found |= dict(zip(("low_count", "low_mark", "low_next"), low, strict=True))
    found |= dict(zip(("high_count", "high_mark", "high_next"), high, strict=True))
    found |= {"inner_count": inner.size, "inner_total": float(inner.sum(dtype=np.float64))}
    return _record(found, (1,) * values.ndim if keepdims else ())


def _end(kept: np.ndarray, end: float, side: int, bounds: Bounds) -> tuple[float, float, float]:
    """Count the values at one end, the marks beside it with them; return the innermost of these and what comes next.

    ``side`` is 1 for the low end, -1 for the high end. Rain and snow have many zeros, which are no end to look behind.
    """
    if not math.isfinite(end):
        return 0.0, end, -end
    if end == 0:
        return 1.0, end, end
    number, mark = 0, end
    while True:
        beyond = kept > mark if side == 1 else kept < mark
        within = int(np.count_nonzero(beyond))
        number = kept.size - within
        if not within:
            return float(number), mark, side * math.inf
        others = np.where(beyond, kept, side * np.inf)
        following = float(others.min() if side == 1 else others.max())
        if not is_mark(following, bounds):
            return float(number), mark, following
        mark = following


def is_mark(value: float, bounds: Bounds) -> bool:
    """Whether a value is one of the numbers that files put where a value is missing.

    Parameters
    ----------
    value : float
        In canonical units.
    bounds : Bounds

    Returns
    -------
    bool
        Within single precision.
    """
    number = (value - bounds.offset) / bounds.scale
    if abs(number) < 90 or not math.isfinite(number):
        return False
    return abs(number) >= 1e15 or any(math.isclose(number, mark, rel_tol=2e-5) for mark in MARKS)


def _joined(parts: np.ndarray, axis: object, keepdims: bool = False, *, bounds: Bounds) -> np.ndarray:
    """Join `RANGE` of several chunks."""
    del axis
    found = {name: float(parts[name].sum()) for name in RANGE}
    found |= {"lowest": float(parts["lowest"].min()), "highest": float(parts["highest"].max())}
    for end, name, side in (("lowest", "low", 1), ("highest", "high", -1)):
        count, mark, following = (parts[f"{name}_{what}"].reshape(-1) for what in ("count", "mark", "next"))
        ends = parts[end].reshape(-1)
        at_end = np.array([value == found[end] or is_mark(value, bounds) for value in ends.tolist()], dtype=bool)
        candidates = np.where(at_end, following, np.where(np.isfinite(ends), ends, side * np.inf))
        found[f"{name}_count"] = float(count[at_end].sum())
        marks = mark[at_end]
        if side == 1:
            found[f"{name}_mark"] = float(marks.max(initial=-np.inf))
            found[f"{name}_next"] = float(candidates.min(initial=np.inf))
        else:
            found[f"{name}_mark"] = float(marks.min(initial=np.inf))
            found[f"{name}_next"] = float(candidates.max(initial=-np.inf))
    return _record(found, (1,) * parts.ndim if keepdims else ())


def _record(facts: Mapping[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    """Facts side by side."""
    found = np.empty(shape, [(name, "f8") for name in facts])
    for name, value in facts.items():
        found[name] = value
    return found


def _sums(values: Any, axis: tuple[int, ...], bits: bool, least: float | None = None) -> Any:
    """Count and add up values along axes, in one task a chunk."""
    look = partial(_cell_sums, bits=bits, least=least)
    if isinstance(values, np.ndarray):
        return look(values, axis)
    import dask.array

    nothing = look(np.empty((0,) * values.ndim, values.dtype), axis)
    return dask.array.reduction(values, look, _added, axis=axis, dtype=nothing.dtype, meta=nothing)


def _sums_of_one(array: xr.DataArray, bits: bool) -> xr.DataArray:
    """Count and add up the values of an array that varies along the land axes alone."""
    found: xr.DataArray = array.expand_dims("once").reduce(_sums, "once", bits=bits)
    return found


def _cell_sums(values: np.ndarray, axis: Any, keepdims: bool = False, *, bits: bool, least: float | None) -> np.ndarray:
    """Count and add up finite values; add up the binary digits of all, the same in any order and on any machine.

    With `least` also sum and sum of squares in double precision, in which lower values count as `least`.
    """
    finite = np.isfinite(values)
    whole = bool(finite.all())
    kept = values if whole else np.where(finite, values, 0)
    found = {"total": kept.sum(axis, dtype=np.float64, keepdims=keepdims)}
    size = finite.size // max(found["total"].size, 1)
    found["count"] = np.full(found["total"].shape, size) if whole else finite.sum(axis, keepdims=keepdims)
    if bits:
        digits = values.view(f"i{values.dtype.itemsize}")
        found["bits"] = digits.sum(axis, dtype=np.int64, keepdims=keepdims)
    if least is not None:
        doubled = np.array(values, dtype=np.float64)
        if math.isfinite(least):
            np.maximum(doubled, least, out=doubled)
        if not whole:
            doubled[~finite] = 0.0
        found["sum"] = doubled.sum(axis, keepdims=keepdims)
        found["squares"] = np.square(doubled, out=doubled).sum(axis, keepdims=keepdims)
    return _beside(found)


def _added(parts: np.ndarray, axis: Any, keepdims: bool = False) -> np.ndarray:
    """Add up the counts and sums of several chunks."""
    return _beside({name: parts[name].sum(axis, keepdims=keepdims) for name in parts.dtype.names or ()})


def _beside(facts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Put arrays of the same shape side by side; whole numbers stay whole."""
    kinds = {"count": "i8", "bits": "i8"}
    found = np.empty(np.shape(facts["count"]), [(name, kinds.get(name, "f8")) for name in facts])
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
        if count and key in FORCING and FORCING[key].lower == 0:
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
