"""A user's dataset, read: forcing, targets, static features, mask and area in canonical units, still lazy.

What cannot be read is added to a list of findings, so that all of it can be told at once.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from xh2cm.data.match import KNOWN, Match
from xh2cm.data.signs import reason_to_turn
from xh2cm.data.steps import days_of_each, hours_a_step, is_sum, stamped_at_end, with_bounds
from xh2cm.data.times import calendars, daily_findings, datetime_dimensions, month_numbers
from xh2cm.data.units import amount_units, conversion, to_canonical
from xh2cm.errors import Finding, InputError
from xh2cm.variables import FORCING, SOURCES, STATIC, TARGETS, Var

__all__ = [
    "Found",
    "Input",
    "called",
    "land_axes",
    "latitudes",
    "place_name",
    "with_time",
    "within_forcing",
]

PLACES = ("latitude", "longitude")
_DATES = {r"(19|20)\d{6}(\.0)?": "%Y%m%d", r"(19|20)\d{10}(\.0)?": "%Y%m%d%H%M", r"\d{4}-\d\d-\d\d": "%Y-%m-%d"}
TAKEN = {*FORCING, *TARGETS, *STATIC, "static", "feature", "fold", "label"} - {*PLACES}
"""Names of what the canonical dataset and predictions hold, which no axis of the land or of a target may have."""
RESERVED = {*FORCING, *STATIC, "static", "feature", "time"}  # names in the canonical dataset


class Refused(NamedTuple):
    """A variable that could not be converted, as it is in the file, and why."""

    array: xr.DataArray
    var: Var
    findings: tuple[Finding, ...]


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
    notes : list of str
        What was changed while it was read is added here.
    refused : dict of str to Refused
        Variables whose units are not known are added here, to look at their numbers.
    """

    dataset: xr.Dataset
    matches: Mapping[str, list[Match]]
    units: Mapping[str, str]
    land: tuple[Hashable, ...]
    known: Mapping[str, Var] = dataclasses.field(default_factory=lambda: KNOWN)
    notes: list[str] = dataclasses.field(default_factory=list)
    refused: dict[str, Refused] = dataclasses.field(default_factory=dict)

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
    filled : mapping of str to DataArray
        Values of the forcing that were missing and have been filled.
    """

    forcing: Mapping[str, xr.DataArray]
    sources: Mapping[str, xr.DataArray]
    targets: Mapping[str, xr.DataArray]
    features: Mapping[str, xr.DataArray]
    quality: Mapping[str, xr.DataArray]
    shares: Mapping[str, xr.DataArray]
    mask: xr.DataArray | None
    area: xr.DataArray | None
    filled: Mapping[str, xr.DataArray] = dataclasses.field(default_factory=dict)


def with_time(
    ds: xr.Dataset, matches: Mapping[str, list[Match]], findings: list[Finding], notes: list[str]
) -> xr.Dataset:
    """Give the axis the forcing runs along its name, and say what is wrong with it.

    Parameters
    ----------
    ds : Dataset
    matches : mapping of str to list of Match
    findings : list of Finding
        Added to.
    notes : list of str
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
        remedy = "ds = xr.decode_cf(ds)" if undecoded else _dates(ds)
        where = f"forcing, only {', '.join(map(str, axes))} of other variables" if axes else "dataset"
        problem = f"no axis of the {where} is a time axis{f': {undecoded[0]!r} is not decoded' if undecoded else ''}"
        raise InputError([*findings, Finding("time", problem, remedy)])
    axis = max(dict.fromkeys(carried), key=carried.count)
    name = axes[axis]
    if isinstance(ds.indexes.get(axis), pd.MultiIndex):
        problem = f"is stacked with others along {str(axis)!r}"
        raise InputError([*findings, Finding(str(name), problem, f'ds = ds.unstack("{axis}")')])
    findings += daily_findings(ds[name], str(name), ending=stamped_at_end(ds, name))
    if not ds[name].isnull().any():
        ds = with_bounds(ds, notes)
    if "time" in {*ds.variables, *ds.dims} - {axis, name}:
        ds = ds.rename(time="target_time")
    if name != axis:
        ds = ds.swap_dims({axis: name})
    return ds if name == "time" else ds.rename({name: "time"})


def _dates(ds: xr.Dataset) -> str:
    """Write as code how numbers such as 20040131 or texts become dates, or how dates are given."""
    for name, array in ds.variables.items():
        if array.ndim != 1 or not array.size or not re.search("time|date|day", str(name), re.IGNORECASE):
            continue
        texts = [str(value) for value in (array.values[0], array.values[-1])]
        for pattern, form in _DATES.items():
            if all(re.fullmatch(pattern, text) for text in texts):
                kind = "" if array.dtype.kind in "OUT" else ".astype(int).astype(str)"
                dates = f'pd.to_datetime(ds["{name}"].values{kind}, format="{form}")'
                return f'ds = ds.assign_coords({name}=("{array.dims[0]}", {dates}))'
    return 'give the dates: ds = ds.assign_coords(time=("time", ...)), such as pd.date_range(first, periods=...)'


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


