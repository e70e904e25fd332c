"""Time training, prediction and loading, against what the machine's matrix product allows: see README.md here."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import dask
import numpy as np
import torch
import xarray as xr

import xh2cm
from xh2cm.data.cells import to_tensors
from xh2cm.data.published import FORCING_GROUPS, MONTHLY_GROUPS
from xh2cm.data.twin import observe, truth, twin
from xh2cm.fit import Fit
from xh2cm.model import HybridModel, SpinUp
from xh2cm.predict import predict_dataset
from xh2cm.targets import TARGET_TABLE
from xh2cm.train import Portions, Training, normalisation, train
from xh2cm.variables import FORCING

LOOPS: Mapping[str, Mapping[str, Any]] = {"plain": {"loop": "plain"}, "fast": {"loop": "fast"}}
"""Loops through time, and what training and prediction are told to take them."""

GRID = (20, 20)
LAT, LON = 8, 16
"""Cells of the store, and the corner of it that is trained on: 128 of 400."""

DAYS = 730
FOLDS, DAYS_OF_FOLDS = 10, 182
FEATURES = 30
SEEN_BY_ALL = 10**6
"""A fold label that no fold has: every fold trains on all cells."""

CHUNKS = {"chunks 365 x 10 x 10": (365, 10, 10), "one chunk": (DAYS, *GRID)}
PUBLISHED_CELLS = 8
"""Cells the published loader reads, one by one, in a measurement."""

MATRIX = 2048
PASSES = {"training step": 4, "prediction": 2}
"""How often the networks are walked: spin-up, forward and twice backward; spin-up and forward."""

Job = Callable[[], object]


# -- data ----------------------------------------------------------------------------------------------------------


def write_store(path: Path, chunks: tuple[int, int, int]) -> None:
    """Write a synthetic twin of the published size in the published layout, the one layout both codes read."""
    forcing = twin(cells=GRID, years=2)
    known = observe(truth(forcing, passes=0), gaps=0.0)  # the published losses are NaN where a cell lacks a TWS
    known["NEE_IAV"] = known["NEE"]
    random = np.random.default_rng(0)
    static = xr.DataArray(random.normal(size=(FEATURES, *GRID)), dims=("variable", "lat", "lon"))
    one = xr.ones_like(forcing["clay"])
    arrays = {
        group: forcing[name].broadcast_like(forcing["vpd"]) for group, name in zip(FORCING_GROUPS, FORCING, strict=True)
    }
    months = {
        group: known[target.name].rename(month="time")
        for group, target in zip(MONTHLY_GROUPS, TARGET_TABLE, strict=False)
    }
    for group, array in (
        arrays | months | {"cue": known["CUE"], "static": static, "grid_area": 1e10 * one, "mask": one}
    ).items():
        data = array.transpose(..., "lat", "lon").astype("float32").drop_attrs()
        along = {"variable"} & set(data.dims)
        moments = {
            key: getattr(data, key)([d for d in data.dims if d not in along]).values.tolist() for key in ("mean", "std")
        }
        encoding = {"data": {"chunks": chunks}} if group in arrays else None
        coords = {dim: forcing[dim] for dim in ("lat", "lon")}
        dataset = xr.Dataset({"data": data}, coords=coords, attrs=moments)
        dataset.to_zarr(path, group=group, encoding=encoding, zarr_format=2, consolidated=True)  # as the published one


@dataclasses.dataclass(frozen=True)
class Work:
    """What is trained and predicted."""

    dataset: xr.Dataset
    cells: Any
    model: HybridModel

    @property
    def cell_days(self) -> int:
        return self.cells.forcing[..., 0].numel()


def work_of(store: Path, days: int) -> Work:
    """Bring the corner of a store that is trained on to memory."""
    corner = xh2cm.open_published(store).isel(lat=slice(0, LAT), lon=slice(0, LON), time=slice(0, days))
    corner = corner.sel(month=slice(None, corner["time"].values[-1])).load()
    return Work(corner.h2cm.check().dataset, corner.h2cm.to_tensors(device="cpu"), HybridModel(FEATURES))


# -- jobs ----------------------------------------------------------------------------------------------------------


def train_step(work: Work, folds: int, loop: Mapping[str, Any]) -> Job:
    """One optimiser step on all cells: spin-up, forward, losses of all published targets, backward, update."""
    label = torch.full((len(work.cells.forcing), 1), SEEN_BY_ALL)
    targets = TARGET_TABLE[: len(MONTHLY_GROUPS) + 1]
    portions = Portions.whole(work.cells, label)
    scales = normalisation(portions, range(folds), targets, "stored")
    once = Training(epochs=1, patience=None, batch_size=len(label))
    return lambda: train(portions, range(folds), work.model, targets, scales, once, progress=False, **loop)


def prediction(work: Work, loop: Mapping[str, Any]) -> Job:
    """Spin-up and run of all cells, with every variable of the model recorded, as the published code does."""
    label = torch.full((len(work.cells.forcing), 1), SEEN_BY_ALL)
    scaling = normalisation(Portions.whole(work.cells, label), [0], (), "stored").scaling
    weights = work.model.initial(torch.Generator().manual_seed(0)).unsqueeze(0)
    fit = Fit(weights, work.model, scaling, work.cells.features, None, xr.Dataset(coords={"fold": [0]}), SpinUp(), {})
    return lambda: predict_dataset(work.dataset, fit, variables="all", device="cpu", **loop)


def matrix_product() -> Job:
    """The machine's own best: a product of two square matrices."""
    a, b = torch.randn(2, MATRIX, MATRIX)
    return lambda: a @ b


