"""The loop on a GPU: a block of threads runs a few cells through the whole record.

Their states stay in its shared memory, and nothing is launched day by day (``cuda.cu``). With gradients, only what
passes from one stretch of days to the next is kept; on the way back a stretch is walked again and all of it held, so
that its gradient by the weights is a few large products of torch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch.nn.functional import pad

from xh2cm.loop import nvrtc
from xh2cm.loop.cache import Unbuilt

if TYPE_CHECKING:
    from torch import Tensor

    from xh2cm.loop.program import Part, Scheme, Tensors

__all__ = ["Blocks", "Module"]

STRETCH = 64
"""Days of which all is held at once."""

SIZES = (1, 2, 4, 8, 12, 16)
"""Cells that a block may have: many share the weights that it reads each day, few let all processors work."""


class Module(Protocol):
    """A program on its device."""

    processors: int
    """Blocks that can work at once."""
    shared: int
    """Bytes of shared memory that a block may have."""

    def needs(self, kernel: str) -> int:
        """Bytes of shared memory that a block of a kernel takes."""

    def launch(self, kernel: str, blocks: int, threads: int, arguments: ctypes.Array[ctypes.c_int64]) -> None:
        """Run some blocks."""


class Blocks:
    """The loop over days, compiled for a scheme.

    Parameters
    ----------
    scheme : Scheme
    device : torch.device
    load : callable
        ``load(source, device) -> Module``

    Raises
    ------
    Untraceable, Unbuilt
        If the scheme has no compiled form, nothing is there to compile it, or a block has no room for a single cell.
    """

    def __init__(
        self, scheme: Scheme, device: torch.device, load: Callable[[str, torch.device], Module] = nvrtc.load
    ) -> None:
        self.scheme, self.device, self.load = scheme, device, load
        self.threads = min(512, max(64, sum(-(-FORMS[part.kind].items(part) // 32) * 32 for part in scheme.parts)))
        self.modules: dict[int, Module] = {}
        self.module(1)

    def module(self, lanes: int) -> tuple[int, Module]:
        """Return the program for blocks of so many cells, or as many as a block has room for, and their number."""
        for size in reversed([size for size in SIZES if size <= lanes]):
            if size not in self.modules:
                sizes = f"#define CELLS {size}\n#define THREADS {self.threads}\n"
                self.modules[size] = self.load(sizes + self.scheme.source("cuda.cu"), self.device)
            module = self.modules[size]
            if module.needs("walk_backward") <= module.shared:
                return size, module
        raise Unbuilt(f"a cell takes {module.needs('walk_backward')} bytes of shared memory, not {module.shared}")

    def launch(self, kernel: str, sizes: Sequence[int], places: Sequence[Tensor | None]) -> None:
        """Run all blocks of folds x cells."""
        folds, cells = sizes[:2]
        processors = next(iter(self.modules.values())).processors
        enough = [size for size in SIZES if folds * -(-cells // size) <= processors]
        lanes, module = self.module(min(enough, default=SIZES[-1]))
        numbers = [*sizes, *(0 if x is None else x.data_ptr() for x in places), 0]
        module.launch(kernel, folds * -(-cells // lanes), self.threads, (ctypes.c_int64 * len(numbers))(*numbers))

    def forward(
        self, record: Sequence[Tensor], tensors: Tensors, wanted: Sequence[int], keep: bool
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Run; see `xh2cm.loop.compiled.Program`."""
        folds, cells, days, _ = record[0].shape
        state, fixed, memory, nets = self.laid_out(tensors)
        after = [torch.empty_like(x) for x in (state, *memory)]
        stretches = -(-days // STRETCH) if keep else 0
        borders = [x.new_empty(stretches, *x.shape) for x in (state, *memory)]
        outputs = [record[0].new_empty(folds, cells, days) for _ in wanted]
        every: list[Tensor | None] = [None] * len(self.scheme.outputs)
        for at, x in zip(wanted, outputs, strict=True):
            every[at] = x
        places = [*record, fixed, state, after[0], borders[0] if keep else None, *(None,) * 4, *every]
        places += [None] * len(every)
        kept = iter(zip(memory, after[1:], borders[1:], strict=True))
        for part, net in zip(self.scheme.parts, nets, strict=True):
            memories = [(*next(kept), None) for _ in range(part.memories)]
            places += FORMS[part.kind].places(net, memories, [])
        self.launch("walk_forward", (folds, cells, days, 0, days, STRETCH), places)
        return [*after[0].unbind(-1), *after[1:]], outputs, borders if keep else []

    def backward(
        self,
        record: Sequence[Tensor],
        tensors: Tensors,
        borders: Sequence[Tensor],
        by_after: Sequence[Tensor | None],
        by_outputs: Sequence[Tensor | None],
    ) -> Tensors:
        """Return gradients; see `xh2cm.loop.compiled.Program`."""
        folds, cells, days, _ = record[0].shape
        scheme, x = self.scheme, record[0]
        _, fixed, _, nets = self.laid_out(tensors)
        by_carry = [
            torch.zeros_like(c) if by is None else by.clone() for c, by in zip(tensors.carry, by_after, strict=True)
        ]
        by_state = torch.stack(by_carry[: scheme.state], -1)
        by_memory, by_fixed = by_carry[scheme.state :], torch.zeros_like(fixed)
        stretch = min(days, STRETCH)
        held_state = x.new_empty(folds, stretch + 1, cells, scheme.state)
        held_raw = x.new_empty(folds, stretch, cells, scheme.raw)
        held = [FORMS[part.kind].room(part, x, folds, stretch, cells) for part in scheme.parts]
        by_nets: list[list[Tensor]] = [[torch.zeros_like(t) for t in net] for net in tensors.nets]
        for at in reversed(range(borders[0].shape[0])):
            first, border = at * STRETCH, [b[at] for b in borders]
            count = min(STRETCH, days - first)
            places = [*record, fixed, border[0], None, None, held_state, held_raw, by_state, by_fixed]
            places += [*(None,) * len(by_outputs), *by_outputs]
            kept = iter(zip(border[1:], by_memory, strict=True))
            for part, net, rooms in zip(scheme.parts, nets, held, strict=True):
                pairs = [next(kept) for _ in range(part.memories)]
                places += FORMS[part.kind].places(net, [(before, None, None, by) for before, by in pairs], rooms)
            self.launch("walk_backward", (folds, cells, days, first, count, stretch), places)
            start = 0
            for part, rooms, by_net in zip(scheme.parts, held, by_nets, strict=True):
                by_raw = held_raw[:, :count, :, start : start + part.gives]
                for total, one in zip(by_net, FORMS[part.kind].gathered(part, rooms, by_raw, count), strict=True):
                    total += one
                start += part.gives
        return type(tensors)(list(by_fixed.unbind(-1)), by_nets, [*by_state.unbind(-1), *by_memory])

    def laid_out(self, tensors: Tensors) -> tuple[Tensor, Tensor, list[Tensor], list[list[Tensor]]]:
        """Return state (fold, cell, storage), constants, memory and networks in the layout of cuda.cu."""
        state = torch.stack(tensors.carry[: self.scheme.state], -1)
        fixed = torch.stack(tensors.fixed, -1) if tensors.fixed else state[..., :0]
        nets = [FORMS[part.kind].laid_out(part, net) for part, net in zip(self.scheme.parts, tensors.nets, strict=True)]
        return state, fixed, tensors.carry[self.scheme.state :], nets


Memories = Sequence[tuple["Tensor | None", ...]]


class Form(Protocol):
    """The layout of a kind of network in cuda.cu."""

    def items(self, part: Part) -> int:
        """Return the number of threads that its first layer occupies."""

    def laid_out(self, part: Part, net: Sequence[Tensor]) -> list[Tensor]:
        """Return its tensors."""

    def room(self, part: Part, like: Tensor, folds: int, days: int, cells: int) -> list[Tensor]:
        """Return the buffers for all values of so many days."""

    def places(self, net: Sequence[Tensor], memories: Memories, room: Sequence[Tensor]) -> list[Tensor | None]:
        """Members of its ``Global``: tensors, memory (before, after, at borders, gradient of that before), and room."""

    def gathered(self, part: Part, room: Sequence[Tensor], by_raw: Tensor, days: int) -> list[Tensor]:
        """Return the gradients by its tensors from what the backward pass has left."""


class Recurrent:
    """LSTM and GRU cells with a head, as ``Recurrent`` of cuda.cu."""

    def items(self, part: Part) -> int:
        """One for each unit."""
        return part.sizes["WIDTH"]

    def laid_out(self, part: Part, net: Sequence[Tensor]) -> list[Tensor]:
        """Gates of a unit side by side, and the matrix of the way back."""
        constant, matrix, bias, head = net
        back = matrix[:, len(part.forcing) :].unflatten(-1, (4, -1)).permute(0, 3, 2, 1)
        back = pad(back, (0, -back.shape[-1] % 4))
        gates = [x.unflatten(-1, (4, -1)).mT for x in (constant, matrix)]
        return [x.contiguous() for x in (*gates, bias, head.mT, back)]

    def room(self, part: Part, like: Tensor, folds: int, days: int, cells: int) -> list[Tensor]:
        """Inputs, gates, and for an LSTM its cell state."""
        width = part.sizes["WIDTH"]
        inputs = len(part.forcing) + len(part.sees) + width
        found = [like.new_empty(folds, days + 1, cells, inputs), like.new_empty(folds, days, cells, width, 4)]
        return found + [like.new_empty(folds, days + 1, cells, width)] * (part.memories - 1)

    def places(self, net: Sequence[Tensor], memories: Memories, room: Sequence[Tensor]) -> list[Tensor | None]:
        """Members of its ``Global``."""
        pairs = zip(*(*memories, (None,) * 4)[:2], strict=True)
        return [*net, *(x for pair in pairs for x in pair), *(*room, None, None, None)[:3]]

    def gathered(self, part: Part, room: Sequence[Tensor], by_raw: Tensor, days: int) -> list[Tensor]:
        """Gradients by constant, matrix, bias and head."""
        x, by_gates = room[:2]
        width = part.sizes["WIDTH"]
        by_gates = by_gates[:, :days]
        by_matrix = product(x[:, :days], by_gates.flatten(-2)).unflatten(-1, (width, 4))
        by_head = product(x[:, 1 : days + 1, :, -width:], by_raw)
        by = [x.mT.flatten(-2) for x in (by_gates.sum(1), by_matrix)]
        return [*by, by_raw.sum((1, 2)).unsqueeze(1), by_head]


class Layers:
    """Three layers, as ``Mlp`` of cuda.cu."""

    def items(self, part: Part) -> int:
        """One for each four hidden units."""
        return -(-part.sizes["WIDTH"] // 4)

    def laid_out(self, part: Part, net: Sequence[Tensor]) -> list[Tensor]:
        """Four rows of the first layer side by side."""
        more = -part.sizes["WIDTH"] % 4
        return [x.contiguous() for x in (*(pad(x, (0, more)) for x in net[:2]), *net[2:])]

    def room(self, part: Part, like: Tensor, folds: int, days: int, cells: int) -> list[Tensor]:
        """Inputs, and both hidden layers with their gradients."""
        inputs, width, inner = len(part.forcing) + len(part.sees), part.sizes["WIDTH"], part.sizes["INNER"]
        sizes = (width, width, inner, inner)
        found = [like.new_empty(folds, days, cells, size) for size in sizes]
        return [like.new_empty(folds, days + 1, cells, inputs), *found]

    def places(self, net: Sequence[Tensor], memories: Memories, room: Sequence[Tensor]) -> list[Tensor | None]:
        """Members of its ``Global``."""
        assert not memories  # noqa: S101 - it has none
        return [*net, *(room or (None,) * 5)]

    def gathered(self, part: Part, room: Sequence[Tensor], by_raw: Tensor, days: int) -> list[Tensor]:
        """Gradients by constant, matrix, and bias and matrix of the second and third layer."""
        x, hidden, by_hidden, inner, by_inner = (x[:, :days] for x in room)
        found = [by_hidden.sum(1), product(x, by_hidden)]
        for by, seen in ((by_inner, hidden), (by_raw, inner)):
            found += [by.sum((1, 2)).unsqueeze(1), product(seen, by)]
        return found


FORMS: Mapping[str, Form] = {"Lstm": Recurrent(), "Gru": Recurrent(), "Traced": Recurrent(), "Mlp": Layers()}


def product(seen: Tensor, by: Tensor) -> Tensor:
    """Return the sum over days and cells: (fold, day, cell, in) and (fold, day, cell, out) give (fold, in, out)."""
    return torch.bmm(seen.flatten(1, 2).mT, by.flatten(1, 2))
