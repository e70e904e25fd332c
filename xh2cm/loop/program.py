"""A day as the compiler sees it, and its source text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from xh2cm.loop import codegen

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Part", "Scheme", "Tensors"]

GATES = 4
"""Gates of a recurrent network in the compiled loops."""


class Tensors(NamedTuple):
    """The tensors that a run depends on, besides its record."""

    fixed: list[Tensor]  # (fold, cell) each
    nets: list[list[Tensor]]  # of each network its constant (fold, cell, row), its matrix, and the rest
    carry: list[Tensor]  # (fold, cell) for the state, (fold, cell, unit) for what networks remember


@dataclasses.dataclass(frozen=True)
class Part:
    """A network as the compiled loop sees it.

    Parameters
    ----------
    kind : str
        Name of its template in the frames: ``"Lstm"``, ``"Gru"``, ``"Mlp"``, or ``"Traced"`` for one whose `cell` is.
    sizes : mapping of str to int
        ``WIDTH``, and ``INNER`` for the second layer of an ``Mlp``.
    forcing, sees : tuple of int
        Which of the forcings, and of the numbers that `Scheme.see` gives, it takes in.
    gives : int
        Number of raw parameters.
    memories, tensors : int
        How many vectors it hands from one day to the next, and how many tensors it comes as; none of these if it has no
        compiled form.
    cell : callable, optional
        ``cell(gates, memory) -> memory``, of a ``"Traced"`` one.
    """

    kind: str
    sizes: Mapping[str, int]
    forcing: tuple[int, ...]
    sees: tuple[int, ...]
    gives: int
    memories: int = 0
    tensors: int = 0
    cell: Callable[..., Any] | None = None

    def traced(self, name: str) -> str:
        """Return the functions of a cell, and of its gradient, that its type needs."""
        if self.cell is None:
            return ""
        cell = self.cell

        def unit(gates: Sequence[Tensor], before: Sequence[Tensor]) -> list[list[Tensor]]:
            return [list(cell(list(gates), tuple(before)))]

        shape = ({"gates": GATES, "before": self.memories}, {"after": self.memories})
        return codegen.function(f"{name}_unit", unit, *shape) + codegen.gradient(f"{name}_unit_back", unit, *shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Scheme:
    """A day as the compiler sees it, for any number of cells, days and folds.

    Parameters
    ----------
    parts : tuple of Part
    fixed, state, forcing, sight : int
        How many numbers a cell has of each: parameters that never change, storages, forcings, and what networks may
        see of the state.
    outputs : tuple of str
        What `land` gives to be recorded, in order.
    see : callable
        ``see(fixed, state) -> (sight,)``, lists of tensors.
    land : callable
        ``land(fixed, state, forcing, raw) -> (after, outputs)``, lists of tensors.
    """

    parts: tuple[Part, ...]
    fixed: int
    state: int
    forcing: int
    sight: int
    outputs: tuple[str, ...]
    see: Callable[..., Any]
    land: Callable[..., Any]

    @cached_property
    def raw(self) -> int:
        """Number of raw parameters that the networks give."""
        return sum(part.gives for part in self.parts)

    @cached_property
    def carried(self) -> list[tuple[int, ...]]:
        """Shapes of what is carried from one day to the next: storages, and the memory of the networks."""
        shapes: list[tuple[int, ...]] = [()] * self.state
        return shapes + [(part.sizes["WIDTH"],) for part in self.parts for _ in range(part.memories)]

    def grouped(self, tensors: Iterable[Tensor]) -> Tensors:
        """Group the tensors of a run that follow one another."""
        left = iter(tensors)
        fixed = list(islice(left, self.fixed))
        nets = [list(islice(left, part.tensors)) for part in self.parts]
        return Tensors(fixed, nets, list(left))

    def source(self, frame: str) -> str:
        """Return the whole program: the model, inserted into a frame.

        Parameters
        ----------
        frame : str
            Name of a file beside this one.

        Returns
        -------
        str

        Raises
        ------
        Untraceable
            If a network or the physics has no compiled form.
        """
        before, after = files("xh2cm.loop").joinpath(frame).read_text(encoding="utf-8").split("//<model>\n//</model>\n")
        return "\n".join([before, self.model, after])

    @cached_property
    def model(self) -> str:
        """The part of a program that depends on the model: sizes, physics and its gradient, types of networks."""
        if odd := sorted({part.kind for part in self.parts if not part.tensors}):
            raise codegen.Untraceable(f"networks of kind {', '.join(odd)} have no compiled form")
        seeing = ({"fixed": self.fixed, "state": self.state}, {"sight": self.sight})
        living = (
            {"fixed": self.fixed, "state": self.state, "forcing": self.forcing, "raw": self.raw},
            {"after": self.state, "outputs": len(self.outputs)},
        )
        counts = {"FIXED": self.fixed, "STATE": self.state, "FORCING": self.forcing, "SIGHT": self.sight}
        counts |= {"RAW": self.raw, "OUTPUTS": len(self.outputs)}
        text = [
            *(f"constexpr int {name} = {count};" for name, count in counts.items()),
            codegen.function("sight", self.see, *seeing),
            codegen.gradient("sight_back", self.see, *seeing),
            codegen.function("land", self.land, *living),
            codegen.gradient("land_back", self.land, *living, constant=["forcing"]),
        ]
        at = 0
        for i, part in enumerate(self.parts):
            sizes = {**part.sizes, "GIVES": part.gives, "AT": at}
            sizes |= {"FORCINGS": len(part.forcing), "SIGHTS": len(part.sees), "MEMORIES": part.memories}
            members = [f"static constexpr int {name} = {size};" for name, size in sizes.items()]
            for name, which in {"forcing": part.forcing, "sight": part.sees}.items():
                listed = ", ".join(map(str, which or (0,)))
                members.append(f"static int {name}(int i) {{ constexpr int of[] = {{{listed}}}; return of[i]; }}")
            if part.cell is not None:
                text.append(part.traced(f"net{i}"))
                members += [
                    f"template <class... A> static void {name}(A... a) {{ net{i}_{name}(a...); }}"
                    for name in ("unit", "unit_back")
                ]
            text.append(f"struct Net{i} {{ {' '.join(members)} }};")
            at += part.gives
        nets = ", ".join(f"{part.kind}<Net{i}>" for i, part in enumerate(self.parts))
        return "\n".join([*text, f"using Nets = All<{nets}>;"])
