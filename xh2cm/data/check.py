"""The door: a user's dataset becomes the canonical one, or one error that holds everything wrong with it."""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import warnings
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from typing import Any, ParamSpec

import numpy as np
import xarray as xr

from xh2cm.ambient import undisturbed
from xh2cm.data.align import doubled, is_place
from xh2cm.data.balances import balance_findings
from xh2cm.data.chunks import warn_of_slow_chunks
from xh2cm.data.files import unreadable, unwritten
from xh2cm.data.fill import asked_fills
from xh2cm.data.findings import (
    empty_findings,
    filled_notes,
    oddities,
    shared_gaps,
    unusable_finding,
)
from xh2cm.data.match import KNOWN, find_variables
from xh2cm.data.options import CheckOptions, DataOptions
from xh2cm.data.ranges import MARKING, range_findings, refined
from xh2cm.data.read_forcing import (
    asked_forcing,
    fill_gaps,
    forcing_names,
    listed,
    mapping_of_forcing,
    read_forcing,
    with_forcing,
)
from xh2cm.data.read_land import grid_area, read_area, read_features, read_mask
from xh2cm.data.read_targets import asked_targets, read_targets, whole_gauges, with_targets
from xh2cm.data.reading import (
    PLACES,
    TAKEN,
    Found,
    Input,
    land_axes,
    place_name,
    with_time,
)
from xh2cm.data.report import ACTUAL_RANGE, Report, Role, Row, Scan
from xh2cm.data.scan import (
    Facts,
    fingerprint,
    forcing_days,
    gaps,
    outside_land,
    reasons_to_drop,
    survey,
    with_values,
    without_rounding,
)
from xh2cm.data.times import label
from xh2cm.errors import Finding, H2CMError, H2CMWarning, InputError, closest, mapping_findings, outside
from xh2cm.options import keywords_of, part
from xh2cm.targets import Target
from xh2cm.variables import FORCING, STATIC, Var

__all__ = ["check", "checked", "narrowed"]


Given = ParamSpec("Given")

FORCING_DAYS = {"long_name": "number of days with all forcing", "units": "1"}
"""Attributes of a count in the canonical dataset: 0 where a cell cannot be used."""


def _naming_damage(checking: Callable[Given, Report]) -> Callable[Given, Report]:
    """Say which chunk of which variable it was that could not be read."""

    @functools.wraps(checking)
    def checked(*told: Given.args, **named: Given.kwargs) -> Report:
        try:
            with undisturbed():
                return checking(*told, **named)
        except (H2CMError, Warning):
            raise
        except Exception as error:  # a damaged chunk may fail anywhere in a decoder
            ds = told[0] if told else named.get("ds")
            if isinstance(ds, xr.Dataset) and (findings := unreadable(ds)):
                raise InputError(findings) from error
            raise

    return checked


@_naming_damage
@keywords_of(CheckOptions)
def check(ds: xr.Dataset, options: CheckOptions) -> Report:
    """Check a dataset; see `xh2cm.check`.

    Parameters
    ----------
    ds : Dataset

    Returns
    -------
    Report

    Raises
    ------
    InputError
        With everything that is wrong, each with what to do about it.
    """
    scan, findings = _scanned(ds, options)
    return _judged(scan, findings)


def checked(
    ds: xr.Dataset | Report,
    options: DataOptions,
    *,
    forcing: Sequence[str | Var] | None = None,
    targets: Sequence[str | Target] | None = None,
    static: Sequence[str] | None = None,
    pinned: Collection[str] = (),
) -> Report:
    """Check a dataset for a model, or take what is needed of one that was checked before.

    Parameters
    ----------
    ds : Dataset or Report
    options : DataOptions
        Of the dataset; they belong to `check` where that was called before.
    forcing, targets, static, pinned
        See `narrowed`.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        As `check`, or options of data that were checked already.
    """
    data = part(options, DataOptions)
    if not isinstance(ds, Report):
        ds = ds.drop_vars(list(pinned)) if pinned else ds
        static = data.static if static is None else static
        return check(ds, **vars(data) | {"static": static}, forcing=forcing, targets=targets)
    told = [f.name for f in dataclasses.fields(data) if getattr(data, f.name) is not f.default]
    if told:
        problem, remedy = (
            "cannot be changed for data that were checked already",
            "give it to check: ds.h2cm.check({}=...)",
        )
        raise InputError(Finding(name, problem, remedy.format(name)) for name in told)
    return narrowed(ds, forcing=forcing, targets=targets, static=static, pinned=pinned)


