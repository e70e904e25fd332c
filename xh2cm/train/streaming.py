"""The cells of a dataset in portions that fit into memory, read ahead of their use.

What fits is one portion, read once and kept. What does not is read block by block as it lies on disk: an epoch goes
through all blocks in a random order, several to a portion, and the next portion is read while this one is trained on.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import psutil
import scipy.sparse.csgraph
import torch
import xarray as xr
from dask.utils import format_bytes, parse_bytes

from xh2cm.data.chunks import land_blocks
from xh2cm.data.read_forcing import forcing_of
from xh2cm.errors import Finding, InputError
from xh2cm.train.sampling import label_tensor
from xh2cm.train.tensors import Box, Cells, to_tensors

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Portion", "Portions"]

log = logging.getLogger(__name__)

READING = 3
"""How often a block lies in memory while it is read: as it is stored, as it is converted, and its cells in a row."""

SHARE = 8
"""A block takes at most one in so many parts of the memory, or it is cut."""


class Portion(NamedTuple):
    """Cells that are in memory together, and their fold labels, (cell, 1) or (cell, time)."""

    cells: Cells
    label: Tensor


@dataclasses.dataclass(frozen=True)
class Portions:
    """Blocks of cells, and how they are loaded.

    Parameters
    ----------
    load : callable
        Gives the `Portion` that some blocks make, with or without their forcing.
    sizes : sequence of int
        Bytes that each block takes in memory.
    most : int
        Bytes that a portion may take; at least the largest block.
    memory : int
        Bytes that all that is held at once may take.
    """

    load: Callable[[Sequence[int], bool], Portion]
    sizes: Sequence[int]
    most: int
    memory: int = 0

    @classmethod
    def whole(cls, cells: Cells, label: Tensor) -> Portions:
        """Cells that are in memory already."""
        portion = Portion(cells, label)
        return cls(lambda blocks, forcing: portion, [0], 0)  # noqa: ARG005 - there is only one

    @classmethod
    def of(
        cls,
        dataset: xr.Dataset,
        labels: xr.DataArray,
        targets: Sequence[str],
        maps: xr.Dataset,
        device: torch.device,
        memory: int | str | None = None,
    ) -> Portions:
        """Cells of a checked dataset, in portions where all of them are more than fits.

        Parameters
        ----------
        dataset : Dataset
            As `check` gives it.
        labels : DataArray
            From `fold_labels`.
        targets : sequence of str
            Those that are there are taken.
        maps : Dataset
            Maps of pinned parameters, which are put behind the static features.
        device : torch.device
        memory : int or str, optional
            Bytes that the data may take, such as ``"4 GiB"``; half of what is free if not given.

        Returns
        -------
        Portions

        Raises
        ------
        InputError
            If `memory` is no amount, or too little for what must be in memory together.
        """
        most = ceiling(memory, device)
        mask, days = dataset["mask"].compute(), dataset.sizes["time"]
        rows = [name for name in targets if name in dataset]
        daily = len(forcing_of(dataset)) + sum("time" in dataset[n].dims for n in rows)
        of_cell = 4 * days * daily
        blocks = joined([*cut(land_blocks(dataset), mask, most // (SHARE * of_cell * READING))], dataset, rows)
        cells = [sum(mask.isel(box).size for box in block) for block in blocks]
        used = [of_cell * sum(int(mask.isel(box).sum()) for box in block) for block in blocks]
        left = most - READING * of_cell * max(cells)
        if sum(used) > left and max(used) > left // 2:
            together = f"{max(cells):,} cells that must be in memory together take {format_bytes(max(used))}"
            least = format_bytes(2 * max(used) + READING * of_cell * max(cells))
            raise InputError([Finding("memory", f"is {format_bytes(most)}, but {together}", f"give at least {least}")])

        gaps = bool((dataset["forcing_days"].values[mask.values] < days).any())  # where they lie, the forcing says

        def load(chosen: Sequence[int], forcing: bool) -> Portion:
            boxes = [box for at in sorted(chosen) for box in blocks[at]]
            cells = to_tensors(dataset, device, targets, boxes=boxes, forcing=forcing or gaps)
            behind = [maps[n].transpose(*mask.dims).values.reshape(-1)[cells.index] for n in maps.data_vars]
            layers = [cells.static, *(torch.from_numpy(x).to(cells.static)[:, None] for x in behind)]
            cells = dataclasses.replace(cells, static=torch.cat(layers, 1))
            return Portion(cells, label_tensor(labels, cells))

        found = cls(load, used, left if sum(used) <= left else left // 2, most)
        if found.streams:
            log.info(
                "%s of data in %d blocks, in portions of at most %s",
                format_bytes(sum(used)), len(blocks), format_bytes(found.most),
            )  # fmt: skip
        return found

    @property
    def streams(self) -> bool:
        """Return whether the data are larger than the memory."""
        return sum(self.sizes) > self.most

    @property
    def described(self) -> str:
        """Describe the division into blocks."""
        return f"{len(self.sizes)} blocks, {self.most} bytes at once" if self.streams else "one"

    @cached_property
    def kept(self) -> Portion:
        """All there is, read once."""
        return self.load(range(len(self.sizes)), True)

    @cached_property
    def first(self) -> Portion:
        """Some of the cells, for what is the same for all; without their forcing where the cells are streamed."""
        return self.load([0], False) if self.streams else self.kept

    def grouped(self, dice: torch.Generator | None = None) -> list[list[int]]:
        """Deal the blocks to portions.

        Parameters
        ----------
        dice : Generator, optional
            In an order of its choice; as they lie if not given.

        Returns
        -------
        list of list of int
            The blocks of each portion. One that holds all, without a throw, where all fits.
        """
        if not self.streams:
            return [[*range(len(self.sizes))]]
        order = torch.randperm(len(self.sizes), generator=dice).tolist() if dice else range(len(self.sizes))
        groups: list[list[int]] = [[]]
        filled = 0
        for block in order:
            if groups[-1] and filled + self.sizes[block] > self.most:
                groups.append([])
                filled = 0
            groups[-1].append(block)
            filled += self.sizes[block]
        return groups

    def walk(self, groups: Sequence[Sequence[int]], *, forcing: bool = True) -> Iterator[Portion]:
        """Read portion after portion, each while the one before it is used; where streamed, also without forcing."""
        if not self.streams:
            yield from (self.kept for _ in groups)
            return
        with ThreadPoolExecutor(1, "xh2cm-read") as reader:
            coming = [reader.submit(self.load, groups[0], forcing)] if groups else []
            for at in range(len(groups)):
                portion = coming.pop().result()
                if at + 1 < len(groups):
                    coming.append(reader.submit(self.load, groups[at + 1], forcing))
                yield portion
                del portion  # or three would be held at once


def ceiling(memory: int | str | None, device: torch.device) -> int:
    """Bytes that the data may take.

    Raises
    ------
    InputError
        If that is no amount.
    """
    if memory is None:
        free = psutil.virtual_memory().available if device.type == "cpu" else torch.cuda.mem_get_info(device)[0]
        return int(free // 2)
    try:
        found = parse_bytes(memory)
    except ValueError:
        found = 0
    if found <= 0:
        raise InputError([Finding("memory", f"{memory!r} is no amount of memory", 'give bytes, or such as "4 GiB"')])
    return int(found)


def cut(blocks: Sequence[Box], mask: xr.DataArray, cells: int) -> Iterator[Box]:
    """Cut blocks of more than so many cells along the longest of their sides."""
    for block in blocks:
        part = mask.isel(block)
        pieces = math.ceil(part.size / max(cells, 1))
        if pieces == 1 or not part.dims:
            yield block
            continue
        side = max(part.dims, key=lambda dim: part.sizes[dim])
        start = block[side].start or 0
        borders = np.unique(np.linspace(0, part.sizes[side], min(pieces, part.sizes[side]) + 1).astype(int)) + start
        smaller = ({**block, side: slice(int(a), int(b))} for a, b in itertools.pairwise(borders))
        yield from cut([*smaller], mask, cells)


def joined(boxes: Sequence[Box], dataset: xr.Dataset, targets: Sequence[str]) -> list[list[Box]]:
    """Put boxes together that hold cells of one gauge: its mean needs all of them."""
    mask = dataset["mask"]
    at = xr.DataArray(np.zeros(mask.shape, dtype=int), dims=mask.dims)
    for number, box in enumerate(boxes):
        at[dict(box)] = number
    links = scipy.sparse.identity(len(boxes), dtype=int, format="lil")
    for name in targets:
        shares = dataset.get(f"{name}_cells")
        if shares is not None:
            (gauge,) = (d for d in shares.dims if d not in mask.dims)
            for share in shares.transpose(gauge, *mask.dims).values:
                met = np.unique(at.values[share > 0])
                links[met[:1], met] = 1
    group = scipy.sparse.csgraph.connected_components(links, directed=False)[1]
    return [[boxes[i] for i in np.flatnonzero(group == one).tolist()] for one in range(group.max() + 1)]
