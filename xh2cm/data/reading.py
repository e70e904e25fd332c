"""A user's dataset, read: forcing, targets, static features, mask and area in canonical units, still lazy.

What cannot be read is added to a list of findings, so that all of it can be told at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xh2cm.data.derive import DERIVATIONS, NEEDS, day_angle
from xh2cm.data.match import KNOWN, Match, closest
from xh2cm.data.times import calendars, daily_findings, datetime_dimensions, label, month_numbers, record_findings
from xh2cm.data.units import conversion, to_canonical
from xh2cm.errors import Finding, InputError
from xh2cm.targets import Target
from xh2cm.variables import FORCING, SOURCES, STATIC, TARGETS, Var

__all__ = [
    "Found",
    "Input",
    "asked_forcing",
    "asked_targets",
    "called",
    "grid_area",
    "land_axes",
    "place_name",
    "read_area",
    "read_features",
    "read_forcing",
    "read_mask",
    "read_targets",
    "whole_gauges",
    "with_targets",
    "with_time",
    "within_forcing",
]

EARTH_RADIUS = 6_371_007.2  # m, of the sphere with the earth's surface
FEATURE_AXES = ("feature", "features", "variable", "predictor", "band")
PLACES = ("latitude", "longitude")
TAKEN = {*FORCING, *TARGETS, *STATIC, "static", "feature", "fold", "label"} - {*PLACES}
"""Names of what the canonical dataset and predictions hold, which no axis of the land or of a target may have."""
RESERVED = {*FORCING, *STATIC, "static", "feature", "time"}  # names in the canonical dataset


@dataclasses.dataclass(frozen=True)
class Input:
    """A user's dataset with its time axis named ``time``, and what was recognised in it.

    Parameters
    ----------
    dataset : Dataset
    matches : mapping of str to list of Match
        From `find_variables`.
    units : mapping of str to str
        Units the user states, by name in the dataset.
    land : tuple of dimensions
        Land axes.
    known : mapping of str to Var
        What each variable is, the user's own targets among them.
    """

    dataset: xr.Dataset
    matches: Mapping[str, list[Match]]
    units: Mapping[str, str]
    land: tuple[Hashable, ...]
    known: Mapping[str, Var] = dataclasses.field(default_factory=lambda: KNOWN)

    @property
    def days(self) -> int:
        """Length of the record."""
        return int(self.dataset.sizes["time"])

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of the land axes."""
        return tuple(int(self.dataset.sizes[dim]) for dim in self.land)

    def time_axes(self, array: xr.DataArray) -> list[Hashable]:
        """The dimensions of a variable that are time."""
        times = datetime_dimensions(self.dataset)
        return [dim for dim in array.dims if dim in times]


@dataclasses.dataclass(frozen=True)
class Found:
    """What was read, by name, in canonical units, without coordinates, lazy where the input is.

    Parameters
    ----------
    forcing, sources, targets, features : mapping of str to DataArray
        Sources are what absent forcing was derived from.
    quality : mapping of str to DataArray
        What each observation of a target weighs.
    shares : mapping of str to DataArray
        The mean of which cells a target's gauges show.
    mask, area : DataArray, optional
        Given by the user.
    """

    forcing: Mapping[str, xr.DataArray]
    sources: Mapping[str, xr.DataArray]
    targets: Mapping[str, xr.DataArray]
    features: Mapping[str, xr.DataArray]
    quality: Mapping[str, xr.DataArray]
    shares: Mapping[str, xr.DataArray]
    mask: xr.DataArray | None
    area: xr.DataArray | None


