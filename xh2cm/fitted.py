"""Fit a model to a dataset; keep, save and load what came of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import stat
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import netCDF4
import numpy as np
import pandas as pd
import safetensors.torch
import torch
import xarray as xr

import xh2cm.physics
from xh2cm.ambient import undisturbed
from xh2cm.data.align import align
from xh2cm.datasets.published import from_published, read_checkpoint
from xh2cm.disk.atomic import writing
from xh2cm.disk.places import local
from xh2cm.errors import FitError, H2CMWarning, InputError, StoreError
from xh2cm.html import Markup, block, number, pairs, table
from xh2cm.io.arrays import packed, unpacked
from xh2cm.io.checksums import (
    SUMS,
    aside,
    intact,
    read_file,
    read_sums,
    replaced,
    seal,
)
from xh2cm.io.passengers import plain
from xh2cm.model import KINDS, HybridModel, Net, Scaling, SpinUp
from xh2cm.model.loss import SPLITS
from xh2cm.physics import Processes
from xh2cm.variables import FORCING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Fit",
    "gather",
    "load_fit",
]

FINISHED = "fit"
"""Folder of a run that the finished fit is in."""

ALIKE = ("period", "cells", "normalise", "training", "targets", "priors")
"""What fits that are gathered must say alike of how they came about."""

FORMAT = 4
"""Version of the files of a fit; 1 had no pins and all forcings in its scaling, 2 no checksums, 3 losses in NetCDF."""

ABOUT = "fit.json"
"""The file that describes a fit."""

MOST = 2**24
"""Bytes of the longest description that is read."""


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """A trained model: a value that can be saved, loaded and used on other data, on any device.

    Parameters
    ----------
    weights : Tensor, (fold, weight)
        In memory of the CPU, as those of `scaling`.
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
    maps : Dataset
        Maps that parameters are pinned to, by their names, on the land it was fitted on.

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
    maps: xr.Dataset = dataclasses.field(default_factory=xr.Dataset)

    @property
    def folds(self) -> tuple[int, ...]:
        """Numbers of the folds it holds."""
        return tuple(int(k) for k in self.losses["fold"].values)

    @property
    def fingerprint(self) -> str:
        """First 16 digits of the weights' SHA-256."""
        return hashlib.sha256(np.ascontiguousarray(self.weights.numpy()).tobytes()).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        """Return whether both predict the same: alike in weights, model, scaling, features, folds, spin-up and maps."""
        if not isinstance(other, Fit):
            return NotImplemented
        one, two = (
            (fit.features, fit.folds, fit.spinup, model_described(fit.model), fit.labels is None, fit.scaling is None)
            for fit in (self, other)
        )
        return bool(
            one == two
            and torch.equal(self.weights, other.weights)
            and all(torch.equal(*pair) for pair in zip(self.scaling or (), other.scaling or (), strict=True))
            and (self.labels is None or other.labels is None or self.labels.equals(other.labels))
            and self.maps.equals(other.maps)
        )

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        size = f"{len(self.folds)} folds, {self.weights.shape[1]:,} weights, {len(self.features)} static features"
        lines = self.settings()
        if self.model.pinned:
            fixed = [f"{name} = {to}" for name, to in self.model.pinned.items() if to != "global"]
            one = len(self.model.pinned) - len(fixed)
            constants = [f"{one} parameters learned as one constant each"] if one else []
            lines["pinned"] = ", ".join(fixed + constants)
        loss = self.losses["loss"]
        if loss.sizes["epoch"]:
            for split in SPLITS:
                value = last(loss.sel(target="total", split=split))
                if bool(value.notnull().any()):
                    lines[f"{split} loss"] = f"{value.mean():.4g} ({value.min():.4g}-{value.max():.4g})"
        lines |= {key: value for key, value in self.provenance.items() if isinstance(value, str)}
        return "\n".join(
            [f"<xh2cm.Fit {self.fingerprint}> {size}", *(f"  {key:<15} {value}" for key, value in lines.items())]
        )

    def _repr_html_(self) -> str:
        return block(self)

    def __html__(self) -> Markup:
        size = {
            "folds": f"{len(self.folds)}: {', '.join(map(str, self.folds))}",
            "weights": f"{self.weights.shape[1]:,} a fold",
            "static features": ", ".join(self.features) or "none",
            "pinned": ", ".join(f"{name} = {to}" for name, to in self.model.pinned.items()) or "nothing",
        }
        told = {key: value for key, value in self.provenance.items() if isinstance(value, str)}
        title = Markup("<p><b>xh2cm fit</b> <code>{}</code></p>").format(self.fingerprint)
        return title + pairs({**size, **self.settings(), **told}) + loss_table(self.losses)

    def settings(self) -> dict[str, str]:
        """Return the settings by which fits are compared, as text: folds, training, spin-up, width and targets.

        Returns
        -------
        dict of str to str
            What is not known of a fit, such as the training of a published checkpoint, is left out.

        Examples
        --------
        >>> import xh2cm
        >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 60), month=slice(0, 2))
        >>> fit = ds.h2cm.fit(2, scheme="cells", targets=["GPP"], epochs=1, width=8, loop="plain", progress=False)
        >>> fit.settings()["targets"], fit.settings()["folds"]
        ('GPP (seasonal)', '0, 1 (scheme cells, seed 1)')
        """
        training = self.provenance.get("training", {})
        found = {"folds": ", ".join(map(str, self.folds))}
        if self.labels is not None:
            drawn = [f"{key} {self.labels.attrs[key]}" for key in ("scheme", "seed") if key in self.labels.attrs]
            found["folds"] += f" ({', '.join(drawn)})" if drawn else ""
        if epochs := self.losses.sizes["epoch"]:
            skipped = int(self.losses["skipped_steps"].sum())
            found["epochs"] = f"{epochs} of at most {training.get('epochs', epochs)}, skipped steps {skipped}"
        told = {"learning rate": "learning_rate", "batch size": "batch_size", "patience": "patience", "seed": "seed"}
        found |= {name: str(training[key]) for name, key in told.items() if key in training}
        if "window" in training:
            found["window"] = f"{training['window']} days" if training["window"] else "whole record"
        days = "whole window" if self.spinup.days is None else f"{self.spinup.days} days"
        found["spin-up"] = f"{days}, {self.spinup.passes} times" if self.spinup.passes != 1 else days
        widths = {str(net.width or self.model.width or KINDS[net.kind].width) for net in self.model.daily}
        found["width"] = ", ".join(sorted(widths)) or "no daily networks"
        if rows := self.provenance.get("targets"):
            found["targets"] = ", ".join(f"{row['name']} ({row['compare']})" for row in rows)
        return found

    def constants(self) -> xr.Dataset:
        """The learned global constants, and parameters that were pinned to one.

        Returns
        -------
        Dataset
            For each constant its value along ``fold``, and over the folds ``<name>_mean`` and ``<name>_std`` (unbiased,
            NaN for a single fold), with CF attributes.

        Examples
        --------
        >>> import xh2cm
        >>> ds = xh2cm.tutorial.open_dataset("twin")
        >>> constants = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, progress=False).constants()
        >>> constants["q10"].sizes["fold"], 1 < float(constants["q10_mean"]) < 10
        (2, True)
        """
        named = self.model.unpack(self.weights)
        found: dict[str, xr.DataArray] = {}
        for name, about in self.model.parameters.items():
            if f"global.{name}" not in named:
                continue
            values = self.model.bounded(name, named[f"global.{name}"])[:, 0].detach().numpy()
            found[name] = xr.DataArray(values, coords={"fold": list(self.folds)}, dims="fold", attrs=about.attrs)
            mean, std = found[name].mean("fold"), found[name].std("fold", ddof=1)
            for statistic, text, over in (("mean", "mean", mean), ("std", "standard deviation", std)):
                attrs = {"long_name": f"{about.long_name}, {text} over folds", "units": about.units}
                found[f"{name}_{statistic}"] = over.drop_attrs(deep=False).assign_attrs(attrs)
        return xr.Dataset(found)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the fit to a folder: safetensors and JSON with checksums.

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
        FitError
            If weights or scaling are not finite, or do not belong together: it could not be loaded.

        Notes
        -----
        An earlier fit stays until the new one is whole and on the disk. A list of SHA-256 checksums, which
        ``sha256sum -c SHA256SUMS`` reads as well, covers every byte of every file.

        Examples
        --------
        >>> import tempfile, xh2cm
        >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 60), month=slice(0, 2))
        >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
        >>> sorted(path.name for path in fit.save(tempfile.mkdtemp() + "/fit").iterdir())
        ['SHA256SUMS', 'fit.json', 'folds.safetensors', 'losses.safetensors', 'weights.safetensors']
        """
        target = local(path)
        if faults := unfit(self):
            raise FitError(f"this fit could not be read again, because {'; '.join(faults)}")
        if os.path.lexists(target) and not (overwrite and os.path.lexists(target / ABOUT)):
            raise StoreError(f"{target} exists: give another path, or overwrite=True to replace an earlier fit")
        with writing(target), replaced(target) as written:
            self._write(written)
        return target

    def _write(self, folder: Path) -> None:
        tensors = {"weights": self.weights.contiguous()}
        if self.scaling is not None:
            tensors |= {name: x.contiguous() for name, x in self.scaling._asdict().items()}
        (folder / "weights.safetensors").write_bytes(safetensors.torch.save(tensors))
        arrays = {"losses": self.losses}
        if self.labels is not None:
            arrays["folds"] = plain(on_file(self.labels).to_dataset(name="fold"))
        if self.maps:
            arrays["maps"] = plain(self.maps.map(on_file, keep_attrs=True))
        for name, dataset in arrays.items():
            (folder / f"{name}.safetensors").write_bytes(packed(dataset))
        about = {
            "format": FORMAT,
            "features": list(self.features),
            "spinup": dataclasses.asdict(self.spinup),
            **model_described(self.model),
            "provenance": self.provenance,
        }
        (folder / ABOUT).write_text(json.dumps(about, indent=1, default=np.generic.item))  # NumPy's numbers as Python's
        seal(folder)


def last(loss: xr.DataArray) -> xr.DataArray:
    """The loss of each fold's last epoch."""
    return loss.isel(epoch=loss.notnull().cumsum("epoch").argmax("epoch"))


