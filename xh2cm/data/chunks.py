"""Chunks of a dataset: the blocks of cells in which it can be read, and the memory that this takes."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr

from xh2cm.errors import H2CMWarning
from xh2cm.variables import FORCING

__all__ = ["BLOCK_LIMIT", "Touched", "land_blocks", "touched", "warn_of_slow_chunks"]

BLOCK_LIMIT = 2**30
"""Bytes of forcing in the smallest block of whole records from which on reading block by block is called slow."""

Block = dict[Hashable, slice]


class Touched(NamedTuple):
    """Memory taken by reading a block of cells with its whole record.

    Parameters
    ----------
    chunks : int
        Chunks of all forcings together.
    nbytes : int
        What they hold, uncompressed.
    """

    chunks: int
    nbytes: int


def land_blocks(dataset: xr.Dataset) -> list[Block]:
    """Cut the land into blocks, as small as they can be without cutting a chunk of any forcing.

    Parameters
    ----------
    dataset : Dataset
        Checked.

    Returns
    -------
    list of dict of dimension to slice
        For ``dataset.isel(block)``. Together they cover the land once, in the order of its axes. A border
        of blocks is one that all chunked forcings have. One block, ``slice(0, size)`` along each axis, where no forcing
        is chunked.

    Examples
    --------
    >>> import xh2cm
    >>> from xh2cm.data.chunks import land_blocks
    >>> ds = xh2cm.tutorial.open_dataset("twin").chunk(lat=3, lon=8)
    >>> land_blocks(ds.h2cm.check().dataset)
    [{'lat': slice(0, 3, None), 'lon': slice(0, 8, None)}, {'lat': slice(3, 6, None), 'lon': slice(0, 8, None)}]
    """
    land = dataset["mask"].sizes
    forcing = _chunked_forcing(dataset)
    cuts = [_cut([a.chunksizes[dim] for a in forcing if dim in a.dims], size) for dim, size in land.items()]
    return [dict(zip(land, slices, strict=True)) for slices in itertools.product(*cuts)]


def touched(dataset: xr.Dataset, block: Mapping[Hashable, slice]) -> Touched:
    """Count the chunks that reading the whole record of a block of cells brings into memory.

    Parameters
    ----------
    dataset : Dataset
        Checked.
    block : mapping of dimension to slice
        Such as one of `land_blocks`.

    Returns
    -------
    Touched
        Nothing for arrays that are in memory already.

    Examples
    --------
    >>> import xh2cm
    >>> from xh2cm.data.chunks import touched
    >>> ds = xh2cm.tutorial.open_dataset("twin").drop_vars("co2").chunk(lat=3, time=1000)
    >>> touched(ds.h2cm.check(names={"co2": 400.0}).dataset, {"lat": slice(0, 1)}).chunks  # 2 of time, 4 variables
    8
    """
    chunks = nbytes = 0
    for array in _chunked_forcing(dataset):
        met = [list(_met(block.get(dim, slice(None)), sizes)) for dim, sizes in array.chunksizes.items()]
        chunks += math.prod(map(len, met))
        nbytes += math.prod(map(sum, met)) * array.dtype.itemsize
    return Touched(chunks, nbytes)


def warn_of_slow_chunks(forcing: Iterable[xr.DataArray], *, limit: int = BLOCK_LIMIT) -> None:
    """Warn where the chunks on disk do not let records be read for a few cells at a time, and say what to do.

    Parameters
    ----------
    forcing : iterable of DataArray
        As opened: what their ``encoding`` says of chunks on disk counts, and else their Dask chunks.
    limit : int
        Bytes of whole records in one block of cells above which it is said.

    Warns
    -----
    H2CMWarning
        The same warning is shown once a process, as Python does by default.
    """
    arrays = [array for array in forcing if array.chunks is not None]
    land = {dim: size for array in arrays for dim, size in array.sizes.items() if dim != "time"}
    block = {dim: max(_on_disk(array)[dim] for array in arrays if dim in array.dims) for dim in land}
    sizes = [math.prod({**array.sizes, **block}[dim] for dim in array.dims) for array in arrays]
    nbytes = sum(size * array.dtype.itemsize for size, array in zip(sizes, arrays, strict=True))
    if nbytes > limit:
        cells, every = math.prod(block.values()), math.prod(land.values())
        count = f"all {every:,}" if cells == every else f"{cells:,} of {every:,}"
        warnings.warn(
            f"the forcing lies in chunks of {count} cells, whose whole records take {nbytes / 2**30:.3g} GiB: a run "
            "keeps that in memory at once, or reads each chunk again for each part. Write it once in chunks of fewer "
            'cells: ds = ds.h2cm.rechunk("by_cells.zarr")',
            H2CMWarning,
            stacklevel=4,
        )


def _chunked_forcing(dataset: xr.Dataset) -> list[xr.DataArray]:
    return [dataset[name] for name in FORCING if name in dataset and dataset[name].chunks is not None]


def _on_disk(array: xr.DataArray) -> dict[Hashable, int]:
    """Largest chunk along each axis, on disk where that is known."""
    stored = array.encoding.get("preferred_chunks", {})
    return {dim: min(int(np.max(stored.get(dim, sizes))), array.sizes[dim]) for dim, sizes in array.chunksizes.items()}


def _borders(sizes: Iterable[int]) -> list[int]:
    return [0, *itertools.accumulate(sizes)]


def _cut(chunks: list[tuple[int, ...]], size: int) -> list[slice]:
    """Slices between the borders that all have."""
    shared = set.intersection(*(set(_borders(sizes)) for sizes in chunks)) if chunks else {0, size}
    return [slice(start, stop) for start, stop in itertools.pairwise(sorted(shared))]


def _met(piece: slice, sizes: tuple[int, ...]) -> Iterator[int]:
    """Sizes of the chunks that a slice meets."""
    first, last, _ = piece.indices(sum(sizes))
    for start, size in zip(_borders(sizes), sizes, strict=False):
        if start < last and first < start + size:
            yield size
