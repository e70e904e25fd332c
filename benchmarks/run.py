"""Time training, prediction and loading, against what the machine's matrix product allows: see README.md here."""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import dataclasses
import io
import json
import multiprocessing
import os
import platform
import pstats
import resource
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import dask
import numpy as np
import psutil
import torch
import xarray as xr

import xh2cm
from xh2cm.datasets.published import FORCING_GROUPS, MONTHLY_GROUPS
from xh2cm.datasets.twin import observe, truth, twin
from xh2cm.fitted import Fit
from xh2cm.model import HybridModel, Scaling, SpinUp, networks
from xh2cm.physics import (
    BetaSoil,
    LloydTaylorRespiration,
    PenmanMonteithEvaporation,
    PowerGroundwater,
    Processes,
    RadiationSnow,
)
from xh2cm.prediction.predict import predict_dataset
from xh2cm.targets import TARGET_TABLE
from xh2cm.train import Portions, Training, normalisation, train
from xh2cm.train.tensors import to_tensors
from xh2cm.variables import FORCING

LOOPS = {
    "plain": ("plain", "highest"),
    "fast": ("fast", "highest"),
    "fast, bfloat16": ("fast", "medium"),
    "fast, TF32": ("fast", "high"),
}
"""Loops through time: what training and prediction are told, and what torch is told of the precision of products."""

THERE = {"cpu": ("plain", "fast", "fast, bfloat16"), "cuda": ("plain", "fast", "fast, TF32")}
"""Which of them differ on a device."""

CORNERS = {32: (4, 8), 128: (8, 16), 512: (16, 32)}
"""Numbers of cells, and the corner of the grid that holds them."""

GRID = (20, 35)
CELLS, DAYS = 128, 730
"""What is trained and predicted where nothing else is said."""

FEW_DAYS, DAYS_THAT_GROW, FOLDS_THAT_GROW = 91, (91, 182, 365, 730), (1, 2, 5, 10)
FOLDS = 10
FEATURES = 30
SEEN_BY_ALL = 10**6
"""A fold label that no fold has: every fold trains on all cells."""

CHUNKS = {"chunks 365 x 10 x 10": (365, 10, 10), "one chunk": (DAYS, *GRID)}
PUBLISHED_CELLS = 8
"""Cells the published loader reads, one by one, in a measurement."""

SWAPPED = {
    "five processes swapped": {
        "processes": Processes(
            snow=RadiationSnow(),
            evaporation=PenmanMonteithEvaporation(),
            soil=BetaSoil(),
            groundwater=PowerGroundwater(),
            respiration=LloydTaylorRespiration(),
        )
    },
    "GRU for LSTM": {"networks": networks(lstm={"kind": "gru"})},
}
"""Models with other processes or networks."""

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
class Store:
    """A store, and the device its data are brought to."""

    path: Path
    device: str


@dataclasses.dataclass(frozen=True)
class Work:
    """What is trained and predicted."""

    dataset: xr.Dataset
    cells: Any
    model: HybridModel

    @property
    def cell_days(self) -> int:
        return self.cells.forcing[..., 0].numel()


def corner_of(store: Store, days: int, cells: int = CELLS) -> xr.Dataset:
    """Open a corner of a store."""
    lat, lon = CORNERS[cells]
    corner = xh2cm.open_published(store.path).isel(lat=slice(0, lat), lon=slice(0, lon), time=slice(0, days))
    return corner.sel(month=slice(None, corner["time"].values[-1]))


def work_of(store: Store, days: int, cells: int = CELLS, **model: Any) -> Work:
    """Bring a corner of a store to memory."""
    corner = corner_of(store, days, cells).load()
    return Work(
        corner.h2cm.check().dataset, corner.h2cm.to_tensors(device=store.device), HybridModel(FEATURES, **model)
    )


# -- jobs ----------------------------------------------------------------------------------------------------------