def loss_table(losses: xr.Dataset) -> Markup:
    """Write the losses that a training ended with, target by target; nothing where there was none.

    Parameters
    ----------
    losses : Dataset
        Of a `Fit`.

    Returns
    -------
    Markup
    """
    if not losses.sizes["epoch"]:
        return Markup("")
    ended = last(losses["loss"])
    rows: list[list[object]] = []
    for target in losses["target"].values.tolist():
        row: list[object] = [target]
        for split in SPLITS:
            one = ended.sel(split=split, target=target)
            row += [float(one.mean()), f"{number(float(one.min()))} to {number(float(one.max()))}"]
        rows.append(row)
    head = ["target", *(title for split in SPLITS for title in (split, f"{split}, range of the folds"))]
    caption = f"Loss in the last epoch of each fold (of {losses.sizes['epoch']} at most), mean over the folds"
    return table(caption, head, rows, numbers=head[1:])


def on_file(array: xr.DataArray) -> xr.DataArray:
    """The same with coordinates as a file can hold them: along its axes, levels of stacked axes as plain ones."""
    levels = [dim for dim in array.dims if isinstance(array.indexes.get(dim), pd.MultiIndex)]
    plain = array.reset_index(levels)
    return plain.drop_vars([name for name, c in plain.coords.items() if not c.dims or c.dtype.kind == "c"])


