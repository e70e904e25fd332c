"""Parameters pinned to a number, a map or one learned constant."""

from __future__ import annotations

import dataclasses
import json

import dask
import numpy as np
import pytest
import torch
import xarray as xr
from loops import PINNED, given_maps

import xh2cm
from xh2cm.data.pins import read_pins
from xh2cm.errors import FitError, InputError
from xh2cm.model import HybridModel
from xh2cm.physics import Processes
from xh2cm.prediction.predict import maps_for, predict_dataset
from xh2cm.settings import PredictOptions

FIT = {"scheme": "cells", "width": 6, "epochs": 1, "progress": False}
ALL = [p.name for p in Processes().parameters]
LAND = ("lat", "lon")


@pytest.fixture(scope="module")
def short(twin):
    """Three months, and a map that is a variable of the dataset."""
    ds = twin.isel(time=slice(0, 90), month=slice(0, 3))
    return ds.assign(awc=(80 + 500 * ds["clay"]).assign_attrs(units="mm", long_name="available water"))


@pytest.fixture(scope="module")
def fit(short):
    """Pins of every kind, on parameters of every kind."""
    pin = {
        "q10": 1.25,
        "snow_melt_rate": 3.5,
        "interception_capacity": 1,
        "soil_capacity": short["awc"],
        "transpiration_fraction": short["sand"],
        "wue": "global",
        "baseflow_coefficient": "global",
    }
    return short.h2cm.fit(2, pin=pin, **FIT)


def pinned_to(to, *names):
    return tuple((name, to) for name in names)


# -- what a pin does ---------------------------------------------------------------------------------------------------


def test_what_is_pinned_is_what_is_predicted_everywhere(short, fit):
    out = short.h2cm.predict(fit, variables="all")
    for name, number in {"q10": 1.25, "snow_melt_rate": 3.5, "interception_capacity": 1.0}.items():
        assert out[name].dims == ()
        assert float(out[name]) == number
        assert out[name].attrs["comment"] == f"pinned: {number}"
    for name, source in {"soil_capacity": "awc", "transpiration_fraction": "sand"}.items():
        np.testing.assert_array_equal(out[name], short[source].astype("float32"))
        assert out[name].attrs["comment"] == "pinned: a map"
    assert out["wue"].dims == ()
    assert out["wue"].attrs["comment"] == "pinned: one learned constant"
    assert "comment" not in out["baseflow_coefficient"].attrs  # a constant anyway
    assert "cell_methods" not in out["snow_melt_rate"].attrs  # it is no mean of days
    assert all(out[name].attrs["units"] for name in ALL if name != "fapar")
    assert out["soil_capacity"].attrs["units"] == "kg m-2"
    np.testing.assert_allclose(  # and it is what was computed with
        out["snow_melt"].isel(time=slice(1, None)),
        np.minimum(
            out["SWE"].shift(time=1), 3.5 * (short["air_temperature"] - 273.15).clip(0).transpose("time", *LAND)
        ).isel(time=slice(1, None)),
        atol=1e-3,
    )
    assert float((out["SM"] / short["awc"]).max()) <= 1.0
    assert float(abs(out["water_residual"]).max()) < 1e-3
    assert float(abs(out["carbon_residual"]).max()) < 1e-3


def test_members_of_what_is_pinned(short, fit):
    names = ["q10", "soil_capacity", "wue"]
    every = short.h2cm.predict(fit, variables=names, member="all")
    assert every["q10"].values.tolist() == [1.25, 1.25]
    assert every["wue"].dims == ("fold",)
    assert every["soil_capacity"].dims == ("fold", *LAND)
    for member in (1, "held-out", "mean"):
        one = short.h2cm.predict(fit, variables=names, member=member)
        np.testing.assert_array_equal(one["soil_capacity"], every["soil_capacity"].sel(fold=1))
        assert float(one["q10"]) == 1.25


def test_pinned_fapar_is_the_state_it_is(short):
    fit = short.h2cm.fit(2, pin={"fapar": 0.25}, **FIT)
    plain, fast = (short.h2cm.predict(fit, variables=["fAPAR", "GPP"], loop=loop) for loop in ("plain", "fast"))
    assert plain["fAPAR"].dims == ("time", *LAND)
    assert (plain["fAPAR"] == 0.25).all()
    assert (fast["fAPAR"] == 0.25).all()
    np.testing.assert_allclose(fast["GPP"], plain["GPP"], atol=1e-5)


