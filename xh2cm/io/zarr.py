"""Zarr stores that are written whole or not at all, region by region, and go on where they were interrupted.

A store lies in ``out.zarr.partial/store`` until it is whole and takes its place. Beside it lie who writes
(``lock``, ``writer.json``), what is written (``manifest.json``) and which regions are done (``journal``, of a file for
each process that writes and a line for each region).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import shutil
import socket
import warnings
import zlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import dask
import numpy as np
import xarray as xr
from dask.delayed import delayed
from dask.system import CPU_COUNT
from dask.utils import key_split, parse_bytes

from xh2cm.data.times import datetime_dimensions
from xh2cm.datasets.open import UNFINISHED, open_path
from xh2cm.disk.atomic import beside, delete, is_marked, is_own, mark, reason, replace, sole_writer, synced, writing
from xh2cm.disk.places import as_url, local
from xh2cm.errors import Finding, H2CMError, InputError, StoreError
from xh2cm.io.passengers import fit_for_files

if TYPE_CHECKING:
    from zarr.storage import FsspecStore

__all__ = ["rechunk", "write_zarr"]

FINGERPRINT = "forcing_fingerprint"
"""Attribute without which it is not known whether two datasets are the same prediction."""

PACKING = ("_FillValue", "add_offset", "calendar", "dtype", "missing_value", "scale_factor", "units")
CHANGING = ("date_created", "date_issued", "date_modified", "history")  # attributes that say when, not what

ZARR = ("zarr.json", ".zgroup")
"""Files of which a Zarr store holds one."""

PARTS = ("manifest.json", "whole", "store", "journal", "old")
"""Files and folders of a store under construction, in the order in which they are cleared."""

AGAIN = "\n    -> begin anew by the same call"

Region = dict[Hashable, slice]


class Layout(NamedTuple):
    """Layout of an array in a store: sizes of its chunks, and of the shards that hold them."""

    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None

    @property
    def unit(self) -> tuple[int, ...]:
        """Return the sizes of the unit that is written at once."""
        return self.shards or self.chunks


def write_zarr(
    dataset: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    chunks: Mapping[Hashable, int] | None = None,
    shards: Mapping[Hashable, int] | None = None,
) -> Path | str:
    """Write a dataset to a Zarr store, region by region where it is lazy, and go on with what is half-written.

    Parameters
    ----------
    dataset : Dataset
    path : str or path
        Of the store, a folder; or a URL that fsspec writes to, such as ``s3://bucket/out.zarr``.
    overwrite : bool
        Replace a Zarr store that is there, once the new one is whole, and give up a half-written one of something else.
    chunks : mapping of dimension to int, optional
        Sizes of the chunks of the store; those of Dask along dimensions that are not named.
    shards : mapping of dimension to int, optional
        Sizes of the shards, files that hold several chunks: multiples of those.

    Returns
    -------
    Path or str
        A URL as text.

    Raises
    ------
    InputError
        If chunks or shards cannot be.
    StoreError
        If something else is there already, somebody else is writing it, or it cannot be written.

    Notes
    -----
    Regions are blocks of Dask, made as large as the chunks and shards they fill, since chunks written from two sides
    lose data (zarr issue 3682, xarray issue 8371); any scheduler of Dask writes them side by side. Until all are
    there the store lies in ``<path>.partial``. If that is interrupted, by whatever, the same call goes on with the
    regions that are missing, where the dataset is a prediction, which says of what; others begin anew.

    At a URL nothing can be renamed: the store is written in place, has the attribute ``xh2cm_unfinished`` until it is
    whole, with which `open_path` refuses it, and is begun anew after an interruption.

    Examples
    --------
    >>> import tempfile, xarray as xr, xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin")[["vpd"]].chunk(lat=2)
    >>> path = ds.h2cm.to_zarr(tempfile.mkdtemp() + "/vpd.zarr", chunks={"lat": 1}, shards={"lat": 2})
    >>> xr.open_zarr(path)["vpd"].encoding["shards"]
    (1095, 2, 8)
    """
    if url := as_url(path):
        return _write_to_url(fit_for_files(dataset), url, overwrite, chunks or {}, shards or {})
    return _write(fit_for_files(dataset), local(path), overwrite, chunks or {}, shards or {})


def rechunk(
    dataset: xr.Dataset, path: str | os.PathLike[str], *, memory: int | str = "1 GiB", overwrite: bool = False
) -> xr.Dataset:
    """Write a dataset to a Zarr store in chunks of cells with their whole records, and open it.

    Parameters
    ----------
    dataset : Dataset
        Of Dask arrays.
    path : str or path
        Of the store.
    memory : int or str
        About how much may be used.
    overwrite : bool
        Replace a Zarr store that is there.

    Returns
    -------
    Dataset
        Lazily, with the attributes and encodings of the original.

    Raises
    ------
    StoreError
        As `write_zarr`.

    Notes
    -----
    Where no block of cells with whole records fits into memory without reading a chunk twice, the data go by way of a
    store beside the new one, which is cut both ways: two passes whatever their size. It needs as much space again.

    Examples
    --------
    >>> import tempfile, xh2cm
    >>> by_day = xh2cm.tutorial.open_dataset("twin").chunk(time=100)
    >>> by_cell = by_day.h2cm.rechunk(tempfile.mkdtemp() + "/by_cell.zarr", memory="1 MiB")
    >>> by_cell["vpd"].chunks[0]
    (1095,)
    """
    target, room = local(path), parse_bytes(memory) // (4 * CPU_COUNT)  # a block in each thread, and copies of it
    times = datetime_dimensions(dataset)
    arrays = {n: v for n, v in dataset.variables.items() if v.chunks is not None and set(v.dims) & set(times)}
    found: dict[Hashable, int] = {}
    for array in arrays.values():
        for dim, sizes in array.chunksizes.items():
            found[dim] = max(found.get(dim, 1), *sizes)
    land = [dim for dim in found if dim not in times]

    def nbytes(sizes: Mapping[Hashable, int]) -> int:
        return sum(math.prod(sizes[d] for d in a.dims) * a.dtype.itemsize for a in arrays.values())

    whole = {dim: dataset.sizes[dim] for dim in found if dim in times}
    wanted = _shrunk({dim: found[dim] for dim in land}, lambda some: nbytes({**whole, **some}) > room)
    if nbytes({**found, **whole}) <= room:  # chunks hold few enough cells
        _write(dataset.chunk({**whole, **wanted}), target, overwrite, wanted | whole, {})
        return open_path(target)
    _refuse_present(target, overwrite)
    slab = dict(found)
    while nbytes(slab) * 2 <= room and any(slab[dim] < size for dim, size in whole.items()):
        slab |= {dim: min(2 * slab[dim], size) for dim, size in whole.items()}
    with writing(target), beside(target) as between:
        cut = {dim: slab[dim] for dim in whole} | wanted
        crossed = _write(dataset.chunk(slab), between / "crossed.zarr", False, cut, {})
        with xr.open_zarr(crossed, chunks={}, consolidated=False) as opened:
            ready = opened[list(dataset.data_vars)].chunk({**whole, **wanted})
            _write(ready, target, overwrite, wanted | whole, {})
    return open_path(target)


def _shrunk(sizes: dict[Hashable, int], is_large: Any) -> dict[Hashable, int]:
    """Halve the longest side until it is small, or one cell."""
    while is_large(sizes) and max(sizes.values(), default=1) > 1:
        longest = max(sizes, key=sizes.__getitem__)
        sizes = sizes | {longest: -(-sizes[longest] // 2)}
    return sizes


def _write(
    dataset: xr.Dataset,
    target: Path,
    overwrite: bool,
    chunks: Mapping[Hashable, int],
    shards: Mapping[Hashable, int],
) -> Path:
    fresh = _fresh(dataset)
    layouts = _layouts(fresh, chunks, shards)
    lazy = [name for name in layouts if fresh.variables[name].chunks is not None]
    regions = _regions(fresh, lazy, layouts)
    identity = _identity(fresh, layouts, regions)
    partial = target.with_name(f"{target.name}.partial")
    store, manifest = partial / "store", partial / "manifest.json"
    if not os.path.lexists(partial):
        _refuse_present(target, overwrite)
    try:
        _begin_or_refuse(partial)
        with sole_writer(partial):
            _put_back(partial / "old", target)
            if _belongs(partial, manifest, identity, overwrite) and (partial / "whole").exists() and not store.exists():
                delete(partial)  # it had taken its place when it was interrupted
                return target
            _refuse_present(target, overwrite)
            with _leaving_what_goes_on(partial, manifest, identity):
                if not manifest.exists():
                    _clear(partial)
                    _begin(fresh, layouts, lazy, store)
                    (partial / "journal").mkdir()
                    replace(manifest, json.dumps(identity, indent=1).encode())
                done = _journalled(partial / "journal")
                missing = {number: region for number, region in enumerate(regions) if number not in done}
                dask.base.compute(*_tasks(fresh, lazy, regions, missing, partial))
                _refuse_unless_whole(partial, len(regions))
                _take_place(partial, target)
    except H2CMError:
        raise
    except Exception as error:
        text = f"{target} cannot be written: {reason(error)}{_progress(partial, len(regions))}"
        raise StoreError(text) from error
    return target


def _write_to_url(
    dataset: xr.Dataset,
    url: str,
    overwrite: bool,
    chunks: Mapping[Hashable, int],
    shards: Mapping[Hashable, int],
) -> str:
    """Write a store in place, marked as unfinished until it is whole."""
    import fsspec
    import zarr
    from zarr.storage import FsspecStore

    fresh = _fresh(dataset)
    layouts = _layouts(fresh, chunks, shards)
    lazy = [name for name in layouts if fresh.variables[name].chunks is not None]
    regions = _regions(fresh, lazy, layouts)
    steps = {dim: piece.stop for dim, piece in regions[0].items()} if regions else {}
    cut = fresh.assign({n: fresh[n].chunk({d: steps[d] for d in fresh[n].dims}) for n in lazy if n in fresh.data_vars})
    try:
        system, root = fsspec.core.url_to_fs(url)
        there = system.exists(root)
        refused = there and not (overwrite and any(system.exists(f"{root}/{name}") for name in ZARR))
        if there and not refused:
            system.rm(root, recursive=True)
    except Exception as error:
        raise StoreError(f"{url} cannot be written: {reason(error)}") from error
    if refused:
        raise StoreError(f"{url} exists: give another URL, or overwrite=True to replace an earlier Zarr store")
    try:
        store = FsspecStore.from_url(url)
        _begin(cut.assign_attrs({UNFINISHED: 1}), layouts, lazy, store, compute=True)
        del zarr.open_group(store, mode="r+", zarr_format=3).attrs[UNFINISHED]
    except H2CMError:
        raise
    except Exception as error:
        raise StoreError(f"{url} cannot be written: {reason(error)}") from error
    return url


def _progress(partial: Path, count: int) -> str:
    done = len(_journalled(partial / "journal"))
    return f"\n    -> {done:,} of {count:,} regions are written: the same call goes on with the others" if done else ""


# -- what is written -----------------------------------------------------------------------------------------------


def _fresh(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset as it goes to disk, without chunks and filters of where it came from."""
    text = {name: a.astype(object) for name, a in dataset.variables.items() if a.dtype.kind == "U"}
    fresh = dataset.assign({n: v for n, v in text.items() if n in dataset.data_vars})
    fresh = fresh.assign_coords({n: v for n, v in text.items() if n in dataset.coords})  # Zarr 3 has no fixed text
    for variable in fresh.variables.values():
        variable.encoding = {key: value for key, value in variable.encoding.items() if key in PACKING}
        if variable.chunks is not None and (variable.dtype.kind in "mMO" or not variable.dims):
            variable.load()  # units of time follow from all values, and a single number is in no region
    return fresh


