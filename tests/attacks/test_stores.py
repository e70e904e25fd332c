"""Zarr stores from strangers: no code runs, nothing hangs, and what is wrong is named."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from typer.testing import CliRunner

import xh2cm
from xh2cm.cli import app
from xh2cm.datasets.open import open_path
from xh2cm.datasets.stores import CODECS, examined
from xh2cm.errors import InputError


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.canary,)


@pytest.fixture
def store(tmp_path: Path, short: xr.Dataset) -> Path:
    """A store of Zarr's version 3."""
    ds = short[["vpd", "precipitation"]].assign_coords(name=("lat", ["a", "b"]))
    return Path(ds.chunk(time=30).h2cm.to_zarr(tmp_path / "store.zarr"))


@pytest.fixture
def second(tmp_path: Path, short: xr.Dataset) -> Path:
    """A store of Zarr's version 2."""
    ds = short[["vpd", "precipitation"]].assign_coords(name=("lat", np.array(["a", "b"], dtype=object)))
    ds.to_zarr(tmp_path / "second.zarr", zarr_format=2, consolidated=True)
    return tmp_path / "second.zarr"


def changed(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_path(path)
    return str(caught.value)


# -- code --------------------------------------------------------------------------------------------------------------

PICKLE = {"id": "pickle", "protocol": 5}


def as_compressor(array: Path, bomb: bytes) -> None:
    changed(array / ".zarray", compressor=PICKLE)
    (array / "0.0.0").write_bytes(bomb)


def as_filter(array: Path, bomb: bytes) -> None:
    changed(array / ".zarray", compressor=None, filters=[PICKLE])
    (array / "0.0.0").write_bytes(bomb)


def as_second_filter(array: Path, bomb: bytes) -> None:
    changed(array / ".zarray", compressor=None, filters=[{"id": "shuffle", "elementsize": 4}, PICKLE])
    (array / "0.0.0").write_bytes(bomb)


def as_objects(array: Path, bomb: bytes) -> None:
    changed(array / ".zarray", compressor=None, filters=[PICKLE], dtype="|O", fill_value=None)
    (array / "0.0.0").write_bytes(bomb)


def beside_a_group(array: Path, bomb: bytes) -> None:
    (array.parent / ".zarray").write_text((array / ".zarray").read_text())
    as_compressor(array, bomb)


def behind_a_link(array: Path, bomb: bytes) -> None:
    as_compressor(array, bomb)
    array.rename(array.parent.parent / "elsewhere")
    array.symlink_to(array.parent.parent / "elsewhere")


def in_the_consolidated(array: Path, bomb: bytes) -> None:
    file = array.parent / ".zmetadata"
    about = json.loads(file.read_text())
    about["metadata"][f"{array.name}/.zarray"]["compressor"] = PICKLE
    file.write_text(json.dumps(about))
    (array / "0.0.0").write_bytes(bomb)


def in_a_group_below(array: Path, bomb: bytes) -> None:
    as_compressor(array, bomb)
    (array.parent / "deep" / "er").mkdir(parents=True)
    for folder in (array.parent / "deep", array.parent / "deep" / "er"):
        shutil.copy(array.parent / ".zgroup", folder)
    array.rename(array.parent / "deep" / "er" / array.name)


def as_text_with_objects(array: Path, bomb: bytes) -> None:
    changed(array / ".zarray", compressor=None, filters=[{"id": "msgpack2"}], dtype="|O", fill_value=None)
    (array / "0.0.0").write_bytes(bomb)


def of_json(array: Path, bomb: bytes) -> None:
    changed(array / ".zarray", filters=[{"id": "json2"}], dtype="|O", fill_value=None)
    (array / "0.0.0").write_bytes(bomb)


PLANTS = [
    as_compressor, as_filter, as_second_filter, as_objects, beside_a_group, behind_a_link, in_the_consolidated,
    in_a_group_below, as_text_with_objects, of_json,
]  # fmt: skip


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_codec_that_runs_code_is_refused(
    second: Path, canary: Path, plant: Callable[[Path, bytes], None], zipped: bool
) -> None:
    plant(second / "vpd", pickle.dumps(Bomb(canary)))
    path = second
    if zipped:
        if plant is behind_a_link:
            pytest.skip("a zip holds no links")
        path = Path(shutil.make_archive(str(second), "zip", second))
    assert "which may run code and is not decoded" in refusal(path)
    with pytest.raises(InputError):
        xh2cm.open_published(path)
    for command in ("info", "check"):
        done = CliRunner().invoke(app, [command, str(path)])
        assert done.exit_code == 1
        assert "may run code" in done.output
    assert not canary.exists()


@pytest.mark.parametrize("name", ["pickle", "numcodecs.pickle", "exec", "", "Blosc", "numcodecs.numcodecs.zlib", "os"])
@pytest.mark.parametrize("sharded", [False, True])
def test_an_unknown_codec_of_version_3_is_refused(store: Path, name: str, sharded: bool) -> None:
    codecs: list[Any] = [{"name": "bytes"}, {"name": name, "configuration": {}}]
    if sharded:
        configuration = {"chunk_shape": [1, 1, 1], "codecs": codecs, "index_codecs": [{"name": "bytes"}]}
        codecs = [{"name": "sharding_indexed", "configuration": configuration}]
    changed(store / "vpd" / "zarr.json", codecs=codecs)
    assert f"asks for the codec {name.removeprefix('numcodecs.')!r}" in refusal(store)


def test_all_unknown_codecs_are_named_at_once(second: Path) -> None:
    for name in ("vpd", "precipitation"):
        changed(second / name / ".zarray", compressor={"id": f"my-{name}"})
    text = refusal(second)
    assert "'my-vpd'" in text
    assert "'my-precipitation'" in text


def test_what_xarray_writes_by_itself_is_read(short: xr.Dataset, tmp_path: Path) -> None:
    ds = short[["vpd", "co2"]].assign_coords(name=("lat", ["a", "b"]), when=("lat", short["time"].values[:2]))
    for number, version in enumerate((2, 3)):
        path = tmp_path / f"{number}.zarr"
        ds.to_zarr(path, zarr_format=version, consolidated=False)
        xr.testing.assert_identical(open_path(path).load(), ds[["co2", "vpd"]])


def test_codecs_on_the_list_are_known_to_zarr_or_were() -> None:
    known = {name.removeprefix("numcodecs.") for name in zarr.registry.__dict__["__codec_registries"]}
    assert "pickle" not in CODECS
    assert len(known & CODECS) > 20


# -- claims ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0, 2, 4]}}},
            "which are not numbers of 1",
        ),
        ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [-1, 2, 4]}}}, "not numbers of 1"),
        ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": "all"}}}, "not numbers of 1"),
        ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [True, 2, 4]}}}, "not numbers of 1"),
        ({"chunk_grid": {"name": "regular"}}, "is not the description of an array"),
        ({"chunk_grid": None}, "is not the description of an array"),
        ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1]}}}, "3 dimensions and chunks along 1"),
        ({"shape": [10**15, 2, 4]}, "chunks, more than"),
        ({"shape": [-1, 2, 4]}, "which are not numbers of 0"),
        ({"shape": [1.5, 2, 4]}, "which are not numbers of 0"),
        ({"shape": None}, "which are not numbers of 0"),
        ({"dimension_names": [1, 2, 3]}, "which is not text"),
        ({"dimension_names": ["time"]}, "names 1 dimensions of 3"),
        ({"dimension_names": "time"}, "which is not text"),
        ({"fill_value": "x"}, "is not a number"),
        ({"fill_value": [1]}, "is not a number"),
        ({"fill_value": {}}, "is not a number"),
        ({"codecs": None}, "codec"),
        ({"codecs": 3}, "codec"),
        ({"data_type": "float1000"}, "cannot be opened"),
        ({"data_type": {"name": "x"}}, "cannot be opened"),
        ({"zarr_format": 4}, "cannot be opened"),
        ({"node_type": "folder"}, "cannot be opened"),
        ({"attributes": [1]}, "cannot be opened"),
        ({"attributes": {"dtype": "bool", "_FillValue": "!"}}, "cannot be opened"),
        ({"attributes": {"units": "days since the flood"}}, "cannot be opened"),
        ({"storage_transformers": [{"name": "x"}]}, "storage transformers"),
    ],
)
def test_metadata_that_cannot_be_right_are_refused(store: Path, values: dict[str, Any], says: str) -> None:
    changed(store / "vpd" / "zarr.json", **values)
    text = refusal(store)
    assert says in text
    assert str(store) in text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"nothing",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"3",
        b'{"zarr_format": 1e999}',
        b"\0" * 99,
    ],
)
def test_metadata_that_are_no_json_are_refused(store: Path, content: bytes) -> None:
    (store / "vpd" / "zarr.json").write_bytes(content)
    refusal(store)