def test_a_pin_may_lie_on_a_bound(short):
    out = short.h2cm.predict(
        short.h2cm.fit(2, pin={"snowfall_correction": 1.0, "q10": 1}, **FIT), variables=["precipitation_corrected"]
    )
    np.testing.assert_allclose(out["precipitation_corrected"], short["precipitation"], rtol=1e-6)


def test_nothing_learned_gives_what_is_pinned_and_the_rest_still_learns():
    model = HybridModel(3, width=5, pins=(("q10", 1.5), ("soil_capacity", "map"), ("wue", "global"), ("cue", 0.5)))
    assert "global.q10" not in model.layout
    assert model.layout["static.head.weight"].shape[0] == 1  # interception_capacity
    assert model.gives["water_use"] == ("transpiration_fraction",)
    assert model.gives["productivity"] == ("fapar",)
    weights, forcing, static, scaling = given_maps(model)
    static[..., -1] = 100 * static[..., -1] + 50
    weights.requires_grad_()
    for loop in ("plain", "fast"):
        _, out = model.run(weights, forcing, static, scaling, ["gpp", "nee", "tws", "soil_capacity"], None, loop)
        torch.testing.assert_close(out["soil_capacity"], static[..., -1])
        (gradient,) = torch.autograd.grad(sum(out[n].square().mean() for n in ("gpp", "nee", "tws")), weights)
        for name, by in model.unpack(gradient).items():
            assert by.isfinite().all(), name
            assert by.abs().max() > 0, name


def test_nets_that_give_nothing_have_no_weights_and_see_nothing():
    daily = [n for n, p in HybridModel(3).parameters.items() if p.varies == "daily"]
    model = HybridModel(3, pins=pinned_to("global", *daily))
    assert {name.split(".")[0] for name in model.layout} == {"global", "static"}
    assert model.forcing == ("net_radiation", "precipitation", "air_temperature", "co2")  # VPD was for networks alone
    still = HybridModel(3, pins=pinned_to("global", "soil_capacity", "interception_capacity"))
    assert still.layout["static.head.weight"].shape[0] == 0
    assert still.layout["static.embedding.weight"].shape == (12, 150)  # daily nets see what it makes of the features
    alone = HybridModel(3, pins=pinned_to("global", *ALL))
    assert alone.size == len(ALL)
    assert alone.daily == ()
    assert alone.static is None


@pytest.mark.parametrize("pins", PINNED)
def test_both_loops_agree_on_pinned_models(pins):
    model = HybridModel(3, width=5, pins=pins)
    weights, *rest = given_maps(model)
    rest[1][..., 3:] = 60 + 90 * rest[1][..., 3:]
    found = {}
    for loop in ("plain", "fast"):
        w = weights.clone().requires_grad_()
        _, out = model.run(w, *rest, list(model.outputs), loop=loop)
        found[loop] = out, torch.autograd.grad(sum(x.square().mean() for x in out.values()), w)[0]
    for name, expected in found["plain"][0].items():
        scale = expected.abs().max() if not name.endswith("residual") else 100.0
        assert (found["fast"][0][name] - expected).abs().max() <= 1e-5 * scale, name
    for name, expected in model.unpack(found["plain"][1]).items():
        assert (model.unpack(found["fast"][1])[name] - expected).abs().max() <= 1e-3 * expected.abs().max(), name


def test_a_constant_begins_where_the_parameter_does_and_moves_by_shares_of_it():
    model = HybridModel(3, pins=pinned_to("global", *ALL))
    named = model.unpack(model.initial(torch.Generator()).unsqueeze(0))
    untouched = HybridModel(3).layout
    assert float(model.bounded("soil_capacity", named["global.soil_capacity"])) == pytest.approx(101.0)
    assert float(model.bounded("soil_capacity", torch.tensor(1.5))) == pytest.approx(151.0)
    assert float(model.bounded("cue", named["global.cue"])) == 0.5
    assert float(named["global.q10"]) == untouched["global.q10"].start  # declared so: as published
    assert model.bounded("q10", torch.tensor(0.0)) == 5.5


# -- training ----------------------------------------------------------------------------------------------------------


