"""Fits and runs that earlier versions have written are read, and gone on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import xh2cm

SAVED = Path(__file__).parents[1] / "data" / "saved"
EXPECTED = json.loads((SAVED / "expected.json").read_text())


@pytest.fixture(scope="module")
def ds():
    whole = xh2cm.tutorial.open_dataset("twin")
    return whole.isel(time=slice(0, 60), month=slice(0, 2), lat=slice(0, 2), lon=slice(0, 4)).drop_encoding()


def test_a_fit_of_format_3_predicts_what_it_did(ds, tmp_path) -> None:
    fit = xh2cm.load_fit(SAVED / "fit")
    assert json.loads((SAVED / "fit" / "fit.json").read_text())["format"] == 3
    assert (fit.folds, fit.model.maps, fit.labels.attrs["scheme"]) == ((0, 1), ("soil_capacity",), "cells")
    assert fit.losses["loss"].sizes["epoch"] == 2
    out = ds.h2cm.predict(fit, variables=["ET", "TWS"], loop="plain")
    for name, mean in EXPECTED["means"].items():
        assert float(out[name].mean()) == pytest.approx(mean, rel=1e-5)
    again = xh2cm.load_fit(fit.save(tmp_path / "fit"))
    assert again == fit
    assert json.loads((tmp_path / "fit" / "fit.json").read_text())["format"] == 4
    assert again.losses.identical(fit.losses)


@pytest.mark.parametrize(("name", "options"), [("run", {}), ("streamed", {"memory": "9 kB"})])
def test_a_run_of_format_3_goes_on(ds, tmp_path, name: str, options: dict[str, object]) -> None:
    run = tmp_path / name
    shutil.copytree(SAVED / name, run)
    pin = {"soil_capacity": 0 * ds["clay"].drop_attrs() + 90.0, "snow_melt_rate": 3.0}
    model = xh2cm.Model(processes=xh2cm.Processes.water(), width=2, pin=pin)
    training = xh2cm.Training(epochs=2, patience=None, batch_size=4, window=30)
    data = ds.chunk(lat=1, lon=1) if name == "streamed" else ds
    fit = data.h2cm.fit(
        2, scheme="cells", targets=["ET", "runoff"], only=[0], static=["clay"], run=run, loop="plain", progress=False,
        training=training, model=model, **options,
    )  # fmt: skip
    assert fit.losses.sizes["epoch"] == 2
    expected = EXPECTED["weights"]["streamed" if name == "streamed" else "whole"]
    np.testing.assert_allclose(fit.weights[0, :8], expected, rtol=1e-4, atol=1e-5)
    assert xh2cm.load_fit(run) == fit
