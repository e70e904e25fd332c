"""A user's dataset, read: forcing, targets, static features, mask and area in canonical units, still lazy.

What cannot be read is added to a list of findings, so that all of it can be told at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import xarray as xr

from xh2cm.data.derive import DERIVATIONS, NEEDS, day_angle
from xh2cm.data.match import KNOWN, Match, closest
from xh2cm.data.times import daily_findings, datetime_dimensions, label, month_numbers, record_findings
from xh2cm.data.units import conversion, to_canonical
from xh2cm.errors import Finding, InputError
from xh2cm.variables import FORCING, SOURCES, STATIC, TARGETS

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
    "with_time",
    "within_forcing",
]

EARTH_RADIUS = 6_371_007.2  # m, of the sphere with the earth's surface
FEATURE_AXES = ("feature", "features", "variable", "predictor", "band")
PLACES = ("latitude", "longitude")


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
    """

    dataset: xr.Dataset
    matches: Mapping[str, list[Match]]
    units: Mapping[str, str]
    land: tuple[Hashable, ...]

    @property
    def days(self) -> int:
        """Length of the record."""
        return int(self.dataset.sizes["time"])

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of the land axes."""
        return tuple(int(self.dataset.sizes[dim]) for dim in self.land)


@dataclasses.dataclass(frozen=True)
class Found:
    """What was read, by name, in canonical units, without coordinates, lazy where the input is.

    Parameters
    ----------
    forcing, sources, targets, features : mapping of str to DataArray
        Sources are what absent forcing was derived from.
    mask, area : DataArray, optional
        Given by the user.
    """

    forcing: Mapping[str, xr.DataArray]
    sources: Mapping[str, xr.DataArray]
    targets: Mapping[str, xr.DataArray]
    features: Mapping[str, xr.DataArray]
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
    axes = datetime_dimensions(ds)
    names = [match.source for key in (*FORCING, *SOURCES) for match in matches.get(key, []) if match.source in ds]
    carried = [dim for name in names for dim in ds[name].dims if dim in axes] or list(axes)
    if not carried:
        undecoded = [str(n) for n, v in ds.variables.items() if " since " in str(v.attrs.get("units", ""))]
        dates = 'ds = ds.assign_coords(time=("time", pd.date_range("2001-01-01", periods=ds.sizes["time"])))'
        remedy = "ds = xr.decode_cf(ds)" if undecoded else dates
        problem = f"no axis of the dataset is a time axis{f': {undecoded[0]!r} is not decoded' if undecoded else ''}"
        raise InputError([*findings, Finding("time", problem, remedy)])
    axis = max(dict.fromkeys(carried), key=carried.count)
    name = axes[axis]
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
        Name in the tables.

    Returns
    -------
    str
    """
    return str(array.attrs.get("original_name", KNOWN[key].name))


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
    var, ds = KNOWN[key], source.dataset
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
    there = ", ".join(name for name in _names(source.dataset) if "time" in source.dataset[name].dims)
    problem = f"is not in the dataset by any known name, nor by the standard name {FORCING[key].standard_name}"
    where = f'say where it is: names={{"{key}": ...}}, one of: {there or "none"}'
    if key == "co2":
        return Finding(key, problem, f'{where}; or give a number in ppm: names={{"co2": 410.0}}')
    return Finding(key, problem, where + (f"; or add {NEEDS[key]} to derive it from" if key in NEEDS else ""))


def asked_targets(
    targets: Sequence[str] | None, variables: Mapping[str, str | float], findings: list[Finding]
) -> tuple[list[str], set[str]]:
    """Say which targets to look for, and which of them the user asked for.

    Parameters
    ----------
    targets : sequence of str, optional
        By default all that are known.
    variables : mapping
        The user's; a target named there is asked for.
    findings : list of Finding
        Added to.

    Returns
    -------
    wanted : list of str
        Names in the tables.
    asked : set of str
    """
    names = {alias.lower(): key for key, var in TARGETS.items() for alias in (*var.aliases, key)}
    if targets is None:
        return list(TARGETS), {names[str(name).lower()] for name in variables if str(name).lower() in names}
    asked: list[str] = []
    for target in [targets] if isinstance(targets, str) else targets:
        if target.lower() in names:
            asked.append(names[target.lower()])
        else:
            findings.append(Finding(f"targets: {target!r}", "is no target of the model", closest(target, TARGETS)))
    return asked, set(asked)