def _layouts(
    dataset: xr.Dataset, chunks: Mapping[Hashable, int], shards: Mapping[Hashable, int]
) -> dict[Hashable, Layout]:
    """Chunks and shards of each array that has Dask chunks, or whose chunks are given."""
    findings = []
    for argument, sizes in (("chunks", chunks), ("shards", shards)):
        for dim, size in sizes.items():
            if dim not in dataset.dims:
                findings.append(Finding(f"{argument}[{dim!r}]", "is no dimension", f"one of {[*dataset.dims]}"))
            elif size < 1:
                findings.append(Finding(f"{argument}[{dim!r}]", f"is {size}", "give a number of 1 or more"))
    if findings:
        raise InputError(findings)
    layouts = {}
    for name, variable in dataset.variables.items():
        is_lazy = variable.chunks is not None
        if not variable.dims or not (is_lazy or (set(variable.dims) & chunks.keys() and name not in dataset.indexes)):
            continue
        own = {dim: max(sizes) for dim, sizes in variable.chunksizes.items()} or dict(variable.sizes)
        cut = {dim: max(1, min(chunks.get(dim, size), variable.sizes[dim])) for dim, size in own.items()}
        whole = {dim: shards.get(dim, size) if is_lazy else size for dim, size in cut.items()}
        layouts[name] = Layout(tuple(cut.values()), tuple(whole.values()) if shards and is_lazy else None)
        for dim in (dim for dim, size in cut.items() if whole[dim] % size):
            problem = f"is {whole[dim]}, no multiple of the chunks of {name} along {dim}, which are {cut[dim]}"
            remedy = f'give both, such as chunks={{"{dim}": {cut[dim]}}}, shards={{"{dim}": {2 * cut[dim]}}}'
            findings.append(Finding(f"shards[{dim!r}]", problem, remedy))
    if findings:
        raise InputError(findings)
    return layouts


