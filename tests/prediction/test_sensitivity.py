"""Response to changed forcing, and its derivative: what a prediction on changed data gives, and what must follow."""

from __future__ import annotations

import gc

import dask
import numpy as np
import pytest
import torch
import xarray as xr

import xh2cm
from xh2cm.data.units import conversion
from xh2cm.errors import FitError, InputError
from xh2cm.model import SpinUp
from xh2cm.physics.evaporation import LATENT_HEAT
from xh2cm.prediction.sensitivity import forcing_response, sensitivity
from xh2cm.settings import ResponseOptions, SensitivityOptions
from xh2cm.variables import FORCING, Var

extrapolates = pytest.mark.filterwarnings("ignore:the forcing is far outside:xh2cm.errors.H2CMWarning")

SOME = ["ET", "runoff", "TWS", "GPP"]


@pytest.fixture(scope="module")
def short(twin):
    """A spring."""
    return twin.isel(time=slice(60, 150), month=slice(2, 5))


@pytest.fixture(scope="module")
def fit(short):
    return short.h2cm.fit(2, scheme="cells", width=6, epochs=2, progress=False)


def never(*_, **__):
    raise AssertionError("something was computed")


# -- by another forcing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("member", ["mean", "all", "held-out", 1])
def test_the_response_is_what_predicting_on_changed_data_gives(short, fit, member):
    warm = short.copy()
    warm["air_temperature"] = (short["air_temperature"] + 1.5).assign_attrs(short["air_temperature"].attrs)
    warm["precipitation"] = (short["precipitation"] * 1.25).assign_attrs(short["precipitation"].attrs)
    names = [*SOME, "wue", "soil_capacity", "q10"]
    expected = warm.h2cm.predict(fit, variables=names, member=member) - short.h2cm.predict(
        fit, variables=names, member=member
    )
    found = short.h2cm.response(
        fit, {"air_temperature": 1.5}, factor={"precipitation": 1.25}, variables=names, member=member
    )
    xr.testing.assert_allclose(found, expected, atol=1e-5)
    assert found["TWS"].dims == short.h2cm.predict(fit, member=member)["TWS"].dims
    assert float(abs(found["soil_capacity"]).max()) == float(abs(found["q10"]).max()) == 0
    assert found.attrs["change"] == "air_temperature +1.5 K, precipitation times 1.25"
    assert found["GPP"].attrs["long_name"] == "change of gross primary production"
    assert found["GPP"].attrs["units"] == "g m-2 d-1"
    assert "standard_name" not in found["GPP"].attrs  # a change of GPP is no GPP


def test_relative_to_what_was_there(short, fit):
    found = short.h2cm.response(fit, factor={"precipitation": 1.1}, relative=True, variables=SOME)
    change = short.h2cm.response(fit, factor={"precipitation": 1.1}, variables=SOME)
    before = short.h2cm.predict(fit, variables=SOME)
    xr.testing.assert_allclose(found, change / abs(before.mean("time")))
    assert found["GPP"].attrs["units"] == "1"
    assert "NaN where" in found["GPP"].attrs["comment"]
    none = short.assign(net_radiation=short["net_radiation"] * 0 - 10)
    still = none.h2cm.response(fit, factor={"precipitation": 1.1}, relative=True, variables=["ET", "runoff"])
    assert still["ET"].isnull().all()  # nothing evaporates without energy
    assert still["runoff"].notnull().all()


@extrapolates
def test_relative_to_a_mean_below_zero(short, fit):
    """The hardly trained land loses carbon: a rise of NEP is a rise, relative to its absolute mean too."""
    arguments = {"factor": {"co2": 1.1}, "variables": ["NEP"]}
    before = short.h2cm.predict(fit, variables=["NEP"])["NEP"].mean("time")
    change, relative = (short.h2cm.response(fit, **arguments, relative=r)["NEP"] for r in (False, True))
    assert (before < -0.01).any()
    np.testing.assert_allclose(relative, change / abs(before), rtol=1e-4, atol=1e-6)
    assert (np.sign(relative) == np.sign(change)).all()


