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
from xh2cm.physics.validate import probe
from xh2cm.variables import FORCING, OUTPUTS, Forcing, Parameter, State

__all__ = ["SHARED_PARAMETERS", "SLOTS", "Process", "Processes"]

SHARED_PARAMETERS = (
    Parameter("fapar", OUTPUTS["fapar"].long_name, OUTPUTS["fapar"].units, upper=1.0),
    Parameter("soil_capacity", "water the soil can hold", "kg m-2", lower=1.0, varies="static", default=101.0),
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
    "runoff": ("excess_water",),
    "groundwater": ("groundwater_recharge",),
    "respiration": (),
    "nee": ("ter",),
}
"""What the step itself works out before a slot is asked."""

RESERVED = {
    "temperature",
    *(name for several in (*SLOTS.values(), *BOOKED.values()) for name in several),
    *(name for table in (FORCING, OUTPUTS) for field, var in table.items() for name in (field, var.name)),
} - {p.name for p in SHARED_PARAMETERS}
"""Names of fluxes, storages and forcings, which no parameter may have."""

ROOM = "xh2cm.physics."
"""Where the library's own processes live, each in the file of its slot."""


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
        If something is no process, or one of another slot; if a process asks for something that is not known when its
        turn comes, or declares a parameter wrongly; if on plausible days it gives what is not its slot's, not finite,
        negative, or water from nowhere; if a slot is empty that must not be. All findings at once.

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
        if empty := self._empty():
            raise InputError(empty)
        findings = [found for several in self._misfits.values() for found in several]
        findings += [*self._clashes(), *self._unknown()]
        named = {found.variable.partition("(")[0] for found in findings}
        findings += [found for turn in self.calls if turn not in named for found in self._impossible(turn)]
        if findings:
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
    def _misfits(self) -> dict[str, list[Finding]]:
        return {slot: misfits(slot, getattr(self, slot)) for slot in self.filled}

    @cached_property
    def sound(self) -> tuple[str, ...]:
        """Slots whose processes can be asked."""
        return tuple(slot for slot, findings in self._misfits.items() if not findings)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """All parameters to be learned, each once."""
        named = {p.name: p for p in SHARED_PARAMETERS}
        for slot in self.sound:
            named.update({p.name: p for p in getattr(self, slot).parameters})
        return tuple(named.values())

    @cached_property
    def calls(self) -> dict[str, tuple[Callable[..., Any], tuple[str, ...]]]:
        """For each slot, and for the energy limit, what to call and with which names."""
        called = {slot: getattr(self, slot).__call__ for slot in self.sound}  # its method: a static one is read right
        if "evaporation" in called and hasattr(self.evaporation, "limit"):
            called["limit"] = self.evaporation.limit
        return {name: (call, tuple(inspect.signature(call).parameters)) for name, call in called.items()}

    def _empty(self) -> list[Finding]:
        empty = [slot for slot in SLOTS if slot not in self.filled]
        if set(CARBON) <= set(empty):
            empty = [slot for slot in empty if slot not in CARBON]
        remedy = "give a process, such as Processes().{0}; for water alone take Processes.water()"
        return [Finding(slot, "is None", remedy.format(slot)) for slot in empty]

    def _clashes(self) -> list[Finding]:
        declared: dict[str, tuple[str, Parameter]] = {p.name: ("the land itself", p) for p in SHARED_PARAMETERS}
        findings = []
        for slot in self.sound:
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
        if "evaporation" in self.sound and "limit" not in self.calls:
            kind = type(self.evaporation).__name__
            remedy = "add `def limit(self, net_radiation)`: water the energy of the day could evaporate, kg m-2 d-1"
            findings.append(Finding("evaporation", f"{kind} has no method `limit`", remedy))
        for turn in ("snow", "limit", *list(SLOTS)[1:]):  # the energy limit is asked before interception
            known.update(BOOKED.get(turn, ()))
            asks = self.calls[turn][1] if turn in self.calls else ()
            process = self._asked(turn)
            own = known | {p.name for p in process.parameters} if asks else known
            for name in asks:
                if name not in own:
                    near = difflib.get_close_matches(name, own, n=1)
                    hint = f"did you mean {near[0]!r}? " if near else ""
                    remedy = f"{hint}declare it in `parameters`, or ask for one of {', '.join(sorted(own))}"
                    problem = f"{type(process).__name__} asks for {name!r}, which is not known then"
                    findings.append(Finding(f"{turn}({name})", problem, remedy))
            if turn in self.filled:
                known.update(SLOTS[turn])
        return findings

    def _asked(self, turn: str) -> Process:
        process: Process = getattr(self, "evaporation" if turn == "limit" else turn)
        return process

    def _impossible(self, turn: str) -> list[Finding]:
        process = self._asked(turn)
        if type(process).__module__.startswith(ROOM):  # the library's own are asked by its tests
            return []
        return probe(turn, process, *self.calls[turn], SLOTS.get(turn, ("available_energy",)))


def misfits(slot: str, process: Any) -> list[Finding]:
    """What keeps something from standing in a slot, whatever it computes.

    Parameters
    ----------
    slot : str
    process : Any

    Returns
    -------
    list of Finding
    """
    kind = type(process).__name__
    who = f"{slot} ({kind})"
    if isinstance(process, type):
        place = (homes(process) or [slot])[0]
        return [Finding(slot, f"{process.__name__} is a class", f"Processes({place}={process.__name__}())")]
    for home in homes(type(process)):
        if home != slot:
            return [Finding(slot, f"{kind} is a process of {home}", f"Processes({home}={kind}())")]
    findings = []
    if not callable(process):
        remedy = f"def __call__(self, ...): return {', '.join(SLOTS[slot])}"
        findings.append(Finding(who, "cannot be called", remedy))
    declared = getattr(process, "parameters", None)
    if not isinstance(declared, tuple | list) or not all(isinstance(p, Parameter) for p in declared):
        remedy = "parameters: ClassVar[tuple[Parameter, ...]] = (Parameter(name, long_name, units),), or () for none"
        problem = "has no `parameters`" if declared is None else f"`parameters` is {declared!r}, no tuple of Parameter"
        return [*findings, Finding(who, problem, remedy)]
    names = [p.name for p in declared]
    findings += [
        Finding(f"{slot}.{name}", f"{kind} declares it {names.count(name)} times", "declare it once")
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    findings += [
        Finding(f"{slot}.{name}", f"{kind} declares a parameter of that name, which is a variable's", "rename it")
        for name in dict.fromkeys(names)
        if name in RESERVED
    ]
    return findings


def homes(kind: type) -> list[str]:
    """Slots a process of the library, or one made from it, is written for: its file is named after the slot."""
    files = [cls.__module__.removeprefix(ROOM) for cls in kind.__mro__ if cls.__module__.startswith(ROOM)]
    return [file for file in files if file in SLOTS]
