"""Fold labels: which cell (or year) each fold does not see in training, as a DataArray one can plot."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import math
import numbers
from typing import TYPE_CHECKING, Any, Literal, get_args

import cf_xarray  # noqa: F401  (registers .cf)
import numpy as np
import xarray as xr

from xh2cm.data.align import PLACES, align
from xh2cm.data.split import SEEN, TEST, Part, along, split_labels
from xh2cm.errors import Finding, InputError
from xh2cm.options import keywords_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

__all__ = ["TEST", "FoldOptions", "LabelOptions", "Scheme", "fold_labels"]

Scheme = Literal["blocks", "degrees", "cells", "groups", "years"]
"""How cells (or years) are put together before they are dealt to the folds."""

BLOCK_SIZE = 5.0
"""Side of a block, in cells (`blocks`, as published) or degrees (`degrees`)."""

LABEL_ALL = "label every cell and day of the dataset, -1 for test"

PUBLISHED_TEST = 1 / 13
"""Share of the blocks that the published scheme puts aside."""


@dataclasses.dataclass(frozen=True)
class FoldOptions:
    """Cross-validation folds.

    Parameters
    ----------
    folds : int or DataArray
        Number of folds; 1 trains a single model on everything, for a fixed number of epochs. Or labels of your own on
        the land dimensions, on ``time`` or on both: whole numbers from 0, -1 for test, -2 for training in every fold,
        anything where no cell is usable.
    scheme : {"blocks", "degrees", "cells", "groups", "years"}, optional
        What stays together in a fold. ``blocks``: squares of ``size`` x ``size`` cells of a two-dimensional grid,
        drawn as in the published code, sea included. ``degrees``: squares of ``size`` degrees of latitude and
        longitude, on any land. ``cells``: nothing. ``groups``: cells with the same label in ``groups``. ``years``: the
        days of a calendar year. By default ``groups`` where these are given, else ``blocks`` on a two-dimensional
        grid, else ``cells``.
    size : float, optional
        Side of a block, 5 by default: cells for ``blocks``, degrees for ``degrees``.
    groups : str or DataArray, optional
        Labels on the land dimensions, or the name of a variable that holds them.
    test : float or slice, optional
        Share of the blocks set aside as a test set, in no fold, rounded up to whole blocks: 1/13 by default for
        ``blocks`` as published, else 0. Or a period whose days no fold sees, so that folds are held out in space and
        in time.
    split : mapping, optional
        One model in place of folds: ``"training"``, ``"validation"`` and ``"test"``, each a period, a sequence of
        places, a selection by dimension, a period for each place or a mask; see `xh2cm.data.split.split_labels`.
    """

    folds: int | xr.DataArray = 10
    _: dataclasses.KW_ONLY
    scheme: Scheme | None = None
    size: float | None = None
    groups: str | xr.DataArray | None = None
    test: float | slice | None = None
    split: Mapping[str, Part] | None = None


@dataclasses.dataclass(frozen=True)
class LabelOptions(FoldOptions):
    """Cross-validation folds and the seed of their draw.

    Parameters
    ----------
    seed : int
        Seed of the draw; 1 is the published one.
    """

    _: dataclasses.KW_ONLY
    seed: int = 1


@keywords_of(LabelOptions)
def fold_labels(dataset: xr.Dataset, options: LabelOptions) -> xr.DataArray:
    """Label every usable cell (or every day) with the fold that does not see it in training.

    Parameters
    ----------
    dataset : Dataset
        Checked dataset: its ``mask`` gives the land dimensions and the usable cells.

    Returns
    -------
    DataArray, float32
        On the land dimensions, or on ``time`` for ``years``: k where fold k validates and all others train, -1 where
        the test is, NaN where no cell is usable.

    Raises
    ------
    InputError
        More folds than blocks, a fold with nothing to train on or to validate with, arguments that do not go together,
        a scheme or variable that does not exist, labels that do not fit the dataset.

    Notes
    -----
    In ``blocks`` one generator first draws the test from all blocks, then deals all blocks to the folds; test cells
    then leave their fold. ``test=0`` leaves the second draw as it is, so every other cell keeps its fold. Blocks are
    counted from the first row and column, latitude first, and those at the far edges may be cut. In the other schemes
    only blocks with usable cells are dealt, the test first and the rest evenly.

    References
    ----------
    Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> mask = xr.DataArray(np.ones((20, 30), bool), dims=("lat", "lon"))
    >>> labels = fold_labels(xr.Dataset({"mask": mask}), 4)
    >>> np.unique(labels).tolist()
    [-1.0, 0.0, 1.0, 2.0, 3.0]
    >>> int((labels == 0).sum())  # cells that fold 0 is validated with
    150
    """
    folds, scheme, size = options.folds, options.scheme, options.size
    groups, test, seed = options.groups, options.test, options.seed
    mask = _usable_cells(dataset)
    if options.split is not None:
        given = {"folds": None if isinstance(folds, int) else folds, "scheme": scheme, "size": size, "groups": groups}
        _refuse(
            Finding(name, "means nothing beside a split", f"leave {name} out, or split")
            for name, value in (given | {"test": test}).items()
            if value is not None
        )
        return split_labels(dataset, options.split)
    if isinstance(test, slice):
        spatial = dataclasses.replace(options, test=None if scheme == "blocks" else 0)
        return _in_time(fold_labels(dataset, **vars(spatial)), dataset, test)
    if _whole(folds) and folds == 1:
        _refuse(
            Finding(name, "means nothing where nothing is held out", f"leave {name} out, or give folds=2 or more")
            for name, value in {"scheme": scheme, "size": size, "groups": groups, "test": test}.items()
            if value is not None
        )
        every = xr.full_like(mask, float(SEEN), dtype=np.float32).where(mask)
        return _annotated(every, 1, {"scheme": "all"})
    if isinstance(folds, xr.DataArray):
        unused = {"scheme": scheme, "size": size, "groups": groups, "test": test}
        _refuse(
            Finding(name, "means nothing beside fold labels of your own", f"leave {name} out")
            for name, value in unused.items()
            if value is not None
        )
        labels = _own_labels(folds, dataset, mask)
        count = int(labels.max()) + 1
        _refuse(_incomplete(labels, count, "number the folds 0, 1, 2, ... without gaps, at least two of them"))
        return _annotated(labels, count, {"scheme": "own"})

    if scheme is None:
        scheme = "groups" if groups is not None else "blocks" if mask.ndim == 2 else "cells"
    _refuse(_unfit_arguments(mask, folds, scheme, size, groups, test, seed))
    side = BLOCK_SIZE if size is None else float(size)
    share = float(test) if test is not None else PUBLISHED_TEST if scheme == "blocks" else 0.0

    def draw(folds: int, scheme: Scheme, side: float) -> tuple[xr.DataArray, xr.DataArray]:
        blocks = _blocks(dataset, mask, scheme, side, groups)
        usable = xr.ones_like(blocks, bool) if scheme == "years" else mask
        deal = _deal_published if scheme == "blocks" else _deal
        return blocks, deal(blocks, usable, min(folds, blocks.size), share, seed)

    blocks, labels = draw(folds, scheme, side)
    if _filled(labels) < folds:

        def works(folds: int, scheme: Scheme, side: float) -> bool:
            return _filled(draw(folds, scheme, side)[1]) == folds

        remedy = _remedy(works, folds, scheme, side, blocks.size, "time" in dataset.indexes)
        raise InputError(_too_few(blocks, labels, folds, scheme, side, remedy))
    return _annotated(labels, folds, {"scheme": scheme, "seed": int(seed)})


def _in_time(labels: xr.DataArray, dataset: xr.Dataset, period: slice) -> xr.DataArray:
    """Set the days of a period aside, beside the cells of each fold."""
    days = along(dataset, "time", period, "test")
    if not days.any():
        raise InputError([Finding("test", f"{period} holds no day of the record", "give a period within the record")])
    whole = labels.where(~days, float(TEST)).where(labels.notnull())
    order = ("time", *(d for d in labels.dims if d != "time"))
    return whole.transpose(*order).astype(np.float32).assign_attrs(labels.attrs)


def _refuse(findings: Iterable[Finding]) -> None:
    found = tuple(findings)
    if found:
        raise InputError(found)


def _usable_cells(dataset: xr.Dataset) -> xr.DataArray:
    if "mask" not in dataset:
        raise InputError([Finding("mask", "the dataset has none", "pass the dataset that check returns")])
    mask = dataset["mask"].astype(bool).compute()
    if not mask.any():
        raise InputError([Finding("mask", "no cell is usable", "see the report of check for the reasons")])
    return mask


def _whole(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _unfit_arguments(
    mask: xr.DataArray,
    folds: Any,
    scheme: str,
    size: Any,
    groups: Any,
    test: Any,
    seed: Any,
) -> Iterator[Finding]:
    """List everything wrong with the arguments themselves."""
    schemes = get_args(Scheme)
    if not _whole(folds):
        yield Finding(
            "folds",
            f"{_short(folds)} is neither a whole number nor a DataArray",
            "folds=10, or folds=xr.DataArray(labels, dims=mask.dims, coords=mask.coords)",
        )
    elif folds < 2:
        yield Finding("folds", f"{folds} is not a number of folds", "folds=2 or more, or folds=1 to hold nothing out")
    if scheme not in schemes:
        yield Finding("scheme", f"{scheme!r} does not exist", f"scheme={_nearest(str(scheme), schemes)}")
        return
    if scheme == "blocks" and mask.ndim != 2:
        yield Finding(
            "scheme",
            f"'blocks' needs a grid of two dimensions, the land has {mask.dims}",
            "scheme='degrees', 'groups' or 'cells'",
        )
    if size is not None:
        if scheme not in ("blocks", "degrees"):
            yield Finding("size", f"{_short(size)} means nothing with scheme={scheme!r}", "leave size out")
        elif not (isinstance(size, numbers.Real) and 0 < float(size) < math.inf):
            yield Finding("size", f"{_short(size)} is not a positive number", "size=5")
        elif scheme == "blocks" and float(size) % 1:
            yield Finding("size", f"{size!r} is not a whole number of cells", "size=5, or scheme='degrees'")
    if groups is not None and scheme != "groups":
        yield Finding("groups", f"groups mean nothing with scheme={scheme!r}", "leave groups or scheme out")
    if scheme == "groups" and not isinstance(groups, str | xr.DataArray):
        yield Finding(
            "groups", f"{_short(groups)} is no groups", "groups='name of a variable', or a DataArray of labels"
        )
    if test is not None and not (isinstance(test, numbers.Real) and 0 <= float(test) < 1):
        yield Finding("test", f"{_short(test)} is not a share from 0 to below 1", "test=0.1")
    if not (_whole(seed) and 0 <= seed < 2**32):
        yield Finding("seed", f"{_short(seed)} is not a whole number from 0 to 2**32 - 1", "seed=1")


def _blocks(
    dataset: xr.Dataset, mask: xr.DataArray, scheme: Scheme, side: float, groups: str | xr.DataArray | None
) -> xr.DataArray:
    """Return the number or name of the block of each cell (or day)."""
    match scheme:
        case "blocks":
            return _grid_blocks(dataset, mask, int(side))
        case "degrees":
            return _degree_blocks(dataset, mask, side)
        case "groups":
            return _group_blocks(dataset, mask, groups)
        case "years":
            return _years(dataset)
        case "cells":
            return mask.copy(data=np.arange(mask.size).reshape(mask.shape))


def _grid_blocks(dataset: xr.Dataset, mask: xr.DataArray, size: int) -> xr.DataArray:
    """Return the number of the block of each cell of a grid, row by row from 0."""
    rows, columns = mask.dims
    if any(latitude.dims == (columns,) for latitude in _coordinates(dataset, mask, "latitude")):
        rows, columns = columns, rows  # a grid stored longitude first gets the same blocks
    row, column = (xr.DataArray(np.arange(mask.sizes[dim]) // size, dims=(dim,)) for dim in (rows, columns))
    return (row * (int(column[-1]) + 1) + column).transpose(*mask.dims)


def _degree_blocks(dataset: xr.Dataset, mask: xr.DataArray, size: float) -> xr.DataArray:
    """Return the number of the square of `size` degrees of each cell."""
    findings: list[Finding] = []
    found: dict[str, xr.DataArray] = {}
    for name, limit in (("latitude", 90.0), ("longitude", 360.0)):
        candidates = _coordinates(dataset, mask, name)
        if len(candidates) != 1:
            which = "has none" if not candidates else f"has several: {', '.join(str(c.name) for c in candidates)}"
            findings.append(
                Finding(
                    name,
                    f"scheme='degrees' needs one on the land dimensions {mask.dims}, the dataset {which}",
                    f"give one variable standard_name='{name}', or take scheme='cells'",
                )
            )
            continue
        (found[name],) = candidates
        where = found[name].broadcast_like(mask).where(mask)
        wrong = int((mask & ~(np.abs(where) <= limit)).sum())
        if wrong:
            findings.append(
                Finding(
                    str(found[name].name),
                    f"{wrong} usable cells have no value within {limit:g} degrees",
                    "give it in degrees at every usable cell",
                )
            )
    _refuse(findings)
    # To 0.0001 degrees, so that coordinates in single precision on a border do not fall to either side by chance.
    north, east = (found[name].astype(np.float64).round(4) for name in ("latitude", "longitude"))
    rows, columns = math.ceil(180 / size), math.ceil(360 / size)
    row = (((north + 90) / size).round(9) // 1).clip(max=rows - 1)  # the poles belong to the last row
    column = (east % 360 / size).round(9) // 1
    return (row * columns + column).broadcast_like(mask).transpose(*mask.dims)


def _coordinates(dataset: xr.Dataset, mask: xr.DataArray, name: str) -> list[xr.DataArray]:
    """Find latitudes or longitudes of the land, by CF attributes, else by name."""
    land = [key for key, variable in dataset.variables.items() if set(variable.dims) <= set(mask.dims)]
    candidates = dataset[land].set_coords(land)
    found = candidates.cf.coordinates.get(name, [])
    return [candidates[key] for key in found or (key for key in land if str(key).lower() in PLACES[name])]


def _group_blocks(dataset: xr.Dataset, mask: xr.DataArray, groups: str | xr.DataArray | None) -> xr.DataArray:
    """Return the label of the group of each cell."""
    if not isinstance(groups, xr.DataArray):
        if groups not in dataset.variables:
            names = [str(key) for key, v in dataset.variables.items() if v.dims and set(v.dims) <= set(mask.dims)]
            raise InputError(
                [Finding("groups", f"no variable {groups!r} in the dataset", f"groups={_nearest(str(groups), names)}")]
            )
        groups = dataset[groups]
    if not set(groups.dims) <= set(mask.dims):
        raise InputError(
            [
                Finding(
                    "groups",
                    f"its dimensions {groups.dims} are not among the land dimensions {mask.dims}",
                    "give one label per cell; for periods take scheme='years' or fold labels of your own",
                )
            ]
        )
    groups = align(groups, mask, "groups", on=groups.dims).compute()
    labels = groups.drop_vars(groups.coords).broadcast_like(mask.drop_vars(mask.coords))
    labels = labels.transpose(*mask.dims)
    nameless = labels.isnull()
    if labels.dtype.kind in "OUST":  # as text: objects of mixed type have no order
        labels = labels.astype(str)
        nameless |= labels == ""
    without = int((nameless & mask.drop_vars(mask.coords)).sum())
    if without:
        raise InputError(
            [Finding("groups", f"{without} usable cells belong to no group", "label them, or leave them out of mask")]
        )
    return labels


def _years(dataset: xr.Dataset) -> xr.DataArray:
    """Return the calendar year of each day."""
    if "time" not in dataset.indexes:
        raise InputError([Finding("time", "scheme='years' needs it, the dataset has none", "scheme='cells'")])
    years: xr.DataArray = dataset["time"].dt.year
    return years


def _deal_published(blocks: xr.DataArray, mask: xr.DataArray, folds: int, test: float, seed: int) -> xr.DataArray:
    """Draw the test from all blocks, then deal all blocks again, with one generator."""
    generator = np.random.RandomState(seed)
    count = int(blocks.max()) + 1
    drawn, dealt = generator.permutation(count), generator.permutation(count)
    label = np.empty(count, np.float32)
    for fold, members in enumerate(np.array_split(dealt, folds)):
        label[members] = fold
    label[drawn[: _share(test, count)]] = TEST
    return mask.copy(data=np.where(mask, label[blocks.values], np.float32(np.nan)))


def _deal(blocks: xr.DataArray, usable: xr.DataArray, folds: int, test: float, seed: int) -> xr.DataArray:
    """Assign a share of the usable blocks to the test set and the others evenly to the folds."""
    names, block = np.unique(blocks.values[usable.values], return_inverse=True)
    # RandomState, because its stream is promised never to change between versions of NumPy.
    dealt = np.random.RandomState(seed).permutation(names.size)
    aside = _share(test, names.size)
    label = np.full(names.size, TEST, np.float32)
    for fold, members in enumerate(np.array_split(dealt[aside:], folds)):
        label[members] = fold
    labels = np.full(usable.shape, np.nan, np.float32)
    labels[usable.values] = label[block]
    return usable.copy(data=labels)


def _share(share: float, count: int) -> int:
    """Round a share up to whole blocks, safe from rounding errors of the share."""
    return math.ceil(share * count - 1e-9)


def _own_labels(folds: xr.DataArray, dataset: xr.Dataset, mask: xr.DataArray) -> xr.DataArray:
    """Check labels of the user's own and blank them where no cell is usable."""
    given = set(folds.dims)
    land = set(mask.dims)
    if given not in ({"time"}, land, land | {"time"}) or not given:
        raise InputError(
            [
                Finding(
                    "folds",
                    f"its dimensions {folds.dims} are neither the land's {mask.dims}, nor time, nor both",
                    "give one label per cell, per day, or per day and cell",
                )
            ]
        )
    if folds.dtype.kind not in "iuf":
        raise InputError(
            [Finding("folds", f"its type {folds.dtype} holds no whole numbers", "labels 0, 1, 2, ... and -1 for test")]
        )
    dims = tuple(dim for dim in ("time", *mask.dims) if dim in given)
    if "time" in given and "time" not in dataset.indexes:
        raise InputError([Finding("time", "the fold labels lie on it, the dataset has none", "label the cells")])
    like = dataset[["mask", "time"] if "time" in given else ["mask"]]
    folds = align(folds, like, "folds", on=dims, remedy=LABEL_ALL)
    usable = mask if given >= land else xr.DataArray(True)
    if "time" in given:
        usable = usable.broadcast_like(dataset["time"])
    usable = usable.transpose(*dims)
    values = folds.transpose(*dims).values
    taken = values[usable.values]
    missing = np.isnan(taken) if taken.dtype.kind == "f" else np.zeros(taken.shape, bool)
    taken = taken[~missing]
    findings = []
    if missing.any():
        findings.append(
            Finding("folds", f"{int(missing.sum())} usable cells or days have no label", "label them, -1 for test")
        )
    for problem, wrong in (
        ("are not whole numbers", ~np.isfinite(taken) | (taken != np.floor(taken))),
        ("are below -1", taken < TEST),
    ):
        if wrong.any():
            findings.append(
                Finding(
                    "folds",
                    f"{int(wrong.sum())} labels {problem}, such as {taken[wrong][0]}",
                    "labels 0, 1, 2, ... and -1 for test",
                )
            )
    _refuse(findings)
    return usable.copy(data=np.where(usable.values, values, np.nan).astype(np.float32))