def model_described(model: HybridModel) -> dict[str, Any]:
    """A model as it is written down."""
    return {
        "processes": {slot: described(getattr(model.processes, slot)) for slot in Processes.slots},
        "networks": [dataclasses.asdict(net) for net in model.networks],
        "width": model.width,
        "pins": model.pins,
        **({"more": [described(process) for process in model.processes.more]} if model.processes.more else {}),
    }


def described(process: Any) -> dict[str, Any] | None:
    """Name and settings of a process, as they are written down; None for an empty slot."""
    if process is None:
        return None
    fields = dataclasses.fields(process) if is_dataclass(process) else ()
    settings = {field.name: getattr(process, field.name) for field in fields}
    return {
        "name": type(process).__qualname__,
        "settings": settings,
        "parameters": [p.described for p in process.parameters],
    }


@undisturbed()
def gather(fits: Sequence[Fit], labels: xr.DataArray | None = None) -> Fit:
    """Join fits of some folds each into one.

    Parameters
    ----------
    fits : sequence of Fit
        Of the same model, on the same data, each with other folds.
    labels : DataArray, optional
        Fold labels to keep; those of the fits if not given.

    Returns
    -------
    Fit
        With the folds in ascending order.

    Raises
    ------
    FitError
        If they do not belong together, or a fold is in two of them.

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin")
    >>> how = {"folds": 2, "scheme": "cells", "epochs": 1, "width": 8, "progress": False}
    >>> whole = xh2cm.gather([ds.h2cm.fit(only=[fold], **how) for fold in (1, 0)])
    >>> whole.folds, whole.fingerprint == ds.h2cm.fit(**how).fingerprint
    ((0, 1), True)
    """
    if not fits:
        raise FitError("there is no fit to gather")
    first = fits[0]
    said = [
        {"features": fit.features, "spinup": fit.spinup, **model_described(fit.model)}
        | {key: fit.provenance.get(key) for key in ALIKE}
        for fit in fits
    ]
    other = {key for own in said for key, value in own.items() if value != said[0][key]}
    if not all(same(fit.labels, first.labels) for fit in fits):
        other.add("fold labels")
    if not all(same(fit.maps.get(name), first.maps.get(name)) for fit in fits for name in first.model.maps):
        other.add("maps of pinned parameters")
    if other:
        raise FitError(f"the fits do not belong together: they differ in {', '.join(sorted(other))}")
    every = [k for fit in fits for k in fit.folds]
    if twice := sorted({k for k in every if every.count(k) > 1}):
        raise FitError(f"folds {twice} are in more than one of the fits")
    order = np.argsort(every)
    losses = xr.concat([fit.losses for fit in fits], "fold", join="outer").sortby("fold")
    losses["loss"] = losses["loss"].transpose("split", "target", "epoch", "fold")
    scaling = (
        None
        if first.scaling is None
        else Scaling(*(torch.cat(parts)[order] for parts in zip(*(fit.scaling for fit in fits), strict=True)))
    )
    return dataclasses.replace(
        first,
        weights=torch.cat([fit.weights for fit in fits])[order],
        scaling=scaling,
        labels=first.labels if labels is None else labels,
        losses=losses.sel(target=first.losses["target"], split=first.losses["split"]),
        provenance={**first.provenance, "gathered": f"from {len(fits)} fits"},
    )


