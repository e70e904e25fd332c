"""Look at a Zarr store before anything in it is decoded: it may come from a stranger.

A codec is code that a store asks for by name, and some codecs run whatever they are given. So each codec must be on a
list, and what the metadata claim must be possible, before Zarr sees them.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import psutil
from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore, ZipStore

from xh2cm.disk.places import as_url, local
from xh2cm.errors import Finding, InputError

__all__ = ["CODECS", "examined"]

CODECS = frozenset(
    {"bytes", "crc32c", "endian", "sharding_indexed", "transpose", "vlen-bytes", "vlen-utf8"}
    | {"blosc", "bz2", "gzip", "lz4", "lzma", "pcodec", "zfpy", "zlib", "zstd"}
    | {"adler32", "crc32", "fletcher32", "jenkins_lookup3", "shuffle"}
    | {"astype", "bitround", "cast_value", "delta", "fixedscaleoffset", "packbits", "quantize", "scale_offset"}
)
"""Codecs and filters that are decoded: numbers and text, no objects and no code."""

MOST = {"bytes of metadata": 2**24, "arrays and groups": 10_000, "dimensions": 32, "chunks of an array": 10**7}
"""Upper limits of what is read of a store."""

METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")

REMEDY = "take the store from another source, or write it anew with xarray"


class RegularFiles(LocalStore):
    """A store in a folder, of which only regular files are read: a pipe or device could make a reader wait for ever."""

    def refuse_others(self, key: str) -> None:
        """Refuse a key that leads to something other than a file."""
        path = self.root / key
        try:
            kind = path.stat().st_mode
        except OSError:  # not there, which is a chunk of fill values
            return
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise OSError(f"{path} is not a file, but a pipe or device")

    async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
        """Read a file."""
        self.refuse_others(key)
        return await super().get(key, *args, **kwargs)

    def get_sync(self, key: str, **kwargs: Any) -> Any:
        """Read a file."""
        self.refuse_others(key)
        return super().get_sync(key, **kwargs)

    async def get_partial_values(self, prototype: Any, key_ranges: Iterable[tuple[str, Any]]) -> Any:
        """Read parts of files."""
        parts = list(key_ranges)
        for key, _ in parts:
            self.refuse_others(key)
        return await super().get_partial_values(prototype, parts)

    def __dask_tokenize__(self) -> tuple[str, str]:
        """Name the same place by the same token."""
        return type(self).__qualname__, str(self.root)


def examined(path: str | os.PathLike[str]) -> Store:
    """Open a Zarr store for reading once its metadata have been looked at.

    Parameters
    ----------
    path : str or path
        A folder, a ``.zip`` of what is in it, or a URL that fsspec reads.

    Returns
    -------
    zarr.abc.store.Store
        Read-only.

    Raises
    ------
    InputError
        Codecs that are not on the list, or metadata that cannot be right; all findings at once.
    OSError, ValueError, ImportError
        If there is nothing there, or it cannot be reached.

    Examples
    --------
    >>> import tempfile, xh2cm
    >>> from xh2cm.datasets.stores import examined
    >>> ds = xh2cm.tutorial.open_dataset("twin")[["vpd"]]
    >>> examined(ds.h2cm.to_zarr(tempfile.mkdtemp() + "/vpd.zarr")).read_only
    True
    """
    store: Store
    if url := as_url(path):
        system, root = fsspec.core.url_to_fs(url)
        if not system.exists(root):
            raise FileNotFoundError(url)
        store, name = FsspecStore.from_url(url, read_only=True), url
    elif (found := local(path)).is_file():
        with zipfile.ZipFile(found):
            pass
        system, root, name = fsspec.filesystem("zip", fo=str(found)), "", str(found)
        store = ZipStore(found, mode="r")
    else:
        if not found.exists():
            raise FileNotFoundError(str(found))
        system, root, name = fsspec.filesystem("file"), str(found.absolute()), str(found)
        store = RegularFiles(found, read_only=True)
    if findings := list(in_store(system, root, name)):
        raise InputError(findings)
    return store


def in_store(system: Any, root: str, name: str) -> Iterator[Finding]:
    """List what is wrong with the metadata of a store.

    Parameters
    ----------
    system : fsspec.AbstractFileSystem
    root : str
        Of the store in the file system.
    name : str
        Of the store in messages.

    Yields
    ------
    Finding
    """
    waiting, count = [root], 0
    while waiting:
        folder = waiting.pop()
        where = f"{name}{folder.removeprefix(root)}"
        count += 1
        if count > MOST["arrays and groups"]:
            yield Finding(name, f"holds more than {MOST['arrays and groups']:,} arrays and groups", REMEDY)
            return
        try:
            entries = {str(entry["name"]).rstrip("/").rsplit("/", 1)[-1]: entry for entry in listed(system, folder)}
        except NotADirectoryError:
            continue
        for file in METADATA:
            if file in entries:
                found, problem = read(system, entries[file])
                if found is None:
                    yield Finding(f"{where}/{file}", problem, REMEDY)
                else:
                    yield from in_metadata(found, f"{where}/{file}")
        waiting += [str(e["name"]).rstrip("/") for e in entries.values() if kind_of(e) == "directory"]


def listed(system: Any, folder: str) -> list[dict[str, Any]]:
    """List a folder; of one that is nothing but an array only its metadata, as its chunks may be many."""
    direct = {}
    for file in METADATA:
        with contextlib.suppress(OSError, KeyError):
            direct[file] = system.info(f"{folder}/{file}" if folder else file)
    third = read(system, direct["zarr.json"])[0] if "zarr.json" in direct else None
    is_group = ".zgroup" in direct or (third is not None and third.get("node_type") != "array")
    if not is_group and (third is not None or ".zarray" in direct):
        return [*direct.values()]
    return [*direct.values(), *system.ls(folder, detail=True)]


def kind_of(entry: Mapping[str, Any]) -> str:
    """Return what an entry of a folder is, or leads to: ``"file"``, ``"directory"`` or something else."""
    if not entry.get("islink"):
        return str(entry["type"])
    try:
        mode = Path(entry["name"]).stat().st_mode
    except OSError:
        return "other"
    return "directory" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"


def read(system: Any, entry: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """Read a JSON object from a file, or say why there is none."""
    if kind_of(entry) != "file":
        return None, "is not a file"
    if (size := entry.get("size") or 0) > MOST["bytes of metadata"]:
        return None, f"is {size:,} bytes long, more than any metadata"
    try:
        content = json.loads(system.cat_file(entry["name"], start=0, end=MOST["bytes of metadata"]))
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile, NotImplementedError) as error:
        return None, f"is not JSON ({error!s:.100})"
    return (content, "") if isinstance(content, dict) else (None, "is not a JSON object")


# -- what metadata say -------------------------------------------------------------------------------------------------


def in_metadata(found: Mapping[str, Any], where: str) -> Iterator[Finding]:
    """List what is wrong in one file of metadata."""
    if where.endswith(".zmetadata") or isinstance(found.get("consolidated_metadata"), Mapping):
        inner = found.get("metadata") or (found.get("consolidated_metadata") or {}).get("metadata")
        for name, part in inner.items() if isinstance(inner, Mapping) else ():
            if isinstance(part, Mapping):
                yield from in_metadata(part, f"{where}/{name}")
    if where.endswith(".zattrs"):
        yield from in_names(found.get("_ARRAY_DIMENSIONS"), None, where)
    elif where.endswith(".zarray") or found.get("node_type") == "array":
        problems = in_array(found)
        while True:
            try:
                problem = next(problems)
            except StopIteration:
                return
            except (TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError) as error:
                problem = f"is not the description of an array ({type(error).__name__}: {error!s:.100})"
            yield Finding(where, problem, REMEDY)


def in_array(found: Mapping[str, Any]) -> Iterator[str]:
    """Say what is wrong in the description of an array, of Zarr's version 2 or 3."""
    second = found.get("zarr_format") == 2
    codecs = [*(found.get("filters") or ()), found.get("compressor")] if second else found["codecs"]
    if not isinstance(codecs, list):
        yield f"has codecs {codecs!r:.60}, which are not a list"
        return
    for name in sorted(set(named(codecs))):
        if name not in CODECS:
            yield f"asks for the codec {name!r:.60}, which may run code and is not decoded"
    if not second and found.get("storage_transformers"):
        yield "asks for storage transformers, which are not known"
    shape = found["shape"]
    chunks = found["chunks"] if second else found["chunk_grid"]["configuration"]["chunk_shape"]
    for what, sizes, least in (("shape", shape, 0), ("chunks", chunks, 1)):
        if not (isinstance(sizes, list) and all(type(n) is int and least <= n < 2**62 for n in sizes)):
            yield f"has {what} {sizes!r:.60}, which are not numbers of {least} or more"
            return
    if len(shape) != len(chunks) or len(shape) > MOST["dimensions"]:
        yield f"has {len(shape)} dimensions and chunks along {len(chunks)}"
        return
    count = math.prod(-(-n // c) for n, c in zip(shape, chunks, strict=True))
    if count > MOST["chunks of an array"]:
        yield f"claims {count:,} chunks, more than {MOST['chunks of an array']:,}"
    kind, size = described(found["dtype"] if second else found["data_type"])
    memory = psutil.virtual_memory().total
    if math.prod(chunks) * size > memory:
        claimed = math.prod(chunks) * size
        yield f"claims chunks of {claimed / 2**30:,.0f} GiB, more than the memory of {memory / 2**30:,.0f} GiB"
    fill = found.get("fill_value")
    if kind in "biuf" and not is_number(fill):
        yield f"has the fill value {fill!r:.60}, which is not a number"
    if kind == "O" and second and "vlen-utf8" not in named(codecs) and "vlen-bytes" not in named(codecs):
        yield "holds objects that are not text"
    if not second:
        yield from (finding.problem for finding in in_names(found.get("dimension_names"), len(shape), ""))


def named(codecs: Any) -> Iterator[str]:
    """Name all codecs, also those within others."""
    for codec in codecs if isinstance(codecs, list) else [codecs]:
        if isinstance(codec, Mapping):
            yield str(codec.get("id", codec.get("name"))).removeprefix("numcodecs.")
            inner = codec.get("configuration")
            for part in ("codecs", "index_codecs"):
                if isinstance(inner, Mapping) and part in inner:
                    yield from named(inner[part])
        elif codec is not None:
            yield str(codec)


def described(data_type: Any) -> tuple[str, int]:
    """Kind and size of an element, as NumPy calls them; objects and what only Zarr knows as ``"O"`` of 8 bytes."""
    if isinstance(data_type, str) and not data_type.startswith("r"):
        try:
            found = np.dtype(data_type)
        except TypeError:
            return "O", 8
        return found.kind, found.itemsize
    return "O", 8


def is_number(fill: Any) -> bool:
    """Return whether a fill value stands for a number."""
    if isinstance(fill, str):
        return fill in ("NaN", "Infinity", "-Infinity") or fill.startswith(("0x", "0b"))
    return fill is None or isinstance(fill, bool | int | float)


def in_names(names: Any, dimensions: int | None, where: str) -> Iterator[Finding]:
    """Say what is wrong with the names of dimensions."""
    if names is None:
        return
    if not isinstance(names, list) or not all(name is None or isinstance(name, str) for name in names):
        yield Finding(where, f"names its dimensions {names!r:.60}, which is not text", REMEDY)
    elif dimensions is not None and len(names) != dimensions:
        yield Finding(where, f"names {len(names)} dimensions of {dimensions}", REMEDY)