def with_time(ds: xr.Dataset, matches: Mapping[str, list[Match]], findings: list[Finding]) -> xr.Dataset:
    """Give the axis the forcing runs along its name, and say what is wrong with it.

    Parameters
    ----------
    ds : Dataset
    matches : mapping of str to list of Match
    findings : list of Finding
        Added to.

    Returns
    -------
    Dataset
        With the time axis of the forcing called ``time``.

    Raises
    ------
    InputError
        Where there is no time axis: nothing can be said about the rest without one.
    """
    mixed = {str(n): calendars(v) for n, v in ds.variables.items() if v.dtype == object and v.ndim == 1}
    if several := {name: sorted(kinds) for name, kinds in mixed.items() if len(kinds) > 1}:
        remedy = 'give all its dates in one: xr.date_range(..., calendar="noleap")'
        mixes = [Finding(name, f"mixes the calendars {' and '.join(k)}", remedy) for name, k in several.items()]
        raise InputError([*findings, *mixes])
    axes = datetime_dimensions(ds)
    names = [match.source for key in (*FORCING, *SOURCES) for match in matches.get(key, []) if match.source in ds]
    driven = [name for name in names if ds[name].ndim]
    carried = [dim for name in driven for dim in ds[name].dims if dim in axes] or ([] if driven else list(axes))
    if not carried:
        undecoded = [str(n) for n, v in ds.variables.items() if " since " in str(v.attrs.get("units", ""))]
        dates = 'ds = ds.assign_coords(time=("time", pd.date_range("2001-01-01", periods=ds.sizes["time"])))'
        remedy = "ds = xr.decode_cf(ds)" if undecoded else dates
        where = f"forcing, only {', '.join(map(str, axes))} of other variables" if axes else "dataset"
        problem = f"no axis of the {where} is a time axis{f': {undecoded[0]!r} is not decoded' if undecoded else ''}"
        raise InputError([*findings, Finding("time", problem, remedy)])
    axis = max(dict.fromkeys(carried), key=carried.count)
    name = axes[axis]
    if isinstance(ds.indexes.get(axis), pd.MultiIndex):
        problem = f"is stacked with others along {str(axis)!r}"
        raise InputError([*findings, Finding(str(name), problem, f'ds = ds.unstack("{axis}")')])
    findings += daily_findings(ds[name], str(name))
    if "time" in {*ds.variables, *ds.dims} - {axis, name}:
        ds = ds.rename(time="target_time")
    if name != axis:
        ds = ds.swap_dims({axis: name})
    return ds if name == "time" else ds.rename({name: "time"})


def land_axes(ds: xr.Dataset, matches: Mapping[str, list[Match]]) -> tuple[Hashable, ...]:
    """Find the land axes: those of the forcing, or where all of it is derived of what it comes from.

    Parameters
    ----------
    ds : Dataset
    matches : mapping of str to list of Match

    Returns
    -------
    tuple of dimensions
        Empty for one cell.
    """
    for keys in (FORCING, SOURCES):
        arrays = [ds[match.source] for key in keys for match in matches.get(key, []) if match.source in ds]
        axes = [tuple(dim for dim in array.dims if dim != "time") for array in arrays if "time" in array.dims]
        if any(axes):
            return max(axes, key=len)
    return ()


def called(array: xr.DataArray, key: str) -> str:
    """Call a variable what the user calls it.

    Parameters
    ----------
    array : DataArray
    key : str
        Name in the tables, or of a target of the user's own.

    Returns
    -------
    str
    """
    return str(array.attrs.get("original_name", KNOWN[key].name if key in KNOWN else key))


def within_forcing(source: Input, time: xr.DataArray) -> np.ndarray:
    """Say which steps of a target's time axis lie in a month of the forcing.

    Parameters
    ----------
    source : Input
    time : DataArray

    Returns
    -------
    ndarray of bool
    """
    return np.isin(month_numbers(time), month_numbers(source.dataset["time"]))


def place_name(source: Input, key: str) -> str:
    """Find what the latitude or longitude of the land is called.

    Parameters
    ----------
    source : Input
    key : {"latitude", "longitude"}

    Returns
    -------
    str
        Empty where there is none.
    """
    options = [match for match in source.matches.get(key, []) if match.source in source.dataset]
    fitting = [match for match in options if set(source.dataset[match.source].dims) <= set(source.land)]
    return str(fitting[0].source) if len(fitting) == 1 else ""


def _bare(array: xr.DataArray) -> xr.DataArray:
    """Leave the coordinates behind: within one dataset axes agree, and scalars of one variable are not another's."""
    return array.drop_vars(list(array.coords))


def _axes(dims: Iterable[Hashable]) -> str:
    return f"({', '.join(map(str, dims))})"


def _names(ds: xr.Dataset) -> list[str]:
    return [str(name) for name in ds.data_vars]


