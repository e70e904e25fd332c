"""Forcing that follows the model, and a model of water alone."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import ClassVar

import numpy as np
import pytest
import safetensors.torch
import torch
import xarray as xr

import xh2cm
from xh2cm.errors import FitError, InputError
from xh2cm.io.arrays import unpacked
from xh2cm.model import PUBLISHED_NETWORKS, WATER_NETWORKS, HybridModel, Net, Scaling
from xh2cm.physics import (
    BiogenicNEE,
    DegreeDaySnow,
    PowerGroundwater,
    PriestleyTaylorEvaporation,
    Processes,
    residuals,
    step,
)
from xh2cm.variables import FORCING, OUTPUTS, Forcing, Parameter, State

FIT = {"scheme": "cells", "width": 6, "epochs": 1, "progress": False}
FOUR = ("net_radiation", "precipitation", "air_temperature", "vpd")
CARBON = {"GPP", "Ra", "Rh", "TER", "NEP", "NEE", "NPP", "carbon_residual"}
CARBON_PARAMETERS = {"wue", "co2_sensitivity", "cue", "basal_respiration", "q10"}
ONE_LSTM = (
    PUBLISHED_NETWORKS[0],
    Net(
        "all",
        "lstm",
        ("net_radiation", "precipitation", "air_temperature", "swe", "relative_soil_moisture", "groundwater", "static"),
        ("*",),
    ),
)


@pytest.fixture(scope="module")
def short(twin):
    return twin.isel(time=slice(0, 90), month=slice(0, 3))


@pytest.fixture(scope="module")
def dry(short):
    """What a hydrologist has: no CO2, no carbon."""
    return short.drop_vars(["co2", "GPP", "NEE", "CUE"])


@pytest.fixture(scope="module")
def fit(dry):
    return dry.h2cm.fit(2, processes=Processes.water(), **FIT)


# -- forcing -----------------------------------------------------------------------------------------------------------


def test_the_forcing_a_model_needs_is_what_its_processes_and_networks_ask_for():
    assert HybridModel(3).forcing == tuple(FORCING)
    assert HybridModel(3, Processes.water()).forcing == FOUR
    assert HybridModel(3, Processes.water(), ONE_LSTM).forcing == FOUR[:3]
    assert HybridModel(3, networks=ONE_LSTM).forcing == (*FOUR[:3], "co2")  # GPP asks for it
    unused = Net("unused", "mlp", ("vpd",), ("wue",))
    assert HybridModel(3, Processes.water(), (*ONE_LSTM, unused)).forcing == FOUR[:3]

    @dataclasses.dataclass(frozen=True)
    class DrySnow(DegreeDaySnow):
        def __call__(self, swe, precipitation, temperature, vpd, snow_melt_rate, snowfall_correction):
            return super().__call__(swe, precipitation, temperature + 0 * vpd, snow_melt_rate, snowfall_correction)

    assert HybridModel(3, Processes.water(snow=DrySnow()), ONE_LSTM).forcing == FOUR


def test_only_the_forcing_asked_for_is_looked_at(dry):
    spoiled = dry.assign(vpd=(dry["vpd"] * 1e6).assign_attrs(units="furlong"))
    with pytest.raises(InputError) as refused:
        spoiled.h2cm.check()
    assert {f.variable for f in refused.value.findings} == {"co2", "vpd"}
    report = spoiled.h2cm.check(forcing=FOUR[:3])
    assert [n for n in FORCING if n in report.dataset] == list(FOUR[:3])
    assert {row.name for row in report.rows if row.role == "forcing"} == set(FOUR[:3])
    cells = spoiled.h2cm.to_tensors(forcing=FOUR[:3], device="cpu")
    assert cells.driving == FOUR[:3]
    assert cells.forcing.shape == (8, 90, 3)
    np.testing.assert_array_equal(cells.forcing[:, :, 2], dry["air_temperature"].stack(cell=("lat", "lon")).T)
    assert spoiled.h2cm.folds(2, forcing=FOUR[:3], scheme="cells").notnull().all()


def test_a_forcing_that_does_not_exist_is_named(dry):
    with pytest.raises(InputError, match=r"forcing: 'vpdd': is no forcing of the model\n.*did you mean 'vpd'"):
        dry.h2cm.check(forcing=["air_temperature", "vpdd"])


def test_forcing_that_is_not_needed_still_serves_to_derive_what_is(short):
    bare = short.drop_vars(["net_radiation", "co2"]).assign(
        tmin=(short["air_temperature"] - 4).assign_attrs(units="K"),
        tmax=(short["air_temperature"] + 4).assign_attrs(units="K"),
    )
    report = bare.h2cm.check(forcing=FOUR[:3])
    assert "vpd" in {row.name for row in report.rows if row.role == "source"}
    xr.testing.assert_equal(report.dataset["net_radiation"], bare.h2cm.check(forcing=FOUR).dataset["net_radiation"])


def test_cells_lose_nothing_by_gaps_in_forcing_that_is_not_needed(short):
    holed = short.assign(co2=short["co2"].expand_dims(lat=short["lat"], lon=short["lon"]).where(short["lon"] > 50))
    assert holed.h2cm.check().usable == 6
    assert holed.h2cm.check(forcing=FOUR).usable == 8


def test_one_lstm_without_vpd_trains_and_predicts(dry):
    bare = dry.drop_vars("vpd")
    fit = bare.h2cm.fit(2, processes=Processes.water(), networks=ONE_LSTM, **FIT)
    assert fit.scaling.forcing_mean.shape == (2, 3)
    for k, name in enumerate(FOUR[:3]):
        seen = dry[name].where(fit.labels != 0)
        assert float(fit.scaling.forcing_mean[0, k]) == pytest.approx(float(seen.mean()), rel=1e-5), name
    xr.testing.assert_identical(bare.h2cm.predict(fit), dry.h2cm.predict(fit))


def test_stored_statistics_are_those_of_the_forcing_needed(dry):
    said = {n: dry[n].assign_attrs(mean=float(dry[n].mean()), std=float(dry[n].std())) for n in (*FOUR[:3], "ET")}
    layers = xr.concat([dry["clay"], dry["sand"]], "feature").drop_attrs().assign_attrs(mean=[0.2, 0.4], std=[0.1, 0.2])
    ds = xr.Dataset({**said, "static": layers})
    fit = ds.h2cm.fit(2, processes=Processes.water(), networks=ONE_LSTM, normalise="stored", **FIT)
    assert fit.scaling.forcing_std[1].tolist() == pytest.approx([float(dry[n].std()) for n in FOUR[:3]])


def test_a_fit_of_the_first_format_loads(dry, tmp_path):
    """It kept the scaling of all five forcings, whatever its networks saw, and knew no pins."""
    processes = Processes.water()
    fit = dry.h2cm.fit(2, processes=processes, networks=ONE_LSTM, **FIT)
    folder = fit.save(tmp_path / "fit")
    tensors = safetensors.torch.load_file(folder / "weights.safetensors")
    five = {n: torch.cat([x, torch.full((2, 2), 7.0)], 1) if n.startswith("forcing") else x for n, x in tensors.items()}
    safetensors.torch.save_file(five, folder / "weights.safetensors")
    about = json.loads((folder / "fit.json").read_text()) | {"format": 1}
    del about["pins"]
    for name in ("losses", "folds"):
        unpacked((folder / f"{name}.safetensors").read_bytes()).to_netcdf(folder / f"{name}.nc")
    for name in ("fit.json", "SHA256SUMS", "losses.safetensors", "folds.safetensors"):
        (folder / name).unlink()
    about["sha256"] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    (folder / "fit.json").write_text(json.dumps(about))
    back = xh2cm.load_fit(folder)
    xr.testing.assert_identical(dry.h2cm.predict(back), dry.h2cm.predict(fit))


# -- water alone -------------------------------------------------------------------------------------------------------


def test_water_alone_needs_no_carbon_and_gives_none(dry, fit):
    assert {t["name"] for t in fit.provenance["targets"]} == {"TWS", "ET", "runoff", "SWE", "fAPAR"}
    assert "left out" not in fit.provenance
    out = dry.h2cm.predict(fit, variables="all")
    assert (
        set(out.data_vars)
        == {v.name for v in OUTPUTS.values()} - CARBON
        | {p.name for p in Processes().parameters if p.name != "fapar"} - CARBON_PARAMETERS
    )
    assert float(abs(out["water_residual"]).max()) < 1e-3
    change = out["TWS"].diff("time")
    budget = (out["precipitation_corrected"] - out["ET"] - out["runoff"]).isel(time=slice(1, None))
    np.testing.assert_allclose(budget, change, atol=2e-3)
    assert list(dry.h2cm.predict(fit)) == ["ET", "runoff", "TWS"]
    assert "carbon" not in dry.h2cm.predict(fit).attrs["title"]


def test_a_day_of_water_alone_books_no_carbon_and_the_water_of_every_other():
    cells = torch.full((1, 3), 1.0)
    state = State(swe=20 * cells, soil_moisture=60 * cells, groundwater=30 * cells, fapar=0.5 * cells, npp=1.5 * cells)
    forcing = Forcing(150 * cells, 8 * cells, 278 * cells, 5 * cells, 400 * cells)
    parameters = {p.name: cells * max(p.lower, 0.3) for p in Processes().parameters} | {"soil_capacity": 90 * cells}
    after, fluxes = step(Processes.water(), state, forcing._replace(co2=None, vpd=None), parameters)
    whole, all_fluxes = step(Processes(), state, forcing, parameters)
    assert after.npp is state.npp
    assert all(torch.equal(x, y) for x, y in zip(after[:4], whole[:4], strict=True))
    carbon = {"gpp", "ra", "rh", "ter", "nep", "nee"}
    assert {name for name, x in fluxes._asdict().items() if x is None} == carbon
    for name in set(fluxes._fields) - carbon:
        assert torch.equal(getattr(fluxes, name), getattr(all_fluxes, name)), name
    found = residuals(state, after, fluxes)
    assert found.carbon_residual is None
    assert found.water_residual.abs().max() < 1e-4


def test_training_water_alone_lowers_the_loss(dry):
    loss = dry.h2cm.fit(2, processes=Processes.water(), **{**FIT, "epochs": 4}).losses["loss"].sel(target="total")
    assert (loss.sel(split="training").isel(epoch=-1) < 0.98 * loss.sel(split="training").isel(epoch=0)).all()


def test_water_alone_walks_the_same_fast(dry, fit):
    plain, fast = (dry.h2cm.predict(fit, variables="all", loop=loop) for loop in ("plain", "fast"))
    for name in set(plain.data_vars) - {"water_residual"}:
        scale = float(abs(plain[name]).max())
        np.testing.assert_allclose(fast[name], plain[name], atol=1e-5 * scale, err_msg=str(name))


def test_water_alone_comes_back_from_disk(dry, fit, tmp_path):
    folder = fit.save(tmp_path / "fit")
    back = xh2cm.load_fit(folder)
    assert back.model == fit.model
    assert not back.model.processes.carbon
    xr.testing.assert_identical(dry.h2cm.predict(back), dry.h2cm.predict(fit))
    with pytest.raises(FitError, match=r"other processes: give .*Processes\(gpp = None, respiration = None"):
        xh2cm.load_fit(folder, processes=Processes())


def test_water_is_the_full_models_water_where_the_weights_agree():
    """The full model made blind to CO2 and NPP, with the same weights otherwise."""
    full, water = HybridModel(3, width=7), HybridModel(3, Processes.water(), width=7)
    weights = full.initial(torch.Generator().manual_seed(0)).unsqueeze(0)
    named, taken = full.unpack(weights), {}
    renamed = {"vegetation": "productivity", "bare_soil": "respiration"}
    for net in WATER_NETWORKS[1:]:
        theirs = next(n for n in PUBLISHED_NETWORKS if n.name == renamed.get(net.name, net.name))
        first = f"{theirs.name}.{'weight_ih' if net.kind == 'lstm' else 'hidden.weight'}"
        width = {name: 12 if name == "static" else 1 for name in theirs.inputs}
        seen = torch.cat([torch.full((width[n],), n in net.inputs) for n in theirs.inputs])
        named[first][..., ~seen] = 0.0
        rows = [full.gives[theirs.name].index(n) for n in water.gives[net.name]]
        for name, w in named.items():
            if name.startswith(f"{theirs.name}."):
                part = name.removeprefix(theirs.name)
                kept = w[..., seen] if name == first else w[:, rows] if part.startswith(".head") else w
                taken[net.name + part] = kept[0]
    taken |= {name: w[0] for name, w in named.items() if name.split(".")[0] in ("static", "global")}
    forcing = torch.rand(1, 4, 60, 5, generator=torch.Generator().manual_seed(1)) * torch.tensor([200.0, 9, 30, 20, 50])
    forcing += torch.tensor([0.0, 0, 265, 0, 350])
    static, scale = torch.randn(1, 4, 3), [torch.full((1, 5), 100.0), torch.full((1, 5), 60.0)]
    rest = [torch.zeros(1, 3), torch.ones(1, 3)]
    names = [n for n in water.outputs if n in full.outputs]
    whole = full.run(
        full.pack({n: w[0] for n, w in named.items()})[None], forcing, static, Scaling(*scale, *rest), names
    )
    four = Scaling(*(x[:, :4] for x in scale), *rest)
    alone = water.run(water.pack(taken)[None], forcing[..., :4], static, four, names)
    for name in names:
        torch.testing.assert_close(alone[1][name], whole[1][name], rtol=1e-4, atol=1e-4, msg=name)
    assert alone[1]["tws"].max() > 10


def test_what_is_read_from_a_prediction_needs_no_carbon_either(dry, fit):
    out = dry.h2cm.predict(fit, variables="all")
    found = out.h2cm.emergent(dry)
    assert set(found.data_vars) == {"evaporative_fraction", "runoff_ratio", "evaporation_ratio", "transpiration_share"}
    xr.testing.assert_allclose(found["runoff_ratio"], out["runoff"].sum("time") / dry["precipitation"].sum("time"))
    assert "ET" in str(out.h2cm.rain_pulses(dry.drop_vars("vpd"), flux="ET", rain=1.0).data_vars)
    assert list(dry.h2cm.response(fit, {"air_temperature": 1.0})) == ["ET", "runoff", "TWS"]
    assert list(dry.h2cm.sensitivity(fit, "ET")) == list(FOUR)
    with pytest.raises(InputError, match="variable GPP: is of carbon"):
        dry.h2cm.sensitivity(fit, "GPP")
    with pytest.raises(InputError, match="forcing co2: is not known"):
        dry.h2cm.response(fit, factor={"co2": 2.0})
    assert "q10" not in fit.constants()


def test_other_kinds_of_networks_and_processes_walk_water_alone_too(dry):
    gru = xh2cm.networks(WATER_NETWORKS, lstm={"kind": "gru"})
    processes = Processes.water(groundwater=PowerGroundwater(), evaporation=PriestleyTaylorEvaporation())
    fit = dry.h2cm.fit(2, processes=processes, networks=gru, **FIT)
    plain, fast = (dry.h2cm.predict(fit, loop=loop) for loop in ("plain", "fast"))
    xr.testing.assert_allclose(plain, fast, rtol=1e-4, atol=1e-4)


def test_targets_of_carbon_are_left_out_and_told(short):
    fit = short.h2cm.fit(2, processes=Processes.water(), **FIT)
    assert "GPP" not in fit.losses["target"]
    assert fit.provenance["left out"].startswith("GPP, NEE, CUE")
    assert "left out        GPP, NEE, CUE" in repr(fit)
    with pytest.raises(InputError) as refused:
        short.h2cm.fit(2, processes=Processes.water(), targets=["ET", "GPP", "CUE"], **FIT)
    assert {f.variable for f in refused.value.findings} == {"target GPP", "target CUE"}
    assert "the model does not compute 'gpp'\n    -> its processes have no carbon cycle" in str(refused.value)
    with pytest.raises(InputError, match="weight of NEE"):
        short.h2cm.fit(2, processes=Processes.water(), weights={"NEE": 2.0}, **FIT)
    with pytest.raises(InputError, match="targets: the dataset holds none"):
        short[[*FOUR, "GPP"]].h2cm.fit(2, processes=Processes.water(), **FIT)


def test_asking_for_carbon_says_why_there_is_none(dry, fit):
    with pytest.raises(InputError) as refused:
        dry.h2cm.predict(fit, variables=["GPP", "wue", "ET", "carbon_residual", "EET"])
    told = {f.variable: f.problem for f in refused.value.findings}
    assert set(told) == {"variable GPP", "variable wue", "variable carbon_residual", "variable EET"}
    assert all(("of carbon" in problem) == (name != "variable EET") for name, problem in told.items())


def test_networks_that_see_carbon_are_refused():
    with pytest.raises(InputError) as refused:
        HybridModel(3, Processes.water(), PUBLISHED_NETWORKS)
    assert [(f.variable, f.problem) for f in refused.value.findings] == [
        ("network productivity", "sees 'co2', and these processes walk no carbon"),
        ("network productivity", "sees 'npp', and these processes walk no carbon"),
        ("network respiration", "sees 'npp', and these processes walk no carbon"),
    ]


def test_a_slot_is_empty_only_where_that_makes_sense():
    with pytest.raises(InputError) as refused:
        Processes(gpp=None, respiration=None, snow=None)
    assert [f.variable for f in refused.value.findings] == ["snow", "gpp", "respiration"]
    with pytest.raises(InputError, match="snow: is None"):
        Processes.water(snow=None)
    with pytest.raises(InputError, match="gpp: is None"):
        Processes.water(nee=BiogenicNEE())


@dataclasses.dataclass(frozen=True)
class ThirstySnow:
    """A process that looks at carbon."""

    parameters: ClassVar[tuple[Parameter, ...]] = ()

    def __call__(self, swe, precipitation, npp):
        return 0 * precipitation, precipitation, swe * npp.clamp(0, 1)


def test_a_process_of_water_cannot_ask_for_carbon():
    assert Processes(snow=ThirstySnow()).carbon
    with pytest.raises(InputError, match=r"snow\(npp\): ThirstySnow asks for 'npp', which is not known then"):
        Processes.water(snow=ThirstySnow())


def test_a_process_of_ones_own_among_water():
    processes = Processes.water(snow=DegreeDaySnow())
    assert processes == Processes.water()
    assert xh2cm.Model(processes=processes).forcing == FOUR


def test_the_full_model_still_wants_co2(dry):
    with pytest.raises(InputError, match="co2: is not in the dataset"):
        dry.h2cm.fit(2, **FIT)
