"""Find values that cannot be: outside the plausible range of their variable, or marks of missing values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import xarray as xr

from xh2cm.data.reading import Found, Input, Refused, called
from xh2cm.data.scan import Bounds, Facts, bounds_of, is_mark, look_at, scaling
from xh2cm.data.steps import since_midnight
from xh2cm.data.times import datetime_dimensions
from xh2cm.data.units import SPELLINGS, amount_units, conversion
from xh2cm.errors import Finding
from xh2cm.variables import Var

__all__ = ["range_findings", "value_findings"]

APART = 0.3  # an extreme may mark missing values if it lies this share of the range of all others away from them
WIDE = 0.05  # and if in no list, this share of the plausible range
NEAR = 0.02  # share of the range of all others that lies between them and a mark of the list that repeats
REPEATED = 3  # times an extreme must occur
STEPS = "has steps of less than a day"
MARKING = "which marks missing values"
ANYTHING = Var("", "", "", "any")


class Ends(NamedTuple):
    """What stands out at one end of a variable: how many values, which, and the nearest of all other values."""

    number: int
    mark: float
    following: float
    known: bool


def range_findings(found: Found, facts: Facts, source: Input, doubts: list[str]) -> tuple[list[Finding], set[str]]:
    """Find marks of missing values, and values outside the plausible range of their variable.

    Parameters
    ----------
    found : Found
    facts : Facts
    source : Input
    doubts : list of str
        What may be right is added here.

    Returns
    -------
    findings : list of Finding
    marked : set of str
        Variables that hold marks of missing values.
    """
    roles: Mapping[str, Mapping[str, xr.DataArray]] = {
        "sources": found.sources,
        "forcing": found.forcing,
        "targets": found.targets,
        "features": found.features,
    }
    wrong: list[tuple[bool, Finding]] = []
    marked: set[str] = set()
    for role, arrays in roles.items():
        for key, array in arrays.items():
            own = {name: float(facts[role, key, name]) for name in facts_of(facts, role, key)}
            var = ANYTHING if role == "features" else source.known[key]
            derived = "derivation" in array.attrs
            told = list(_findings(own, array, key, var, doubts))
            wrong += [(derived, finding) for finding in told]
            marked |= {key for finding in told if MARKING in finding.problem}
    # What is derived from something wrong is wrong too, and only the first is the user's to put right.
    first = [finding for derived, finding in wrong if not derived]
    return first or [finding for _, finding in wrong], marked


def facts_of(facts: Facts, role: str, key: str) -> Iterator[str]:
    """Name the facts about the range of a variable."""
    return (name for what, of, name in facts if (what, of) == (role, key) and facts[what, of, name].ndim == 0)


def value_findings(array: xr.DataArray, key: str, var: Var, doubts: list[str]) -> list[Finding]:
    """Find the same in a variable in memory.

    Parameters
    ----------
    array : DataArray
        In canonical units, as it was read.
    key : str
    var : Var
    doubts : list of str
        What may be right is added here.

    Returns
    -------
    list of Finding
    """
    return list(_findings(look_at(array.values, bounds_of(key, array, var)), array, key, var, doubts))


def _findings(
    facts: Mapping[str, float], array: xr.DataArray, key: str, var: Var, doubts: list[str]
) -> Iterator[Finding]:
    name = called(array, key) if var is not ANYTHING else key
    if "derivation" in array.attrs:
        if facts["below"] or facts["above"]:
            remedy = f"look at what it was derived from: {array.attrs['derivation']}"
            yield Finding(key, _outside(facts, var, facts["lowest"], facts["highest"]), remedy)
        return
    scale, offset = scaling(array, key, var)
    low, high = (_end(facts, array, key, var, side) for side in ("low", "high"))
    lowest = facts["lowest"] if low is None else low.following
    highest = facts["highest"] if high is None else high.following
    ends = [(">", low), ("<", high)]
    marks = {
        sign: end for sign, end in ends if end is not None and (end.known or not var.lower <= end.mark <= var.upper)
    }
    if marks:
        told = " and ".join(f"{_number((end.mark - offset) / scale)}" for end in marks.values())
        count = sum(end.number for end in marks.values())
        rest = f"all others run from {(lowest - offset) / scale:.4g} to {(highest - offset) / scale:.4g}"
        kept = " & ".join(
            f'(ds["{name}"] {_beyond(sign, scale)} {_between(end, scale, offset):.6g})' for sign, end in marks.items()
        )
        problem = f"{count:,} values are {told}, {MARKING}: {rest}"
        yield Finding(name, problem, f'take them as missing: ds["{name}"] = ds["{name}"].where({kept})')
    for sign, end in ends:
        if end is not None and sign not in marks:
            told = f"the {'lowest' if sign == '>' else 'highest'} value {_number((end.mark - offset) / scale)} occurs"
            kept = f'ds["{name}"].where(ds["{name}"] {_beyond(sign, scale)} {_between(end, scale, offset):.6g})'
            rest = f"{(lowest - offset) / scale:.4g} to {(highest - offset) / scale:.4g}"
            remedy = f'if it marks missing values, ds["{name}"] = {kept}'
            doubts.append(f"{name}: {told} {end.number:,} times, apart from all others ({rest}): {remedy}")
    below, above = facts["below"] > 0, facts["above"] > 0
    if marks:
        below, above = lowest < bounds_of(key, array, var).limit, highest > var.upper
    if below or above:
        yield _range_finding(facts, array, name, var, (lowest, highest), (below, above))


def _end(facts: Mapping[str, float], array: xr.DataArray, key: str, var: Var, side: str) -> Ends | None:
    """Judge one end of a variable: None where nothing stands out there."""
    count, mark, following = (facts[f"{side}_{what}"] for what in ("count", "mark", "next"))
    other = facts["high_next" if side == "low" else "low_next"]
    far = facts["highest" if side == "low" else "lowest"]
    bounds = bounds_of(key, array, var)
    extreme = facts["lowest" if side == "low" else "highest"]
    known = is_mark(mark, bounds) and is_mark(extreme, bounds)
    if not count or not math.isfinite(mark):
        return None
    if not math.isfinite(following):  # there is nothing else
        return None
    rest = abs((other if is_mark(far, bounds) else far) - following)
    gap = abs(following - mark)
    apart = gap > APART * rest > 0
    if known and (apart or not bounds.limit <= mark <= bounds.upper):
        return Ends(int(count), mark, following, known=True)
    wide = apart and gap > WIDE * (bounds.upper - bounds.lower)
    if count >= REPEATED and (wide or (known and gap > NEAR * rest > 0)):
        return Ends(int(count), mark, following, known=False)
    return None


def _beyond(sign: str, scale: float) -> str:
    """Turn a comparison around where the sign of the numbers was turned."""
    return sign if scale > 0 else sign.translate(str.maketrans("<>", "><"))


def _between(end: Ends, scale: float, offset: float) -> float:
    """Return a number of the file between the marks and all other values."""
    mark, following = ((value - offset) / scale for value in (end.mark, end.following))
    return mark + (following - mark) / 2


def _number(value: float) -> str:
    rounded = round(value, 2)
    return f"{rounded:g}" if abs(value) < 1e5 else f"{value:.6g}"


def _outside(facts: Mapping[str, float], var: Var, lowest: float, highest: float) -> str:
    count = int(facts["below"] + facts["above"])
    bounds = f"between {var.lower:g} and {var.upper:g} {var.units}"
    return f"{count:,} values are not {bounds}: they run from {lowest:.4g} to {highest:.4g}"


def _range_finding(
    facts: Mapping[str, float],
    array: xr.DataArray,
    name: str,
    var: Var,
    ends: tuple[float, float],
    beyond: tuple[bool, bool],
) -> Finding:
    problem = _outside(facts, var, *ends)
    scale, offset = scaling(array, name, var)
    lowest, highest = sorted((end - offset) / scale for end in ends)
    mean = facts["inner_total"] / facts["inner_count"] if facts["inner_count"] else math.nan
    likely = likely_units(var, lowest, highest, (mean - offset) / scale)
    if likely:
        return Finding(name, f"{problem}; as numbers they look like {likely}", f'units={{"{name}": "{likely}"}}')
    limits = {">=": (beyond[0], var.lower), "<=": (beyond[1], var.upper)}
    kept = " & ".join(
        f'(ds["{name}"] {_beyond(sign, scale)} {(limit - offset) / scale:.6g})'
        for sign, (wrong, limit) in limits.items()
        if wrong
    )
    share = (facts["below"] + facts["above"]) / max(facts["inner_count"], 1)
    if share < 0.01 and var.usual[0] <= mean <= var.usual[1]:  # else these are the ends of wrong units
        return Finding(name, problem, f'take them as missing: ds["{name}"] = ds["{name}"].where({kept})')
    return Finding(name, problem, f'say what units it is in, units={{"{name}": "..."}}, or give other values')


def likely_units(var: Var, lowest: float, highest: float, mean: float) -> str:
    """Name the units in which numbers as they stand would be plausible.

    Parameters
    ----------
    var : Var
    lowest, highest, mean : float
        Of the numbers.

    Returns
    -------
    str
        Empty where there are none: values must lie in the plausible range, and their mean where it usually is.
    """
    fits = (spelling for spelling in SPELLINGS[var.quantity] if _fits(var, spelling, lowest, highest, mean))
    return next(fits, "")


def refined(findings: Sequence[Finding], facts: Facts, source: Input, doubts: list[str]) -> list[Finding]:
    """Look at the numbers of variables whose units are not known: which units they suggest, and marks among them.

    Parameters
    ----------
    findings : sequence of Finding
        What was found while they were read.
    facts : Facts
    source : Input
    doubts : list of str
        What may be right is added here.

    Returns
    -------
    list of Finding
    """
    found = list(dict.fromkeys(findings))
    growing = [name for name, refused in source.refused.items() if _grows(refused, source)]
    for name, refused in source.refused.items():
        if ("refused", name, "lowest") not in facts:
            continue
        own = {fact: float(facts["refused", name, fact]) for fact in facts_of(facts, "refused", name)}
        marks = list(_findings(own, refused.array, name, ANYTHING, doubts))
        for told in refused.findings:
            if told in found and name not in growing:
                found[found.index(told)] = _suggesting(told, refused, own)
        found += [finding for finding in marks if finding not in found]
    if growing:
        found = [f for f in found if f.variable not in growing and STEPS not in f.problem]
        found.append(_since_midnight(growing, source))
    return found


def _grows(refused: Refused, source: Input) -> bool:
    axes = source.time_axes(refused.array)
    return bool(axes) and since_midnight(refused.array, source.dataset[datetime_dimensions(source.dataset)[axes[0]]])


def _since_midnight(names: list[str], source: Input) -> Finding:
    """Say how amounts that grow from midnight to midnight become those of days."""
    listed = ", ".join(f'"{name}"' for name in names)
    units = ", ".join(f'"{n}": "{source.refused[n].array.attrs.get("units", "")} day-1"' for n in names)
    problem = (
        "grow from midnight to midnight, as amounts of ERA5-Land do: the total of a day stands at the next midnight"
    )
    code = (
        f'totals = ds[[{listed}]].sel(time=ds["time"].dt.hour == 0); '
        'totals = totals.assign_coords(time=totals["time"] - np.timedelta64(1, "D")); '
        f'ds = ds.drop_vars([{listed}]).resample(time="1D").mean(keep_attrs=True).merge(totals, join="inner")'
    )
    return Finding(", ".join(names), problem, f"{code}, then units={{{units}}}")


def _suggesting(told: Finding, refused: Refused, facts: Mapping[str, float]) -> Finding:
    """Suggest the units that the numbers look like, if any do."""
    var, name = refused.var, told.variable
    if not facts["inner_count"]:
        return told
    mean = facts["inner_total"] / facts["inner_count"]
    lowest = facts["low_next"] if is_mark(facts["lowest"], Bounds()) else facts["lowest"]
    highest = facts["high_next"] if is_mark(facts["highest"], Bounds()) else facts["highest"]
    amount = amount_units(refused.array.attrs.get("units"), var)
    daily = f"{amount} day-1", f"{amount} hour-1"
    if amount and f'units={{"{name}": "{daily[0]}"}}; if it is a mean' in told.remedy:
        fits = [one for one in daily if _fits(var, one, lowest, highest, mean)]
        if fits == [daily[1]]:
            remedy = f'as numbers they look like means of hourly amounts: units={{"{name}": "{daily[1]}"}}'
            return told._replace(remedy=remedy)
        return told
    if "has no units" not in told.problem:
        return told
    likely = likely_units(var, lowest, highest, mean)
    usual = f'units={{"{name}": "{SPELLINGS[var.quantity][0]}"}}' if SPELLINGS[var.quantity] else ""
    return told._replace(remedy=told.remedy.replace(usual, f'units={{"{name}": "{likely}"}}')) if likely else told


def _fits(var: Var, units: str, lowest: float, highest: float, mean: float) -> bool:
    scale, offset = conversion(var.name, units, var)
    usual = var.usual[0] <= scale * mean + offset <= var.usual[1]
    return usual and var.lower <= scale * lowest + offset and scale * highest + offset <= var.upper
