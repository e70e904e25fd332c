"""A process of one's own through the public functions: from the check to a restart."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from canopy_store import CanopyStore
from litter import Litter

import xh2cm
from xh2cm.physics import Processes

HOW = {"folds": 2, "scheme": "cells", "epochs": 1, "progress": False}

MODELS = {
    "water": xh2cm.Model(
        processes=Processes.water(more=(CanopyStore(),)),
        networks=xh2cm.networks(xh2cm.model.WATER_NETWORKS, partition={"inputs": (..., "wind_speed", "canopy_water")}),
        width=6,
    ),
    "carbon": xh2cm.Model(processes=Processes(more=(Litter(),)), width=6),
}

NEEDS = {"water": "wind_speed", "carbon": "soil_temperature"}


@pytest.fixture(scope="module")
def driven(twin):
    """Three months of the twin with wind and soil temperature, in units and names of their own."""
    short = twin.isel(time=slice(0, 90), month=slice(0, 3)).copy()
    wind = (3.0 + 2.0 * np.sin(short["vpd"])).assign_attrs(units="km h-1")
    soil = (short["air_temperature"] - 273.15 + 1.0).assign_attrs(units="degC", standard_name="soil_temperature")
    return short.assign(Wind=wind * 3.6, ground=soil).assign(Wind=(wind * 3.6).assign_attrs(units="km h-1"))


@pytest.fixture(scope="module", params=MODELS)
def trained(request, driven):
    """The name of a model, the data and a fit."""
    return request.param, driven, driven.h2cm.fit(model=MODELS[request.param], **HOW)


def test_forcing_is_found_converted_and_checked_as_the_five_are(driven):
    report = driven.h2cm.check(forcing=[*MODELS["carbon"].needs, CanopyStore.forcing[0]])
    checked = report.dataset
    assert checked["wind_speed"].attrs["units"] == "m s-1"
    assert float(checked["wind_speed"].max()) < 5.1
    assert checked["soil_temperature"].attrs["units"] == "K"
    assert float(checked["soil_temperature"].min()) > 200
    assert {"wind_speed", "soil_temperature"} <= {row.name for row in report.rows}
    assert "Wind" in str(report)


def test_forcing_that_is_absent_strange_or_impossible_is_an_error(driven):
    needs = MODELS["water"].needs
    with pytest.raises(xh2cm.InputError, match=r'(?s)wind_speed: is not in the dataset.*names=\{"wind_speed": ...\}'):
        driven.drop_vars("Wind").h2cm.check(forcing=needs)
    with pytest.raises(xh2cm.InputError, match="wind_speed: is mapped to 'wnd'"):
        driven.h2cm.check(forcing=needs, names={"wind_speed": "wnd"})
    with pytest.raises(xh2cm.InputError, match=r"(?s)Wind.*60"):
        driven.assign(Wind=driven["Wind"] * 100).h2cm.check(forcing=needs)
    renamed = driven.rename(Wind="w")
    mapped = renamed.h2cm.check(forcing=needs, names={"wind_speed": "w"}).dataset
    assert float(abs(mapped["wind_speed"] - driven.h2cm.check(forcing=needs).dataset["wind_speed"]).max()) == 0.0


def test_a_day_without_it_is_not_used(driven):
    holed = driven.copy()
    holed["Wind"] = holed["Wind"].where((holed["lat"] != holed["lat"][0]) | (holed["time"] != holed["time"][3]))
    days = holed.h2cm.check(forcing=MODELS["water"].needs).dataset["forcing_days"]
    assert (days.isel(lat=0) == holed.sizes["time"] - 1).all()
    assert (days.isel(lat=slice(1, None)) == holed.sizes["time"]).all()
    report = holed.h2cm.check(forcing=MODELS["water"].needs, missing="drop")
    assert int(report.dataset["mask"].sum()) < report.dataset["mask"].size


def test_it_is_trained_and_in_the_outputs_with_attributes(trained):
    name, ds, fit = trained
    assert fit.model.forcing[-1] == NEEDS[name]
    out = ds.h2cm.predict(fit, variables="all")
    for storage in fit.model.processes.storages:
        assert out[storage.name].attrs["units"] == storage.units
        assert out[storage.name].attrs["cell_methods"].endswith("(at the end of the day)")
        assert float(out[storage.name].max()) > 0
    for flux, var in fit.model.processes.brought_fluxes.items():
        assert out[flux].attrs["long_name"] == var.long_name
        assert out[flux].attrs["units"] == var.units
    assert float(abs(out["water_residual"]).max()) < 1e-3  # float32


def test_it_is_saved_loaded_and_needs_its_process(trained, tmp_path):
    name, ds, fit = trained
    path = fit.save(tmp_path / "fit")
    again = xh2cm.load_fit(path, processes=MODELS[name].processes)
    xr.testing.assert_identical(ds.h2cm.predict(again), ds.h2cm.predict(fit))
    kind = type(MODELS[name].processes.more[0]).__name__
    with pytest.raises(xh2cm.FitError, match=rf"more = \({kind}\(\.\.\.\),\)"):
        xh2cm.load_fit(path)
    with pytest.raises(xh2cm.FitError, match=kind):
        xh2cm.load_fit(path, processes=Processes.water() if name == "water" else Processes())
    assert "more" in json.loads((path / "fit.json").read_text())


def test_it_goes_on_from_a_state(trained):
    _, ds, fit = trained
    brought = list(fit.model.processes.outputs)
    how = {"loop": "plain", "variables": brought}
    first = ds.isel(time=slice(0, 40)).h2cm.predict(fit, keep_state=True, **how)
    second = ds.isel(time=slice(40, 90)).h2cm.predict(fit, state=first, **how)
    for storage in fit.model.processes.storages:
        booked = sum(
            (1 if fit.model.processes.flows[n][1] == storage.name else -1) * second[n].isel(time=0, drop=True)
            for n in fit.model.processes.brought_fluxes
            if storage.name in fit.model.processes.flows[n]
        )
        moved = second[storage.name].isel(time=0, drop=True) - first[storage.name].isel(time=-1, drop=True)
        assert float(abs(moved - booked).max()) < 1e-4


def test_a_response_to_it_and_a_sensitivity(trained):
    name, ds, fit = trained
    output = {"water": "canopy_drying", "carbon": "litter_respiration"}[name]
    change = ds.h2cm.response(fit, {NEEDS[name]: 0.1}, variables=[output])
    assert float(abs(change[output]).max()) > 0
    assert fit.model.driving[NEEDS[name]].units in change.attrs["change"]
    assert NEEDS[name] in ds.isel(lat=[0], lon=[0]).h2cm.sensitivity(fit, output)


@pytest.mark.usefixtures("compiler")
def test_it_is_compiled(trained):
    _, ds, fit = trained
    brought = list(fit.model.processes.outputs)
    plain, fast = (ds.h2cm.predict(fit, variables=brought, loop=loop) for loop in ("plain", "fast"))
    xr.testing.assert_allclose(plain, fast, rtol=1e-4, atol=1e-4)


def test_the_published_model_reads_nothing_of_it(driven):
    bare = driven.h2cm.check()
    assert "wind_speed" not in bare.dataset
    fit = bare.fit(model=xh2cm.Model(width=4), **HOW)
    assert list(fit.model.forcing) == list(xh2cm.variables.FORCING)