def test_a_pinned_number_stays_and_the_others_move(short):
    one, many = (short.h2cm.fit(2, pin={"q10": 2.5}, **{**FIT, "epochs": n, "patience": None}) for n in (1, 4))
    for fit in (one, many):
        assert float(short.h2cm.predict(fit, variables=["q10"])["q10"]) == 2.5
        assert "q10" not in fit.losses["target"]  # and nothing is presumed of it beforehand
        assert "co2_sensitivity" in fit.losses["target"]
    for name, before in one.model.unpack(one.weights).items():
        assert not torch.equal(before, many.model.unpack(many.weights)[name]), name


@pytest.mark.usefixtures("compiler")
def test_all_parameters_as_constants_are_a_process_model_that_can_be_calibrated(twin):
    settings = {**FIT, "patience": None, "batch_size": 3, "learning_rate": 0.1, "loop": "fast"}
    fit = twin.h2cm.fit(2, pin="global", **{**settings, "epochs": 15})
    assert fit.weights.shape == (2, len(ALL))
    loss = fit.losses["loss"].sel(target="total")
    for split in ("training", "validation"):  # the first epoch is as good as untrained
        assert (loss.sel(split=split).isel(epoch=-1) < 0.8 * loss.sel(split=split).isel(epoch=0)).all(), split
    out = twin.h2cm.predict(fit, variables="all", loop="fast")
    assert float(abs(out["water_residual"]).max()) < 1e-3
    assert float(abs(out["carbon_residual"]).max()) < 1e-3
    assert all(out[name].dims == () for name in ALL if name != "fapar")
    assert abs(float(out["soil_capacity"]) - 101) > 5


def test_the_rest_as_constants_around_a_map_and_a_number(short):
    fit = short.h2cm.fit(2, pin={"*": "global", "soil_capacity": "awc", "q10": 1.5}, **FIT)
    assert set(fit.model.learned) == {*ALL} - {"soil_capacity", "q10"}
    assert fit.model.maps == ("soil_capacity",)
    assert "12 parameters" not in repr(fit)
    assert "pinned          soil_capacity = map, q10 = 1.5, 10 parameters learned as one constant each" in repr(fit)


def test_water_alone_with_pins(short):
    ds = short.drop_vars("co2")
    fit = ds.h2cm.fit(2, processes=Processes.water(), pin="global", **FIT)
    assert fit.model.forcing == ("net_radiation", "precipitation", "air_temperature")
    xr.testing.assert_identical(ds.drop_vars("vpd").h2cm.predict(fit), ds.h2cm.predict(fit))


def test_a_map_is_seen_by_no_network_and_scaled_by_none(short):
    fit = short.h2cm.fit(2, pin={"soil_capacity": 7 * short["awc"]}, **FIT)
    assert fit.scaling.static_mean.shape == (2, 6)
    assert fit.model.features == 6
    bare = short.h2cm.fit(2, **FIT)
    torch.testing.assert_close(fit.scaling.static_std, bare.scaling.static_std)


def test_a_variable_that_is_pinned_is_no_static_feature_unless_named_so(short):
    features = ("elevation", "slope", "sand", "clay", "tree_cover")
    for value in ("awc", short["awc"]):
        fit = short.h2cm.fit(2, pin={"soil_capacity": value}, **FIT)
        assert fit.features == features
        xr.testing.assert_equal(
            short.h2cm.predict(fit, variables=["soil_capacity"])["soil_capacity"],
            short["awc"].astype("float32").rename("soil_capacity"),
        )
    both = short.h2cm.fit(2, pin={"soil_capacity": "awc"}, static=["clay", "awc"], **FIT)
    assert both.features == ("clay", "awc")


def test_a_map_comes_in_the_units_it_says(short):
    inches = (short["awc"] / 25.4).assign_attrs(units="inch")
    fit = short.h2cm.fit(2, pin={"soil_capacity": inches, "cue": (100 * short["sand"]).assign_attrs(units="%")}, **FIT)
    out = short.h2cm.predict(fit, variables=["soil_capacity", "cue"])
    np.testing.assert_allclose(out["soil_capacity"], short["awc"], rtol=1e-6)
    np.testing.assert_allclose(out["cue"], short["sand"], rtol=1e-6)
    bare = short.h2cm.fit(2, pin={"soil_capacity": inches.drop_attrs() * 25.4}, **FIT)
    np.testing.assert_allclose(bare.maps["soil_capacity"], short["awc"], rtol=1e-6)


