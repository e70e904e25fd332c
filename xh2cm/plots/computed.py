"""A lazy prediction, computed once for all the figures that show it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import xarray as xr

from xh2cm.io.zarr import write_zarr

__all__ = ["computed"]

IN_MEMORY = 2**30
"""Bytes up to which a dataset is held in memory."""


@contextlib.contextmanager
def computed(dataset: xr.Dataset, folder: str | os.PathLike[str] | None = None) -> Iterator[xr.Dataset]:
    """Compute a lazy dataset once: in memory where it is small, else in a store that is deleted afterwards.

    Parameters
    ----------
    dataset : Dataset
        One that was opened from a store and is too large for memory stays as it is.
    folder : str or path, optional
        Where to put the store; the system's temporary folder if it is not given or does not exist.

    Yields
    ------
    Dataset

    Examples
    --------
    >>> import xarray as xr
    >>> from xh2cm.plots.computed import computed
    >>> with computed(xr.Dataset({"ET": ("time", [1.0, 2.0])}).chunk()) as held:
    ...     held["ET"].chunks is None
    True
    """
    if not any(variable.chunks for variable in dataset.variables.values()):
        yield dataset
    elif dataset.nbytes <= IN_MEMORY:
        yield dataset.compute()
    elif "source" in dataset.encoding:
        yield dataset
    else:
        there = folder if folder is not None and Path(folder).is_dir() else None
        with tempfile.TemporaryDirectory(prefix=".xh2cm-", dir=there) as made:
            yield xr.open_zarr(write_zarr(dataset, Path(made) / "prediction.zarr"))
