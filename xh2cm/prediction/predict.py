"""Run a fit on a dataset, cell chunk by cell chunk, lazily where the dataset is lazy."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
import xarray as xr
from dask.base import tokenize
from dask.delayed import delayed

from xh2cm.ambient import undisturbed
from xh2cm.data.align import align
from xh2cm.data.cf import CONVENTIONS, with_axes
from xh2cm.data.pins import read_pins
from xh2cm.data.report import ACTUAL_RANGE
from xh2cm.data.split import SEEN, TEST
from xh2cm.errors import Finding, FitError, H2CMWarning, InputError, closest, outside
from xh2cm.loop.compiled import paying
from xh2cm.model import Scaling, SpinUp
from xh2cm.physics import Processes
from xh2cm.prediction.block import Runner, h2cm_predict
from xh2cm.prediction.restart import (
    AXES,
    NAME,
    about_state,
    carried,
    read_state,
)
from xh2cm.settings import Member, PredictOptions
from xh2cm.targets import UNCONSTRAINED, unconstrained
from xh2cm.variables import OUTPUTS

if TYPE_CHECKING:
    from xh2cm.fitted import Fit

__all__ = ["DEFAULT_VARIABLES", "maps_for", "predict_dataset"]

DEFAULT_VARIABLES = ("ET", "runoff", "TWS", "GPP", "TER", "NEE")
"""What a prediction holds if nothing else is asked for, as far as the model computes it."""

BATCH = 256
"""Number of cells that are run at once."""

CARBON = {p.name for p in Processes().parameters} - {p.name for p in Processes.water().parameters} | {
    v.name for v in OUTPUTS.values() if v.quantity == "carbon flux"
}
"""What a model of water alone does not compute."""


PINNED: Mapping[float | str, str] = {"map": "a map", "global": "one learned constant"}
"""How pins are spoken of in attributes; numbers speak for themselves."""


def chosen_fields(fit: Fit, variables: Sequence[str] | Literal["all"] | None) -> dict[str, str]:
    """Field of the model for each public name asked for."""
    public = {about.name: field for field, about in fit.model.outputs.items()}
    asked = (
        [name for name in DEFAULT_VARIABLES if name in public]
        if variables is None
        else list(public)
        if variables == "all"
        else [variables]
        if isinstance(variables, str) or not isinstance(variables, Iterable)
        else list(variables)
    )
    findings = []
    for name in asked:
        if name in CARBON and not fit.model.processes.carbon:
            problem = "is of carbon, which the processes of this fit do not walk"
            findings.append(Finding(f"variable {name}", problem, f"choose from {', '.join(public)}"))
        elif name not in public:
            findings.append(Finding(f"variable {name}", "the model does not compute it", closest(name, public)))
    if findings:
        raise InputError(findings)
    return {name: public[name] for name in asked}


def scaling_of(fit: Fit, dataset: xr.Dataset) -> Scaling:
    """The scaling of a fit; for a published checkpoint the one stored with the data."""
    if fit.scaling is not None:
        return fit.scaling
    static = ["static"] if fit.features else []
    if missing := [name for name in (*fit.model.forcing, *static) if not {"mean", "std"} <= dataset[name].attrs.keys()]:
        problem = "has no attributes `mean` and `std`, which a published checkpoint needs"
        raise InputError(Finding(name, problem, "open the data with xh2cm.open_published") for name in missing)

    def stored(names: Sequence[str], which: str) -> torch.Tensor:
        values = [np.atleast_1d(np.asarray(dataset[name].attrs[which], dtype=np.float32)) for name in names]
        return torch.from_numpy(np.concatenate([np.empty(0, np.float32), *values])).expand(len(fit.folds), -1)

    forcing = fit.model.forcing
    return Scaling(stored(forcing, "mean"), stored(forcing, "std"), stored(static, "mean"), stored(static, "std"))


@undisturbed()
def predict_dataset(dataset: xr.Dataset, options: PredictOptions, *, maps: xr.Dataset | None = None) -> xr.Dataset:
    """Run a fit on a checked dataset; see `xh2cm.predict`.

    Parameters
    ----------
    dataset : Dataset
        As `check` gives it for what the fit needs; Dask arrays stay lazy.
    options : PredictOptions
        Those of the dataset, and `pin`, have had their effect already.
    maps : Dataset, optional
        From `maps_for`: those of the fit if not given.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError, FitError
        As `xh2cm.predict`.
    """
    fit, member, state, keep_state = cast("Fit", options.fit), options.member, options.state, options.keep_state
    spinup = spun(options.spinup)
    asked = chosen_fields(fit, options.variables)
    belongs(fit, dataset, member)
    warn_of_extrapolation(fit, dataset)
    start = None if state is None else read_state(state, fit, dataset, member)
    if start is not None and spinup is not None:
        raise InputError([Finding("spinup", "is given beside a state, which needs none", "give one of the two")])
    maps = maps_for(fit, {}, dataset, dataset["mask"]) if maps is None else maps
    known = settled(fit, list(asked.values()), member, maps, dataset["mask"])
    fields = [field for field in asked.values() if field not in known]
    work = 2 * dataset["mask"].size * dataset.sizes["time"] * len(fit.folds)  # spin-up and record
    runner = Runner(
        fit,
        scaling_of(fit, dataset),
        tuple(fields),
        member,
        None if options.device is None else str(options.device),
        spinup or fit.spinup,
        BATCH,
        paying(options.loop, work),
        indexed(dataset["mask"]),
        dataset["time"].values,
        keep_state,
    )
    kept = {"fold": len(fit.folds)} if member == "all" else {}
    found = over_land(runner, dataset, maps, start) if fields or keep_state else ()
    arrays = known | dict(zip([*fields, *([NAME] if keep_state else [])], found, strict=True))
    order = [*kept, "time", *dataset["mask"].dims]
    outputs = {}
    trained = [row["fields"] for row in fit.provenance.get("targets", ())]
    free = unconstrained(trained) if trained else ()
    for name, field in asked.items():
        array = arrays[field].transpose(*order, missing_dims="ignore")
        outputs[name] = array.drop_attrs(deep=False).assign_attrs(fit.model.outputs[field].attrs)
        if field in fit.model.pinned:
            outputs[name].attrs["comment"] = f"pinned: {PINNED.get(fit.model.pinned[field], fit.model.pinned[field])}"
        if name in free:
            outputs[name].attrs["comment"] = UNCONSTRAINED
    made_of = origin(runner, dataset, maps, start)
    if keep_state:
        folds = xr.Variable(AXES[0], [member] if isinstance(member, int) else list(fit.folds))
        array = arrays[NAME].transpose(AXES[0], *dataset["mask"].dims, AXES[1]).drop_attrs(deep=False)
        told = about_state(fit, member, dataset["time"]) | made_of
        outputs[NAME] = array.assign_coords({AXES[0]: folds}).assign_attrs(told)
    result = xr.Dataset(outputs, attrs=about(fit, member) | made_of).assign_coords(
        {n: c for n, c in dataset.coords.items() if n != "feature"}
    )
    result = result.assign_coords(fold=list(fit.folds)) if kept else result
    return with_axes(result, dataset["mask"].dims)


def spun(spinup: int | SpinUp | None) -> SpinUp | None:
    """Return a number of days as a spin-up."""
    return spinup if spinup is None or isinstance(spinup, SpinUp) else SpinUp(spinup)


def belongs(fit: Fit, dataset: xr.Dataset, member: Member) -> None:
    """Check that a dataset has the static features of the fit, and that the fold exists."""
    features = tuple(str(f) for f in dataset["feature"].values)
    if features != fit.features:
        made_for = f"the fit was made for the static features {list(fit.features)}, the dataset has {list(features)}"
        raise FitError(f"{made_for}: choose them with static=[...]")
    if isinstance(member, int) and member not in fit.folds:
        raise InputError([Finding("member", f"the fit has no fold {member}", f"choose from {list(fit.folds)}")])
    if not isinstance(member, int) and member not in ("mean", "all", "held-out"):
        raise InputError(
            [Finding("member", f"{member!r} is unknown", 'give "mean", "all", "held-out" or the number of a fold')]
        )


FAR = 0.25
"""Share of the range of the training forcing beyond which other forcing is far outside."""


def warn_of_extrapolation(fit: Fit, dataset: xr.Dataset) -> None:
    """Warn of forcing far outside the range that a fit was trained on.

    Parameters
    ----------
    fit : Fit
        Its provenance holds the range of each forcing; nothing is said of fits that have none.
    dataset : Dataset
        Checked: `ACTUAL_RANGE` is an attribute of each forcing.

    Warns
    -----
    H2CMWarning
        If a forcing goes beyond its range in training by more than `FAR` of that range.
    """
    told = []
    for name, (low, high) in fit.provenance.get("forcing_range", {}).items():
        given = dataset[name].attrs.get(ACTUAL_RANGE) if name in dataset else None
        if given is None:
            continue
        lowest, highest = (float(value) for value in given)
        far = FAR * (high - low)
        if max(low - lowest, lowest - high, highest - high, low - highest) > max(far, 1e-6 * abs(high)):
            units = fit.model.driving[name].units
            told.append(f"{name} is {lowest:.4g} to {highest:.4g} {units}, {low:.4g} to {high:.4g} in training")
    if told:
        text = (
            f"the forcing is far outside what the fit was trained on, so the prediction extrapolates: {'; '.join(told)}"
        )
        warnings.warn(text, H2CMWarning, stacklevel=outside())


def over_land(
    runner: Runner, dataset: xr.Dataset, maps: xr.Dataset, start: xr.DataArray | None = None
) -> tuple[xr.DataArray, ...]:
    """Apply a runner to all land: its fields, and the state it keeps; on Dask with one task per chunk of cells."""
    model, folds = runner.fit.model, len(runner.fit.folds)
    land = dataset["mask"].dims
    layers = [dataset["static"].drop_vars("feature"), *(maps[name].expand_dims("feature") for name in model.maps)]
    static = xr.concat(layers, "feature", coords="minimal", compat="override")
    if not static.sizes["feature"]:  # Dask wants an axis of some length
        static = xr.zeros_like(dataset["mask"], dtype=np.float32).expand_dims("feature", -1)
    strides = np.cumprod([1, *dataset["mask"].shape[:0:-1]])[::-1]
    numbers = [
        xr.DataArray(np.arange(n) * step, dims=[d])
        for (d, n), step in zip(dataset["mask"].sizes.items(), strides, strict=False)
    ]
    forcing = dataset[list(model.forcing)]
    lazy = any(array.chunks is not None for array in forcing.data_vars.values())
    given = [
        *forcing.data_vars.values(),
        static,
        dataset["forcing_days"],
        held_labels(dataset, runner.fit, runner.member),
    ]
    given += [*numbers, *([] if start is None else [start if lazy else start.load()])]
    given = [array.drop_vars(list(array.coords)) for array in given]  # some kinds of which Dask cannot cut
    runner = dataclasses.replace(runner, fit=without_history(runner.fit))
    if lazy:  # whole records, and everything else cut as their cells are
        cut = {d: c for d, c in forcing.unify_chunks().chunksizes.items() if d in land}
        given = [array.chunk({d: cut.get(d, -1) for d in array.dims}) for array in given]
    kept = {"fold": folds} if runner.member == "all" else {}
    state = dict(zip(AXES, (len(runner.everyone), carried(model)), strict=True))
    found = xr.apply_ufunc(
        h2cm_predict,
        *given,
        kwargs={} if lazy else {"runner": runner},
        input_core_dims=[
            *[["time"]] * len(model.forcing),
            ["feature"],
            [],
            ["label"],
            *[[]] * len(land),
            *([] if start is None else [list(AXES)]),
        ],
        output_core_dims=[
            *([*kept, *(["time"] if runner.varies(f) else [])] for f in runner.fields),
            *([list(AXES)] if runner.keeps else []),
        ],
        output_dtypes=[np.float32] * (len(runner.fields) + runner.keeps),
        dask="parallelized",
        # the weights are a task of their own, on which the others wait: they travel once, and are there again when lost
        dask_gufunc_kwargs={
            "output_sizes": {"time": dataset.sizes["time"], **kept, **(state if runner.keeps else {})},
            **({"runner": delayed(runner, name=f"h2cm_weights-{tokenize(runner)}", traverse=False)} if lazy else {}),
        },
    )
    return found if isinstance(found, tuple) else (found,)


def without_history(fit: Fit) -> Fit:
    """A fit without what only its user needs: labels, maps and losses may be larger than the weights."""
    return dataclasses.replace(fit, labels=None, maps=xr.Dataset(), losses=fit.losses[["fold"]])


def indexed(mask: xr.DataArray, values: Any = False) -> xr.DataArray:
    """Values on the land of a mask, with the coordinates of its axes only."""
    data = np.broadcast_to(values, mask.shape) if np.ndim(values) == 0 else np.reshape(values, mask.shape)
    return xr.DataArray(data, dims=mask.dims, coords={d: mask[d] for d in mask.dims if d in mask.coords})


def maps_for(fit: Fit, given: Mapping[str, Any], ds: xr.Dataset, mask: xr.DataArray) -> xr.Dataset:
    """Find the maps of a fit's pinned parameters on the land of a dataset.

    Parameters
    ----------
    fit : Fit
    given : mapping of str to Pin
        Maps, names of maps or numbers that stand for those of the fit.
    ds : Dataset
        In which maps may be named.
    mask : DataArray
        Usable cells.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError
        If the fit's do not reach this land, or those given cannot be used.
    """
    parameters = [fit.model.parameters[name] for name in fit.model.maps]
    how, maps = read_pins({name: fit.maps[name] for name in fit.model.maps} | dict(given), parameters, ds, mask)
    if free := [name for name, to in how.items() if to == "global"]:
        remedy = "give a map or a number: what is not learned in training is not learned here"
        raise InputError(
            Finding(f"pin {name}", "is 'global', and the fit has pinned it to a map", remedy) for name in free
        )
    return maps.assign({n: xr.full_like(mask, to, dtype=np.float32) for n, to in how.items() if to != "map"})


def settled(
    fit: Fit, fields: Sequence[str], member: Member, maps: xr.Dataset, mask: xr.DataArray
) -> dict[str, xr.DataArray]:
    """Outputs that are known without a run, on the mask or of one number: constants, and pinned parameters."""
    model, kept = fit.model, {"fold": len(fit.folds)} if member == "all" else {}
    still = [field for field in fields if not model.daily_output(field)]
    learned = fit.constants() if still else {}
    found = {}
    for field in still:
        if field in model.maps:
            found[field] = maps[field].where(mask).drop_vars(list(mask.coords)).expand_dims(kept)
        elif field in learned:
            values = learned[field].drop_vars("fold")
            one = values.isel(fold=fit.folds.index(member)) if isinstance(member, int) else values.mean("fold")
            found[field] = values if kept else one
        elif model.parameters[field].varies == "global":
            found[field] = xr.DataArray(np.float32(model.pinned[field])).expand_dims(kept)
    return found


def held_labels(dataset: xr.Dataset, fit: Fit, member: Member) -> xr.DataArray:
    """Return the labels of cells or days along a dimension ``label``; all `TEST` where they do not matter.

    Raises
    ------
    InputError
        If the fold labels of the fit do not cover the cells or days of the dataset.
    FitError
        If the fit has no fold labels, or lacks folds that they name.
    """
    mask = dataset["mask"]
    if member != "held-out":
        return xr.full_like(mask, TEST, dtype=np.float32).expand_dims("label", -1)
    if fit.labels is None:
        raise FitError("held-out predictions need the labels of the folds, which this fit has not: give member='mean'")
    on_time, on_land = "time" in fit.labels.dims, {*fit.labels.dims} != {"time"}
    labels = align(
        fit.labels,
        dataset[["mask", "time"]],
        "fold labels of the fit",
        on=[*(["time"] if on_time else []), *(mask.dims if on_land else [])],
        remedy="predict cells and days that the fit was made on, or give member='mean', which is not held out",
    )
    if bool((labels == SEEN).any()):
        raise FitError("held-out predictions need folds: this fit was trained on cells or days that no fold held out")
    known = labels.isin(list(fit.folds)) | (labels == TEST)
    if bool((labels.notnull() & ~known).any()):
        raise FitError(f"held-out predictions need every fold: this fit holds only {list(fit.folds)}")
    filled = labels.fillna(TEST).astype(np.float32)
    named = filled.rename(time="label") if on_time else filled.expand_dims("label", -1)
    return named.drop_vars("label", errors="ignore")


def about(fit: Fit, member: Member) -> dict[str, Any]:
    """Attributes of a prediction."""
    return {
        "Conventions": CONVENTIONS,
        "title": f"Water{' and carbon' if fit.model.processes.carbon else ''} fluxes of the land, H2CM hybrid model",
        "source": f"xh2cm {importlib.metadata.version('xh2cm')}, fit {fit.fingerprint}, member {member}",
        "member": str(member),
        "references": "Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026",
    }


def origin(runner: Runner, dataset: xr.Dataset, maps: xr.Dataset, start: xr.DataArray | None) -> dict[str, str]:
    """Attributes by which a half-written prediction is known again: what it is made of besides the fit."""
    digest = hashlib.sha256(repr((runner.spinup, None if start is None else sorted(start.attrs.items()))).encode())
    for values in (
        *(part.numpy() for part in runner.scaling),
        *(array.values for _, array in sorted(maps.items())),
    ):
        digest.update(np.ascontiguousarray(values).tobytes())
    known = {key: value for key, value in dataset.attrs.items() if key == "forcing_fingerprint"}
    return {"spinup": str(runner.spinup), "settings_fingerprint": digest.hexdigest()[:16], **known}