# -- maps on other land ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "select",
    [
        {"lon": [3, 1]},
        {"lat": slice(1, None), "lon": slice(2)},
        {"lat": [1, 0], "lon": [2, 3, 0, 1]},
        {"lat": 1},
        {"lat": 0, "lon": 2},
    ],
    ids=str,
)
def test_on_part_of_the_land_and_in_another_order_each_cell_has_its_own(short, fit, select):
    part, names = short.isel(select), ["soil_capacity", "transpiration_fraction", "TWS", "ET"]
    found, whole = part.h2cm.predict(fit, variables=names), short.h2cm.predict(fit, variables=names).isel(select)
    np.testing.assert_array_equal(found["soil_capacity"], part["awc"].astype("float32"))
    for name in names:
        np.testing.assert_allclose(found[name], whole[name], rtol=1e-4, atol=1e-4)


def test_a_map_in_another_order_than_the_land_is_laid_by_its_coordinates(short):
    turned = short["awc"].isel(lat=[1, 0], lon=[3, 0, 2, 1]).transpose("lon", "lat")
    found = short.h2cm.predict(short.h2cm.fit(2, pin={"soil_capacity": turned}, **FIT), variables=["soil_capacity"])
    np.testing.assert_array_equal(found["soil_capacity"], short["awc"].astype("float32"))


@pytest.mark.parametrize("levels", [True, False])
def test_sites_of_a_grid_have_their_cells_values(short, fit, levels):
    sites = short.stack(site=LAND).isel(site=[6, 3]).transpose("time", ...)
    sites = sites if levels else sites.reset_index("site")
    out = sites.h2cm.predict(fit, variables=["soil_capacity"])["soil_capacity"]
    np.testing.assert_array_equal(out, sites["awc"].astype("float32"))


def test_land_without_coordinates_is_laid_by_position(short, fit):
    bare = short.drop_vars(["lat", "lon"])
    np.testing.assert_array_equal(bare.h2cm.predict(fit, variables=["soil_capacity"])["soil_capacity"], short["awc"])


def test_other_maps_for_other_land(short, fit):
    far = short.assign_coords(lat=[10.0, 20.0])
    with pytest.raises(InputError) as refused:
        far.h2cm.predict(fit)
    assert [f.variable for f in refused.value.findings] == ["pin soil_capacity", "pin transpiration_fraction"]
    assert "lacks 2 of the 2 labels of the land along 'lat', the first 10" in str(refused.value)
    with pytest.raises(InputError, match="pin transpiration_fraction"):
        far.h2cm.predict(fit, pin={"soil_capacity": "awc"})
    names = ["soil_capacity", "transpiration_fraction"]
    out = far.h2cm.predict(fit, variables=names, pin={"soil_capacity": "awc", "transpiration_fraction": 0.5})
    np.testing.assert_array_equal(out["soil_capacity"], short["awc"].astype("float32"))
    assert out["transpiration_fraction"].dims == LAND
    assert (out["transpiration_fraction"] == 0.5).all()


@pytest.mark.parametrize(
    ("pin", "says"),
    [
        ({"q10": 2.0}, "pin q10: is no parameter that can be pinned here"),
        ({"soil_capacity": "global"}, "pin soil_capacity: is 'global', and the fit has pinned it to a map"),
        ({"soil_capacity": 0.5}, "0.5 is not at least 1 kg m-2"),
        ({"soil_capacity": "awcc"}, "did you mean 'awc'"),
        ("global", "the fit has pinned it to a map"),
    ],
)
def test_wrong_maps_for_a_prediction_are_named(short, fit, pin, says):
    with pytest.raises(InputError, match=says):
        short.h2cm.predict(fit, pin=pin)


def test_maps_are_laid_lazily_on_chunks(short, fit):
    def never(*_, **__):
        raise AssertionError("something was computed")

    checked = short.chunk(lat=1, lon=2).h2cm.check(targets=[], static=fit.features).dataset
    maps = maps_for(fit, {}, checked, checked["mask"])
    names = ["ET", "soil_capacity", "q10", "TWS"]
    with dask.config.set(scheduler=never):
        out = predict_dataset(checked, PredictOptions(fit, variables=names), maps=maps)
    assert out["ET"].chunks is not None
    xr.testing.assert_allclose(out.compute(), short.h2cm.predict(fit, variables=names), rtol=1e-4, atol=1e-4)


