"""The hybrid model: networks give the parameters of a day, physics gives its fluxes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.functional import softplus

from xh2cm.errors import Finding, InputError, number_findings
from xh2cm.html import Markup, block
from xh2cm.loop.compiled import Loop, choose
from xh2cm.loop.program import Part, Scheme
from xh2cm.model.layers import KINDS, MLP, Ready, Recurrent, Weight, template
from xh2cm.model.net import EMBEDDING, STATE_INPUTS, DrivenNet, Net
from xh2cm.model.network import PUBLISHED_NETWORKS, WATER_NETWORKS, nearest, row_findings
from xh2cm.model.spinup import SpinUp
from xh2cm.model.tables import Row, Tables
from xh2cm.physics import Processes, residuals, step
from xh2cm.variables import (
    FORCING,
    OUTPUTS,
    Fluxes,
    Parameter,
    Residuals,
    State,
    Var,
)

if TYPE_CHECKING:
    from torch import Generator, Tensor

__all__ = [
    "Carry",
    "HybridModel",
    "Scaling",
]

FIRST_NPP = 1.1738447874691162
"""NPP of the day before the first, gC m-2 d-1: a global mean (TRENDY v11, as the published model has it)."""

CARBON_INPUTS = ("co2", "npp")
"""What networks may see only where carbon is walked."""

PIN_REMEDY = 'give a number, a map on the land, or "global" for one learned constant'


class Scaling(NamedTuple):
    """Means and standard deviations that inputs are standardised by, of each fold's training cells."""

    forcing_mean: Tensor  # (fold, forcing)
    forcing_std: Tensor
    static_mean: Tensor  # (fold, feature)
    static_std: Tensor


class Carry(NamedTuple):
    """State carried from one day to the next."""

    state: State
    memory: tuple[tuple[Tensor, ...], ...]


