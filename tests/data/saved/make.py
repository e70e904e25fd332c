"""Save fits and runs with the code of commit be88b64 (fits of format 3): python make.py FOLDER, in a checkout of it."""

import json
import shutil
import sys
from pathlib import Path

import torch

import xh2cm

if __name__ == "__main__":
    out = Path(sys.argv[1])
    torch.set_num_threads(1)
    ds = xh2cm.tutorial.open_dataset("twin").isel(
        time=slice(0, 60), month=slice(0, 2), lat=slice(0, 2), lon=slice(0, 4)
    )
    how = {
        "folds": 2, "scheme": "cells", "targets": ["ET", "runoff"], "width": 2, "static": ["clay"], "loop": "plain",
        "progress": False, "patience": None, "processes": xh2cm.Processes.water(), "batch_size": 4, "window": 30,
    }  # fmt: skip
    how["pin"] = {"soil_capacity": 0 * ds["clay"].drop_attrs() + 90.0, "snow_melt_rate": 3.0}
    fit = ds.h2cm.fit(epochs=2, **how)
    fit.save(out / "fit")
    ds.h2cm.fit(epochs=1, only=[0], run=out / "run", **how)
    lazy, little = ds.drop_encoding().chunk(lat=1, lon=1), {"only": [0], "memory": "9 kB", **how}
    lazy.h2cm.fit(epochs=1, run=out / "streamed", **little)
    streamed = lazy.h2cm.fit(epochs=2, **little)
    for run in ("run", "streamed"):  # what a training that was stopped after its first epoch leaves
        shutil.rmtree(out / run / "tensorboard", ignore_errors=True)
        shutil.rmtree(out / run / "fit")
        (out / run / "lock").unlink()
    means = {name: float(array.mean()) for name, array in ds.h2cm.predict(fit, variables=["ET", "TWS"]).items()}
    ends = {"whole": fit.weights[0, :8].tolist(), "streamed": streamed.weights[0, :8].tolist()}
    (out / "expected.json").write_text(json.dumps({"means": means, "weights": ends}, indent=1) + "\n")
