"""The fast walk through time on a CPU: compiled for the model at hand, the same numbers as the plain one.

A thread takes as many cells as a vector register has lanes through the whole record, so that their states and the
weights stay in its cache (``lanes.cpp``). The physics comes from the functions of the model, traced with its gradient.
With gradients, only what passes from one stretch of days to the next is kept; the rest is worked out again.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_flatten, tree_unflatten

from xh2cm.errors import Finding, InputError
from xh2cm.loop import build, plain, trace

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["WORTHWHILE", "Loop", "Part", "Scheme", "choose", "paying", "walk"]

log = logging.getLogger(__name__)

Loop = Literal["auto", "plain", "fast"]

WORTHWHILE = 300_000
"""Cells x days from which on compiling pays: the plain loop takes about as long for them as a compiler."""


KINDS: Mapping[str, int] = {"Lstm": 2, "Gru": 1, "Mlp": 0}
"""Kinds of networks that lanes.cpp knows, and how many vectors each hands from one day to the next."""

PRECISIONS: Mapping[str, str] = {"highest": "", "medium": "#define BFLOAT16\n"}
"""Precisions of products as torch names them, and how lanes.cpp is told."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A network as the lanes see it.

    Parameters
    ----------
    kind : str
        One of `KINDS`; anything else has no fast loop.
    sizes : mapping of str to int
        ``WIDTH``, and ``INNER`` for the second layer of an ``Mlp``.
    forcing, sees : tuple of int
        Which of the forcings, and of the numbers that `Scheme.see` gives, it takes in.
    gives : int
        Number of raw parameters.
    """

    kind: str
    sizes: Mapping[str, int]
    forcing: tuple[int, ...]
    sees: tuple[int, ...]
    gives: int


@dataclasses.dataclass(frozen=True, eq=False)
class Scheme:
    """What a day is, as far as a compiler must know; cells, days and folds do not matter.

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
    def source(self) -> str:
        """The whole program.

        Raises
        ------
        Untraceable
            If a network or the physics has no compiled form.
        """
        if odd := sorted({part.kind for part in self.parts} - KINDS.keys()):
            raise trace.Untraceable(f"networks of kind {', '.join(odd)} have no compiled form")
        raw = sum(part.gives for part in self.parts)
        seeing = ({"fixed": self.fixed, "state": self.state}, {"sight": self.sight})
        living = (
            {"fixed": self.fixed, "state": self.state, "forcing": self.forcing, "raw": raw},
            {"after": self.state, "outputs": len(self.outputs)},
        )
        counts = {"FIXED": self.fixed, "STATE": self.state, "FORCING": self.forcing, "SIGHT": self.sight}
        counts |= {"RAW": raw, "OUTPUTS": len(self.outputs)}
        text = [
            *(f"constexpr int {name} = {count};" for name, count in counts.items()),
            trace.function("sight", self.see, *seeing),
            trace.gradient("sight_back", self.see, *seeing),
            trace.function("land", self.land, *living),
            trace.gradient("land_back", self.land, *living, constant=["forcing"]),
        ]
        at = 0
        for i, part in enumerate(self.parts):
            sizes = {**part.sizes, "GIVES": part.gives, "AT": at}
            lists = {"FORCINGS": part.forcing, "SEES": part.sees}
            members = [
                *(f"static constexpr int {name} = {size};" for name, size in sizes.items()),
                *(
                    f"static constexpr std::array<int, {len(x)}> {name}{{{', '.join(map(str, x))}}};"
                    for name, x in lists.items()
                ),
            ]
            text.append(f"struct Net{i} {{ {' '.join(members)} }};")
            at += part.gives
        nets = ", ".join(f"{part.kind}<Net{i}>" for i, part in enumerate(self.parts))
        text.append(f"using Nets = std::tuple<{nets}>;")
        frame = files("xh2cm.loop").joinpath("lanes.cpp").read_text(encoding="utf-8")
        before, after = frame.split("//<model>\n//</model>\n")
        return "\n".join([before, *text, after])

    @cached_property
    def carried(self) -> list[tuple[int, ...]]:
        """What a cell hands from one day to the next: its storages, and the memory of its networks."""
        shapes: list[tuple[int, ...]] = [()] * self.state
        return shapes + [(part.sizes["WIDTH"],) for part in self.parts for _ in range(KINDS[part.kind])]

    @cached_property
    def programs(self) -> dict[str, ctypes.CDLL | str]:
        """What `built` has found, by precision."""
        return {}

    @property
    def built(self) -> ctypes.CDLL | str:
        """The program, ready to run, or why there is none.

        Its products are of the precision that `torch.set_float32_matmul_precision` has set: float32, or for
        ``"medium"`` products of bfloat16 numbers, summed in float32, where the processor has them (AVX512_BF16).
        """
        precision = "medium" if torch.get_float32_matmul_precision() == "medium" else "highest"
        if precision not in self.programs:
            try:
                found: ctypes.CDLL | str = build.library(PRECISIONS[precision] + self.source)
            except (trace.Untraceable, build.Unbuilt) as reason:
                found = str(reason)
            self.programs[precision] = found
        return self.programs[precision]


