"""Find chunks of a store that were never written, or that cannot be read."""

from __future__ import annotations

import itertools
import os
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from xh2cm.disk.atomic import shortage
from xh2cm.errors import Finding


class Unwritten(NamedTuple):
    """Chunks of a variable that are not in its store, and are read as numbers all the same.

    Parameters
    ----------
    variable : str
    missing, chunks : int
        How many are not there, of how many.
    fill : float
        What is read instead.
    """

    variable: str
    missing: int
    chunks: int
    fill: float

    def __str__(self) -> str:
        return (
            f"{self.variable}: {self.missing:,} of {self.chunks:,} chunks are not in the store and are read as its "
            f"fill value {self.fill:g}: right only if they were left out because they hold nothing else"
        )


def unwritten(dataset: xr.Dataset, names: Iterable[Hashable]) -> Iterator[Unwritten]:
    """Find the chunks that a Zarr store lacks where these are read as numbers, not as gaps.

    Parameters
    ----------
    dataset : Dataset
        As opened, under the names of the store; where its ``encoding`` does not lead to a folder, nothing is found.
    names : iterable of str

    Yields
    ------
    Unwritten
    """
    source = dataset.encoding.get("source")
    if not isinstance(source, str | os.PathLike) or not Path(source).is_dir():
        return
    import zarr  # here, since most datasets come from no Zarr store

    try:
        group = zarr.open_group(str(source), mode="r")
    except (OSError, ValueError):
        return
    for name in names:
        array = group.get(str(name))
        if not isinstance(array, zarr.Array) or array.dtype.kind not in "fiu":
            continue
        fill = float(array.fill_value or 0)
        encoding = dataset[name].encoding
        gaps = [encoding[key] for key in ("_FillValue", "missing_value") if key in encoding]
        if np.isfinite(fill) and not np.isin(fill, np.asarray(gaps, float)):
            missing = array.nchunks - array.nchunks_initialized
            if missing:
                yield Unwritten(str(name), missing, array.nchunks, fill)


def unreadable(dataset: xr.Dataset) -> list[Finding]:
    """Find chunks that cannot be read, one by one.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    list of Finding
        The first such chunk of every variable; only what ran out, if memory, threads or file handles did: then the
        chunks may be whole.
    """
    findings = []
    for name, array in dataset.data_vars.items():
        sizes = array.chunksizes or {dim: (size,) for dim, size in array.sizes.items()}
        edges = {dim: [0, *itertools.accumulate(lengths)] for dim, lengths in sizes.items()}
        for at in np.ndindex(*map(len, sizes.values())):
            piece = {dim: slice(*edge[n : n + 2]) for n, (dim, edge) in zip(at, edges.items(), strict=True)}
            try:
                array.isel(piece).copy().compute()
            except Exception as error:  # a damaged chunk may fail anywhere in a decoder
                if (ran_out := shortage(error)) is not None:
                    return [Finding(str(name), f"cannot be read: {ran_out[0]}", ran_out[1])]
                where = ", ".join(f"{dim} {some.start} to {some.stop - 1}" for dim, some in piece.items())
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                problem = f"its chunk {'/'.join(map(str, at))} ({where}) cannot be read: {reason}"
                findings.append(Finding(str(name), problem, "copy or download it again, or write that part anew"))
                break
    return findings
