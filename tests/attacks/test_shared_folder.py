"""In a folder that others write to, nothing planted is followed and nothing of others is deleted."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

import xh2cm
from xh2cm.disk.atomic import MARK, MARKER, replace, sole_writer
from xh2cm.errors import StoreError
from xh2cm.page.page import write_page

OTHER = 65534
"""Number of another user."""


@pytest.fixture(scope="module")
def fit(short: xr.Dataset) -> xh2cm.Fit:
    return short.h2cm.fit(2, scheme="cells", epochs=1, width=4, progress=False, loop="plain")


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A folder of somebody else."""
    place = tmp_path / "precious"
    place.mkdir()
    (place / "file").write_text("precious")
    return place


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder that everybody writes to."""
    place = tmp_path / "shared"
    place.mkdir()
    place.chmod(0o1777)
    return place


def given_away(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, OTHER, OTHER, follow_symlinks=False)


def to_zarr(ds: xr.Dataset, fit: xh2cm.Fit, place: Path) -> object:  # noqa: ARG001
    return ds[["vpd"]].h2cm.to_zarr(place / "out.zarr", overwrite=True)


def to_netcdf(ds: xr.Dataset, fit: xh2cm.Fit, place: Path) -> object:  # noqa: ARG001
    return ds[["vpd"]].h2cm.to_netcdf(place / "out.nc", overwrite=True)


def save(ds: xr.Dataset, fit: xh2cm.Fit, place: Path) -> object:  # noqa: ARG001
    return fit.save(place / "fit", overwrite=True)


def report(ds: xr.Dataset, fit: xh2cm.Fit, place: Path) -> object:  # noqa: ARG001
    return write_page(place / "page.html", fit=fit, overwrite=True)


def train(ds: xr.Dataset, fit: xh2cm.Fit, place: Path) -> object:  # noqa: ARG001
    return ds.h2cm.fit(2, scheme="cells", epochs=1, width=4, progress=False, loop="plain", run=place / "run")


WRITERS: dict[str, tuple[str, Callable[..., Any]]] = {
    "store": ("out.zarr", to_zarr),
    "NetCDF": ("out.nc", to_netcdf),
    "fit": ("fit", save),
    "page": ("page.html", report),
    "run": ("run", train),
}


def link_to_file(path: Path, precious: Path) -> None:
    path.symlink_to(precious / "file")


def link_to_folder(path: Path, precious: Path) -> None:
    path.symlink_to(precious)


def dangling(path: Path, precious: Path) -> None:
    path.symlink_to(precious / "new")


def folder(path: Path, precious: Path) -> None:  # noqa: ARG001
    path.mkdir()
    (path / "theirs").write_text("theirs")
    given_away(path)


@pytest.mark.parametrize("plant", [link_to_file, link_to_folder, dangling, folder])
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("where", ["{}", ".{}", "{}.partial", ".{}.earlier"])
def test_what_is_planted_is_not_followed(
    short: xr.Dataset, fit: xh2cm.Fit, shared: Path, precious: Path, plant: Any, writer: str, where: str
) -> None:
    name, write = WRITERS[writer]
    planted = shared / where.format(name)
    plant(planted, precious)
    if planted.is_symlink():
        given_away(planted)
    with suppress(StoreError):
        write(short, fit, shared)
    assert [path.name for path in precious.iterdir()] == ["file"]
    assert (precious / "file").read_text() == "precious"
    if plant is folder:
        assert (planted / "theirs").read_text() == "theirs"
    assert not list(shared.glob(".xh2cm-*"))


@pytest.mark.parametrize("name", ["writer.json", "lock"])
def test_a_link_in_the_folder_of_a_run_is_not_followed(shared: Path, precious: Path, name: str) -> None:
    (shared / name).symlink_to(precious / "file")
    with suppress(OSError), sole_writer(shared):
        pass
    assert (precious / "file").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_marked_folder_of_another_user_is_not_gone_on_with(short: xr.Dataset, shared: Path) -> None:
    partial = shared / "out.zarr.partial"
    partial.mkdir()
    (partial / MARKER).write_bytes(MARK)
    (partial / "theirs").write_text("theirs")
    given_away(partial)
    with pytest.raises(StoreError, match=r"is in the way.*another user"):
        short[["vpd"]].h2cm.to_zarr(shared / "out.zarr")
    assert (partial / "theirs").read_text() == "theirs"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_draft_of_another_user_is_not_deleted(shared: Path) -> None:
    draft = shared / ".xh2cm-abcdefgh"
    draft.mkdir()
    (draft / MARKER).write_bytes(MARK)
    given_away(draft)
    replace(shared / "a", b"")
    assert (draft / MARKER).exists()