def test_cells_out_of_use_have_no_value(short, fit):
    holed = short.assign(vpd=short["vpd"].where((short["lat"] > 0) | (short["lon"] > 50)))
    out = holed.h2cm.predict(fit, variables=["soil_capacity"])["soil_capacity"]
    assert out.isnull().sum() == 1
    assert out.isel(lat=1, lon=0).isnull()


# -- saving and loading ------------------------------------------------------------------------------------------------


def test_pins_come_back_from_disk(short, fit, tmp_path):
    folder = fit.save(tmp_path / "fit")
    assert {"maps.safetensors"} <= {file.name for file in folder.iterdir()}
    assert dict(json.loads((folder / "fit.json").read_text())["pins"])["q10"] == 1.25
    back = xh2cm.load_fit(folder)
    assert back.model == fit.model
    xr.testing.assert_identical(back.maps, fit.maps)
    assert repr(back) == repr(fit)
    part = short.isel(lon=[2, 0])
    xr.testing.assert_identical(part.h2cm.predict(back, variables="all"), part.h2cm.predict(fit, variables="all"))
    (folder / "maps.safetensors").write_bytes((folder / "maps.safetensors").read_bytes()[:-1] + b"x")
    with pytest.raises(FitError, match=r"maps.safetensors is not what was written"):
        xh2cm.load_fit(folder)
    (folder / "maps.safetensors").unlink()
    with pytest.raises(FitError, match=r"maps.safetensors"):
        xh2cm.load_fit(folder)


def test_without_maps_none_are_written(short, tmp_path):
    fit = short.h2cm.fit(2, pin={"q10": 1.5, "cue": "global"}, **FIT)
    folder = fit.save(tmp_path / "fit")
    assert not (folder / "maps.safetensors").exists()
    assert xh2cm.load_fit(folder).model == fit.model


# -- what is refused ---------------------------------------------------------------------------------------------------


def wrong(short):
    """What may be wrong with a pin, and what is said of it."""
    clay, awc = short["clay"], short["awc"]
    holes = awc.where((awc["lat"] > 0) | (awc["lon"] < 200))
    return {
        "no parameter": ("q1", 1.5, "is no parameter that can be pinned here"),
        "number below": ("q10", 0.5, "0.5 is not between 1 and 10"),
        "number above": ("cue", 1.5, "1.5 is not between 0 and 1"),
        "not finite": ("soil_capacity", float("inf"), "inf is not at least 1 kg m-2"),
        "not a number": ("wue", None, "is None, which is no number"),
        "a truth value": ("wue", True, "is True, which is no number"),
        "an array without axes": ("wue", np.ones((2, 4)), "which is no number"),
        "no variable": ("wue", "clai", "is 'clai', which the dataset does not hold"),
        "holes": ("soil_capacity", holes, "has no value in 2 of 8 usable cells, the first at lat -35.0, lon 225.0"),
        "map below": ("wue", -clay.drop_attrs(), "is in 8 of 8 usable cells not at least 0 g kg-1: the first -0.2"),
        "map above": ("cue", 5 * clay, "not between 0 and 1: the first 1"),
        "daily": ("snow_melt_rate", short["vpd"].drop_attrs(), "varies along 'time', and a pin is one number"),
        "monthly": ("fapar", short["fAPAR"], "varies along 'month', and a pin is one number"),
        "fewer axes": ("cue", clay.isel(lat=0), r"lies on the axes (lon), the land on (lat, lon): it has no 'lat'"),
        "no axes": ("cue", clay.mean(), "lies on the axes (), and the land on (lat, lon)"),
        "more axes": ("cue", clay.expand_dims(z=2), r"lies on the axes (z, lat, lon), and the land on (lat, lon)"),
        "other axes": ("cue", clay.rename(lat="y").drop_vars("y"), r"lies on the axes (y, lon)"),
        "elsewhere": ("cue", clay.assign_coords(lat=[65.0, 35.0]), "lacks 1 of the 2 labels of the land along 'lat'"),
        "twice": ("cue", clay.isel(lat=[0, 1, 1]), "has the label -35 along 'lat' more than once"),
        "another length": ("cue", clay.drop_vars("lat").isel(lat=[0, 1, 1]), "has 3 along 'lat', the land has 2"),
        "words": ("cue", clay.astype(str), "no numbers"),
        "other units": ("soil_capacity", clay, "is in '1', and soil_capacity in 'kg m-2'"),
        "units of its own": ("wue", clay, "is in '1', and wue in 'g kg-1'"),  # to pint these are the same
        "unknown units": ("interception_capacity", clay.assign_attrs(units="furlong"), "is in 'furlong', and"),
    }


