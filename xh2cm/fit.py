"""Fit a model to a dataset; keep, save and load what came of it."""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import hashlib
import importlib.metadata
import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import safetensors
import safetensors.torch
import torch
import xarray as xr

import xh2cm.physics
from xh2cm.data.cells import to_device, to_tensors
from xh2cm.data.folds import Scheme, fold_labels
from xh2cm.data.published import from_published, read_checkpoint
from xh2cm.errors import Finding, FitError, InputError, StoreError
from xh2cm.loop.lanes import Loop
from xh2cm.model import PUBLISHED_NETWORKS, HybridModel, Net, Scaling, SpinUp
from xh2cm.model.loss import COMPARISONS, PRIORS, TARGET_TABLE, Comparison, Prior, Target
from xh2cm.physics import Processes
from xh2cm.train import Training, label_tensor, normalisation, train
from xh2cm.variables import TARGETS

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Fit", "fit_dataset", "load_fit"]

FORMAT = 1
"""Version of the files a fit is saved in."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """A trained model: a value that can be saved, loaded and used on other data.

    Parameters
    ----------
    weights : Tensor, (fold, weight)
    model : HybridModel
    scaling : Scaling or None
        None for a published checkpoint, which leaves its scaling with the data.
    features : tuple of str
        Names of the static features, in order.
    labels : DataArray or None
        Which cells or years each fold did not see.
    losses : Dataset
        ``loss(split, target, epoch, fold)`` and ``skipped_steps(fold)``.
    spinup : SpinUp
    provenance : dict
        How it came about.

    Examples
    --------
    >>> import xh2cm, tempfile
    >>> ds = xh2cm.tutorial.open_dataset("twin")
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, progress=False)
    >>> path = fit.save(tempfile.mkdtemp() + "/twin")
    >>> xh2cm.load_fit(path).fingerprint == fit.fingerprint
    True
    """

    weights: Tensor
    model: HybridModel
    scaling: Scaling | None
    features: tuple[str, ...]
    labels: xr.DataArray | None
    losses: xr.Dataset
    spinup: SpinUp
    provenance: dict[str, Any]

    @property
    def folds(self) -> tuple[int, ...]:
        """Numbers of the folds it holds."""
        return tuple(int(k) for k in self.losses["fold"].values)

    @property
    def fingerprint(self) -> str:
        """First 16 digits of the weights' SHA-256."""
        return hashlib.sha256(np.ascontiguousarray(self.weights.cpu().numpy()).tobytes()).hexdigest()[:16]

    def __repr__(self) -> str:
        size = f"{len(self.folds)} folds, {self.weights.shape[1]:,} weights, {len(self.features)} static features"
        lines = [f"<xh2cm.Fit {self.fingerprint}> {size}"]
        loss = self.losses["loss"]
        if loss.sizes["epoch"]:
            total = loss.sel(target="total")
            finite = total.sel(split="validation").notnull().any("epoch")
            lines.append(
                f"  epochs       {loss.sizes['epoch']}, skipped steps {int(self.losses['skipped_steps'].sum())}"
            )
            lines.append(f"  targets      {', '.join(str(t) for t in loss['target'].values if t in TARGETS)}")
            for split in ("training", "validation"):
                if split == "training" or bool(finite.any()):
                    value = total.sel(split=split)
                    value = value.isel(
                        epoch=value.notnull().cumsum("epoch").argmax("epoch")
                    )  # of each fold's last epoch
                    lines.append(
                        f"  {split:<12} {value.mean().item():.4g} ({value.min().item():.4g}-{value.max().item():.4g})"
                    )
        return "\n".join(
            [*lines, *(f"  {key:<12} {value}" for key, value in self.provenance.items() if isinstance(value, str))]
        )

    def _repr_html_(self) -> str:
        import html

        return f"<pre>{html.escape(repr(self))}</pre>"

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the fit to a folder: safetensors, NetCDF and JSON with checksums, no pickle.

        Parameters
        ----------
        path : str or path
            A folder that does not exist yet.
        overwrite : bool
            Replace an existing fit.

        Returns
        -------
        Path

        Raises
        ------
        StoreError
            If something is there already, or the disk does not take it.
        """
        target = Path(path)
        if target.exists() and not (overwrite and (target / "fit.json").exists()):
            raise StoreError(f"{target} exists: give another path, or overwrite=True to replace an earlier fit")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            written = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent)) / target.name
            try:
                written.mkdir()
                self._write(written)
                if target.exists():
                    shutil.rmtree(target)
                written.rename(target)
            finally:
                shutil.rmtree(written.parent, ignore_errors=True)
        except OSError as error:
            raise StoreError(f"{target} cannot be written: {error}") from error
        return target

    def _write(self, folder: Path) -> None:
        tensors = {"weights": self.weights.contiguous().cpu()}
        if self.scaling is not None:
            tensors |= {name: x.contiguous().cpu() for name, x in self.scaling._asdict().items()}
        safetensors.torch.save_file(tensors, folder / "weights.safetensors")
        self.losses.to_netcdf(folder / "losses.nc")
        if self.labels is not None:
            self.labels.to_netcdf(folder / "folds.nc")
        about = {
            "format": FORMAT,
            "features": list(self.features),
            "spinup": dataclasses.asdict(self.spinup),
            "processes": {slot: described(getattr(self.model.processes, slot)) for slot in Processes.slots},
            "networks": [dataclasses.asdict(net) for net in self.model.networks],
            "width": self.model.width,
            "provenance": self.provenance,
            "sha256": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())},
        }
        (folder / "fit.json").write_text(json.dumps(about, indent=1))


def described(process: Any) -> dict[str, Any]:
    """Name and settings of a process, as they are written down."""
    fields = dataclasses.fields(process) if is_dataclass(process) else ()
    settings = {field.name: getattr(process, field.name) for field in fields}
    return {
        "name": type(process).__qualname__,
        "settings": settings,
        "parameters": [dataclasses.asdict(p) for p in process.parameters],
    }


def chosen_targets(
    found: Sequence[str],
    targets: Sequence[str] | Mapping[str, str] | None,
    weights: Mapping[str, float] | None,
    steps: Mapping[str, str],
) -> tuple[Target, ...]:
    """Rows of the target table to train on.

    Parameters
    ----------
    found : sequence of str
        What the dataset holds.
    targets : sequence of str, mapping of str to str, or None
        Names, or names with how to compare; all that were found if None.
    weights : mapping of str to float, optional
    steps : mapping of str to str
        ``"daily"``, ``"monthly"`` or ``"static"`` for each that was found.

    Returns
    -------
    tuple of Target

    Raises
    ------
    InputError
        If one is not there, or cannot be compared that way.
    """
    table = {t.name: t for t in TARGET_TABLE}
    asked = list(found) if targets is None else list(targets)
    how = dict(targets) if isinstance(targets, Mapping) else {}
    findings = []
    for name in asked:
        if name not in found:
            near = difflib.get_close_matches(name, found, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"this dataset holds {', '.join(found) or 'no target'}"
            findings.append(Finding(f"target {name}", "is not in the dataset", hint))
        elif name in how and how[name] not in (ways := ways_to_compare(table[name])):
            findings.append(
                Finding(f"target {name}", f"cannot be compared as {how[name]!r}", f"use one of {', '.join(ways)}")
            )
        elif how.get(name) == "daily" and steps[name] != "daily":
            findings.append(
                Finding(f"target {name}", f"is {steps[name]} and cannot be compared daily", 'compare it "monthly"')
            )
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
    return tuple(
        dataclasses.replace(
            row, compare=cast(Comparison, how.get(name, row.compare)), weight=(weights or {}).get(name, 1.0)
        )
        for name, row in table.items()
        if name in asked
    )


def ways_to_compare(row: Target) -> tuple[str, ...]:
    """How a target can be compared; a ratio and a year-to-year anomaly know one way only."""
    return tuple(COMPARISONS) if row.compare in COMPARISONS else (row.compare,)


def chosen_priors(priors: Mapping[str, tuple[float, float]] | None, model: HybridModel) -> tuple[Prior, ...]:
    """What is known beforehand of a model's global constants.

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
    constants = [name for name, p in model.parameters.items() if p.varies == "global"]
    given = PRIORS if priors is None else tuple(Prior(name, *pair) for name, pair in priors.items())
    findings = [
        Finding(f"prior of {p.parameter}", "the model has no such global constant", f"give one of {constants}")
        for p in given
        if priors is not None and p.parameter not in constants
    ]
    findings += [
        Finding(
            f"prior of {p.parameter}",
            f"mean {p.mean} and standard deviation {p.std} are no prior",
            "give a finite mean and a standard deviation above 0, or leave it out to know nothing",
        )
        for p in given
        if not (math.isfinite(p.mean) and 0 < p.std < math.inf)
    ]
    if findings:
        raise InputError(findings)
    return given


