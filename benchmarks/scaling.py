"""Weak scaling of prediction: twice the cells on twice the workers, each a process with one thread."""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import distributed
import xarray as xr
from plan import untrained

from xh2cm.datasets.twin import twin
from xh2cm.fitted import Fit
from xh2cm.prediction.predict import predict_dataset
from xh2cm.settings import PredictOptions
from xh2cm.variables import FORCING

ROWS = 8
"""Rows of the grid; a chunk is some columns of it."""


def checked(path: Path, cells: int, years: int, chunk: int) -> xr.Dataset:
    """The store of so many cells, as `check` gives it."""
    forcing = twin(cells=(ROWS, cells // ROWS), years=years).drop_encoding()
    forcing.chunk(time=-1, lon=chunk // ROWS).to_zarr(path, consolidated=False)
    return xr.open_zarr(path, consolidated=False).h2cm.check(forcing=tuple(FORCING), targets=[]).dataset


def seconds(client: distributed.Client, ds: xr.Dataset, fit: Fit) -> float:
    """One prediction; what comes of it stays on the workers but for its sums."""
    out = predict_dataset(ds, PredictOptions(fit, loop="fast")).sum()
    began = time.perf_counter()
    client.compute(out).result()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=1024, help="of each worker")
    parser.add_argument("--chunk", type=int, default=128, help="cells of a task")
    parser.add_argument("--years", type=int, default=2)
    parser.add_argument("--folds", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        jobs = {}
        for workers in (1, 2):
            ds = checked(place / f"{workers}.zarr", workers * asked.cells, asked.years, asked.chunk)
            cluster = distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0"
            )
            client = stack.enter_context(distributed.Client(stack.enter_context(cluster)))
            fit = untrained([str(name) for name in ds["feature"].values], asked.folds)
            jobs[workers] = (client, ds, fit)
        taken = {workers: [] for workers in jobs}
        for repeat in range(
            asked.repeats + 1
        ):  # in turns, so that what disturbs one disturbs the other; first to warm up
            for workers, job in jobs.items():
                took = seconds(*job)
                taken[workers] += [took] if repeat else []
    speed = {}
    for workers, took in taken.items():
        speed[workers] = workers * asked.cells / median(took)
        spread = f"{min(took):.2f} .. {max(took):.2f}"
        print(f"{workers} workers: {median(took):.2f} s ({spread}), {speed[workers]:,.0f} cells a second")
    print(f"ratio {speed[2] / speed[1]:.2f}")


if __name__ == "__main__":
    main()
