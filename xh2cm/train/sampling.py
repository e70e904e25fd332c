"""Samples and batches: windows of cells that each fold sees, as tensors.

A sample is a cell and a window of its record; a fold sees those its label does not forbid.
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

from xh2cm.model.loss import Compared, Gauges, Split, Truth
from xh2cm.settings import Training
from xh2cm.targets import Target
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
    at = dict(zip(cells.mask.dims, np.unravel_index(cells.index, cells.mask.shape), strict=True))
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
    def length(self) -> int:
        """Days of a window."""
        days = self.cells.forcing.shape[1]
        return min(self.training.window or days, days)

    @cached_property
    def starts(self) -> Tensor:
        """First days of the windows; the last one reaches back where the record is no multiple of the window."""
        days = self.cells.forcing.shape[1]
        first = [*range(0, days - self.length + 1, self.length)]
        return torch.tensor(first if first[-1] + self.length == days else [*first, days - self.length])

    @cached_property
    def months(self) -> int:
        """Most months a window touches."""
        month = self.cells.calendar.month.cpu()
        return int((month[self.starts + self.length - 1] - month[self.starts]).max()) + 1

    def allowed(self, label: Tensor, fold: Tensor, split: Split) -> Tensor:
        """Return where a label allows a fold to see the data."""
        return (label >= 0) & (label != fold) if split == "training" else label == fold

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
        """The samples a fold may see.

        Windows (not whole records) without a single observation are left out: they would only take time.
        """
        label = self.label.cpu()
        mine = self.allowed(label, torch.tensor(fold), split)
        pairs = []
        for start in self.starts.tolist():
            days = slice(start, start + self.length)
            chosen = mine.any(1) if mine.shape[1] == 1 else mine[:, days].any(1)
            if self.training.window is not None:
                chosen &= self.observed(days, mine)
            pairs.append(torch.stack([chosen.nonzero().squeeze(1), torch.full((int(chosen.sum()),), start)]))
        cell, start = torch.cat(pairs, 1)
        together = self.group[cell] + start * (int(self.group.max()) + 1)
        block = torch.unique(together, return_inverse=True)[1]
        order = block.argsort(stable=True)
        return Drawn(cell[order], start[order], block[order])

    def observed(self, days: slice, mine: Tensor) -> Tensor:
        """Cells with any observation in some days that may be looked at."""
        found = torch.zeros(len(mine), dtype=torch.bool)
        month = self.cells.calendar.month.cpu()
        for target in self.targets:
            seen = self.cells.targets[target.name]
            finite = seen.values.isfinite().cpu()
            if seen.shares is not None:  # what a gauge shows is seen in each of its cells
                finite = ((seen.shares.cpu() > 0).T.float() @ finite.float()) > 0
            if seen.step == "static":
                found |= finite[:, 0]
            else:
                on_days = finite if seen.step == "daily" else finite[:, month]
                found |= (on_days[:, days] & (mine if mine.shape[1] == 1 else mine[:, days])).any(1)
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

    def inputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Forcing of the spin-up and of the window, and static features, (fold, sample, ...)."""
        spin = min(self.training.start.days or self.length, self.cells.forcing.shape[1])
        before = self.window((batch.start - spin).clamp(min=0), spin)
        at = batch.cell.unsqueeze(-1)
        return (
            self.cells.forcing[at, before],
            self.cells.forcing[at, self.window(batch.start, self.length)],
            self.cells.static[batch.cell],
        )

    def window(self, start: Tensor, length: int) -> Tensor:
        """Days of windows, (fold, sample, length)."""
        return start.unsqueeze(-1) + torch.arange(length, device=start.device)

    def truth(self, batch: Batch, split: Split, stds: dict[str, Tensor]) -> tuple[dict[str, Truth], Compared]:
        """Return the observations, and which of them count."""
        label = self.label[batch.cell]  # (fold, sample, 1 or time)
        if label.shape[2] > 1:
            label = label.gather(2, self.window(batch.start, self.length))
        allowed = self.allowed(label, batch.folds[:, None, None], split).expand(-1, -1, self.length)
        compared = self.compared(batch, self.cells.area[batch.cell], allowed)
        truths = {}
        for target in self.targets:
            seen, gauges = self.cells.targets[target.name], None
            shown = batch
            if seen.shares is not None:
                shown, gauges = self.gauges(batch, seen.shares, compared)
            truths[target.name] = self.laid(seen, shown, stds[target.name])._replace(gauges=gauges)
        return truths, compared

    def months_of(self, start: Tensor) -> tuple[Tensor, Tensor]:
        """Months that windows touch, (fold, sample, month), and which of them the calendar still holds."""
        last = len(self.cells.calendar.days) - 1
        month = self.cells.calendar.month[start].unsqueeze(-1) + torch.arange(self.months, device=start.device)
        return month.clamp(max=last), month <= last

    def compared(self, batch: Batch, area: Tensor, allowed: Tensor) -> Compared:
        """The samples of a batch as the losses want them."""
        calendar = self.cells.calendar
        month, inside = self.months_of(batch.start)
        days = self.window(batch.start, self.length)
        return Compared(
            counts=batch.counts,
            area=area,
            allowed=allowed,
            month=calendar.month[days] - month[..., :1],
            month_days=torch.where(inside, calendar.days[month], 0),
            of_year=calendar.of_year[month],
        )

    def laid(self, seen: Observed, batch: Batch, std: Tensor) -> Truth:
        """A target in the windows of a batch, whose ``cell`` is its row."""
        at, days = batch.cell.unsqueeze(-1), self.window(batch.start, self.length)
        month, inside = self.months_of(batch.start)
        if seen.step == "monthly":
            values, axis = torch.where(inside, seen.values[at, month], torch.nan), seen.axis[month] & inside
        elif seen.step == "daily":
            values, axis = seen.values[at, days], seen.axis[days]
        else:
            values, axis = seen.values[batch.cell], seen.axis.expand(*batch.cell.shape, 1)
        quality = seen.quality
        if quality is not None:
            quality = quality[at, {"monthly": month, "daily": days}.get(seen.step, torch.zeros_like(at))]
        return Truth(values, axis, seen.step, std, quality)

    def gauges(self, batch: Batch, shares: Tensor, compared: Compared) -> tuple[Batch, Gauges]:
        """The gauges all of whose cells a batch holds, as a batch of their own, and their shares of its samples."""
        shown = []  # of each fold: gauge, first day, shares (sample,)
        for cell, start, counts in zip(batch.cell, batch.start, batch.counts, strict=True):
            rows = []
            for first in start[counts].unique().tolist():
                share = shares[:, cell] * (counts & (start == first))
                whole = (share.sum(1) > 1 - 1e-3).nonzero().squeeze(1)
                rows.append((whole, torch.full_like(whole, first), share[whole]))
            shown.append([torch.cat(x) for x in zip(*rows, strict=True)])
        most = max(len(gauge) for gauge, _, _ in shown)
        padded = torch.nn.utils.rnn.pad_sequence
        gauge, start, share = (padded([x[i] for x in shown], batch_first=True) for i in range(3))
        counts = torch.stack([torch.arange(most, device=gauge.device) < len(x[0]) for x in shown])
        alike = Batch(batch.folds, gauge, start, counts)
        theirs = (share > 0).float()
        hidden = torch.bmm(theirs, (~compared.allowed).float()) > 0  # a gauge shows nothing where one cell is hidden
        area = torch.bmm(theirs.double(), compared.area.unsqueeze(2).double()).squeeze(2)
        return alike, Gauges(share, self.compared(alike, area, ~hidden))


def batches(drawn: dict[int, Drawn], size: int, device: torch.device) -> Iterator[Batch]:
    """Cut the samples of several folds into common batches; a fold that has run out is left out of the rest."""
    steps = {k: one.steps(size) for k, one in drawn.items()}
    for at in range(max(map(len, steps.values()), default=0)):
        part = {k: pieces[at] for k, pieces in steps.items() if len(pieces) > at}
        most = max(len(one.cell) for one in part.values())
        cell, start = (
            torch.stack([torch.nn.functional.pad(x, (0, most - len(x))) for x in of_folds]).to(device)
            for of_folds in list(zip(*part.values(), strict=True))[:2]
        )
        counts = torch.stack([torch.arange(most) < len(one.cell) for one in part.values()])
        yield Batch(torch.tensor(list(part), device=device), cell, start, counts.to(device))