def read_targets(
    source: Input, wanted: Iterable[str], asked: set[str], findings: list[Finding], notes: list[str]
) -> dict[str, xr.DataArray]:
    """Read the targets that are there and fit; one that does not fit is an error only where it was asked for.

    Parameters
    ----------
    source : Input
    wanted : iterable of str
    asked : set of str
    findings : list of Finding
        Added to.
    notes : list of str
        Added to.

    Returns
    -------
    dict of str to DataArray
    """
    read: dict[str, xr.DataArray] = {}
    for key in wanted:
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
        unfit = list(_unfit(source, array, key))
        if not unfit:
            read[key] = array.astype("float32")
        elif key in asked:
            findings += unfit
        else:
            notes += [f"{key} is left out: {finding.variable} {finding.problem}" for finding in unfit]
    return read


def _unfit(source: Input, array: xr.DataArray, key: str) -> Iterator[Finding]:
    """Say why a target cannot be compared with the model: its place or its time."""
    name, var = called(array, key), TARGETS[key]
    times = datetime_dimensions(source.dataset)
    axes = [dim for dim in array.dims if dim in times]
    place = [dim for dim in array.dims if dim not in times]
    if set(place) != set(source.land):
        problem = f"lies on {_axes(place)}, and the forcing on {_axes(source.land)}"
        yield Finding(name, problem, f'bring it to the axes of the forcing, such as ds["{name}"].interp(...)')
    elif "time" not in var.cell_methods:
        if axes:
            remedy = f'ds["{name}"] = ds["{name}"].mean("{axes[0]}")'
            yield Finding(name, f"varies along {axes[0]}, where one number a cell is wanted", remedy)
    elif len(axes) != 1:
        yield Finding(name, "has no time axis", f'give daily or monthly {var.long_name}: names={{"{key}": ...}}')
    else:
        time, forcing_time = source.dataset[axes[0]], source.dataset["time"]
        if axes[0] != "time":
            yield from record_findings(time, name)
        if not within_forcing(source, time).any():
            period = f"{label(forcing_time[0])} to {label(forcing_time[-1])}"
            problem = f"runs from {label(time[0])} to {label(time[-1])}, outside the forcing's {period}"
            yield Finding(name, problem, f"give {var.long_name} of the forcing's time, or forcing of its time")


def read_mask(source: Input, mask: str | xr.DataArray | None, findings: list[Finding]) -> xr.DataArray | None:
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
    height, width = (np.deg2rad(np.median(np.abs(np.diff(axis.values)))) for axis in (latitude, longitude))
    south_to_north = 2 * np.sin(height / 2) * np.cos(np.deg2rad(latitude.values.astype("float64")))
    rows = xr.DataArray(EARTH_RADIUS**2 * width * south_to_north, dims=latitude.dims)
    return (rows * xr.DataArray(np.ones(longitude.size), dims=longitude.dims)).transpose(*source.land)


def read_features(
    source: Input, static: Sequence[str] | None, findings: list[Finding], notes: list[str]
) -> dict[str, xr.DataArray]:
    """Read the static features: those named, or all numbers that stand on the land axes and have no role.

    Parameters
    ----------
    source : Input
    static : sequence of str, optional
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
        free = [name for name in _names(ds) if name not in roles and _is_feature(source, ds[name])]
        names = [name for name in free if ds[name].dtype.kind in "fiu"]
        if len(names) < len(free):
            words = ", ".join(name for name in free if name not in names)
            notes.append(f"not static features, for they hold no numbers: {words}")
    else:
        names = [static] if isinstance(static, str) else list(static)
    read: dict[str, xr.DataArray] = {}
    for name in names:
        if name not in ds:
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
                if len(stored) == len(layers):
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