def fit_dataset(
    dataset: xr.Dataset,
    folds: int | xr.DataArray = 10,
    *,
    scheme: Scheme | None = None,
    size: float | None = None,
    groups: str | xr.DataArray | None = None,
    test: float | None = None,
    only: Sequence[int] | None = None,
    targets: Sequence[str] | Mapping[str, str] | None = None,
    weights: Mapping[str, float] | None = None,
    priors: Mapping[str, tuple[float, float]] | None = None,
    processes: Processes | None = None,
    networks: Sequence[Net] = PUBLISHED_NETWORKS,
    width: int | None = None,
    normalise: Literal["training", "stored"] = "training",
    training: Training | None = None,
    device: str | torch.device | None = None,
    progress: bool = True,
    loop: Loop = "auto",
) -> Fit:
    """Train a model on a checked dataset, all folds in one pass.

    Parameters
    ----------
    dataset : Dataset
        As `check` gives it.
    folds, scheme, size, groups, test
        As for `fold_labels`.
    only : sequence of int, optional
        Train these folds only.
    targets : sequence of str or mapping of str to str, optional
        Which targets, and how to compare them (``{"GPP": "daily"}``); all in the dataset, as published, if not given.
    weights : mapping of str to float, optional
        Weights of the targets in the total loss, 1 if not given.
    priors : mapping of str to (float, float), optional
        Mean and standard deviation of what is known of global constants, ``{}`` for nothing; published if not given.
    processes : Processes, optional
    networks : sequence of Net
    width : int, optional
        Hidden units of the daily nets.
    normalise : {"training", "stored"}
    training : Training, optional
    device : str or torch.device, optional
    progress : bool
    loop : {"auto", "plain", "fast"}
        How days are walked; ``"auto"`` is compiled where that is possible and pays.

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        If the data, the folds or the arguments cannot be used; all findings at once.
    """
    training = training or Training()
    where = to_device(device)
    labels = fold_labels(dataset, folds, scheme=scheme, size=size, groups=groups, test=test, seed=1).compute()
    cells = to_tensors(dataset, where)
    rows = chosen_targets(list(cells.targets), targets, weights, {name: o.step for name, o in cells.targets.items()})
    label = label_tensor(labels, cells)
    known = [k for k in label.unique().tolist() if k >= 0]
    if missing := [k for k in only or [] if k not in known]:
        raise InputError([Finding(f"fold {k}", "there is no such fold", f"choose from {known}") for k in missing])
    chosen = list(only) if only is not None else known
    model = HybridModel(len(cells.features), processes or Processes(), tuple(networks), width)
    known_before = chosen_priors(priors, model)
    scales = normalisation(cells, label, chosen, rows, normalise)
    done = train(cells, label, chosen, model, rows, scales, training, priors=known_before, progress=progress, loop=loop)
    provenance = {
        "xh2cm": importlib.metadata.version("xh2cm"),
        "torch": torch.__version__,
        "trained": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": str(where),
        "period": f"{cells.time.values[0]!s:.10} to {cells.time.values[-1]!s:.10}",
        "cells": f"{len(cells.forcing)} of {cells.mask.size}",
        "normalise": normalise,
        "training": dataclasses.asdict(training),
        "targets": [dataclasses.asdict(t) for t in rows],
        "priors": [dataclasses.asdict(p) for p in known_before],
    }
    return Fit(done.weights, model, scales.scaling, cells.features, labels, done.losses, training.spinup, provenance)


