"""Training of all folds at once: steps, epochs and early stop.

All folds are trained in one pass, each with its own cells, order of samples, optimiser state and early stopping; the
results equal those of training each fold alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import psutil
import torch
import xarray as xr
from tqdm.auto import tqdm
from tqdm.notebook import tqdm_notebook

from xh2cm.console import printed
from xh2cm.data.read_land import place
from xh2cm.data.split import TEST
from xh2cm.errors import Finding, H2CMWarning, InputError
from xh2cm.loop.compiled import Loop, paying
from xh2cm.model import ragged
from xh2cm.model.hybrid import HybridModel, Scaling
from xh2cm.model.loss import SPLITS, Split, losses
from xh2cm.model.nonfinite import first_failure
from xh2cm.settings import Training
from xh2cm.targets import PRIORS, Prior, Target
from xh2cm.train.checkpoint import Run
from xh2cm.train.normalisation import Normalisation
from xh2cm.train.sampling import Batch, Drawn, Samples, batches, gauge_label
from xh2cm.train.state import Course
from xh2cm.train.streaming import Portion, Portions
from xh2cm.variables import OUTPUTS

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Counts", "Trained", "train"]

log = logging.getLogger(__name__)

IN_NOTEBOOK = issubclass(tqdm, tqdm_notebook)
"""Where a bar is a widget, which no terminal shows."""

SURE_EPOCHS = 10
"""Epochs that a training will hardly end before."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """Result of a training: weights, losses of every epoch, and numbers of skipped steps."""

    weights: Tensor  # (fold, weight)
    losses: xr.Dataset


def train(
    portions: Portions,
    folds: Sequence[int],
    model: HybridModel,
    targets: Sequence[Target],
    scales: Normalisation,
    training: Training,
    *,
    priors: Sequence[Prior] = PRIORS,
    progress: bool = True,
    loop: Loop = "auto",
    run: Run | None = None,
    counts: Counts | None = None,
) -> Trained:
    """Train several folds in one pass.

    Parameters
    ----------
    portions : Portions
        The cells and their fold labels; ``Portions.whole(cells, label)`` where they are in memory.
    folds : sequence of int
        The folds to train.
    model : HybridModel
    targets : sequence of Target
    scales : Normalisation
        A row for each of `folds`.
    training : Training
    priors : sequence of Prior
    progress : bool
        Show epoch, loss, folds still training and the time left, and when something is compiled: a bar in terminals and
        notebooks, elsewhere (the log of a job) a line an epoch on standard error.
    loop : {"auto", "plain", "fast"}
        How days are walked; ``"auto"`` is compiled where that is possible and pays.
    run : Run, optional
        Where states are kept, and where to go on from.
    counts : Counts, optional
        Of the samples, where they have been counted.

    Returns
    -------
    Trained

    Raises
    ------
    InputError
        If a fold has nothing to train on, or the fast loop is asked for and there is none.
    """
    counts = counts or Counts(folds, targets, training)
    if not counts.known:
        for portion in portions.walk(portions.grouped(), forcing=False):
            counts.add(portion)
    number = counts.checked()
    device = portions.first.cells.forcing.device
    length = Samples(*portions.first, tuple(targets), training).length
    # Spin-up and window, for all folds there are: so that some of them alone take the loop that they take together
    windows = sum(number[folds[0], split] for split in SPLITS) * len(counts.known)
    work = 2 * windows * length * min(training.epochs, SURE_EPOCHS)
    trainer = Trainer(portions, tuple(folds), model, tuple(targets), scales, training, priors, paying(loop, work))
    course = (run and run.latest(device)) or Course.begun(model, folds, training.seed, device)
    keep = run.keep if run else nothing
    moving = progress and (IN_NOTEBOOK or sys.stderr.isatty())
    bar = tqdm(total=training.epochs, initial=course.epoch, disable=not moving, unit="epoch", desc="training")
    with printed("xh2cm.loop" if moving else "xh2cm") if progress else contextlib.nullcontext(), bar:
        while course.epoch < training.epochs and course.alive.any():
            begun, walked = time.monotonic(), trainer.epoch(course, keep)
            keep(course)
            tell(course, walked * length / (time.monotonic() - begun))
            mean = {name: nanmean(x) for name, x in zip(SPLITS, course.history[-1]["total"], strict=True)}
            bar.set_postfix(
                loss=f"{mean['training']:.3f}", held_out=f"{mean['validation']:.3f}", folds=int(course.alive.sum())
            )
            bar.update()
    for k, reason in course.reasons.items():
        count = f"fold {k}: {int(course.skipped[trainer.row[k]])} steps were skipped"
        warnings.warn(f"{count}, the first because {reason.variable} {reason.problem}", H2CMWarning, stacklevel=2)
    return Trained(course.best, course.losses(folds))


def nothing(course: Course) -> None:
    """Keep no state."""


def tell(course: Course, speed: float) -> None:
    """Log an epoch in one line."""
    found = course.history[-1]
    each = ", ".join(f"{name} {nanmean(x[0]):.4g}/{nanmean(x[1]):.4g}" for name, x in found.items())
    log.info(
        "epoch %d: %s (training/validation); %d folds, %.3g cell-days/s, %.0f MiB in memory",
        course.epoch,
        each,
        int(course.alive.sum()),
        speed,
        psutil.Process().memory_info().rss / 2**20,
    )


def nanmean(values: Tensor) -> float:
    """Mean of what are numbers."""
    return float(values.nanmean())


@dataclasses.dataclass
class Counts:
    """Numbers of samples of the folds, counted portion by portion.

    Parameters
    ----------
    folds : sequence of int
    targets : sequence of Target
    training : Training
    """

    folds: Sequence[int]
    targets: Sequence[Target]
    training: Training
    number: Counter[tuple[int, Split]] = dataclasses.field(default_factory=Counter)
    known: set[int] = dataclasses.field(default_factory=set)
    observed: Counter[tuple[str, int]] = dataclasses.field(default_factory=Counter)
    split: dict[str, tuple[Tensor, Tensor]] = dataclasses.field(default_factory=dict)
    """Of each target: gauges there, and those of them that are split between folds."""

    def add(self, portion: Portion) -> None:
        """Count the samples of a portion, whose forcing does not matter."""
        samples = Samples(*portion, tuple(self.targets), self.training)
        self.known |= {k for k in portion.label.unique().tolist() if k != TEST}
        for k in self.folds:
            for which in SPLITS:
                self.number[k, which] += len(samples.of(k, which).cell)
        self.observed.update(samples.observations())
        for target in self.targets:
            shares = portion.cells.targets[target.name].shares
            if shares is not None:
                there = shares.sum(1) > 0
                lost = there & (gauge_label(portion.label, shares) == TEST).all(1)
                before = self.split.get(target.name, (torch.zeros_like(there), torch.zeros_like(lost)))
                self.split[target.name] = before[0] | there, before[1] | lost

    def checked(self) -> Counter[tuple[int, Split]]:
        """Return the number of samples of each fold and split; refuse where there is none.

        Warns
        -----
        H2CMWarning
            If some of the gauges have cells of several folds, so that no fold can learn from or be tested by them; if a
            target has no observation in the training or validation data of some folds.

        Raises
        ------
        InputError
            If a fold has no sample, or no observation of any target; a target no gauge, or no observation.
        """
        findings = [
            Finding(f"fold {k}", "has no sample to train on", "give fewer folds, or labels that leave it some")
            for k in self.folds
            if not self.number[k, "training"]
        ]
        if self.training.patience is not None:
            problem = "has no sample to validate on, so it cannot stop early"
            remedy = "give patience=None, or labels that hold some out"
            findings += [Finding(f"fold {k}", problem, remedy) for k in self.folds if not self.number[k, "validation"]]
        findings += empty_folds(self.observed, self.folds, self.known, self.targets, self.training)
        remedy = 'deal folds by catchment, such as fit(groups="catchment")'
        for name, (there, lost) in self.split.items():
            problem = f"{int(lost.sum())} of {int(there.sum())} gauges have cells of several folds and count in none"
            if torch.equal(lost, there):
                findings.append(Finding(f"target {name}", problem, remedy))
            elif lost.any():
                warnings.warn(f"target {name}: {problem}: {remedy}", H2CMWarning, stacklevel=4)
        if findings:
            raise InputError(dict.fromkeys(findings))
        return self.number


def empty_folds(
    observed: Counter[tuple[str, int]],
    folds: Sequence[int],
    known: Collection[int],
    targets: Sequence[Target],
    training: Training,
) -> list[Finding]:
    """Find folds without an observation to train on or to validate with.

    Parameters
    ----------
    observed : Counter of (str, int)
        Observations of each target under each fold label.
    folds, known : collection of int
        Folds to train, and all there are.
    targets : sequence of Target
    training : Training

    Returns
    -------
    list of Finding

    Warns
    -----
    H2CMWarning
        If a fold has observations of other targets only.
    """

    def seen(name: str, fold: int, split: Split) -> int:
        own = observed[name, fold]
        return own if split == "validation" else sum(observed[name, k] for k in known) - own

    names = [target.name for target in targets]
    remedy = "give observations there, fewer folds, or labels that spread the observations over the folds"
    findings = [
        Finding(f"target {name}", "has no observation in any cell or day of the folds", "leave it out: targets=[...]")
        for name in names
        if not any(observed[name, k] for k in known)
    ]
    if findings:
        return findings
    warned = []
    uses: dict[Split, str] = {"training": "train on", "validation": "validate with"}
    for split, use in uses.items():
        asked = folds if split == "training" else [k for k in folds if k in known]  # else nothing was to be held out
        empty = {name: [k for k in asked if not seen(name, k, split)] for name in names}
        nothing = [k for k in asked if all(k in empty[name] for name in names)]
        if split == "training" or training.patience is not None:
            also = "" if split == "training" else ", so it cannot stop early"
            told = "give patience=None, or " if split == "validation" else ""
            findings += [
                Finding(f"fold {k}", f"has no observation of {', '.join(names)} to {use}{also}", told + remedy)
                for k in nothing
            ]
        for name, without in empty.items():
            tolerated = nothing if split == "training" or training.patience is not None else []
            if some := [k for k in without if k not in tolerated]:
                which = f"fold{'s' if len(some) > 1 else ''} {', '.join(map(str, some))}"
                lost = "it does not constrain them" if split == "training" else "its validation loss is NaN there"
                warned.append(f"target {name} has no observation to {use} in {which}, so {lost}: {remedy}")
    for text in [] if findings else warned:
        warnings.warn(text, H2CMWarning, stacklevel=4)
    return findings


@dataclasses.dataclass(frozen=True)
class Trainer:
    """Constant settings of the optimiser steps."""

    portions: Portions
    folds: tuple[int, ...]
    model: HybridModel
    targets: tuple[Target, ...]
    scales: Normalisation
    training: Training
    priors: Sequence[Prior]
    loop: Loop

    @cached_property
    def row(self) -> dict[int, int]:
        """Position of each fold among those that are trained."""
        return {k: i for i, k in enumerate(self.folds)}

    @cached_property
    def fields(self) -> list[str]:
        """Outputs that the losses ask for."""
        known = {p.parameter for p in self.priors if p.parameter in self.model.learned}
        return sorted({f for t in self.targets for f in t.fields} | known)

    def alive(self, course: Course) -> list[int]:
        """Folds that have not ended."""
        return [k for k in self.folds if course.alive[self.row[k]]]

    def samples(self, groups: Sequence[Sequence[int]]) -> Iterator[Samples]:
        """The samples of portion after portion."""
        return (self.of_portion(portion) for portion in self.portions.walk(groups))

    @cached_property
    def of_kept(self) -> Samples:
        """Those of all cells, where they fit into memory."""
        return Samples(*self.portions.kept, self.targets, self.training)

    def of_portion(self, portion: Portion) -> Samples:
        """Those of some cells."""
        return Samples(*portion, self.targets, self.training) if self.portions.streams else self.of_kept

    def epoch(self, course: Course, keep: Callable[[Course], None]) -> int:
        """Go through all samples once, then see what became of those held out.

        Parameters
        ----------
        course : Course
            Moved on.
        keep : callable
            Called with it after each step.

        Returns
        -------
        int
            Windows of all folds that were trained on.
        """
        if not course.groups:
            dice = course.generators()
            course.groups = self.portions.grouped(dice[-1])
            course.dice = torch.stack([one.get_state() for one in dice])
        alive, walked, first = self.alive(course), 0, course.epoch == 0
        for samples in self.samples(course.groups[course.portion :]):
            dice = course.generators()
            drawn = {k: samples.of(k, "training").shuffled(dice[self.row[k]]) for k in alive}
            for number, batch in enumerate(self.batches(samples, drawn)):
                if number >= course.step:
                    self.step(course, samples, batch)
                    walked += int(batch.counts.sum())
                    course.step = number + 1
                    keep(course)
            course.dice = torch.stack([one.get_state() for one in dice])
            course.portion, course.step = course.portion + 1, 0
        if first:
            self.refuse_broken(course)
        checked: dict[str, Tensor] = {}
        with torch.no_grad():
            for samples in self.samples(course.groups):
                held = {k: one for k in alive if len((one := samples.of(k, "validation")).cell)}
                for batch in self.batches(samples, held):
                    weights = course.optimiser.weights[self.rows(batch)]
                    self.add(checked, batch, self.evaluate(weights, samples, batch, "validation"))
        self.close(course, checked)
        return walked

    def batches(self, samples: Samples, drawn: dict[int, Drawn]) -> Iterator[Batch]:
        """Common batches of the folds."""
        return batches(drawn, self.training.batch_size, samples.cells.forcing.device)

    def rows(self, batch: Batch) -> Tensor:
        """Return the positions of the folds of a batch among those that are trained."""
        return torch.tensor([self.row[k] for k in batch.folds.tolist()], device=batch.folds.device)

    def evaluate(self, weights: Tensor, samples: Samples, batch: Batch, split: Split) -> dict[str, Tensor]:
        """Losses of a batch, each (fold,)."""
        rows = self.rows(batch)
        scaling = Scaling(*(x[rows] for x in self.scales.scaling))
        given, how = samples.inputs(batch), (self.model, weights)
        with torch.no_grad():
            carry = ragged.spun_up(
                *how, given.spin, given.static, scaling, self.training.start, self.loop, given.spin_days
            )
        _, outputs = ragged.run(*how, given.forcing, given.static, scaling, self.fields, carry, self.loop, given.days)
        truths, compared = samples.truth(batch, split, {name: std[rows] for name, std in self.scales.targets.items()})
        return losses(self.targets, outputs, truths, compared, self.priors)

    def step(self, course: Course, samples: Samples, batch: Batch) -> None:
        """Move the weights of the folds of a batch."""
        optimiser, rows = course.optimiser, self.rows(batch)
        weights = optimiser.weights[rows].requires_grad_()
        loss = self.evaluate(weights, samples, batch, "training")
        (gradient,) = torch.autograd.grad(loss["total"].sum(), weights)
        whole = loss["total"].isfinite() & gradient.isfinite().all(1)
        course.skipped[rows.cpu()] += (~whole).cpu()
        takes = torch.zeros(len(self.folds), dtype=torch.bool, device=weights.device)
        takes[rows] = whole
        full = torch.zeros_like(optimiser.weights)
        full[rows] = gradient.clamp(-self.training.clip, self.training.clip)
        optimiser.step(full, self.training.rate(course.epoch), takes)
        self.add(course.running, batch, {name: value.detach() for name, value in loss.items()})
        if not whole.all():
            self.look(course, samples, batch, loss, gradient, whole)

    def add(self, so_far: dict[str, Tensor], batch: Batch, loss: dict[str, Tensor]) -> None:
        """Add the losses of a batch, weighted by its samples; skipped steps and empty means do not count."""
        rows, share = self.rows(batch).cpu(), batch.counts.sum(1).cpu().double()
        observed = torch.stack([loss[t.name].isfinite().cpu() for t in self.targets]).any(0)
        for name, value in loss.items():
            total = so_far.setdefault(name, torch.zeros(2, len(self.folds), dtype=torch.float64))
            finite = value.isfinite().cpu()
            if name == "total":  # of priors alone says nothing of the data
                finite &= observed
            total[0, rows] += torch.where(finite, value.cpu().double(), 0.0) * share
            total[1, rows] += finite * share

    def close(self, course: Course, checked: dict[str, Tensor]) -> None:
        """End an epoch: its mean losses, and which folds have waited long enough."""
        nothing = torch.zeros(2, len(self.folds), dtype=torch.float64)
        course.history.append(
            {
                name: torch.stack([total / torch.where(share > 0, share, math.nan) for total, share in both])
                for name, both in ((n, (x, checked.get(n, nothing))) for n, x in course.running.items())
            }
        )
        course.groups, course.portion, course.running = [], 0, {}
        now = course.history[-1]["total"][SPLITS.index("validation")]
        for k in self.alive(course):
            i = self.row[k]
            if self.training.patience is None or now[i] < course.best_loss[i]:
                course.best[i], course.best_loss[i], course.waited[i] = course.optimiser.weights[i], now[i], 0
            else:
                course.waited[i] += 1
                course.alive[i] = bool(course.waited[i] < self.training.patience)

    def look(
        self,
        course: Course,
        samples: Samples,
        batch: Batch,
        loss: dict[str, Tensor],
        gradient: Tensor,
        whole: Tensor,
    ) -> None:
        """Find out, once a fold, why a step was skipped."""
        for at, k in enumerate(batch.folds.tolist()):
            if not whole[at] and k not in course.reasons:
                one, rows = Batch(*(x[at : at + 1] for x in batch)), slice(self.row[k], self.row[k] + 1)
                scaling = Scaling(*(x[rows] for x in self.scales.scaling))
                found = process_failure(samples, one, self.model, course.optimiser.weights[rows], scaling)
                problem = unfinished(self.model, loss, gradient, at)
                course.reasons[k] = found or Finding(f"fold {k}", problem, "look at the data")

    def refuse_broken(self, course: Course) -> None:
        """Refuse to go on where a process let a fold take no step at all."""
        lost = [k for k in course.reasons if not course.optimiser.steps[self.row[k]]]
        if broken := [course.reasons[k] for k in lost if course.reasons[k].variable != f"fold {k}"]:
            raise InputError(dict.fromkeys(broken))


def process_failure(
    samples: Samples, batch: Batch, model: HybridModel, weights: Tensor, scaling: Scaling
) -> Finding | None:
    """Find the process that gave a value that is not finite in the samples of a fold, with its day and cell."""
    given, spinup = samples.inputs(batch), samples.training.start
    names = [name for name in model.outputs if model.outputs[name] in OUTPUTS.values()]
    with torch.no_grad():
        carry = ragged.spun_up(model, weights, given.spin, given.static, scaling, spinup, "plain", given.spin_days)
        _, outputs = ragged.run(model, weights, given.forcing, given.static, scaling, names, carry, "plain", given.days)
    lost = torch.stack([~x[0].isfinite().all(-1) for x in outputs.values()]).any(0) & batch.counts[0]
    if not lost.any():
        return None
    one = int(lost.nonzero()[0])
    days, before = int(given.days[0, one]), int(given.spin_days[0, one])
    spin, forcing = given.spin[:, one : one + 1, :before], given.forcing[:, one : one + 1, :days]
    failure = first_failure(model, weights, spin, forcing, given.static[:, one : one + 1], scaling, spinup)
    if failure is None:
        return None
    cells, cell, start = samples.cells, int(batch.cell[0, one]), int(batch.start[0, one])
    stretch = samples.record.at(batch.cell[0, one], batch.start[0, one])
    first = start if not failure.spinning else max(start - before, int(samples.record.first[stretch]))
    day = int(samples.record.day[cell, first + failure.day])
    return failure.finding(f"{cells.time.values[day]!s:.10}", place(cells.mask, int(cells.index[cell])))


def unfinished(model: HybridModel, loss: dict[str, Tensor], gradient: Tensor, at: int) -> str:
    """Say what of a step was not finite, though all fluxes were."""
    lost = {name: value[at] for name, value in loss.items() if name != "total" and not value[at].isfinite()}
    names = [name for name, value in lost.items() if value.isinf()]  # NaN may be a mean over nothing
    if not names and not loss["total"][at].isfinite():
        names = list(lost)
    if names:
        return f"finds the loss of {', '.join(names)} not finite"
    by = [name for name, value in model.unpack(gradient[at : at + 1]).items() if not value.isfinite().all()]
    return f"finds the gradient by {', '.join(by)} not finite: a process has a slope that is not, such as sqrt at 0"