def _filled(labels: xr.DataArray) -> int:
    """Count the folds with something to validate with."""
    return int(np.unique(labels.values[labels.values >= 0]).size)


def _incomplete(labels: xr.DataArray, folds: int, remedy: str) -> Iterator[Finding]:
    """List what keeps the folds from being trained or validated."""
    filled = set(np.unique(labels.values[labels.values >= 0]).astype(int).tolist())
    if not filled:
        yield Finding("folds", "every usable cell is test: no fold has anything to train on", remedy)
    elif len(filled) == 1:
        yield Finding("folds", f"fold {min(filled)} has nothing to train on: it validates all but the test", remedy)
    empty = folds - len(filled)
    if empty:
        first = ", ".join(map(str, itertools.islice((fold for fold in range(folds) if fold not in filled), 5)))
        listed = first if empty <= 5 else f"{first} and {empty - 5} more"
        yield Finding("folds", f"{empty} of {folds} folds have nothing to validate with: {listed}", remedy)


def _too_few(
    blocks: xr.DataArray, labels: xr.DataArray, folds: int, scheme: Scheme, side: float, remedy: str
) -> Iterator[Finding]:
    """Return the finding that a draw left a fold empty, with the reason."""
    usable = np.unique(blocks.values[labels.notnull().values]).size
    free = np.unique(blocks.values[labels.values >= 0]).size
    if free >= folds:  # enough blocks, but those of some fold are all sea or test
        yield from _incomplete(labels, folds, remedy)
        return
    unit = {
        "blocks": f"blocks of {side:g} x {side:g} cells",
        "degrees": f"blocks of {side:g} degrees",
        "groups": "groups",
        "cells": "cells",
        "years": "calendar years",
    }[scheme]
    aside = f", {usable - free} of them put aside for the test" if usable > free else ""
    yield Finding("folds", f"{folds} folds are more than there are usable {unit}: {usable}{aside}", remedy)