# -- reading ---------------------------------------------------------------------------------------------------------


def load_fit(path: str | os.PathLike[str], *, processes: Processes | None = None) -> Fit:
    """Load a fit, or a published Lightning checkpoint.

    Parameters
    ----------
    path : str or path
        A folder written by `Fit.save`, or a ``.ckpt`` file of the published code.
    processes : Processes, optional
        Needed where the fit was made with processes of one's own: code is never loaded from a file.

    Returns
    -------
    Fit

    Raises
    ------
    FitError
        If the file is absent, truncated, changed, of a newer format, would run code, or was made for other processes.

    Examples
    --------
    >>> import xh2cm
    >>> xh2cm.load_fit("nowhere")
    Traceback (most recent call last):
    ...
    xh2cm.errors.FitError: nowhere does not exist
    """
    found = Path(path)
    if not found.exists():
        raise FitError(f"{found} does not exist")
    if found.is_file():
        return from_checkpoint(found)
    try:
        return from_folder(found, processes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, safetensors.SafetensorError) as error:
        raise FitError(
            f"{found} cannot be read as a fit ({type(error).__name__}: {error}): take another copy"
        ) from error


def from_checkpoint(path: Path) -> Fit:
    """One fold from a published checkpoint; it says nothing of folds, losses or scaling."""
    named = from_published(read_checkpoint(path))
    model = HybridModel(features=named["static.hidden.weight"].shape[1])
    losses = xr.Dataset(
        {"loss": (("split", "target", "epoch", "fold"), np.empty((2, 1, 0, 1))), "skipped_steps": ("fold", [0])},
        coords={"fold": [0], "epoch": np.arange(0), "split": ["training", "validation"], "target": ["total"]},
    )
    features = tuple(f"static_{k}" for k in range(model.features))  # how `check` calls those of the published layout
    provenance = {"source": f"published checkpoint {path.name}"}
    return Fit(model.pack(named).unsqueeze(0), model, None, features, None, losses, SpinUp(), provenance)


