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
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
import xarray as xr
from tqdm.auto import tqdm

from xh2cm.data.cells import Cells
from xh2cm.errors import Finding, InputError
from xh2cm.loop.lanes import Loop, paying
from xh2cm.model.hybrid import HybridModel, Scaling, SpinUp
from xh2cm.model.loss import PRIORS, Compared, Prior, Target, Truth, losses
from xh2cm.model.optimiser import AdamW
from xh2cm.variables import FORCING

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
        findings = [
            Finding(name, f"{value} is too small", f"give at least {low}")
            for name, low in least.items()
            if (value := getattr(self, name)) is not None and value < low
        ]
        if findings:
            raise InputError(findings)

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch."""
        return float(self.learning_rate * self.DECAY ** (epoch // self.DECAY_EVERY))


class Normalisation(NamedTuple):
    """What forcings, static features and targets are scaled by, fold by fold."""

    scaling: Scaling
    targets: dict[str, Tensor]  # (fold,) standard deviation


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
    total = torch.stack(
        [sum((p for one, p in parts.items() if one != k), torch.zeros_like(next(iter(parts.values())))) for k in folds]
    )
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
    names = [*FORCING, *(["static"] if cells.features else []), *(t.name for t in targets)]
    if source == "stored":
        if missing := [name for name in names if name not in cells.scales]:
            remedy = 'write them, or give normalise="training"'
            raise InputError(Finding(name, "has no attributes `mean` and `std`", remedy) for name in missing)

        def stored(name: str) -> tuple[Tensor, Tensor]:
            pair = (torch.as_tensor(np.atleast_1d(np.asarray(x, dtype=np.float32))) for x in cells.scales[name])
            mean, std = (x.to(cells.forcing.device).expand(len(folds), -1) for x in pair)
            return mean, std

        forcing = [stored(name) for name in FORCING]
        mean, std = (torch.cat(x, 1) for x in zip(*forcing, strict=True))
        empty = cells.static.new_zeros(len(folds), 0)
        static = stored("static") if cells.features else (empty, empty)
        return Normalisation(Scaling(mean, std, *static), {t.name: stored(t.name)[1][:, 0] for t in targets})
    if source != "training":
        raise InputError([Finding("normalise", f"{source!r} is unknown", 'give "training" or "stored"')])
    features = cells.static.unsqueeze(1)
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
        stds[target.name] = moments(seen.values.unsqueeze(2), of_cell, folds)[1][:, 0]
    return Normalisation(scaling, stds)


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

    def of(self, fold: int, split: Split) -> tuple[Tensor, Tensor]:
        """Cells and first days of the samples a fold may see.

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
        both = torch.cat(pairs, 1)
        return both[0], both[1]

    def observed(self, days: slice, mine: Tensor) -> Tensor:
        """Cells with any observation in some days that may be looked at."""
        found = torch.zeros(len(mine), dtype=torch.bool)
        month = self.cells.calendar.month.cpu()
        for target in self.targets:
            seen = self.cells.targets[target.name]
            finite = seen.values.isfinite().cpu()
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
        calendar, at, days = self.cells.calendar, batch.cell.unsqueeze(-1), self.window(batch.start, self.length)
        first = calendar.month[batch.start].unsqueeze(-1)
        month = first + torch.arange(self.months, device=first.device)
        inside, month = month < len(calendar.days), month.clamp(max=len(calendar.days) - 1)
        label = self.label[at, days] if self.label.shape[1] > 1 else self.label[batch.cell].expand(-1, -1, self.length)
        compared = Compared(
            counts=batch.counts,
            area=self.cells.area[batch.cell],
            allowed=self.allowed(label, batch.folds[:, None, None], split),
            month=calendar.month[days] - first,
            month_days=torch.where(inside, calendar.days[month], 0),
            of_year=calendar.of_year[month],
        )
        truths = {}
        for target in self.targets:
            seen = self.cells.targets[target.name]
            if seen.step == "monthly":
                values, axis = torch.where(inside, seen.values[at, month], torch.nan), seen.axis[month] & inside
            elif seen.step == "daily":
                values, axis = seen.values[at, days], seen.axis[days]
            else:
                values, axis = seen.values[batch.cell], seen.axis.expand(*batch.cell.shape, 1)
            truths[target.name] = Truth(values, axis, seen.step, stds[target.name])
        return truths, compared


def batches(drawn: dict[int, tuple[Tensor, Tensor]], size: int, device: torch.device) -> Iterator[Batch]:
    """Cut the samples of several folds into common batches; a fold that has run out is left out of the rest."""
    for at in range(0, max((len(cell) for cell, _ in drawn.values()), default=0), size):
        part = {
            k: (cell[at : at + size], start[at : at + size]) for k, (cell, start) in drawn.items() if len(cell) > at
        }
        most = max(len(cell) for cell, _ in part.values())
        filled = [[torch.nn.functional.pad(x, (0, most - len(x))) for x in pair] for pair in part.values()]
        counts = torch.stack([torch.arange(most) < len(cell) for cell, _ in part.values()])
        cell, start = (torch.stack(x).to(device) for x in zip(*filled, strict=True))
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
        if not len(seen[k][0])
    ]
    if training.patience is not None:
        findings += [
            Finding(
                f"fold {k}",
                "has no sample to validate on, so it cannot stop early",
                "give patience=None, or labels that hold some out",
            )
            for k in folds
            if not len(held[k][0])
        ]
    if findings:
        raise InputError(findings)

    drawn = sum(len(cell) for cell, _ in (*seen.values(), *held.values()))
    loop = paying(loop, 2 * drawn * samples.length * min(training.epochs, SURE_EPOCHS))  # spin-up and window
    row = {k: i for i, k in enumerate(folds)}
    dice = {k: torch.Generator().manual_seed(training.seed * 1_000_003 + k) for k in folds}
    state = AdamW.fresh(torch.stack([model.initial(dice[k]) for k in folds]).to(device))
    best, best_loss, waited = state.weights.clone(), [math.inf] * len(folds), [0] * len(folds)
    skipped = torch.zeros(len(folds), dtype=torch.int64)
    fields = sorted(
        {f for t in targets for f in t.fields} | {p.parameter for p in priors if p.parameter in model.parameters}
    )
    history: list[dict[Split, dict[str, list[float]]]] = []
    alive = list(folds)

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
        orders = {k: torch.randperm(len(seen[k][0]), generator=dice[k]) for k in alive}
        walked = []
        for batch in batches(
            {k: (seen[k][0][o], seen[k][1][o]) for k, o in orders.items()}, training.batch_size, device
        ):
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
        with torch.no_grad():
            checked = []
            for batch in batches({k: held[k] for k in alive if len(held[k][0])}, training.batch_size, device):
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
    return Trained(best, history_dataset(history, folds, skipped))


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
