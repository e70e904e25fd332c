"""Export a prediction under the names of CMIP6, and score every file with ILAMB.

ilamb3 needs an environment of its own, because it pins other versions. Create it once, then run the two steps:

    python -m venv ilamb && ilamb/bin/pip install ilamb3
    python examples/ilamb.py export [DATA.nc]       in the environment of xh2cm
    ilamb/bin/python examples/ilamb.py score        in that of ilamb3

Without data the synthetic twin is predicted, each cell by the fold that was not trained on it. A variable is compared
with its observations, noisy months with gaps, if the twin has some, otherwise with its exact truth. ILAMB's own
reference data (a download) are global products and cannot be used for synthetic land. DATA.nc, on a regular grid, has
no truth: variables that are not observed are compared with a second training with another seed, which measures how well
training determines them, and not how accurate they are.

The references are written with plain xarray in the units of the model, g m-2 d-1 and kg m-2 d-1, so that a wrong
unit or sign of the export would show.

Training is short: the scores show that files are read and compared, not the skill of the model.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

OUTPUT = Path(__file__).resolve().parent / "output" / "ilamb"
TRAINING = {"folds": 2, "scheme": "cells", "epochs": 25, "width": 16, "window": 365, "spinup": 365, "batch_size": 16}
LEVEL = "TWS"
"""Observed as an anomaly: its absolute level cannot be compared."""


def export(path: str | None = None) -> None:
    """Train, predict, and write files of the model and of its references."""
    import xarray as xr

    import xh2cm
    from xh2cm.datasets.open import open_path
    from xh2cm.datasets.twin import truth, twin
    from xh2cm.variables import OUTPUTS

    shutil.rmtree(OUTPUT, ignore_errors=True)
    ds = xh2cm.tutorial.open_dataset("twin") if path is None else open_path(path).load()

    def predicted(seed: int) -> xr.Dataset:
        fit = ds.h2cm.fit(seed=seed, **TRAINING)
        return ds.h2cm.predict(fit, variables="all", member="held-out")

    files = predicted(0).h2cm.to_cmip(OUTPUT / "model", variables=[var.name for var in OUTPUTS.values() if var.cmip])
    rest, what = (truth(twin()), "truth") if path is None else (predicted(1), "another seed")
    checked = ds.h2cm.check().dataset
    (OUTPUT / "reference").mkdir()
    references = {}
    for var in OUTPUTS.values():
        observed = var.name in checked and var.name != LEVEL
        sign, name = (-1, "nep") if var.name == "NEE" and observed else (1, var.cmip)
        if name is None:
            continue
        series = checked[var.name] if observed else rest[var.name]
        months = series.rename(month="time") if "month" in series.dims else series.resample(time="MS").mean()
        file = OUTPUT / "reference" / f"{name}.nc"
        (sign * months).rename(name).assign_attrs(units=var.units).to_netcdf(file, mode="w")
        references[name] = [str(file), "observed months" if observed else what]
    (OUTPUT / "references.json").write_text(json.dumps(references), encoding="utf-8")
    print(f"{len(files)} files of the model in {OUTPUT / 'model'}, {len(references)} references beside them")


def score() -> None:
    """Read both with ilamb3 and score them."""
    import pandas as pd
    import yaml
    from ilamb3 import __version__
    from ilamb3.run import run_study
    from loguru import logger

    logger.remove()  # its maps need coastlines from a network; what went wrong is in scored/*/*/*/post.log

    facets = ["variable_id", "table_id", "source_id", "experiment_id", "member_id", "grid_label"]
    files = sorted((OUTPUT / "model").glob("*.nc"))
    models = pd.DataFrame(
        [dict(zip(facets, file.stem.split("_"), strict=False)) | {"path": str(file)} for file in files]
    )
    references = json.loads((OUTPUT / "references.json").read_text(encoding="utf-8"))
    exported = [name for name in models["variable_id"] if name not in ("areacella", "sftlf")]
    study = {"land": {name: {"reference": {"sources": {name: references[name][0]}}} for name in exported}}
    (OUTPUT / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    shutil.rmtree(OUTPUT / "scored", ignore_errors=True)
    none = pd.DataFrame({"key": ["none"], "path": [""]})  # of ILAMB's own
    run_study(str(OUTPUT / "study.yaml"), models, ref_datasets=none, output_path=OUTPUT / "scored")

    rows = {}
    for name in exported:
        found = pd.concat(map(pd.read_csv, (OUTPUT / "scored" / "land" / name / "reference").glob("*.csv")))
        means = found[found["name"].str.startswith("Period Mean")].set_index("source")["value"]
        scores = found[found["type"] == "score"].set_index("name")["value"].rename(lambda text: text.split(" Score")[0])
        ours = means.drop("Reference").item()
        rows[name] = {"compared with": references[name][1], "mean": ours, "reference": means["Reference"], **scores}
    table = pd.DataFrame.from_dict(rows, orient="index")
    print(f"ilamb3 {__version__}, scores from 0 to 1 (best), means in the units of the reference")
    print(table.to_string(float_format="{:.3g}".format))
    if lost := [name for name in exported if table.loc[name].isna().any()]:
        raise SystemExit(f"not scored: {', '.join(lost)}")


if __name__ == "__main__":
    {"export": export, "score": score}[sys.argv[1]](*sys.argv[2:])
