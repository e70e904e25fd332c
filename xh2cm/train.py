"""Training of all folds at once: samples, batches, steps and early stop.

A sample is a cell and a window of its record; a fold sees those its label does not forbid. The folds march together,
each with its own cells, its own order, its own optimiser state and its own end, and give the numbers each would give
alone.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import scipy.sparse.csgraph
import torch
import xarray as xr
from tqdm.auto import tqdm

from xh2cm.data.cells import Cells, Observed, place
from xh2cm.errors import Finding, H2CMWarning, InputError, number_findings
from xh2cm.loop.lanes import Loop, paying
from xh2cm.model.hybrid import HybridModel, Scaling, SpinUp
from xh2cm.model.loss import Compared, Gauges, Truth, losses
from xh2cm.model.optimiser import AdamW
from xh2cm.model.watch import first_failure
from xh2cm.targets import PRIORS, Prior, Target
from xh2cm.variables import OUTPUTS

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Normalisation", "Training", "label_tensor", "normalisation", "train"]

log = logging.getLogger(__name__)

Split = Literal["training", "validation"]

SURE_EPOCHS = 10
"""Epochs that a training will hardly end before."""


@dataclasses.dataclass(frozen=True)
class Training:
    """How a model is trained; the defaults are the published ones.

    Parameters
    ----------
    epochs : int
        At most so many.
    patience : int or None
        Stop a fold after so many epochs without a better validation loss and keep its best weights; None trains all
        epochs and keeps the last.
    batch_size : int
        Samples a fold sees in a step.
    learning_rate : float
        Times 0.7 every 30 epochs.
    clip : float
        Gradients are clipped by value.
    window : int, optional
        Cut records into windows of so many days, each with a spin-up of its own; whole records if not given.
    spinup : SpinUp
    seed : int
    """

    epochs: int = 5000
    patience: int | None = 10
    batch_size: int = 128
    learning_rate: float = 0.005
    clip: float = 0.5
    window: int | None = None
    spinup: SpinUp = SpinUp()
    seed: int = 0

    DECAY = 0.7
    DECAY_EVERY = 30

    def __post_init__(self) -> None:
        least = {"epochs": 1, "patience": 1, "batch_size": 1, "learning_rate": 0.0, "clip": 0.0, "window": 28}
        if findings := number_findings(vars(self), {**least, "seed": 0}):
            raise InputError(findings)

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch."""
        return float(self.learning_rate * self.DECAY ** (epoch // self.DECAY_EVERY))


class Normalisation(NamedTuple):
    """What forcings, static features and targets are scaled by, fold by fold."""

    scaling: Scaling
    targets: dict[str, Tensor]  # (fold,) standard deviation


class Drawn(NamedTuple):
    """Samples a fold may see, block by block: what stands in one block is walked in one step."""

    cell: Tensor  # (sample,)
    start: Tensor  # (sample,) first day
    block: Tensor  # (sample,) 0, 1, ...

    def shuffled(self, dice: torch.Generator) -> Drawn:
        """The same with the blocks in another order."""
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
    land = cells.mask.dims
    on_land = labels.expand_dims({d: cells.mask.sizes[d] for d in land if d not in labels.dims})
    values = on_land.transpose(*land, *(d for d in ("time",) if d in labels.dims)).values
    flat = values.reshape(max(cells.mask.size, 1), -1)[cells.index]
    return torch.from_numpy(np.nan_to_num(flat, nan=-1).astype(np.int64)).to(cells.forcing.device)


def moments(values: Tensor, label: Tensor, folds: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (fold, feature) of values (cell, time, feature) over what each fold trains on.

    NaN counts for nothing; a standard deviation of 0 becomes 1.
    """
    parts = {}
    for one in label.unique().tolist():
        if one >= 0:
            chosen = (
                values[label[:, 0] == one]
                if label.shape[1] == 1
                else values.where((label == one).unsqueeze(2), torch.nan)
            )
            finite = chosen.isfinite()
            whole = torch.where(finite, chosen, 0.0).double()
            parts[one] = torch.stack([finite.sum((0, 1)).double(), whole.sum((0, 1)), whole.square().sum((0, 1))])
    nothing = torch.zeros(3, values.shape[2], dtype=torch.float64, device=values.device)
    total = torch.stack([sum((p for one, p in parts.items() if one != k), nothing) for k in folds])
    count = total[:, 0].clamp(min=1)
    mean = total[:, 1] / count
    std = (total[:, 2] / count - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(std > 1e-6 * mean.abs(), std, 1.0).float()


def normalisation(
    cells: Cells,
    label: Tensor,
    folds: Sequence[int],
    targets: Sequence[Target],
    source: Literal["training", "stored"] = "training",
) -> Normalisation:
    """What to scale by: each fold's own training cells, or what the dataset says of itself.

    Parameters
    ----------
    cells : Cells
    label : Tensor, (cell, 1) or (cell, time)
    folds : sequence of int
    targets : sequence of Target
    source : {"training", "stored"}
        ``"stored"`` takes the attributes ``mean`` and ``std``, as the published layout has them.

    Returns
    -------
    Normalisation

    Raises
    ------
    InputError
        If attributes are asked for that are not there.
    """
    observed = [t.name for t in targets if t.compare != "standardised"]
    names = [*cells.driving, *(["static"] if cells.features else []), *observed]
    if source == "stored":
        if missing := [name for name in names if name not in cells.scales]:
            remedy = 'write them, or give normalise="training"'
            raise InputError(Finding(name, "has no attributes `mean` and `std`", remedy) for name in missing)

        def stored(name: str) -> tuple[Tensor, Tensor]:
            pair = (torch.as_tensor(np.atleast_1d(np.asarray(x, dtype=np.float32))) for x in cells.scales[name])
            mean, std = (x.to(cells.forcing.device).expand(len(folds), -1) for x in pair)
            return mean, std

        forcing = [stored(name) for name in cells.driving]
        mean, std = (torch.cat(x, 1) for x in zip(*forcing, strict=True))
        empty = cells.static.new_zeros(len(folds), 0)
        static = stored("static") if cells.features else (empty, empty)
        one = torch.ones(len(folds), device=cells.forcing.device)
        own = {t.name: one if t.compare == "standardised" else stored(t.name)[1][:, 0] for t in targets}
        return Normalisation(Scaling(mean, std, *static), own)
    if source != "training":
        raise InputError([Finding("normalise", f"{source!r} is unknown", 'give "training" or "stored"')])
    features = cells.static[:, : len(cells.features)].unsqueeze(1)  # behind them stand maps, which no net sees
    everyone = max(folds) + 1  # no fold: years share their cells
    whole = label if label.shape[1] == 1 else torch.where((label >= 0).any(1, keepdim=True), everyone, -1)
    scaling = Scaling(*moments(cells.forcing, label, folds), *moments(features, whole, folds))
    stds: dict[str, Tensor] = {}
    for target in targets:
        seen = cells.targets[target.name]
        of_cell = (
            label
            if label.shape[1] == 1 or seen.step == "daily"
            else first_of_month(label, cells)
            if seen.step == "monthly"
            else whole
        )
        if seen.shares is not None:
            of_cell = gauge_label(of_cell, seen.shares)
        std = moments(seen.values.unsqueeze(2), of_cell, folds)[1][:, 0]
        stds[target.name] = torch.ones_like(std) if target.compare == "standardised" else std
    return Normalisation(scaling, stds)


def split_gauges(cells: Cells, label: Tensor, targets: Sequence[Target]) -> list[Finding]:
    """Count the gauges that no fold can learn from or be tested by, for their cells are of several folds.

    Parameters
    ----------
    cells : Cells
    label : Tensor, (cell, 1) or (cell, time)
    targets : sequence of Target

    Returns
    -------
    list of Finding
        For the targets of which no gauge is left; where some are, a warning is given.

    Warns
    -----
    H2CMWarning
    """
    findings = []
    remedy = 'deal folds by catchment, such as fit(groups="catchment")'
    for target in targets:
        shares = cells.targets[target.name].shares
        if shares is not None:
            there = shares.sum(1) > 0
            lost = there & (gauge_label(label, shares) < 0).all(1)
            problem = f"{int(lost.sum())} of {int(there.sum())} gauges have cells of several folds and count in none"
            if torch.equal(lost, there):
                findings.append(Finding(f"target {target.name}", problem, remedy))
            elif lost.any():
                warnings.warn(f"target {target.name}: {problem}: {remedy}", H2CMWarning, stacklevel=2)
    return findings


def gauge_label(label: Tensor, shares: Tensor) -> Tensor:
    """Labels of gauges from those of cells (cell, n): -1 where the cells of a gauge belong to several folds."""
    found = torch.full((len(shares), label.shape[1]), -1, dtype=label.dtype, device=label.device)
    for gauge, share in enumerate(shares):
        of_cells = label[share > 0]
        if len(of_cells):
            one = of_cells.amin(0)
            found[gauge] = torch.where(one == of_cells.amax(0), one, -1)
    return found


def first_of_month(label: Tensor, cells: Cells) -> Tensor:
    """Labels (cell, month) of the first day of each month."""
    first = torch.searchsorted(cells.calendar.month, torch.arange(len(cells.calendar.days), device=label.device))
    return label[:, first]


@dataclasses.dataclass(frozen=True)
class Samples:
    """Which windows of which cells a fold sees, and how they become tensors."""

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
        """Where a label lets a fold look."""
        return (label >= 0) & (label != fold) if split == "training" else label == fold

    @cached_property
    def group(self) -> Tensor:
        """Which cells must be walked together, as (cell,) numbers: those whose mean a gauge shows."""
        shown = [seen.shares.cpu() > 0 for t in self.targets if (seen := self.cells.targets[t.name]).shares is not None]
        number = len(self.cells.forcing)
        if not shown:
            return torch.arange(number)
        gauges = np.concatenate([x.numpy() for x in shown])
        links = scipy.sparse.csr_array(gauges.T.astype(np.int32) @ gauges.astype(np.int32))
        return torch.from_numpy(scipy.sparse.csgraph.connected_components(links, directed=False)[1].astype(np.int64))

    def of(self, fold: int, split: Split) -> Drawn:
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

    def inputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Forcing of the spin-up and of the window, and static features, (fold, sample, ...)."""
        spin = min(self.training.spinup.days or self.length, self.cells.forcing.shape[1])
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
        """What was observed, and which of it counts."""
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


@dataclasses.dataclass(frozen=True)
class Trained:
    """What training leaves: the kept weights, every loss of every epoch, and the steps that were skipped."""

    weights: Tensor  # (fold, weight)
    losses: xr.Dataset


def train(
    cells: Cells,
    label: Tensor,
    folds: Sequence[int],
    model: HybridModel,
    targets: Sequence[Target],
    scales: Normalisation,
    training: Training,
    *,
    priors: Sequence[Prior] = PRIORS,
    progress: bool = True,
    loop: Loop = "auto",
) -> Trained:
    """Train several folds in one pass.

    Parameters
    ----------
    cells : Cells
    label : Tensor of int, (cell, 1) or (cell, time)
        From `label_tensor`.
    folds : sequence of int
        The folds to train.
    model : HybridModel
    targets : sequence of Target
    scales : Normalisation
        A row for each of `folds`.
    training : Training
    priors : sequence of Prior
    progress : bool
        Show epoch, loss, folds still training and the time left.
    loop : {"auto", "plain", "fast"}
        How days are walked; ``"auto"`` is compiled where that is possible and pays.

    Returns
    -------
    Trained

    Raises
    ------
    InputError
        If a fold has nothing to train on, or the fast loop is asked for and there is none.
    """
    device = cells.forcing.device
    samples = Samples(cells, label, tuple(targets), training)
    seen = {k: samples.of(k, "training") for k in folds}
    held = {k: samples.of(k, "validation") for k in folds}
    findings = [
        Finding(f"fold {k}", "has no sample to train on", "give fewer folds, or labels that leave it some")
        for k in folds
        if not len(seen[k].cell)
    ]
    if training.patience is not None:
        findings += [
            Finding(
                f"fold {k}",
                "has no sample to validate on, so it cannot stop early",
                "give patience=None, or labels that hold some out",
            )
            for k in folds
            if not len(held[k].cell)
        ]
    findings += split_gauges(cells, label, targets)
    if findings:
        raise InputError(findings)

    drawn = sum(len(one.cell) for one in (*seen.values(), *held.values()))
    loop = paying(loop, 2 * drawn * samples.length * min(training.epochs, SURE_EPOCHS))  # spin-up and window
    row = {k: i for i, k in enumerate(folds)}
    dice = {k: torch.Generator().manual_seed(training.seed * 1_000_003 + k) for k in folds}
    state = AdamW.fresh(torch.stack([model.initial(dice[k]) for k in folds]).to(device))
    best, best_loss, waited = state.weights.clone(), [math.inf] * len(folds), [0] * len(folds)
    skipped = torch.zeros(len(folds), dtype=torch.int64)
    fields = sorted(
        {f for t in targets for f in t.fields} | {p.parameter for p in priors if p.parameter in model.learned}
    )
    history: list[dict[Split, dict[str, list[float]]]] = []
    alive = list(folds)

    reasons: dict[int, Finding] = {}

    def look(batch: Batch, loss: dict[str, Tensor], gradient: Tensor, whole: Tensor) -> None:
        """Find out, once a fold, why a step was skipped."""
        for at, k in enumerate(batch.folds.tolist()):
            if not whole[at] and k not in reasons:
                one, rows = Batch(*(x[at : at + 1] for x in batch)), slice(row[k], row[k] + 1)
                scaling = Scaling(*(x[rows] for x in scales.scaling))
                found = process_failure(samples, one, model, state.weights[rows], scaling)
                reasons[k] = found or Finding(f"fold {k}", unfinished(model, loss, gradient, at), "look at the data")

    def evaluate(weights: Tensor, batch: Batch, split: Split) -> dict[str, Tensor]:
        rows = torch.tensor([row[k] for k in batch.folds.tolist()], device=device)
        scaling = Scaling(*(x[rows] for x in scales.scaling))
        spin, forcing, static = samples.inputs(batch)
        with torch.no_grad():
            carry = model.spun_up(weights, spin, static, scaling, training.spinup, loop)
        _, outputs = model.run(weights, forcing, static, scaling, fields, carry, loop)
        truths, compared = samples.truth(batch, split, {name: std[rows] for name, std in scales.targets.items()})
        return losses(targets, outputs, truths, compared, priors)

    def epoch_losses(found: list[tuple[Batch, dict[str, Tensor]]]) -> dict[str, list[float]]:
        """Mean over the batches of an epoch, each weighed by its samples; NaN for folds that have ended."""
        names = found[0][1] if found else {}
        total, weight = ({name: np.zeros(len(folds)) for name in names} for _ in range(2))
        for batch, loss in found:
            rows = [row[k] for k in batch.folds.tolist()]
            share = batch.counts.sum(1).cpu().numpy()
            for name, value in loss.items():
                finite = value.isfinite().cpu().numpy()  # steps that were skipped do not count
                total[name][rows] += np.where(finite, value.cpu().numpy(), 0.0) * share
                weight[name][rows] += finite * share
        return {name: (total[name] / np.where(weight[name] > 0, weight[name], np.nan)).tolist() for name in names}

    began = time.monotonic()
    bar = tqdm(total=training.epochs, disable=not progress, unit="epoch", desc="training")
    for epoch in range(training.epochs):
        walked = []
        for batch in batches({k: seen[k].shuffled(dice[k]) for k in alive}, training.batch_size, device):
            rows = torch.tensor([row[k] for k in batch.folds.tolist()], device=device)
            weights = state.weights[rows].requires_grad_()
            loss = evaluate(weights, batch, "training")
            (gradient,) = torch.autograd.grad(loss["total"].sum(), weights)
            whole = loss["total"].isfinite() & gradient.isfinite().all(1)
            skipped[rows.cpu()] += (~whole).cpu()
            takes = torch.zeros(len(folds), dtype=torch.bool, device=device)
            takes[rows] = whole
            full = torch.zeros_like(state.weights)
            full[rows] = gradient.clamp(-training.clip, training.clip)
            state.step(full, training.rate(epoch), takes)
            walked.append((batch, {name: value.detach() for name, value in loss.items()}))
            if not whole.all():
                look(batch, loss, gradient, whole)
        lost = [k for k in reasons if epoch == 0 and skipped[row[k]] == len(seen[k].steps(training.batch_size))]
        if broken := [reasons[k] for k in lost if reasons[k].variable != f"fold {k}"]:
            raise InputError(dict.fromkeys(broken))
        with torch.no_grad():
            checked = []
            for batch in batches({k: held[k] for k in alive if len(held[k].cell)}, training.batch_size, device):
                rows = torch.tensor([row[k] for k in batch.folds.tolist()], device=device)
                checked.append((batch, evaluate(state.weights[rows], batch, "validation")))
        history.append({"training": epoch_losses(walked), "validation": epoch_losses(checked)})

        now = history[-1]["validation"].get("total", [math.nan] * len(folds))
        for k in list(alive):
            i = row[k]
            if training.patience is None or now[i] < best_loss[i]:
                best[i], best_loss[i], waited[i] = state.weights[i], now[i], 0
            else:
                waited[i] += 1
                if waited[i] >= training.patience:
                    alive.remove(k)
        mean = {split: float(np.nanmean(found["total"])) if found else math.nan for split, found in history[-1].items()}
        bar.set_postfix(loss=f"{mean['training']:.3f}", held_out=f"{mean['validation']:.3f}", folds=len(alive))
        bar.update()
        log.info(
            "epoch %d: training %.4f, validation %.4f, %d folds, %.1f s",
            epoch + 1, mean["training"], mean["validation"], len(alive), time.monotonic() - began,
        )  # fmt: skip
        if not alive:
            break
    bar.close()
    for k, reason in reasons.items():
        count = f"fold {k}: {int(skipped[row[k]])} steps were skipped"
        warnings.warn(f"{count}, the first because {reason.variable} {reason.problem}", H2CMWarning, stacklevel=2)
    return Trained(best, history_dataset(history, folds, skipped))


def process_failure(
    samples: Samples, batch: Batch, model: HybridModel, weights: Tensor, scaling: Scaling
) -> Finding | None:
    """Which process gave something that is no number in the samples of one fold, on which day and in which cell."""
    inputs = samples.inputs(batch)
    names = [name for name in model.outputs if model.outputs[name] in OUTPUTS.values()]
    with torch.no_grad():
        carry = model.spun_up(weights, inputs[0], inputs[2], scaling, samples.training.spinup)
        _, outputs = model.run(weights, inputs[1], inputs[2], scaling, names, carry)
    lost = torch.stack([~x[0].isfinite().all(-1) for x in outputs.values()]).any(0) & batch.counts[0]
    if not lost.any():
        return None
    one = int(lost.nonzero()[0])
    spin, forcing, static = (x[:, one : one + 1] for x in inputs)
    failure = first_failure(model, weights, spin, forcing, static, scaling, samples.training.spinup)
    cells, start = samples.cells, int(batch.start[0, one])
    if failure is None:
        return None
    first = start if not failure.spinning else max(start - spin.shape[2], 0)
    where = place(cells.mask, int(cells.index[int(batch.cell[0, one])]))
    return failure.finding(f"{cells.time.values[first + failure.day]!s:.10}", where)


def unfinished(model: HybridModel, loss: dict[str, Tensor], gradient: Tensor, at: int) -> str:
    """Say what of a step was not finite, though all fluxes were."""
    names = [name for name, value in loss.items() if name != "total" and not value[at].isfinite()]
    if names:
        return f"finds the loss of {', '.join(names)} not finite"
    by = [name for name, value in model.unpack(gradient[at : at + 1]).items() if not value.isfinite().all()]
    return f"finds the gradient by {', '.join(by)} not finite: a process has a slope that is not, such as sqrt at 0"


def history_dataset(
    history: list[dict[Split, dict[str, list[float]]]], folds: Sequence[int], skipped: Tensor
) -> xr.Dataset:
    """Every loss of every epoch: ``loss(split, target, epoch, fold)`` and ``skipped_steps(fold)``."""
    names = list(history[0]["training"])
    nothing = [math.nan] * len(folds)
    values = [
        [[found[split].get(name, nothing) for found in history] for name in names]
        for split in ("training", "validation")
    ]
    return xr.Dataset(
        {
            "loss": (
                ("split", "target", "epoch", "fold"),
                np.array(values, dtype=np.float64),
                {"long_name": "standardised squared error", "units": "1"},
            ),
            "skipped_steps": (
                "fold",
                skipped.numpy(),
                {"long_name": "steps skipped because loss or gradient was not finite", "units": "1"},
            ),
        },
        coords={
            "split": ["training", "validation"],
            "target": names,
            "epoch": np.arange(1, len(history) + 1),
            "fold": list(folds),
        },
    )
