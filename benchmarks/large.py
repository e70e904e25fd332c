"""More than fits into memory: predict and fit on a store of some GiB under a limit, each in a process of its own.

    python benchmarks/large.py make --gib 8 --store /scratch/large.zarr
    python benchmarks/large.py predict --store /scratch/large.zarr --limit "2 GiB"
    python benchmarks/large.py fit --store /scratch/large.zarr --limit "3 GiB" --memory "1 GiB"
    python benchmarks/large.py fit --store /scratch/large.zarr --memory "16 GiB"      # all of it in memory

The limit is that of the process's data segment (``ulimit -d``), which holds all it allocates; the peak is the largest
resident set. The networks are small (8 hidden units): the data weigh the same, and the walk takes minutes, not an hour.
"""

from __future__ import annotations

import argparse
import logging
import math
import resource
import shutil
import time
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import xarray as xr
from dask.utils import parse_bytes

import xh2cm
from xh2cm.datasets.open import open_path

SIDE, YEARS = 15, 20
FORCING = ("net_radiation", "precipitation", "air_temperature", "vpd", "co2")
HOW = {
    "folds": 4, "scheme": "degrees", "size": 30, "only": [0], "epochs": 2, "patience": None, "width": 8, "window": 365,
    "spinup": 365, "progress": False,
}  # fmt: skip


def make(store: Path, gib: float) -> None:
    """Cells of a grid are those of the twin, each with noise of its own; ET monthly in the last two of twenty years."""
    twin = xh2cm.tutorial.open_dataset("twin").compute()
    days = np.arange("2001-01-01", f"{2001 + YEARS}-01-01", dtype="datetime64[D]").astype("datetime64[ns]")
    blocks = math.ceil((gib * 2**30 / (4 * len(FORCING) * len(days) * SIDE**2)) ** 0.5)
    side = SIDE * blocks
    lat, lon = np.linspace(60, -60, side), np.linspace(-170, 170, side)

    def block(name: str, number: int) -> np.ndarray:
        rng = np.random.default_rng(number)
        record = twin[name].values.reshape(twin.sizes["time"], -1)
        cell = rng.integers(record.shape[1], size=SIDE**2)
        long = np.resize(record[:, cell], (len(days), SIDE**2)) * rng.uniform(0.98, 1.02, (1, SIDE**2))
        return long.reshape(len(days), SIDE, SIDE).astype(np.float32)

    data = {}
    for name in FORCING:
        rows = [
            [
                da.from_delayed(dask.delayed(block)(name, r * blocks + c), (len(days), SIDE, SIDE), np.float32)
                for c in range(blocks)
            ]
            for r in range(blocks)
        ]
        data[name] = (("time", "lat", "lon"), da.block(rows), twin[name].attrs)
    months = np.arange("2019-01", "2021-01", dtype="datetime64[M]").astype("datetime64[ns]")
    season = 1.5 - np.cos(np.arange(len(months)) * np.pi / 6)
    data["ET"] = (
        ("month", "lat", "lon"),
        np.broadcast_to(season[:, None, None], (len(months), side, side)).astype(np.float32),
        {"units": "mm d-1", "standard_name": "water_evapotranspiration_flux"},
    )
    coords = {
        "time": days, "month": months, "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon, {"units": "degrees_east"}),
    }  # fmt: skip
    whole = xr.Dataset(data, coords).chunk(lat=SIDE, lon=SIDE)
    plain = {name: {"compressors": None} for name in FORCING}
    shutil.rmtree(store, ignore_errors=True)
    whole.to_zarr(store, encoding=plain, consolidated=False)
    forcing = sum(whole[name].nbytes for name in FORCING) / 2**30
    print(f"{store}: {side} x {side} cells x {len(days)} days, {forcing:.2f} GiB of forcing in {blocks**2} blocks")


def peak() -> float:
    """Largest resident set of this process so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def small_fit() -> xh2cm.Fit:
    """Any fit will do."""
    twin = xh2cm.tutorial.open_dataset("twin")[[*FORCING, "ET"]]
    return twin.h2cm.fit(2, scheme="cells", epochs=1, width=8, window=365, spinup=365, static=[], progress=False)


def predict(store: Path) -> None:
    fit = small_fit()
    begun = time.monotonic()
    out = store.with_name("large-out.zarr")
    shutil.rmtree(out, ignore_errors=True)
    ds = open_path(store)
    ds.h2cm.predict(fit, member=0, spinup=365, static=[]).h2cm.to_zarr(out)
    et = xr.open_zarr(out, consolidated=False)["ET"].isel(time=slice(-30, None)).mean()
    print(
        f"predicted {ds.sizes['lat'] * ds.sizes['lon'] * ds.sizes['time'] / 1e6:.0f} million cell-days in "
        f"{time.monotonic() - begun:.0f} s; ET of the last month {float(et):.2f} mm d-1; peak {peak():.2f} GiB"
    )


def fit(store: Path, memory: str) -> None:
    logging.getLogger("xh2cm").setLevel(logging.INFO)
    logging.getLogger("xh2cm").addHandler(logging.StreamHandler())
    begun = time.monotonic()
    done = open_path(store).h2cm.fit(memory=memory, static=[], **HOW)
    print(f"{done.losses.sizes['epoch']} epochs in {time.monotonic() - begun:.0f} s; peak {peak():.2f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "predict", "fit"])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--gib", type=float, default=8)
    parser.add_argument("--limit")
    parser.add_argument("--memory", default="1 GiB")
    asked = parser.parse_args()
    if asked.limit:
        resource.setrlimit(resource.RLIMIT_DATA, (parse_bytes(asked.limit),) * 2)
    if asked.what == "make":
        make(asked.store, asked.gib)
    elif asked.what == "predict":
        predict(asked.store)
    else:
        fit(asked.store, asked.memory)


if __name__ == "__main__":
    main()
