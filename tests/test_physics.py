"""One day of land: the published numbers, and budgets that close."""

from __future__ import annotations

import dataclasses

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch

from xh2cm.errors import InputError
from xh2cm.physics import BucketSoil, DegreeDaySnow, Processes, SoilAndCanopyEvaporation, residuals, step
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


def test_one_day_equals_the_published_step(shared):
    given = {k: torch.from_numpy(v) for k, v in np.load(shared("parity/physics.npz")).items()}
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


def test_an_evaporation_without_energy_limit_is_refused():
    class Unlimited:
        parameters = SoilAndCanopyEvaporation.parameters

        def __call__(self, soil_moisture):
            return soil_moisture, soil_moisture

    with pytest.raises(InputError, match="no method `limit`"):
        Processes(evaporation=Unlimited())


def test_a_parameter_needs_bounds():
    with pytest.raises(ValueError, match="finite lower bound"):
        Parameter("free", "unbounded", "1", lower=-float("inf"))


def test_every_flux_is_in_the_variable_table_once():
    names = [*State._fields, *Fluxes._fields]
    assert len(names) == len(set(names))
