"""The model as a value, and how it is printed."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import xarray as xr

import xh2cm
from xh2cm.model.model import spelled_out
from xh2cm.physics import Processes
from xh2cm.physics.snow import RadiationSnow
from xh2cm.variables import Parameter

STARTS = {
    "snowfall_correction": 3.0,
    "baseflow_coefficient": -6.0,
    "q10": -3.0,
    "co2_sensitivity": -6.5,
    "soil_capacity": 100.0,
}
"""Raw starts of the published code."""


def test_the_published_parameters_start_where_the_published_code_starts_them():
    found = {p.name: p.start for p in Processes().parameters}
    assert found == dict.fromkeys(found, 0.0) | STARTS


@pytest.mark.parametrize(
    ("bounds", "default"),
    [({"upper": 1.0}, 0.5), ({"lower": 1.0, "upper": 10.0}, 5.5), ({}, np.log(2)), ({"lower": 2.0}, 2 + np.log(2))],
)
def test_without_a_default_a_raw_number_of_zero_is_the_middle(bounds, default):
    p = Parameter("free", "free", "1", **bounds)
    assert p.default == pytest.approx(default)
    assert p.start == 0.0


@pytest.mark.parametrize(
    ("bounds", "default"),
    [
        ({}, 0.0015),
        ({}, 101.0),
        ({"lower": 1.0}, 1.0 + 1e-6),
        ({"upper": 1.0}, 1e-5),
        ({"lower": 1.0, "upper": 10.0}, 9.9),
    ],
)
@pytest.mark.parametrize("varies", ["global", "static", "daily"])
def test_a_parameter_starts_at_its_default(bounds, default, varies):
    """Return the value that a network of zeros, or a fresh constant, gives."""
    p = Parameter("wetness", "wetness", "1", varies=varies, default=default, **bounds)

    class Wetness:
        parameters = (p,)

        def __call__(self, excess_water, wetness):
            return 0.0 * wetness * excess_water

    model = xh2cm.HybridModel(3, Processes(runoff=Wetness()))
    raw = torch.tensor(p.start if varies == "global" else 0.0, dtype=torch.float64)
    assert float(model.bounded("wetness", raw)) == pytest.approx(default, rel=1e-5)
    if varies == "global":
        assert model.layout["global.wetness"].start == p.start


def test_a_model_prints_a_table_of_parameters_and_one_of_networks():
    model = xh2cm.Model(width=32, pin={"q10": 1.5, "soil_capacity": "awc", "wue": "global"})
    printed = repr(model)
    rows = {line.split()[0]: line for line in printed.splitlines() if line.strip()}
    assert rows["fapar"].split() == ["fapar", "1", "0", "1", "0.5", "daily", "network", "productivity"]
    assert rows["q10"].endswith("pinned to 1.5")
    assert rows["soil_capacity"].endswith("static  pinned to the map awc")
    assert rows["wue"].split()[-5:] == ["0.6931", "global", "one", "learned", "constant"]
    assert rows["co2_sensitivity"].split()[2:5] == ["0", "inf", "0.001502"]
    assert rows["partition"].split()[1:4] == ["lstm", "32", "net_radiation,"]
    assert {p.name for p in Processes().parameters} <= rows.keys()
    assert "155,037 weights with 30 static features" in repr(xh2cm.HybridModel(30))
    assert "weights" not in printed


def test_a_network_that_gives_nothing_is_left_out_and_the_static_one_may_give_its_embedding_only():
    model = xh2cm.Model(
        pin={"wue": 2.0, "transpiration_fraction": 0.5, "soil_capacity": 100, "interception_capacity": 1}
    )
    assert "water_use" not in repr(model)
    assert "-> embedding of the static features" in repr(model)


def test_html_says_from_which_inputs_a_parameter_is_given():
    html = xh2cm.Model(processes=Processes.water(snow=RadiationSnow()))._repr_html_()
    assert "<caption>Parameters</caption>" in html
    assert "<caption>Networks</caption>" in html
    row = html[html.index(">transpiration_fraction</th>") :].partition("</tr>")[0]
    assert "<td>network water_use</td><td>net_radiation, vpd, relative_soil_moisture, static</td>" in row
    assert "wue" not in html
    assert "&lt;" in xh2cm.Model(pin={"soil_capacity": "<awc>"})._repr_html_()
    assert "static features" in xh2cm.HybridModel(3)._repr_html_()


def test_a_model_is_a_value():
    awc = xr.DataArray(np.arange(3.0), dims="site")
    model = xh2cm.Model(width=8, pin={"soil_capacity": awc, "q10": 1.5})
    assert model == xh2cm.Model(width=8, pin={"q10": 1.5, "soil_capacity": awc.copy()})
    assert model == pickle.loads(pickle.dumps(model))  # noqa: S301 - made here
    assert model != xh2cm.Model(width=8, pin={"soil_capacity": awc + 1, "q10": 1.5})
    assert model != xh2cm.Model(width=8, pin={"soil_capacity": "awc", "q10": 1.5})
    assert model != xh2cm.Model(width=9, pin=model.pin)
    assert model != "a model"
    assert model.pins == {"soil_capacity": "map", "q10": 1.5}
    assert model.realised(4) == xh2cm.HybridModel(4, width=8, pins=tuple(model.pins.items()))


def test_a_model_that_is_none_is_refused_when_it_is_made():
    with pytest.raises(xh2cm.InputError, match="did you mean 'q10'"):
        xh2cm.Model(pin={"q1": 1.5})
    with pytest.raises(xh2cm.InputError, match="holds 'lstm', which is not a Net"):
        xh2cm.Model(networks="lstm")
    with pytest.raises(xh2cm.InputError, match="width"):
        xh2cm.Model(width=0)
    with pytest.raises(xh2cm.InputError, match="carbon"):
        xh2cm.Model(processes=Processes.water(), networks=xh2cm.PUBLISHED_NETWORKS)


def test_all_that_is_not_named_is_pinned_by_a_star():
    assert spelled_out({"q10": 1.5, "*": "global"}, Processes().parameters)["wue"] == "global"
    assert set(spelled_out("global", Processes().parameters)) == {p.name for p in Processes().parameters}
    assert xh2cm.Model(pin="global").networks == ()
