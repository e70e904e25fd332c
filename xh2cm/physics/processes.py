"""The nine slots of a day, and what may stand in each."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar, Protocol

from xh2cm.errors import Finding, InputError
from xh2cm.physics.evaporation import SoilAndCanopyEvaporation
from xh2cm.physics.gpp import WaterUseGPP
from xh2cm.physics.groundwater import LinearGroundwater
from xh2cm.physics.interception import CanopyInterception
from xh2cm.physics.nee import BiogenicNEE
from xh2cm.physics.respiration import Q10Respiration
from xh2cm.physics.runoff import FractionalRunoff
from xh2cm.physics.snow import DegreeDaySnow
from xh2cm.physics.soil import BucketSoil
from xh2cm.variables import Forcing, Parameter, State

__all__ = ["SHARED_PARAMETERS", "SLOTS", "Process", "Processes"]

SHARED_PARAMETERS = (
    Parameter("fapar", "fraction of absorbed photosynthetically active radiation", "1", upper=1.0),
    Parameter("soil_capacity", "water the soil can hold", "kg m-2", lower=1.0, varies="static", start=100.0),
)
"""Parameters of the land itself: what the networks see of the state is made with them, whatever the processes are."""

SLOTS: Mapping[str, tuple[str, ...]] = {
    "snow": ("snowfall", "rainfall", "snow_melt"),
    "interception": ("interception",),
    "evaporation": ("soil_evaporation", "transpiration"),
    "soil": ("soil_retention",),
    "runoff": ("surface_runoff",),
    "groundwater": ("baseflow",),
    "gpp": ("gpp",),
    "respiration": ("ra", "rh"),
    "nee": ("nee",),
}
"""Slots in the order of the day, and what a process standing there returns."""

CARBON = ("gpp", "respiration", "nee")
"""Slots that may be empty, all three together: then only water is walked."""

BOOKED: Mapping[str, tuple[str, ...]] = {
    "snow": ("temperature",),
    "interception": ("available_energy",),
    "soil": ("water_input",),
    "runoff": ("excess_water", "groundwater_recharge"),
    "respiration": (),
    "nee": ("ter",),
}
"""What the step itself works out before a slot is asked."""


class Process(Protocol):
    """What may stand in a slot.

    A process declares the parameters it needs and is called once a day with what it asks for *by argument name*: any
    state, forcing or parameter, ``temperature`` (degC), and whatever the slots before it have given. It returns the
    fluxes of its slot, in the order of `SLOTS`, and changes nothing: storages are moved by `step` alone.
    """

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters to be learned."""

    @property
    def __call__(self) -> Callable[..., Any]:
        """Fluxes of a day."""