def test_metadata_too_long_to_be_any_are_not_read(store: Path) -> None:
    with (store / "zarr.json").open("wb") as file:
        file.truncate(10**12)
    assert "more than any metadata" in refusal(store)


def test_chunks_larger_than_memory_are_refused(store: Path) -> None:
    grid = {"name": "regular", "configuration": {"chunk_shape": [10**13, 2, 4]}}
    changed(store / "vpd" / "zarr.json", shape=[10**13, 2, 4], chunk_grid=grid)
    assert "claims chunks of" in refusal(store)


@pytest.mark.parametrize("name", ["zarr.json", "vpd/zarr.json"])
@pytest.mark.parametrize("what", ["pipe", "device", "folder", "loop"])
def test_metadata_that_are_no_file_are_not_read(store: Path, name: str, what: str) -> None:
    (store / name).unlink()
    if what == "pipe":
        os.mkfifo(store / name)
    elif what == "folder":
        (store / name).mkdir()
    else:
        (store / name).symlink_to("/dev/zero" if what == "device" else store / name)
    if what in ("pipe", "device"):
        assert "is not a file" in refusal(store)
    else:
        with pytest.raises(InputError):
            open_path(store).h2cm.check()


@pytest.mark.parametrize("what", ["pipe", "device", "zeros"])
def test_a_chunk_that_is_no_file_is_not_waited_for(tmp_path: Path, short: xr.Dataset, what: str) -> None:
    path = Path(short.chunk(time=30).h2cm.to_zarr(tmp_path / "all.zarr"))
    chunk = next(p for p in sorted((path / "vpd" / "c").rglob("*")) if p.is_file())
    chunk.unlink()
    if what == "zeros":
        chunk.symlink_to("/dev/zero")
    elif what == "device":
        chunk.symlink_to("/dev/tty")
    else:
        os.mkfifo(chunk)
    with pytest.raises(InputError, match=r"vpd: its chunk 0/0/0 .* cannot be read: .*not a file, but a pipe or device"):
        open_path(path).h2cm.check()


