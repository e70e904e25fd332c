"""One day of land: the published numbers, and budgets that close."""

from __future__ import annotations

import dataclasses

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch

from xh2cm.errors import InputError
from xh2cm.physics import (
    BucketSoil,
    DegreeDaySnow,
    LinearGroundwater,
    Processes,
    SoilAndCanopyEvaporation,
    residuals,
    step,
    validate,
)
from xh2cm.variables import Fluxes, Forcing, Parameter, State

PUBLISHED = {
    "snowfall": "snow_acc_t",
    "snow_melt": "snow_melt_t",
    "swe": "swe_t",
    "interception": "Ei_t",
    "soil_evaporation": "Es_t",
    "transpiration": "T_t",
    "et": "ET_t",
    "water_input": "water_input_t",
    "soil_recharge": "r_soil_t",
    "groundwater_recharge": "r_gw_t",
    "soil_moisture": "SM_t",
    "surface_runoff": "runoff_surface_t",
    "baseflow": "baseflow_t",
    "runoff": "runoff_total_t",
    "groundwater": "GW_t",
    "tws": "tws_t",
    "precipitation_corrected": "prec_actual",
    "gpp": "gpp_t",
    "npp": "npp_t",
    "ra": "Ra_t",
    "rh": "Rh_t",
    "ter": "ter_t",
    "nep": "nep_t",
    "nee": "nee_t",
}


def test_one_day_equals_the_published_step(parity):
    given = {k: torch.from_numpy(v) for k, v in np.load(parity / "physics.npz").items()}
    zero = torch.zeros_like(given["in_swe_t_prev"])
    after, fluxes = step(
        Processes(),
        State(given["in_swe_t_prev"], given["in_SM_t_prev"], given["in_GW_t_prev"], zero, zero),
        Forcing(given["in_rn_t"], given["in_prec_t"], given["in_tair_t"], zero, given["in_CO2_t"]),
        {
            "snow_melt_rate": given["in_alpha_snow_melt_t"],
            "interception_capacity": given["in_alpha_Ei"],
            "soil_evaporation_fraction": given["in_alpha_Es_t"],
            "transpiration_fraction": given["in_alpha_T_t"],
            "soil_recharge_fraction": given["in_alpha_r_soil_t"],
            "groundwater_recharge_fraction": given["in_alpha_r_gw_t"],
            "fapar": given["in_fAPAR_nn_t"],
            "soil_capacity": given["in_SM_max_nn"],
            "wue": given["in_wue_t"],
            "cue": given["in_cue_t"],
            "basal_respiration": given["in_basal_resp_rate_t"],
            "snowfall_correction": given["in_beta_snow"],
            "baseflow_coefficient": given["in_beta_baseflow"],
            "q10": given["in_beta_q10"],
            "co2_sensitivity": given["in_beta_co2"],
        },
    )
    ours = after._asdict() | fluxes._asdict()
    for name, theirs in PUBLISHED.items():
        np.testing.assert_allclose(ours[name], given[f"out_{theirs}"], rtol=1e-12, atol=1e-13, err_msg=name)


def test_it_snows_at_exactly_the_freezing_point():
    """As published: snow at or below 0 degC, rain above."""
    degrees, one = torch.tensor([[-1e-9, 0.0, 1e-9]]), torch.ones(1, 3)
    snowfall, rainfall, _ = DegreeDaySnow()(one, 3 * one, degrees, one, 0.5 * one)
    assert snowfall.tolist() == [[1.5, 1.5, 0.0]]
    assert rainfall.tolist() == [[0.0, 0.0, 3.0]]


@dataclasses.dataclass(frozen=True)
class AllMelts:
    """A user's process: everything melts at once, and all precipitation is snow."""

    parameters = (Parameter("whim", "a parameter of one's own", "1", upper=2.0),)

    def __call__(self, swe, precipitation, whim):
        return precipitation * 0.5 * whim, precipitation * 0.5, swe * 0.9


