"""Open datasets from paths: a Zarr store, a NetCDF file, or the published layout."""

from __future__ import annotations

import os

import xarray as xr

from xh2cm.datasets.published import FORCING_GROUPS, open_published
from xh2cm.disk.atomic import reason
from xh2cm.disk.places import as_url, local
from xh2cm.errors import Finding, InputError, StoreError

__all__ = [
    "open_path",
]

UNFINISHED = "xh2cm_unfinished"
"""Attribute of a store at a URL as long as it is being written."""


def open_path(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a dataset lazily, chunk by chunk as it lies on disk.

    Parameters
    ----------
    path : str or path
        A Zarr store (a folder, a ``.zip`` of what is in it, or a URL that fsspec reads, such as
        ``s3://bucket/era5.zarr``), also in the published layout of one group a variable, or a NetCDF file. ``~`` is the
        user's home.

    Returns
    -------
    Dataset
        Of Dask arrays.

    Raises
    ------
    InputError
        If there is nothing there, nothing of the kind, or a store of unknown codecs or of impossible claims.

    Examples
    --------
    >>> import tempfile, xh2cm
    >>> from xh2cm.datasets.open import open_path
    >>> forcing = xh2cm.tutorial.open_dataset("twin")[["vpd", "co2"]]
    >>> open_path(forcing.h2cm.to_zarr(tempfile.mkdtemp() + "/vpd.zarr"))["vpd"].dims
    ('time', 'lat', 'lon')
    """
    import zarr

    from xh2cm.datasets.stores import examined

    name = as_url(path) or str(path)
    try:
        found = None if as_url(path) else local(path)
        if found and found.is_file() and found.suffix != ".zip":
            return xr.open_dataset(found, chunks={})
        store = examined(path)
        root = zarr.open_group(store, mode="r")
        if not {*root.group_keys()}.isdisjoint(FORCING_GROUPS):  # open_published says what the published layout lacks
            return open_published(store)
        dataset: xr.Dataset = xr.open_zarr(store, chunks={}, consolidated=False)
        if found and found.is_dir():
            dataset.encoding["source"] = str(found)
        if UNFINISHED not in dataset.attrs:
            return dataset[sorted(dataset.data_vars, key=str)]  # a folder lists its arrays in any order
        told = "it was not written to its end"
    except InputError:
        raise
    except FileNotFoundError:
        there = found is not None and found.exists()
        told = "there is no Zarr group at its root" if there else "there is no such file or folder"
    except StoreError as error:
        told = str(error)
    except ImportError as error:
        told = str(error)
    except MemoryError as error:
        told = reason(error)
    except Exception as error:  # a damaged or forged file may fail anywhere in its reader
        told = f"{type(error).__name__}: {error}".splitlines()[0]
    remedy = "give a Zarr store (a folder, a zip of what is in it, or a URL) or a NetCDF file"
    raise InputError([Finding(name, f"cannot be opened ({told})", remedy)])
