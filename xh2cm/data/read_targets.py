"""Read targets from a dataset: observations in canonical units, their quality and gauges, still lazy."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import xarray as xr

from xh2cm.data.align import PLACES, align, is_place
from xh2cm.data.match import Match
from xh2cm.data.reading import (
    RESERVED,
    TAKEN,
    Found,
    Input,
    _axes,
    _bare,
    _names,
    _read,
    called,
    undecoded_finding,
    within_forcing,
)
from xh2cm.data.steps import is_instantaneous
from xh2cm.data.times import day_numbers, label, record_findings
from xh2cm.errors import Finding, InputError, closest
from xh2cm.targets import Target
from xh2cm.variables import TARGETS


def asked_targets(
    targets: Iterable[str | Target] | None, variables: Mapping[str, str | float], findings: list[Finding]
) -> tuple[dict[str, Target], set[str]]:
    """Return the targets to look for, and those that the user selected.

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
    """Add the user's own targets to those of the tables.

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
    source: Input,
    wanted: Mapping[str, Target],
    asked: set[str],
    findings: list[Finding],
    notes: list[str],
    left_out: list[str],
) -> tuple[dict[str, xr.DataArray], dict[str, xr.DataArray], dict[str, xr.DataArray]]:
    """Read the targets that are there and fit; one that does not fit is an error only where it was asked for.

    Parameters
    ----------
    source : Input
    wanted : mapping of str to Target
    asked : set of str
    findings : list of Finding
        Added to.
    notes, left_out : list of str
        Added to: what was done to bring a target to the land, and targets that could not be brought there.

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
        try:
            array = _on_days(source, array, key, notes)
            array = _on_land(source, array, key, notes) if of_gauges is None else array
            unfit = list(_unfit(source, array, key, place))
        except InputError as error:
            unfit = list(error.findings)
        if unfit:
            if key in asked:
                findings += unfit
            else:
                left_out += [f"{key} is left out: {finding.variable} {finding.problem}" for finding in unfit]
            continue
        read[key] = array.astype("float32")
        weights = _companion(source, key, "quality", row.quality, findings)
        if weights is not None and of_gauges is None:
            weights = _on_land(source, weights, key, [])
        if weights is not None and set(weights.dims) != set(array.dims):
            problem = f"has the axes {_axes(weights.dims)}, and {called(array, key)} {_axes(array.dims)}"
            findings.append(Finding(row.quality, problem, "give a number between 0 and 1 for each observation"))
        elif weights is not None:
            quality[key] = weights.transpose(*array.dims).astype("float32")
    return read, quality, shares


def _on_land(source: Input, array: xr.DataArray, key: str, notes: list[str]) -> xr.DataArray:
    """Bring a target with latitudes and longitudes of its own to those of the land.

    Raises
    ------
    InputError
        If they are others, not the same to rounding or with longitudes from 0 to 360.
    """
    ds = source.dataset

    def places(dims: Iterable[Hashable]) -> dict[str, Hashable]:
        kinds = ((kind, dim) for dim in dims for kind in PLACES if dim in ds.indexes and is_place(ds[dim], dim, kind))
        return dict(kinds)

    own = places(dim for dim in array.dims if dim not in source.time_axes(array))
    land = places(source.land)
    if own == land or own.keys() != land.keys() or len(land) != len(source.land):
        return array
    name = called(array, key)
    here = array.assign_coords({dim: ds[dim].variable for dim in own.values()})
    like = xr.Dataset(coords={dim: ds[dim].variable for dim in source.land})
    renamed = here.rename({own[kind]: dim for kind, dim in land.items() if own[kind] != dim})
    found = align(renamed, like, name, on=source.land, what="the forcing")
    pairs = ", ".join(f"{own[kind]} to {dim}" for kind, dim in land.items() if own[kind] != dim)
    notes.append(f"{key}: {name} is aligned by its coordinates, {pairs}")
    return _bare(found)


def _on_days(source: Input, array: xr.DataArray, key: str, notes: list[str]) -> xr.DataArray:
    """Place what was seen at moments some time apart, such as snow surveys, on the days of the forcing."""
    name, axes, time = called(array, key), source.time_axes(array), source.dataset["time"]
    if name not in source.dataset or not is_instantaneous(source.dataset[name]) or len(axes) != 1 or axes[0] == "time":
        return array
    days, seen = day_numbers(time), day_numbers(source.dataset[axes[0]])
    if seen.size < 2 or np.median(np.diff(seen)) <= 1 or np.any(np.diff(seen) <= 0):
        return array
    notes.append(f"{key}: {name} was observed at moments (cell methods: time: point), compared on their days")
    placed: xr.DataArray = array.rename({axes[0]: "time"}).assign_coords(time=seen).reindex(time=days)
    return placed.drop_vars("time").assign_attrs(array.attrs)


def _companion(source: Input, key: str, what: str, name: str, findings: list[Finding]) -> xr.DataArray | None:
    """Read a variable that a target names beside its own."""
    if not name:
        return None
    if name not in source.dataset:
        hint = closest(name, _names(source.dataset))
        findings.append(Finding(f"target {key}: {what}={name!r}", "is not in the dataset", hint))
        return None
    if undecoded := undecoded_finding(source.dataset[name]):
        findings.append(undecoded)
        return None
    return _bare(source.dataset[name])


def _unfit(source: Input, array: xr.DataArray, key: str, land: Sequence[Hashable]) -> Iterator[Finding]:
    """Return the findings that a target cannot be compared with the model, because of its land or its time."""
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
    """Keep the gauges whose cells are all usable, with weights that add up to 1.

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