def _read(source: Input, key: str) -> xr.DataArray | None:
    """Read a variable of the tables in canonical units; None where it is absent."""
    var, ds = source.known[key], source.dataset
    options = source.matches.get(key, [])
    if key in PLACES and not any(match.by == "mapping" for match in options):  # towns and gauges have places too
        options = [match for match in options if set(ds[match.source].dims) <= set(source.land)]
    if not options:
        return None
    if len(options) > 1:
        names = " or ".join(repr(match.source) for match in options)
        remedy = f'say which: names={{"{key}": "{options[0].source}"}}'
        raise InputError([Finding(key, f"could be {names}, by {options[0].by}", remedy)])
    name = options[0].source
    if isinstance(name, float):
        scale, offset = conversion(key, source.units[key], var) if key in source.units else (1.0, 0.0)
        number = xr.DataArray(np.float32(scale * name + offset), attrs=dict(var.attrs))
        return number.expand_dims(time=source.days) if key in FORCING else number
    array = ds[name]
    if array.dtype.kind not in "fiub":
        remedy = f'ds["{name}"] = ds["{name}"].astype(float)'
        raise InputError([Finding(name, f"holds {array.dtype}, no numbers", remedy)])
    if key in PLACES:  # degrees whatever is written there
        return _bare(array)
    return _bare(to_canonical(array, var, source.units.get(name, source.units.get(key))))


def _read_fitting(source: Input, key: str, axes: Sequence[Hashable]) -> xr.DataArray | None:
    """Read a variable that may have no other axes than these."""
    array = _read(source, key)
    other = [] if array is None else [dim for dim in array.dims if dim not in axes]
    if array is not None and other:
        name = called(array, key)
        problem = f"has the axes {_axes(array.dims)}, where {_axes(axes)} are wanted"
        remedy = f'ds["{name}"] = ds["{name}"].isel({other[0]}=0, drop=True), or bring it to these axes'
        raise InputError([Finding(name, problem, remedy)])
    return array


def asked_forcing(forcing: Sequence[str] | None, findings: list[Finding]) -> list[str]:
    """Say which forcings to look for, in the order of the model.

    Parameters
    ----------
    forcing : sequence of str, optional
        By default all.
    findings : list of Finding
        Added to.

    Returns
    -------
    list of str
    """
    asked = list(FORCING) if forcing is None else [forcing] if isinstance(forcing, str) else list(forcing)
    strange = [name for name in asked if name not in FORCING]
    findings += [Finding(f"forcing: {n!r}", "is no forcing of the model", closest(n, FORCING)) for n in strange]
    return [name for name in FORCING if name in asked]


def read_forcing(
    source: Input, wanted: Sequence[str], findings: list[Finding]
) -> tuple[dict[str, xr.DataArray], dict[str, xr.DataArray]]:
    """Read the forcing and derive what is absent.

    Parameters
    ----------
    source : Input
    wanted : sequence of str
        Forcing to read; any other serves at most to derive it.
    findings : list of Finding
        Added to.

    Returns
    -------
    forcing, sources : dict of str to DataArray
        Sources are what absent forcing was derived from.
    """
    given: dict[str, xr.DataArray] = {}
    broken = {key for key in wanted if source.matches.get(key) == []}  # mapped to nothing, which is told already
    for key in wanted:
        try:
            array = _read_fitting(source, key, ("time", *source.land))
            if array is not None:
                given[key] = _daily(source, array, key)
        except InputError as error:
            findings += error.findings
            broken.add(key)
    chunks = _chunks(source)
    sources: dict[str, xr.DataArray] = {}

    def read(key: str) -> xr.DataArray | None:
        if key in wanted:
            return given.get(key)
        if key not in sources:
            array = _read_fitting(source, key, ("time", *source.land))
            if array is None:
                return None
            sources[key] = _chunked(array, chunks)
        return sources[key]

    derived: dict[str, xr.DataArray] = {}
    angle = _chunked(day_angle(_bare(source.dataset["time"])), chunks)
    for key in ("air_temperature", "vpd", "net_radiation", "precipitation", "co2"):  # the first serves the others
        if key not in wanted or key in given or key in broken:
            continue
        try:
            with np.errstate(all="ignore"):  # temperatures that cannot be are told by their range
                result = DERIVATIONS[key](read, angle) if key in DERIVATIONS else None
        except InputError as error:
            findings += error.findings
            broken.add(key)
            continue
        if result is not None:
            derived[key] = result.array.astype("float32")
            derived[key].attrs = {**FORCING[key].attrs, "derivation": result.how}
            if key == "air_temperature":
                given[key] = derived[key]
        elif key not in DERIVATIONS or not broken - {"precipitation", "co2"}:  # else the broken may be all that lacks
            findings.append(_absent(source, key))
    return {key: (given | derived)[key] for key in wanted if key in given | derived}, sources