KINDS_OF_WRONG = [
    *("no parameter", "number below", "number above", "not finite", "not a number", "a truth value"),
    *("an array without axes", "no variable", "holes", "map below", "map above", "daily", "monthly", "fewer axes"),
    *("more axes", "other axes", "elsewhere", "twice", "another length", "words", "other units", "units of its own"),
    "unknown units",
    "no axes",
]


@pytest.mark.parametrize("kind", KINDS_OF_WRONG)
def test_a_wrong_pin_is_named(short, kind):
    assert set(wrong(short)) == set(KINDS_OF_WRONG)
    name, value, says = wrong(short)[kind]
    mask = xr.ones_like(short["awc"], dtype=bool)
    with pytest.raises(InputError) as refused:
        read_pins({name: value}, Processes().parameters, short, mask)
    (finding,) = refused.value.findings
    assert finding.variable == f"pin {name}"
    assert says in finding.problem
    assert finding.remedy


def test_all_wrong_pins_are_told_at_once(short):
    several = {name: value for name, value, _ in wrong(short).values()}
    with pytest.raises(InputError) as refused:
        short.h2cm.fit(2, pin={**several, "basal_respiration": 2.0}, **FIT)
    assert {f.variable for f in refused.value.findings} == {f"pin {name}" for name in several}
    assert "did you mean 'q10'?" in str(refused.value)


def test_holes_where_no_cell_is_used_do_not_matter(short):
    holes = short["awc"].where((short["lat"] > 0) | (short["lon"] < 200))
    fit = short.h2cm.fit(2, pin={"soil_capacity": holes}, mask=holes.notnull(), **FIT)
    assert short.h2cm.predict(fit, mask=holes.notnull())["ET"].isnull().any("time").sum() == 2
    with pytest.raises(InputError, match="has no value in 2 of 8 usable cells"):
        short.h2cm.predict(fit)


def test_a_named_map_with_holes_is_no_reason_to_leave_cells_out(short):
    with pytest.raises(InputError, match="pin soil_capacity: has no value in 4 of 8 usable cells"):
        short.assign(awc=short["awc"].where(short["lat"] > 0)).h2cm.fit(2, pin={"soil_capacity": "awc"}, **FIT)


@pytest.mark.parametrize("pin", [3, "globl", ["q10"], {"*": 1.0}])
def test_what_is_no_pin_at_all(short, pin):
    with pytest.raises(InputError, match=r'pin: is .*\n.*pin=\{"q10": 1.5\}; or pin="global" for all'):
        short.h2cm.fit(2, pin=pin, **FIT)


def test_something_must_be_left_to_learn(short):
    middle = {p.name: p.lower + 0.5 for p in Processes().parameters}
    with pytest.raises(InputError, match="pin: leaves nothing to learn"):
        short.h2cm.fit(2, pin=middle, **FIT)
    assert HybridModel(3, pins=tuple((middle | {"q10": "global"}).items())).size == 1


def test_a_model_refuses_wrong_pins_by_itself():
    with pytest.raises(InputError) as refused:
        HybridModel(3, pins=(("q1", "map"), ("q10", 0.5), ("cue", "often")))
    assert [f.variable for f in refused.value.findings] == ["pin q1", "pin q10", "pin cue"]


def test_curvilinear_land_elsewhere_is_seen(short):
    y, x = np.meshgrid(np.arange(2), np.arange(4), indexing="ij")
    coords = {"latitude": (("y", "x"), 40.0 + y), "longitude": (("y", "x"), 8.0 + x)}
    bent = short.drop_vars(["lat", "lon"]).rename(lat="y", lon="x").assign_coords(coords)
    fit = bent.h2cm.fit(2, pin={"soil_capacity": bent["awc"]}, **FIT)
    assert bent.h2cm.predict(fit, variables=["soil_capacity"])["soil_capacity"].notnull().all()
    moved = bent.assign_coords(latitude=bent["latitude"] + 1)
    with pytest.raises(InputError, match=r"pin soil_capacity: .* latitude is 40 where that of the land is 41"):
        moved.h2cm.predict(fit)


def test_models_with_pins_are_values():
    one, two = (HybridModel(3, pins=(("q10", 1.5),)) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert one != HybridModel(3)
    assert dataclasses.replace(one, features=4).pins == one.pins
