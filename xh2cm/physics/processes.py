"""The nine slots of a day, and the processes that may stand in them."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections import namedtuple
from collections.abc import Callable, Collection, Mapping, Sequence
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
from xh2cm.physics.validate import Brought, probe
from xh2cm.variables import (
    BOUNDARIES,
    FORCING,
    OUTPUTS,
    SURFACE_WATER,
    Budget,
    Flux,
    Fluxes,
    Forcing,
    Parameter,
    State,
    Storage,
    Var,
)

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

FLOWS: Mapping[str, tuple[str, str]] = {
    "snowfall": ("precipitation", "swe"),
    "rainfall": ("precipitation", SURFACE_WATER),
    "snow_melt": ("swe", SURFACE_WATER),
    "interception": (SURFACE_WATER, "atmosphere"),
    "soil_evaporation": ("soil_moisture", "atmosphere"),
    "transpiration": ("soil_moisture", "atmosphere"),
    "soil_recharge": (SURFACE_WATER, "soil_moisture"),
    "surface_runoff": (SURFACE_WATER, "river"),
    "groundwater_recharge": (SURFACE_WATER, "groundwater"),
    "baseflow": ("groundwater", "river"),
    "gpp": ("atmosphere", "biosphere"),
    "ra": ("biosphere", "atmosphere"),
    "rh": ("biosphere", "atmosphere"),
}
"""Where the fluxes of the published model come from and go to."""

HOLDS: Mapping[str, Budget] = {
    "swe": "water",
    "soil_moisture": "water",
    "groundwater": "water",
    SURFACE_WATER: "water",
}
"""What holds water in the published model, the last within the day only."""

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
    *BOUNDARIES,
    SURFACE_WATER,
    *(name for several in (*SLOTS.values(), *BOOKED.values()) for name in several),
    *(name for table in (FORCING, OUTPUTS) for field, var in table.items() for name in (field, var.name)),
} - {p.name for p in SHARED_PARAMETERS}
"""Names of fluxes, storages and forcings, which no parameter may have."""

ROOM = "xh2cm.physics."
"""Where the library's own processes live, each in the file of its slot."""


