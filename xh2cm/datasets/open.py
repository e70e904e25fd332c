"""Datasets from paths: a Zarr store, a NetCDF file, or the published layout; and what is wrong with their chunks."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import xarray as xr

from xh2cm.datasets.published import FORCING_GROUPS, open_published
from xh2cm.errors import Finding, InputError

__all__ = [
    "open_path",
]


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
    >>> from xh2cm.datasets.open import open_path
    >>> forcing = xh2cm.tutorial.open_dataset("twin")[["vpd", "co2"]]
    >>> open_path(forcing.h2cm.to_zarr(tempfile.mkdtemp() + "/vpd.zarr"))["vpd"].dims
    ('time', 'lat', 'lon')
    """
    import zarr
    from zarr.storage import ZipStore

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
