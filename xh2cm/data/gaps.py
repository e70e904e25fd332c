"""Gaps in the forcing: found chunk by chunk in the one scan, and joined for whichever forcing a model needs."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

__all__ = ["complete_days", "missing_runs"]

EVERYWHERE = -1
"""Number of the cell in a run of a variable that all cells share."""

CELLS = 1024
"""Cells whose days are laid out together."""


def missing_runs(array: xr.DataArray, land: Sequence[Hashable], shape: Sequence[int], name: str = "") -> xr.DataArray:
    """Find the runs of days on which values are missing, chunk by chunk.

    Parameters
    ----------
    array : DataArray
        On ``time``, and on all land axes or none.
    land : sequence of dimensions
    shape : sequence of int
        Lengths of the land axes.
    name : str
        Told in the names of the dimensions of the result, so that several of them fit into one Dataset.

    Returns
    -------
    DataArray of object
        Lazy if the array is. Each element is a table (run, 3) of one chunk: number of the cell with the land axes
        flattened, first day, and the day after the last.
    """
    dims = [f"{dim} chunk {name}" for dim in array.dims]

    def found(block: np.ndarray, begin: Sequence[int]) -> np.ndarray:
        missing = ~np.isfinite(block)
        table = np.zeros((0, 3), dtype=np.int64)
        if missing.any():
            order = [dim for dim in (*land, "time") if dim in array.dims]
            missing = missing.transpose([array.dims.index(dim) for dim in order])
            offset = dict(zip(array.dims, begin, strict=True))
            axes = [np.arange(n) + offset[dim] for dim, n in zip(order[:-1], missing.shape, strict=False)]
            number = np.ravel_multi_index(np.ix_(*axes), shape).ravel() if axes else np.array([EVERYWHERE])
            edges = np.diff(missing.reshape(len(number), -1).astype(np.int8), axis=1, prepend=0, append=0)
            cell, first = np.nonzero(edges == 1)
            table = np.stack([number[cell], first + offset["time"], np.nonzero(edges == -1)[1] + offset["time"]], 1)
        one = np.empty((1,) * block.ndim, dtype=object)
        one[(0,) * block.ndim] = table
        return one

    if array.chunks is None:
        return xr.DataArray(found(array.values, (0,) * array.ndim), dims=dims)

    def of_block(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        return found(block, [begin for begin, _ in block_info[0]["array-location"]])

    chunks = tuple((1,) * len(sizes) for sizes in array.chunks)
    meta = np.empty((0,) * array.ndim, dtype=object)
    return xr.DataArray(array.data.map_blocks(of_block, dtype=object, chunks=chunks, meta=meta), dims=dims)


def complete_days(runs: Iterable[np.ndarray], cells: int, days: int) -> np.ndarray:
    """Count the days on which no variable is missing.

    Parameters
    ----------
    runs : iterable of ndarray
        As `missing_runs` gives them, one array for each variable.
    cells, days : int
        Numbers of all cells, and of days.

    Returns
    -------
    ndarray of int, (cell,)

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xh2cm.data.gaps import complete_days, missing_runs
    >>> rain = xr.DataArray([[1.0, np.nan, 2.0], [0.0, 0.0, 0.0]], dims=("site", "time"))
    >>> heat = xr.DataArray([[np.nan, np.nan, 9.0], [9.0, 9.0, 9.0]], dims=("site", "time"))
    >>> complete_days([missing_runs(x, ["site"], [2]).values for x in (rain, heat)], 2, 3)
    array([1, 3])
    """
    tables = [table for array in runs for table in array.ravel()]
    table = np.concatenate([np.zeros((0, 3), dtype=np.int64), *tables])
    table = table[np.argsort(table[:, 0], kind="stable")]
    shared, own = table[table[:, 0] == EVERYWHERE], table[table[:, 0] != EVERYWHERE]

    def missing(rows: np.ndarray, part: np.ndarray) -> np.ndarray:
        edges = np.zeros((len(rows), days + 1), dtype=np.int32)
        at = np.searchsorted(rows, part[:, 0])
        np.add.at(edges, (at, part[:, 1]), 1)
        np.add.at(edges, (at, part[:, 2]), -1)
        lost: np.ndarray = edges.cumsum(1)[:, :-1] > 0
        return lost

    everywhere = missing(np.array([EVERYWHERE]), shared)[0]
    count = np.full(cells, days - int(everywhere.sum()))
    gappy, first = np.unique(own[:, 0], return_index=True)
    borders = np.append(first, len(own))
    for at in range(0, len(gappy), CELLS):
        rows = gappy[at : at + CELLS]
        part = own[borders[at] : borders[min(at + CELLS, len(gappy))]]
        count[rows] = days - (missing(rows, part) | everywhere).sum(1)
    return count