class Process(Protocol):
    """A process: it returns fluxes of a day.

    A process declares the parameters it needs and is called once a day with what it asks for *by argument name*: any
    state, forcing or parameter, ``temperature`` (degC), and whatever the processes before it have given. It returns the
    fluxes of its slot, in the order of `SLOTS`, and changes nothing: storages are moved by `step` alone, and a process
    sees them as those before it have left them.

    It may bring more: ``forcing`` (a tuple of `Var`), ``storages`` (of `Storage`) and ``fluxes`` (of `Flux`), which it
    returns after those of its slot. A flux of its slot that is named there comes from, or goes to, another place than
    in the published model. One in `Processes.more` may say which slot it comes ``after``.
    """

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters to be learned."""

    @property
    def __call__(self) -> Callable[..., Any]:
        """Fluxes of a day."""


def declared(process: Any, what: str) -> tuple[Any, ...]:
    """Return what a process brings: ``"forcing"``, ``"storages"`` or ``"fluxes"``, nothing where it says nothing."""
    return tuple(getattr(process, what, ()))


def extended(kind: type, names: Sequence[str]) -> Any:
    """Return a NamedTuple with further fields; the same one where there are none."""
    return namedtuple(kind.__name__, (*kind._fields, *names)) if names else kind  # type: ignore[attr-defined]


@dataclasses.dataclass(frozen=True)
class Processes:
    """The physics of a day, one process a slot; by default the published one.

    The three slots of carbon may all be None: see `water`. Processes that stand in no slot are given as `more`: they
    bring storages and fluxes of their own, and are asked in the order given, each after the slot that it names.

    Raises
    ------
    InputError
        If something is no process, or one of another slot; if a process asks for something that is not known when its
        turn comes, or declares a parameter wrongly; if on plausible days it gives what is not its slot's, not finite,
        negative, or water from nowhere; if a storage or flux is declared wrongly; if a slot is empty that must not be.
        All findings at once.

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
    more: tuple[Process, ...] = ()

    slots: ClassVar[Mapping[str, tuple[str, ...]]] = SLOTS

    def __post_init__(self) -> None:
        if empty := self._empty():
            raise InputError(empty)
        findings = [found for several in self._misfits.values() for found in several]
        if undeclared := self._undeclared():
            raise InputError([*findings, *undeclared])
        findings += [*self._clashes(), *self._unknown()]
        named = {found.variable.partition("(")[0] for found in findings}
        findings += [found for turn in self.calls if turn not in named for found in self._impossible(turn)]
        if findings:
            raise InputError(findings)

    @classmethod
    def water(cls, **processes: Process) -> Processes:
        """Return the water-only processes, as in the predecessor H2MV; they need no CO2.

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

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # without what is cached

    @property
    def carbon(self) -> bool:
        """Whether the carbon cycle is included."""
        return self.gpp is not None

    @cached_property
    def filled(self) -> tuple[str, ...]:
        """Slots a process stands in."""
        return tuple(slot for slot in SLOTS if getattr(self, slot) is not None)

    @cached_property
    def all(self) -> dict[str, Process]:
        """Every process by its turn: the slot it stands in, or the name of its class."""
        return {slot: getattr(self, slot) for slot in self.filled} | {type(p).__name__: p for p in self.more}

    @cached_property
    def _misfits(self) -> dict[str, list[Finding]]:
        return {turn: misfits(turn, process) for turn, process in self.all.items()}

    @cached_property
    def sound(self) -> tuple[str, ...]:
        """Turns whose processes can be asked."""
        return tuple(turn for turn, findings in self._misfits.items() if not findings)

    # -- what processes bring -----------------------------------------------------------------------------------------

    @cached_property
    def forcing(self) -> dict[str, Var]:
        """Forcing that processes bring beside the five, by name."""
        return {var.name: var for process in self.all.values() for var in declared(process, "forcing")}

    @cached_property
    def storages(self) -> tuple[Storage, ...]:
        """Storages that processes bring."""
        return tuple(dict.fromkeys(s for process in self.all.values() for s in declared(process, "storages")))

    @cached_property
    def brings(self) -> dict[str, tuple[str, ...]]:
        """Names of the fluxes that the process of each turn returns after those of its slot."""
        found = {}
        for turn, process in self.all.items():
            own = (flux.name for flux in declared(process, "fluxes"))
            found[turn] = tuple(name for name in own if name not in SLOTS.get(turn, ()))
        return found

    @cached_property
    def gives(self) -> dict[str, tuple[str, ...]]:
        """Names of what the process of each turn returns."""
        named = {turn: (*SLOTS.get(turn, ()), *own) for turn, own in self.brings.items()}
        return {"limit": ("available_energy",), **named}

    @cached_property
    def after(self) -> dict[str, tuple[str, ...]]:
        """Turns of the processes that are asked after each slot."""
        last = "respiration" if self.carbon else "groundwater"
        place = {type(process).__name__: getattr(process, "after", last) for process in self.more}
        return {slot: tuple(turn for turn, after in place.items() if after == slot) for slot in SLOTS}

    @cached_property
    def flows(self) -> dict[str, tuple[str, str]]:
        """Source and sink of each flux: those of the published model, unless a process says otherwise."""
        own = (flux for process in self.all.values() for flux in declared(process, "fluxes"))
        return {**FLOWS, **{flux.name: (flux.source, flux.sink) for flux in own}}

    @cached_property
    def holds(self) -> dict[str, Budget]:
        """Budget of each storage, and of the surface water."""
        return {**HOLDS, **{storage.name: storage.budget for storage in self.storages}}

    @cached_property
    def water_storages(self) -> tuple[str, ...]:
        """Names of the storages that are part of TWS."""
        return tuple(name for name, budget in self.holds.items() if budget == "water" and name != SURFACE_WATER)

    @cached_property
    def budgets(self) -> dict[str, Budget]:
        """Budget of each flux: that of what it leaves or enters."""
        places = {**BOUNDARIES, **self.holds}
        found: dict[str, Budget] = {}
        for name, ends in self.flows.items():
            found[name] = next((places[place] for place in ends if places[place] != "none"), "none")
        return found

    @cached_property
    def brought_fluxes(self) -> dict[str, Var]:
        """Fluxes that processes bring, by name."""
        units = {storage.name: f"{storage.units} d-1" for storage in self.storages}
        found = {}
        for turn, process in self.all.items():
            for flux in declared(process, "fluxes"):
                if flux.name in self.brings[turn]:
                    budget = self.budgets[flux.name]
                    own = {"water": "kg m-2 d-1", "carbon": "g m-2 d-1"}.get(budget) or next(
                        units[end] for end in self.flows[flux.name] if end in units
                    )
                    found[flux.name] = flux.var(budget, own)
        return found

    @cached_property
    def outputs(self) -> dict[str, Var]:
        """Storages and fluxes that processes bring, as outputs by name."""
        return {**self.brought_fluxes, **{storage.name: storage.var for storage in self.storages}}

    @cached_property
    def State(self) -> type[State]:  # noqa: N802 - a type
        """The state of the land, with the storages that processes bring."""
        return extended(State, [storage.name for storage in self.storages])  # type: ignore[no-any-return]

    @cached_property
    def Forcing(self) -> type[Forcing]:  # noqa: N802 - a type
        """The forcing of a day, with that which processes bring."""
        return extended(Forcing, list(self.forcing))  # type: ignore[no-any-return]

    @cached_property
    def Fluxes(self) -> type[Fluxes]:  # noqa: N802 - a type
        """The fluxes of a day, with those that processes bring."""
        return extended(Fluxes, list(self.brought_fluxes))  # type: ignore[no-any-return]

    # -- what is asked ------------------------------------------------------------------------------------------------

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Parameters to be learned, each once."""
        named = {p.name: p for p in SHARED_PARAMETERS}
        for turn in self.sound:
            named.update({p.name: p for p in self.all[turn].parameters})
        return tuple(named.values())

    @cached_property
    def calls(self) -> dict[str, tuple[Callable[..., Any], tuple[str, ...]]]:
        """Function and argument names of each turn, and of the energy limit."""
        called = {turn: self.all[turn].__call__ for turn in self.sound}  # its method: a static one is read right
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
        owners: dict[str, tuple[str, Parameter]] = {p.name: ("the land itself", p) for p in SHARED_PARAMETERS}
        findings = []
        for slot in self.sound:
            for p in self.all[slot].parameters:
                owner, first = owners.setdefault(p.name, (slot, p))
                if first != p:
                    findings.append(
                        Finding(
                            f"{slot}.{p.name}",
                            f"declared differently by {owner}: {first} and {p}",
                            "rename one, or declare both alike",
                        )
                    )
        return findings

    def _undeclared(self) -> list[Finding]:
        """Return findings for storages, fluxes, forcing and turns that are declared wrongly."""
        findings = []
        names = [type(process).__name__ for process in self.more]
        findings += [
            Finding("more", f"holds {names.count(name)} processes of the class {name}", "give each a class of its own")
            for name in dict.fromkeys(names)
            if names.count(name) > 1 or name in SLOTS
        ]
        taken = dict.fromkeys(RESERVED | {p.name for p in SHARED_PARAMETERS}, "the model")
        needed: list[Any] = []
        places = {**BOUNDARIES, **HOLDS}
        for turn in self.sound:
            process = self.all[turn]
            for what, kind in (("forcing", Var), ("storages", Storage), ("fluxes", Flux)):
                several = getattr(process, what, ())
                if not isinstance(several, tuple | list) or not all(isinstance(one, kind) for one in several):
                    remedy = f"{what}: ClassVar[tuple[{kind.__name__}, ...]] = ({kind.__name__}(...),), or leave it out"
                    findings.append(
                        Finding(f"{turn}.{what}", f"is {several!r:.80}, no tuple of {kind.__name__}", remedy)
                    )
                    continue
                for one in several:
                    if what == "fluxes" and one.name in SLOTS.get(turn, ()):
                        continue  # the flux of the slot, from or to another place
                    if one in needed:
                        continue  # two processes may need the same forcing
                    if one.name in taken:
                        problem = f"the name is taken by {taken[one.name]}"
                        findings.append(Finding(f"{turn}.{one.name}", problem, "rename it"))
                    taken[one.name] = turn
                    needed += [one] if what == "forcing" else []
            if not findings:
                places.update({s.name: s.budget for s in declared(process, "storages")})
        if findings:
            return findings
        for turn in self.sound:
            findings += self._flow_findings(turn, places)
        for process in self.more:
            findings += self._turn_findings(process)
        return findings

    def _flow_findings(self, turn: str, places: Mapping[str, Budget]) -> list[Finding]:
        """Return findings for fluxes with an unknown source or sink, or between two budgets."""
        findings = []
        for flux in declared(self.all[turn], "fluxes"):
            said = f"{turn}.{flux.name}"
            for end, place in (("comes from", flux.source), ("goes to", flux.sink)):
                if place not in places:
                    near = difflib.get_close_matches(str(place), places, n=1)
                    remedy = f"did you mean {near[0]!r}?" if near else f"declare it, or give one of {', '.join(places)}"
                    findings.append(Finding(said, f"{end} {place!r}, which is no storage", remedy))
            if flux.source in places and flux.sink in places:
                ends = [places[place] for place in (flux.source, flux.sink) if place not in ("atmosphere", "outside")]
                if not ends or len(set(ends)) > 1:
                    problem = f"joins {flux.source} and {flux.sink}, which no budget has in common"
                    findings.append(Finding(said, problem, "let it leave or enter a storage, and keep to one budget"))
        return findings

    def _turn_findings(self, process: Process) -> list[Finding]:
        """Return findings for a process that cannot be called in its turn."""
        name = type(process).__name__
        after = getattr(process, "after", "respiration" if self.carbon else "groundwater")
        can = [slot for slot in self.filled if slot != "nee"]
        if after not in can:
            remedy = f"give one of {', '.join(map(repr, can))}"
            return [Finding(f"{name}.after", f"is {after!r}, no slot that something can follow", remedy)]
        early = can[: can.index("groundwater")]
        wants = [flux.name for flux in declared(process, "fluxes") if SURFACE_WATER in (flux.source, flux.sink)]
        if wants and after not in early:
            problem = f"moves {SURFACE_WATER} after {after}, when all of it has moved on"
            return [Finding(f"{name}.{wants[0]}", problem, f"set after = one of {', '.join(map(repr, early))}")]
        return []

    def _unknown(self) -> list[Finding]:
        known = {*self.State._fields, *self.Forcing._fields, "temperature", *(p.name for p in SHARED_PARAMETERS)}
        if not self.carbon:
            known.remove("npp")
        findings = []
        if "evaporation" in self.sound and "limit" not in self.calls:
            kind = type(self.evaporation).__name__
            remedy = "add `def limit(self, net_radiation)`: water the energy of the day could evaporate, kg m-2 d-1"
            findings.append(Finding("evaporation", f"{kind} has no method `limit`", remedy))
        for slot in ("snow", "limit", *list(SLOTS)[1:]):  # the energy limit is asked before interception
            known.update(BOOKED.get(slot, ()))
            for turn in (slot, *self.after.get(slot, ())):
                findings += self._unknown_to(turn, known)
                known.update(self.gives.get(turn, ()))
                known.update({"snow": [SURFACE_WATER], "runoff": ["river"]}.get(turn, []))
        return findings

    def _unknown_to(self, turn: str, known: Collection[str]) -> list[Finding]:
        findings = []
        asks = self.calls[turn][1] if turn in self.calls else ()
        process = self._asked(turn)
        own = {*known, *(p.name for p in process.parameters)} if asks else {*known}
        for name in asks:
            if name not in own:
                near = difflib.get_close_matches(name, own, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                remedy = f"{hint}declare it in `parameters`, or ask for one of {', '.join(sorted(own))}"
                problem = f"{type(process).__name__} asks for {name!r}, which is not known then"
                findings.append(Finding(f"{turn}({name})", problem, remedy))
        return findings

    def _asked(self, turn: str) -> Process:
        return self.evaporation if turn == "limit" else self.all.get(turn)  # type: ignore[return-value]

    def _impossible(self, turn: str) -> list[Finding]:
        process = self._asked(turn)
        if type(process).__module__.startswith(ROOM):  # the library's own are asked by its tests
            return []
        slots = (*SLOTS, "")
        follows = {turn: slots[slots.index(slot) + 1] for slot, turns in self.after.items() for turn in turns}
        flows = {name: self.flows[name] for name in self.gives[turn] if name in self.flows}
        usual = all(FLOWS.get(name, ends) == ends for name, ends in flows.items())
        before = follows.get(turn, "interception" if turn == "limit" else turn)
        brought = Brought(self.storages, tuple(self.forcing.values()), tuple(self.brought_fluxes), before, usual)
        if not declared(process, "fluxes"):
            flows = {}
        return probe(turn, process, *self.calls[turn], self.gives[turn], flows, brought)


def misfits(slot: str, process: Any) -> list[Finding]:
    """Return findings for an object that cannot stand in a slot, whatever it computes.

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
        remedy = f"def __call__(self, ...): return {', '.join(SLOTS.get(slot, ('the fluxes that it brings',)))}"
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
    """Return the slots that a process of the library, or a subclass of one, is written for."""
    files = [cls.__module__.removeprefix(ROOM) for cls in kind.__mro__ if cls.__module__.startswith(ROOM)]
    return [file for file in files if file in SLOTS]
