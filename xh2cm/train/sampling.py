"""Samples and batches: windows of cells that each fold sees, as tensors.

A sample is a cell and a window of its record; a fold sees those its label does not forbid. Where the forcing of a cell
has gaps, its record is the row of days that have all forcing (`Record`), and no window crosses a long gap.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse.csgraph
import torch
import xarray as xr

from xh2cm.data.split import TEST
from xh2cm.model.loss import Compared, Gauges, Split, Truth
from xh2cm.settings import Training
from xh2cm.targets import Target
from xh2cm.train.record import Record
from xh2cm.train.tensors import Cells, Observed

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Batch", "Drawn", "Samples", "batches", "gauge_label", "label_tensor"]


class Drawn(NamedTuple):
    """Samples a fold may see, block by block: what stands in one block is walked in one step."""

    cell: Tensor  # (sample,)
    start: Tensor  # (sample,) first day
    block: Tensor  # (sample,) 0, 1, ...

    def shuffled(self, dice: torch.Generator) -> Drawn:
        """The same with the blocks in another order."""
        if not len(self.block):
            return self
        number = int(self.block[-1]) + 1
        rank = torch.empty(number, dtype=torch.long)
        rank[torch.randperm(number, generator=dice)] = torch.arange(number)
        order = rank[self.block].argsort(stable=True)
        return Drawn(*(x[order] for x in self))

    def steps(self, size: int) -> list[Drawn]:
        """Cut into steps of at most so many samples, but never through a block."""
        _, counts = torch.unique_consecutive(self.block, return_counts=True)
        if len(counts) == len(self.block):
            ends = [*range(size, len(counts), size)]
        else:
            ends, filled, at = [], 0, 0
            for count in counts.tolist():
                if filled and filled + count > size:
                    ends.append(at)
                    filled = 0
                filled, at = filled + count, at + count
        return [Drawn(*x) for x in zip(*(x.tensor_split(ends) for x in self), strict=True)] if len(self.cell) else []


class Batch(NamedTuple):
    """Samples of some folds; folds with fewer samples are filled up with samples that do not count."""

    folds: Tensor  # (fold,) their numbers
    cell: Tensor  # (fold, sample)
    start: Tensor  # (fold, sample) first day
    counts: Tensor  # (fold, sample) bool


class Inputs(NamedTuple):
    """Inputs of the samples of a batch; a sample with fewer days than others repeats its last."""

    spin: Tensor  # (fold, sample, day, forcing)
    spin_days: Tensor  # (fold, sample)
    forcing: Tensor  # (fold, sample, day, forcing)
    days: Tensor  # (fold, sample)
    static: Tensor  # (fold, sample, feature)


class View(NamedTuple):
    """The days and months that the windows of a batch look at."""

    day: Tensor  # (fold, sample, day) position on the time axis
    inside: Tensor  # (fold, sample, day) whether it belongs to the window, and does not only fill it up
    month: Tensor  # (fold, sample, month) number among those of the record
    in_record: Tensor  # (fold, sample, month) whether the record still holds it


CELLS = 1024
"""Cells whose days are looked at together when windows are chosen."""


def label_tensor(labels: xr.DataArray, cells: Cells) -> Tensor:
    """Fold labels of the cells.

    Parameters
    ----------
    labels : DataArray
        On the land dimensions, on ``time``, or on both.
    cells : Cells

    Returns
    -------
    Tensor of int, (cell, 1) or (cell, time)
        -1 for what no fold sees.
    """
    dims, shape = cells.mask.dims, cells.mask.shape
    at = dict(zip(dims, np.unravel_index(cells.index, shape) if dims else (), strict=True))
    land = [d for d in at if d in labels.dims]
    values = labels.transpose(*land, ...).values
    whole = torch.from_numpy(np.nan_to_num(values, nan=-1).astype(np.int64)).to(cells.forcing.device)
    if not land:
        return whole.reshape(1, -1).expand(len(cells.index), -1)
    found: Tensor = whole[tuple(torch.from_numpy(at[d]) for d in land)]
    return found.reshape(len(cells.index), -1)


def gauge_label(label: Tensor, shares: Tensor) -> Tensor:
    """Labels of gauges from those of cells (cell, n): -1 where the cells of a gauge belong to several folds."""
    found = torch.full((len(shares), label.shape[1]), -1, dtype=label.dtype, device=label.device)
    for gauge, share in enumerate(shares):
        of_cells = label[share > 0]
        if len(of_cells):
            one = of_cells.amin(0)
            found[gauge] = torch.where(one == of_cells.amax(0), one, -1)
    return found


@dataclasses.dataclass(frozen=True)
class Samples:
    """Windows of cells that each fold sees, and their tensors."""

    cells: Cells
    label: Tensor
    targets: tuple[Target, ...]
    training: Training

    @cached_property
    def record(self) -> Record:
        """Days with all forcing, those of all cells together where a gauge shows their mean."""
        cells, device = self.cells, self.cells.forcing.device
        complete = cells.complete
        if complete is not None and len(self.group.unique()) < len(self.group):
            group = self.group.to(device)
            lost = complete.new_zeros(int(group.max()) + 1, complete.shape[1], dtype=torch.int32)
            complete = (lost.index_add(0, group, (~complete).int()) == 0)[group]
        return Record.of(len(cells.forcing), cells.forcing.shape[1], complete, self.training.start.bridge, device)

    @cached_property
    def length(self) -> int:
        """Days of the longest window."""
        longest = int(self.record.days.max()) if len(self.record.days) else 1
        return min(self.training.window or longest, longest)

    @cached_property
    def windows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Cell, first day and days of each window; the last one of a stretch reaches back where they do not add up.

        By first day, then by cell; in memory of the CPU. Days are numbered among those of the cell.
        """
        cell, first, days = (x.cpu() for x in (self.record.cell, self.record.first, self.record.days))
        length = days.clamp(max=self.length)
        number = -(-days // length)
        stretch = torch.repeat_interleave(torch.arange(len(days)), number)
        nth = torch.arange(len(stretch)) - (number.cumsum(0) - number)[stretch]
        start = first[stretch] + torch.minimum(nth * length[stretch], (days - length)[stretch])
        order = (start * len(self.record.day) + cell[stretch]).argsort(stable=True)
        return cell[stretch][order], start[order], length[stretch][order]

    @cached_property
    def months(self) -> int:
        """Most months a window touches."""
        cell, start, days = self.windows
        month, day = self.cells.calendar.month.cpu(), self.record.day.cpu()
        first, last = month[day[cell, start]], month[day[cell, start + days - 1]]
        return int((last - self.origin(first)).max()) + 1

    def origin(self, month: Tensor) -> Tensor:
        """First month of the windows that begin in some months: their own, but the same for all whole records."""
        return month if self.training.window is not None else torch.zeros_like(month)

    def allowed(self, label: Tensor, fold: Tensor, split: Split) -> Tensor:
        """Return where a label allows a fold to see the data."""
        return (label != TEST) & (label != fold) if split == "training" else label == fold

    @cached_property
    def group(self) -> Tensor:
        """Group of each cell, (cell,): cells whose mean a gauge observes belong together."""
        shown = [seen.shares.cpu() > 0 for t in self.targets if (seen := self.cells.targets[t.name]).shares is not None]
        number = len(self.cells.forcing)
        if not shown:
            return torch.arange(number)
        gauges = np.concatenate([x.numpy() for x in shown])
        links = scipy.sparse.csr_array(gauges.T.astype(np.int32) @ gauges.astype(np.int32))
        return torch.from_numpy(scipy.sparse.csgraph.connected_components(links, directed=False)[1].astype(np.int64))

    @cached_property
    def _drawn(self) -> dict[tuple[int, Split], Drawn]:
        return {}

    def of(self, fold: int, split: Split) -> Drawn:
        """The samples a fold may see, worked out once."""
        if (fold, split) not in self._drawn:
            self._drawn[fold, split] = self.draw(fold, split)
        return self._drawn[fold, split]

    def draw(self, fold: int, split: Split) -> Drawn:
        """The samples a fold may see."""
        label = self.label.cpu()
        mine = self.allowed(label, torch.tensor(fold), split)
        some = torch.arange(len(mine)).split(CELLS)
        chosen = torch.cat([self.chosen(mine, cells) for cells in some]).sort()[0]
        cell, start, _ = (x[chosen] for x in self.windows)
        together = self.group[cell] + start * (int(self.group.max()) + 1)
        block = torch.unique(together, return_inverse=True)[1]
        order = block.argsort(stable=True)
        return Drawn(cell[order], start[order], block[order])

    def chosen(self, mine: Tensor, cells: Tensor) -> Tensor:
        """Numbers of the windows of some cells in which a fold may look at a day.

        Windows (not whole records) without a single observation are left out: they would only take time.
        """
        cell, start, days = self.windows
        number = ((cell >= cells[0]) & (cell <= cells[-1])).nonzero().squeeze(1)
        row, begin = cell[number] - cells[0], start[number]
        there = mine[cells].expand(-1, self.cells.forcing.shape[1])
        if self.training.window is not None:
            there = there & self.observed(cells)
        until = torch.nn.functional.pad(
            there.gather(1, self.record.day[cells].cpu()).cumsum(1, dtype=torch.int32), (1, 0)
        )
        return number[until[row, begin + days[number]] > until[row, begin]]

    def observed(self, cells: Tensor) -> Tensor:
        """Days (cell, time) on which some cells have any observation, of whatever target."""
        found = torch.zeros(len(cells), self.cells.forcing.shape[1], dtype=torch.bool)
        month = self.cells.calendar.month.cpu()
        for target in self.targets:
            seen = self.cells.targets[target.name]
            if seen.shares is None:
                finite = seen.values[cells].isfinite().cpu()
            else:  # what a gauge shows is seen in each of its cells
                finite = ((seen.shares[:, cells].cpu() > 0).T.float() @ seen.values.isfinite().cpu().float()) > 0
            found |= finite[:, month] if seen.step == "monthly" else finite  # a static one is seen on any day
        return found

    def observations(self) -> Counter[tuple[str, int]]:
        """Count the observations of each target under each fold label; a month counts where it has one label."""
        counts: Counter[tuple[str, int]] = Counter()
        month = self.cells.calendar.month.cpu()
        for target in self.targets:
            seen = self.cells.targets[target.name]
            label = self.label.cpu() if seen.shares is None else gauge_label(self.label.cpu(), seen.shares.cpu())
            finite = seen.values.isfinite().cpu()
            if seen.quality is not None:
                finite &= seen.quality.cpu() > 0
            if label.shape[1] > 1 and seen.step == "static":  # a mean over whichever days may be looked at
                for k in label.unique().tolist():
                    counts[target.name, k] += int((finite[:, 0] & (label == k).any(1)).sum())
                continue
            if label.shape[1] > 1 and seen.step == "monthly":
                where, shape = month.expand_as(label), (len(label), finite.shape[1])
                first = label.new_full(shape, -1).scatter_reduce(1, where, label, "amin", include_self=False)
                last = label.new_full(shape, -1).scatter_reduce(1, where, label, "amax", include_self=False)
                label = torch.where(first == last, first, -1)
            labels, number = label.expand_as(finite)[finite].unique(return_counts=True)
            counts.update({(target.name, k): n for k, n in zip(labels.tolist(), number.tolist(), strict=True)})
        return counts

    def inputs(self, batch: Batch) -> Inputs:
        """Forcing of the spin-up and of the window, and static features, (fold, sample, ...)."""
        days, stretch = self.days(batch), self.record.at(batch.cell, batch.start)
        spin = self.record.days[stretch].clamp(max=self.training.start.days or self.length)
        before = (batch.start - spin).maximum(self.record.first[stretch])  # or the first days of the stretch
        cell = batch.cell.unsqueeze(-1)
        return Inputs(
            self.cells.forcing[cell, self.window(batch, before, spin, int(spin.max()))],
            spin,
            self.cells.forcing[cell, self.window(batch, batch.start, days, int(days.max()))],
            days,
            self.cells.static[batch.cell],
        )

    def window(self, batch: Batch, start: Tensor, days: Tensor, width: int) -> Tensor:
        """Positions on the time axis, (fold, sample, width), of days that follow each other; the last is repeated."""
        nth = torch.arange(width, device=start.device).minimum(days.unsqueeze(-1) - 1)
        return self.record.day[batch.cell.unsqueeze(-1), start.unsqueeze(-1) + nth]

    def truth(self, batch: Batch, split: Split, stds: dict[str, Tensor]) -> tuple[dict[str, Truth], Compared]:
        """Return the observations, and which of them count."""
        view = self.view(batch, int(self.days(batch).max()))
        label = self.label[batch.cell]  # (fold, sample, 1 or time)
        if label.shape[2] > 1:
            label = label.gather(2, view.day)
        allowed = self.allowed(label, batch.folds[:, None, None], split) & view.inside
        compared = self.compared(batch, view, self.cells.area[batch.cell], allowed)
        truths = {}
        for target in self.targets:
            seen, gauges, shown, seen_at = self.cells.targets[target.name], None, batch, view
            if seen.shares is not None:
                shown, seen_at, gauges = self.gauges(batch, seen.shares, compared)
            truths[target.name] = self.laid(seen, shown, seen_at, stds[target.name])._replace(gauges=gauges)
        return truths, compared

    def days(self, batch: Batch) -> Tensor:
        """Days of the windows of a batch, (fold, sample)."""
        return self.record.days[self.record.at(batch.cell, batch.start)].clamp(max=self.length)

    def view(self, batch: Batch, width: int) -> View:
        """The days and months of the windows of a batch, as many days for each as the longest has."""
        days = self.days(batch)
        day = self.window(batch, batch.start, days, width)
        inside = torch.arange(width, device=day.device) < days.unsqueeze(-1)
        last = len(self.cells.calendar.days) - 1
        first = self.origin(self.cells.calendar.month[day[..., 0]]).unsqueeze(-1)
        month = first + torch.arange(self.months, device=day.device)
        return View(day, inside, month.clamp(max=last), month <= last)

    def compared(self, batch: Batch, view: View, area: Tensor, allowed: Tensor) -> Compared:
        """The samples of a batch as the losses want them."""
        calendar = self.cells.calendar
        return Compared(
            counts=batch.counts,
            area=area,
            allowed=allowed,
            month=calendar.month[view.day] - view.month[..., :1],
            month_days=torch.where(view.in_record, calendar.days[view.month], 0),
            of_year=calendar.of_year[view.month],
        )

    def laid(self, seen: Observed, batch: Batch, view: View, std: Tensor) -> Truth:
        """A target in the windows of a batch, whose ``cell`` is its row."""
        at = batch.cell.unsqueeze(-1)
        if seen.step == "monthly":
            values = torch.where(view.in_record, seen.values[at, view.month], torch.nan)
            axis = seen.axis[view.month] & view.in_record
        elif seen.step == "daily":
            values, axis = seen.values[at, view.day], seen.axis[view.day]
        else:
            values, axis = seen.values[batch.cell], seen.axis.expand(*batch.cell.shape, 1)
        quality = seen.quality
        if quality is not None:
            quality = quality[at, {"monthly": view.month, "daily": view.day}.get(seen.step, torch.zeros_like(at))]
        return Truth(values, axis, seen.step, std, quality)

    def gauges(self, batch: Batch, shares: Tensor, compared: Compared) -> tuple[Batch, View, Gauges]:
        """The gauges all of whose cells a batch holds, as a batch of their own, and their shares of its samples."""
        shown = []  # of each fold: gauge, one of its cells, first day, shares (sample,)
        for cell, start, counts in zip(batch.cell, batch.start, batch.counts, strict=True):
            rows = []
            for first in start[counts].unique().tolist():
                share = shares[:, cell] * (counts & (start == first))
                whole = (share.sum(1) > 1 - 1e-3).nonzero().squeeze(1)
                rows.append((whole, cell[share[whole].argmax(1)], torch.full_like(whole, first), share[whole]))
            shown.append([torch.cat(x) for x in zip(*rows, strict=True)])
        most = max(len(gauge) for gauge, *_ in shown)
        padded = torch.nn.utils.rnn.pad_sequence
        gauge, cell, start, share = (padded([x[i] for x in shown], batch_first=True) for i in range(4))
        counts = torch.stack([torch.arange(most, device=gauge.device) < len(x[0]) for x in shown])
        alike = Batch(batch.folds, gauge, start, counts)
        view = self.view(Batch(batch.folds, cell, start, counts), compared.allowed.shape[2])
        theirs = (share > 0).float()
        hidden = torch.bmm(theirs, (~compared.allowed).float()) > 0  # a gauge shows nothing where one cell is hidden
        area = torch.bmm(theirs.double(), compared.area.unsqueeze(2).double()).squeeze(2)
        return alike, view, Gauges(share, self.compared(alike, view, area, ~hidden))


def batches(drawn: dict[int, Drawn], size: int, device: torch.device) -> Iterator[Batch]:
    """Cut the samples of several folds into common batches; a fold that has run out is left out of the rest."""
    steps = {k: one.steps(size) for k, one in drawn.items()}
    for at in range(max(map(len, steps.values()), default=0)):
        part = {k: pieces[at] for k, pieces in steps.items() if len(pieces) > at}
        most = max(len(one.cell) for one in part.values())
        filled = [torch.arange(most) * (torch.arange(most) < len(one.cell)) for one in part.values()]  # by the first
        cell, start = (
            torch.stack([x[rows] for x, rows in zip(of_folds, filled, strict=True)]).to(device)
            for of_folds in list(zip(*part.values(), strict=True))[:2]
        )
        counts = torch.stack([torch.arange(most) < len(one.cell) for one in part.values()])
        yield Batch(torch.tensor(list(part), device=device), cell, start, counts.to(device))
