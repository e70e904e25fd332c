"""Datasets become tensors with one axis of cells, and tensors become datasets again."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import xarray as xr

from xh2cm.errors import Finding, InputError
from xh2cm.variables import FORCING, TARGETS

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Calendar", "Cells", "Observed", "place", "time_dimension", "to_device", "to_tensors"]


class Calendar(NamedTuple):
    """Which month each day of a record belongs to; months are counted from the record's first."""

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
    forcing : Tensor, (cell, time, 5)
        In the order of `Forcing`, canonical units.
    static : Tensor, (cell, feature)
    area : Tensor, (cell,), m2
    targets : dict of str to Observed
    calendar : Calendar
    mask : DataArray
        Usable cells; its dimensions are the land dimensions.
    time : DataArray
    features : tuple of str
    scales : dict of str to (mean, std)
        Stored ``mean`` and ``std`` attributes of forcings, static features and targets, where the dataset has them.

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
    time: xr.DataArray
    features: tuple[str, ...]
    scales: dict[str, tuple[Any, Any]]

    @cached_property
    def index(self) -> np.ndarray:
        """Position of each cell among all, usable or not, with the land dimensions flattened."""
        return np.flatnonzero(self.mask.values.reshape(-1))

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
    except (RuntimeError, AssertionError) as error:
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


def place(land: xr.DataArray, number: int) -> str:
    """Say where a cell is.

    Parameters
    ----------
    land : DataArray
        On the land dimensions.
    number : int
        Of the cell among all, with the land dimensions flattened.

    Returns
    -------
    str

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xh2cm.data.cells import place
    >>> place(xr.DataArray(np.ones((2, 3)), coords={"lat": [10.0, 20.0]}, dims=("lat", "x")), 4)
    'lat 20.0, x 1'
    """
    at = dict(zip(land.dims, np.unravel_index(number, land.shape), strict=True))
    named = (f"{dim} {land[dim].values[i] if dim in land.coords else i}" for dim, i in at.items())
    return ", ".join(named) or "the cell"


def time_dimension(array: xr.DataArray) -> Hashable | None:
    """The dimension of a variable that is time, by its coordinate."""
    for dim in array.dims:
        if dim in array.coords and (
            np.issubdtype(array[dim].dtype, np.datetime64)
            or xr.core.common._contains_cftime_datetimes(array[dim].variable)
        ):
            return dim
    return None


def months_since(time: xr.DataArray, first: xr.DataArray) -> np.ndarray:
    """Calendar months from the month of `first`."""
    return np.asarray((time.dt.year - first.dt.year) * 12 + time.dt.month - first.dt.month, dtype=np.int64)


def calendar_of(time: xr.DataArray) -> Calendar:
    """Months of a daily time axis."""
    month = months_since(time, time[0])
    first = np.unique(month, return_index=True)[1]
    days = time.dt.days_in_month.values[first]
    return Calendar(
        torch.from_numpy(month),
        torch.from_numpy(days.astype(np.int64)),
        torch.from_numpy(time.dt.month.values[first].astype(np.int64) - 1),
    )


def to_tensors(
    dataset: xr.Dataset, device: str | torch.device | None = None, targets: Sequence[str] = tuple(TARGETS)
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

    Returns
    -------
    Cells

    Raises
    ------
    InputError
        If the device cannot be used.
    """
    where = to_device(device)
    mask = dataset["mask"].compute()
    land, time = mask.dims, dataset["time"]
    index = np.flatnonzero(mask.values.reshape(-1))

    def cells_first(array: xr.DataArray, *last: Hashable) -> np.ndarray:
        """Values of the usable cells, (cell, ...)."""
        missing = {d: mask.sizes[d] for d in land if d not in array.dims}
        values = np.asarray(
            array.transpose(*(d for d in land if d in array.dims), *last).data
        )  # computes Dask, every chunk once
        if missing:
            shape = [mask.sizes[d] for d in land] + [array.sizes[d] for d in last]
            kept = [slice(None) if d in array.dims else None for d in land] + [slice(None)] * len(last)
            values = np.broadcast_to(values[tuple(kept)], shape)
        return values.reshape(mask.size, *(array.sizes[d] for d in last))[index] if land else values[None][: len(index)]

    forcing = torch.empty(len(index), time.size, len(FORCING))
    for k, name in enumerate(FORCING):
        forcing[:, :, k] = torch.from_numpy(np.ascontiguousarray(cells_first(dataset[name], "time"), dtype=np.float32))
    static = torch.from_numpy(np.ascontiguousarray(cells_first(dataset["static"], "feature"), dtype=np.float32))
    area = torch.from_numpy(np.array(cells_first(dataset["area"]), dtype=np.float64))
    calendar = calendar_of(time)
    observed = {name: observe(dataset, name, index, cells_first) for name in targets if name in dataset}
    scales = {
        name: (a.attrs["mean"], a.attrs["std"])
        for name, a in dataset.data_vars.items()
        if {"mean", "std"} <= a.attrs.keys()
    }
    return Cells(
        forcing=forcing.to(where),
        static=static.to(where),
        area=area.to(where),
        targets={name: o.to(where) for name, o in observed.items()},
        calendar=Calendar(*(x.to(where) for x in calendar)),
        mask=mask,
        time=time,
        features=tuple(str(f) for f in dataset["feature"].values),
        scales={str(name): scale for name, scale in scales.items()},
    )


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
    months = months_since(array[dim], time[0])
    daily = array.sizes[dim] > len(np.unique(months)) or dim == "time"
    if daily:
        since = (array[dim].dt.floor("D") - time[0].dt.floor("D")).values / np.timedelta64(1, "D")
        position, length = np.asarray(since, dtype=np.int64), time.size
    else:
        position, length = months, int(months_since(time[-1:], time[0])[0]) + 1
    inside = (position >= 0) & (position < length)

    def laid(numbers: np.ndarray, nothing: float) -> Tensor:
        full = np.full((len(numbers), length), nothing, np.float32)
        full[:, position[inside]] = numbers[:, inside]
        return torch.from_numpy(full)

    axis = np.zeros(length, bool)
    axis[position[inside]] = True
    weight = None if weights is None else laid(weights, 0.0)
    return Observed(laid(values, np.nan), torch.from_numpy(axis), "daily" if daily else "monthly", weight, shares)