@dataclasses.dataclass(frozen=True, repr=False)
class HybridModel:
    """Networks around the physics of a day, for any number of folds at once: a `Model` for so many static features.

    The weights of a fold are one row of a matrix (fold, weight): `unpack` gives them names, so that an optimiser, a
    file or a copy need know nothing of networks.

    Parameters
    ----------
    features : int
        Number of static features.
    processes : Processes
    networks : tuple of Net
        The published ones if not given; those of water where the processes walk no carbon.
    width : int, optional
        Hidden units of every daily net that has no width of its own.
    pins : tuple of (str, number, "map" or "global")
        Parameters no network gives: a number everywhere and always; a map, whose values stand behind the static
        features of a cell, in the order of `maps`; or one constant that is learned.

    Raises
    ------
    InputError
        If the table of networks does not give each learned parameter exactly once, or names an unknown input or kind,
        or one of carbon where there is none; if a pin names no parameter or is out of its bounds, or nothing is left
        to learn.

    Notes
    -----
    A learned constant is squeezed into its bounds from a raw number r. Where a process declares it global, r begins at
    the raw number of its default (`Parameter.start`). Where it is pinned to ``"global"``, r begins at 1 and stands for
    ``r * start``, so that an optimiser's steps are shares of the start (a soil of 100 mm would hardly move by steps of
    0.005); without a start r begins at 0 and stands for itself.

    Examples
    --------
    >>> from xh2cm.model import HybridModel
    >>> HybridModel(features=30).size
    155037
    """

    features: int
    processes: Processes = Processes()
    networks: tuple[Net, ...] = ()
    width: int | None = None
    pins: tuple[tuple[str, float | str], ...] = ()

    def __post_init__(self) -> None:
        if not self.networks:
            default = PUBLISHED_NETWORKS if self.processes.carbon else WATER_NETWORKS
            object.__setattr__(self, "networks", default)
        if findings := self._findings():
            raise InputError(findings)

    def __repr__(self) -> str:
        return self.tables({}).text("HybridModel")

    def _repr_html_(self) -> str:
        return block(self)

    def __html__(self) -> Markup:
        return self.tables({}).html("HybridModel")

    def tables(self, maps: Mapping[str, str]) -> Tables:
        """Return what is printed: a table of the parameters and one of the networks that are used.

        Parameters
        ----------
        maps : mapping of str to str
            Names of the variables that parameters are pinned to.

        Returns
        -------
        Tables

        Examples
        --------
        >>> from xh2cm.model import HybridModel
        >>> HybridModel(30, pins=(("soil_capacity", "map"),)).tables({"soil_capacity": "awc"}).given_by["soil_capacity"]
        'pinned to the map awc'
        """
        given = dict.fromkeys(self.parameters, "one learned constant")
        given |= {name: f"network {net}" for net, names in self.gives.items() for name in names}
        for name, to in self.pinned.items():
            if to != "global":
                given[name] = f"pinned to the map {maps.get(name, '')}".strip() if to == "map" else f"pinned to {to:g}"
        rows = [
            Row(
                net.name,
                net.kind,
                str(self.width_of(net)),
                ", ".join(net.inputs) or "static features",
                ", ".join(self.gives[net.name]) or "embedding of the static features",
            )
            for net in ((self.static,) if self.static else ()) + self.daily
        ]
        cycles = "water and carbon" if self.processes.carbon else "water"
        weights = f", {self.size:,} weights with {self.features} static features" if self.features else ""
        title = f"{cycles}, {len(self.parameters)} parameters{weights}"
        flows = [
            (name, " -> ".join(self.processes.flows[name]), var.units)
            for name, var in self.processes.brought_fluxes.items()
        ]
        return Tables(title, self.parameters, given, rows, self.forcing, flows)

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # what is cached is worked out again

    # -- the table --------------------------------------------------------------------------------------------------

    @cached_property
    def pinned(self) -> dict[str, float | str]:
        """Number, ``"map"`` or ``"global"`` of what is pinned; a parameter that is global anyway is not."""
        varies = {p.name: p.varies for p in self.processes.parameters}
        return {n: to for n, to in self.pins if n in varies and not (to == "global" and varies[n] == "global")}

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """Parameters by name, as they vary here: pinned ones are static where it is to a map, else global."""

        def here(p: Parameter) -> Parameter:
            if p.name not in self.pinned:
                return p
            return dataclasses.replace(p, varies="static" if self.pinned[p.name] == "map" else "global")

        return {p.name: here(p) for p in self.processes.parameters}

    @cached_property
    def learned(self) -> tuple[str, ...]:
        """Names of the parameters that are not pinned to a number or a map."""
        return tuple(n for n in self.parameters if self.pinned.get(n) in (None, "global"))

    @cached_property
    def maps(self) -> tuple[str, ...]:
        """Names of the parameters that are pinned to a map, as they stand behind the static features."""
        return tuple(n for n in self.parameters if self.pinned.get(n) == "map")

    @cached_property
    def constants(self) -> tuple[str, ...]:
        """Names of the parameters that do not change from day to day."""
        return tuple(n for n, p in self.parameters.items() if p.varies != "daily")

    @cached_property
    def gives(self) -> dict[str, tuple[str, ...]]:
        """Parameters that each network gives, with ``"*"`` and static ones without a row filled in."""
        named = {name for net in self.networks for name in net.outputs}
        rest = {
            kind: tuple(n for n in self.learned if n not in named and self.parameters[n].varies == kind)
            for kind in ("daily", "static")
        }
        given = {}
        for net in self.networks:
            own = tuple(n for n in net.outputs if n in self.learned and self.pinned.get(n) != "global")
            extra = rest["static"] if net.kind == "static" else rest["daily"] if "*" in net.outputs else ()
            given[net.name] = own + extra
        return given

    @cached_property
    def daily(self) -> tuple[Net, ...]:
        """The daily nets that give anything."""
        rows = tuple(net for net in self.networks if net.kind != "static" and self.gives[net.name])
        if not self.processes.forcing:
            return rows
        return tuple(DrivenNet(**vars(net), driving=self.driving) for net in rows)

    @cached_property
    def static(self) -> Net | None:
        """The static net, if it gives anything or a daily net sees what it makes of the features."""
        (net,) = (net for net in self.networks if net.kind == "static")
        return net if self.gives[net.name] or any("static" in daily.inputs for daily in self.daily) else None

    @cached_property
    def driving(self) -> dict[str, Var]:
        """The five forcings, and those that processes bring, by name."""
        return {**FORCING, **dict(sorted(self.processes.forcing.items()))}

    @cached_property
    def sights(self) -> dict[str, float]:
        """Inputs of networks from the state and their scales, with the storages that processes bring."""
        return {**STATE_INPUTS, **{storage.name: storage.scale for storage in self.processes.storages}}

    @cached_property
    def forcing(self) -> tuple[str, ...]:
        """Names of the forcings that a process or network asks for, in order."""
        asked = {"air_temperature", *(name for _, names in self.processes.calls.values() for name in names)}
        asked.update(name for net in self.daily for name in net.inputs)
        return tuple(name for name in self.driving if name in asked)

    @property
    def needs(self) -> list[str | Var]:
        """The forcing that is asked for, as `check` wants it: what processes bring as a `Var`."""
        return [name if name in FORCING else self.driving[name] for name in self.forcing]

    def _findings(self) -> list[Finding]:
        found = pin_findings(dict(self.pins), {p.name: p for p in self.processes.parameters})
        found += [
            *row_findings(self.networks, [*self.driving, *self.sights, "static"]),
            *number_findings({"width": self.width}, {"width": 1}, optional=["width"]),
        ]
        known = {*self.parameters, *(name for net in PUBLISHED_NETWORKS for name in net.outputs)}
        for net in self.networks:
            found += [
                Finding(f"network {net.name}", f"unknown output {name!r}", nearest(name, sorted(known)))
                for name in net.outputs
                if name not in known
            ]
            found += [
                Finding(
                    f"network {net.name}",
                    f"sees {name!r}, and these processes walk no carbon",
                    "leave it out, or take WATER_NETWORKS",
                )
                for name in net.inputs
                if name in CARBON_INPUTS and not self.processes.carbon
            ]
        if [net.kind for net in self.networks].count("static") != 1:
            found.append(
                Finding(
                    "networks", "there must be exactly one net of kind 'static'", "take it from PUBLISHED_NETWORKS[0]"
                )
            )
        given = [name for net in self.networks for name in self.gives[net.name]]
        for name in self.learned:
            if self.parameters[name].varies != "global" and given.count(name) != 1:
                found.append(
                    Finding(
                        f"parameter {name}",
                        f"given by {given.count(name)} networks",
                        "name it in the outputs of exactly one row, or put '*' in one",
                    )
                )
        found += [
            Finding(
                f"parameter {name}",
                f"varies {self.parameters[name].varies}, but net {net.name!r} is {net.kind}",
                "move it to another row",
            )
            for net in self.networks
            for name in self.gives[net.name]
            if (self.parameters[name].varies == "static") != (net.kind == "static")
        ]
        if not found and not self.size:
            remedy = 'leave one to the networks, or pin it to "global" to learn it as one constant'
            found.append(Finding("pin", "leaves nothing to learn: every parameter is a number or a map", remedy))
        return found

    @cached_property
    def layout(self) -> dict[str, Weight]:
        """Every weight by name, without the fold axis, in order."""
        weights = {}
        for name in self.learned:
            p = self.parameters[name]
            if p.varies == "global":
                start = p.start if name not in self.pinned else 1.0 if p.start else 0.0
                weights[f"global.{name}"] = Weight((), 0.0, start)
        if net := self.static:
            parts = MLP().weights(self.features, len(self.gives[net.name]), self.width_of(net))
            weights |= {f"{net.name}.{part}": w for part, w in parts.items()}
        for net in self.daily:
            parts = KINDS[net.kind].weights(net.size, len(self.gives[net.name]), self.width_of(net))
            weights |= {f"{net.name}.{part}": w for part, w in parts.items()}
        return weights

    def _columns(self, net: Net) -> list[int]:
        return [self.forcing.index(name) for name in net.forcing]

    def width_of(self, net: Net) -> int:
        """Return the number of hidden units of a network.

        Parameters
        ----------
        net : Net

        Returns
        -------
        int
            Its own width, the common one of the daily networks, or that of its kind.

        Examples
        --------
        >>> from xh2cm.model import PUBLISHED_NETWORKS, HybridModel
        >>> [HybridModel(30, width=64).width_of(net) for net in PUBLISHED_NETWORKS[:2]]
        [150, 64]
        """
        if net.kind == "static":
            return net.width or MLP.width
        return net.width or self.width or KINDS[net.kind].width

    @cached_property
    def size(self) -> int:
        """Number of weights of a fold."""
        return sum(math.prod(w.shape) for w in self.layout.values())

    @cached_property
    def outputs(self) -> dict[str, Var | Parameter]:
        """All variables that a run can record, by field or parameter name; ``fapar`` once, as a state."""
        computed = {n: v for n, v in OUTPUTS.items() if self.processes.carbon or v.quantity != "carbon flux"}
        computed |= self.processes.outputs
        return computed | {name: p for name, p in self.parameters.items() if name not in computed}

    # -- weights ----------------------------------------------------------------------------------------------------

    def initial(self, generator: Generator) -> Tensor:
        """Draw initial weights of one fold, (weight,), as PyTorch does; the generator decides which."""
        return torch.cat(
            [
                w.start + w.bound * (2 * torch.rand(math.prod(w.shape), generator=generator) - 1)
                if w.bound
                else torch.full((1,), w.start)
                for w in self.layout.values()
            ]
        )

    def unpack(self, weights: Tensor) -> dict[str, Tensor]:
        """Return views of the weights in a (fold, weight) matrix by name."""
        pieces = weights.split([math.prod(w.shape) for w in self.layout.values()], -1)
        return {
            name: piece.unflatten(-1, w.shape) if w.shape else piece
            for (name, w), piece in zip(self.layout.items(), pieces, strict=True)
        }

    def pack(self, named: Mapping[str, Tensor]) -> Tensor:
        """Return the weights of one fold, (weight,), from named ones without a fold axis."""
        return torch.cat([named[name].reshape(-1) for name in self.layout])

    # -- the run ----------------------------------------------------------------------------------------------------

    def start(self, cells: Tensor) -> Carry:
        """Return the initial state: empty storages, no leaves, networks without memory.

        Parameters
        ----------
        cells : Tensor, (fold, cell)
            Only its shape, type and device count.
        """
        zero = torch.zeros_like(cells)
        brought = [torch.full_like(cells, storage.start) for storage in self.processes.storages]
        return Carry(
            self.processes.State(zero, zero, zero, zero, torch.full_like(cells, FIRST_NPP), *brought),
            tuple(KINDS[n.kind].memory(cells, self.width_of(n)) for n in self.daily),
        )

    def run(
        self,
        weights: Tensor,
        forcing: Tensor,
        static: Tensor,
        scaling: Scaling,
        names: Sequence[str] = (),
        carry: Carry | None = None,
        loop: Loop = "plain",
    ) -> tuple[Carry, dict[str, Tensor]]:
        """Run a record.

        Parameters
        ----------
        weights : Tensor, (fold, weight)
        forcing : Tensor, (fold, cell, time, forcing)
            In canonical units, those of `forcing` in that order.
        static : Tensor, (fold, cell, feature + map)
            Static features, then the values of the parameters that are pinned to `maps`.
        scaling : Scaling
        names : sequence of str
            What to record: any of `outputs`.
        carry : Carry, optional
            Where to start; bare land if not given.
        loop : {"auto", "plain", "fast"}
            Whether to walk readably or compiled; ``"auto"`` compiles where that is possible.

        Returns
        -------
        carry : Carry
            At the end of the record.
        outputs : dict of str to Tensor
            (fold, cell, time) for what is daily, (fold, cell) for static and (fold,) for global parameters.

        Raises
        ------
        InputError
            If the fast loop is asked for and there is none.
        """
        named = self.unpack(weights)
        features, maps = static[..., : self.features], static[..., self.features :]
        fixed, embedding = self.fixed(
            named, (features - scaling.static_mean.unsqueeze(1)) / scaling.static_std.unsqueeze(1), maps
        )
        standard = (forcing - scaling.forcing_mean[:, None, None]) / scaling.forcing_std[:, None, None]
        ready = [KINDS[net.kind].ready(of(net, named), net, embedding) for net in self.daily]
        columns = [standard.new_tensor(self._columns(net), dtype=torch.long) for net in self.daily]
        wants_residuals = not set(names).isdisjoint(Residuals._fields)

        def day(
            shared: tuple[dict[str, Tensor], list[Ready]], before: Carry, today: tuple[Tensor, ...]
        ) -> tuple[Carry, dict[str, Tensor]]:
            (fixed, ready), state, (raw_forcing, seen) = shared, before.state, today
            sight = self.sight(fixed, state)
            raw: dict[str, Tensor] = {}
            memory = []
            for net, made, sees, old in zip(self.daily, ready, columns, before.memory, strict=True):
                of_state = [sight[n] for n in net.state]
                features = [seen.index_select(-1, sees), *([torch.stack(of_state, -1)] if of_state else [])]
                given, new = KINDS[net.kind].day(made, features, old)
                memory.append(new)
                raw |= dict(zip(self.gives[net.name], given.unbind(-1), strict=True))
            after, fluxes, outputs = self.land(fixed, state, raw_forcing.unbind(-1), raw)
            if wants_residuals:
                outputs |= residuals(state, after, fluxes, self.processes)._asdict()
            return Carry(after, tuple(memory)), outputs

        carry = self.start(forcing[:, :, 0, 0]) if carry is None else carry
        record = (forcing, standard)
        walk = choose(loop, self.scheme, record)
        carry, outputs = walk(day, (fixed, ready), carry, record, [n for n in names if self.daily_output(n)])
        return carry, {
            n: outputs[n] if n in outputs else fixed[n][:, 0] if self.parameters[n].varies == "global" else fixed[n]
            for n in names
        }

    def daily_output(self, name: str) -> bool:
        """Return whether the output `name` has a value each day; pinned fAPAR has, as part of the state."""
        return name in OUTPUTS or name in self.processes.outputs or name not in self.constants

    def sight(self, fixed: Mapping[str, Tensor], state: State) -> dict[str, Tensor]:
        """Return the inputs of networks from `state`, scaled, by name in `sights`; `fixed`: constant parameters."""
        found = state._asdict() | {"relative_soil_moisture": state.soil_moisture / fixed["soil_capacity"]}
        return {n: found[n] / scale if scale != 1 else found[n] for n, scale in self.sights.items()}

    def land(
        self, fixed: Mapping[str, Tensor], state: State, forcing: Sequence[Tensor], raw: Mapping[str, Tensor]
    ) -> tuple[State, Fluxes, dict[str, Tensor]]:
        """Run a day from `state`, `forcing`, constant parameters `fixed` and the `raw` outputs of the networks.

        The state after it, the fluxes, and all to record.
        """
        today: dict[str, Any] = dict.fromkeys(self.driving) | dict(zip(self.forcing, forcing, strict=True))
        parameters = dict(fixed) | {n: self.bounded(n, x) for n, x in raw.items()}
        after, fluxes = step(self.processes, state, self.processes.Forcing(**today), parameters)
        return after, fluxes, parameters | fluxes._asdict() | after._asdict()

    @cached_property
    def scheme(self) -> Scheme:
        """Scheme that the fast loop is compiled from."""
        fixed = self.constants
        raw = [n for net in self.daily for n in self.gives[net.name]]
        outputs = tuple(n for n in self.outputs if self.daily_output(n))

        def see(constants: Sequence[Tensor], state: Sequence[Tensor]) -> tuple[list[Tensor]]:
            return (list(self.sight(dict(zip(fixed, constants, strict=True)), self.processes.State(*state)).values()),)

        def land(
            constants: Sequence[Tensor], state: Sequence[Tensor], forcing: Sequence[Tensor], given: Sequence[Tensor]
        ) -> tuple[list[Tensor], list[Tensor]]:
            before, named = self.processes.State(*state), dict(zip(fixed, constants, strict=True))
            after, fluxes, found = self.land(named, before, forcing, dict(zip(raw, given, strict=True)))
            found |= residuals(before, after, fluxes, self.processes)._asdict()
            return list(after), [found[n] for n in outputs]

        def part(net: Net) -> Part:
            sizes = {"WIDTH": self.width_of(net), "INNER": EMBEDDING}
            sees = tuple(list(self.sights).index(n) for n in net.state)
            kind: Any = KINDS[net.kind]
            where = tuple(self._columns(net)), sees, len(self.gives[net.name])
            if not (compiled := template(kind)):
                return Part(net.kind, sizes, *where)
            cell = kind.unit if compiled == Recurrent.compiled else None
            return Part(compiled, sizes, *where, kind.memories, kind.tensors, cell)

        parts = tuple(part(net) for net in self.daily)
        counts = len(fixed), len(self.processes.State._fields), len(self.forcing), len(self.sights)
        return Scheme(parts, *counts, outputs, see, land)

    def spun_up(
        self,
        weights: Tensor,
        forcing: Tensor,
        static: Tensor,
        scaling: Scaling,
        spinup: SpinUp,
        loop: Loop = "plain",
    ) -> Carry:
        """Run a period repeatedly to find an initial state in balance with it.

        Parameters
        ----------
        weights, forcing, static, scaling, loop
            As for `run`.
        spinup : SpinUp

        Returns
        -------
        Carry
        """
        carry = self.start(forcing[:, :, 0, 0])
        for _ in range(spinup.passes):
            before = carry
            carry, _ = self.run(weights, forcing, static, scaling, (), before, loop)
            if spinup.settled(before.state, carry.state, self.processes.water_storages):
                break
        return carry

    def fixed(self, named: Mapping[str, Tensor], features: Tensor, maps: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return parameters that are constant in time, and the embedding of the static features.

        Parameters
        ----------
        named : mapping of str to Tensor
            From `unpack`.
        features : Tensor, (fold, cell, feature)
            Standardised.
        maps : Tensor, (fold, cell, map)

        Returns
        -------
        parameters : dict of str to Tensor, (fold, cell) or (fold, 1)
            In the order of `constants`.
        embedding : Tensor, (fold, cell, 12)
            (fold, cell, 0) where nothing is made of the features.
        """
        embedding, found = features[..., :0], dict(zip(self.maps, maps.unbind(-1), strict=True))
        if net := self.static:
            embedding, raw = MLP().static(of(net, named), features)
            found |= {n: self.bounded(n, x) for n, x in zip(self.gives[net.name], raw.unbind(-1), strict=True)}
        for name in set(self.constants) - set(found):
            to = self.pinned.get(name, "")
            one = self.bounded(name, named[f"global.{name}"]) if isinstance(to, str) else maps.new_full((1, 1), to)
            found[name] = one.expand(maps.shape[:2]) if name in self.pinned else one
        return {name: found[name] for name in self.constants}, embedding

    def bounded(self, name: str, raw: Tensor) -> Tensor:
        """Transform `raw` numbers to the bounds of the parameter `name`."""
        p = self.parameters[name]
        if name in self.pinned:
            raw = raw * p.start if p.start else raw
        elif p.varies != "global" and p.start:  # the raw number of a global constant starts there itself
            raw = raw + p.start
        if math.isinf(p.upper):
            return p.lower + softplus(raw) if p.lower else softplus(raw)
        unit = torch.sigmoid(raw)
        return unit if (p.lower, p.upper) == (0.0, 1.0) else p.lower + (p.upper - p.lower) * unit


def is_number(value: object) -> bool:
    """Return whether a value is a number."""
    return isinstance(value, Real) and not isinstance(value, bool)


def pin_findings(how: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> list[Finding]:
    """Return findings for pins that name no parameter or are not within its bounds.

    Parameters
    ----------
    how : mapping
        By name a number, ``"map"`` or ``"global"``.
    parameters : mapping of str to Parameter
        Those that may be pinned.

    Returns
    -------
    list of Finding
    """
    found = []
    for name, to in how.items():
        said, p = f"pin {name}", parameters.get(name)
        if p is None:
            found.append(Finding(said, "is no parameter that can be pinned here", nearest(name, parameters)))
        elif is_number(to):
            if not p.holds(to):
                found.append(Finding(said, f"{to:g} is not {p.range}", PIN_REMEDY))
        elif not (isinstance(to, str) and to in ("map", "global")):
            found.append(Finding(said, f"is {to!r}, which is no number", PIN_REMEDY))
    return found


def of(net: Net, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a network, without its name."""
    return {name.removeprefix(f"{net.name}."): w for name, w in named.items() if name.startswith(f"{net.name}.")}