def narrowed(
    report: Report,
    *,
    forcing: Sequence[str | Var] | None = None,
    targets: Sequence[str | Target] | None = None,
    static: Sequence[str] | None = None,
    pinned: Collection[str] = (),
) -> Report:
    """Check for one model what was checked for any, without reading the data again.

    Parameters
    ----------
    report : Report
    forcing : sequence of str, optional
        Forcing variables that the model needs; all of the report by default.
    targets : sequence of str or Target, optional
        All targets of the report by default.
    static : sequence of str, optional
        All static features of the report by default.
    pinned : collection of str
        Variables that hold maps of pinned parameters, and are not static features.

    Returns
    -------
    Report
        Equal to that of `check` with these arguments. The data are read again only where they were checked for less.

    Raises
    ------
    InputError
        As `check`.
    """
    scan = report.scan
    forcing = listed(scan.options.forcing) if forcing is None else listed(forcing)
    told: dict[str, Any] = vars(scan.options) | {"forcing": forcing, "options": None}
    told |= {name: value for name, value in {"targets": targets, "static": static}.items() if value is not None}
    options, found = CheckOptions(**told), scan.found
    wanted, asked = (scan.wanted, scan.asked) if targets is None else asked_targets(targets, options.names or {}, [])
    features = [n for n in found.features if n not in pinned] if static is None else list(static)
    needed = set(forcing_names(forcing))
    idle = found.forcing.keys() - needed
    derived = {key for key, array in found.forcing.items() if "derivation" in array.attrs}
    known = (
        needed <= found.forcing.keys()
        and not (idle & derived or (found.sources and idle - {"co2"}))  # else the sources would be others
        and (targets is None or asked <= found.targets.keys())
        and all(_alike(row, scan.wanted.get(key)) for key, row in wanted.items())
        and set(features) <= found.features.keys()
    )
    if not known:
        return check(scan.ds.drop_vars(list(pinned)), **told)
    kept = {"forcing": needed, "targets": {*wanted}, "quality": {*wanted}}
    facts = {
        fact: values
        for fact, values in scan.facts.items()
        if fact[0] != "features" and (fact[0] not in kept or fact[1] in kept[fact[0]])
    }
    facts |= {fact: values for n in features for fact, values in scan.facts.items() if fact[:2] == ("features", n)}
    others = tuple(f"{key}{end}" for key in scan.wanted.keys() - wanted for end in (" ", ":"))
    notes, left_out = ([text for text in told if not text.startswith(others)] for told in (scan.notes, scan.left_out))

    def among(arrays: Mapping[str, xr.DataArray], names: Collection[str]) -> dict[str, xr.DataArray]:
        return {key: array for key, array in arrays.items() if key in names}

    found = dataclasses.replace(
        found,
        forcing=among(found.forcing, needed),
        targets=among(found.targets, wanted),
        quality=among(found.quality, wanted),
        shares=among(found.shares, wanted),
        features={name: found.features[name] for name in features},
    )
    return _judged(
        scan._replace(
            options=options, found=found, facts=facts, asked=asked, wanted=wanted, notes=notes, left_out=left_out
        )
    )


def _alike(row: Target, other: Target | None) -> bool:
    """Say whether two rows of the table of targets read the same variables."""
    return other is not None and (row.quality, row.cells, row.var) == (other.quality, other.cells, other.var)


