"""Plan a run on 1.5 million cells: what a cell costs is measured, the graph of the prediction built and not run.

python benchmarks/plan.py --costs
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import cloudpickle
import dask.array as da
import numpy as np
import torch
import xarray as xr
from dask.base import collections_to_expr
from dask.utils import key_split

from xh2cm.datasets.twin import twin
from xh2cm.fitted import Fit
from xh2cm.model import HybridModel, Scaling, SpinUp
from xh2cm.prediction.predict import predict_dataset
from xh2cm.settings import PredictOptions
from xh2cm.variables import FORCING, TARGETS

ET = TARGETS["ET"].standard_name


def untrained(features: list[str], folds: int) -> Fit:
    """A fit of the published size that has seen nothing, and standardises nothing."""
    model = HybridModel(len(features))
    weights = torch.stack([model.initial(torch.Generator().manual_seed(k)) for k in range(folds)])
    zero, one = torch.zeros(folds, len(model.forcing)), torch.ones(folds, len(features))
    scaling = Scaling(zero, zero + 1, one - 1, one)
    losses = xr.Dataset(coords={"fold": np.arange(folds)})
    return Fit(weights, model, scaling, tuple(features), None, losses, SpinUp(), {})


def announced(path: Path, cells: tuple[int, int], years: int, chunk: tuple[int, int, int], features: int) -> xr.Dataset:
    """A checked dataset on a Zarr store that says what it holds, and holds nothing."""
    days = np.arange("2001-01-01", f"{2001 + years}-01-01", dtype="datetime64[D]").astype("datetime64[ns]")
    days_of, lat_of, lon_of = chunk
    whole = da.zeros((len(days), *cells), chunks=(days_of if days_of > 0 else -1, lat_of, lon_of), dtype=np.float32)
    data = {name: (("time", "lat", "lon"), whole) for name in FORCING if name != "co2"}
    data["static"] = (("feature", "lat", "lon"), da.zeros((features, *cells), chunks=(-1, lat_of, lon_of)))
    coords = {"time": days, "lat": np.linspace(89.9, -59.9, cells[0]), "lon": np.linspace(-180, 180, cells[1])}
    xr.Dataset(data, coords=coords).to_zarr(path, compute=False, consolidated=False)
    ds = xr.open_zarr(path, consolidated=False)
    ds = ds.assign(co2=("time", np.full(len(days), 400.0, np.float32)), mask=(("lat", "lon"), np.ones(cells, bool)))
    return ds.assign_coords(feature=[f"feature {k}" for k in range(features)])


class Costs(NamedTuple):
    """What a cell costs in a fold, with the published networks."""

    predicting: float  # seconds of a core
    training: float  # seconds of a core an epoch
    written: float  # bytes of the six variables


def costs(place: Path, years: int) -> Costs:
    """Measure them on 128 cells, on as many cores as there are threads."""
    forcing = twin(cells=(8, 16), years=years)
    months = forcing["precipitation"].resample(time="MS").mean().rename(time="month")
    ds = forcing.assign(ET=(0.6 * months).assign_attrs(forcing["precipitation"].attrs, standard_name=ET))
    threads = torch.get_num_threads()
    how = {"folds": 2, "scheme": "cells", "only": [0], "patience": None, "loop": "fast", "progress": False}
    seconds = []
    for epochs in (1, 1, 2):  # once to warm up
        began = time.perf_counter()
        fit = ds.h2cm.fit(epochs=epochs, **how)
        seconds.append(time.perf_counter() - began)
    training = threads * (seconds[2] - seconds[1]) / (ds["lat"].size * ds["lon"].size / 2)  # half is trained on
    took = {}
    for lon in (4, 8, 16):  # once to warm up; what is the same for few cells and many is not counted
        began = time.perf_counter()
        store = ds.isel(lon=slice(0, lon)).h2cm.predict(fit, loop="fast").h2cm.to_zarr(place / f"{lon}.zarr")
        took[lon] = time.perf_counter() - began
    size = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    cells = ds["lat"].size * ds["lon"].size
    predicting = threads * (took[16] - took[8]) / (cells / 2)
    return Costs(predicting, training, size / cells)


def table(cost: Costs, years: int, folds: int) -> None:
    """What that makes of a 1-degree and of a 0.1-degree globe."""
    days = 365.25 * years
    print(f"a cell and fold: {cost.predicting:.3f} core-s to predict, {cost.training:.3f} core-s an epoch to train")
    print(f"a cell: {4 * 5 * days / 1e3:.0f} kB of forcing, {cost.written / 1e3:.0f} kB written")
    print(f"{'':34}{'11,000 cells':>16}{'1,500,000 cells':>18}")
    rows = {
        "forcing, float32 (GB)": 4 * 5 * days / 1e9,
        "written, six variables (GB)": cost.written / 1e9,
        f"predict, {folds} folds (core-hours)": cost.predicting * folds / 3600,
        f"train, {folds} folds, an epoch (core-h)": cost.training * folds / 3600,
    }
    for name, each in rows.items():
        print(f"{name:34}{each * 11_000:>16,.1f}{each * 1_500_000:>18,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--costs", action="store_true", help="measure what a cell costs, which takes minutes")
    parser.add_argument("--cells", nargs=2, type=int, default=(1200, 1250), metavar=("LAT", "LON"))
    parser.add_argument("--chunk", nargs=3, type=int, default=(-1, 32, 32), metavar=("DAYS", "LAT", "LON"))
    parser.add_argument("--years", type=int, default=20)
    parser.add_argument("--folds", type=int, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        if asked.costs:
            table(costs(Path(place), asked.years), asked.years, asked.folds)
        ds = announced(Path(place) / "globe.zarr", tuple(asked.cells), asked.years, tuple(asked.chunk), features=30)
        fit = untrained([str(name) for name in ds["feature"].values], asked.folds)
        began = time.perf_counter()
        out = predict_dataset(ds, PredictOptions(fit))
        built = time.perf_counter() - began
        graph = collections_to_expr([array.data for array in out.data_vars.values()]).optimize().__dask_graph__()
        ready = time.perf_counter() - began
        size = sum(len(cloudpickle.dumps(task)) for task in graph.values())  # one by one, as a scheduler sends them
        weights = fit.weights.numel() * fit.weights.element_size()
    names = Counter(key_split(key) for key in graph)
    print(f"{ds['mask'].size:,} cells x {ds.sizes['time']:,} days, {ds['vpd'].nbytes * 4 / 2**30:,.0f} GiB of forcing")
    print(f"built in {built:.1f} s, ready for a scheduler after {ready:.1f} s")
    print(f"{len(graph):,} tasks: {', '.join(f'{count:,} {name}' for name, count in names.most_common())}")
    print(f"{size / 1e6:.1f} MB pickled, of which {weights / 1e6:.1f} MB are weights")


if __name__ == "__main__":
    main()