@extrapolates
def test_more_rain_runs_off_and_evaporation_stays_within_its_energy(twin, fit):
    wet = {"precipitation": 2.0}
    found = twin.h2cm.response(fit, factor=wet, variables=["ET", "runoff", "TWS", "precipitation_corrected"])
    assert (found["runoff"].mean("time") > 0).all()
    assert (found["TWS"].mean("time") > 0).all()
    limit = (0.0864 / LATENT_HEAT * twin["net_radiation"]).clip(min=0)
    after = twin.h2cm.predict(fit, variables=["ET"])["ET"] + found["ET"]
    assert (after <= limit + 1e-4).all()
    budget = (found["precipitation_corrected"] - found["ET"] - found["runoff"]).isel(time=slice(1, None))
    np.testing.assert_allclose(budget, found["TWS"].diff("time"), atol=5e-3)  # the change closes like what it is of


def test_no_change_no_response(short, fit):
    found = short.h2cm.response(fit, {"vpd": 0.0}, factor={"precipitation": 1})
    assert all((array == 0).all() for array in found.values())


@extrapolates
def test_a_change_that_begins_one_day_acts_from_then_on(short, fit):
    began = short["time"] >= short["time"][40]
    found = short.h2cm.response(
        fit, {"air_temperature": 3.0 * began}, factor={"co2": xr.where(began, 1.02, 1.0)}, variables=SOME, spinup=30
    )
    assert found.attrs["change"] == "air_temperature a field on time K, co2 times a field on time"
    assert all((array.isel(time=slice(0, 40)) == 0).all() for array in found.values())
    assert all((array.isel(time=slice(40, None)) != 0).any() for array in found.values())
    everywhere = short.h2cm.response(fit, {"air_temperature": 3.0 * began}, variables=SOME)
    assert (everywhere["TWS"].isel(time=0) != 0).any()  # the spin-up has walked through it


@extrapolates
def test_a_change_on_some_cells_acts_there(short, fit):
    north = xr.where(short["lat"] > 0, 5.0, 0.0)
    found = short.h2cm.response(fit, {"co2": north}, variables=["GPP"])
    assert (found["GPP"].isel(lat=1) == 0).all()
    assert (found["GPP"].isel(lat=0) != 0).any()


def test_dask_in_lazy_out_and_the_same_numbers(short, fit):
    lazy = short.chunk(lat=1, lon=2).h2cm.check(targets=[]).dataset
    arguments = {"change": {"net_radiation": 5.0}, "variables": ["ET", "GPP"]}
    reads = []

    def counted(graph, keys, **kwargs):
        reads.append(keys)
        return dask.get(graph, keys, **kwargs)

    with dask.config.set(scheduler=counted):
        out = forcing_response(lazy, ResponseOptions(fit, **arguments))
    assert len(reads) == 1  # to count what cannot be
    assert out["ET"].chunks is not None
    plain = short.h2cm.response(fit, **arguments)
    xr.testing.assert_allclose(out.compute(scheduler="synchronous"), plain, atol=1e-6)
    assert out["ET"].attrs == plain["ET"].attrs
    with dask.config.set(scheduler=never):
        slopes = sensitivity(lazy, SensitivityOptions(fit, "ET", spinup=SpinUp(30)))
    assert slopes["vpd"].chunks is not None
    xr.testing.assert_allclose(
        slopes.compute(scheduler="threads"), short.h2cm.sensitivity(fit, "ET", spinup=30), atol=1e-9
    )


def test_a_published_checkpoint_keeps_the_scaling_of_its_data(parity):
    ds = xh2cm.open_published(parity / "published/store.zarr.zip").isel(lat=slice(0, 4), time=slice(0, 60))
    fit = xh2cm.load_fit(parity / "published/model.ckpt")
    found = ds.h2cm.response(fit, {"co2": 10.0}, variables=["GPP"])
    rich = ds.assign(co2=(ds["co2"] + 10).assign_attrs(ds["co2"].attrs))
    expected = rich.h2cm.predict(fit, variables=["GPP"]) - ds.h2cm.predict(fit, variables=["GPP"])
    xr.testing.assert_allclose(found.compute(), expected.compute(), atol=1e-5)
    assert found["GPP"].notnull().any("time").sum() == ds["mask"].sum()