def same(one: xr.DataArray | None, other: xr.DataArray | None) -> bool:
    """Tell whether two arrays hold the same at the same labels, whatever the order."""
    if one is None or other is None:
        return one is other
    try:
        here = align(one, other, "", on=other.dims)
    except InputError:
        return False
    return one.sizes == other.sizes and bool(np.array_equal(here.transpose(*other.dims), other, equal_nan=True))


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
        If the file is absent, truncated, changed, of a newer format, would run code, or was made for other processes;
        never anything else, whatever the files hold.

    Warns
    -----
    H2CMWarning
        If a save was cut short between taking the earlier fit away and putting the new one there: the earlier is read.

    Examples
    --------
    >>> import xh2cm
    >>> xh2cm.load_fit("nowhere")
    Traceback (most recent call last):
    ...
    xh2cm.errors.FitError: nowhere does not exist
    """
    try:
        found = local(path)
    except StoreError as error:
        raise FitError(f"{path} cannot be read: {error}") from None
    try:
        found = found if os.path.lexists(found) else earlier(found)
        is_file = stat.S_ISREG(found.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FitError(f"{found} does not exist") from error
    except (OSError, ValueError) as error:
        raise FitError(f"{found} cannot be read: {error}") from error
    if is_file:
        with undisturbed():
            return from_checkpoint(found)
    if os.path.lexists(found / FINISHED / ABOUT):
        found /= FINISHED
    elif os.path.lexists(found / "run.json"):
        raise FitError(f"the run in {path} is not finished: go on with the command that began it")
    try:
        with undisturbed():
            fit = from_folder(found, processes)
    except FitError:
        raise
    except Exception as error:  # a damaged or forged file may fail anywhere in its reader
        raise FitError(
            f"{found} cannot be read as a fit ({type(error).__name__}: {error}): take another copy"
        ) from error
    if faults := unfit(fit):
        raise FitError(f"{found} is no whole fit, because {'; '.join(faults)}: take another copy")
    return fit


def earlier(path: Path) -> Path:
    """The fit that was to be replaced where a save was cut short, or else the path itself."""
    kept = aside(path)
    if not (kept / ABOUT).exists():
        return path
    warnings.warn(
        f"{path} does not exist: a save was cut short, and the earlier fit is read, {kept}", H2CMWarning, stacklevel=3
    )
    return kept


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
    if (folder / SUMS).exists():
        sums = read_sums(folder)
        if ABOUT not in sums:
            raise FitError(f"{folder} holds no fit: {SUMS} does not name {ABOUT}")
        files = intact(folder, sums)
        about = description(folder, files[ABOUT])
    else:
        about = description(folder, read_file(folder / ABOUT, MOST))
        if about["format"] >= 3:
            raise FitError(f"{folder / SUMS} is missing: take another copy of the folder")
        files = intact(folder, about["sha256"], others=(ABOUT,))
    tensors = safetensors.torch.load(files["weights.safetensors"])
    rows = [
        Net(**{**net, "inputs": tuple(net["inputs"]), "outputs": tuple(net["outputs"])}) for net in about["networks"]
    ]
    if odd := sorted({net.kind for net in rows} - {"static", *KINDS}):
        raise FitError(
            f"{folder} was made with networks of a kind that is not known here: "
            + ", ".join(f"put yours into xh2cm.model.KINDS[{kind!r}] before loading" for kind in odd)
        )
    made_with = recalled(about["processes"], about.get("more", ()), processes, folder)
    pins = tuple((name, to) for name, to in about.get("pins", ()))
    model = HybridModel(len(about["features"]), made_with, tuple(rows), about["width"], pins)
    weights = tensors.pop("weights")
    if about["format"] == 1:
        walked = [list(FORCING).index(name) for name in model.forcing]
        tensors = {name: x[:, walked] if name.startswith("forcing") else x for name, x in tensors.items()}
    arrays = {name: dataset_of(files, name, about["format"]) for name in ("losses", "folds", "maps")}
    if arrays["losses"] is None:
        raise FitError(f"{folder} holds no losses and cannot be read as a fit: take another copy of the folder")
    (labels,) = arrays["folds"].data_vars.values() if arrays["folds"] is not None else (None,)
    return Fit(
        weights=weights,
        model=model,
        scaling=Scaling(**tensors) if tensors else None,
        maps=xr.Dataset() if arrays["maps"] is None else arrays["maps"],
        features=tuple(about["features"]),
        labels=labels,
        losses=arrays["losses"],
        spinup=SpinUp(**about["spinup"]),
        provenance=about["provenance"],
    )


def description(folder: Path, content: bytes) -> dict[str, Any]:
    """Read the JSON description of a fit, if this version of xh2cm supports its format."""
    if len(content) > MOST:
        raise FitError(f"{folder / ABOUT} is larger than any description of a fit, {len(content):,} bytes")
    try:
        about = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FitError(f"{folder / ABOUT} is no JSON ({error}): take another copy of the folder") from error
    number = about.get("format") if isinstance(about, dict) else None
    if not isinstance(number, int) or number < 1 or not isinstance(about.get("provenance"), dict):
        raise FitError(f"{folder / ABOUT} is not the description of a fit")
    if number > FORMAT:
        raise FitError(f"{folder} has format {number}, this xh2cm reads up to {FORMAT}: update xh2cm")
    return cast(dict[str, Any], about)


def dataset_of(files: Mapping[str, bytes], name: str, number: int) -> xr.Dataset | None:
    """Return one of the datasets of a fit of some format, if it is there."""
    if number >= 4:
        return unpacked(files[f"{name}.safetensors"]) if f"{name}.safetensors" in files else None
    return from_netcdf(files[f"{name}.nc"]) if f"{name}.nc" in files else None


def from_netcdf(content: bytes) -> xr.Dataset:
    """A dataset from the bytes of a NetCDF file; netCDF4 decodes numbers and text, never objects."""
    file = netCDF4.Dataset("checked.nc", memory=content)
    return xr.load_dataset(xr.backends.NetCDF4DataStore(file))  # type: ignore[no-untyped-call]


def unfit(fit: Fit) -> list[str]:
    """Return the reasons why the parts of a fit do not belong together."""
    model, losses = fit.model, fit.losses
    numbers = {"weights": fit.weights, **({} if fit.scaling is None else fit.scaling._asdict())}
    lengths = {"weights": model.size, "forcing": len(model.forcing), "static": model.features}
    faults = []
    for name, x in numbers.items():
        length = lengths[name.partition("_")[0]]
        if x.ndim != 2 or x.shape != (len(fit.weights), length):
            faults.append(f"its {name} are {tuple(x.shape)}, its model needs (fold, {length})")
        if x.dtype != torch.float32 or not x.isfinite().all():
            faults.append(f"its {name} are {x.dtype}, or not all finite, where float32 is wanted")
    axes = {"loss": {"split", "target", "epoch", "fold"}, "skipped_steps": {"fold"}}
    if odd := [n for n, on in axes.items() if n not in losses or {*losses[n].dims} != on or on - {*losses.coords}]:
        return [*faults, f"its losses hold no {' and no '.join(f'{name} on {sorted(axes[name])}' for name in odd)}"]
    folds = losses["fold"].values
    if folds.dtype.kind not in "iu" or len({*folds.tolist()}) != len(fit.weights) or (folds < 0).any():
        faults.append(f"its folds are called {folds.tolist()}, where {len(fit.weights)} different numbers are wanted")
    if len({*fit.features}) != len(fit.features) or not all(isinstance(name, str) for name in fit.features):
        faults.append("its static features are not different names")
    if absent := [name for name in model.maps if name not in fit.maps]:
        faults.append(f"the maps of {', '.join(absent)} are missing")
    return faults


def recalled(described_as: Mapping[str, Any], more: Sequence[Any], given: Processes | None, path: Path) -> Processes:
    """Return the processes that a fit was made with: those of the library by name, others as given."""
    found: dict[str, Any] = {}
    wrong = []

    def again(told: Mapping[str, Any] | None, instead: Any) -> tuple[Any, bool]:
        """Return a process as it is described, or what is given instead of it, and whether that is the same."""
        name = told["name"] if told else None
        kind = getattr(xh2cm.physics, name) if name in xh2cm.physics.__all__ else None
        process = instead if given is not None else kind(**told["settings"]) if told and kind else None
        return process, json.loads(json.dumps(described(process))) == told

    for slot in Processes.slots:
        found[slot], same = again(described_as[slot], getattr(given, slot, None))
        if not same:
            wrong.append(f"{slot} = {described_as[slot]['name']}(...)" if described_as[slot] else f"{slot} = None")
    brought = {type(process).__name__: process for process in (given.more if given is not None else ())}
    those = [again(told, brought.get(told["name"])) for told in more]
    if len(brought) > len(more) or not all(same for _, same in those):
        wrong.append(f"more = ({''.join(told['name'] + '(...), ' for told in more).rstrip()})")
    found["more"] = tuple(process for process, _ in those)
    if wrong:
        raise FitError(
            f"{path} was made with other processes: give load_fit(path, processes=Processes({', '.join(wrong)}))"
        )
    return Processes(**found)
