"""Datasets become tensors with one axis of cells, and tensors become datasets again."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from dask.base import compute

from xh2cm.ambient import undisturbed
from xh2cm.data.read_forcing import forcing_of
from xh2cm.data.read_land import place
from xh2cm.data.times import month_numbers, time_dimension
from xh2cm.errors import Finding, InputError
from xh2cm.variables import TARGETS

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Calendar", "Cells", "Observed", "to_device", "to_tensors"]


class Calendar(NamedTuple):
    """Month of each day of a record; months are counted from the first of the record."""

    month: Tensor  # (time,)
    days: Tensor  # (month,) days the month has in the calendar
    of_year: Tensor  # (month,) 0 for January


class Observed(NamedTuple):
    """A target on the time axis of the record: NaN where nothing was observed.

    ``axis`` marks the days or months the target's own time axis holds, whether observed in a cell or not. What a gauge
    shows has a row a gauge instead of a cell.
    """

    values: Tensor  # (cell, time), (cell, month) or (cell, 1)
    axis: Tensor  # (time,), (month,) or (1,)
    step: str  # "daily", "monthly" or "static"
    quality: Tensor | None = None  # as `values`: what each weighs
    shares: Tensor | None = None  # (gauge, cell): the mean of which cells a gauge shows

    def to(self, device: torch.device) -> Observed:
        """The same on a device."""
        quality, shares = (None if x is None else x.to(device) for x in (self.quality, self.shares))
        return Observed(self.values.to(device), self.axis.to(device), self.step, quality, shares)


@dataclasses.dataclass(frozen=True)
class Cells:
    """The usable cells of a dataset as tensors.

    Parameters
    ----------
    forcing : Tensor, (cell, time, forcing)
        In canonical units.
    static : Tensor, (cell, feature)
        For a model with maps of pinned parameters, these behind the features.
    area : Tensor, (cell,), m2
    targets : dict of str to Observed
    calendar : Calendar
    mask : DataArray
        Usable cells; its dimensions are the land dimensions.
    index : ndarray, (cell,)
        Position of each cell among all, usable or not, with the land dimensions flattened; ascending.
    time : DataArray
    driving, features : tuple of str
        Names of the forcings and of the static features.
    scales : dict of str to (mean, std)
        Stored ``mean`` and ``std`` attributes of forcings, static features and targets, where the dataset has them.
    complete : Tensor of bool, (cell, time), or None
        Days on which a cell has all forcing; on others the forcing is NaN. None where there are no others.

    Examples
    --------
    >>> import xh2cm
    >>> cells = xh2cm.tutorial.open_dataset("twin").h2cm.to_tensors(device="cpu")
    >>> cells.forcing.shape[-1]
    5
    """

    forcing: Tensor
    static: Tensor
    area: Tensor
    targets: dict[str, Observed]
    calendar: Calendar
    mask: xr.DataArray
    index: np.ndarray
    time: xr.DataArray
    driving: tuple[str, ...]
    features: tuple[str, ...]
    scales: dict[str, tuple[Any, Any]]
    complete: Tensor | None = None

    def to_dataset(self, values: Mapping[str, Tensor | np.ndarray]) -> xr.Dataset:
        """Put values of the cells back on the land.

        Parameters
        ----------
        values : mapping of str to Tensor, (cell,), (cell, time) or (cell, time, feature)

        Returns
        -------
        Dataset
            With the land dimensions and coordinates of the data, NaN where a cell is not usable.
        """
        sizes = self.mask.sizes
        arrays: dict[str, xr.DataArray] = {}
        for name, value in values.items():
            array = np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)
            full = np.full((self.mask.size, *array.shape[1:]), np.nan, array.dtype)
            full[self.index] = array
            dims: list[Hashable] = [*sizes, *("time", "feature")[: array.ndim - 1]]
            whole = xr.DataArray(
                full.reshape(*sizes.values(), *array.shape[1:]), dims=dims, coords=dict(self.mask.coords)
            )
            arrays[name] = whole.transpose("time", ...) if array.ndim > 1 else whole
        found = xr.Dataset(arrays)
        return found.assign_coords(time=self.time) if "time" in found.dims else found


def to_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, or the best there is.

    Parameters
    ----------
    device : str, torch.device or None

    Returns
    -------
    torch.device

    Raises
    ------
    InputError
        If there is no such device here.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            [
                Finding(
                    "device",
                    f"{device!r} cannot be used here ({reason})",
                    'give device="cpu", or none to take the best there is',
                )
            ]
        ) from None
    return found


def calendar_of(time: xr.DataArray) -> Calendar:
    """Months of a daily time axis."""
    month = month_numbers(time) - month_numbers(time[0])
    first = np.unique(month, return_index=True)[1]
    days = time.dt.days_in_month.values[first]
    return Calendar(
        torch.from_numpy(month),
        torch.from_numpy(days.astype(np.int64)),
        torch.from_numpy(time.dt.month.values[first].astype(np.int64) - 1),
    )


ROWS = 1024
"""Cells whose days are looked at together."""

AT_ONCE = 2**26
"""Bytes from which on parts of a dataset are not read together."""

Box = Mapping[Hashable, slice]
"""A part of the land, as `Dataset.isel` takes it."""


@undisturbed()
def to_tensors(
    dataset: xr.Dataset,
    device: str | torch.device | None = None,
    targets: Sequence[str] = tuple(TARGETS),
    *,
    boxes: Sequence[Box] = ({},),
    forcing: bool = True,
) -> Cells:
    """Bring a checked dataset to a device, every chunk read once.

    Parameters
    ----------
    dataset : Dataset
        As `check` gives it.
    device : str or torch.device, optional
        The best there is if not given.
    targets : sequence of str
        Those that are there are taken.
    boxes : sequence of mapping of str to slice
        The parts of the land to take; each is read in one go. All of it if not given.
    forcing : bool
        Read the forcing; without it, its tensor has no features.

    Returns
    -------
    Cells
        In the order of the land, whatever the order of the boxes.

    Raises
    ------
    InputError
        If the device cannot be used, or the data are not what they were when they were checked.
    """
    where = to_device(device)
    mask, time = dataset["mask"].compute(), dataset["time"]
    driving = forcing_of(dataset)
    present = [name for name in targets if name in dataset]
    beside = [f"{name}_quality" for name in present if f"{name}_quality" in dataset]
    of_cells = [name for name in (*present, *beside) if f"{name.removesuffix('_quality')}_cells" not in dataset]
    number = xr.DataArray(np.arange(mask.size).reshape(mask.shape), dims=mask.dims)
    index = np.sort(np.concatenate([number.isel(box).values[mask.isel(box).values] for box in boxes]))
    needed = driving if forcing else ()
    driven = torch.empty(len(index), time.size, len(needed))
    read: list[tuple[xr.Dataset, xr.DataArray, np.ndarray]] = []  # all but the forcing, usable cells, their rows
    whole = dataset[[*needed, *of_cells, "static", "area"]]
    for box, part in in_memory(whole, boxes):
        land = mask.isel(box)
        rows = np.searchsorted(index, number.isel(box).values[land.values])
        for k, name in enumerate(needed):
            values = flat(part[name], land, "time")
            driven[torch.from_numpy(rows), :, k] = torch.from_numpy(values.astype(np.float32, copy=False))
        read.append((part.drop_vars(needed), land, rows))
    complete = complete_days(driven, dataset, mask, index) if forcing else None

    def cells_first(array: xr.DataArray, *last: Hashable) -> np.ndarray:
        """Values of the usable cells, (cell, ...)."""
        found = np.empty((len(index), *(array.sizes[d] for d in last)), array.dtype)
        for part, land, rows in read:
            found[rows] = flat(part[array.name], land, *last)
        return found

    scales = {
        name: (a.attrs["mean"], a.attrs["std"])
        for name, a in dataset.data_vars.items()
        if {"mean", "std"} <= a.attrs.keys()
    }
    return Cells(
        forcing=driven.to(where),
        static=torch.from_numpy(cells_first(dataset["static"], "feature").astype(np.float32)).to(where),
        area=torch.from_numpy(cells_first(dataset["area"]).astype(np.float64)).to(where),
        targets={name: observe(dataset, name, index, cells_first).to(where) for name in present},
        calendar=Calendar(*(x.to(where) for x in calendar_of(time))),
        mask=mask,
        index=index,
        time=time,
        driving=driving,
        features=tuple(str(f) for f in dataset["feature"].values),
        scales={str(name): scale for name, scale in scales.items()},
        complete=None if complete is None else complete.to(where),
    )


def in_memory(dataset: xr.Dataset, boxes: Sequence[Box]) -> Iterator[tuple[Box, xr.Dataset]]:
    """Compute the parts of a dataset, as many at once as are large enough to keep the readers busy."""
    together: list[Box] = []
    filled = 0
    for at, box in enumerate(boxes):
        together.append(box)
        filled += dataset.isel(box).nbytes
        if filled > AT_ONCE or at + 1 == len(boxes):
            yield from zip(together, compute(*(dataset.isel(one) for one in together)), strict=True)
            together, filled = [], 0


def flat(array: xr.DataArray, land: xr.DataArray, *last: Hashable) -> np.ndarray:
    """Values of the usable cells of some land, (cell, ...), of an array that may lack some of its dimensions."""
    there = [d for d in land.dims if d in array.dims]
    values = array.transpose(*there, *last).values
    shape = (*land.shape, *(array.sizes[d] for d in last))
    kept = [slice(None) if d in array.dims else None for d in land.dims] + [slice(None)] * len(last)
    whole: np.ndarray = np.broadcast_to(values[tuple(kept)], shape)[land.values]
    return whole


def complete_days(forcing: Tensor, dataset: xr.Dataset, mask: xr.DataArray, index: np.ndarray) -> Tensor | None:
    """Find the days (cell, time) on which each cell has all forcing, and make all of it NaN on the others.

    Returns
    -------
    Tensor of bool, (cell, time), or None
        None where all cells have all forcing on all days.

    Raises
    ------
    InputError
        If a cell has fewer of these days than when it was checked: the first is named.
    """
    complete = torch.cat([part.isfinite().all(-1) for part in forcing.split(ROWS)])
    time, found = dataset["time"], complete.sum(1).numpy()
    known = dataset["forcing_days"].transpose(*mask.dims).values.reshape(-1)[index]
    if (lost := found < known).any():
        cell = int(np.argmax(lost))
        day = int(np.argmin(complete[cell].numpy()))
        name = forcing_of(dataset)[int(np.argmin(forcing[cell, day].isfinite().numpy()))]
        where = f"at {place(mask, int(index[cell]))} on {time.values[day]!s:.10}"
        problem = f"lacks values on {int((known - found)[lost].sum()):,} days on which it had them when it was checked"
        remedy = "the store has changed, or a chunk of it is gone: mend it, and check again"
        raise InputError([Finding(name, f"{problem}; one of the first is {where}", remedy)])
    if complete.all():
        return None
    forcing.masked_fill_(~complete.unsqueeze(-1), torch.nan)
    return complete


def observe(dataset: xr.Dataset, name: str, index: np.ndarray, cells_first: Any) -> Observed:
    """Lay a target on the time axis of the record."""
    array, time, land = dataset[name], dataset["time"], dataset["mask"].dims
    quality, cells = (dataset.get(f"{name}_{what}") for what in ("quality", "cells"))
    dim, shares = time_dimension(array), None
    rows = cells_first
    if cells is not None:
        (gauge,) = (d for d in cells.dims if d not in land)
        whole = cells.transpose(gauge, *land).values.reshape(cells.sizes[gauge], -1)[:, index]
        shares = torch.from_numpy(np.ascontiguousarray(whole, dtype=np.float32))

        def rows(array: xr.DataArray, *last: Hashable) -> np.ndarray:
            return np.asarray(array.transpose(gauge, *last).data)

    def numbers(array: xr.DataArray) -> np.ndarray:
        return np.array(rows(array, *([dim] if dim else [])), dtype=np.float32)

    values = numbers(array)
    weights = None if quality is None else np.nan_to_num(numbers(quality))
    if dim is None:
        seen = torch.from_numpy(values)[:, None]
        weight = None if weights is None else torch.from_numpy(weights)[:, None]
        return Observed(seen, torch.ones(1, dtype=torch.bool), "static", weight, shares)
    months = month_numbers(array[dim]) - month_numbers(time[0])
    daily = array.sizes[dim] > len(np.unique(months)) or dim == "time"
    if daily:
        since = (array[dim].dt.floor("D") - time[0].dt.floor("D")).values / np.timedelta64(1, "D")
        position, length = np.asarray(since, dtype=np.int64), time.size
    else:
        position, length = months, int(month_numbers(time[-1]) - month_numbers(time[0])) + 1
    inside = (position >= 0) & (position < length)

    def laid(numbers: np.ndarray, nothing: float) -> Tensor:
        full = np.full((len(numbers), length), nothing, np.float32)
        full[:, position[inside]] = numbers[:, inside]
        return torch.from_numpy(full)

    axis = np.zeros(length, bool)
    axis[position[inside]] = True
    weight = None if weights is None else laid(weights, 0.0)
    return Observed(laid(values, np.nan), torch.from_numpy(axis), "daily" if daily else "monthly", weight, shares)