def _scanned(ds: xr.Dataset, options: CheckOptions) -> tuple[Scan, list[Finding]]:
    """Read a dataset, lazily, and look at every value once; say what is wrong with it so far."""
    if not isinstance(ds, xr.Dataset):
        raise InputError([Finding("ds", f"is a {type(ds).__name__}", "give a Dataset, such as xr.open_dataset(path)")])
    findings: list[Finding] = []
    notes: list[str] = []
    given = ds
    named = {"names": options.names, "units": options.units}
    if odd := [*mapping_findings(named, '"precipitation": ...'), *_no_texts(ds)]:
        raise InputError(odd)
    names, units = dict(options.names or {}), dict(options.units or {})
    if options.missing not in ("skip", "drop", "raise"):
        remedy = 'give missing="skip", missing="drop" or missing="raise"'
        findings.append(Finding("missing", f"is {options.missing!r}", remedy))
    present = [str(name) for name in ds.variables]
    strange = [name for name in units if name not in present and name not in KNOWN]
    findings += [Finding(f"units[{n!r}]", "names no variable of the dataset", closest(n, present)) for n in strange]
    empty = [str(dim) for dim, size in ds.sizes.items() if size == 0]
    if empty:
        raise InputError([Finding(dim, "has length 0", "give data along it: the selection is empty") for dim in empty])
    asked_for = listed(options.forcing)
    of_brought = mapping_of_forcing(asked_for, names, ds, findings)
    matches = find_variables(ds, {k: v for k, v in names.items() if k not in of_brought}, units, findings)
    ds = with_time(ds, matches, findings, notes)
    land = land_axes(ds, matches)
    if taken := [str(dim) for dim in land if dim in TAKEN]:
        problem = "is an axis of the land, and the name of something else here"
        raise InputError([Finding(dim, problem, f'ds = ds.rename({dim}="y")') for dim in taken])
    findings += _doubled(ds, land)
    wanted, asked = asked_targets(options.targets, names, findings)
    source = with_targets(with_forcing(Input(ds, matches, units, land, notes=notes), asked_for, of_brought), wanted)
    driving, sources = read_forcing(source, asked_forcing(options.forcing, findings), findings)
    fills = asked_fills(options.fill, [*FORCING], present, findings)
    driving, filled = fill_gaps(source, driving, fills, findings)
    left_out: list[str] = []
    observed, quality, shares = read_targets(source, wanted, asked, findings, notes, left_out)
    found = Found(
        forcing=driving,
        sources=sources,
        targets=observed,
        features=read_features(source, options.static, wanted, findings, notes),
        quality=quality,
        shares=shares,
        mask=read_mask(source, options.mask, findings),
        area=read_area(source, findings),
        filled=filled,
    )
    read_from = _originals(source, found.forcing, found.sources)
    warn_of_slow_chunks(source.dataset[name] for name in read_from)
    for absent in unwritten(source.dataset, [*read_from, *_originals(source, found.targets), *found.features]):
        notes.append(str(absent))
        if absent.variable in read_from:
            warnings.warn(str(absent), H2CMWarning, stacklevel=outside())
    facts = survey(found, source)
    findings = refined(findings, facts, source, [])
    return Scan(given, options, source, found, facts, wanted, asked, notes, left_out), findings


def _warn_of(doubts: Sequence[str]) -> None:
    """Warn of what may be right."""
    for doubt in doubts:
        warnings.warn(doubt, H2CMWarning, stacklevel=outside())


