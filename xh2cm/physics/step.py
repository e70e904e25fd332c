"""The step from one day to the next: the only place where storages change."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from xh2cm.physics.processes import Processes
from xh2cm.variables import SURFACE_WATER, Fluxes, Forcing, Residuals, State

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["residuals", "step"]

FREEZING = 273.15

PUBLISHED = Processes()


def step(
    processes: Processes, state: State, forcing: Forcing, parameters: Mapping[str, Tensor]
) -> tuple[State, Fluxes]:
    """Run the land through one day.

    Every flux that a process returns leaves one place and enters another, as `Processes.flows` says, so budgets close
    whatever the processes are: ``precipitation_corrected - et - runoff`` is the change of ``tws``. Without processes of
    carbon its fluxes are None, and NPP stays what it was.

    Parameters
    ----------
    processes : Processes
    state : State of Tensor, (fold, cell)
        At the end of yesterday; with the storages that the processes bring.
    forcing : Forcing of Tensor, (fold, cell)
        Of today; with the forcing that the processes bring.
    parameters : mapping of str to Tensor, (fold, cell) or (fold, 1)
        Given by the networks for today.

    Returns
    -------
    State, Fluxes
        At the end of today, and what moved; with the storages and fluxes that the processes bring.

    References
    ----------
    Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026
    """
    day = Day(processes, state, forcing, parameters)
    day["temperature"] = forcing.air_temperature - FREEZING
    day.ask("snow")
    day.book("snow", "snowfall", "rainfall", "snow_melt")

    day.ask("limit")
    day.ask("interception")
    day["available_energy"] = day["available_energy"] - day["interception"]
    day.book("interception", "interception")

    day.ask("evaporation")
    day.book("evaporation", "soil_evaporation", "transpiration")

    day["water_input"] = day.places.pop(SURFACE_WATER)
    day.ask("soil")
    day["soil_recharge"] = day["soil_retention"] * day["water_input"]
    excess = (1.0 - day["soil_retention"]) * day["water_input"]
    day.book("soil", "soil_recharge", left=excess)

    day["excess_water"] = day[SURFACE_WATER]
    day.ask("runoff")
    day.book("runoff", "surface_runoff")

    day["groundwater_recharge"] = day.places.pop(SURFACE_WATER)  # all that is left
    day.ask("groundwater")
    day.book("groundwater", "groundwater_recharge", "baseflow")

    npp = state.npp
    carbon: dict[str, Any] = dict.fromkeys(("gpp", "ra", "rh", "ter", "nep", "nee"))
    if processes.carbon:
        day.ask("gpp")
        day.book("gpp", "gpp")
        day.ask("respiration")
        day.book("respiration", "ra", "rh")
        day["ter"] = ter = day.net("atmosphere", "carbon", without=("gpp",))
        day.ask("nee")
        npp = day["gpp"] - day["ra"]
        carbon = {name: day[name] for name in ("gpp", "ra", "rh")}
        carbon |= {"ter": ter, "nep": day["gpp"] - ter, "nee": day["nee"]}

    after = {name: day.places[name] for name in processes.State._fields if name in day.places}
    fluxes = {name: day[name] for name in processes.Fluxes._fields if name in day.known}
    fluxes |= {
        "precipitation_corrected": day.net("precipitation", "water", out=True),
        "et": day.net("atmosphere", "water"),
        "runoff": day.net("river", "water"),
        "tws": total([after[name] for name in processes.water_storages]),
        **carbon,
    }
    return processes.State(**after, fapar=parameters["fapar"], npp=npp), processes.Fluxes(**fluxes)


class Day:
    """Quantities of a day by name, and the amount in each place that fluxes leave and enter."""

    def __init__(self, processes: Processes, state: State, forcing: Forcing, parameters: Mapping[str, Tensor]) -> None:
        self.processes = processes
        self.known: dict[str, Tensor] = {**state._asdict(), **forcing._asdict(), **parameters}
        self.places = {name: self.known[name] for name in processes.holds if name in self.known}
        self.booked: list[str] = []

    def __getitem__(self, name: str) -> Tensor:
        return self.known[name]

    def __setitem__(self, name: str, value: Tensor) -> None:
        self.known[name] = value

    def ask(self, turn: str) -> None:
        """Ask a process for its fluxes."""
        call, names = self.processes.calls[turn]
        if "river" in names:
            self.known["river"] = self.net("river", "water")
        found, gives = call(*(self.known[name] for name in names)), self.processes.gives[turn]
        self.known.update(zip(gives, (found,) if len(gives) == 1 else found, strict=True))

    def book(self, slot: str, *names: str, left: Tensor | None = None) -> None:
        """Move fluxes, then those that the process of the slot and those after it bring; they see what has moved.

        What is `left` of the surface water, if given, takes the place of what was taken out of it.
        """
        for name in names:
            self.move(name)
        if left is not None:
            self.places[SURFACE_WATER] = left
        for name in self.processes.brings[slot]:
            self.move(name)
        self.known.update(self.places)
        for turn in self.processes.after[slot]:
            self.ask(turn)
            for name in self.processes.gives[turn]:
                self.move(name)
            self.known.update(self.places)

    def move(self, name: str) -> None:
        """Take a flux from its source and add it to its sink."""
        (source, sink), x = self.processes.flows[name], self.known[name]
        self.booked.append(name)
        if sink in self.processes.holds:
            self.places[sink] = self.places[sink] + x if sink in self.places else x
        if source in self.places:
            self.places[source] = self.places[source] - x

    def net(self, place: str, budget: str, *, without: Collection[str] = (), out: bool = False) -> Tensor:
        """Return what has moved into a place, less what has left it; or the opposite, what has left it."""
        signed = []
        for name in self.booked:
            source, sink = self.processes.flows[name]
            if self.processes.budgets[name] == budget and name not in without and place in (source, sink):
                signed.append(self.known[name] if (sink == place) != out else -self.known[name])
        return total(signed)


def total(parts: Collection[Tensor]) -> Tensor:
    """Return the sum of some tensors, from the first to the last."""
    first, *others = parts
    for x in others:
        first = first + x
    return first


def residuals(before: State, after: State, fluxes: Fluxes, processes: Processes = PUBLISHED) -> Residuals:
    """Return what the budgets of a day leave unexplained: rounding, and nothing else.

    Parameters
    ----------
    before, after : State of Tensor, (fold, cell)
    fluxes : Fluxes of Tensor, (fold, cell)
    processes : Processes, optional
        Those that bring further storages and fluxes.

    Returns
    -------
    Residuals of Tensor, (fold, cell)
        That of carbon None where none is booked.
    """
    more = processes.brought_fluxes

    def across(place: str, budget: str, names: Collection[str]) -> list[Tensor]:
        """Return what fluxes of a budget carry into a place, negative where they leave it."""
        of_budget = [name for name in names if place in processes.flows[name] and processes.budgets[name] == budget]
        signs = [1 if processes.flows[name][1] == place else -1 for name in of_budget]
        return [sign * getattr(fluxes, name) for sign, name in zip(signs, of_budget, strict=True)]

    change = total([getattr(after, name) - getattr(before, name) for name in processes.water_storages])
    water = fluxes.precipitation_corrected - fluxes.et - fluxes.runoff - change
    for x in across("outside", "water", more):
        water = water - x
    carbon: Any = None
    if fluxes.nep is not None:
        carbon = fluxes.gpp - fluxes.ra - fluxes.rh
        for x in across("atmosphere", "carbon", more):
            carbon = carbon - x
        carbon = carbon - fluxes.nep
        for name in (storage.name for storage in processes.storages if storage.budget == "carbon"):
            booked = total(across(name, "carbon", processes.flows))
            carbon = carbon + booked - (getattr(after, name) - getattr(before, name))
    return Residuals(water, carbon)
