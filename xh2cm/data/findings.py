"""Findings and notes from the facts of a scan: gaps, unusable cells, oddities."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np

from xh2cm.data.match import KNOWN
from xh2cm.data.read_land import grid_area
from xh2cm.data.reading import Found, Input, called
from xh2cm.data.scan import SHOWN_CELLS, Facts, gaps
from xh2cm.data.times import label
from xh2cm.errors import Finding


def empty_findings(found: Found, facts: Facts, source: Input, outside: np.ndarray, *, whole: bool) -> list[Finding]:
    """Say which variables hold no value, or lack some that all cells share.

    Parameters
    ----------
    found : Found
    facts : Facts
    source : Input
    outside : ndarray of bool
        Cells that are no land.
    whole : bool
        Whether a cell must have its forcing on all days.

    Returns
    -------
    list of Finding
    """
    findings: list[Finding] = []
    given = {key: array for key, array in found.forcing.items() if "derivation" not in array.attrs}
    for role, arrays in (("forcing", given), ("sources", found.sources)):
        for key, array in arrays.items():
            name = called(array, key)
            missing, size = gaps(facts, role, key, array, outside)
            if size and missing == size:
                remedy = f"give {KNOWN[key].long_name} with values"
                findings.append(Finding(name, "holds no value at all (all NaN)", remedy))
            elif whole and missing and role == "forcing" and array.dims == ("time",):
                first = label(source.dataset["time"][int(facts["forcing", key, "first"])])
                problem = f"is missing on {missing:,} of {size:,} days, the first {first}, and so for every cell"
                select = windows(facts, source)
                fill = f'fill it: ds["{name}"] = ds["{name}"].interpolate_na("time")'
                if key == "precipitation":  # between two days of rain it need not rain
                    fill = "fill it from another product"
                findings.append(Finding(name, problem, f"{fill}; or {select}" if select else fill))
    return findings


def filled_notes(found: Found, facts: Facts, fill: Mapping[str, str | tuple[str, int]] | None) -> Iterator[str]:
    """Say how many values of each forcing variable were filled, and how.

    Parameters
    ----------
    found : Found
    facts : Facts
    fill : mapping
        As the user gave it.

    Yields
    ------
    str
    """
    for key in found.filled:
        rule = (fill or {})[key]
        how = rule if isinstance(rule, str) else f"{rule[0]}, gaps of up to {rule[1]} days"
        yield f"{key}: {int(facts['filled', key, 'count']):,} missing values filled ({how})"


def shared_gaps(found: Found, facts: Facts, source: Input) -> Iterator[str]:
    """Name the days that no cell can use, since a variable that all cells share is missing.

    Parameters
    ----------
    found : Found
    facts : Facts
    source : Input

    Yields
    ------
    str
    """
    for key, array in found.forcing.items():
        missing = array.size - int(facts["forcing", key, "count"].sum()) if array.dims == ("time",) else 0
        if missing:
            first = label(source.dataset["time"][int(facts["forcing", key, "first"])])
            yield f"{key} is missing on {missing:,} days, the first {first}: these are used in no cell"


def unusable_finding(facts: Facts, source: Input, dropped: Mapping[str, int]) -> Finding:
    """Say why no cell can be used.

    Parameters
    ----------
    facts : Facts
    source : Input
    dropped : mapping of str to int
        Reason to number of cells.

    Returns
    -------
    Finding
    """
    why = "; ".join(f"{reason} in {count:,}" for reason, count in dropped.items() if count)
    other = "fill the gaps, give another mask, or leave out static features: static=[...]"
    return Finding("cells", f"none is usable: {why or 'the mask holds no land'}", windows(facts, source) or other)


def windows(facts: Facts, source: Input) -> str:
    """Write as code the selection of days that gives the most cell days, and for a few cells each one's own.

    Parameters
    ----------
    facts : Facts
    source : Input

    Returns
    -------
    str
        Empty where there are many cells, or no cell ever has all forcing.
    """
    runs = _runs(facts, source)
    if not runs:
        return ""
    common = max(first for first, _ in runs.values()), min(last for _, last in runs.values())

    def worth(window: tuple[int, int]) -> int:
        return (window[1] - window[0] + 1) * sum(a <= window[0] and window[1] <= b for a, b in runs.values())

    best = max({*runs.values(), common}, key=worth)
    time = source.dataset["time"]
    first, last = (label(time[day]) for day in best)
    each = "; ".join(_run_text(source, cell, run) for cell, run in list(runs.items())[:SHOWN_CELLS])
    selection = f'select days with forcing: ds = ds.sel(time=slice("{first}", "{last}"))'
    return f"{selection}; all of it is there without a gap at {each}{', ...' if len(runs) > SHOWN_CELLS else ''}"


def _runs(facts: Facts, source: Input) -> dict[tuple[int, ...], tuple[int, int]]:
    """Longest stretch of days (first and last) over which each of a few cells has all forcing."""
    each = [values for (role, _, fact), values in facts.items() if (role, fact) == ("forcing", "present")]
    runs: dict[tuple[int, ...], tuple[int, int]] = {}
    if not each:
        return runs
    present = np.ones((source.days, *source.shape), dtype=bool)
    for values in each:
        present &= values.reshape(*values.shape, *[1] * (present.ndim - values.ndim))
    for cell in np.ndindex(source.shape):
        edges = np.diff(present[(slice(None), *cell)].astype(np.int8), prepend=0, append=0)
        starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
        if starts.size:
            longest = int(np.argmax(ends - starts))
            runs[cell] = int(starts[longest]), int(ends[longest])
    return runs


def _run_text(source: Input, cell: tuple[int, ...], run: tuple[int, int]) -> str:
    ds = source.dataset
    place = ", ".join(f"{dim} {ds[dim].values[i]}" for dim, i in zip(source.land, cell, strict=True))
    return f"{place or 'the cell'} from {label(ds['time'][run[0]])} to {label(ds['time'][run[1]])}"


def oddities(found: Found, facts: Facts, source: Input, usable: np.ndarray, outside: np.ndarray) -> Iterator[str]:
    """Name what is allowed and yet worth knowing.

    Parameters
    ----------
    found : Found
    facts : Facts
    source : Input
    usable, outside : ndarray of bool
        On the land axes.

    Yields
    ------
    str
    """
    lost = ~usable & ~outside
    if any(run != (0, source.days - 1) and lost[cell] for cell, run in _runs(facts, source).items()):
        yield f"to use more cells, {windows(facts, source)}"
    crossed = int(facts.get(("sources", "temperature_max", "crossed"), np.zeros(())))
    if crossed:
        yield f"daily maximum temperature is below the minimum {crossed:,} times: taken as no range at all"
    counts = [key for key in found.features if _is_count(key, facts, source)]
    if counts:
        yield f"{FLAGS}: {', '.join(counts)}; leave them out with static=[...], or give fractions"
    same = [key for key in found.features if facts["features", key, "lowest"] == facts["features", key, "highest"]]
    if same and outside.size > 1:
        yield f"static features that are the same everywhere tell a model nothing: {', '.join(same)}"
    if found.area is None and outside.size > 1 and grid_area(source) is None:
        yield "all cells weigh the same: there is no area variable, and no regular grid of latitude and longitude"


FLAGS = "static features that hold whole numbers, flags or coverages, which networks read as amounts"


def _is_count(key: str, facts: Facts, source: Input) -> bool:
    """Tell class numbers, flags, counts and coverages from measures of the land."""
    if _FLAG.search(key):
        return True
    if key not in source.dataset:
        return False
    original = source.dataset[key]
    if {"flag_values", "flag_meanings", "flag_masks"} & original.attrs.keys():
        return True
    whole = original.dtype.kind in "iu" or bool(facts["features", key, "whole"])
    varies = facts["features", key, "lowest"] < facts["features", key, "highest"]
    return bool(whole and varies and str(original.attrs.get("units", "1")).strip() in ("", "1", "-", "count"))


_FLAG = re.compile(r"(^|_)(flags?|qc|coverage|mask|code|id|benchmark|ok)$|^n_", re.IGNORECASE)