def _chunks(source: Input) -> dict[Hashable, tuple[int, ...]]:
    """Chunks of the forcing, for what is computed from place and day alone and would else be whole in memory."""
    names = [match.source for key in (*FORCING, *SOURCES) for match in source.matches.get(key, [])]
    arrays = [source.dataset[name] for name in names if name in source.dataset]
    chunked = [dict(array.chunksizes) for array in arrays if array.chunksizes and "time" in array.dims]
    return max(chunked, key=len, default={})


def _chunked(array: xr.DataArray, chunks: Mapping[Hashable, tuple[int, ...]]) -> xr.DataArray:
    if array.chunksizes or not set(array.dims) & set(chunks):
        return array
    return array.chunk({dim: chunks[dim] for dim in array.dims if dim in chunks})


def _daily(source: Input, array: xr.DataArray, key: str) -> xr.DataArray:
    """Make sure a forcing given runs along time, and over all of the land or none of it."""
    name = called(array, key)
    if 0 < len(set(array.dims) & set(source.land)) < len(source.land):
        problem = f"has the axes {_axes(array.dims)}, and other forcing lies on {_axes(('time', *source.land))}"
        raise InputError([Finding(name, problem, f'ds["{name}"] = ds["{name}"].broadcast_like(ds["..."])')])
    if "time" in array.dims:
        return array.astype("float32")
    if key == "co2":  # the same in all years is a choice
        return array.astype("float32").expand_dims(time=source.days)
    problem = f"has the axes {_axes(array.dims)} and does not vary in time"
    raise InputError([Finding(name, problem, f'give daily {FORCING[key].long_name}: names={{"{key}": ...}}')])


def _absent(source: Input, key: str) -> Finding:
    taken = {match.source for matches in source.matches.values() for match in matches}
    free = [n for n in _names(source.dataset) if "time" in source.dataset[n].dims and n not in taken]
    problem = f"is not in the dataset by any known name, nor by the standard name {FORCING[key].standard_name}"
    choice = f", one of: {', '.join(free)}" if free else " (no other variable of the dataset is daily)"
    where = f'say where it is: names={{"{key}": ...}}{choice}'
    if key == "co2":
        return Finding(key, problem, f'{where}; or give a number in ppm: names={{"co2": 410.0}}')
    return Finding(key, problem, where + (f"; or add {NEEDS[key]} to derive it from" if key in NEEDS else ""))


def asked_targets(
    targets: Sequence[str | Target] | None, variables: Mapping[str, str | float], findings: list[Finding]
) -> tuple[dict[str, Target], set[str]]:
    """Say which targets to look for, and which of them the user asked for.

    Parameters
    ----------
    targets : sequence of str or Target, optional
        By default all that are known.
    variables : mapping
        The user's; a target named there is asked for.
    findings : list of Finding
        Added to.

    Returns
    -------
    wanted : dict of str to Target
        By name in the tables; a target of the user's own by the name of its variable.
    asked : set of str
    """
    names = {alias.lower(): key for key, var in TARGETS.items() for alias in (*var.aliases, key)}
    if targets is None:
        asked = {names[str(name).lower()] for name in variables if str(name).lower() in names}
        return {key: Target(key) for key in TARGETS}, asked
    wanted: dict[str, Target] = {}
    one = isinstance(targets, str | Target) or not isinstance(targets, Iterable)
    several: Iterable[object] = [targets] if one else targets
    for target in several:
        if not isinstance(target, str | Target):
            findings.append(
                Finding(f"targets: {target!r:.60}", "is no name of a target", closest(str(target), TARGETS))
            )
            continue
        row = Target(target) if isinstance(target, str) else target
        key = row.name if row.name in TARGETS else names.get(row.name.lower(), row.name)
        if key in RESERVED:
            findings.append(Finding(f"target {key}", "is called like a variable of the model", "rename it: ds.rename"))
        elif key not in TARGETS and not row.fields:
            remedy = f'{closest(row.name, TARGETS)} or say what shows it: Target("{row.name}", fields="SM")'
            findings.append(Finding(f"targets: {row.name!r}", "is no target of the model", remedy))
        elif key in wanted:
            findings.append(Finding(f"target {key}", "was asked for twice", "give one row for it"))
        else:
            wanted[key] = row
    return wanted, set(wanted)