def test_values_that_cannot_be_are_counted(short, fit):
    dry = int((short["precipitation"] < 1).sum())
    holes = xr.ones_like(short["vpd"]).where(short["time"] != short["time"][3])
    with pytest.raises(InputError) as error:
        short.h2cm.response(
            fit, {"precipitation": -1.0, "air_temperature": 500.0, "net_radiation": -1e4}, factor={"vpd": holes}
        )
    text = str(error.value)
    assert "4 problems" in text
    assert f"precipitation: has {dry:,} values below 0 kg m-2 d-1 after the change" in text
    assert 'multiply it instead: factor={"precipitation": ...}' in text
    assert "air_temperature: has 720 values above 340 K after the change" in text
    assert "net_radiation: has 720 values below -300 W m-2" in text
    assert "vpd: has 8 values that are not finite" in text
    unused = short.copy()
    unused["vpd"] = short["vpd"].where(short["lat"] > 0)
    assert unused.h2cm.response(fit, factor={"vpd": 1.1})["ET"].isel(lat=1).isnull().all()
    for name, change in {"precipitation": -50.0, "air_temperature": 500.0}.items():  # what is not used may be anything
        there = xr.where(short["lat"] > 0, 0.0, change)
        assert unused.h2cm.response(fit, {name: there})["ET"].isel(lat=0).notnull().all()


def test_changes_that_make_no_sense_are_named_together(short, fit):
    with pytest.raises(InputError) as error:
        short.h2cm.response(
            fit,
            {"air_temprature": 1.0, "vpd": np.nan, "co2": 1.0, "net_radiation": short["vpd"].isel(time=slice(0, 9))},
            factor={"rain": 2.0, "co2": 2.0, "precipitation": xr.DataArray([1.0, 2.0], dims="scenario")},
        )
    text = str(error.value)
    assert "6 problems" in text
    assert "did you mean 'air_temperature'" in text
    assert "forcing rain" in text
    assert "co2: is both added to and multiplied" in text
    assert "change['vpd']: nan is not a finite number" in text
    assert "change['net_radiation']: lacks 81 of the 90 labels of the dataset along 'time'" in text
    assert "factor['precipitation']: has the dimension scenario" in text
    with pytest.raises(InputError, match="'hot' is not a finite number"):
        short.h2cm.response(fit, {"air_temperature": "hot"})
    with pytest.raises(InputError, match="names no forcing"):
        short.h2cm.response(fit)
    with pytest.raises(InputError, match="did you mean 'GPP'"):
        short.h2cm.response(fit, {"co2": 1.0}, variables=["GGP"])
    with pytest.raises(FitError, match="no fit yet"):
        short.copy().h2cm.response(change={"co2": 1.0})
    with pytest.raises(FitError, match="made for the static features"):
        short.drop_vars("clay").h2cm.response(fit, {"co2": 1.0})


# -- by gradients ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def warm(twin):
    """Two months of a cell without frost: no threshold is crossed by a small change."""
    return twin.isel(lat=[1], lon=[0], time=slice(0, 60), month=slice(0, 2))


@extrapolates
@pytest.mark.parametrize(("name", "spinup"), [("GPP", None), ("NEE", 30), ("runoff", None)])
def test_the_sum_of_the_derivative_is_the_response_to_a_small_change(warm, fit, name, spinup):
    assert (warm["air_temperature"] > 275).all()
    slopes = warm.h2cm.sensitivity(fit, name, spinup=spinup)

    def response(**how):
        return float(warm.h2cm.response(fit, **how, variables=[name], spinup=spinup)[name].mean())

    for forcing, step in {"net_radiation": 0.5, "air_temperature": 0.05, "co2": 0.1}.items():
        expected = (response(change={forcing: step}) - response(change={forcing: -step})) / 2
        assert float(slopes[forcing].sum()) * step == pytest.approx(expected, rel=0.02, abs=3e-7), forcing
    for forcing in ("precipitation", "vpd"):
        expected = (response(factor={forcing: 1.01}) - response(factor={forcing: 0.99})) / 2
        assert float((slopes[forcing] * warm[forcing]).sum()) * 0.01 == pytest.approx(expected, rel=0.02, abs=3e-7)


@extrapolates
def test_each_day_has_its_own_derivative(warm, fit):
    """That of one day is the response to a change of that day alone."""
    slopes = warm.h2cm.sensitivity(fit, "TWS", spinup=40)["precipitation"].squeeze()
    day = int(warm["precipitation"].isel(time=slice(20, 40)).argmax("time").squeeze()) + 20
    there = xr.where(warm["time"] == warm["time"][day], 0.2, 0.0)
    up, down = (
        warm.h2cm.response(fit, {"precipitation": sign * there}, variables=["TWS"], spinup=40)["TWS"].mean()
        for sign in (1, -1)
    )
    assert float(slopes[day]) * 0.2 == pytest.approx(float(up - down) / 2, rel=0.02)
    assert float(slopes[day]) > 0.1  # most of the rain is still there on the days that follow


