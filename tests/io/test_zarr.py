"""Stores: how their chunks lie, what is written to them through every fault, and what is wrong with them when read."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from dask.callbacks import Callback
from dask.system import CPU_COUNT
from typer.testing import CliRunner

from xh2cm.cli import app
from xh2cm.data.check import check
from xh2cm.data.chunks import land_blocks, touched, warn_of_slow_chunks
from xh2cm.datasets.open import open_path
from xh2cm.errors import Finding, H2CMWarning, InputError, StoreError
from xh2cm.io.zarr import _journalled, _refuse_crossing
from xh2cm.prediction.block import Runner
from xh2cm.variables import FORCING

ROOT = Path(__file__).resolve().parents[2]
MOUNT, UMOUNT = (shutil.which(name) or "false" for name in ("mount", "umount"))

# ---------------------------------------------------------------------------------------------------------- chunks


@pytest.fixture(scope="module")
def short(twin):
    return twin.isel(time=slice(0, 90), month=slice(0, 3)).drop_encoding()


@pytest.fixture(scope="module")
def checked(short):
    return short.h2cm.check(targets=[]).dataset


@pytest.mark.parametrize("chunks", [{}, {"lat": 1}, {"lat": 1, "lon": (1, 2, 1)}, {"time": 30, "lon": 3}])
def test_blocks_cover_the_land_once_and_cut_no_chunk(checked, chunks):
    lazy = checked.chunk(chunks)
    blocks = land_blocks(lazy)
    seen = xr.zeros_like(checked["mask"], dtype=int)
    for block in blocks:
        seen[block] += 1
        for name in ("vpd", "precipitation"):
            borders = {d: {0, *itertools.accumulate(n)} for d, n in lazy[name].chunksizes.items()}
            assert all({piece.start, piece.stop} <= borders[dim] for dim, piece in block.items())
    assert (seen == 1).all()
    whole = sum(lazy[name].nbytes for name in FORCING if lazy[name].chunks)
    shared = lazy["co2"].nbytes * (len(blocks) - 1)  # on time alone, and so read for each
    assert sum(touched(lazy, block).nbytes for block in blocks) == whole + shared


def test_a_border_of_blocks_is_one_that_all_forcings_have(checked):
    uneven = checked.copy()
    uneven["vpd"] = checked["vpd"].chunk(lon=(1, 2, 1))
    uneven["precipitation"] = checked["precipitation"].chunk(lon=(3, 1))
    assert [block["lon"] for block in land_blocks(uneven)] == [slice(0, 3), slice(3, 4)]
    assert touched(uneven, {"lon": slice(0, 1)}) == (2, 4 * 90 * 2 * (1 + 3))


def test_one_block_where_nothing_is_chunked_and_where_there_is_no_land_axis(checked):
    assert land_blocks(checked) == [{"lat": slice(0, 2), "lon": slice(0, 4)}]
    assert touched(checked, {}) == (0, 0)
    assert land_blocks(checked.isel(lat=0, lon=0).chunk(time=30)) == [{}]


def test_chunks_of_all_cells_are_warned_of_once_they_are_large(short, tmp_path):
    by_day = short[list(FORCING)].chunk(time=1)
    by_day.to_zarr(tmp_path / "by_day.zarr", consolidated=False)
    opened = xr.open_zarr(tmp_path / "by_day.zarr", consolidated=False)
    dask_says_otherwise = opened.chunk(time=-1, lat=1, lon=1)
    grids = ("vpd", "precipitation")
    for ds in (by_day, opened, dask_says_otherwise):
        forcing = [ds[name] for name in grids]
        with pytest.warns(H2CMWarning, match=r"chunks of all 8 cells.*ds\.h2cm\.rechunk\("):
            warn_of_slow_chunks(forcing, limit=2 * 4 * 90 * 8 - 1)
        warn_of_slow_chunks(forcing, limit=2 * 4 * 90 * 8)
    warn_of_slow_chunks([short[name].chunk(time=1, lon=1) for name in grids], limit=2 * 4 * 90 * 2)
    with pytest.warns(H2CMWarning, match=r"2 of 8 cells"):
        warn_of_slow_chunks([short[name].chunk(time=1, lon=1) for name in grids], limit=2 * 4 * 90 * 2 - 1)
    warn_of_slow_chunks([short[name] for name in grids], limit=0)  # in memory already
    assert np.isfinite(opened["vpd"]).all()


# --------------------------------------------------------------------------------------------------------- writing


@pytest.fixture(scope="module")
def fit(short):
    return short.h2cm.fit(2, scheme="cells", width=6, epochs=1, progress=False)


@pytest.fixture(scope="module")
def forcing(short, tmp_path_factory):
    path = tmp_path_factory.mktemp("forcing") / "forcing.zarr"
    return open_path(short.chunk(lat=1, lon=2).h2cm.to_zarr(path))


@pytest.fixture(scope="module")
def undisturbed(forcing, fit, tmp_path_factory):
    return predicted(forcing, fit).h2cm.to_zarr(tmp_path_factory.mktemp("out") / "undisturbed.zarr")


@pytest.fixture(autouse=True)
def one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def predicted(forcing, fit, **arguments):
    return forcing.h2cm.predict(fit, **({"variables": ["ET", "TWS", "soil_capacity", "q10"]} | arguments))


def files(store):
    return {p.relative_to(store).as_posix(): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}


class Stop(Callback):
    """Ends a computation at a task of writing; what was done until then stays on disk."""

    def __init__(self, after=math.inf):
        self.after, self.regions, self.runs = after, 0, 0
        super().__init__(pretask=self.before)

    def before(self, key, *_):
        if str(key).startswith("write-region"):
            if self.regions == self.after:
                raise KeyboardInterrupt
            self.regions += 1


@contextmanager
def counted_runs(monkeypatch):
    count = []
    inner = Runner.__call__

    def call(self, *arrays):
        count.append(arrays[0].shape)
        return inner(self, *arrays)

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "__call__", call)
        yield count


def test_an_interrupted_prediction_goes_on_with_the_missing_regions_only(
    forcing, fit, undisturbed, tmp_path, monkeypatch
):
    target = tmp_path / "out.zarr"
    with Stop(after=3), pytest.raises(KeyboardInterrupt):
        predicted(forcing, fit).h2cm.to_zarr(target)
    assert not target.exists()
    (journal,) = (tmp_path / "out.zarr.partial" / "journal").iterdir()
    (last,) = set(range(4)) - _journalled(journal.parent)
    with journal.open("ab") as file:
        file.write(b"\n%d" % last)  # torn: this region is not done
    again = predicted(forcing, fit)
    with Stop() as rest, counted_runs(monkeypatch) as runs:
        again.h2cm.to_zarr(target)
    assert rest.regions == 1
    assert len([shape for shape in runs if math.prod(shape)]) == 1  # Dask asks for the shape with arrays of no size
    assert [p.name for p in tmp_path.iterdir()] == ["out.zarr"]
    assert files(target) == files(undisturbed)


def test_what_is_written_is_what_was_predicted(forcing, fit, undisturbed):
    xr.testing.assert_identical(xr.open_zarr(undisturbed).load(), predicted(forcing, fit).load())


@pytest.mark.parametrize(
    ("options", "chunks", "shards"),
    [
        ({"chunks": {"time": 30, "lon": 4}}, (30, 1, 4), None),
        ({"chunks": {"lat": 2, "lon": 1}, "shards": {"lon": 3}}, (90, 2, 1), (90, 2, 3)),
        ({"chunks": {"lon": 3, "time": 1000}}, (90, 1, 3), None),
        ({"shards": {"lat": 8}}, (90, 1, 2), (90, 8, 2)),
    ],
)
def test_regions_never_cross_chunks_or_shards_of_the_store(forcing, fit, tmp_path, options, chunks, shards):
    """Region after region is written whole: any crossing would be an error of the task, see the next test."""
    out = predicted(forcing, fit)
    with dask.config.set(scheduler="threads"):
        path = out.h2cm.to_zarr(tmp_path / "out.zarr", **options)
    written = xr.open_zarr(path)
    assert (written["ET"].encoding["chunks"], written["ET"].encoding["shards"]) == (chunks, shards)
    xr.testing.assert_identical(written.load(), out.load())


def test_a_region_that_crosses_is_refused():
    for piece in (slice(0, 3), slice(1, 2), slice(3, 4)):
        with pytest.raises(StoreError, match="crosses a border of chunks or shards of 2"):
            _refuse_crossing("ET", [piece], [2], [5])
    _refuse_crossing("ET", [slice(2, 5)], [2], [5])


def test_axes_that_some_variables_lack_and_uneven_blocks(tmp_path):
    x = da.from_array(np.arange(60.0).reshape(5, 12), chunks=((1, 3, 1), (5, 5, 2)))
    ds = xr.Dataset(
        {
            "both": (("t", "x"), x),
            "one": ("t", da.arange(5, chunks=2)),
            "none": ((), da.asarray(3)),
            "flag": ("x", x[0] > 4),
        },
        {"name": ("x", [f"cell {k}" for k in range(12)]), "lazy": ("x", da.arange(12.0, chunks=4))},
    )
    with dask.config.set(scheduler="threads"):
        path = ds.h2cm.to_zarr(tmp_path / "ds.zarr", chunks={"x": 5}, shards={"x": 10})
    xr.testing.assert_identical(xr.open_zarr(path).load(), ds.compute())


def test_wrong_chunks_and_shards_are_all_named(forcing, fit, tmp_path):
    out = predicted(forcing, fit)
    with pytest.raises(InputError, match=r"(?s)2 problems.*chunks\['depth'\]: is no dimension.*shards\['lat'\]: is 0"):
        out.h2cm.to_zarr(tmp_path / "out.zarr", chunks={"depth": 1}, shards={"lat": 0})
    with pytest.raises(InputError, match="is 3, no multiple of the chunks of ET along lon, which are 2"):
        out.h2cm.to_zarr(tmp_path / "out.zarr", shards={"lon": 3})
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def begun(forcing, fit, tmp_path):
    """Path of a prediction of which one region is written."""
    with Stop(after=1), pytest.raises(KeyboardInterrupt):
        predicted(forcing, fit).h2cm.to_zarr(tmp_path / "out.zarr")
    return tmp_path / "out.zarr"


def another(what, forcing, short, fit):
    if what == "fit":
        return predicted(forcing, short.h2cm.fit(2, scheme="cells", width=6, epochs=1, seed=1, progress=False))
    if what == "forcing":
        warmer = forcing["air_temperature"].copy()
        warmer[{"time": 40, "lat": 0, "lon": 0}] += np.float32(1e-3)
        return predicted(forcing.assign(air_temperature=warmer.chunk(forcing["vpd"].chunksizes)), fit)
    if what == "coordinates":
        return predicted(forcing.assign_coords(lon=forcing["lon"] + 1), fit)
    if what == "chunks":
        return predicted(forcing.chunk(lat=2), fit)
    if what == "computation":
        out = predicted(forcing, fit)
        return out.assign(ET=(2 * out["ET"]).assign_attrs(out["ET"].attrs))
    return predicted(forcing, fit, **{"variables": {"variables": ["ET"]}, "spinup": {"spinup": 30}}[what])


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("fit", r"source: '.*fit \w+, member mean' there"),
        ("forcing", "forcing_fingerprint: '"),
        ("coordinates", "values of lon: "),
        ("chunks", "chunks of ET: '"),
        ("computation", "values of ET: .*made by mul' here"),
        ("variables", "variables: 'ET, TWS, q10, soil_capacity' there, 'ET' here"),
        ("spinup", r"spinup: 'SpinUp\(days=None.*days=30"),
    ],
)
def test_the_beginning_of_another_prediction_is_refused_with_what_differs(forcing, short, fit, begun, what, says):
    other = another(what, forcing, short, fit)
    before = files(begun.with_name("out.zarr.partial"))
    with pytest.raises(StoreError, match=says) as refused:
        other.h2cm.to_zarr(begun)
    assert "overwrite=True, or delete the folder" in str(refused.value)
    after = files(begun.with_name("out.zarr.partial"))
    assert {k: v for k, v in after.items() if k != "writer.json"} == {
        k: v for k, v in before.items() if k != "writer.json"
    }
    other.h2cm.to_zarr(begun, overwrite=True)
    xr.testing.assert_identical(xr.open_zarr(begun).load(), other.load())
    assert [p.name for p in begun.parent.iterdir()] == ["out.zarr"]


def test_a_dataset_that_does_not_say_what_it_is_begins_anew(tmp_path):
    ds = xr.Dataset({"a": ("x", da.zeros(4, chunks=1))})
    with Stop(after=2), pytest.raises(KeyboardInterrupt):
        ds.h2cm.to_zarr(tmp_path / "a.zarr")
    assert list(tmp_path.iterdir()) == []
    path = (ds + 1).h2cm.to_zarr(tmp_path / "a.zarr")
    assert (xr.open_zarr(path)["a"] == 1).all()


def test_the_response_to_changed_forcing_does_not_pass_for_a_prediction(forcing, fit):
    out = forcing.h2cm.response(fit, {"air_temperature": 1.0}, variables=["ET"])
    assert "forcing_fingerprint" not in out.attrs


def test_the_fingerprint_of_forcing_depends_on_values_alone(short):
    first, lazy, scattered = (
        check(ds, targets=[]).dataset.attrs["forcing_fingerprint"]
        for ds in (short, short.chunk(time=7), short.chunk(lat=1, lon=3))
    )
    assert first == lazy == scattered
    holed = short.assign(vpd=short["vpd"].where(short["lat"] != short["lat"][0]))
    feature = short.assign(slope=short["slope"] + 1)
    others = {check(ds, targets=[]).dataset.attrs["forcing_fingerprint"] for ds in (holed, feature)}
    assert len(others | {first}) == 3


# ---------------------------------------------------------------------------------------------------------- faults


def test_an_older_store_stays_until_the_new_one_is_whole(forcing, fit, tmp_path):
    target = xr.Dataset({"old": ("x", [1.0])}).h2cm.to_zarr(tmp_path / "out.zarr")
    with Stop(after=2), pytest.raises(KeyboardInterrupt):
        predicted(forcing, fit).h2cm.to_zarr(target, overwrite=True)
    assert "old" in xr.open_zarr(target)
    with pytest.raises(StoreError, match="exists"):
        predicted(forcing, fit).h2cm.to_zarr(target)
    with Stop() as rest:
        predicted(forcing, fit).h2cm.to_zarr(target, overwrite=True)
    assert rest.regions == 2
    assert "ET" in xr.open_zarr(target)


def test_interrupted_while_it_takes_its_place(forcing, fit, undisturbed, tmp_path, monkeypatch):
    """Between any two of the last steps: the older store is back or the new one is there."""
    steps = ["rename", "rename", "rmtree"]
    for stopped in range(len(steps)):
        target = tmp_path / f"{stopped}" / "out.zarr"
        xr.Dataset({"old": ("x", [1.0])}).h2cm.to_zarr(target)
        moves = []

        def stop(name, inner, moves=moves, stopped=stopped, target=target):
            def step(path, *arguments, **options):
                if target.with_name("out.zarr.partial").joinpath("whole").exists() and Path(path).name in (
                    "out.zarr",
                    "store",
                    "old",
                ):
                    moves.append(name)
                    if len(moves) == stopped + 1:
                        raise KeyboardInterrupt
                return inner(path, *arguments, **options)

            return step

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", stop("rename", Path.rename))
            patch.setattr(shutil, "rmtree", stop("rmtree", shutil.rmtree))
            with pytest.raises(KeyboardInterrupt):
                predicted(forcing, fit).h2cm.to_zarr(target, overwrite=True)
        assert moves == steps[: stopped + 1]
        with Stop() as rest:
            predicted(forcing, fit).h2cm.to_zarr(target, overwrite=True)
        assert rest.regions == 0
        assert files(target) == files(undisturbed)
        assert [p.name for p in target.parent.iterdir()] == ["out.zarr"]


def test_a_new_store_that_cannot_take_its_place_leaves_the_older_one(forcing, fit, tmp_path, monkeypatch):
    target = xr.Dataset({"old": ("x", [1.0])}).h2cm.to_zarr(tmp_path / "out.zarr")
    rename = Path.rename

    def refuse(path, to):
        if path.name == "store":
            raise PermissionError("not here")
        return rename(path, to)

    out = predicted(forcing, fit).h2cm
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(StoreError, match=r"out\.zarr cannot be written: not here"):
            out.to_zarr(target, overwrite=True)
    assert "old" in xr.open_zarr(target)
    with Stop() as rest:
        predicted(forcing, fit).h2cm.to_zarr(target, overwrite=True)
    assert rest.regions == 0
    assert "ET" in xr.open_zarr(target)


def test_a_second_writer_is_told_who_writes(forcing, fit, begun):
    partial = begun.with_name("out.zarr.partial")
    holding = (
        "import sys, pathlib\n"
        "from xh2cm.disk.atomic import sole_writer\n"
        "with sole_writer(pathlib.Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holding, str(partial)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as other:
        assert other.stdout.readline() == b"held\n"
        says = rf"is being written by process {other.pid} on {re.escape(socket.gethostname())} since 20\d\d-"
        with pytest.raises(StoreError, match=says):
            predicted(forcing, fit).h2cm.to_zarr(begun)
        with pytest.raises(StoreError, match=says):
            predicted(forcing, fit).h2cm.to_zarr(begun, overwrite=True)
        (partial / "writer.json").write_text("{")
        with pytest.raises(StoreError, match="is being written by another process"):
            predicted(forcing, fit).h2cm.to_zarr(begun)
        other.kill()
    predicted(forcing, fit).h2cm.to_zarr(begun)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one MiB."""
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run([MOUNT, "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"no small file system: {made.stderr.decode().strip()}")
    yield place
    subprocess.run([UMOUNT, place], check=True)


def noise(cells):
    data = da.random.default_rng(0).random((100, cells), chunks=(100, 100))
    ds = xr.Dataset({"a": (("time", "x"), data)}, attrs={"forcing_fingerprint": "of nothing"})
    return ds.assign_coords(x=np.arange(cells))


def test_a_full_disk_is_told_and_can_be_gone_on_with(small_disk):
    assert_a_full_disk_is_told(small_disk, "No space left on device", lambda: (small_disk / "ballast").unlink(), 2**20)


def test_a_limit_of_file_size_is_told_like_a_full_disk(tmp_path):
    """Where no file system can be mounted: no file may grow beyond some kB."""
    program = (
        "import resource, signal, sys, xh2cm, test_zarr as t\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n    t.noise(1000).h2cm.to_zarr(sys.argv[1])\n"
        "except xh2cm.StoreError as error:\n    print(error)\n"
    )
    target = tmp_path / "a.zarr"
    paths = os.pathsep.join([str(Path(__file__).parent), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", program, target],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        check=True,
    )
    assert "a.zarr cannot be written" in done.stdout
    assert "File too large" in done.stdout
    noise(1000).h2cm.to_zarr(target)
    xr.testing.assert_equal(xr.open_zarr(target).load(), noise(1000).compute())


def assert_a_full_disk_is_told(place, reason, free, size):
    older = xr.Dataset({"old": ("x", [1.0])}).h2cm.to_zarr(place / "a.zarr")
    before = files(older)
    (place / "ballast").write_bytes(bytes(size // 2))
    with dask.config.set(scheduler="threads"), pytest.raises(StoreError, match=reason) as told:
        noise(1000).h2cm.to_zarr(older, overwrite=True)
    assert re.search(r"\d of 10 regions are written: the same call goes on", str(told.value))
    assert files(older) == before
    free()
    with Stop() as rest:
        noise(1000).h2cm.to_zarr(older, overwrite=True)
    assert 0 < rest.regions < 10
    xr.testing.assert_equal(xr.open_zarr(older).load(), noise(1000).compute())


def test_a_place_that_takes_no_files_is_told(forcing, fit, tmp_path):
    (tmp_path / "shut").mkdir()
    made = subprocess.run(
        [MOUNT, "-t", "tmpfs", "-o", "ro", "tmpfs", tmp_path / "shut"], capture_output=True, check=False
    )
    if made.returncode:
        (tmp_path / "shut").chmod(0o500)
        if os.access(tmp_path / "shut", os.W_OK):
            pytest.skip("the superuser may write anywhere, and nothing can be mounted")
    try:
        with pytest.raises(StoreError, match=r"cannot be written: .*(Read-only file system|Permission denied)"):
            predicted(forcing, fit).h2cm.to_zarr(tmp_path / "shut" / "out.zarr")
    finally:
        if not made.returncode:
            subprocess.run([UMOUNT, tmp_path / "shut"], check=True)


@pytest.mark.parametrize("what", ["out.zarr.partial", "out.zarr.partial/store", "out.zarr.partial/journal"])
@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_a_store_that_vanishes_while_it_is_written(tmp_path, what, scheduler):
    def vanish(block, block_info=None):
        if block_info[0]["chunk-location"] == (0, 6):
            shutil.rmtree(tmp_path / what, ignore_errors=True)
        return block

    ds = noise(1000)
    fading = ds.assign(a=ds["a"].copy(data=ds["a"].data.map_blocks(vanish, dtype=float, meta=np.empty((0, 0)))))
    with dask.config.set(scheduler=scheduler), pytest.raises(StoreError, match="vanished while it was written"):
        fading.h2cm.to_zarr(tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()
    shutil.rmtree(tmp_path / "out.zarr.partial", ignore_errors=True)  # what other threads wrote after it vanished
    ds.h2cm.to_zarr(tmp_path / "out.zarr", overwrite=True)
    xr.testing.assert_equal(xr.open_zarr(tmp_path / "out.zarr").load(), ds.compute())


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_errors_of_tasks_are_ours(tmp_path, scheduler):
    ds = noise(1000)
    for error, kind in (
        (RuntimeError("what"), StoreError),
        (InputError([Finding("ET", "is odd", "mend")]), InputError),
    ):

        def fail(block, block_info=None, error=error):
            if block_info[0]["chunk-location"] == (0, 6):
                raise error
            return block

        wrong = ds.assign(a=ds["a"].copy(data=ds["a"].data.map_blocks(fail, dtype=float, meta=np.empty((0, 0)))))
        with dask.config.set(scheduler=scheduler), pytest.raises(kind, match=r"RuntimeError: what|ET: is odd"):
            wrong.h2cm.to_zarr(tmp_path / "out.zarr", overwrite=True)


# ----------------------------------------------------------------------------------------------------------- kills


@pytest.mark.slow("starts processes and kills them")
def test_killed_at_random_moments_and_gone_on_with(tmp_path):
    """``XH2CM_KILLS=20`` for as many as are wanted; one here."""
    kills = os.environ.get("XH2CM_KILLS", "1")
    done = subprocess.run(
        [sys.executable, "benchmarks/kills.py", "predict", "--kills", kills, "--folder", tmp_path],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{kills} of {kills} stores equal" in done.stdout


def test_rechunk_on_the_command_line(short, tmp_path):
    short[["vpd"]].chunk(time=1).to_zarr(tmp_path / "a.zarr", consolidated=False)
    done = CliRunner().invoke(app, ["rechunk", str(tmp_path / "a.zarr"), str(tmp_path / "b.zarr"), "--memory", "1 MB"])
    assert done.exit_code == 0, done.output
    assert open_path(tmp_path / "b.zarr")["vpd"].chunks[0] == (90,)
    for arguments in ([], ["--overwrite", "--memory", "much"]):
        done = CliRunner().invoke(app, ["rechunk", str(tmp_path / "a.zarr"), str(tmp_path / "b.zarr"), *arguments])
        assert done.exit_code == 2
        assert ("exists" in done.output) or ("is no size" in done.output)


# --------------------------------------------------------------------------------------------------------- reading


def test_chunks_that_are_not_in_the_store_are_told_where_they_are_read_as_numbers(short, tmp_path):
    ds = short[[*FORCING, "slope"]].chunk(time=30)
    ds["vpd"].encoding = {"_FillValue": None}
    ds.to_zarr(tmp_path / "a.zarr", consolidated=False)
    fill(tmp_path / "a.zarr" / "vpd", 0.0)
    assert check(open_path(tmp_path / "a.zarr"), targets=[]).usable == 8
    (tmp_path / "a.zarr" / "vpd" / "c" / "1" / "0" / "0").unlink()
    with pytest.warns(H2CMWarning, match="vpd: 1 of 3 chunks are not in the store and are read as its fill value 0"):
        report = check(open_path(tmp_path / "a.zarr"), targets=[])
    assert any("vpd: 1 of 3 chunks" in note for note in report.notes)
    fill(tmp_path / "a.zarr" / "vpd", "NaN")
    report = check(open_path(tmp_path / "a.zarr").isel(time=slice(0, 30)), targets=[])
    assert not any("chunks" in note for note in report.notes)
    with pytest.raises(InputError, match="vpd is missing on some days in 8"):
        check(open_path(tmp_path / "a.zarr"), targets=[], missing="drop")
    assert (check(open_path(tmp_path / "a.zarr"), targets=[]).dataset["forcing_days"] == 60).all()


def fill(array, value):
    meta = json.loads((array / "zarr.json").read_text())
    (array / "zarr.json").write_text(json.dumps(meta | {"fill_value": value}))


@pytest.mark.parametrize("value", [-9999.0, 1e20])
def test_marks_of_missing_values_that_nothing_declares_are_found(short, value):
    marked = short.assign(vpd=short["vpd"].where(short["lat"] > 0, value).assign_attrs(short["vpd"].attrs))
    with pytest.raises(InputError, match=r"vpd: 360 values are .* which marks missing values") as told:
        check(marked)
    [finding] = told.value.findings
    exec(finding.remedy.partition(": ")[2], {"ds": marked})  # noqa: S102
    assert int(marked["vpd"].isnull().sum()) == 360
    assert check(marked, targets=[]).usable == 4


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [flipped, lambda c: c[: len(c) // 2], lambda c: c[:0]], ids=["flip", "cut", "empty"])
@pytest.mark.parametrize("lazy", [True, False])
def test_a_damaged_chunk_is_named(short, tmp_path, damage, lazy):
    path = short.chunk(time=30).h2cm.to_zarr(tmp_path / "a.zarr")
    for name in ("vpd", "slope"):
        part = path / name / "c" / ("1/0/0" if name == "vpd" else "0/0")
        if part.exists():
            part.write_bytes(damage(part.read_bytes()))
    ds = open_path(path) if lazy else xr.open_zarr(path, chunks=None, consolidated=False)
    with pytest.raises(InputError) as told:
        check(ds, targets=[])
    findings = {finding.variable: finding.problem for finding in told.value.findings}
    assert findings.keys() == {"vpd", "slope"}
    assert ("chunk 1/0/0 (time 30 to 59" if lazy else "chunk 0/0/0") in findings["vpd"]


# ------------------------------------------------------------------------------------------------------- rechunking


@pytest.mark.parametrize("memory", ["1 GiB", 4 * CPU_COUNT * 8000])
@pytest.mark.parametrize("chunks", [{"time": 1}, {"time": 30, "lat": 1}, {"lat": 1}])
def test_rechunked_by_cells_with_values_attributes_and_encodings(short, tmp_path, memory, chunks):
    ds = short.copy()
    ds["vpd"].encoding = {"dtype": "int16", "scale_factor": 0.01, "_FillValue": -1}
    ds.chunk(chunks).to_zarr(tmp_path / "a.zarr", consolidated=False)
    opened = open_path(tmp_path / "a.zarr")
    by_cells = opened.h2cm.rechunk(tmp_path / "b.zarr", memory=memory)
    xr.testing.assert_identical(by_cells.load(), opened.load())
    assert by_cells["vpd"].encoding["chunks"][0] == 90
    assert by_cells["vpd"].encoding["dtype"] == "int16"
    assert by_cells["vpd"].encoding["scale_factor"] == 0.01
    if memory != "1 GiB":
        assert math.prod(by_cells["precipitation"].encoding["chunks"]) * 4 * 4 <= 8000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zarr", "b.zarr"]
    with pytest.raises(StoreError, match="exists"):
        opened.h2cm.rechunk(tmp_path / "b.zarr")
    opened.h2cm.rechunk(tmp_path / "b.zarr", overwrite=True)