@hypothesis.given(seed=st.integers(0, 2**31), scale=st.sampled_from([0.0, 1.0, 30.0, 500.0]), swapped=st.booleans())
@hypothesis.settings(deadline=None)
def test_water_and_carbon_close_for_any_parameters(seed, scale, swapped):
    generator = torch.Generator().manual_seed(seed)
    processes = Processes(snow=AllMelts()) if swapped else Processes()
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-3)):

        def draw(low=0.0, high=1.0, dtype=dtype):
            return low + (high - low) * torch.rand(2, 64, generator=generator, dtype=dtype)

        state = State(draw(0, scale), draw(0, scale), draw(0, scale), draw(), draw(0, 5))
        forcing = Forcing(draw(-100, 300), draw(0, scale), draw(240, 310), draw(0, 40), draw(300, 500))
        parameters = {p.name: draw(p.lower, min(p.upper, p.lower + 500)) for p in processes.parameters}
        after, fluxes = step(processes, state, forcing, parameters)
        left = residuals(state, after, fluxes)
        assert left.water_residual.abs().max() <= tolerance
        assert (left.carbon_residual.abs() <= tolerance * (1 + fluxes.gpp.abs() + fluxes.rh.abs())).all()
        if not swapped:
            assert all((storage >= 0).all() for storage in after[:3])
            assert (fluxes.et <= forcing.net_radiation.clamp(min=0) * 0.0864 / 2.45 + 1e-4).all()


def test_a_process_that_asks_for_the_unknown_is_named_with_the_nearest_spelling():
    class Typo(BucketSoil):
        def __call__(self, soil_moistur, water_input, soil_capacity, soil_recharge_fraction):
            return soil_recharge_fraction

    with pytest.raises(InputError, match=r"soil_moistur.*\n.*did you mean 'soil_moisture'"):
        Processes(soil=Typo())


def test_a_process_cannot_ask_for_what_comes_later():
    class Early(DegreeDaySnow):
        def __call__(self, swe, precipitation, gpp):
            return precipitation, precipitation, swe

    with pytest.raises(InputError, match="asks for 'gpp', which is not known then"):
        Processes(snow=Early())


def test_two_processes_must_agree_on_a_parameter():
    class Other(BucketSoil):
        parameters = (Parameter("fapar", "something else", "1", upper=0.5),)

    with pytest.raises(InputError, match=r"soil\.fapar: declared differently"):
        Processes(soil=Other())


def test_groundwater_knows_its_recharge_and_the_energy_limit_its_parameters():
    class Fast:
        parameters = ()

        def __call__(self, groundwater, groundwater_recharge):
            return 0.01 * groundwater + 0.5 * groundwater_recharge

    class Dimmed(SoilAndCanopyEvaporation):
        parameters = (*SoilAndCanopyEvaporation.parameters, Parameter("dimming", "a factor", "1", upper=1.0))

        def limit(self, net_radiation, swe, dimming):
            return dimming * super().limit(net_radiation) * torch.exp(-swe)

    processes = Processes(groundwater=Fast(), evaporation=Dimmed())
    days = validate.drawn(processes.parameters) | validate.plausible()
    state, forcing = (fields(*(days[n] for n in fields._fields)) for fields in (State, Forcing))
    after, fluxes = step(processes, state, forcing, days)
    torch.testing.assert_close(fluxes.baseflow, 0.01 * state.groundwater + 0.5 * fluxes.groundwater_recharge)
    limit = days["dimming"] * torch.exp(-after.swe) * 0.0864 / 2.45 * forcing.net_radiation.clamp(min=0)
    assert (fluxes.et <= limit + 1e-4).all()