def paying(loop: Loop, work: int) -> Loop:
    """Take the plain loop where compiling another would not pay.

    Parameters
    ----------
    loop : {"auto", "plain", "fast"}
    work : int
        Cells x days that will be walked in all, counted for each fold, pass and epoch.

    Returns
    -------
    {"auto", "plain", "fast"}
        ``"plain"`` instead of ``"auto"`` for little work; what was given otherwise.

    Examples
    --------
    >>> paying("auto", work=10 * 730), paying("auto", work=1000 * 7300), paying("fast", work=1)
    ('plain', 'auto', 'fast')
    """
    return "plain" if loop == "auto" and work < WORTHWHILE else loop


def choose(loop: Loop, scheme: Scheme, record: Sequence[Tensor]) -> Callable[..., Any]:
    """Give the walk to take, to be called as `xh2cm.loop.plain.walk`.

    Parameters
    ----------
    loop : {"auto", "plain", "fast"}
        ``"auto"`` is fast where that is possible; if only the model or a missing compiler is in the way, that is said
        once.
    scheme : Scheme
    record : sequence of Tensor, (fold, cell, time, feature)

    Returns
    -------
    callable

    Raises
    ------
    InputError
        If the fast loop is asked for and there is none, or `loop` is not known.
    """
    if loop not in get_args(Loop):
        raise InputError([Finding("loop", f"{loop!r} is unknown", f"give one of {', '.join(get_args(Loop))}")])
    if loop == "plain":
        return plain.walk
    x = record[0]
    if x.device.type != "cpu" or x.dtype != torch.float32:
        reason = f"it walks float32 on a CPU, not {str(x.dtype).removeprefix('torch.')} on {x.device.type}"
    elif torch.is_grad_enabled() and any(part.requires_grad for part in record):
        reason = "it gives no gradients by forcing"
    elif not x.numel():
        reason = "there is nothing to walk"
    elif isinstance(scheme.built, str):
        reason = scheme.built
        if loop == "auto":
            tell(reason)
    else:
        return partial(walk, scheme)
    if loop == "fast":
        raise InputError([Finding("loop", f"there is no fast loop here: {reason}", 'give loop="auto" or "plain"')])
    return plain.walk


@functools.cache
def tell(reason: str) -> None:
    """Say once that, and why, the plain loop is taken."""
    log.warning("the plain loop is taken, there is no fast one here: %s", reason)


def walk(
    scheme: Scheme,
    day: Any,  # noqa: ARG001 - called as the plain one is
    shared: Any,
    carry: Any,
    record: Sequence[Tensor],
    names: Sequence[str],
) -> tuple[Any, dict[str, Tensor]]:
    """Go through a record as `xh2cm.loop.plain.walk` does, compiled.

    Parameters
    ----------
    scheme : Scheme
        Must be built.
    day : callable
        Not called: `scheme` says the same.
    shared : tuple
        Fixed parameters, a dict of (fold, cell) or (fold, 1), and for each network a constant (fold, cell, row),
        a matrix, and the rest.
    carry : Any
        State (fold, cell) and memory (fold, cell, unit), in any nesting.
    record : pair of Tensor, (fold, cell, time, feature)
        Forcing, and forcing as the networks see it.
    names : sequence of str

    Returns
    -------
    carry : Any
    outputs : dict of str to Tensor, (fold, cell, time)

    Raises
    ------
    InputError
        If the carry is not of this scheme.
    """
    fixed, ready = shared
    folds, cells = record[0].shape[:2]
    flat, nesting = tree_flatten(carry)
    if (found := [tuple(x.shape[2:]) for x in flat]) != scheme.carried:
        problem = f"holds {found} of a cell, this model {scheme.carried}"
        raise InputError([Finding("carry", problem, "start from one of the same model")])
    per_cell = [*fixed.values(), *(net.constant for net in ready), *flat]
    spread = iter([x.to(record[0]).expand(folds, cells, *x.shape[2:]) for x in per_cell])
    tensors = [next(spread) for _ in fixed]
    for net in ready:
        tensors += [next(spread), net.matrix, *net.rest]
    tensors += spread
    needs = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
    wanted = [scheme.outputs.index(name) for name in names]
    results = Walk.apply(  # type: ignore[no-untyped-call]
        scheme, [x.contiguous() for x in record], wanted, len(flat), needs, *(x.contiguous() for x in tensors)
    )
    return tree_unflatten(list(results[: len(flat)]), nesting), dict(zip(names, results[len(flat) :], strict=True))