def _regions(dataset: xr.Dataset, lazy: Sequence[Hashable], layouts: Mapping[Hashable, Layout]) -> list[Region]:
    """Blocks of Dask, made as large as the chunks and shards of all arrays that they fill."""
    units: dict[Hashable, int] = {}
    blocks: dict[Hashable, int] = {}
    for name in lazy:
        variable = dataset.variables[name]
        for dim, unit in zip(variable.dims, layouts[name].unit, strict=True):
            units[dim] = math.lcm(units.get(dim, 1), unit)
            blocks[dim] = max(blocks.get(dim, 1), *variable.chunksizes[dim])
    steps = {dim: -(-blocks[dim] // unit) * unit for dim, unit in units.items()}
    cuts = [
        [slice(at, min(at + step, dataset.sizes[dim])) for at in range(0, dataset.sizes[dim], step)]
        for dim, step in steps.items()
    ]
    return [dict(zip(steps, slices, strict=True)) for slices in itertools.product(*cuts)] if lazy else []


def _identity(dataset: xr.Dataset, layouts: Mapping[Hashable, Layout], regions: Sequence[Region]) -> dict[str, str]:
    """Return the properties by which two calls write the same store; empty where they are unknown."""
    if FINGERPRINT not in dataset.attrs or not regions:
        return {}
    told = {str(key): str(value) for key, value in dataset.attrs.items() if key not in CHANGING}
    told["variables"] = ", ".join(sorted(map(str, dataset.data_vars)))
    told["regions"] = f"{len(regions)} of {', '.join(f'{d} {s.stop - s.start}' for d, s in regions[0].items())}"
    for name, variable in dataset.variables.items():
        if name in layouts:
            told[f"chunks of {name}"] = str(tuple(map(int, layouts[name].chunks)))
            told[f"shards of {name}"] = str(layouts[name].shards)
        kind = f"{variable.dtype} on {', '.join(f'{dim} {size}' for dim, size in variable.sizes.items())}"
        if variable.chunks is None:
            text = np.asarray(variable.values)
            content = repr(text.tolist()).encode() if text.dtype == object else np.ascontiguousarray(text).tobytes()
            told[f"values of {name}"] = f"{kind}, SHA-256 {hashlib.sha256(content).hexdigest()[:16]}"
        else:
            told[f"values of {name}"] = f"{kind}, made by {key_split(variable.data.name)}"
    return told


# -- the store under construction ----------------------------------------------------------------------------------


def _begin_or_refuse(partial: Path) -> None:
    """Make the folder of a store under construction, or refuse one that another user or program has made."""
    partial.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        partial.mkdir()
    if is_own(partial) and partial.is_dir() and not any(partial.iterdir()):
        mark(partial)
    if not is_marked(partial) or any((partial / name).is_symlink() for name in PARTS):
        problem = "is in the way: it was not made by xh2cm, or belongs to another user"
        raise StoreError(f"{partial} {problem}\n    -> move it, or give another path")


def _refuse_present(target: Path, overwrite: bool) -> None:
    is_zarr = any((target / name).exists() for name in ZARR)
    if os.path.lexists(target) and not (overwrite and is_zarr):
        raise StoreError(f"{target} exists: give another path, or overwrite=True to replace an earlier Zarr store")


def _belongs(partial: Path, manifest: Path, identity: Mapping[str, str], overwrite: bool) -> bool:
    """Return whether the half-written store is the same; clear away, or refuse, one that cannot be continued."""
    try:
        there = json.loads(manifest.read_text())
    except FileNotFoundError:
        return False
    except ValueError:
        there = {}
    if there and there == identity:
        return True
    if there and not overwrite:
        keys = [key for key in {**there, **identity} if there.get(key) != identity.get(key)]
        listed = "".join(f"\n  - {key}: {there.get(key)!r} there, {identity.get(key)!r} here" for key in keys)
        raise StoreError(
            f"{partial} holds the beginning of another prediction:{listed}\n"
            "    -> go on with that one by its own call; or start anew: overwrite=True, or delete the folder"
        )
    _clear(partial)
    return False


def _clear(partial: Path) -> None:
    """Empty the folder, first of what says what it holds; whoever holds the lock keeps it."""
    for name in PARTS:
        there = partial / name
        if there.is_dir():
            shutil.rmtree(there)
        else:
            there.unlink(missing_ok=True)


@contextmanager
def _leaving_what_goes_on(partial: Path, manifest: Path, identity: Mapping[str, str]) -> Iterator[None]:
    """Delete partial results that cannot be resumed."""
    try:
        yield
    except BaseException:
        if not identity or not manifest.exists():
            delete(partial)
        raise
    delete(partial)


def _refuse_unless_whole(partial: Path, count: int) -> None:
    if len(_journalled(partial / "journal")) < count or not (partial / "store" / "zarr.json").exists():
        raise StoreError(f"{partial} vanished while it was written{AGAIN}")


def _put_back(old: Path, target: Path) -> None:
    """Undo the first half of taking its place."""
    if old.exists() and not target.exists():
        old.rename(target)


def _take_place(partial: Path, target: Path) -> None:
    """Replace an older store by the new one."""
    store, old = partial / "store", partial / "old"
    for torn in store.rglob("*.partial"):  # what a killed process had begun
        torn.unlink()
    replace(partial / "whole", b"")
    if target.exists():  # only now: until here the older one may have been read from
        target.rename(old)
    try:
        store.rename(target)
    except OSError:
        _put_back(old, target)
        raise
    for name in ("old", "journal"):
        shutil.rmtree(partial / name, ignore_errors=True)


# -- regions -------------------------------------------------------------------------------------------------------


def _begin(
    dataset: xr.Dataset,
    layouts: Mapping[Hashable, Layout],
    lazy: Sequence[Hashable],
    store: Path | FsspecStore,
    *,
    compute: bool = False,
) -> None:
    """Write a store, without the values of lazy variables unless these are to be computed."""
    from zarr.codecs import ZstdCodec

    template = dataset.copy()
    for name, variable in dataset.variables.items():
        new = variable.copy(deep=False)
        if name in lazy and not compute:
            from dask.array import zeros  # which takes as long to import as all the rest

            new.data = zeros(variable.shape, chunks=-1, dtype=variable.dtype)
        new.encoding = dict(variable.encoding)
        if name in layouts:
            new.encoding["chunks"] = layouts[name].chunks
            new.encoding |= {"shards": layouts[name].shards} if layouts[name].shards else {}
        if variable.dtype.kind in "fiubmM":  # a flipped bit is found when it is read
            new.encoding["compressors"] = (ZstdCodec(checksum=True),)
        template[name] = new
    with warnings.catch_warnings():  # Zarr 3 has not settled how to consolidate; who cannot read that does without
        warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)
        template.to_zarr(store, mode="w", compute=compute, safe_chunks=False, zarr_format=3)  # type: ignore[call-overload]


def _tasks(
    dataset: xr.Dataset,
    lazy: Sequence[Hashable],
    regions: Sequence[Region],
    missing: Mapping[int, Region],
    partial: Path,
) -> list[Any]:
    """One task a region that is missing, which writes it and says so in the journal."""
    if not missing:
        return []
    steps = {dim: piece.stop for dim, piece in regions[0].items()}
    encoded = [xr.conventions.encode_cf_variable(dataset.variables[name], name=name) for name in lazy]
    cut = [array.chunk({dim: steps[dim] for dim in array.dims}).data for array in encoded]
    blocks = [array.to_delayed(optimize_graph=False) for array in cut]  # fused, each variable would run the model
    write = delayed(_write_region, pure=False)
    tasks = []
    for number, region in missing.items():
        where, values = {}, {}
        for name, array, pieces in zip(lazy, encoded, blocks, strict=True):
            if any(piece.start for dim, piece in region.items() if dim not in array.dims):
                continue  # the first region along an axis writes what does not lie on it
            where[str(name)] = tuple(region[dim] for dim in array.dims)
            values[str(name)] = pieces[tuple(region[dim].start // steps[dim] for dim in array.dims)]
        key = f"write-region-{partial.name}-{number}"
        tasks.append(write(str(partial.absolute()), number, where, values, dask_key_name=key))
    return tasks


def _write_region(
    partial: str, number: int, where: Mapping[str, tuple[slice, ...]], values: Mapping[str, np.ndarray]
) -> int:
    """Write the chunks of a region, and only when they are on disk its line in the journal."""
    import zarr

    store = Path(partial) / "store"
    try:
        _refuse_vanished(store)
        group = zarr.open_group(store, mode="r+", zarr_format=3)
        for name, block in values.items():
            array: Any = group[name]
            _refuse_crossing(name, where[name], array.shards or array.chunks, array.shape)
            array[where[name]] = block
            for file in _files(store / name, array, where[name]):
                synced(file)
        _refuse_vanished(store)
        journal = Path(partial) / "journal" / f"{socket.gethostname()}-{os.getpid()}"
        line = str(number).encode()  # on a line of its own even where a killed process has left half of one
        with journal.open("ab", buffering=0) as lines:
            lines.write(b"\n%s %08x\n" % (line, zlib.crc32(line)))
            os.fsync(lines.fileno())
    except FileNotFoundError as error:
        raise StoreError(f"{partial} vanished while it was written{AGAIN}") from error
    return number


def _refuse_vanished(store: Path) -> None:
    """Raise an error if the folder of a partial store is gone, and delete what a write has created again."""
    if not is_marked(store.parent):
        if not (store / "zarr.json").exists():
            shutil.rmtree(store, ignore_errors=True)
            with suppress(OSError):
                store.parent.rmdir()
        raise FileNotFoundError(store)


def _refuse_crossing(name: str, where: Sequence[slice], unit: Sequence[int], shape: Sequence[int]) -> None:
    for piece, size, length in zip(where, unit, shape, strict=True):
        if piece.start % size or (piece.stop % size and piece.stop != length):
            problem = f"region {piece.start}:{piece.stop} of {name} crosses a border of chunks or shards of {size}"
            raise StoreError(f"{problem}: chunks written from two sides lose data")


def _files(folder: Path, array: Any, where: Sequence[slice]) -> Iterator[Path]:
    """The files of a region, but for chunks left out because they hold nothing but the fill value."""
    unit = array.shards or array.chunks
    rows = [range(piece.start // size, -(-piece.stop // size)) for piece, size in zip(where, unit, strict=True)]
    for at in itertools.product(*rows):
        file = folder / array.metadata.encode_chunk_key(at)
        if file.exists():
            yield file


def _journalled(journal: Path) -> set[int]:
    """Regions that are done; lines that were torn are not counted."""
    done = set()
    for file in journal.glob("*"):
        for line in file.read_bytes().split(b"\n"):
            number, _, check = line.partition(b" ")
            if check == b"%08x" % zlib.crc32(number) and number.isdigit():
                done.add(int(number))
    return done
