"""Write one NetCDF file that follows the CF conventions."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import xarray as xr
from dask.base import is_dask_collection

from xh2cm.data.cf import horizontal
from xh2cm.disk.atomic import beside, put, synced, writing
from xh2cm.disk.places import local
from xh2cm.errors import StoreError
from xh2cm.io.passengers import fit_for_files

__all__ = ["write_netcdf"]


def write_netcdf(dataset: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a dataset to a new NetCDF file that keeps to the CF conventions, chunk by chunk where it is lazy.

    Parameters
    ----------
    dataset : Dataset
        A prediction, or any other.
    path : str or path
    overwrite : bool
        Replace a NetCDF file that is there.

    Returns
    -------
    Path

    Raises
    ------
    StoreError
        If something is there already, or it cannot be written.

    Notes
    -----
    Time, latitude and longitude (y and x) are the last dimensions of every variable, in this order, as CF recommends:
    towers and catchments come as (site, time), whatever they are in memory. Names are text of fixed length.

    Examples
    --------
    >>> import tempfile, xarray as xr, xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin")
    >>> path = ds[["GPP"]].h2cm.to_netcdf(tempfile.mkdtemp() + "/gpp.nc")
    >>> xr.open_dataset(path)["GPP"].dims
    ('month', 'lat', 'lon')
    """
    target = local(path)
    if os.path.lexists(target) and not (overwrite and is_netcdf(target)):
        raise StoreError(f"{target} exists: give another path, or overwrite=True to replace an earlier NetCDF file")
    fresh = with_history(laid_out(fit_for_files(dataset)), f"written to {target.name}")
    with writing(target), beside(target) as folder, what_the_disk_says(folder), what_netcdf_refuses(fresh):
        fresh.to_netcdf(folder / target.name, engine="netcdf4")  # not every xarray takes it by itself
        put(folder / target.name, target)  # only now: until the new file is whole the old one stays
    return target


def is_netcdf(path: Path) -> bool:
    """Return whether a file begins as NetCDF does, of any version."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in (b"\x89HDF", b"CDF\x01", b"CDF\x02", b"CDF\x05")


@contextmanager
def what_the_disk_says(folder: Path) -> Iterator[None]:
    """Raise the error of the disk that NetCDF calls an "HDF error"."""
    try:
        yield
    except RuntimeError as error:
        try:
            (folder / "probe").write_bytes(bytes(2**16))
            synced(folder / "probe")
        except OSError as refused:
            raise refused from error
        raise


@contextmanager
def what_netcdf_refuses(*datasets: xr.Dataset) -> Iterator[None]:
    """Raise a `StoreError` for what NetCDF cannot hold; an error of lazy datasets may be one of computing them."""
    try:
        yield
    except (TypeError, ValueError, NotImplementedError) as error:
        if any(is_dask_collection(dataset) for dataset in datasets):
            raise
        raise StoreError(f"NetCDF cannot hold the dataset: {error}") from error


def laid_out(dataset: xr.Dataset) -> xr.Dataset:
    """Order dimensions and labels as CF recommends: axes last, as T, Y, X, and only numbers along an axis."""
    latitude, _ = horizontal(dataset)
    roles: dict[Hashable, dict[str, str]] = {}
    if latitude is not None and latitude.ndim == 2:
        roles = dict(zip(latitude.dims, ({"axis": "Y"}, {"axis": "X"}), strict=True))
    elif latitude is not None and latitude.ndim == 1 and "featureType" in dataset.attrs:
        roles = {latitude.dims[0]: {"cf_role": "timeseries_id"}}
    for dim, role in roles.items():
        if dim not in dataset.coords:  # cells that have no name have a number
            about = {"long_name": f"number of the cell along {dim}", "units": "1", **role}
            dataset = dataset.assign_coords({dim: (dim, np.arange(dataset.sizes[dim], dtype=np.int32), about)})
    axis_of = {dim: dataset[dim].attrs.get("axis") for dim in dataset.dims if dim in dataset.coords}
    of_data = {dim for array in dataset.data_vars.values() for dim in array.dims}

    def rank(dim: Hashable) -> int:
        axis = axis_of.get(dim)
        return "TZYX".index(axis) + 1 if axis in ("T", "Z", "Y", "X") else 0 if dim in of_data else 5

    dataset = dataset.transpose(*sorted(dataset.dims, key=rank))
    for name in list(dataset.coords):
        if dataset[name].dtype.kind in "UOT" and all(isinstance(text, str) for text in dataset[name].values.flat):
            dataset = dataset.assign_coords({name: dataset[name].astype(str)})
            dataset[name].encoding = {"dtype": "S1"}
        elif dataset[name].dims == (name,) and not strictly_ordered(dataset[name].values):
            dataset = dataset.rename_dims({name: f"{name}_index"})
    return dataset


def strictly_ordered(values: np.ndarray) -> bool:
    """Return whether numbers or dates only rise or only fall, as those along an axis must."""
    return bool((values[1:] > values[:-1]).all() or (values[1:] < values[:-1]).all())


def with_history(dataset: xr.Dataset, what: str) -> xr.Dataset:
    """Note when and by what the dataset was written."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    line = f"{now} xh2cm {importlib.metadata.version('xh2cm')}: {what}"
    earlier = [str(dataset.attrs["history"])] if dataset.attrs.get("history") else []
    return dataset.assign_attrs(history="\n".join([*earlier, line]), date_created=now)
