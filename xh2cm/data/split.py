"""One split into training, validation and test: by periods, by places, by both, or place by place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xh2cm.data.align import align
from xh2cm.errors import Finding, InputError

__all__ = ["SEEN", "TEST", "Part", "along", "split_labels"]

SEEN = -2
"""Label of what every fold is trained on."""

TEST = -1
"""Label of what no fold sees, neither in training nor in validation."""

Part = slice | tuple[str, str] | Sequence[Any] | Mapping[Any, Any] | xr.DataArray
"""A period, places, a selection by dimension, a period for each place, or a mask."""

PARTS = ("training", "validation", "test")

EXAMPLE = 'split={"training": slice("1999-10-01", "2008-09-30"), "test": slice("1989-10-01", "1999-09-30")}'


def split_labels(dataset: xr.Dataset, split: Mapping[str, Part]) -> xr.DataArray:
    """Label cells and days by the part of a split that they belong to.

    Parameters
    ----------
    dataset : Dataset
        Checked dataset, whose ``mask`` gives the land axes and the usable cells.
    split : mapping
        ``"training"``, ``"validation"`` and ``"test"``, each a period (``slice("1999-10-01", "2008-09-30")``), a
        sequence of places by their labels along the only land axis, a selection by dimension
        (``{"time": slice(...), "site": [...]}``), a period for each place (``{"FI-Hyy": slice(...)}``), or a mask
        (DataArray of bool). Training is everything that is in no other part if it is not given; what is in no part is
        left out.

    Returns
    -------
    DataArray, float32
        On the land axes, on ``time`` or on both: 0 for validation, `SEEN` for training, -1 for test and whatever is
        left out, NaN where no cell is usable.

    Raises
    ------
    InputError
        If a part is empty, two overlap, a label or dimension does not exist, or nothing is left to train on.

    Examples
    --------
    >>> import numpy as np, pandas as pd, xarray as xr
    >>> from xh2cm.data.split import split_labels
    >>> coords = {"site": ["A", "B", "C"], "time": pd.date_range("2001", "2003", inclusive="left")}
    >>> ds = xr.Dataset({"mask": ("site", [True, True, True])}, coords=coords)
    >>> split_labels(ds, {"validation": ["B"], "test": ["C"]}).values.tolist()
    [-2.0, 0.0, -1.0]
    >>> dict(split_labels(ds, {"validation": slice("2002-01-01", None)}).sizes)
    {'time': 730}
    """
    if not isinstance(split, Mapping):
        raise InputError([Finding("split", f"is a {type(split).__name__}", f"give a mapping such as {EXAMPLE}")])
    findings = [
        Finding(f"split[{name!r}]", "is not a part of a split", f"give some of {', '.join(PARTS)}")
        for name in split
        if name not in PARTS
    ]
    masks: dict[str, xr.DataArray] = {}
    for name in PARTS:
        if split.get(name) is not None:
            try:
                masks[name] = selected(dataset, split[name], f"split[{name!r}]")
            except InputError as error:
                findings += error.findings
    for name, mask in masks.items():
        if not bool(mask.any()):
            findings.append(Finding(f"split[{name!r}]", "holds no day of any place", "give another period or places"))
    for one, other in (("training", "validation"), ("training", "test"), ("validation", "test")):
        if one in masks and other in masks and (both := int((masks[one] & masks[other]).sum())):
            problem = f"shares {both:,} days or places with split[{other!r}]"
            findings.append(Finding(f"split[{one!r}]", problem, "let each belong to one part"))
    if findings:
        raise InputError(findings)
    nothing = xr.DataArray(False)
    validation, test = (masks.get(name, nothing) for name in ("validation", "test"))
    training = masks.get("training", ~(validation | test))
    if not bool((training & dataset["mask"]).any()):
        problem = "leaves nothing to train on"
        raise InputError([Finding("split", problem, "make validation and test smaller, or name the training part")])
    labels = (training * float(SEEN)).where(training, float(TEST)).where(~validation, 0.0)
    order = ["time", *dataset["mask"].dims]
    if set(labels.dims) - {"time"}:
        labels = labels.where(dataset["mask"])
    elif not labels.dims:
        labels = xr.full_like(dataset["mask"], float(labels), dtype=float).where(dataset["mask"])
    found: xr.DataArray = labels.transpose(*order, missing_dims="ignore").astype(np.float32).rename("fold")
    found = found.assign_coords({d: dataset[d] for d in found.dims if d in dataset.coords})
    return found.assign_attrs(
        long_name="part of the split", flag_values=[SEEN, TEST, 0], flag_meanings="training test validation"
    )


def selected(dataset: xr.Dataset, part: Part, name: str) -> xr.DataArray:
    """Return which days and places a part holds, on the dimensions that it speaks of.

    Raises
    ------
    InputError
        If it names what the dataset does not hold.
    """
    land = dataset["mask"].dims
    if isinstance(part, xr.DataArray):
        if strange := [str(dim) for dim in part.dims if dim not in ("time", *land)]:
            axes = ", ".join(map(str, ("time", *land)))
            raise InputError([Finding(name, f"has the dimension {', '.join(strange)}", f"give it on some of {axes}")])
        part = align(part, dataset[["mask", "time"]], name, on=part.dims)
        return (part.fillna(0) > 0.5).transpose(*[d for d in land if d in part.dims], ...)
    if isinstance(part, slice | tuple):
        return along(dataset, "time", slice(*part) if isinstance(part, tuple) else part, name)
    if isinstance(part, Mapping):
        if all(dim in ("time", *land) for dim in part):
            found = xr.DataArray(True)
            for dim, chosen in part.items():
                found = found & along(dataset, dim, slice(*chosen) if isinstance(chosen, tuple) else chosen, name)
            return found
        dim = only_axis(dataset, name)
        return xr.concat(
            [
                along(dataset, "time", slice(*part[place]) if isinstance(part[place], tuple) else part[place], name)
                if place in part
                else xr.zeros_like(dataset["time"], dtype=bool)
                for place in known_places(dataset, dim, list(part), name)
            ],
            xr.DataArray(dataset[dim].values, dims=dim, name=dim),
        )
    return along(dataset, only_axis(dataset, name), list(part), name)


def only_axis(dataset: xr.Dataset, name: str) -> Any:
    """Return the land axis where there is only one."""
    land = dataset["mask"].dims
    if len(land) != 1:
        axes = ", ".join(map(str, land)) or "none"
        remedy = 'select by dimension, {"lat": slice(...), "lon": slice(...)}, or give a mask'
        raise InputError([Finding(name, f"names places, and the land axes are {axes}", remedy)])
    return land[0]


def known_places(dataset: xr.Dataset, dim: Any, places: Sequence[Any], name: str) -> list[Any]:
    """Return all places along an axis; refuse those asked for that are not among them."""
    every = dataset[dim].values.tolist()
    if lost := [place for place in places if place not in every]:
        shown = ", ".join(map(str, every[:12])) + (", ..." if len(every) > 12 else "")
        said = f"names {', '.join(map(repr, lost[:5]))}, which the dataset does not hold"
        raise InputError([Finding(name, said, f"choose from {shown}")])
    return list(every)


def along(dataset: xr.Dataset, dim: Any, chosen: Any, name: str) -> xr.DataArray:
    """Return which labels along a dimension are chosen."""
    axis = dataset[dim]
    found = xr.DataArray(np.zeros(axis.size, dtype=bool), dims=dim, coords={dim: axis} if dim in dataset.coords else {})
    if isinstance(chosen, slice):
        numbers = xr.DataArray(np.arange(axis.size), dims=dim, coords=found.coords)
        try:
            found[numbers.sel({dim: chosen}).values] = True
        except (KeyError, TypeError, ValueError) as error:
            remedy = 'give dates such as slice("1999-10-01", "2008-09-30")'
            raise InputError([Finding(name, f"{chosen} selects nothing along {dim} ({error})", remedy)]) from error
        return found
    wanted = np.atleast_1d(np.asarray(chosen)).tolist()
    known_places(dataset, dim, wanted, name)
    return found.copy(data=np.isin(axis.values, wanted))