def test_an_evaporation_without_energy_limit_is_refused():
    class Unlimited:
        parameters = SoilAndCanopyEvaporation.parameters

        def __call__(self, soil_moisture):
            return soil_moisture, soil_moisture

    with pytest.raises(InputError, match="no method `limit`"):
        Processes(evaporation=Unlimited())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"lower": -float("inf")}, "has no finite lower bound: -inf"),
        ({"lower": 1.0, "upper": 1.0}, r"has bounds \(1.0, 1.0\)"),
        ({"upper": -float("inf")}, r"has bounds \(0.0, -inf\)"),
        ({"upper": float("nan")}, "has upper=nan, which is not a number"),
        ({"lower": None}, "has lower=None, which is not a number"),
        ({"upper": np.float32(3)}, "which is not a number of Python"),  # could not be saved
        ({"default": float("inf")}, "has default=inf"),
        ({"default": 0.0}, r"has default=0.0\n.*give a default within \(0.0, inf\)"),
        ({"default": 2.0, "upper": 2.0}, r"has default=2.0\n.*give a default within \(0.0, 2.0\)"),
        ({"default": "1"}, "has default='1', which is not a number"),
        ({"varies": "weekly"}, "varies='weekly' is unknown"),
        ({"varies": ["daily"]}, r"varies=\['daily'\] is unknown"),
        ({"name": "melt rate"}, "parameter 'melt rate': cannot be the name of an argument"),
        ({"name": "lambda"}, "cannot be the name of an argument"),
        ({"units": ""}, "has no units: ''"),
        ({"long_name": None}, "has no long_name: None"),
    ],
)
def test_a_parameter_that_cannot_be_learned_is_refused(wrong, says):
    with pytest.raises(InputError, match=says) as error:
        Parameter(**{"name": "free", "long_name": "something", "units": "1", **wrong})
    assert len(error.value.findings) == 1


def test_all_that_is_wrong_with_a_parameter_is_said_at_once_and_no_upper_bound_is_right():
    with pytest.raises(InputError) as error:
        Parameter("1st", "", "", lower=2.0, upper=1.0, varies="hourly")
    assert len(error.value.findings) == 5
    free = Parameter("free", "something", "1").attrs
    assert free["valid_min"] == 0.0
    assert "valid_range" not in free


def test_every_flux_is_in_the_variable_table_once():
    names = [*State._fields, *Fluxes._fields]
    assert len(names) == len(set(names))


# -- what may not stand in a slot -------------------------------------------------------------------------------------

SHARE = Parameter("share", "a share", "1", upper=1.0)


def process(call, parameters=(SHARE,), **methods):
    """A user's process from a function."""
    return type("Mine", (), {"__call__": staticmethod(call), "parameters": parameters, **methods})()


def limited(call):
    return process(call, limit=SoilAndCanopyEvaporation().limit)


