"""Fit a model to a checked dataset: targets, priors and folds are chosen, then all folds trained."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import importlib.metadata
import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
import xarray as xr

from xh2cm.ambient import undisturbed
from xh2cm.console import printed
from xh2cm.data.folds import TEST, FoldOptions, fold_labels
from xh2cm.data.options import DataArguments
from xh2cm.data.pins import Pins
from xh2cm.data.read_forcing import forcing_of
from xh2cm.data.report import ACTUAL_RANGE
from xh2cm.data.scan import Facts
from xh2cm.errors import Finding, InputError, closest, mapping_findings
from xh2cm.fitted import FINISHED, Fit, model_described
from xh2cm.loop.threads import reproducible_threads
from xh2cm.model import HybridModel, Model, Scaling
from xh2cm.model.hybrid import is_number
from xh2cm.model.loss import COMPARISONS
from xh2cm.options import part
from xh2cm.settings import LossOptions, RunOptions, Training
from xh2cm.targets import PRIORS, TARGET_TABLE, Comparison, Prior, Target
from xh2cm.train import (
    Normalisation,
    Portions,
    normalisation,
    opened,
    remembered,
    train,
)
from xh2cm.train.checkpoint import MACHINE, MEMORY, SUMS
from xh2cm.train.normalisation import forcing_sums
from xh2cm.train.tensors import Cells, to_device
from xh2cm.train.trainer import Counts
from xh2cm.variables import OUTPUTS, TARGETS

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitOptions(RunOptions, Model, Training, DataArguments, LossOptions, FoldOptions):
    """Options of `fit`.

    Parameters
    ----------
    training : Training, optional
        Options of training as one value, in place of single keywords.
    model : Model, optional
        Options of the model as one value, in place of single keywords.
    """

    training: Training | None = dataclasses.field(default=None, metadata={"value": Training})
    model: Model | None = dataclasses.field(default=None, metadata={"value": Model})

    def __post_init__(self) -> None:
        """Leave the numbers to `Training`, which is made of them."""


def chosen_targets(
    found: Mapping[str, str],
    targets: Sequence[str | Target] | Mapping[str, str] | None,
    weights: Mapping[str, float] | None,
    outputs: Collection[str],
) -> tuple[Target, ...]:
    """Rows of the target table to train on, filled in with what the user says of them.

    Parameters
    ----------
    found : mapping of str to str
        What the dataset holds, and whether it is ``"daily"``, ``"monthly"`` or ``"static"``.
    targets : sequence of str or Target, mapping of str to str, or None
        Names, rows, or names with how to compare; all that were found if None.
    weights : mapping of str to float, optional
    outputs : collection of str
        Fields that the model can record.

    Returns
    -------
    tuple of Target

    Raises
    ------
    InputError
        If one is not there, cannot be compared that way, or speaks of what the model does not compute.
    """
    table = {t.name: t for t in TARGET_TABLE}
    names = {alias.lower(): key for key, var in TARGETS.items() for alias in (key, *var.aliases)}
    if findings := mapping_findings({"weights": weights}, '"ET": 2.0'):
        raise InputError(findings)
    how = dict(targets) if isinstance(targets, Mapping) else {}
    asked: dict[str, Target] = {}
    for one in found if targets is None else [targets] if isinstance(targets, str | Target) else targets:
        row = one if isinstance(one, Target) else Target(one, compare=cast(Comparison, how.get(one, "")))
        name = row.name if row.name in found else names.get(row.name.lower(), row.name)
        base = table.get(name, Target(name))
        if row.fields and row.fields != base.fields:  # another quantity is compared in another way
            base = Target(name, row.fields)
        compare = row.compare or base.compare or found.get(name, "daily")
        weight = (weights or {}).get(name, row.weight)
        asked[name] = dataclasses.replace(
            row, name=name, fields=row.fields or base.fields, compare=cast(Comparison, compare), weight=weight
        )
    findings = [finding for row in asked.values() for finding in row_findings(row, found, outputs)]
    findings += [
        Finding(
            f"weight of {name}", "there is no such target among those trained on", f"weigh one of {', '.join(asked)}"
        )
        for name in weights or {}
        if name not in asked
    ]
    if not asked:
        findings.append(Finding("targets", "the dataset holds none", f"add at least one of {', '.join(table)}"))
    if findings:
        raise InputError(findings)
    order = [*(name for name in table if name in asked), *(name for name in asked if name not in table)]
    return tuple(asked[name] for name in order)


def row_findings(row: Target, found: Mapping[str, str], outputs: Collection[str]) -> Iterator[Finding]:
    """Say why a target cannot be trained on."""
    name, step = f"target {row.name}", found.get(row.name)
    ways = {*COMPARISONS, "interannual"} if step != "static" else {"static", "ratio"}
    if step is None:
        yield Finding(name, "is not in the dataset", closest(row.name, found))
        return
    if row.compare not in {*COMPARISONS, "static", "ratio", "interannual"}:
        yield Finding(name, f"cannot be compared as {row.compare!r}", f"use one of {', '.join(sorted(ways))}")
    elif row.compare not in ways or (row.compare == "daily" and step != "daily"):
        ways -= {"daily"} if step != "daily" else set()
        remedy = f"compare it as one of {', '.join(sorted(ways))}"
        yield Finding(name, f"is {step} and cannot be compared {row.compare}", remedy)
    for field in row.fields:
        if field not in outputs:
            no_carbon = "its processes have no carbon cycle: leave it out, or fit with processes that have one"
            hint = no_carbon if field in OUTPUTS else closest(field, outputs)
            yield Finding(name, f"the model does not compute {field!r}", hint)
    many = len(row.fields) != (2 if row.compare == "ratio" else 1)
    if many and (row.mapping is None or row.compare == "ratio"):
        problem = f"has {len(row.fields)} fields and is compared as {row.compare}"
        yield Finding(name, problem, "give one field, a mapping that makes one of them, or two for a ratio")
    if not (is_number(row.weight) and math.isfinite(row.weight) and row.weight >= 0):
        yield Finding(name, f"has the weight {row.weight!r:.60}", "give a finite number that is not negative")
    if row.quality and row.compare in ("interannual", "ratio"):
        yield Finding(name, f"is compared as {row.compare}, which knows no quality", "leave quality out")


def chosen_priors(priors: Mapping[str, tuple[float, float]] | None, model: HybridModel) -> tuple[Prior, ...]:
    """Return the priors of the global constants of a model.

    Parameters
    ----------
    priors : mapping of str to (float, float), optional
        Mean and standard deviation by name; the published ones if not given.
    model : HybridModel

    Returns
    -------
    tuple of Prior

    Raises
    ------
    InputError
        If there is no such constant, or no spread.
    """
    constants = [name.removeprefix("global.") for name in model.layout if name.startswith("global.")]
    if findings := mapping_findings({"priors": priors}, '"q10": (1.5, 0.3)'):
        raise InputError(findings)
    pairs = {name: pair if np.shape(pair) == (2,) else (pair, None) for name, pair in (priors or {}).items()}
    given = PRIORS if priors is None else tuple(Prior(name, *pair) for name, pair in pairs.items())
    findings = [
        Finding(f"prior of {p.parameter}", "the model has no such global constant", f"give one of {constants}")
        for p in given
        if priors is not None and p.parameter not in constants
    ]
    findings += [
        Finding(
            f"prior of {p.parameter}",
            f"mean {p.mean!r:.60} and standard deviation {p.std!r:.60} are no prior",
            "give a finite mean and a standard deviation above 0, or leave it out to know nothing",
        )
        for p in given
        if not (is_number(p.mean) and is_number(p.std) and math.isfinite(p.mean) and 0 < p.std < math.inf)
    ]
    if findings:
        raise InputError(findings)
    return given


def chosen_folds(known: Sequence[int], only: Any) -> tuple[int, ...]:
    """Numbers of the folds to train: those asked for, each once, or all."""
    if only is None:
        return tuple(known)
    asked = list(only) if isinstance(only, Iterable) else [only]
    findings = [
        Finding(f"fold {k!r:.60}", "there is no such fold", f"choose from {known}") for k in asked if k not in known
    ]
    if not asked:
        findings.append(Finding("only", "names no fold", f"choose from {known}, or leave it out for all"))
    if findings:
        raise InputError(findings)
    return tuple(dict.fromkeys(int(k) for k in asked))


@reproducible_threads()
@undisturbed()
def fit_dataset(
    dataset: xr.Dataset, options: FitOptions, *, pins: Pins | None = None, facts: Facts | None = None
) -> Fit:
    """Train a model on a checked dataset, all folds in one pass.

    Parameters
    ----------
    dataset : Dataset
        As `check` gives it for what the model needs.
    options : FitOptions
        Those of the dataset, and `pin`, have had their effect already.
    pins : Pins, optional
        From `read_pins`.
    facts : Facts, optional
        What was counted when the data were checked: a training that is streamed then begins without another look at
        the forcing.

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        If the data, the folds or the arguments cannot be used; all findings at once.
    FitError, StoreError
        If another training was begun in this run, or another process is using it, or it cannot be written.
    """
    training, targets, memory, run = part(options, Training), options.targets, options.memory, options.run
    where = to_device(options.device)
    labels = fold_labels(dataset, **vars(part(options, FoldOptions)), seed=1).compute()
    pins = pins or Pins({}, xr.Dataset())
    features, networks = dataset.sizes["feature"], tuple(options.networks or ())
    model = HybridModel(features, options.processes, networks, options.width, tuple(pins.how.items()))
    beyond = [t.name for t in TARGET_TABLE if t.name in dataset and not model.outputs.keys() >= set(t.fields)]
    idle = {*forcing_of(dataset)} - set(model.forcing) | ({*beyond} if targets is None else set())
    before = {} if run is None else remembered(run)
    if memory is None and isinstance(before.get(MEMORY), int):
        memory = before[MEMORY] or None  # portions that are cut otherwise would be another training
    own = [t.name for t in targets or () if isinstance(t, Target)]
    seen = tuple(dict.fromkeys((*TARGETS, *own)))
    portions = Portions.of(
        dataset.drop_vars(idle, errors="ignore"), labels, seen, pins.maps[list(model.maps)], where, memory
    )
    cells = portions.first.cells
    rows = chosen_targets({n: o.step for n, o in cells.targets.items()}, targets, options.weights, model.outputs)
    numbers = np.unique(labels.where(dataset["mask"]) if labels.dims != ("time",) else labels)
    known = [int(k) for k in numbers[numbers >= 0]] or [0]  # nothing held out: one model of everything
    chosen = chosen_folds(known, options.only)
    known_before = chosen_priors(options.priors, model)
    notes = tuple(remarks(labels, dataset["mask"], cells, rows, training))
    with printed("xh2cm.train") if options.progress else contextlib.nullcontext():
        for note in notes:
            log.info(note)
    counts = Counts(chosen, rows, training)
    summed = None
    if facts and portions.streams and (SUMS in before or not before):
        summed = forcing_sums(facts, dataset, labels, cells.driving)
    scales = normalisation(portions, chosen, rows, options.normalise, known=summed, beside=counts.add)
    recipe = {
        "period": f"{cells.time.values[0]!s:.10} to {cells.time.values[-1]!s:.10}",
        "cells": f"{int(dataset['mask'].sum())} of {dataset['mask'].size}",
        "normalise": options.normalise,
        "training": dataclasses.asdict(training),
        "targets": [t.described for t in rows],
        "priors": [dataclasses.asdict(p) for p in known_before],
    }
    asked = {
        **{k: v for k, v in recipe.items() if k != "training"},
        **{
            k: v for k, v in dataclasses.asdict(training).items() if k != "epochs"
        },  # more of them go on with what there is
        **model_described(model),
        "features": list(cells.features),
        "folds": list(chosen),
        "portions": portions.described,
        MACHINE: f"{where.type} ({torch.backends.cpu.get_cpu_capability()})",
        "memory": portions.memory,
        **({SUMS: "by cell"} if summed else {}),
        "data": digest(labels, scales, pins.maps),
    }
    with opened(run, asked, chosen, options.save_every) if run is not None else contextlib.nullcontext() as kept:
        done = train(
            portions, chosen, model, rows, scales, training,
            priors=known_before, progress=options.progress, loop=options.loop, run=kept, counts=counts,
        )  # fmt: skip
        provenance = {
            "xh2cm": importlib.metadata.version("xh2cm"),
            "torch": torch.__version__,
            "trained": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "device": str(where),
            "processor": torch.backends.cpu.get_cpu_capability(),
            "products": torch.get_float32_matmul_precision(),
            "forcing_range": {
                name: [float(end) for end in dataset[name].attrs[ACTUAL_RANGE]]
                for name in model.forcing
                if ACTUAL_RANGE in dataset[name].attrs
            },
            **({"notes": "; ".join(notes)} if notes else {}),
            **recipe,
        }
        if beyond and targets is None:
            provenance["left out"] = f"{', '.join(beyond)}: targets of carbon, which is not walked"
        scaling = Scaling(*(x.cpu() for x in scales.scaling))  # a fit goes anywhere, and is moved where it is run
        parts = scaling, cells.features, labels, done.losses, training.start, provenance, pins.maps
        fit = Fit(done.weights.cpu(), model, *parts)
        if kept is not None:
            fit.save(kept.folder / FINISHED, overwrite=True)
    return fit


FEW_STEPS = 5
"""Optimiser steps an epoch below which their number is said."""


def remarks(
    labels: xr.DataArray, mask: xr.DataArray, cells: Cells, rows: Sequence[Target], training: Training
) -> Iterator[str]:
    """Yield what is set aside, which daily observations are compared as means, and how few steps an epoch has.

    Parameters
    ----------
    labels, mask : DataArray
    cells : Cells
    rows : sequence of Target
    training : Training

    Yields
    ------
    str
    """
    usable = labels.notnull() if "time" in labels.dims else labels.notnull() & mask
    aside, number = int(((labels == TEST) & usable).sum()), int(usable.sum())
    what = "cells" if "time" not in labels.dims else "days" if labels.ndim == 1 else "cells and days"
    if aside:
        told = f"{aside:,} of {number:,} {what} are set aside as test"
        yield f"{told}: no fold is trained or validated with them (test=0 uses all)"
    for row in rows:
        if cells.targets[row.name].step == "daily" and row.compare not in ("daily", "standardised"):
            means = "means of the calendar months" if row.compare == "seasonal" else "monthly means"
            daily = f'targets={{"{row.name}": "daily"}} compares days'
            yield f"{row.name} was observed daily and is compared as {means} ({daily})"
    days = cells.time.size
    length = min(training.window or days, days)
    trained = int(mask.sum())
    if "time" not in labels.dims:
        kept = labels.where(mask)
        held = [int((kept == k).sum()) for k in np.unique(kept) if k >= 0]
        trained = int((kept.notnull() & (kept != TEST)).sum()) - min(held, default=0)
    samples = trained * math.ceil(days / length)
    if (steps := math.ceil(samples / training.batch_size)) < FEW_STEPS:
        told = f"an epoch is {steps} optimiser {'step' if steps == 1 else 'steps'} in each fold"
        why = f"{samples:,} samples of {length:,} days in batches of {training.batch_size:,}"
        yield f"{told}: {why} (a smaller batch_size, or a window, gives more)"


def digest(labels: xr.DataArray, scales: Normalisation, maps: xr.Dataset) -> str:
    """Compute a checksum of 16 digits of the data of a training: labels, moments and maps."""
    parts = [labels.values, *(x.cpu().numpy() for x in (*scales.scaling, *scales.targets.values()))]
    parts += [maps[name].values for name in maps.data_vars]
    found = hashlib.sha256()
    for array in parts:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]
