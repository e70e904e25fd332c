"""The step from one day to the next: the only place where storages change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xh2cm.variables import Fluxes, Forcing, Residuals, State

if TYPE_CHECKING:
    from torch import Tensor

    from xh2cm.physics.processes import Processes

__all__ = ["residuals", "step"]

FREEZING = 273.15


def step(
    processes: Processes, state: State, forcing: Forcing, parameters: Mapping[str, Tensor]
) -> tuple[State, Fluxes]:
    """Walk the land through one day.

    Every flux a process returns leaves one storage and enters another here, so water closes whatever the processes
    are: ``precipitation_corrected - et - runoff`` is the change of ``tws``. Without processes for it no carbon is
    booked: its fluxes are None, and NPP stays what it was.

    Parameters
    ----------
    processes : Processes
    state : State of Tensor, (fold, cell)
        At the end of yesterday.
    forcing : Forcing of Tensor, (fold, cell)
        Of today.
    parameters : mapping of str to Tensor, (fold, cell) or (fold, 1)
        What the networks say of today.

    Returns
    -------
    State, Fluxes
        At the end of today, and what moved.

    References
    ----------
    Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026
    """
    known: dict[str, Tensor] = {**state._asdict(), **forcing._asdict(), **parameters}

    def ask(name: str) -> Any:
        call, names = processes.calls[name]
        return call(*(known[n] for n in names))

    known["temperature"] = forcing.air_temperature - FREEZING
    snowfall, rainfall, snow_melt = ask("snow")
    swe = state.swe + snowfall - snow_melt
    known.update(snowfall=snowfall, rainfall=rainfall, snow_melt=snow_melt, swe=swe)

    known["available_energy"] = ask("limit")
    known["interception"] = interception = ask("interception")
    known["available_energy"] = known["available_energy"] - interception

    soil_evaporation, transpiration = ask("evaporation")
    soil_moisture = state.soil_moisture - soil_evaporation - transpiration
    known.update(soil_evaporation=soil_evaporation, transpiration=transpiration, soil_moisture=soil_moisture)

    known["water_input"] = water_input = rainfall + snow_melt - interception
    known["soil_retention"] = soil_retention = ask("soil")
    soil_recharge = soil_retention * water_input
    known["soil_moisture"] = soil_moisture = soil_moisture + soil_recharge

    known["excess_water"] = excess_water = (1.0 - soil_retention) * water_input
    known["surface_runoff"] = surface_runoff = ask("runoff")
    known["groundwater_recharge"] = groundwater_recharge = excess_water - surface_runoff
    known["baseflow"] = baseflow = ask("groundwater")
    groundwater = state.groundwater + groundwater_recharge - baseflow

    npp = state.npp
    carbon: dict[str, Any] = dict.fromkeys(("gpp", "ra", "rh", "ter", "nep", "nee"))
    if processes.carbon:
        known["gpp"] = gpp = ask("gpp")
        ra, rh = ask("respiration")
        ter = ra + rh
        known.update(ra=ra, rh=rh, ter=ter)
        nee = ask("nee")
        npp = gpp - ra
        carbon = {"gpp": gpp, "ra": ra, "rh": rh, "ter": ter, "nep": gpp - ter, "nee": nee}

    after = State(swe, soil_moisture, groundwater, parameters["fapar"], npp)
    return after, Fluxes(
        precipitation_corrected=snowfall + rainfall,
        snowfall=snowfall,
        rainfall=rainfall,
        snow_melt=snow_melt,
        interception=interception,
        soil_evaporation=soil_evaporation,
        transpiration=transpiration,
        et=interception + soil_evaporation + transpiration,
        water_input=water_input,
        soil_recharge=soil_recharge,
        groundwater_recharge=groundwater_recharge,
        surface_runoff=surface_runoff,
        baseflow=baseflow,
        runoff=surface_runoff + baseflow,
        tws=swe + soil_moisture + groundwater,
        **carbon,
    )


def residuals(before: State, after: State, fluxes: Fluxes) -> Residuals:
    """What the budgets of a day leave unexplained: rounding, and nothing else.

    Parameters
    ----------
    before, after : State of Tensor, (fold, cell)
    fluxes : Fluxes of Tensor, (fold, cell)

    Returns
    -------
    Residuals of Tensor, (fold, cell)
        That of carbon None where none is booked.
    """
    change = (
        (after.swe - before.swe)
        + (after.soil_moisture - before.soil_moisture)
        + (after.groundwater - before.groundwater)
    )
    carbon: Any = None
    if fluxes.nep is not None:
        carbon = fluxes.gpp - fluxes.ra - fluxes.rh - fluxes.nep
    return Residuals(fluxes.precipitation_corrected - fluxes.et - fluxes.runoff - change, carbon)
