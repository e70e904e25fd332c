"""Build, and do not run, the graph of a prediction of 1.5 million cells: how long, how many tasks, how large."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

import cloudpickle
import dask.array as da
import numpy as np
import torch
import xarray as xr
from dask.base import collections_to_expr
from dask.utils import key_split

from xh2cm.fit import Fit
from xh2cm.model import HybridModel, Scaling, SpinUp
from xh2cm.predict import predict_dataset
from xh2cm.variables import FORCING


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", nargs=2, type=int, default=(1200, 1250), metavar=("LAT", "LON"))
    parser.add_argument("--chunk", nargs=3, type=int, default=(-1, 32, 32), metavar=("DAYS", "LAT", "LON"))
    parser.add_argument("--years", type=int, default=20)
    parser.add_argument("--folds", type=int, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        ds = announced(Path(place) / "globe.zarr", tuple(asked.cells), asked.years, tuple(asked.chunk), features=30)
        fit = untrained([str(name) for name in ds["feature"].values], asked.folds)
        began = time.perf_counter()
        out = predict_dataset(ds, fit)
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