def loading(store: Path) -> dict[str, Job]:
    """Read a store into tensors, with the check of the data and without."""
    checked = xh2cm.open_published(store).h2cm.check().dataset
    return {
        "check not included": lambda: to_tensors(checked, "cpu"),
        "check included": lambda: xh2cm.open_published(store).h2cm.to_tensors(device="cpu"),
    }


@contextlib.contextmanager
def published_code(path: Path) -> Iterator[None]:
    """Make the published code importable, with an empty stand-in for Lightning, of which it needs only the class."""

    class LightningModule(torch.nn.Module):
        def save_hyperparameters(self) -> None: ...

        def log(self, *args: object, **kwargs: object) -> None: ...

    stand_in = types.ModuleType("pytorch_lightning")
    stand_in.LightningModule = LightningModule  # type: ignore[attr-defined]
    sys.modules["pytorch_lightning"] = stand_in
    sys.path.insert(0, str(path))
    try:
        with dask.config.set(scheduler="synchronous"):  # as its own training sets it
            yield
    finally:
        sys.path.remove(str(path))


def published_jobs(store: Path) -> dict[str, Job]:
    """The same work by the published code."""
    from datasets.ZarrDataset import ZarrDataset
    from models.hybrid.h2cm import H2CM

    everything = ZarrDataset(str(store), "global", 0)
    corner = [i for i, (lat, lon) in enumerate(everything.coord_indices) if lat < LAT and lon < LON]
    batch = torch.utils.data.default_collate([everything[i] for i in corner])
    model = H2CM(str(store), "cpu", 0)
    optimiser = model.configure_optimizers()[0][0]

    def step() -> None:
        optimiser.zero_grad()
        model.training_step(batch, 0).backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), 0.5)
        optimiser.step()

    def predict() -> None:
        with torch.no_grad():
            model.predict_step(batch, 0)

    def load() -> None:
        torch.utils.data.default_collate([everything[i] for i in range(PUBLISHED_CELLS)])

    return {"training step": step, "prediction": predict, "loading": load}


# -- measuring -----------------------------------------------------------------------------------------------------


def alternate(jobs: Mapping[str, Job], repeats: int) -> dict[str, list[float]]:
    """Seconds of each job, warmed up once, then in turns, so that what disturbs the machine disturbs all of them."""
    for job in jobs.values():
        job()
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            begin = time.perf_counter()
            job()
            times[name].append(time.perf_counter() - begin)
    return times


def held_at_most() -> float:
    """GiB this process has held at most."""
    try:  # getrusage would count what the parent held when it started this process
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30


def peak_memory(store: Path, loop: str) -> tuple[float, float]:
    """GiB that a process which trains one step holds at most, and with the libraries alone."""
    libraries = held_at_most()
    train_step(work_of(store, DAYS), 1, LOOPS[loop])()
    return held_at_most(), libraries


