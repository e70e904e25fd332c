"""Read the forcing from a dataset: found, converted or derived, still lazy."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import xarray as xr

from xh2cm.data.derive import DERIVATIONS, NEEDS, day_angle, day_length
from xh2cm.data.fill import RULES, Fill, filled
from xh2cm.data.match import Match
from xh2cm.data.reading import Input, _axes, _bare, _names, _read_fitting, called, place_name
from xh2cm.data.units import to_canonical
from xh2cm.errors import Finding, InputError, closest
from xh2cm.variables import FORCING, SOURCES, Var

ROLE = {"role": "forcing"}
"""Attribute by which forcing that a process brings is known in the canonical dataset."""

DAY_LENGTHS = "dayl", "daylength", "day_length"
"""Names of the length of the day, as Daymet gives it."""


def listed(forcing: Sequence[str | Var] | str | Var | None) -> list[str | Var]:
    """Return the forcings asked for as a list; the five of the published model where nothing is asked."""
    return list(FORCING) if forcing is None else [forcing] if isinstance(forcing, str | Var) else list(forcing)


def forcing_names(forcing: Sequence[str | Var]) -> list[str]:
    """Return the names of forcings."""
    return [one.name if isinstance(one, Var) else one for one in forcing]


def forcing_of(dataset: xr.Dataset) -> tuple[str, ...]:
    """Return the names of the forcing of a canonical dataset, the five first, and those that processes bring by name.

    Parameters
    ----------
    dataset : Dataset
        As `check` gives it.

    Returns
    -------
    tuple of str
    """
    brought = [str(n) for n, a in dataset.data_vars.items() if n not in FORCING and a.attrs.get("role") == ROLE["role"]]
    return (*(name for name in FORCING if name in dataset), *sorted(brought))


def with_forcing(source: Input, forcing: Sequence[str | Var], names: Mapping[str, str | float]) -> Input:
    """Let forcing that processes bring be known and found like the five: as mapped, by name, by standard name.

    Parameters
    ----------
    source : Input
    forcing : sequence of str or Var
        Asked for; those that are a `Var` are brought.
    names : mapping of str to str or float
        Name in the model to name in the dataset, or to a number.

    Returns
    -------
    Input
    """
    brought = {one.name: one for one in forcing if isinstance(one, Var)}
    taken = {match.source for matches in source.matches.values() for match in matches}
    variables = {str(n): v for n, v in source.dataset.variables.items() if n not in taken and v.dtype.kind in "fiu"}
    found = {}
    for key, var in brought.items():
        words = {word.lower() for word in (key, *var.aliases)}
        by_name = [n for n in variables if n.lower() == key.lower()] or [n for n in variables if n.lower() in words]
        standard = {var.standard_name, *var.standard_names} - {None}
        by_standard_name = [n for n, v in variables.items() if v.attrs.get("standard_name") in standard]
        if key in names:
            given = names[key]
            found[key] = [Match(given if isinstance(given, str) else float(given), "mapping")]
        else:
            by = "name" if by_name else "standard name"
            found[key] = [Match(n, by) for n in by_name or by_standard_name]
    matches = {**source.matches, **{key: several for key, several in found.items() if several}}
    return dataclasses.replace(source, matches=matches, known={**source.known, **brought})


def mapping_of_forcing(
    forcing: Sequence[str | Var], names: Mapping[str, str | float], ds: xr.Dataset, findings: list[Finding]
) -> dict[str, str | float]:
    """Return what `names` says of forcing that processes bring; what it cannot say is a finding.

    Parameters
    ----------
    forcing : sequence of str or Var
    names : mapping of str to str or float
    ds : Dataset
    findings : list of Finding
        Added to.

    Returns
    -------
    dict
    """
    found: dict[str, str | float] = {}
    for one in forcing:
        if not isinstance(one, Var) or one.name not in names:
            continue
        given = names[one.name]
        if isinstance(given, str) and given not in ds.variables:
            problem = f"is mapped to {given!r}, which the dataset does not hold"
            findings.append(Finding(one.name, problem, closest(given, [str(n) for n in ds.variables])))
        else:
            found[one.name] = given
    return found


def asked_forcing(forcing: Sequence[str | Var] | None, findings: list[Finding]) -> list[str]:
    """Return the names of the forcings to look for, the five in the order of the model.

    Parameters
    ----------
    forcing : sequence of str or Var, optional
        By default the five; a `Var` is forcing that a process brings.
    findings : list of Finding
        Added to.

    Returns
    -------
    list of str
    """
    asked = listed(forcing)
    strange = [name for name in asked if isinstance(name, str) and name not in FORCING]
    findings += [Finding(f"forcing: {n!r}", "is no forcing of the model", closest(n, FORCING)) for n in strange]
    return [name for name in FORCING if name in asked] + [one.name for one in asked if isinstance(one, Var)]


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
    angle = _chunked(day_angle(_bare(source.dataset["time"])), chunks)

    def read(key: str) -> xr.DataArray | None:
        if key in wanted:
            return given.get(key)
        if key not in sources:
            array = _read_fitting(source, key, ("time", *source.land))
            if array is None:
                return None
            if key == "shortwave_in":
                array = _over_the_whole_day(source, array, _chunked(angle, chunks))
            sources[key] = _chunked(array, chunks)
        return sources[key]

    derived: dict[str, xr.DataArray] = {}
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
    findings += [
        _absent(source, key) for key in wanted if key not in FORCING and key not in given and key not in broken
    ]
    for key in given.keys() - FORCING.keys():
        given[key] = given[key].assign_attrs(ROLE)
    return {key: (given | derived)[key] for key in wanted if key in given | derived}, sources


def fill_gaps(
    source: Input, forcing: Mapping[str, xr.DataArray], fills: Mapping[str, Fill], findings: list[Finding]
) -> tuple[dict[str, xr.DataArray], dict[str, xr.DataArray]]:
    """Fill gaps of the forcing by the rules that were asked for.

    Parameters
    ----------
    source : Input
    forcing : mapping of str to DataArray
    fills : mapping of str to Fill
    findings : list of Finding
        Added to.

    Returns
    -------
    forcing, filled : dict of str to DataArray
        The forcing, and by variable which of its values were filled.
    """
    found, marks = dict(forcing), {}
    time = _bare(source.dataset["time"])
    for key, fill in fills.items():
        if key not in forcing:
            continue
        other, places = None, None
        try:
            if fill.rule == "neighbour":
                places = neighbours(source, key)
            elif fill.rule not in RULES:
                units = source.units.get(fill.rule)
                other = _bare(to_canonical(source.dataset[fill.rule], FORCING[key], units)).astype("float32")
        except InputError as error:
            findings += error.findings
            continue
        found[key] = filled(forcing[key], fill, time, other, places)
        marks[key] = forcing[key].isnull() & found[key].notnull()
    return found, marks


def neighbours(source: Input, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return latitudes and longitudes of places along the only land axis.

    Raises
    ------
    InputError
        If there is another number of land axes, or no places.
    """
    names = [place_name(source, place) for place in ("latitude", "longitude")]
    if len(source.land) != 1 or not all(names) or source.shape[0] < 2:
        problem = "needs at least two places along one axis, with latitude and longitude"
        raise InputError([Finding(f"fill[{key!r}]", f"'neighbour' {problem}", "give another rule, such as 'linear'")])
    latitude, longitude = (np.asarray(source.dataset[name].values, dtype=float) for name in names)
    return latitude, longitude