def with_targets(source: Input, wanted: Mapping[str, Target]) -> Input:
    """Let targets of the user's own be known and found like those of the tables.

    Parameters
    ----------
    source : Input
    wanted : mapping of str to Target

    Returns
    -------
    Input
    """
    own = {key: row for key, row in wanted.items() if key not in TARGETS}
    there = {key: [Match(key, "target")] for key in own if key in source.dataset}
    known = {**source.known, **{key: row.var for key, row in own.items()}}
    return dataclasses.replace(source, matches={**source.matches, **there}, known=known)


def read_targets(
    source: Input, wanted: Mapping[str, Target], asked: set[str], findings: list[Finding], notes: list[str]
) -> tuple[dict[str, xr.DataArray], dict[str, xr.DataArray], dict[str, xr.DataArray]]:
    """Read the targets that are there and fit; one that does not fit is an error only where it was asked for.

    Parameters
    ----------
    source : Input
    wanted : mapping of str to Target
    asked : set of str
    findings : list of Finding
        Added to.
    notes : list of str
        Added to.

    Returns
    -------
    targets, quality, shares : dict of str to DataArray
        Observations, what each weighs, and the mean of which cells a gauge shows.
    """
    read: dict[str, xr.DataArray] = {}
    quality: dict[str, xr.DataArray] = {}
    shares: dict[str, xr.DataArray] = {}
    for key, row in wanted.items():
        try:
            array = _read(source, key)
        except InputError as error:
            leave = "" if key in asked else f"; or name the targets to use, without {key}: targets=[...]"
            findings += [finding._replace(remedy=finding.remedy + leave) for finding in error.findings]
            continue
        if array is None:
            if key in asked and key not in source.matches:
                remedy = f'say where it is: names={{"{key}": ...}} ({closest(key, _names(source.dataset))})'
                findings.append(Finding(key, "was asked for and is not in the dataset", remedy))
            continue
        of_gauges = _companion(source, key, "cells", row.cells, findings)
        place: Sequence[Hashable] = source.land
        if of_gauges is not None:
            place = [dim for dim in of_gauges.dims if dim not in source.land]
            if len(place) != 1 or len(of_gauges.dims) != len(source.land) + 1:
                remedy = f"give shares on one axis such as gauge and the land axes {_axes(source.land)}"
                findings.append(Finding(row.cells, f"has the axes {_axes(of_gauges.dims)}", remedy))
                continue
            shares[key] = of_gauges.transpose(*place, *source.land).astype("float64").compute()
        if unfit := list(_unfit(source, array, key, place)):
            if key in asked:
                findings += unfit
            else:
                notes += [f"{key} is left out: {finding.variable} {finding.problem}" for finding in unfit]
            continue
        read[key] = array.astype("float32")
        weights = _companion(source, key, "quality", row.quality, findings)
        if weights is not None and set(weights.dims) != set(array.dims):
            problem = f"has the axes {_axes(weights.dims)}, and {called(array, key)} {_axes(array.dims)}"
            findings.append(Finding(row.quality, problem, "give a number between 0 and 1 for each observation"))
        elif weights is not None:
            quality[key] = weights.transpose(*array.dims).astype("float32")
    return read, quality, shares


def _companion(source: Input, key: str, what: str, name: str, findings: list[Finding]) -> xr.DataArray | None:
    """Read a variable that a target names beside its own."""
    if not name:
        return None
    if name not in source.dataset:
        hint = closest(name, _names(source.dataset))
        findings.append(Finding(f"target {key}: {what}={name!r}", "is not in the dataset", hint))
        return None
    return _bare(source.dataset[name])