def in_a_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    try:
        names = [
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
    except OSError:
        names = []
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "xh2cm": xh2cm.__version__,
    }


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table."""

    work: str
    by: str
    seconds: list[float]
    units: int
    unit: str
    scale: float
    base: float
    """Seconds a unit takes with the plain loop; for loading, without the check."""
    limit: float | None = None
    """Seconds that the matrix product allows, per unit."""

    @property
    def each(self) -> float:
        return median(self.seconds) / self.units

    @property
    def cells(self) -> tuple[str, ...]:
        ratios = (f"{self.each / other:.2f}" if other else "" for other in (self.base, self.limit))
        spread = f"{min(self.seconds):.3g} .. {max(self.seconds):.3g}"
        return (
            self.work,
            self.by,
            f"{median(self.seconds):.3g}",
            spread,
            f"{self.each * self.scale:.3g} {self.unit}",
            *ratios,
        )


HEAD = ("work", "by", "median s", "range s", "each", "ratio", "/ limit")


def table(rows: list[Row]) -> str:
    lines = [HEAD, *(row.cells for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([shown[0], "-" * max(map(len, shown)), *shown[1:]])


def walks(store: Path, theirs: Mapping[str, Job], repeats: int) -> tuple[list[Row], float]:
    """Training and prediction by every loop, and the speed of the matrix product in the same run."""
    work = work_of(store, DAYS)
    matrices = [w.shape for name, w in work.model.layout.items() if len(w.shape) > 1 and not name.startswith("static.")]
    operations = 2 * sum(rows * columns for rows, columns in matrices)
    makers = {
        "training step": lambda loop: train_step(work, 1, loop),
        "prediction": lambda loop: prediction(work, loop),
    }
    jobs = {(name, by): make(loop) for name, make in makers.items() for by, loop in LOOPS.items()}
    jobs |= {(name, "published"): theirs[name] for name in makers if name in theirs}
    times = alternate(jobs | {("matrix product", ""): matrix_product()}, repeats)
    speed = 2 * MATRIX**3 / median(times.pop(("matrix product", "")))
    rows = []
    for name, passes in PASSES.items():
        plain = median(times[name, "plain"]) / work.cell_days
        rows += [
            Row(name, by, seconds, work.cell_days, "us a cell and day", 1e6, plain, passes * operations / speed)
            for (of, by), seconds in times.items()
            if of == name
        ]
    return rows, speed


def folds(store: Path, repeats: int) -> list[Row]:
    """Ten folds in one pass, against ten times one."""
    work = work_of(store, DAYS_OF_FOLDS)
    jobs = {(count, by): train_step(work, count, loop) for by, loop in LOOPS.items() for count in (1, FOLDS)}
    times = alternate(jobs, repeats)
    one = median(times[1, "plain"]) / work.cell_days
    rows = []
    for (count, by), seconds in times.items():
        name = f"training step, {count} fold{'s' * (count > 1)}, {DAYS_OF_FOLDS} days"
        rows.append(Row(name, by, seconds, count * work.cell_days, "us a cell and day", 1e6, one))
    return rows


def loads(stores: Mapping[str, Path], theirs: Mapping[str, Mapping[str, Job]], repeats: int) -> list[Row]:
    """Loading, from chunks of several shapes."""
    cells = GRID[0] * GRID[1]
    rows = []
    for chunks, store in stores.items():
        jobs = loading(store) | ({"published": theirs[chunks]["loading"]} if chunks in theirs else {})
        times = alternate(jobs, repeats)
        base = median(times["check not included"]) / cells
        for name, seconds in times.items():
            count = PUBLISHED_CELLS if name == "published" else cells
            rows.append(Row(f"loading, {chunks}", name, seconds, count, "ms a cell", 1e3, base))
    return rows


def profile(store: Path) -> str:
    """Where a training step of 64 days spends its time."""
    step = train_step(work_of(store, 64), 1, LOOPS["plain"])
    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        step()
    return found.key_averages().table(sort_by="self_cpu_time_total", row_limit=20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--published", type=Path, metavar="PATH", help="a checkout of the published code, to be timed beside"
    )
    parser.add_argument("--quick", action="store_true", help="medians of 3 instead of 5")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument(
        "--profile", action="store_true", help="show where a training step spends its time, and nothing else"
    )
    asked = parser.parse_args()
    repeats = 3 if asked.quick else 5
    about = machine() | {"cells": LAT * LON, "days": DAYS, "repeats": repeats}
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stores = {name: Path(folder) / f"{k}.zarr" for k, name in enumerate(CHUNKS)}
        for name, store in stores.items():
            write_store(store, CHUNKS[name])
        store = next(iter(stores.values()))
        if asked.profile:
            print(profile(store))
            return
        memory = {by: in_a_fresh_process(peak_memory, store, by) for by in LOOPS}
        theirs: dict[str, dict[str, Job]] = {}
        if asked.published:
            stack.enter_context(published_code(asked.published))
            theirs = {name: published_jobs(store) for name, store in stores.items()}
        rows, speed = walks(store, theirs.get(next(iter(stores)), {}), repeats)
        rows += folds(store, repeats)
        rows += loads(stores, theirs, repeats)
    print(f"\n{table(rows)}\n")
    print(f"matrix product, {MATRIX} x {MATRIX}, float32: {speed / 1e9:.0f} GFLOP/s")
    for by, (most, libraries) in memory.items():
        print(
            f"memory, a process that trains one step, {by}: {most:.2f} GiB ({libraries:.2f} with the libraries alone)"
        )
    print(f"load at the end: {os.getloadavg()[0]:.2f}")
    if asked.json:
        told = [dataclasses.asdict(row) | {"each": row.each} for row in rows]
        content = {"machine": about, "rows": told, "flops": speed, "memory_gib": memory}
        asked.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