class Arguments(ctypes.Structure):
    """``struct Walk`` of lanes.cpp."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("folds", "cells", "days", "threads")),
        *((name, ctypes.c_void_p) for name in ("forcing", "standard", "fixed", "tensors", "carry", "after", "outputs")),
        *(
            (name, ctypes.c_void_p)
            for name in ("borders", "by_after", "by_outputs", "by_fixed", "by_tensors", "by_carry")
        ),
    ]


def pointers(tensors: Sequence[Tensor | None]) -> ctypes.Array[ctypes.c_void_p]:
    """Where tensors lie."""
    return (ctypes.c_void_p * max(len(tensors), 1))(*(None if x is None else x.data_ptr() for x in tensors))


class Walk(torch.autograd.Function):
    """The compiled walk and its gradient."""

    @staticmethod
    def forward(
        ctx: Any, scheme: Scheme, record: list[Tensor], wanted: list[int], carried: int, needs: bool, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """All that is carried, then the wanted outputs."""
        forcing = record[0]
        outputs = [forcing.new_empty(forcing.shape[:3]) for _ in wanted]
        after = [torch.empty_like(x) for x in tensors[len(tensors) - carried :]]
        arguments, alive = described(scheme, record, tensors, carried)
        all_outputs: list[Tensor | None] = [None] * len(scheme.outputs)
        for at, x in zip(wanted, outputs, strict=True):
            all_outputs[at] = x
        alive += [places := pointers(after), by_name := pointers(all_outputs)]
        arguments.after, arguments.outputs = ctypes.addressof(places), ctypes.addressof(by_name)
        library = scheme.built
        assert isinstance(library, ctypes.CDLL)  # noqa: S101 - `choose` has seen to it
        library.border_floats.restype = ctypes.c_int64
        borders = forcing.new_empty(library.border_floats(ctypes.byref(arguments)) if needs else 0)
        if needs:
            arguments.borders = borders.data_ptr()
            ctx.save_for_backward(*record, borders, *tensors)
            ctx.told = (scheme, wanted, carried)
            ctx.set_materialize_grads(False)
        library.walk_forward(ctypes.byref(arguments))
        return (*after, *outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *by_results: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients by every tensor."""
        scheme, wanted, carried = ctx.told
        forcing, standard, borders, *tensors = ctx.saved_tensors
        given = [None if x is None else x.contiguous() for x in by_results]
        by_outputs: list[Tensor | None] = [None] * len(scheme.outputs)
        for at, x in zip(wanted, given[carried:], strict=True):
            by_outputs[at] = x
        by_tensors = [torch.zeros_like(x) for x in tensors]
        arguments, alive = described(scheme, [forcing, standard], tensors, carried)
        arrays: dict[str, Sequence[Tensor | None]] = {
            "by_after": given[:carried],
            "by_outputs": by_outputs,
            "by_fixed": by_tensors[: scheme.fixed],
            "by_tensors": by_tensors[scheme.fixed : len(tensors) - carried],
            "by_carry": by_tensors[len(tensors) - carried :],
        }
        for name, several in arrays.items():
            alive.append(places := pointers(several))
            setattr(arguments, name, ctypes.addressof(places))
        arguments.borders = borders.data_ptr()
        scheme.built.walk_backward(ctypes.byref(arguments))
        return (*(None,) * 5, *by_tensors)


def described(
    scheme: Scheme, record: Sequence[Tensor], tensors: Sequence[Tensor], carried: int
) -> tuple[Arguments, list[Any]]:
    """What both ways need to know, and what must live as long as it is used."""
    folds, cells, days, _ = record[0].shape
    arguments = Arguments(folds, cells, days, torch.get_num_threads())
    arguments.forcing, arguments.standard = (x.data_ptr() for x in record)
    border = len(tensors) - carried
    alive = [pointers(x) for x in (tensors[: scheme.fixed], tensors[scheme.fixed : border], tensors[border:])]
    arguments.fixed, arguments.tensors, arguments.carry = (ctypes.addressof(x) for x in alive)
    return arguments, [*alive]