@dataclasses.dataclass(frozen=True)
class Processes:
    """The physics of a day, one process a slot; by default the published one.

    The three slots of carbon may all be None: see `water`.

    Raises
    ------
    InputError
        If a process asks for something that is not known when its turn comes, two processes declare one parameter
        differently, or a slot is empty that must not be.

    Examples
    --------
    >>> from xh2cm.physics import Processes, DegreeDaySnow
    >>> processes = Processes(snow=DegreeDaySnow())
    >>> [p.name for p in processes.parameters if p.varies == "global"]
    ['snowfall_correction', 'baseflow_coefficient', 'co2_sensitivity', 'q10']
    """

    snow: Process = DegreeDaySnow()
    interception: Process = CanopyInterception()
    evaporation: Process = SoilAndCanopyEvaporation()
    soil: Process = BucketSoil()
    runoff: Process = FractionalRunoff()
    groundwater: Process = LinearGroundwater()
    gpp: Process | None = WaterUseGPP()
    respiration: Process | None = Q10Respiration()
    nee: Process | None = BiogenicNEE()

    slots: ClassVar[Mapping[str, tuple[str, ...]]] = SLOTS

    def __post_init__(self) -> None:
        if findings := self._empty() or [*self._clashes(), *self._unknown()]:
            raise InputError(findings)

    @classmethod
    def water(cls, **processes: Process) -> Processes:
        """The physics of water alone, as the predecessor H2MV walked it: no carbon is booked, and no CO2 needed.

        Parameters
        ----------
        **processes : Process
            Other than published ones, by slot.

        Returns
        -------
        Processes

        References
        ----------
        Baghirov et al. (2025), doi:10.5194/gmd-18-2921-2025

        Examples
        --------
        >>> from xh2cm.physics import Processes
        >>> Processes.water().carbon
        False
        """
        return cls(**{**dict.fromkeys(CARBON), **processes})  # type: ignore[arg-type]

    def __getstate__(self) -> dict[str, Process | None]:
        return {slot: getattr(self, slot) for slot in SLOTS}  # what is cached is worked out again

    @property
    def carbon(self) -> bool:
        """Whether carbon is walked too."""
        return self.gpp is not None

    @cached_property
    def filled(self) -> tuple[str, ...]:
        """Slots a process stands in."""
        return tuple(slot for slot in SLOTS if getattr(self, slot) is not None)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """All parameters to be learned, each once."""
        named = {p.name: p for p in SHARED_PARAMETERS}
        for slot in self.filled:
            named.update({p.name: p for p in getattr(self, slot).parameters})
        return tuple(named.values())

    @cached_property
    def calls(self) -> dict[str, tuple[Callable[..., Any], tuple[str, ...]]]:
        """For each slot, and for the energy limit, what to call and with which names."""
        called = {slot: getattr(self, slot) for slot in self.filled}
        called["limit"] = getattr(self.evaporation, "limit", None)
        return {
            name: (call, tuple(inspect.signature(call).parameters)) for name, call in called.items() if call is not None
        }

    def _empty(self) -> list[Finding]:
        empty = [slot for slot in SLOTS if slot not in self.filled]
        if set(CARBON) <= set(empty):
            empty = [slot for slot in empty if slot not in CARBON]
        remedy = "give a process, such as Processes().{0}; for water alone take Processes.water()"
        return [Finding(slot, "is None", remedy.format(slot)) for slot in empty]

    def _clashes(self) -> list[Finding]:
        declared: dict[str, tuple[str, Parameter]] = {p.name: ("the land itself", p) for p in SHARED_PARAMETERS}
        findings = []
        for slot in self.filled:
            for p in getattr(self, slot).parameters:
                owner, first = declared.setdefault(p.name, (slot, p))
                if first != p:
                    findings.append(
                        Finding(
                            f"{slot}.{p.name}",
                            f"declared differently by {owner}: {first} and {p}",
                            "rename one, or declare both alike",
                        )
                    )
        return findings

    def _unknown(self) -> list[Finding]:
        known = {*State._fields, *Forcing._fields, "temperature", *(p.name for p in SHARED_PARAMETERS)}
        if not self.carbon:
            known.remove("npp")
        findings = []
        for turn in (
            "snow",
            "limit",
            *list(SLOTS)[1:],
        ):  # the energy limit is the evaporation's, asked before interception
            slot = "evaporation" if turn == "limit" else turn
            if slot not in self.filled:
                continue
            known.update(BOOKED.get(turn, ()))
            process = getattr(self, slot)
            kind, own = type(process).__name__, known | {p.name for p in process.parameters}
            if turn not in self.calls:
                remedy = "add `def limit(self, net_radiation)`: water the energy of the day could evaporate, kg m-2 d-1"
                findings.append(Finding("evaporation", f"{kind} has no method `limit`", remedy))
                continue
            for name in self.calls[turn][1]:
                if name not in own:
                    near = difflib.get_close_matches(name, own, n=1)
                    hint = f"did you mean {near[0]!r}? " if near else ""
                    remedy = f"{hint}declare it in `parameters`, or ask for one of {', '.join(sorted(own))}"
                    findings.append(
                        Finding(f"{turn}({name})", f"{kind} asks for {name!r}, which is not known then", remedy)
                    )
            known.update(SLOTS.get(turn, ()))
        return findings