def test_a_period_depends_on_the_past_and_not_on_the_future(short, fit):
    days = short["time"].isel(time=slice(50, 60))
    slopes = short.h2cm.sensitivity(fit, "ET", period=slice(days[0].values, days[-1].values), spinup=30)
    assert slopes.attrs["mean_over"] == f"{days.values[0]!s:.10} to {days.values[-1]!s:.10}"
    for array in slopes.values():
        assert (array.isel(time=slice(60, None)) == 0).all()
        assert (array.isel(time=slice(40, 60)) != 0).any()
    parts = [slice(0, 40), slice(40, 90)]
    told = [short["time"].isel(time=part).values for part in parts]
    of_parts = [short.h2cm.sensitivity(fit, "ET", period=slice(t[0], t[-1]))["vpd"] * len(t) / 90 for t in told]
    whole = short.h2cm.sensitivity(fit, "ET")["vpd"]
    np.testing.assert_allclose(sum(of_parts), whole, atol=1e-4 * float(abs(whole).max()))


def test_folds_batches_cells_and_attributes(short, fit):
    short = short.isel(time=slice(0, 30), month=slice(0, 1))
    every = short.h2cm.sensitivity(fit, "GPP", member="all", spinup=10)
    assert set(every.data_vars) == set(FORCING)
    assert every["co2"].dims == ("fold", "time", "lat", "lon")
    assert every["vpd"].attrs["units"] == "(g m-2 d-1)/(hPa)"
    assert (
        "derivative of the mean of gross primary production by vapour pressure deficit"
        in every["vpd"].attrs["long_name"]
    )
    small = short.h2cm.sensitivity(fit, "GPP", member="all", spinup=10, batch=3)
    for name, array in every.items():
        np.testing.assert_allclose(small[name], array, atol=1e-5 * float(abs(array).max()))
    mean = short.h2cm.sensitivity(fit, "GPP", spinup=10)
    xr.testing.assert_allclose(mean, every.mean("fold"), atol=1e-9)
    held = short.h2cm.sensitivity(fit, "GPP", member="held-out", spinup=10)
    xr.testing.assert_allclose(held, every.where(fit.labels == every["fold"]).sum("fold"), atol=1e-9)
    holed = short.copy()
    holed["vpd"] = short["vpd"].where((short["lat"] != short["lat"][0]) | (short["lon"] != short["lon"][1]))
    gone = holed.h2cm.sensitivity(fit, "GPP", spinup=10)
    assert int(gone["co2"].isnull().any("time").sum()) == 1
    xr.testing.assert_allclose(gone, mean.where(gone.notnull()), atol=1e-9)


@pytest.mark.parametrize("name", ["GPP", "TWS", "fAPAR"])
def test_units_can_be_read(short, fit, name):
    for forcing, array in short.h2cm.sensitivity(fit, name, spinup=SpinUp(passes=0)).items():
        var = Var(name, "", array.attrs["units"], "fraction")
        assert conversion(name, array.attrs["units"], var) == (1.0, 0.0), forcing


def test_no_graph_is_left(warm, fit):
    def tensors():
        gc.collect()
        return sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())

    warm.h2cm.sensitivity(fit, "ET", spinup=5)
    before = tensors()
    for _ in range(2):
        warm.h2cm.sensitivity(fit, "ET", spinup=5)
    assert tensors() <= before


def test_what_has_no_derivative_is_said(short, fit, twin):
    for name, says in {
        "GGP": "did you mean 'GPP'",
        "q10": "does not change",
        "soil_capacity": "does not change",
    }.items():
        with pytest.raises(InputError, match=says):
            short.h2cm.sensitivity(fit, name)
    with pytest.raises(InputError, match=r"holds no day of the record\n.*give days of 2001-03-02 to 2001-05-30"):
        short.h2cm.sensitivity(fit, "ET", period=slice("1990", "1991"))
    with pytest.raises(InputError, match="has no fold 5"):
        short.h2cm.sensitivity(fit, "ET", member=5)
    with pytest.raises(FitError, match="made for the static features"):
        short.drop_vars("clay").h2cm.sensitivity(fit, "ET")
    years = twin.h2cm.fit(2, scheme="years", width=6, epochs=1, progress=False)
    with pytest.raises(InputError, match="no fold has held its days out"):
        twin.h2cm.sensitivity(years, "ET", member="held-out")