def test_a_loop_of_links_ends(store: Path) -> None:
    (store / "again").symlink_to(store)
    assert "vpd" in open_path(store)


def test_too_many_arrays_are_not_all_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(xh2cm.datasets.stores.MOST, "arrays and groups", 5)
    zarr.open_group(tmp_path / "many.zarr", mode="w")
    for k in range(9):
        zarr.open_group(tmp_path / "many.zarr", path=str(k), mode="w")
    assert "holds more than 5 arrays and groups" in refusal(tmp_path / "many.zarr")


def test_a_zip_that_is_none(tmp_path: Path, store: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04" + bytes(99))
    assert "cannot be opened" in refusal(tmp_path / "a.zip")
    archive = Path(shutil.make_archive(str(tmp_path / "b"), "zip", store))
    assert "vpd" in open_path(archive)
    archive.write_bytes(archive.read_bytes()[:-30])
    assert "cannot be opened" in refusal(archive)


def test_metadata_in_a_zip_that_swell_are_not_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zarr.json", b" " * (2**24 + 1))
    assert "more than any metadata" in refusal(tmp_path / "a.zip")


def test_too_few_file_handles_are_no_damage(tmp_path: Path, short: xr.Dataset) -> None:
    path = Path(short.chunk(time=30).h2cm.to_zarr(tmp_path / "all.zarr"))
    ds = open_path(path)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    try:
        while True:
            try:
                held.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        with pytest.raises(InputError) as caught:
            ds.h2cm.check()
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert "its chunk" not in str(caught.value)
    assert "Too many open files" in str(caught.value)


def test_a_store_is_opened_read_only(store: Path) -> None:
    assert examined(store).read_only
