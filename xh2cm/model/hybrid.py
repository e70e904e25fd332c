"""The hybrid model: networks give the parameters of a day, physics gives its fluxes."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.functional import softplus

from xh2cm.errors import Finding, InputError
from xh2cm.loop.lanes import Loop, Part, Scheme, choose
from xh2cm.model.network import EMBEDDING, KINDS, LSTM, MLP, PUBLISHED_NETWORKS, STATE_INPUTS, Net, Ready, Weight
from xh2cm.physics import Processes, residuals, step
from xh2cm.variables import FORCING, OUTPUTS, Fluxes, Forcing, Parameter, Residuals, State, Var

if TYPE_CHECKING:
    from torch import Generator, Tensor

__all__ = ["Carry", "HybridModel", "Scaling", "SpinUp"]

FIRST_NPP = 1.1738447874691162
"""NPP of the day before the first, gC m-2 d-1: a global mean (TRENDY v11, as the published model has it)."""

COMPILED: Mapping[type, str] = {LSTM: "Lstm", MLP: "Mlp"}
"""Kinds of nets that the fast loop knows, as it calls them."""


class Scaling(NamedTuple):
    """Means and standard deviations that networks see their inputs by, of each fold's training cells."""

    forcing_mean: Tensor  # (fold, 5)
    forcing_std: Tensor
    static_mean: Tensor  # (fold, feature)
    static_std: Tensor


class Carry(NamedTuple):
    """What yesterday hands to today."""

    state: State
    memory: tuple[tuple[Tensor, ...], ...]


@dataclasses.dataclass(frozen=True)
class SpinUp:
    """How the land is brought into balance before a record is run.

    Parameters
    ----------
    days : int, optional
        Length of the period that is walked; the whole record if not given, as published.
    passes : int
        How often it is walked, at most.
    drift : float, optional
        Stop earlier, once no storage of any cell changes by more than this over a pass, kg m-2.

    Raises
    ------
    InputError
        If there is nothing to walk.
    """

    days: int | None = None
    passes: int = 1
    drift: float | None = None

    def __post_init__(self) -> None:
        findings = [
            Finding(f"spinup.{name}", f"{value} is too small", f"give at least {least}")
            for name, value, least in (("days", self.days, 1), ("passes", self.passes, 0), ("drift", self.drift, 0.0))
            if value is not None and value < least
        ]
        if findings:
            raise InputError(findings)