def _unfit(source: Input, array: xr.DataArray, key: str, land: Sequence[Hashable]) -> Iterator[Finding]:
    """Say why a target cannot be compared with the model: its place or its time."""
    name, var = called(array, key), source.known[key]
    for dim in {*array.dims} & TAKEN:
        yield Finding(
            name, f"has an axis called {dim}, the name of something else here", f'ds = ds.rename({dim}="...")'
        )
    axes = source.time_axes(array)
    place = [dim for dim in array.dims if dim not in axes]
    if set(place) != set(land):
        problem = (
            f"lies on {_axes(place)}, and {'its cells' if land != source.land else 'the forcing'} on {_axes(land)}"
        )
        fix = f'bring it to the axes of the forcing, such as ds["{name}"].interp(...)'
        yield Finding(name, problem, f'{fix}, or say which cells it is the mean of: Target("{name}", cells=...)')
    elif key in TARGETS and "time" not in var.cell_methods:
        if axes:
            remedy = f'ds["{name}"] = ds["{name}"].mean("{axes[0]}")'
            yield Finding(name, f"varies along {axes[0]}, where one number a cell is wanted", remedy)
    elif len(axes) > 1 or (key in TARGETS and not axes):
        yield Finding(name, "has no time axis", f'give daily or monthly {var.long_name}: names={{"{key}": ...}}')
    elif axes:
        time, forcing_time = source.dataset[axes[0]], source.dataset["time"]
        if axes[0] != "time":
            yield from record_findings(time, name)
        if not within_forcing(source, time).any():
            period = f"{label(forcing_time[0])} to {label(forcing_time[-1])}"
            problem = f"runs from {label(time[0])} to {label(time[-1])}, outside the forcing's {period}"
            yield Finding(name, problem, f"give {var.long_name} of the forcing's time, or forcing of its time")


def whole_gauges(found: Found, usable: np.ndarray, findings: list[Finding], notes: list[str]) -> Found:
    """Let only those gauges count whose cells can all be used, and make their shares add up to 1.

    Parameters
    ----------
    found : Found
    usable : ndarray of bool
        On the land axes.
    findings : list of Finding
        Added to.
    notes : list of str
        Added to.

    Returns
    -------
    Found
    """
    shares = {}
    for key, array in found.shares.items():
        weight = array.values.reshape(len(array), -1)
        total = weight.sum(1)
        wrong = ~np.isfinite(total) | (weight < 0).any(1)
        if wrong.any():
            problem = f"{int(wrong.sum())} of {len(array)} gauges have shares below 0 or NaN"
            findings.append(
                Finding(f"target {key}: cells", problem, "give the share of each cell, 0 where it has none")
            )
            continue
        whole = (total > 0) & ~(weight[:, ~usable.reshape(-1)] > 0).any(1)
        if not whole.all():
            notes.append(
                f"{key}: {int((~whole).sum())} of {len(array)} gauges have no cells, or some that cannot be used"
            )
        if not whole.any():
            findings.append(Finding(f"target {key}", "no gauge has cells that can all be used", "give other cells"))
        weight = np.where(whole[:, None], weight / np.where(total > 0, total, 1.0)[:, None], 0.0)
        shares[key] = array.copy(data=weight.reshape(array.shape).astype("float32"))
    return dataclasses.replace(found, shares=shares)


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
    elsewhere = [dim for dim in array.dims if not _same_axis(array, ds, dim)]
    for dim in elsewhere:
        remedy = f'mask = mask.reindex({dim}=ds["{dim}"], method="nearest")'
        findings.append(Finding("mask", f"lies elsewhere along {dim!r} than the dataset", remedy))
    if elsewhere:
        return None
    bare = _bare(array)
    return bare if bare.dtype == bool else bare >= 0.5


def _same_axis(array: xr.DataArray, ds: xr.Dataset, dim: Hashable) -> bool:
    if array.sizes[dim] != ds.sizes[dim]:
        return False
    return not (dim in array.indexes and dim in ds.indexes) or bool(array.indexes[dim].equals(ds.indexes[dim]))


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
    """Tell what describes cells from what does not, such as gauges' weights and grid mappings."""
    others = [str(dim).lower() for dim in array.dims if dim not in source.land]
    on_land = array.ndim - len(others) == len(source.land) and "grid_mapping_name" not in array.attrs
    return on_land and (not others or (len(others) == 1 and others[0] in FEATURE_AXES))


def _layers(array: xr.DataArray, others: Sequence[Hashable]) -> Iterator[tuple[str, xr.DataArray]]:
    """Take apart a variable that holds several features along an axis of its own."""
    if not others:
        yield str(array.name), array
        return
    axis = others[0]
    values = array[axis].values if axis in array.coords else np.arange(array.sizes[axis])
    for number, value in enumerate(values):
        yield value if isinstance(value, str) else f"{array.name}_{value}", array.isel({axis: number}, drop=True)
