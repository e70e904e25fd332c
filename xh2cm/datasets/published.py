"""The published files in: the Zarr store as one annotated Dataset, the weights of a Lightning checkpoint."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from xh2cm.errors import Finding, FitError, InputError
from xh2cm.variables import FORCING, STATIC, TARGETS, Var

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import zarr
    from torch import Tensor
    from zarr.abc.store import Store

__all__ = ["PublishedWeight", "from_published", "open_published", "published_weights", "read_checkpoint"]

FORCING_GROUPS = ("rn", "prec", "tair", "vpd", "co2")
MONTHLY_GROUPS = ("tws", "et_xbase", "q_v2", "swe_bc", "fapar", "gpp", "nee", "nee_iav")
FIXED_GROUPS = ("cue", "grid_area", "mask")
FEATURES = "static"

HIDDEN, EMBEDDING, MEMORY = 150, 12, 100
"""Widths of the published networks: hidden layer, what the static net hands on, LSTM cell."""

GATES = 4 * MEMORY

CONSTANTS = {
    "beta_snow": "snowfall_correction",
    "beta_baseflow": "baseflow_coefficient",
    "beta_q10": "q10",
    "beta_co2": "co2_sensitivity",
}
"""Published name of each global constant, and its name here."""


def open_published(store: str | os.PathLike[str] | Store) -> xr.Dataset:
    """Open the published Zarr layout lazily as one annotated Dataset.

    Parameters
    ----------
    store : path, URL or zarr Store
        Folder or zip file with one group per variable: ``rn prec tair vpd co2``, ``tws et_xbase q_v2 swe_bc fapar gpp
        nee nee_iav``, ``cue static grid_area mask``, each holding one array ``data``.

    Returns
    -------
    Dataset
        Forcing on (time, lat, lon), monthly targets on (month, lat, lon), ``CUE``, ``area`` and ``mask`` on (lat, lon),
        ``static`` on (feature, lat, lon), under the names and units of ``xh2cm.variables``. Forcing, targets and
        ``static`` carry the published normalisation as attributes ``mean`` and ``std``, lists for ``static``.

    Raises
    ------
    InputError
        No such store, or one without the published groups, coordinates or normalisation; all findings at once.

    Notes
    -----
    The store carries no units: its values are taken to be in the units of the model already, vapour pressure deficit
    in hPa. Each target keeps the months it has; ``month`` is the first day of every month that any target has, and a
    target is NaN, that is unobserved, in the others. In ``mask``, 0 and NaN are not land.

    References
    ----------
    Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026

    Examples
    --------
    >>> dataset = open_published("h2cm.zarr")  # doctest: +SKIP
    >>> dataset["net_radiation"].units  # doctest: +SKIP
    'W m-2'
    """
    root = _open_root(store)
    groups = (*FORCING_GROUPS, *MONTHLY_GROUPS, *FIXED_GROUPS, FEATURES)
    absent = [group for group in groups if f"{group}/data" not in root]
    if absent:
        raise InputError(
            Finding(group, "the store holds no such group with an array 'data'", f"add {group}/data to the store")
            for group in absent
        )
    opened = {group: _open_group(root, group) for group in groups}
    findings = [*_unlike(opened), *_without_statistics(opened)]
    if findings:
        raise InputError(findings)

    variables = {}
    for group in (*FORCING_GROUPS, *MONTHLY_GROUPS, *FIXED_GROUPS):
        name, var = _variable(group)
        variables[name] = opened[group]["data"].assign_attrs(opened[group].attrs | var.attrs)
    monthly = [_variable(group)[0] for group in MONTHLY_GROUPS]
    targets = xr.align(*(_on_months(variables[name]) for name in monthly), join="outer")
    variables |= dict(zip(monthly, targets, strict=True))
    features = opened[FEATURES]["data"]
    variables[FEATURES] = features.rename({features.dims[0]: "feature"}).assign_attrs(
        {"long_name": "static features"} | opened[FEATURES].attrs
    )
    mask, _ = _variable("mask")
    area, _ = _variable("grid_area")
    variables[mask] = (variables[mask].fillna(0) != 0).assign_attrs(variables[mask].attrs)
    variables[area] = variables[area].astype(np.float64)
    dataset = xr.Dataset(
        variables,
        attrs={"title": "Forcing and targets of H2CM v1.0", "references": "https://doi.org/10.5194/gmd-19-4467-2026"},
    )
    # The encoding is Zarr's version 2, which version 3 would refuse to write again.
    dataset = dataset.drop_encoding()
    dataset.set_close(root.store.close)
    return dataset


def _open_root(store: str | os.PathLike[str] | Store) -> zarr.Group:
    """Open the group that holds all others, of a folder, a zip file or any other store of zarr."""
    import zarr
    from zarr.abc.store import Store

    from xh2cm.datasets.stores import examined

    try:
        return zarr.open_group(store if isinstance(store, Store) else examined(store), mode="r")
    except zipfile.BadZipFile as error:
        problem, remedy = f"not a readable zip file ({error})", "copy or download it again"
    except zarr.errors.GroupNotFoundError:
        problem = "there is no Zarr group at its root"
        remedy = "pass the folder that holds rn, prec, ... (or a zip of what is in the folder, not of the folder)"
    except FileNotFoundError:
        problem, remedy = "there is no such file or folder", "check the path"
    except (OSError, ValueError) as error:
        problem, remedy = f"cannot be opened ({error})", "check the path, and that it may be read"
    raise InputError([Finding(str(store), problem, remedy)])


def _open_group(root: zarr.Group, group: str) -> xr.Dataset:
    """Open one group of the store."""
    try:
        dataset: xr.Dataset = xr.open_zarr(root.store, group=f"{root.path}/{group}".lstrip("/"), consolidated=False)
        return dataset[["data"]].reset_coords(drop=True)
    except (KeyError, ValueError) as error:
        raise InputError(
            [Finding(group, f"is no group that xarray wrote ({error})", "write it with to_zarr")]
        ) from error


def _variable(group: str) -> tuple[str, Var]:
    """Find what a published group is called here: the variable that has its name as name or alias."""
    for name, var in {**FORCING, **TARGETS, **STATIC}.items():
        if group.lower() in {name.lower(), *(alias.lower() for alias in var.aliases)}:
            return name, var
    raise LookupError(group)


def _unlike(opened: Mapping[str, xr.Dataset]) -> Iterator[Finding]:
    """List what keeps the groups from lying on one grid and one time axis."""
    fitting: dict[str, xr.DataArray] = {}
    for group, dataset in opened.items():
        data = dataset["data"]
        first = () if group in FIXED_GROUPS else ("variable",) if group == FEATURES else ("time",)
        if data.dims != (*first, "lat", "lon"):
            yield Finding(f"{group}/data", f"lies on {data.dims}", f"write it on {(*first, 'lat', 'lon')}")
            continue
        fitting[group] = data
    for axis, groups in (("lat", fitting), ("lon", fitting), ("time", set(FORCING_GROUPS) & set(fitting))):
        for group in sorted(groups):
            like = "mask" if axis != "time" else FORCING_GROUPS[0]
            if like in fitting and not fitting[group].get_index(axis).equals(fitting[like].get_index(axis)):
                yield Finding(
                    f"{group}/{axis}", f"is not that of {like}", "write all groups on one grid and the same days"
                )
    for group in sorted(set(MONTHLY_GROUPS) & set(fitting)):
        time = fitting[group]["time"]
        if time.dtype.kind != "M":
            yield Finding(f"{group}/time", f"its type {time.dtype} is no date", "write dates of the standard calendar")
        elif np.unique(_months(time)).size < time.size:
            yield Finding(f"{group}/time", "names a month more than once", "write one value per month")


def _without_statistics(opened: Mapping[str, xr.Dataset]) -> Iterator[Finding]:
    """List groups without the mean and standard deviation that the published model standardises with."""
    for group in (*FORCING_GROUPS, *MONTHLY_GROUPS, "cue", FEATURES):
        shape = opened[group]["data"].shape[:1] if group == FEATURES else ()
        for statistic in ("mean", "std"):
            value = opened[group].attrs.get(statistic)
            numbers = np.asarray(value if value is not None else np.nan, object)
            fits = numbers.shape == shape and all(isinstance(n, int | float) and np.isfinite(n) for n in numbers.flat)
            if not fits:
                wanted = f"a list of {shape[0]} numbers" if shape else "a number"
                yield Finding(
                    group, f"its attribute {statistic!r} is {value!r:.60}, not {wanted}", "write it as used in training"
                )


def _months(time: xr.DataArray) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    """Return the first day of each month."""
    return time.values.astype("datetime64[M]").astype("datetime64[ns]")


def _on_months(data: xr.DataArray) -> xr.DataArray:
    """Move monthly values, whatever day of the month they are dated to, onto ``month``."""
    months = xr.DataArray(_months(data["time"]), dims=("month",), attrs={"long_name": "first day of the month"})
    return data.drop_vars("time").rename(time="month").assign_coords(month=months)


class PublishedWeight(NamedTuple):
    """Name and shape of a weight of a published checkpoint in this library."""

    name: str
    shape: tuple[int, ...]


def published_weights(features: int = 30) -> dict[str, PublishedWeight]:
    """List the weights of the published model.

    Parameters
    ----------
    features : int
        Number of static features.

    Returns
    -------
    dict of str to PublishedWeight
        By published name. Shapes are those of PyTorch, (out, in), gates in the order (i, f, g, o); there is no fold
        axis.

    References
    ----------
    Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026

    Examples
    --------
    >>> published_weights()["fc_static.fc1.weight"]
    PublishedWeight(name='static.hidden.weight', shape=(150, 30))
    >>> published_weights()["beta_q10"]
    PublishedWeight(name='global.q10', shape=())
    """
    weights = {theirs: PublishedWeight(f"global.{ours}", ()) for theirs, ours in CONSTANTS.items()}
    for theirs, ours, inputs, outputs in (
        ("fc_static", "static", features, 2),
        ("fc_static_wue_alpha_T", "water_use", 3 + EMBEDDING, 2),
    ):
        widths = (inputs, HIDDEN, EMBEDDING, outputs)
        for layer, part in enumerate(("hidden", "embedding", "head")):
            fan_in, fan_out = widths[layer : layer + 2]
            weights[f"{theirs}.fc{layer + 1}.weight"] = PublishedWeight(f"{ours}.{part}.weight", (fan_out, fan_in))
            weights[f"{theirs}.fc{layer + 1}.bias"] = PublishedWeight(f"{ours}.{part}.bias", (fan_out,))
    for theirs, ours, inputs, outputs in (
        ("lstm_fc_win_partition_smelt", "partition", 6 + EMBEDDING, 3),
        ("lstm_fc_cue_fapar", "productivity", 7 + EMBEDDING, 2),
        ("lstm_fc_rb_alpha_Es", "respiration", 4 + EMBEDDING, 2),
    ):
        cell = {"weight_ih": (GATES, inputs), "weight_hh": (GATES, MEMORY), "bias_ih": (GATES,), "bias_hh": (GATES,)}
        for part, shape in cell.items():
            weights[f"{theirs}.lstm_cell.{part}"] = PublishedWeight(f"{ours}.{part}", shape)
        weights[f"{theirs}.fc.weight"] = PublishedWeight(f"{ours}.head.weight", (outputs, MEMORY))
        weights[f"{theirs}.fc.bias"] = PublishedWeight(f"{ours}.head.bias", (outputs,))
    return weights


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the weights, and nothing else, from a published Lightning checkpoint.

    Parameters
    ----------
    path : path
        A ``.ckpt`` file as PyTorch Lightning writes it.

    Returns
    -------
    dict of str to Tensor, float32
        The weights of `published_weights` by published name, on the CPU.

    Raises
    ------
    FitError
        No such file, an empty, truncated or damaged one, one that holds anything but plain data and would have to run
        code to be read, or weights that are not those of the published model.

    Notes
    -----
    A checkpoint holds no normalisation: the published model takes it from the attributes of its store, which
    `open_published` keeps.

    Examples
    --------
    >>> weights = read_checkpoint("model.ckpt")  # doctest: +SKIP
    >>> weights["fc_static.fc1.weight"].shape  # doctest: +SKIP
    torch.Size([150, 30])
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise FitError(f"{path}: there is no such file\n    -> check the path")
    try:
        with path.open("rb") as file:
            archived, size = zipfile.is_zipfile(file), path.stat().st_size
    except OSError as error:
        raise FitError(f"{path}: cannot be read ({error})\n    -> check who may read it") from error
    if not archived:
        state = "is no PyTorch checkpoint, or only the beginning of one" if size else "is empty"
        raise FitError(f"{path}: {state}\n    -> copy or download it again")
    try:
        with zipfile.ZipFile(path) as archive:
            # PyTorch compresses nothing: what would grow in being read was not written by it.
            swells = sum(part.file_size for part in archive.infolist()) > size
            damaged = None if swells else archive.testzip()
        content = None if swells or damaged else torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        raise FitError(
            f"{path}: refused, because reading it would run code{f' ({asked[1]})' if asked else ''}\n"
            "    -> if you trust its source, write its weights alone: "
            "torch.save({'state_dict': model.state_dict()}, path)"
        ) from None
    except Exception as error:  # a damaged file may fail anywhere in the reader
        raise FitError(f"{path}: cannot be read ({error})\n    -> copy or download it again") from error
    if swells:
        raise FitError(f"{path}: refused, because its parts are larger than itself\n    -> copy or download it again")
    if damaged:
        raise FitError(f"{path}: its part {damaged} is damaged\n    -> copy or download it again")
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(weights, dict):
        raise FitError(f"{path}: holds no 'state_dict'\n    -> pass a checkpoint that Lightning wrote")
    _refuse_other_model(weights, f"{path}: ")
    return {name: weights[name].detach().float() for name in published_weights()}


def from_published(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of a published model to the names of this one.

    Parameters
    ----------
    weights : mapping of str to Tensor
        By published name, as `read_checkpoint` gives them.

    Returns
    -------
    dict of str to Tensor
        The same tensors, ``<net>.<part>`` or ``global.<parameter>``.

    Raises
    ------
    FitError
        Weights missing, unknown, of another shape, or not finite; all at once.

    Examples
    --------
    >>> import torch
    >>> published = {name: torch.zeros(weight.shape) for name, weight in published_weights(4).items()}
    >>> from_published(published)["static.hidden.weight"].shape
    torch.Size([150, 4])
    """
    _refuse_other_model(weights)
    return {weight.name: weights[name] for name, weight in published_weights().items()}


