"""Datasets from paths: a Zarr store, a NetCDF file, or the published layout; and what is wrong with their chunks."""

from __future__ import annotations

import itertools
import os
import zipfile
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
import zarr
from zarr.storage import ZipStore

from xh2cm.data.published import FORCING_GROUPS, open_published
from xh2cm.errors import Finding, InputError

__all__ = ["Unwritten", "open_path", "unreadable", "unwritten"]


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


def open_path(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a dataset lazily, chunk by chunk as it lies on disk.

    Parameters
    ----------
    path : str or path
        A Zarr store (a folder, or a ``.zip`` of what is in it), also in the published layout of one group a variable,
        or a NetCDF file.

    Returns
    -------
    Dataset
        Of Dask arrays.

    Raises
    ------
    InputError
        If there is nothing there, or nothing of the kind.

    Examples
    --------
    >>> import tempfile, xh2cm
    >>> from xh2cm.data.files import open_path
    >>> forcing = xh2cm.tutorial.open_dataset("twin")[["vpd", "co2"]]
    >>> open_path(forcing.h2cm.to_zarr(tempfile.mkdtemp() + "/vpd.zarr"))["vpd"].dims
    ('time', 'lat', 'lon')
    """
    found = Path(path)
    try:
        if found.is_file() and found.suffix != ".zip":
            dataset = xr.open_dataset(found, chunks={})
        else:
            store = ZipStore(found, mode="r") if found.is_file() else str(found)
            groups = set(zarr.open_group(store, mode="r").group_keys())
            if not groups.isdisjoint(FORCING_GROUPS):  # what the published layout lacks is for open_published to say
                dataset = open_published(found)
            else:
                dataset = xr.open_zarr(store, chunks={}, consolidated=False)
                dataset = dataset[sorted(dataset.data_vars)]  # a folder lists its arrays in any order
    except FileNotFoundError:
        reason = "there is no Zarr group at its root" if found.exists() else "there is no such file or folder"
    except InputError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    else:
        return dataset
    remedy = "give a Zarr store (a folder, or a zip of what is in it) or a NetCDF file"
    raise InputError([Finding(str(found), f"cannot be opened ({reason})", remedy)])


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
    """Look for chunks that cannot be read, one by one.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    list of Finding
        The first such chunk of every variable.
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
                where = ", ".join(f"{dim} {some.start} to {some.stop - 1}" for dim, some in piece.items())
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                problem = f"its chunk {'/'.join(map(str, at))} ({where}) cannot be read: {reason}"
                findings.append(Finding(str(name), problem, "copy or download it again, or write that part anew"))
                break
    return findings
