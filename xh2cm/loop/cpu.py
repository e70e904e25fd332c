"""The loop on a CPU: a thread runs as many cells as a vector register has lanes through the whole record.

Their states and the weights stay in its cache (``cpu.cpp``). With gradients, only what passes from one stretch of
days to the next is kept; the rest is worked out again.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from xh2cm.loop import cache
from xh2cm.loop.threads import loop_threads

if TYPE_CHECKING:
    from torch import Tensor

    from xh2cm.loop.program import Scheme, Tensors

__all__ = ["Lanes"]

PRECISIONS: Mapping[str, str] = {"highest": "", "medium": "#define BFLOAT16\n"}
"""Precisions of products, and how cpu.cpp is told."""


class Arguments(ctypes.Structure):
    """``struct Walk`` of cpu.cpp."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("folds", "cells", "days", "threads")),
        *((name, ctypes.c_void_p) for name in ("forcing", "standard", "fixed", "tensors", "carry", "after", "outputs")),
        *(
            (name, ctypes.c_void_p)
            for name in ("borders", "by_after", "by_outputs", "by_fixed", "by_tensors", "by_carry")
        ),
    ]


class Lanes:
    """The loop over days, compiled for a scheme.

    Parameters
    ----------
    scheme : Scheme
    precision : {"highest", "medium"}
        Of products: float32, or products of bfloat16 numbers, summed in float32, where the processor has them
        (AVX512_BF16).

    Raises
    ------
    Untraceable, Unbuilt
        If the scheme has no compiled form, or nothing is there to compile it.
    """

    def __init__(self, scheme: Scheme, precision: str) -> None:
        self.scheme = scheme
        self.library = cache.library(PRECISIONS[precision] + scheme.source("cpu.cpp"))
        for name in ("border_floats", "walk_forward", "walk_backward"):
            getattr(self.library, name).restype = ctypes.c_int64

    def forward(
        self, record: Sequence[Tensor], tensors: Tensors, wanted: Sequence[int], keep: bool
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Run; see `xh2cm.loop.compiled.Program`."""
        forcing = record[0]
        after = [torch.empty_like(x) for x in tensors.carry]
        outputs = [forcing.new_empty(forcing.shape[:3]) for _ in wanted]
        every: list[Tensor | None] = [None] * len(self.scheme.outputs)
        for at, x in zip(wanted, outputs, strict=True):
            every[at] = x
        arguments, alive = described(record, tensors, {"after": after, "outputs": every})
        borders = forcing.new_empty(self.library.border_floats(ctypes.byref(arguments)) if keep else 0)
        if keep:
            arguments.borders = borders.data_ptr()
        if self.library.walk_forward(ctypes.byref(arguments)):
            raise MemoryError
        del alive
        return after, outputs, [borders]

    def backward(
        self,
        record: Sequence[Tensor],
        tensors: Tensors,
        borders: Sequence[Tensor],
        by_after: Sequence[Tensor | None],
        by_outputs: Sequence[Tensor | None],
    ) -> Tensors:
        """Return gradients; see `xh2cm.loop.compiled.Program`."""
        by_fixed, by_carry = ([torch.zeros_like(x) for x in group] for group in (tensors.fixed, tensors.carry))
        by_nets = [[torch.zeros_like(x) for x in net] for net in tensors.nets]
        arrays = {"by_after": by_after, "by_outputs": by_outputs, "by_fixed": by_fixed, "by_carry": by_carry}
        arguments, alive = described(record, tensors, {**arrays, "by_tensors": [x for net in by_nets for x in net]})
        arguments.borders = borders[0].data_ptr()
        if self.library.walk_backward(ctypes.byref(arguments)):
            raise MemoryError
        del alive
        return type(tensors)(by_fixed, by_nets, by_carry)


def described(
    record: Sequence[Tensor], tensors: Tensors, arrays: Mapping[str, Sequence[Tensor | None]]
) -> tuple[Arguments, list[Any]]:
    """Return the arguments of a run, and the objects that must live as long as they are used."""
    arguments = Arguments(*record[0].shape[:3], loop_threads())
    arguments.forcing, arguments.standard = (x.data_ptr() for x in record)
    given = {"fixed": tensors.fixed, "tensors": [x for net in tensors.nets for x in net], "carry": tensors.carry}
    alive = []
    for name, several in (given | dict(arrays)).items():
        alive.append(places := pointers(several))
        setattr(arguments, name, ctypes.addressof(places))
    return arguments, alive


def pointers(tensors: Sequence[Tensor | None]) -> ctypes.Array[ctypes.c_void_p]:
    """Return the addresses of tensors."""
    return (ctypes.c_void_p * max(len(tensors), 1))(*(None if x is None else x.data_ptr() for x in tensors))