IMPOSSIBLE = {
    "melts more": (
        {"snow": process(lambda swe, precipitation: (0 * swe, precipitation, 2 * swe))},
        r"snow \(Mine\): melts 1200 of 600 kg m-2 that are there\n    -> give torch.minimum\(snow_melt, swe",
    ),
    "snows more": (
        {"snow": process(lambda swe, precipitation: (2 * precipitation, precipitation, 0 * swe))},
        r"snow \(Mine\): makes 240 kg m-2 d-1 of snow and rain, of which twice the precipitation is only 160",
    ),
    "falls upward": (
        {"snow": process(lambda swe, precipitation: (-precipitation, precipitation, 0 * swe))},
        r"snow \(Mine\): snowfall is -80, which is negative\n    -> snowfall.clamp",
    ),
    "intercepts more": (
        {"interception": process(lambda rainfall, fapar: rainfall + fapar)},
        r"interception \(Mine\): intercepts [\d.]+ of [\d.]+ kg m-2 d-1 of rain",
    ),
    "evaporates more": (
        {"evaporation": limited(lambda soil_moisture, share: (soil_moisture * share, 0.6 * soil_moisture))},
        r"evaporation \(Mine\): evaporates [\d.]+ of [\d.]+ kg m-2 that are in the soil",
    ),
    "limits below nothing": (
        {
            "evaporation": process(
                SoilAndCanopyEvaporation(),
                SoilAndCanopyEvaporation.parameters,
                limit=staticmethod(lambda net_radiation: net_radiation),
            )
        },
        r"evaporation.limit \(Mine\): available_energy is -100, which is negative",
    ),
    "retains more than comes": (
        {"soil": process(lambda share: 1.5 * share)},
        r"soil \(Mine\): retains [\d.]+ of [\d.]+ kg m-2 d-1 of water input",
    ),
    "overflows": (
        {"soil": process(lambda share: share)},
        r"soil \(Mine\): retains [\d.]+ kg m-2, with room for [\d.e+-]+\n",
    ),
    "runs off more": (
        {"runoff": process(lambda water_input: water_input)},
        r"runoff \(Mine\): runs off [\d.]+ of [\d.]+ kg m-2 d-1 of excess water",
    ),
    "runs dry": (
        {"groundwater": process(lambda groundwater, share: groundwater * (1 + share) + 100)},
        r"groundwater \(Mine\): releases 21\d\d of 1\d\d\d kg m-2 that are there",
    ),
    "eats carbon": (
        {"nee": process(lambda gpp, ter: 0.5 * (ter - gpp))},
        r"nee \(Mine\): respiration less uptake is [\d.]+ and NEE only [\d.]+ gC m-2 d-1",
    ),
    "breathes in": (
        {"respiration": process(lambda gpp, temperature: (0 * gpp, temperature / 5))},
        r"respiration \(Mine\): rh is -7, which is negative",
    ),
    "divides by nothing": (
        {"gpp": process(lambda npp, share: share * npp / npp)},
        r"gpp \(Mine\): gpp is nan at npp=0, share=[\d.e-]+\n    -> keep away from it what is divided",
    ),
    "has no slope": (
        {"groundwater": process(lambda groundwater: torch.minimum(groundwater, 0.1 * torch.sqrt(groundwater)))},
        r"groundwater \(Mine\): the gradient by groundwater is (nan|inf) at groundwater=0\n",
    ),
    "is too much": (
        {"gpp": process(lambda temperature: torch.exp(4 * temperature))},
        r"gpp \(Mine\): gpp is inf at temperature=",
    ),
    "gives one of three": (
        {"snow": process(lambda swe: swe)},
        r"snow \(Mine\): gives 1 where 3 fluxes must be given\n    -> return snowfall, rainfall, snow_melt",
    ),
    "gives two of one": (
        {"gpp": process(lambda fapar: (fapar, fapar))},
        r"gpp \(Mine\): gives 2 where 1 flux must be given",
    ),
    "gives a tuple": (
        {"gpp": process(lambda fapar: (fapar,))},
        r"gpp \(Mine\): gives 1 in a tuple where 1 flux must be given",
    ),
    "gives a number": (
        {"snow": process(lambda swe, precipitation: (0.0, precipitation, swe))},
        r"snow \(Mine\): gives float for snowfall, not a tensor",
    ),
    "mixes cells": (
        {"runoff": process(lambda excess_water: excess_water.mean(-1, keepdim=True))},
        r"runoff \(Mine\): gives surface_runoff with shape \(8, 1\) for 8 folds and 48 cells",
    ),
    "fails": (
        {"gpp": process(lambda fapar: fapar.no_such_thing)},
        r"gpp \(Mine\): raises AttributeError: 'Tensor' object has no attribute 'no_such_thing'",
    ),
    "moves a storage": (
        {"snow": process(lambda swe, precipitation: (0 * swe, precipitation, swe.mul_(0.5)))},
        r"snow \(Mine\): raises RuntimeError: .*in-place",
    ),
    "has no gradient": (
        {"gpp": process(lambda share: torch.sqrt(share).mul_(2))},
        r"gpp \(Mine\): has no gradient, RuntimeError: .*inplace",
    ),
    "changes the weather": (
        {"snow": process(lambda swe, precipitation: (0 * swe, precipitation.mul_(0.5), 0 * swe))},
        r"snow \(Mine\): changes precipitation in place",
    ),
    "knows the future": (
        {"runoff": process(lambda excess_water, groundwater_recharge: excess_water - 0 * groundwater_recharge)},
        r"runoff\(groundwater_recharge\): Mine asks for 'groundwater_recharge', which is not known then",
    ),
    "stands elsewhere": (
        {"snow": LinearGroundwater()},
        r"snow: LinearGroundwater is a process of groundwater\n    -> Processes\(groundwater=LinearGroundwater\(\)\)",
    ),
    "is a class": (
        {"soil": DegreeDaySnow},
        r"soil: DegreeDaySnow is a class\n    -> Processes\(snow=DegreeDaySnow\(\)",
    ),
    "is a number": ({"gpp": 3.0}, r"gpp \(float\): cannot be called(.|\n)*gpp \(float\): has no `parameters`"),
    "is a function": ({"gpp": lambda fapar: fapar}, r"gpp \(function\): has no `parameters`"),
    "declares no tuple": (
        {"gpp": process(lambda share: share, SHARE)},
        r"gpp \(Mine\): `parameters` is Parameter\(name='share'.*, no tuple of Parameter",
    ),
    "declares twice": (
        {"gpp": process(lambda share: share, (SHARE, SHARE))},
        r"gpp.share: Mine declares it 2 times",
    ),
    **{
        f"declares {name}": (
            {"gpp": process(lambda fapar: fapar, (Parameter(name, "a name that is taken", "1"),))},
            rf"gpp.{name}: Mine declares a parameter of that name, which is a variable's",
        )
        for name in ("swe", "co2", "temperature", "et", "ET", "available_energy", "water_residual")
    },
}