def _judged(scan: Scan, findings: Sequence[Finding] = ()) -> Report:
    """Say what follows from the facts of a scan: what is wrong, which cells can be used, and the canonical dataset."""
    source, facts, missing = scan.source, scan.facts, scan.options.missing
    findings, notes, left_out = list(findings), list(scan.notes), list(scan.left_out)
    doubts: list[str] = []
    impossible, marked = range_findings(scan.found, facts, source, doubts)
    found = without_rounding(scan.found, facts, notes)
    notes += filled_notes(found, facts, scan.options.fill)
    found = with_values(found, facts, source, scan.asked, findings, notes, left_out)
    outside, days = outside_land(found, facts, source), forcing_days(found, facts, source)
    reasons = reasons_to_drop(found, facts, source, days, whole=missing != "skip")
    usable = np.asarray(~outside & ~np.any([np.zeros(source.shape, dtype=bool), *reasons.values()], axis=0))
    dropped = {reason: int((lost & ~outside).sum()) for reason, lost in reasons.items()}
    found = whole_gauges(found, usable, findings, notes)
    impossible += empty_findings(found, facts, source, outside, whole=missing != "skip")
    with np.errstate(all="ignore"):
        contradictions = list(balance_findings(found, facts, source, outside, marked, doubts))
    told = {finding.variable for finding in contradictions}  # of which the ends are not what is wrong
    impossible = [f for f in impossible if f.variable not in told or MARKING in f.problem] + contradictions
    findings += impossible
    if not usable.any() and not impossible:  # else these are why
        findings.append(unusable_finding(facts, source, dropped))
    elif missing == "raise":
        remedy = 'fill it, use the other days: missing="skip", or leave these cells out: missing="drop"'
        findings += [Finding("cells", f"{reason} in {count:,}", remedy) for reason, count in dropped.items() if count]
    if findings:
        raise InputError(dict.fromkeys(findings))
    notes += oddities(found, facts, source, usable, outside)
    _warn_of(doubts)
    notes += doubts
    notes += shared_gaps(found, facts, source)
    days = np.where(usable, days, 0)
    dataset = _canonical(found, facts, source, days).assign_attrs(forcing_fingerprint=fingerprint(facts, usable))
    for key in found.forcing:
        ends = [float(facts["forcing", key, end]) for end in ("lowest", "highest")]
        dataset[key].attrs[ACTUAL_RANGE] = np.array(ends, dtype=np.float32)
    time = dataset["time"]
    return Report(
        dataset=dataset,
        rows=tuple(_rows(found, facts, source, outside)),
        period=f"{time.size:,} days, {label(time[0])} to {label(time[-1])} ({time.dt.calendar} calendar)",
        cells=usable.size,
        outside=int(outside.sum()),
        dropped=dropped,
        notes=(*left_out, *notes),
        left_out=tuple(left_out),
        scan=scan,
    )


def _doubled(ds: xr.Dataset, land: Sequence[Hashable]) -> Iterator[Finding]:
    """Say which axes hold places twice, as where data of two conventions were joined."""
    for dim in land:
        if dim not in ds.indexes:
            continue
        longitude = is_place(ds[dim], dim, "longitude")
        if pairs := doubled(ds.indexes[dim], longitude=longitude):
            one, other = pairs[0]
            problem = f"holds {len(pairs)} places twice, such as {one:.8g} and {other:.8g}: unlike axes were joined"
            how = f"(other[{dim!r}] + 180) % 360 - 180" if other - one > 1 else f"other[{dim!r}].astype('float32')"
            yield Finding(str(dim), problem, f"give both the same labels before joining: {how}")


def _no_texts(ds: xr.Dataset) -> Iterator[Finding]:
    """Say which variables have a name that is no text: no file holds such, and no argument names one."""
    for name in ds.variables:
        if not isinstance(name, str):
            yield Finding(f"variable {name!r}", "has a name that is no text", f'ds = ds.rename({{{name!r}: "..."}})')


def _originals(source: Input, *roles: Mapping[str, xr.DataArray]) -> list[str]:
    """Names in the user's dataset of what was read from it."""
    keys = [key for role in roles for key, array in role.items() if "derivation" not in array.attrs]
    names = [str(match.source) for key in keys for match in source.matches.get(key, [])]
    return [name for name in dict.fromkeys(names) if name in source.dataset]