@dataclasses.dataclass(frozen=True)
class HybridModel:
    """Networks around the physics of a day, for any number of folds at once.

    The weights of a fold are one row of a matrix (fold, weight): `unpack` gives them names, so that an optimiser, a
    file or a copy need know nothing of networks.

    Parameters
    ----------
    features : int
        Number of static features.
    processes : Processes
    networks : tuple of Net
    width : int, optional
        Hidden units of every daily net that has no width of its own.

    Raises
    ------
    InputError
        If the table of networks does not give each learned parameter exactly once, or names an unknown input or kind.

    Examples
    --------
    >>> from xh2cm.model import HybridModel
    >>> HybridModel(features=30).size
    155037
    """

    features: int
    processes: Processes = Processes()
    networks: tuple[Net, ...] = PUBLISHED_NETWORKS
    width: int | None = None

    def __post_init__(self) -> None:
        if findings := self._findings():
            raise InputError(findings)

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # what is cached is worked out again

    # -- the table --------------------------------------------------------------------------------------------------

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """Learned parameters by name."""
        return {p.name: p for p in self.processes.parameters}

    @cached_property
    def gives(self) -> dict[str, tuple[str, ...]]:
        """Which parameters each net gives, ``"*"`` and static ones without a row filled in."""
        named = {name for net in self.networks for name in net.outputs}
        rest = {
            kind: tuple(n for n, p in self.parameters.items() if n not in named and p.varies == kind)
            for kind in ("daily", "static")
        }
        given = {}
        for net in self.networks:
            own = tuple(name for name in net.outputs if name in self.parameters)
            extra = rest["static"] if net.kind == "static" else rest["daily"] if "*" in net.outputs else ()
            given[net.name] = own + extra
        return given

    @cached_property
    def daily(self) -> tuple[Net, ...]:
        """The daily nets that give anything."""
        return tuple(net for net in self.networks if net.kind != "static" and self.gives[net.name])

    def _findings(self) -> list[Finding]:
        found = []
        inputs = [*FORCING, *STATE_INPUTS, "static"]
        for net in self.networks:
            if net.kind != "static" and net.kind not in KINDS:
                found.append(
                    Finding(
                        f"network {net.name}",
                        f"unknown kind {net.kind!r}",
                        f"use one of {', '.join(KINDS)}, or add yours to xh2cm.model.KINDS",
                    )
                )
            for name in net.inputs:
                if name not in inputs:
                    near = difflib.get_close_matches(name, inputs, n=1) or [", ".join(inputs)]
                    found.append(
                        Finding(f"network {net.name}", f"unknown input {name!r}", f"did you mean {near[0]!r}?")
                    )
        if [net.kind for net in self.networks].count("static") != 1:
            found.append(
                Finding(
                    "networks", "there must be exactly one net of kind 'static'", "take it from PUBLISHED_NETWORKS[0]"
                )
            )
        given = [name for net in self.networks for name in self.gives[net.name]]
        for name, p in self.parameters.items():
            if p.varies != "global" and given.count(name) != 1:
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
        return found

    @cached_property
    def layout(self) -> dict[str, Weight]:
        """Every weight by name, without the fold axis, in order."""
        static = next(net for net in self.networks if net.kind == "static")
        weights = {
            f"global.{p.name}": Weight((), 0.0, p.start) for p in self.parameters.values() if p.varies == "global"
        }
        parts = MLP().weights(self.features, len(self.gives[static.name]), static.width or MLP.width)
        weights |= {f"{static.name}.{part}": w for part, w in parts.items()}
        for net in self.daily:
            parts = KINDS[net.kind].weights(net.size, len(self.gives[net.name]), self._width(net))
            weights |= {f"{net.name}.{part}": w for part, w in parts.items()}
        return weights

    def _width(self, net: Net) -> int:
        return net.width or self.width or KINDS[net.kind].width

    @cached_property
    def size(self) -> int:
        """Number of weights of a fold."""
        return sum(math.prod(w.shape) for w in self.layout.values())

    @cached_property
    def outputs(self) -> dict[str, Var | Parameter]:
        """Everything a run can record, by field or parameter name; ``fapar`` once, as a state."""
        return dict(OUTPUTS) | {name: p for name, p in self.parameters.items() if name not in OUTPUTS}

    # -- weights ----------------------------------------------------------------------------------------------------

    def initial(self, generator: Generator) -> Tensor:
        """Fresh weights of one fold, (weight,), drawn as PyTorch draws them."""
        return torch.cat(
            [
                w.start + w.bound * (2 * torch.rand(math.prod(w.shape), generator=generator) - 1)
                if w.bound
                else torch.full((1,), w.start)
                for w in self.layout.values()
            ]
        )

    def unpack(self, weights: Tensor) -> dict[str, Tensor]:
        """Name the weights of a (fold, weight) matrix."""
        pieces = weights.split([math.prod(w.shape) for w in self.layout.values()], -1)
        return {
            name: piece.unflatten(-1, w.shape) if w.shape else piece
            for (name, w), piece in zip(self.layout.items(), pieces, strict=True)
        }

    def pack(self, named: Mapping[str, Tensor]) -> Tensor:
        """Weights of one fold (weight,) from named ones without a fold axis."""
        return torch.cat([named[name].reshape(-1) for name in self.layout])

    # -- the run ----------------------------------------------------------------------------------------------------

    def start(self, cells: Tensor) -> Carry:
        """Bare land: empty storages, no leaves, networks without a memory.

        Parameters
        ----------
        cells : Tensor, (fold, cell)
            Only its shape, type and device count.
        """
        zero = torch.zeros_like(cells)
        return Carry(
            State(zero, zero, zero, zero, torch.full_like(cells, FIRST_NPP)),
            tuple(KINDS[n.kind].memory(cells, self._width(n)) for n in self.daily),
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
        """Walk a record.

        Parameters
        ----------
        weights : Tensor, (fold, weight)
        forcing : Tensor, (fold, cell, time, 5)
            In canonical units, in the order of `Forcing`.
        static : Tensor, (fold, cell, feature)
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
        fixed, embedding = self.fixed(
            named, (static - scaling.static_mean.unsqueeze(1)) / scaling.static_std.unsqueeze(1)
        )
        standard = (forcing - scaling.forcing_mean[:, None, None]) / scaling.forcing_std[:, None, None]
        ready = [KINDS[net.kind].ready(of(net, named), net, embedding) for net in self.daily]
        columns = [standard.new_tensor(net.forcing, dtype=torch.long) for net in self.daily]
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
            after, fluxes, outputs = self.land(fixed, state, Forcing(*raw_forcing.unbind(-1)), raw)
            if wants_residuals:
                outputs |= residuals(state, after, fluxes)._asdict()
            return Carry(after, tuple(memory)), outputs

        carry = self.start(forcing[:, :, 0, 0]) if carry is None else carry
        record = (forcing, standard)
        walk = choose(loop, self.scheme, record)
        carry, outputs = walk(day, (fixed, ready), carry, record, [n for n in names if n not in fixed])
        return carry, {
            n: outputs[n]
            if n in outputs
            else fixed[n].squeeze(-1)
            if self.parameters[n].varies == "global"
            else fixed[n]
            for n in names
        }

    def sight(self, fixed: Mapping[str, Tensor], state: State) -> dict[str, Tensor]:
        """What networks may see of the state, scaled, by name in `STATE_INPUTS`."""
        found = state._asdict() | {"relative_soil_moisture": state.soil_moisture / fixed["soil_capacity"]}
        return {n: found[n] / scale if scale != 1 else found[n] for n, scale in STATE_INPUTS.items()}

    def land(
        self, fixed: Mapping[str, Tensor], state: State, forcing: Forcing, raw: Mapping[str, Tensor]
    ) -> tuple[State, Fluxes, dict[str, Tensor]]:
        """What the land makes of the networks' raw numbers on a day: state after it, fluxes, and all to record."""
        parameters = dict(fixed) | {n: self.bounded(n, x) for n, x in raw.items()}
        after, fluxes = step(self.processes, state, forcing, parameters)
        return after, fluxes, parameters | fluxes._asdict() | after._asdict()

    @cached_property
    def scheme(self) -> Scheme:
        """What the fast loop is compiled from."""
        (static,) = (net for net in self.networks if net.kind == "static")
        fixed = [*self.gives[static.name], *(n for n, p in self.parameters.items() if p.varies == "global")]
        raw = [n for net in self.daily for n in self.gives[net.name]]
        outputs = tuple(n for n in self.outputs if n not in fixed)

        def see(constants: Sequence[Tensor], state: Sequence[Tensor]) -> tuple[list[Tensor]]:
            return (list(self.sight(dict(zip(fixed, constants, strict=True)), State(*state)).values()),)

        def land(
            constants: Sequence[Tensor], state: Sequence[Tensor], forcing: Sequence[Tensor], given: Sequence[Tensor]
        ) -> tuple[list[Tensor], list[Tensor]]:
            before, named = State(*state), dict(zip(fixed, constants, strict=True))
            after, fluxes, found = self.land(named, before, Forcing(*forcing), dict(zip(raw, given, strict=True)))
            found |= residuals(before, after, fluxes)._asdict()
            return list(after), [found[n] for n in outputs]

        parts = tuple(
            Part(
                COMPILED.get(type(KINDS[net.kind]), net.kind),
                {"WIDTH": self._width(net), "INNER": EMBEDDING},
                tuple(net.forcing),
                tuple(list(STATE_INPUTS).index(n) for n in net.state),
                len(self.gives[net.name]),
            )
            for net in self.daily
        )
        counts = len(fixed), len(State._fields), len(Forcing._fields), len(STATE_INPUTS)
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
        """Walk a period over and over to find a start in balance with it.

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
            if spinup.drift is not None and all(
                bool(((new - old).abs() <= spinup.drift).all())
                for new, old in zip(carry.state[:3], before.state[:3], strict=True)
            ):
                break
        return carry

    def fixed(self, named: Mapping[str, Tensor], static: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Parameters that do not change from day to day, and the embedding of the static features.

        Parameters
        ----------
        named : mapping of str to Tensor
            From `unpack`.
        static : Tensor, (fold, cell, feature)
            Standardised.

        Returns
        -------
        parameters : dict of str to Tensor, (fold, cell) or (fold, 1)
        embedding : Tensor, (fold, cell, 12)
        """
        net = next(net for net in self.networks if net.kind == "static")
        embedding, raw = MLP().static(of(net, named), static)
        fixed = {name: self.bounded(name, x) for name, x in zip(self.gives[net.name], raw.unbind(-1), strict=True)}
        constants = {
            p.name: self.bounded(p.name, named[f"global.{p.name}"])
            for p in self.parameters.values()
            if p.varies == "global"
        }
        return fixed | constants, embedding

    def bounded(self, name: str, raw: Tensor) -> Tensor:
        """Squeeze raw numbers into the bounds of a parameter."""
        p = self.parameters[name]
        if p.varies != "global" and p.start:  # the raw number of a global constant starts there itself
            raw = raw + p.start
        if math.isinf(p.upper):
            return p.lower + softplus(raw) if p.lower else softplus(raw)
        unit = torch.sigmoid(raw)
        return unit if (p.lower, p.upper) == (0.0, 1.0) else p.lower + (p.upper - p.lower) * unit


def of(net: Net, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a net, without its name."""
    return {name.removeprefix(f"{net.name}."): w for name, w in named.items() if name.startswith(f"{net.name}.")}
