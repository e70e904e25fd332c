"""Run a fit on a dataset, cell chunk by cell chunk, lazily where the dataset is lazy."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import xarray as xr

from xh2cm.data.cells import place, to_device
from xh2cm.data.folds import TEST
from xh2cm.data.pins import read_pins
from xh2cm.errors import Finding, FitError, InputError
from xh2cm.loop.lanes import Loop, paying
from xh2cm.model import HybridModel, Scaling, SpinUp
from xh2cm.model.watch import first_failure
from xh2cm.physics import Processes
from xh2cm.variables import OUTPUTS

if TYPE_CHECKING:
    from torch import Tensor

    from xh2cm.fit import Fit

__all__ = ["DEFAULT_VARIABLES", "maps_for", "predict_dataset"]

DEFAULT_VARIABLES = ("ET", "runoff", "TWS", "GPP", "TER", "NEE")
"""What a prediction holds if nothing else is asked for, as far as the model computes it."""

CARBON = {p.name for p in Processes().parameters} - {p.name for p in Processes.water().parameters} | {
    v.name for v in OUTPUTS.values() if v.quantity == "carbon flux"
}
"""What a model of water alone does not compute."""

PINNED: Mapping[float | str, str] = {"map": "a map", "global": "one learned constant"}
"""How pins are spoken of in attributes; numbers speak for themselves."""

Member = Literal["mean", "all", "held-out"] | int


@dataclasses.dataclass(frozen=True)
class Runner:
    """What a block of cells needs to be run: picklable, so that it can go to any worker."""

    fit: Fit
    scaling: Scaling
    fields: tuple[str, ...]
    member: Member
    device: str
    spinup: SpinUp
    batch: int
    loop: Loop
    land: xr.DataArray  # with its coordinates, to say where a run went wrong
    time: np.ndarray

    def __call__(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...] | np.ndarray:
        """Run a block.

        Parameters
        ----------
        *arrays : ndarray
            The forcings (..., time), static features (..., feature), mask (...), fold labels (..., 1 or time) and the
            numbers of the cells among all (...).

        Returns
        -------
        ndarray, or a tuple of them
            For each field (..., time) or (...), with a fold axis before the time for ``member="all"``; NaN where the
            mask is false.

        Raises
        ------
        InputError
            Where a process or network gives something that is no number.
        """
        *forcing, static, mask, labels, numbers = arrays
        land, days, folds = mask.shape, forcing[0].shape[-1], len(self.fit.folds)

        def cells(array: np.ndarray) -> np.ndarray:
            """One axis of cells; an array on time or features alone is the same for all."""
            return np.broadcast_to(array, (*land, array.shape[-1])).reshape(mask.size, -1)

        *flat, features, label = (cells(array) for array in (*forcing, static, labels))
        index = np.flatnonzero(mask.reshape(-1))
        kept = (folds,) if self.member == "all" else ()
        shapes = [(mask.size, *kept, *((days,) if self.varies(field) else ())) for field in self.fields]
        results = [np.full(shape, np.nan, np.float32) for shape in shapes]
        for at in range(0, len(index), self.batch):
            some = index[at : at + self.batch]
            for rows, positions in self.groups(label[some]):
                chosen = some[positions]
                inputs = np.stack([x[chosen] for x in flat], -1), features[chosen, : self.columns]
                found = self.run(rows, *inputs)
                self.raise_unless_finite(found, rows, *inputs, numbers.reshape(-1)[chosen])
                for result, values in zip(results, found, strict=True):
                    result[chosen] = self.reduced(values, label[chosen])
        whole = tuple(r.reshape(*land, *r.shape[1:]) for r in results)
        return whole if len(whole) > 1 else whole[0]

    @property
    def columns(self) -> int:
        """How many static features there are, and maps of pinned parameters behind them."""
        return len(self.fit.features) + len(self.fit.model.maps)

    def varies(self, field: str) -> bool:
        """Whether an output has a value each day."""
        return self.fit.model.daily_output(field)

    def groups(self, label: np.ndarray) -> list[tuple[list[int], np.ndarray]]:
        """Which folds to run on which cells: all on all, but for cells whose fold is one and known."""
        everyone = list(range(len(self.fit.folds)))
        if isinstance(self.member, int):
            everyone = [self.fit.folds.index(self.member)]
        if self.member != "held-out" or label.shape[1] > 1:
            return [(everyone, np.arange(len(label)))]
        groups = []
        for one in np.unique(label[:, 0]):
            positions = np.flatnonzero(label[:, 0] == one)
            groups.append(([self.fit.folds.index(int(one))] if one != TEST else everyone, positions))
        return groups

    def run(self, rows: list[int], forcing: np.ndarray, static: np.ndarray) -> list[np.ndarray]:
        """Outputs (cell, fold, time) or (cell, fold) of some folds on some cells."""
        x, s = self.tensor(rows, forcing), self.tensor(rows, static)
        with torch.no_grad():
            outputs = self.walk(rows, x, s)
        full = [
            outputs[f] if outputs[f].ndim > 1 else outputs[f].unsqueeze(1).expand(-1, x.shape[1]) for f in self.fields
        ]
        return [o.transpose(0, 1).cpu().numpy() for o in full]

    def tensor(self, rows: list[int], values: np.ndarray) -> Tensor:
        """The same values for each of some folds, (fold, cell, ...)."""
        whole = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self.device)
        return whole.expand(len(rows), *whole.shape)

    def of(self, rows: list[int]) -> tuple[Tensor, Scaling]:
        """Weights and scaling of some folds."""
        return self.fit.weights[rows].to(self.device), Scaling(*(x[rows].to(self.device) for x in self.scaling))

    def walk(self, rows: list[int], forcing: Tensor, static: Tensor) -> dict[str, Tensor]:
        """Spin up and walk the record: what `HybridModel.run` gives of the fields."""
        weights, scaling = self.of(rows)
        model, period = self.fit.model, slice(0, self.spinup.days or forcing.shape[2])
        carry = model.spun_up(weights, forcing[:, :, period], static, scaling, self.spinup, self.loop)
        return model.run(weights, forcing, static, scaling, self.fields, carry, self.loop)[1]

    def raise_unless_finite(
        self, found: list[np.ndarray], rows: list[int], forcing: np.ndarray, static: np.ndarray, numbers: np.ndarray
    ) -> None:
        """Say which process or network gave something that is no number, on which day and where."""
        lost = [np.argwhere(~np.isfinite(x).all(-1) if x.ndim > 2 else ~np.isfinite(x)) for x in found]
        if not any(map(len, lost)):
            return
        cell, row = next(where[0] for where in lost if len(where))
        weights, scaling = self.of([rows[row]])
        x, s = (self.tensor([rows[row]], values[cell : cell + 1]) for values in (forcing, static))
        spin = x[:, :, : self.spinup.days or x.shape[2]]
        failure = first_failure(self.fit.model, weights, spin, x, s, scaling, self.spinup)
        where = place(self.land, int(numbers[cell]))
        if failure is None:
            raise InputError([Finding("prediction", f"is not finite at {where}", 'look at it with loop="plain"')])
        raise InputError([failure.finding(f"{self.time[failure.day]!s:.10}", where)])

    def reduced(self, values: np.ndarray, label: np.ndarray) -> np.ndarray:
        """From (cell, fold, ...) to what is asked for."""
        if self.member == "all":
            return values
        if self.member == "held-out" and label.shape[1] > 1 and values.ndim == 3:
            known = label != TEST
            rows = np.searchsorted(self.fit.folds, np.where(known, label, self.fit.folds[0]).astype(int))
            single = np.take_along_axis(values, rows[:, None, :], 1)[:, 0]
            return np.where(known, single, values.mean(1))
        return values.mean(1)  # type: ignore[no-any-return]


def chosen_fields(fit: Fit, variables: Sequence[str] | Literal["all"] | None) -> dict[str, str]:
    """Field of the model for each public name asked for."""
    public = {about.name: field for field, about in fit.model.outputs.items()}
    asked = (
        [name for name in DEFAULT_VARIABLES if name in public]
        if variables is None
        else list(public)
        if variables == "all"
        else [variables]
        if isinstance(variables, str)
        else list(variables)
    )
    findings = []
    for name in asked:
        if name in CARBON and not fit.model.processes.carbon:
            problem = "is of carbon, which the processes of this fit do not walk"
            findings.append(Finding(f"variable {name}", problem, f"choose from {', '.join(public)}"))
        elif name not in public:
            near = difflib.get_close_matches(name, public, n=1) or [
                public_name for public_name in public if public_name.lower() == name.lower()
            ]
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(public)}"
            findings.append(Finding(f"variable {name}", "the model does not compute it", hint))
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


def predict_dataset(
    dataset: xr.Dataset,
    fit: Fit,
    *,
    variables: Sequence[str] | Literal["all"] | None = None,
    member: Member = "mean",
    spinup: SpinUp | None = None,
    maps: xr.Dataset | None = None,
    device: str | torch.device | None = None,
    batch: int = 256,
    loop: Loop = "auto",
) -> xr.Dataset:
    """Run a fit on a checked dataset.

    Parameters
    ----------
    dataset : Dataset
        As `check` gives it; Dask arrays stay lazy.
    fit : Fit
    variables : sequence of str or "all", optional
        Public names of fluxes, storages and learned parameters; `DEFAULT_VARIABLES` if not given.
    member : {"mean", "all", "held-out"} or int
        Mean over the folds, every fold along a dimension ``fold``, for each cell (or year) the fold that did not see it
        (the mean where no fold did), or one fold.
    spinup : SpinUp, optional
        As in training if not given.
    maps : Dataset, optional
        From `maps_for`: those of the fit if not given.
    device : str or torch.device, optional
    batch : int
        Cells run at once.
    loop : {"auto", "plain", "fast"}
        How days are walked; ``"auto"`` is compiled where that is possible and pays.

    Returns
    -------
    Dataset
        Labelled and CF-annotated, float32, NaN where a cell is not usable.

    Raises
    ------
    InputError, FitError
        If a variable is unknown, or the fit does not belong to this dataset.
    """
    asked = chosen_fields(fit, variables)
    belongs(fit, dataset, member)
    maps = maps_for(fit, {}, dataset, dataset["mask"]) if maps is None else maps
    settled = [f for f in asked.values() if is_settled(fit.model, f)]
    known = {field: once(fit, field, member, maps, dataset["mask"]) for field in settled}
    fields = [field for field in asked.values() if field not in known]
    work = 2 * dataset["mask"].size * dataset.sizes["time"] * len(fit.folds)  # spin-up and record
    runner = Runner(
        fit,
        scaling_of(fit, dataset),
        tuple(fields),
        member,
        str(to_device(device)),
        spinup or fit.spinup,
        batch,
        paying(loop, work),
        indexed(dataset["mask"]),
        dataset["time"].values,
    )
    kept = {"fold": len(fit.folds)} if member == "all" else {}
    found = over_land(runner, dataset, maps) if fields else ()
    arrays = known | dict(zip(fields, found, strict=True))
    order = [*kept, "time", *dataset["mask"].dims]
    outputs = {}
    for name, field in asked.items():
        array = arrays[field].transpose(*order, missing_dims="ignore")
        outputs[name] = array.drop_attrs(deep=False).assign_attrs(fit.model.outputs[field].attrs)
        if field in fit.model.pinned:
            outputs[name].attrs["comment"] = f"pinned: {PINNED.get(fit.model.pinned[field], fit.model.pinned[field])}"
    result = xr.Dataset(outputs, attrs=about(fit, member) | origin(runner, dataset, maps)).assign_coords(
        {n: c for n, c in dataset.coords.items() if n != "feature"}
    )
    return result.assign_coords(fold=list(fit.folds)) if kept else result


def belongs(fit: Fit, dataset: xr.Dataset, member: Member) -> None:
    """Refuse a dataset of other static features, and folds that there are not."""
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


def over_land(runner: Runner, dataset: xr.Dataset, maps: xr.Dataset) -> tuple[xr.DataArray, ...]:
    """What a runner gives of each of its fields on a checked dataset, lazily where that is lazy."""
    fit, member = runner.fit, runner.member
    whole = dataset[[*fit.model.forcing, "mask"]]
    layers = [dataset["static"].drop_vars("feature"), *(maps[name].expand_dims("feature") for name in fit.model.maps)]
    static = xr.concat(layers, "feature", coords="minimal", compat="override")
    if not static.sizes["feature"]:  # Dask wants an axis of some length
        static = xr.zeros_like(whole["mask"], dtype=np.float32).expand_dims("feature", -1)
    if whole.chunks:
        whole, static = whole.chunk(time=-1), static.chunk(feature=-1)
    numbers = xr.zeros_like(whole["mask"], dtype=np.int64)
    numbers = numbers + indexed(dataset["mask"], np.arange(dataset["mask"].size)).drop_vars(
        list(numbers.coords), errors="ignore"
    )
    kept = {"fold": len(fit.folds)} if member == "all" else {}
    found = xr.apply_ufunc(
        runner,
        *(whole[name] for name in fit.model.forcing),
        static,
        whole["mask"],
        held_labels(dataset, fit, member),
        numbers,
        input_core_dims=[["time"]] * len(fit.model.forcing) + [["feature"], [], ["label"], []],
        output_core_dims=[[*kept, *(["time"] if runner.varies(f) else [])] for f in runner.fields],
        output_dtypes=[np.float32] * len(runner.fields),
        dask="parallelized",
        dask_gufunc_kwargs={"output_sizes": {"time": dataset.sizes["time"], **kept}},
    )
    return found if isinstance(found, tuple) else (found,)


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


def is_settled(model: HybridModel, field: str) -> bool:
    """Whether an output is known without a run: a constant, or a map that a parameter is pinned to."""
    return not model.daily_output(field) and (field in model.maps or model.parameters[field].varies == "global")


def once(fit: Fit, field: str, member: Member, maps: xr.Dataset, mask: xr.DataArray) -> xr.DataArray:
    """A settled output: one number, one a fold, or a map."""
    folds = {"fold": len(fit.folds)} if member == "all" else {}
    if field in fit.model.maps:
        return maps[field].where(mask).drop_vars(list(mask.coords)).expand_dims(folds)
    to = fit.model.pinned.get(field, "")
    if not isinstance(to, str):
        return xr.DataArray(np.float32(to)).expand_dims(folds)
    values = fit.constants()[field].drop_vars("fold")
    if folds:
        return values
    return values.isel(fold=fit.folds.index(member)) if isinstance(member, int) else values.mean("fold")


def held_labels(dataset: xr.Dataset, fit: Fit, member: Member) -> xr.DataArray:
    """Labels of cells or days along a dimension ``label``; all `TEST` where they do not matter."""
    mask = dataset["mask"]
    if member != "held-out":
        return xr.full_like(mask, TEST, dtype=np.float32).expand_dims("label", -1)
    labels = fit.labels
    on_time = labels is not None and "time" in labels.dims
    if labels is None or any(
        d not in labels.dims or labels.sizes[d] != mask.sizes[d] for d in mask.dims if not on_time
    ):
        raise FitError(
            "held-out predictions need the cells the fit was trained on: this dataset has others, give member='mean'"
        )
    if on_time and labels.sizes["time"] != dataset.sizes["time"]:
        raise FitError(
            "held-out predictions need the period the fit was trained on: this dataset has another, give member='mean'"
        )
    known = labels.isin(list(fit.folds)) | (labels == TEST)
    if bool((labels.notnull() & ~known).any()):
        raise FitError(f"held-out predictions need every fold: this fit holds only {list(fit.folds)}")
    filled = labels.fillna(TEST).astype(np.float32)
    named = filled.rename(time="label") if on_time else filled.expand_dims("label", -1)
    return named.drop_vars("label", errors="ignore")


def about(fit: Fit, member: Member) -> dict[str, Any]:
    """Attributes of a prediction."""
    return {
        "Conventions": "CF-1.11",
        "title": f"Water{' and carbon' if fit.model.processes.carbon else ''} fluxes of the land, H2CM hybrid model",
        "source": f"xh2cm {importlib.metadata.version('xh2cm')}, fit {fit.fingerprint}, member {member}",
        "member": str(member),
        "references": "Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026",
    }


def origin(runner: Runner, dataset: xr.Dataset, maps: xr.Dataset) -> dict[str, str]:
    """Attributes by which a half-written prediction is known again: what it is made of besides the fit."""
    digest = hashlib.sha256(repr(runner.spinup).encode())
    for values in (
        *(part.cpu().numpy() for part in runner.scaling),
        *(array.values for _, array in sorted(maps.items())),
    ):
        digest.update(np.ascontiguousarray(values).tobytes())
    known = {key: value for key, value in dataset.attrs.items() if key == "forcing_fingerprint"}
    return {"spinup": str(runner.spinup), "settings_fingerprint": digest.hexdigest()[:16], **known}