def _remedy(
    works: Callable[[int, Scheme, float], bool],
    folds: int,
    scheme: Scheme,
    side: float,
    most: int,
    has_time: bool,
) -> str:
    """Return arguments that work, after trying them."""
    finer: Iterable[float] = ()
    if scheme == "blocks":
        finer = range(int(side) - 1, 0, -1)
    elif scheme == "degrees":
        finer = (side / 2**halvings for halvings in range(1, 11))
    fewer = range(min(folds - 1, most), 1, -1)
    ways = [
        next((f"size={size:g}" for size in finer if works(folds, scheme, size)), ""),
        next((f"folds={count}" for count in fewer if works(count, scheme, side)), ""),
        "scheme='cells'" if scheme in ("blocks", "degrees", "groups") and works(folds, "cells", side) else "",
        "scheme='years'" if scheme != "years" and has_time and works(folds, "years", side) else "",
    ]
    return " or ".join(filter(None, ways)) or "more usable cells or years, or fold labels of your own"


def _nearest(name: str, names: Collection[str]) -> str:
    """Find the name most like a misspelt one, else list all."""
    close = difflib.get_close_matches(name, names, n=1)
    return repr(close[0]) if close else f"one of {', '.join(map(repr, names)) or '(there are none)'}"


def _short(value: object) -> str:
    """Write a value for an error, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _annotated(labels: xr.DataArray, folds: int, attrs: dict[str, Any]) -> xr.DataArray:
    values = [TEST, *range(folds)] if (labels == TEST).any() else [*range(folds)]
    meanings = ["test" if value == TEST else f"fold_{value}" for value in values]
    described: dict[str, Any] = {
        "long_name": "fold that does not see it in training",
        "flag_values": np.array(values, np.float32),
        "flag_meanings": " ".join(meanings),
    }
    # What the mask or the time axis said of itself is not true of the labels.
    return labels.rename("fold").drop_attrs(deep=False).drop_encoding().assign_attrs(described | attrs)