def from_folder(folder: Path, processes: Processes | None) -> Fit:
    """A fit as `Fit.save` wrote it."""
    about = json.loads((folder / "fit.json").read_text())
    if not isinstance(about, dict) or not isinstance(about.get("format"), int):
        raise FitError(f"{folder / 'fit.json'} is not the description of a fit")
    if about["format"] > FORMAT:
        raise FitError(f"{folder} has format {about['format']}, this xh2cm reads up to {FORMAT}: update xh2cm")
    for name, checksum in about["sha256"].items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != checksum:
            raise FitError(f"{folder / name} is not what was written (its checksum differs): take another copy")
    tensors = safetensors.torch.load_file(folder / "weights.safetensors")
    rows = [
        Net(**{**net, "inputs": tuple(net["inputs"]), "outputs": tuple(net["outputs"])}) for net in about["networks"]
    ]
    made_with = recalled(about["processes"], processes, folder)
    model = HybridModel(len(about["features"]), made_with, tuple(rows), about["width"])
    weights = tensors.pop("weights")
    if weights.ndim != 2 or weights.shape[1] != model.size:
        raise FitError(f"{folder} holds {tuple(weights.shape)} weights, its model needs (fold, {model.size})")
    return Fit(
        weights=weights,
        model=model,
        scaling=Scaling(**tensors) if tensors else None,
        features=tuple(about["features"]),
        labels=xr.load_dataarray(folder / "folds.nc") if "folds.nc" in about["sha256"] else None,
        losses=xr.load_dataset(folder / "losses.nc"),
        spinup=SpinUp(**about["spinup"]),
        provenance=about["provenance"],
    )


def recalled(described_as: Mapping[str, Any], given: Processes | None, path: Path) -> Processes:
    """The processes a fit was made with: those of the library by name, others as given."""
    found: dict[str, Any] = {}
    wrong = []
    for slot in Processes.slots:
        told = described_as[slot]
        kind = getattr(xh2cm.physics, told["name"], None) if told["name"] in xh2cm.physics.__all__ else None
        process = getattr(given, slot) if given is not None else kind(**told["settings"]) if kind else None
        if process is None or json.loads(json.dumps(described(process))) != told:
            wrong.append(f"{slot} = {told['name']}(...)")
        found[slot] = process
    if wrong:
        raise FitError(
            f"{path} was made with other processes: give load_fit(path, processes=Processes({', '.join(wrong)}))"
        )
    return Processes(**found)