def by(loop: str, job: Callable[..., Any]) -> Callable[[], Any]:
    """Do something with one of `LOOPS`."""
    kind, precision = LOOPS[loop]

    def done() -> Any:
        torch.set_float32_matmul_precision(precision)
        try:
            return job(loop=kind)
        finally:
            torch.set_float32_matmul_precision("highest")

    return done


def train_step(work: Work, folds: int, loop: str) -> Job:
    """One optimiser step on all cells: spin-up, forward, losses of all published targets, backward, update."""
    label = torch.full((len(work.cells.forcing), 1), SEEN_BY_ALL, device=work.cells.forcing.device)
    targets = TARGET_TABLE[: len(MONTHLY_GROUPS) + 1]
    portions = Portions.whole(work.cells, label)
    scales = normalisation(portions, range(folds), targets, "stored")
    once = Training(epochs=1, patience=None, batch_size=len(label))
    return by(loop, partial(train, portions, range(folds), work.model, targets, scales, once, progress=False))


def at_rest(scaling: Scaling) -> Scaling:
    """As a fit holds it."""
    return Scaling(*(x.cpu() for x in scaling))


def prediction(work: Work, folds: int, loop: str) -> Job:
    """Spin-up and run of all cells, with every variable of the model recorded, as the published code does."""
    label = torch.full((len(work.cells.forcing), 1), SEEN_BY_ALL, device=work.cells.forcing.device)
    scaling = normalisation(Portions.whole(work.cells, label), range(folds), (), "stored").scaling
    weights = torch.stack([work.model.initial(torch.Generator().manual_seed(k)) for k in range(folds)])
    known = xr.Dataset(coords={"fold": range(folds)})
    fit = Fit(weights, work.model, at_rest(scaling), work.cells.features, None, known, SpinUp(), {})
    return by(loop, partial(predict_dataset, work.dataset, fit, variables="all", device=work.cells.forcing.device))


def epoch(store: Store) -> Job:
    """One pass of ten folds over all cells, after the check of an open dataset and its way into memory."""
    corner, model = corner_of(store, DAYS), HybridModel(FEATURES)
    return lambda: train_step(Work(corner, corner.h2cm.to_tensors(device=store.device), model), FOLDS, "fast")()


JOBS = {"training step": train_step, "prediction": prediction}


def matrix_product(device: str) -> Job:
    """The machine's own best: a product of two square matrices."""
    a, b = torch.randn(2, MATRIX, MATRIX, device=device)

    def multiply() -> None:
        _ = a @ b
        if a.is_cuda:
            torch.cuda.synchronize()

    return multiply


