"""A disk that is full is named, what was there before is intact, nothing is left behind, and no file stays open."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xh2cm
from xh2cm.disk.atomic import replace, writing
from xh2cm.errors import StoreError

MOUNT, UMOUNT = (shutil.which(name) or "false" for name in ("mount", "umount"))
ROOM = 400_000
"""Bytes of the disk, more than any of the writers below needs."""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("disk")
    command = [MOUNT, "-t", "tmpfs", "-o", f"size={ROOM}", "none", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs to mount a file system")
    yield place
    subprocess.run([UMOUNT, "-l", str(place)], check=False)


@pytest.fixture(scope="module")
def fit(short: xr.Dataset) -> xh2cm.Fit:
    return short.h2cm.fit(2, scheme="cells", epochs=1, width=4, progress=False, loop="plain")


@pytest.fixture(scope="module")
def noise() -> xr.Dataset:
    """A grid with a variable that CMIP6 names, hard to compress."""
    days = np.arange("2001-01-01", "2001-02-01", dtype="datetime64[D]").astype("datetime64[ns]")
    values = np.random.default_rng(1).random((31, 8, 8), dtype=np.float32)
    coords = {
        "time": days,
        "lat": ("lat", np.arange(8.0), {"standard_name": "latitude", "units": "degrees_north"}),
        "lon": ("lon", np.arange(8.0), {"standard_name": "longitude", "units": "degrees_east"}),
    }
    arrays = {name: (("time", "lat", "lon"), values, {"units": "mm day-1"}) for name in ("ET", "runoff")}
    return xr.Dataset(arrays, coords)


def write(what: str, place: Path, noise: xr.Dataset, fit: xh2cm.Fit, old: bool) -> object:
    ds = noise.isel(time=slice(0, 3)) if old else noise
    if what == "fit":
        return fit.save(place / "fit", overwrite=True)
    if what == "store":
        return ds.h2cm.to_zarr(place / "out.zarr", overwrite=True)
    if what == "lazy store":
        return ds.chunk(lat=2).h2cm.to_zarr(place / "out.zarr", overwrite=True)
    if what == "NetCDF":
        return ds.h2cm.to_netcdf(place / "out.nc", overwrite=True)
    if what == "lazy NetCDF":
        return ds.chunk(lat=2).h2cm.to_netcdf(place / "out.nc", overwrite=True)
    if what == "CMIP":
        return ds.h2cm.to_cmip(
            place, frequency="day", experiment_id="old" if old else "new", variables=["ET", "runoff"]
        )
    with writing(place / "a.csv"):
        return replace(place / "a.csv", b"1" * (1_000 if old else 100_000))


def held(place: Path) -> list[str]:
    """Files of a disk that this process has open."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(descriptor.readlink()))
        except OSError:
            continue
    return [name for name in found if name.startswith(str(place))]


def content(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def refused(what: str, place: Path, noise: xr.Dataset, fit: xh2cm.Fit) -> str:
    """Return the message of an error, empty where there is none."""
    try:
        write(what, place, noise, fit, old=False)
    except StoreError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("what", ["fit", "file"])  # stores and NetCDF: not yet, see docs/security.md
def test_a_full_disk(disk: Path, noise: xr.Dataset, fit: xh2cm.Fit, what: str) -> None:
    place = disk / "place"
    place.mkdir()
    try:
        write(what, place, noise, fit, old=True)
        before, refusals = content(place), 0
        for left in range(0, 120_000, 10_000):
            free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
            (disk / "ballast").write_bytes(bytes(max(free - left, 0)))
            if refusal := refused(what, place, noise, fit):
                refusals += 1
                assert "No space left on device" in refusal, left
                assert content(place) == before, left
            else:
                shutil.rmtree(place)
                place.mkdir()
                (disk / "ballast").unlink()
                write(what, place, noise, fit, old=True)
                before = content(place)
            (disk / "ballast").unlink(missing_ok=True)
            assert held(disk) == [], left
            assert list(place.rglob(".xh2cm-*")) == [], left
        assert refusals
    finally:
        (disk / "ballast").unlink(missing_ok=True)
        shutil.rmtree(place)