def latitudes(source: Input) -> np.ndarray | None:
    """Return the latitude of each land cell.

    Parameters
    ----------
    source : Input

    Returns
    -------
    ndarray or None
        Degrees, on the land axes; None where no latitude is known.
    """
    name = place_name(source, "latitude")
    if not name or not set(source.dataset[name].dims) <= set(source.land):
        return None
    array = source.dataset[name].variable
    if array.dtype.kind not in "fiu":
        return None
    whole = xr.DataArray(np.zeros(source.shape), dims=source.land)
    return np.asarray((whole + array).transpose(*source.land).values)


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
    if undecoded := undecoded_finding(array):
        raise InputError([undecoded])
    units = source.units.get(name, source.units.get(key))
    try:
        array, units = _per_day(source, array, key, units)
        axis = next(iter(source.time_axes(array)), "time")
        read = to_canonical(array, var, units, str(axis))
    except InputError as error:
        source.refused[name] = Refused(_bare(array), var, error.findings)
        raise
    if reason := reason_to_turn(array, var):
        source.notes.append(f"{key}: the sign of {name} was turned, {reason}")
        stored = {"mean": -read.attrs["mean"]} if "mean" in read.attrs else {}
        read = (-read).assign_attrs({**read.attrs, **stored, "original_sign": "opposite"})
    return _bare(read)


def undecoded_finding(array: xr.DataArray) -> Finding | None:
    """Say that a variable holds packed numbers, as they are in the file.

    Parameters
    ----------
    array : DataArray

    Returns
    -------
    Finding or None
    """
    packed = sorted({"scale_factor", "add_offset", "_FillValue", "missing_value"} & array.attrs.keys())
    problem = f"is not decoded: its attributes hold {', '.join(packed)}"
    return Finding(str(array.name), problem, "ds = xr.decode_cf(ds)") if packed else None


def _per_day(source: Input, array: xr.DataArray, key: str, units: str | None) -> tuple[xr.DataArray, str | None]:
    """Turn amounts over steps into fluxes where the file says over which steps, or ask."""
    var, name = source.known[key], str(array.name)
    amount = amount_units(array.attrs.get("units") if units is None else units, var)
    axes = source.time_axes(array)
    if not amount or not axes:
        return array, units
    axis = datetime_dimensions(source.dataset)[axes[0]]
    days = days_of_each(source.dataset, axis)
    if is_sum(array) and days is not None:
        source.notes.append(f"{key}: {name} holds sums over its steps, as its cell methods say, and is divided by them")
        return (array / days).assign_attrs(array.attrs).rename(name), f"{amount} day-1"
    hours = hours_a_step(source.dataset[axis])
    problem = f"is in {amount!r}, an amount that does not say of how long, where {var.long_name} is a flux"
    state = f'units={{"{name}": "{amount} day-1"}}'
    if hours < 24:
        each = f"{amount} hour-1" if hours == 1 else f"{1 / hours:.6g} {amount} hour-1"
        problem = f"{problem}; its steps are {hours:g} hours long"
        remedy = f'for amounts of each step, units={{"{name}": "{each}"}}, of which a mean over the day is taken'
    elif hours > 24:
        length = f'ds["{axis}"].dt.days_in_month' if 28 * 24 <= hours <= 31 * 24 else f"{hours / 24:g}"
        remedy = f'if each is the sum over its step: ds["{name}"] = ds["{name}"] / {length}, then {state}'
    else:
        remedy = f'if each is the sum over its day: {state}; if it is a mean of hourly amounts: "{amount} hour-1"'
    raise InputError([Finding(name, problem, remedy)])


def _read_fitting(source: Input, key: str, axes: Sequence[Hashable]) -> xr.DataArray | None:
    """Read a variable that may have no other axes than these."""
    array = _read(source, key)
    other = [] if array is None else [dim for dim in array.dims if dim not in axes]
    if array is not None and other:
        name = called(array, key)
        problem = f"has the axes {_axes(array.dims)}, where {_axes(axes)} are wanted"
        if set(other) & set(source.time_axes(array)):
            read = f'ds["{name}"].sel({other[0]}=ds["time"], method="nearest")'
            remedy = f'take the nearest step of its own time axis: ds["{name}"] = {read}.drop_vars("{other[0]}")'
            raise InputError([Finding(name, problem, remedy)])
        remedy = f'ds["{name}"] = ds["{name}"].isel({other[0]}=0, drop=True), or bring it to these axes'
        raise InputError([Finding(name, problem, remedy)])
    return array