def loading(store: Store) -> dict[str, Job]:
    """Read a store into tensors, with the check of the data and without."""
    checked = xh2cm.open_published(store.path).h2cm.check().dataset
    return {
        "check not included": lambda: to_tensors(checked, store.device),
        "check included": lambda: xh2cm.open_published(store.path).h2cm.to_tensors(device=store.device),
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
    rows, columns = CORNERS[CELLS]
    corner = [i for i, (lat, lon) in enumerate(everything.coord_indices) if lat < rows and lon < columns]
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

    def run() -> None:
        torch.utils.data.default_collate([everything[i] for i in corner])
        step()

    return {"training step": step, "prediction": predict, "loading": load, "epoch": run}


# -- measuring -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Watch:
    """How often, and by which clock, something is timed."""

    repeats: int
    clock: Callable[[], float]

    def alternate(self, jobs: Mapping[Any, Job]) -> dict[Any, list[float]]:
        """Seconds of each job, warmed up once, then in turns, so that what disturbs one disturbs all of them."""
        for job in jobs.values():
            job()
        times: dict[Any, list[float]] = {name: [] for name in jobs}
        for _ in range(self.repeats):
            for name, job in jobs.items():
                begin = self.clock()
                job()
                times[name].append(self.clock() - begin)
        return times


def held_at_most() -> float:
    """GiB this process has held at most."""
    try:  # getrusage would count what the parent held when it started this process
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30


def peak_memory(store: Store, loop: str) -> tuple[float, float]:
    """GiB that a process which trains one step holds at most, and with the libraries alone."""
    libraries = held_at_most()
    train_step(work_of(store, DAYS), 1, loop)()
    return held_at_most(), libraries


def first_step(store: Store, cache: Path) -> tuple[float, float]:
    """Seconds from the start of a process until it is ready to train, and then of its first step."""
    os.environ["XH2CM_CACHE"] = str(cache)
    step = train_step(work_of(store, DAYS), 1, "fast")
    ready = time.time()
    step()
    return ready - psutil.Process().create_time(), time.time() - ready


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
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
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
    """Seconds a unit takes with the plain loop; for loading, without the check; for an epoch, by the published code."""
    limit: float | None = None
    """Seconds that the matrix product allows, per unit."""

    @property
    def each(self) -> float:
        return median(self.seconds) / self.units

    @property
    def cells(self) -> tuple[str, ...]:
        ratios = (f"{self.each / other:.3g}" if other else "" for other in (self.base, self.limit))
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


def speed_of(times: list[float]) -> float:
    """Operations a second of the matrix product."""
    return 2 * MATRIX**3 / median(times)


def walks(store: Store, theirs: Mapping[str, Job], watch: Watch) -> tuple[list[Row], float]:
    """Training and prediction by every loop, and the speed of the matrix product in the same run."""
    work = work_of(store, DAYS)
    matrices = [w.shape for name, w in work.model.layout.items() if len(w.shape) > 1 and not name.startswith("static.")]
    there = THERE[torch.device(store.device).type]
    operations = 2 * sum(rows * columns for rows, columns in matrices)
    jobs = {(name, loop): make(work, 1, loop) for name, make in JOBS.items() for loop in there}
    jobs |= {(name, "published"): theirs[name] for name in JOBS if name in theirs}
    times = watch.alternate(jobs | {("matrix product", ""): matrix_product(store.device)})
    speed = speed_of(times.pop(("matrix product", "")))
    rows = []
    for name, passes in PASSES.items():
        plain = median(times[name, "plain"]) / work.cell_days
        rows += [
            Row(name, loop, seconds, work.cell_days, "us a cell and day", 1e6, plain, passes * operations / speed)
            for (of, loop), seconds in times.items()
            if of == name
        ]
    return rows, speed


def many(store: Store, watch: Watch) -> list[Row]:
    """One and ten folds of few and many cells, on a season."""
    rows = []
    for cells in CORNERS:
        work = work_of(store, FEW_DAYS, cells)
        for name, make in JOBS.items():
            jobs = {(count, loop): make(work, count, loop) for loop in ("plain", "fast") for count in (1, FOLDS)}
            times = watch.alternate(jobs)
            one = median(times[1, "plain"]) / work.cell_days
            rows += [
                Row(f"{name}, {count} x {cells}", loop, seconds, count * work.cell_days, "us a cell and day", 1e6, one)
                for (count, loop), seconds in times.items()
            ]
    return rows


def growth(store: Store, watch: Watch) -> dict[str, dict[int, list[float]]]:
    """Seconds of a training step by the fast loop, for more and more of one thing."""
    works = {(cells, FEW_DAYS): work_of(store, FEW_DAYS, cells) for cells in CORNERS}
    works |= {(CELLS, days): work_of(store, days) for days in DAYS_THAT_GROW}
    jobs = {("cells", cells): train_step(works[cells, FEW_DAYS], 1, "fast") for cells in CORNERS}
    jobs |= {("days", days): train_step(works[CELLS, days], 1, "fast") for days in DAYS_THAT_GROW}
    jobs |= {("folds", folds): train_step(works[CELLS, FEW_DAYS], folds, "fast") for folds in FOLDS_THAT_GROW}
    found: dict[str, dict[int, list[float]]] = {}
    for (name, number), seconds in watch.alternate(jobs).items():
        found.setdefault(name, {})[number] = seconds
    return found


def swaps(store: Store, watch: Watch) -> list[Row]:
    """A training step of other models by the fast loop."""
    works = {"published model": work_of(store, FEW_DAYS)}
    works |= {name: work_of(store, FEW_DAYS, **model) for name, model in SWAPPED.items()}
    times = watch.alternate({name: train_step(work, 1, "fast") for name, work in works.items()})
    base = median(times["published model"]) / works["published model"].cell_days
    return [
        Row(f"training step, {name}", "fast", seconds, works[name].cell_days, "us a cell and day", 1e6, base)
        for name, seconds in times.items()
    ]


def epochs(store: Store, theirs: Mapping[str, Job], watch: Watch) -> list[Row]:
    """An epoch from a store on disk: ten folds at once, and what one run of the published code takes for one fold."""
    jobs: dict[str, Job] = {"fast": epoch(store)} | ({"published": theirs["epoch"]} if theirs else {})
    times = watch.alternate(jobs)
    work, unit = f"loading and an epoch, {FOLDS} folds", "us a fold, cell and day"
    base = median(times["published"]) / (CELLS * DAYS) if theirs else 0.0
    folds = {"fast": FOLDS, "published": 1}
    return [Row(work, by, s, folds[by] * CELLS * DAYS, unit, 1e6, base) for by, s in times.items()]


def globe(device: str, watch: Watch, copies: int = 86, years: int = 19) -> Row:
    """An epoch of ten folds on as many cells and days as a globe of 1 degree has, in memory already."""
    forcing = twin(cells=CORNERS[CELLS], years=years)
    some = forcing.merge(observe(truth(forcing, passes=0))).h2cm.to_tensors(device=device)
    cells = dataclasses.replace(
        some,
        forcing=some.forcing.repeat(copies, 1, 1),
        static=some.static.repeat(copies, 1),
        area=some.area.repeat(copies),
        targets={name: x._replace(values=x.values.repeat(copies, 1)) for name, x in some.targets.items()},
        index=np.tile(some.index, copies),
    )
    label = torch.arange(len(cells.forcing), device=device).remainder(FOLDS).unsqueeze(1)
    portions, targets = Portions.whole(cells, label), [t for t in TARGET_TABLE if t.name in cells.targets]
    scales = normalisation(portions, range(FOLDS), targets)
    once = Training(epochs=1, patience=None)
    model = HybridModel(len(cells.features))
    job = partial(train, portions, range(FOLDS), model, targets, scales, once, progress=False, loop="fast")
    work, days = len(label), cells.forcing.shape[1]
    times = watch.alternate({"fast": job})["fast"]
    return Row(
        f"an epoch, {FOLDS} x {work} x {days}", "fast", times, FOLDS * work * days, "us a cell and day", 1e6, 0.0
    )


def loads(stores: Mapping[str, Store], theirs: Mapping[str, Mapping[str, Job]], watch: Watch) -> list[Row]:
    """Loading, from chunks of several shapes."""
    cells = GRID[0] * GRID[1]
    rows = []
    for chunks, store in stores.items():
        jobs = loading(store) | ({"published": theirs[chunks]["loading"]} if chunks in theirs else {})
        times = watch.alternate(jobs)
        base = median(times["check not included"]) / cells
        for name, seconds in times.items():
            count = PUBLISHED_CELLS if name == "published" else cells
            rows.append(Row(f"loading, {chunks}", name, seconds, count, "ms a cell", 1e3, base))
    return rows


def effect(store: Store, steps: int = 40) -> list[str]:
    """What products of bfloat16 numbers change: training from the same start, and predicting with the same weights."""
    work = work_of(store, DAYS)
    label = torch.full((len(work.cells.forcing), 1), SEEN_BY_ALL, device=work.cells.forcing.device)
    portions, targets = Portions.whole(work.cells, label), TARGET_TABLE[: len(MONTHLY_GROUPS) + 1]
    scales = normalisation(portions, [0], targets, "stored")
    course = Training(epochs=steps, patience=None, batch_size=len(label))
    learn = partial(train, portions, [0], work.model, targets, scales, course, progress=False)
    fits = {loop: by(loop, learn)() for loop in THERE[torch.device(store.device).type][1:]}
    known = xr.Dataset(coords={"fold": [0]})
    fit = Fit(
        fits["fast"].weights.cpu(), work.model, at_rest(scales.scaling), work.cells.features, None, known, SpinUp(), {}
    )
    exact, rounded = (by(loop, partial(predict_dataset, work.dataset, fit, device=store.device))() for loop in fits)
    lines = []
    for loop, found in fits.items():
        first, *_, last = found.losses["loss"].sel(split="training", target="total").isel(fold=0).values
        lines.append(f"{loop}: loss {first:.4f} at the first of {steps} steps, {last:.4f} at the last")
    for name, values in exact.data_vars.items():
        apart = abs(rounded[name] - values) / values.std()
        lines.append(f"{name}: {float(apart.mean()):.1e} standard deviations apart, {float(apart.max()):.1e} at most")
    return lines


def profile(store: Store) -> str:
    """Where a training step and a prediction spend the processor's time; `forward` of lanes.py is spin-up and run."""
    told = io.StringIO()
    for name, make in JOBS.items():
        work = work_of(store, DAYS)
        for loop in ("plain", "fast"):
            job = make(work, 1, loop)
            job()
            begin = time.process_time()
            job()
            told.write(
                f"\n{name}, {loop}: {time.process_time() - begin:.3f} s, and by the profiler, which takes its own:\n"
            )
            found = cProfile.Profile(time.process_time)
            found.runcall(job)
            pstats.Stats(found, stream=told).strip_dirs().sort_stats("tottime").print_stats(12)
    return told.getvalue()


# -- the figure ----------------------------------------------------------------------------------------------------


def plot(found: Mapping[str, Any], path: Path) -> None:
    """Draw what `--json` holds."""
    import matplotlib.pyplot as plt

    colours = {"published": "#888888", "plain": "#E69F00", "fast": "#0072B2"}
    colours |= {"fast, bfloat16": "#56B4E9", "fast, TF32": "#56B4E9"}
    figure, (left, *right) = plt.subplots(1, 4, figsize=(13, 3.6), width_ratios=[2, 1, 1, 1], layout="constrained")
    rows, threads = [row for row in found["rows"] if row["limit"]], found["machine"]["threads"]
    for i, name in enumerate(PASSES):
        bars = {row["by"]: row for row in rows if row["work"] == name}
        shown = [loop for loop in colours if loop in bars]
        at = i * (len(colours) + 1) + np.arange(len(shown))
        drawn = left.bar(at, [1e6 * bars[x]["each"] for x in shown], color=[colours[x] for x in shown])
        limit, ends = 1e6 * bars["fast"]["limit"], [at[0] - 0.5, at[-1] + 0.5]
        left.plot(ends, [limit, limit], color="black", zorder=0, label="" if i else "float32 matrix product")
        white = {"facecolor": "white", "edgecolor": "none", "pad": 0}
        left.bar_label(drawn, fmt="%.1f", fontsize=8, padding=2, bbox=white)
        left.text(at.mean(), -0.06, name, ha="center", va="top", transform=left.get_xaxis_transform())
    for loop, colour in colours.items():
        if any(row["by"] == loop for row in rows):
            left.bar(0, 0, color=colour, label=loop)
    left.margins(y=0.1)  # room for the numbers
    left.set(xticks=[], ylabel="us a cell and day", title=f"{CELLS} cells x {DAYS} days, threads: {threads}")
    left.legend(frameon=False, fontsize=8)
    others = {
        "cells": f"1 fold x {FEW_DAYS} days",
        "days": f"1 fold x {CELLS} cells",
        "folds": f"{CELLS} cells x {FEW_DAYS} days",
    }
    for axes, (name, what) in zip(right, others.items(), strict=True):
        numbers = sorted(int(x) for x in found["growth"][name])
        seconds = [median(found["growth"][name][str(x)]) for x in numbers]
        axes.plot(numbers, seconds, "o-", color=colours["fast"])
        axes.plot([0, numbers[-1]], [0, seconds[-1]], ":", color="black", linewidth=1)
        axes.set(xlabel=name, ylabel="s", title=f"a training step,\n{what}", xlim=(0, None), ylim=(0, None))
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--published", type=Path, metavar="PATH", help="a checkout of the published code, to be timed beside"
    )
    parser.add_argument("--quick", action="store_true", help="medians of 3 instead of 5")
    parser.add_argument(
        "--processor-time", action="store_true", help="time of the processor instead of the wall; with one thread only"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw them")
    parser.add_argument("--effect", action="store_true", help="what less precision changes, and nothing else")
    parser.add_argument(
        "--profile",
        action="store_true",
        help="where a training step and a prediction spend their time, and nothing else",
    )
    parser.add_argument("--device", default="cpu", help="where, such as cuda; the published code is timed on cpu only")
    asked = parser.parse_args()
    if asked.published and asked.device != "cpu":
        parser.error("the published code is timed on cpu only")
    if asked.processor_time and torch.get_num_threads() > 1:
        parser.error("threads that wait for each other use the processor too: set OMP_NUM_THREADS=1")
    watch = Watch(3 if asked.quick else 5, time.process_time if asked.processor_time else time.perf_counter)
    about = machine() | {"repeats": watch.repeats, "clock": watch.clock.__name__}
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stores = {name: Store(Path(folder) / f"{k}.zarr", asked.device) for k, name in enumerate(CHUNKS)}
        for name, store in stores.items():
            write_store(store.path, CHUNKS[name])
        store = next(iter(stores.values()))
        if asked.profile or asked.effect:
            print(profile(store) if asked.profile else "\n".join(effect(store)))
            return
        memory = {loop: in_a_fresh_process(peak_memory, store, loop) for loop in ("plain", "fast")}
        first = [in_a_fresh_process(first_step, store, Path(folder) / "cache") for _ in range(2)]
        theirs: dict[str, dict[str, Job]] = {}
        if asked.published:
            stack.enter_context(published_code(asked.published))
            theirs = {name: published_jobs(store.path) for name, store in stores.items()}
        their = theirs.get(next(iter(stores)), {})
        rows, speed = walks(store, their, watch)
        rows += epochs(store, their, watch)
        rows += many(store, watch)
        rows += swaps(store, watch)
        grown = growth(store, watch)
        rows += loads(stores, theirs, watch)
        rows += [globe(asked.device, watch)] if asked.device != "cpu" else []
    print(f"\n{table(rows)}\n")
    for name, seconds in grown.items():
        print(f"seconds of a training step, fast, by {name}:", *(f"{x}: {median(s):.3f}" for x, s in seconds.items()))
    print(f"matrix product, {MATRIX} x {MATRIX}, float32: {speed / 1e9:.0f} GFLOP/s")
    for loop, (most, libraries) in memory.items():
        print(
            f"memory, a process that trains one step, {loop}: {most:.2f} GiB ({libraries:.2f} with the libraries alone)"
        )
    for (ready, step), what in zip(first, ("nothing", "the same"), strict=True):
        print(
            f"a fresh process, {what} compiled before: {ready:.1f} s until the data are there, first step {step:.1f} s"
        )
    print(f"load at the end: {os.getloadavg()[0]:.2f}")
    told = [dataclasses.asdict(row) | {"each": row.each} for row in rows]
    content = {"machine": about, "rows": told, "growth": grown, "flops": speed, "memory_gib": memory, "first_s": first}
    found = json.loads(json.dumps(content))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))
    if asked.plot:
        plot(found, asked.plot)


if __name__ == "__main__":
    main()