def _canonical(found: Found, facts: Facts, source: Input, days: np.ndarray) -> xr.Dataset:
    """Put the canonical dataset together, with the coordinates of the input."""
    ds, land = source.dataset, source.land
    arrays = {**found.forcing, **found.targets}
    data: dict[Hashable, xr.Variable] = {key: array.variable for key, array in arrays.items()}
    data |= {f"{key}_quality": array.variable for key, array in found.quality.items() if key in found.targets}
    data |= {f"{key}_cells": array.variable for key, array in found.shares.items() if key in found.targets}
    data["mask"] = xr.Variable(land, days > 0, STATIC["mask"].attrs)
    data["forcing_days"] = xr.Variable(land, days, FORCING_DAYS)
    if found.filled:
        everywhere = xr.zeros_like(xr.DataArray(np.zeros((source.days, *source.shape), bool), dims=("time", *land)))
        marks = functools.reduce(operator.or_, found.filled.values(), everywhere)
        data["filled"] = marks.transpose("time", *land).variable
        data["filled"].attrs = {"long_name": "whether any forcing of the day was filled"}
    regular = grid_area(source)
    area = np.ones(source.shape) if regular is None else regular.values
    given = facts.get(("cell", "area", "values"), area)
    data["area"] = xr.Variable(land, given, STATIC["area"].attrs)
    nothing = xr.DataArray(np.zeros((0, *source.shape), dtype="float32"), dims=("feature", *land))
    layers = [array.transpose(*land).expand_dims("feature") for array in found.features.values()]
    static = xr.concat([nothing, *layers], "feature", coords="minimal", compat="override")
    data["static"] = (static.chunk(feature=-1) if static.chunks else static).variable  # a cell's stand together
    for key in ("mean", "std"):
        if found.features and all(key in array.attrs for array in found.features.values()):
            data["static"].attrs[key] = [array.attrs[key] for array in found.features.values()]
    used = {dim for variable in data.values() for dim in variable.dims}
    places = {key: place_name(source, key) for key in PLACES}
    names = [*ds.coords, *(name for name in places.values() if name and name not in ds.coords)]
    coordinates = {name: ds[name].variable for name in names if set(ds[name].dims) <= used and name not in data}
    for key, name in places.items():  # so that whatever comes next finds them by CF
        if name in coordinates:
            coordinates[name] = coordinates[name].copy(deep=False)
            coordinates[name].attrs = STATIC[key].attrs | coordinates[name].attrs | {"standard_name": key}
    coordinates["feature"] = xr.Variable("feature", np.array(list(found.features), dtype=str))
    return xr.Dataset(data, coords=coordinates, attrs=ds.attrs)


def _rows(found: Found, facts: Facts, source: Input, outside: np.ndarray) -> Iterator[Row]:
    roles: dict[tuple[Role, str], Mapping[str, xr.DataArray]] = {
        ("forcing", "forcing"): found.forcing,
        ("source", "sources"): found.sources,
        ("target", "targets"): found.targets,
        ("static", "features"): found.features,
    }
    for (role, entry), arrays in roles.items():
        for key, array in arrays.items():
            derivation = str(array.attrs.get("derivation", ""))
            match = source.matches[key][0] if role != "static" and not derivation else None
            found_as = key if role == "static" else "" if match is None else match.source
            lowest, highest = (float(facts[entry, key, fact]) for fact in ("lowest", "highest"))
            missing, size = gaps(facts, entry, key, array, outside)
            yield Row(
                role=role,
                name=key,
                found=found_as if isinstance(found_as, str) else f"{found_as:g}",
                by="" if match is None else match.by,
                units_from=str(array.attrs.get("original_units", "")),
                units_to=str(array.attrs.get("units", "")),
                lowest=lowest if lowest <= highest else math.nan,
                highest=highest if lowest <= highest else math.nan,
                missing=missing,
                size=size,
                derivation=derivation,
            )