def _refuse_other_model(weights: Mapping[str, Any], file: str = "") -> None:
    """Raise everything in which weights are not those of the published model."""
    import torch

    first = weights.get("fc_static.fc1.weight")
    features = first.shape[1] if isinstance(first, torch.Tensor) and first.ndim == 2 else 30
    expected = published_weights(features)
    problems = [f"{name} is missing" for name in expected if name not in weights]
    problems += [f"{name} is not a weight of the published model" for name in weights if name not in expected]
    for name, (_, shape) in expected.items():
        weight = weights.get(name)
        if name not in weights:
            continue
        if not (isinstance(weight, torch.Tensor) and weight.dtype in _precisions() and _is_held(weight)):
            problems.append(f"{name} is no tensor of floating-point numbers")
        elif weight.shape != shape:
            problems.append(f"{name} has shape {tuple(weight.shape)} instead of {shape}")
        elif not weight.float().isfinite().all():
            problems.append(f"{name} holds {int((~weight.isfinite()).sum())} values that are not finite")
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise FitError(
            f"{file}not the weights of the published model H2CM v1.0:\n{listed}\n"
            "    -> pass a checkpoint of github.com/zavud/h2cm, unchanged in its networks"
        )


def _precisions() -> tuple[Any, ...]:
    import torch

    return torch.float32, torch.float64, torch.float16, torch.bfloat16


def _is_held(weight: Tensor) -> bool:
    """Return whether each number of a tensor is in memory: views, sparse and meta tensors may claim any shape."""
    import torch

    return weight.layout == torch.strided and weight.device.type == "cpu" and weight.is_contiguous()