@pytest.mark.parametrize(("slots", "says"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_cannot_be_is_named_with_its_value_before_anything_runs(slots, says):
    with pytest.raises(InputError, match=says):
        Processes(**slots)


def test_all_findings_are_told_at_once():
    slots = {
        slot: one for key in ("melts more", "runs off more", "is a number") for slot, one in IMPOSSIBLE[key][0].items()
    }
    with pytest.raises(InputError) as error:
        Processes(**slots, soil=process(lambda nothing_of_the_kind: nothing_of_the_kind), groundwater=BucketSoil())
    assert [f.variable for f in error.value.findings] == [
        "groundwater",
        "gpp (float)",
        "gpp (float)",
        "soil(nothing_of_the_kind)",
        "snow (Mine)",
        "runoff (Mine)",
    ]


@dataclasses.dataclass(frozen=True)
class RoundedSoil:
    """The room of the soil, written so that float32 rounds."""

    parameters = (SHARE,)

    def __call__(self, soil_moisture, water_input, soil_capacity, share):
        wet = soil_moisture / soil_capacity
        return torch.minimum(share / share, soil_capacity * (1 - wet) / (water_input + 1e-6))


@dataclasses.dataclass(frozen=True)
class RoundedSnow:
    """All that is there melts, and gauges miss half of it."""

    parameters = ()

    def __call__(self, swe, precipitation):
        snowfall = precipitation * 2.0 / 3.0
        return snowfall, 2.0 * precipitation - snowfall, (swe + snowfall) * 3.0 / 3.0


def test_rounding_is_not_taken_for_water_from_nowhere_and_nothing_else_is_changed():
    random, days = torch.get_rng_state(), {name: x.clone() for name, x in validate.plausible().items()}
    with torch.inference_mode():
        Processes(soil=RoundedSoil(), snow=RoundedSnow())
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(x, days[name]) and not x.requires_grad for name, x in validate.plausible().items())


def test_days_are_wet_and_dry_and_frozen_and_storages_empty_and_full():
    days = validate.plausible()
    for name in ("precipitation", "swe", "soil_moisture", "groundwater", "fapar", "vpd", "gpp"):
        assert (days[name] == 0).any(), name
        assert (days[name] > 0).any(), name
    assert (days["soil_moisture"] == days["soil_capacity"]).any()
    assert (days["temperature"] == 0).any()
    assert ((days["temperature"] > 0) & (days["precipitation"] > 0)).any()
    assert ((days["temperature"] < 0) & (days["precipitation"] > 0)).any()
    found = validate.drawn(
        (SHARE, Parameter("free", "free", "1", default=0.00150231), Parameter("all", "all", "1", varies="global"))
    )
    assert 0 < found["share"].min() < 1e-3
    assert 1 > found["share"].max() > 1 - 1e-3
    assert found["free"].min() > 0
    assert found["all"].shape == (8, 1)