def _over_the_whole_day(source: Input, array: xr.DataArray, angle: xr.DataArray) -> xr.DataArray:
    """Spread a mean over the daylight hours, such as Daymet's, over the 24 hours of the day."""
    name = called(array, "shortwave_in")
    if name not in source.dataset:
        return array
    attrs = source.dataset[name].attrs
    length = next((n for n in _names(source.dataset) if n.lower() in DAY_LENGTHS), "")
    said = any("daylight" in str(attrs.get(key, "")).lower() for key in ("long_name", "cell_methods", "description"))
    if not said and not (length and name.lower() == "srad"):
        return array
    if length:
        hours = _bare(source.dataset[length]).astype("float32")
        share = hours / (24 if "h" in str(source.dataset[length].attrs.get("units", "s")).lower() else 86400)
        how = f"the day length {length}"
    else:
        latitude = _read_fitting(source, "latitude", source.land)
        if latitude is None:
            problem = "is a mean over the daylight hours, and there is neither day length nor latitude"
            raise InputError([Finding(name, problem, 'say where the latitude is: names={"latitude": ...}')])
        share, how = day_length(latitude, angle).astype("float32"), "the day length at its latitude (eq. 34)"
    source.notes.append(f"shortwave_in: {name} is a mean over the daylight hours, made one of the day by {how}")
    return (array * share).transpose(*array.dims, ...).assign_attrs(array.attrs)


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
    raise InputError([Finding(name, problem, f'give daily {source.known[key].long_name}: names={{"{key}": ...}}')])


def _absent(source: Input, key: str) -> Finding:
    taken = {match.source for matches in source.matches.values() for match in matches}
    free = [n for n in _names(source.dataset) if "time" in source.dataset[n].dims and n not in taken]
    problem = f"is not in the dataset by any known name, nor by the standard name {source.known[key].standard_name}"
    choice = f", one of: {', '.join(free)}" if free else " (no other variable of the dataset is daily)"
    where = f'say where it is: names={{"{key}": ...}}{choice}'
    if key == "co2":
        others = (
            'a number in ppm: names={"co2": 410.0}; or train water alone, which needs none: processes=Processes.water()'
        )
        return Finding(key, problem, f"{where}; or give {others}")
    return Finding(key, problem, where + (f"; or add {NEEDS[key]} to derive it from" if key in NEEDS else ""))
