"""Align labelled arrays by their coordinates, or refuse and name the first mismatch.

All places where two labelled arrays meet go through `align`: fold labels, masks, areas, pinned maps, states and
observations are brought to the cells and days they are used with by label, never by position.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
import xarray as xr

from xh2cm.data.times import calendars, month_numbers
from xh2cm.errors import Finding, InputError

__all__ = ["PLACES", "TOLERANCE", "align", "doubled", "is_place", "positions"]

TOLERANCE = 1e-4
"""Difference of two labels that counts as rounding, in units of the axis (degrees); see `positions`."""

SINGLE = 4 * float(np.finfo(np.float32).eps)
"""Share of the largest label that counts as rounding: labels once stored in single precision, such as metres."""

PLACES = {
    "latitude": ("lat", "latitude", "nav_lat", "hru_lat"),
    "longitude": ("lon", "longitude", "nav_lon", "hru_lon"),
}
"""Names by which a latitude or longitude is known where it has no standard name."""

Labelled = TypeVar("Labelled", xr.DataArray, xr.Dataset)


def align(
    array: Labelled,
    like: xr.DataArray | xr.Dataset,
    name: str,
    *,
    on: Sequence[Hashable] | None = None,
    what: str = "the dataset",
    remedy: str = "",
) -> Labelled:
    """Align an array with the coordinates of another, label by label.

    Parameters
    ----------
    array : DataArray or Dataset
        May be in another order, and may hold more than is needed.
    like : DataArray or Dataset
        Gives the labels of the result.
    name : str
        How errors call the array.
    on : sequence of dimensions, optional
        Axes to align, all of which the array must have; those that both have if not given.
    what : str
        How errors call `like`.
    remedy : str, optional
        What errors tell the user to do.

    Returns
    -------
    DataArray or Dataset
        `array` in the order of `like` and with its labels; lazy where it was.

    Raises
    ------
    InputError
        Labels of `like` that the array does not have, labels that it has twice, or axes without labels whose lengths
        or places differ; one finding an axis, each with the first mismatch and the offset found.

    Notes
    -----
    Numbers are the same label where they differ by no more than `TOLERANCE`, or by the rounding of single precision,
    and in any case by less than a tenth of the smallest step of the axis. Longitudes are compared modulo 360, days by
    their date whatever the hour and the calendar, text as text. An axis without labels on either side can only be
    taken by position: its length must agree, and so must latitudes, longitudes and any other coordinates along it that
    both have. Of an axis that `like` has not, but of which it has a coordinate (the longitude of towers, or of the one
    cell that was selected), the labels at these points are taken.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xh2cm.data.align import align
    >>> grid = xr.DataArray(np.zeros(3), coords={"lon": [-10.0, 0.0, 10.0]})
    >>> area = xr.DataArray([1.0, 2.0, 3.0], coords={"lon": np.float32([0.0, 10.0, 350.0])})
    >>> align(area, grid, "area").to_dict()["data"]
    [3.0, 1.0, 2.0]
    """
    axes = [dim for dim in array.dims if dim in like.dims] if on is None else list(on)
    free = [dim for dim in array.dims if dim not in like.dims and dim in array.indexes and dim in like.coords]
    points = [dim for dim in free if set(like[dim].dims) <= set(axes)]
    if isinstance(array, xr.Dataset) and set(axes) <= set(array.dims):  # its other variables may lie anywhere
        points = []
    reached = {dim for point in points for dim in like[point].dims} | {*array.dims}
    if absent := [str(dim) for dim in axes if dim not in reached]:
        have, want = (", ".join(map(str, dims)) or "no axis" for dims in (array.dims, axes))
        problem = f"lies on the axes ({have}), {what} on ({want}): it has no {' and no '.join(map(repr, absent))}"
        raise InputError([Finding(name, problem, remedy or f"bring it to the axes of {what}, or rename its own")])
    findings: list[Finding] = []
    found = array
    for dim in points:
        chosen = like[dim].variable
        at = _located(array, pd.Index(np.ravel(chosen.values)), like, dim, name, what, remedy, findings)
        if at is not None:
            found = found.isel({dim: xr.Variable(chosen.dims, at.reshape(chosen.shape))}).drop_vars([dim])
    for dim in (dim for dim in axes if dim in array.dims):
        at = _along(array, like, dim, name, what, remedy, findings)
        if at is not None:
            found = _taken(found, like, dim, at)
    if not findings:
        findings += _elsewhere(found, like, axes, name, what, remedy)
    if findings:
        raise InputError(findings)
    return found


class Positions(NamedTuple):
    """Positions of the labels of one axis on another.

    Parameters
    ----------
    at : ndarray of int
        Position of each wanted label, -1 where it is absent.
    nearest : ndarray of int
        Position of the label nearest to each wanted one; that of `at` where nothing can be nearer.
    ambiguous : ndarray of bool
        Wanted labels that stand twice.
    """

    at: np.ndarray
    nearest: np.ndarray
    ambiguous: np.ndarray


def positions(have: pd.Index, want: pd.Index, *, longitude: bool = False) -> Positions:
    """Find each label of one axis on another, as `align` compares labels.

    Parameters
    ----------
    have, want : Index
    longitude : bool
        Compare modulo 360.

    Returns
    -------
    Positions
    """
    if isinstance(have, pd.MultiIndex) and isinstance(want, pd.MultiIndex) and have.nlevels == want.nlevels:
        levels = zip(have.levels, want.levels, want.codes, want.names, strict=True)
        codes = [
            positions(mine, theirs, longitude=str(title).lower() in PLACES["longitude"]).at[code]
            for mine, theirs, code, title in levels
        ]
        have, want = pd.MultiIndex.from_arrays(have.codes), pd.MultiIndex.from_arrays(codes)
        return _exact(have, want)
    if isinstance(have, pd.MultiIndex) or isinstance(want, pd.MultiIndex):
        absent = np.full(len(want), -1)
        return Positions(absent, absent, np.zeros(len(want), bool))
    kinds = {_kind(have), _kind(want)}
    if kinds == {"time"}:
        return _exact(_dates(have), _dates(want))
    if kinds == {"number"}:
        numbers = have.to_numpy(np.float64), want.to_numpy(np.float64)
        close = 0.0 if _whole(have) and _whole(want) else _tolerance(*numbers)
        found = _nearest(*numbers, close)
        return _nearest(*numbers, close, circle=True) if longitude and (found.at < 0).any() else found
    return _exact(*(pd.Index([str(value) for value in index]) for index in (have, want)))


def is_place(coordinate: xr.DataArray | xr.Variable, name: Hashable, quantity: str) -> bool:
    """Return whether a coordinate is a latitude or a longitude, by its attributes or else by its name."""
    told = str(coordinate.attrs.get("standard_name", "")).lower()
    words = {str(name).lower(), *re.split(r"[\W\d_]+", str(name).lower())}
    return told == quantity if told else bool(words & {*PLACES[quantity]})


def doubled(index: pd.Index, *, longitude: bool = False) -> list[tuple[float, float]]:
    """Return the pairs of different labels of an axis that are one place: rounded, or 360 degrees apart.

    Parameters
    ----------
    index : Index
    longitude : bool

    Returns
    -------
    list of pairs of float
        Not the two ends of a circle that is closed by repeating its first longitude.

    Examples
    --------
    >>> import pandas as pd
    >>> from xh2cm.data.align import doubled
    >>> doubled(pd.Index([-90.0, 0.0, 90.0, 270.0, 300.0]), longitude=True)
    [(-90.0, 270.0)]
    """
    if _kind(index) != "number" or isinstance(index, pd.MultiIndex) or _whole(index):
        return []
    labels = np.unique(index.to_numpy(np.float64))
    labels = labels[np.isfinite(labels)]
    close = _tolerance(labels, labels)
    pairs = [(one, other) for one, other in itertools.pairwise(labels.tolist()) if other - one <= close]
    if longitude and len(labels) > 1 and labels[-1] - labels[0] > 360 + close:
        folded = np.argsort(labels % 360, kind="stable")
        near = [(labels[i], labels[j]) for i, j in itertools.pairwise(folded)]
        pairs += [
            (float(min(pair)), float(max(pair)))
            for pair in near
            if _apart(np.array(pair[0]), np.array(pair[1]), True) <= close and abs(pair[0] - pair[1]) > 1
        ]
    return pairs


def _kind(index: pd.Index) -> str:
    if index.dtype.kind == "M" or (index.dtype == object and len(index) and calendars(xr.Variable("i", index))):
        return "time"
    return "number" if index.dtype.kind in "iuf" else "text"


def _whole(index: pd.Index) -> bool:
    return index.dtype.kind in "iu"


def _dates(index: pd.Index) -> pd.Index:
    """A number for each date, the same in every calendar; moments where a day has several."""
    time = xr.DataArray(index, dims="i")
    days = pd.Index(month_numbers(time) * 32 + np.asarray(time.dt.day.values))
    return days if days.is_unique or not index.is_unique else pd.Index([str(moment) for moment in index])


def _exact(have: pd.Index, want: pd.Index) -> Positions:
    """Labels that are the same or are not."""
    if len(have) == len(want) and have.equals(want):
        at = np.arange(len(want))
        return Positions(at, at, np.zeros(len(want), bool))
    twice = want.isin(have[have.duplicated()])
    first = have[~have.duplicated()]
    at = first.get_indexer(want)
    places = np.flatnonzero(~have.duplicated())
    at = np.where(at >= 0, places[at], -1) if len(places) else np.full(len(want), -1)
    return Positions(at, at, np.asarray(twice))


def _nearest(have: np.ndarray, want: np.ndarray, close: float, *, circle: bool = False) -> Positions:
    """Numbers that are the same but for rounding, and on a circle modulo 360."""
    if len(have) == len(want) and (_apart(have, want, circle) <= close).all():
        at = np.arange(len(want))
        return Positions(at, at, np.zeros(len(want), bool))
    absent = np.full(len(want), -1)
    finite = np.flatnonzero(np.isfinite(have))
    if not len(finite):
        return Positions(absent, absent, np.zeros(len(want), bool))
    mine, theirs = (x % 360 if circle else x for x in (have[finite], np.nan_to_num(want, posinf=0.0, neginf=0.0)))
    order = np.argsort(mine, kind="stable")
    ranked, where = mine[order], finite[order]
    if circle:
        ranked = np.concatenate([ranked[-1:] - 360, ranked, ranked[:1] + 360])
        where = np.concatenate([where[-1:], where, where[:1]])
    right = np.minimum(np.searchsorted(ranked, theirs), len(ranked) - 1)
    left = np.maximum(right - 1, 0)
    best = np.where(np.abs(ranked[left] - theirs) <= np.abs(ranked[right] - theirs), left, right)
    hit = (np.abs(ranked[best] - theirs) <= close) & np.isfinite(want)
    several = np.searchsorted(ranked, theirs + close, "right") - np.searchsorted(ranked, theirs - close, "left") > 1
    return Positions(np.where(hit, where[best], -1), where[best], hit & several)


def _apart(one: np.ndarray, other: np.ndarray, circle: bool) -> np.ndarray:
    """Difference without sign, on a circle the shorter way."""
    difference = one - other
    apart: np.ndarray = np.abs((difference + 180) % 360 - 180 if circle else difference)
    return apart


def _tolerance(have: np.ndarray, want: np.ndarray) -> float:
    """Largest difference of two labels that is rounding."""
    steps = np.concatenate([np.diff(np.unique(x[np.isfinite(x)])) for x in (have, want)])
    largest = max((float(np.abs(x[np.isfinite(x)]).max(initial=0.0)) for x in (have, want)), default=0.0)
    rounding = max(TOLERANCE, SINGLE * largest)
    steps = steps[steps > SINGLE * largest]  # closer labels are one label, written twice
    return min(rounding, float(steps.min()) / 10) if steps.size else rounding


def _along(
    array: xr.DataArray | xr.Dataset,
    like: xr.DataArray | xr.Dataset,
    dim: Hashable,
    name: str,
    what: str,
    remedy: str,
    findings: list[Finding],
) -> np.ndarray | None:
    """Positions along one axis; None where it is taken as it stands, or refused."""
    have, want = array.indexes.get(dim), like.indexes.get(dim)
    if have is None or want is None:
        if array.sizes[dim] != like.sizes[dim]:
            problem = f"has {array.sizes[dim]} along {dim!r}, {what} has {like.sizes[dim]}, and labels are missing"
            findings.append(Finding(name, problem, remedy or f"give it the coordinate {dim!r}, or the cells of {what}"))
        return None
    return _located(array, want, like, dim, name, what, remedy, findings)


def _located(
    array: xr.DataArray | xr.Dataset,
    want: pd.Index,
    like: xr.DataArray | xr.Dataset,
    dim: Hashable,
    name: str,
    what: str,
    remedy: str,
    findings: list[Finding],
) -> np.ndarray | None:
    """Positions of labels along one axis of an array; None where there are none."""
    have = array.indexes[dim]
    longitude = is_place(like[dim], dim, "longitude") or is_place(array[dim], dim, "longitude")
    found = positions(have, want, longitude=longitude)
    if (lost := found.at < 0).any():
        findings.append(
            Finding(name, _lost(have, want, found, lost, dim, what), remedy or _remedy(have, want, dim, name))
        )
        return None
    if found.ambiguous.any():
        first = want[int(np.argmax(found.ambiguous))]
        problem = f"has the label {_text(first)} along {dim!r} more than once"
        findings.append(Finding(name, problem, f'drop what stands twice: .drop_duplicates("{dim}")'))
        return None
    return found.at


def _lost(have: pd.Index, want: pd.Index, found: Positions, lost: np.ndarray, dim: Hashable, what: str) -> str:
    """Describe labels that are absent, with the distance of the nearest."""
    first = int(np.argmax(lost))
    problem = (
        f"lacks {int(lost.sum())} of the {len(want)} labels of {what} along {dim!r}, the first {_text(want[first])}"
    )
    if found.nearest[first] < 0 or _kind(have) != "number":
        return f"{problem}; its own are {_text(have[0])} to {_text(have[-1])}" if len(have) else problem
    offsets = have.to_numpy(np.float64)[found.nearest] - want.to_numpy(np.float64)
    step = np.min(np.abs(np.diff(np.unique(want.to_numpy(np.float64)))), initial=np.inf)
    offset = offsets[first]
    half = ", half a step" if np.isclose(abs(offset), step / 2, rtol=1e-3) else ""
    return f"{problem}; the nearest of its own is {_text(have[found.nearest[first]])} (offset {offset:+.6g}{half})"


def _remedy(have: pd.Index, want: pd.Index, dim: Hashable, name: str) -> str:
    if len(have.intersection(want)) and not isinstance(have, pd.MultiIndex):
        return f'select what both have: ds = ds.sel({dim}=np.intersect1d(ds["{dim}"], {name}["{dim}"]))'
    return f"bring it to the same {dim!r}: interpolate or regrid it, or select where both lie"


def _text(label: object) -> str:
    if isinstance(label, float | np.floating):
        return f"{float(label):.8g}"
    text = str(label)
    return text.removesuffix(" 00:00:00")


def _taken(array: Labelled, like: xr.DataArray | xr.Dataset, dim: Hashable, at: np.ndarray) -> Labelled:
    """Positions along an axis, with the labels of the other side."""
    if len(at) != array.sizes[dim] or not np.array_equal(at, np.arange(len(at))):
        array = array.isel({dim: at})
    if array.indexes[dim].equals(like.indexes[dim]):
        return array
    levels = [name for name, index in array.xindexes.items() if index is array.xindexes[dim]]
    return array.drop_vars(levels).assign_coords(like[dim].reset_coords(drop=True).coords)


def _elsewhere(
    array: xr.DataArray | xr.Dataset,
    like: xr.DataArray | xr.Dataset,
    axes: Sequence[Hashable],
    name: str,
    what: str,
    remedy: str,
) -> Iterator[Finding]:
    """Describe differences in place between cells with equal labels."""
    by_position = {dim for dim in axes if dim not in array.indexes or dim not in like.indexes}
    for key in array.coords:
        if key in axes or key not in like.coords:
            continue
        mine, theirs = array[key], like[key]
        if set(mine.dims) != set(theirs.dims) or not set(mine.dims) <= set(axes):
            continue
        longitude = is_place(theirs, key, "longitude")
        if not (by_position & set(mine.dims) or longitude or is_place(theirs, key, "latitude")):
            continue
        one, other = np.ravel(mine.transpose(*theirs.dims).values), np.ravel(theirs.values)
        if not (differ := _differ(one, other, longitude)).any():
            continue
        first = int(np.argmax(differ))
        problem = f"lies elsewhere: its {key} is {_text(one[first])} where that of {what} is {_text(other[first])}"
        yield Finding(name, problem, remedy or f"give it at the places of {what}, in the same order")


def _differ(one: np.ndarray, other: np.ndarray, longitude: bool) -> np.ndarray:
    """Return a mask of the positions at which two coordinates differ by more than rounding."""
    if one.dtype.kind in "iuf" and other.dtype.kind in "iuf":
        apart = _apart(one.astype(np.float64), other.astype(np.float64), longitude)
        largest = max(float(np.nanmax(np.abs(x), initial=0.0)) for x in (one, other))
        differ: np.ndarray = ~(apart <= max(TOLERANCE, SINGLE * largest)) & ~(np.isnan(one) & np.isnan(other))
        return differ
    return np.array([str(a) != str(b) for a, b in zip(one, other, strict=True)], dtype=bool)
