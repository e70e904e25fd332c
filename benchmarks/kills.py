"""Kill a run at random moments, let the same call go on, and compare with a run that nobody disturbed.

    python benchmarks/kills.py predict --kills 20
    python benchmarks/kills.py fit --kills 50

Each kill is a SIGKILL to a process of its own, after a time drawn between nothing and what an undisturbed run
takes to write; then the same call is made again until it ends by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

PREDICT = """
import json, os, sys, time
import dask, xarray as xr, xh2cm
from dask.callbacks import Callback
from xh2cm.datasets.open import open_path

class Count(Callback):
    def __init__(self): self.regions = 0; super().__init__(pretask=self.seen)
    def seen(self, key, *_): self.regions += str(key).startswith("write-region")

folder, target = sys.argv[1:]
out = open_path(folder + "/forcing.zarr").h2cm.predict(xh2cm.load_fit(folder + "/fit"), variables=["ET", "TWS"])
open(target + ".began", "w").close()
with Count() as count, dask.config.set(scheduler="threads", num_workers=2):
    out.h2cm.to_zarr(target)
print(count.regions)
"""
"""One prediction to Zarr: says that it begins to write, and at the end how many regions it has computed."""


def prepare(folder: Path) -> None:
    """Forcing in many chunks and a fit, on a small twin."""
    import xh2cm.accessor  # noqa: F401 - gives datasets `h2cm`
    from xh2cm.datasets.twin import observe, truth, twin

    forcing = twin(cells=(4, 8), years=1)
    ds = forcing.merge(observe(truth(forcing, passes=1)))
    ds.isel(time=slice(0, 59), month=slice(0, 2)).h2cm.fit(2, scheme="cells", width=6, epochs=1, progress=False).save(
        folder / "fit"
    )
    forcing.chunk(lat=1, lon=2).h2cm.to_zarr(folder / "forcing.zarr")


def start(folder: Path, target: Path, code: str = PREDICT) -> subprocess.Popen[str]:
    begun = target.with_name(f"{target.name}.began")
    begun.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    while not begun.exists() and process.poll() is None:
        time.sleep(0.005)
    return process


def finish(process: subprocess.Popen[str]) -> int:
    """Wait for a process; how many regions it has computed."""
    said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the prediction failed with {process.returncode}")
    return int(said)


def contents(store: Path) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*") if p.is_file()}


def finished_regions(target: Path) -> int:
    from xh2cm.io.zarr import _journalled

    return len(_journalled(target.with_name(f"{target.name}.partial") / "journal"))


def predict(kills: int, seed: int, folder: Path) -> bool:
    prepare(folder)
    whole = folder / "undisturbed.zarr"
    process = start(folder, whole)
    began = time.perf_counter()
    regions = finish(process)
    length = time.perf_counter() - began
    expected, draw = contents(whole), random.Random(seed)  # noqa: S311 - moments, not secrets
    equal, spared = 0, 0
    for kill in range(kills):
        target = folder / f"killed-{kill}.zarr"
        while True:  # until one is hit that has not ended yet
            process = start(folder, target)
            began, after = time.perf_counter(), draw.uniform(0, length)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(after)
            process.kill()
            process.communicate()
            if process.returncode == -signal.SIGKILL:
                break
            length = time.perf_counter() - began  # the machine has become faster
            shutil.rmtree(target)
        done = regions if target.exists() else finished_regions(target)
        computed = 0 if target.exists() else finish(start(folder, target))
        same, kept = contents(target) == expected, computed == regions - done
        clean = not target.with_name(f"{target.name}.partial").exists() or computed == 0
        equal, spared = equal + (same and clean), spared + kept
        told = {
            "kill": kill,
            "after_s": round(after, 3),
            "regions_done": done,
            "then_computed": computed,
            "equal": same,
        }
        print(json.dumps(told), flush=True)
        shutil.rmtree(target)
    print(f"{equal} of {kills} stores equal to the undisturbed one, byte for byte")
    print(f"{spared} of {kills} computed only the regions of {regions} that were not finished")
    return equal == spared == kills


FIT = """
import sys, xh2cm
from xh2cm.datasets.open import open_path

folder, run = sys.argv[1:]
open(run + ".began", "w").close()
fit = open_path(folder + "/observed.zarr").h2cm.fit(
    2, scheme="cells", width=8, epochs=10, patience=None, window=120, spinup=60,
    batch_size=32, loop="plain", progress=False, run=run, save_every=0, memory=sys.stdin.readline().strip(),
)
print(fit.fingerprint)
"""
"""One training in a run folder: says that it begins, and at the end its fingerprint."""


def fit(kills: int, seed: int, folder: Path) -> bool:
    """Kill trainings again and again until they end, in memory and streamed in turn."""
    from xh2cm.datasets.twin import observe, truth, twin

    forcing = twin(cells=(4, 8), years=1)
    forcing.merge(observe(truth(forcing, passes=1))).chunk(lat=2, lon=2).h2cm.to_zarr(folder / "observed.zarr")

    def begin(run: Path, memory: str) -> subprocess.Popen[str]:
        process = start(folder, run, FIT)
        process.stdin.write(memory + "\n")
        process.stdin.close()
        process.stdin = None
        return process

    def ended(process: subprocess.Popen[str]) -> str:
        said, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"the training failed with {process.returncode}")
        return said.strip()

    memories = ("1 GB", "400 kB")
    draw = random.Random(seed)  # noqa: S311 - moments, not secrets
    expected, length = {}, 0.0
    for memory in memories:
        begun = time.perf_counter()
        expected[memory] = ended(begin(folder / f"undisturbed-{memory}", memory))
        length = max(length, time.perf_counter() - begun)
    done = equal = trained = 0
    while done < kills:
        memory, run = memories[trained % 2], folder / f"run-{trained}"
        trained += 1
        deaths = []
        while done + len(deaths) < kills:
            process = begin(run, memory)
            after = draw.uniform(0, length / 2)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(after)
            process.kill()
            said, _ = process.communicate()
            if process.returncode != -signal.SIGKILL:
                break
            deaths.append(round(after, 2))
        else:
            said = ended(begin(run, memory))
        same = said.strip() == expected[memory]
        done, equal = done + len(deaths), equal + same * len(deaths)
        print(json.dumps({"memory": memory, "killed_after_s": deaths, "equal": same}), flush=True)
    print(f"{equal} of {done} kills in {trained} trainings: weights bit for bit those of the undisturbed one")
    return equal == done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["predict", "fit"])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one if not given")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = told.folder or Path(temporary)
        if not {"predict": predict, "fit": fit}[told.what](told.kills, told.seed, folder):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
