"""Response of a fit to its forcing: by changed forcing, and by gradients."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
import xarray as xr

from xh2cm.ambient import undisturbed
from xh2cm.data.align import align
from xh2cm.data.read_forcing import forcing_of
from xh2cm.data.report import ACTUAL_RANGE
from xh2cm.errors import Finding, InputError, closest
from xh2cm.options import part
from xh2cm.prediction.block import Runner
from xh2cm.prediction.predict import (
    about,
    belongs,
    chosen_fields,
    indexed,
    maps_for,
    over_land,
    predict_dataset,
    scaling_of,
    spun,
)
from xh2cm.settings import (
    Change,
    PinOptions,
    PredictOptions,
    ResponseOptions,
    SensitivityOptions,
    VariableOptions,
)
from xh2cm.variables import FORCING, Var

if TYPE_CHECKING:
    from xh2cm.fitted import Fit

__all__ = ["forcing_response", "sensitivity"]

NOTHING = 1e-6
"""Mean, in a variable's own units, below which nothing is said relative to it."""


# -- by another forcing ----------------------------------------------------------------------------------------------


@undisturbed()
def forcing_response(dataset: xr.Dataset, options: ResponseOptions, *, maps: xr.Dataset | None = None) -> xr.Dataset:
    """Subtract the prediction of a checked dataset from that under changed forcing; see `xh2cm.response`.

    Parameters
    ----------
    dataset : Dataset
        As `check` gives it for what the fit needs; Dask arrays stay lazy.
    options : ResponseOptions
    maps : Dataset, optional
        From `maps_for`: those of the fit if not given.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError, FitError
        As `xh2cm.response`.
    """
    rule, other = altered(dataset, options.change or {}, options.factor or {})
    settings = PredictOptions(**vars(part(options, PinOptions)) | vars(part(options, VariableOptions)))
    before, after = (predict_dataset(ds, settings, maps=maps) for ds in (dataset, other))
    found = {}
    for name, array in before.data_vars.items():
        difference = after[name] - array
        attrs = {"long_name": f"change of {array.attrs['long_name']}", "units": array.attrs["units"]}
        if options.relative:
            size = abs(array.mean("time") if "time" in array.dims else array)
            difference = (difference / size.where(size >= NOTHING)).transpose(*array.dims)
            attrs = {
                "long_name": f"{attrs['long_name']}, relative to its mean over time",
                "units": "1",
                "comment": f"NaN where the absolute mean is below {NOTHING:g} {array.attrs['units']}",
            }
        methods = {key: value for key, value in array.attrs.items() if key == "cell_methods"}
        found[name] = difference.drop_attrs(deep=False).assign_attrs(attrs | methods)
    title = {"title": "Response to changed forcing", "change": rule}
    known = {key: value for key, value in before.attrs.items() if key != "forcing_fingerprint"}  # it is not of both
    return xr.Dataset(found, coords=before.coords, attrs=known | title)


def altered(dataset: xr.Dataset, change: Change, factor: Change) -> tuple[str, xr.Dataset]:
    """Return a description of the change of the forcing, and the changed dataset."""
    walked = forcing_of(dataset)
    findings = [
        Finding(f"forcing {name}", "is not known", closest(name, walked))
        for name in (*change, *factor)
        if name not in walked
    ]
    findings += [
        Finding(name, "is both added to and multiplied", "give it in `change` or in `factor`")
        for name in change
        if name in factor
    ]
    if not change and not factor:
        findings.append(Finding("change", "names no forcing", 'give change={"air_temperature": 1.0}'))
    change, factor = (
        {name: aligned(f"{where}[{name!r}]", value, dataset, findings) for name, value in given.items()}
        for where, given in (("change", change), ("factor", factor))
    )
    if findings:
        raise InputError(findings)
    new = {name: dataset[name] + value for name, value in change.items()}
    new |= {name: dataset[name] * value for name, value in factor.items()}
    order = ["time", *dataset["mask"].dims]
    changed = {
        name: array.transpose(*order, missing_dims="ignore").astype(np.float32).assign_attrs(dataset[name].attrs)
        for name, array in new.items()
    }
    if findings := impossible(changed, dataset):
        raise InputError(findings)

    def told(value: float | xr.DataArray) -> str:
        return f"{value:+g}" if not isinstance(value, xr.DataArray) else f"a field on {', '.join(map(str, value.dims))}"

    words = [f"{name} {told(value)} {dataset[name].attrs['units']}" for name, value in change.items()]
    words += [f"{name} times {told(value).removeprefix('+')}" for name, value in factor.items()]
    return ", ".join(words), dataset.assign(changed)


def aligned(
    argument: str, value: float | xr.DataArray, dataset: xr.Dataset, findings: list[Finding]
) -> float | xr.DataArray:
    """Bring a change to the cells and days of a dataset, or add to the findings what is wrong with it."""
    if not isinstance(value, xr.DataArray):
        try:
            finite = math.isfinite(value)
        except TypeError:
            finite = False
        if not finite:
            findings.append(Finding(argument, f"{value!r} is not a finite number", "give a number or a DataArray"))
        return value
    land = ("time", *dataset["mask"].dims)
    if strange := [str(d) for d in value.dims if d not in land]:
        remedy = f"give it on some of {', '.join(map(str, land))}"
        findings.append(Finding(argument, f"has the dimension {', '.join(strange)}", remedy))
        return value
    try:
        return align(value, dataset[["mask", "time"]], argument, on=value.dims)
    except InputError as error:
        findings += error.findings
        return value


def impossible(changed: Mapping[str, xr.DataArray], dataset: xr.Dataset) -> list[Finding]:
    """Count values of usable cells that a change made not finite, or that no forcing can have, in one pass.

    The range of each changed forcing becomes its attribute `ACTUAL_RANGE`.
    """
    about = {
        n: FORCING.get(n, Var(n, str(a.attrs.get("long_name", n)), str(a.attrs.get("units", "1")), "any"))
        for n, a in changed.items()
    }
    mask = dataset["mask"]
    counts = {
        name: xr.concat(
            [
                (~np.isfinite(a) & np.isfinite(dataset[name]) & mask).sum(),
                ((a < about[name].lower) & mask).sum(),
                ((a > about[name].upper) & mask).sum(),
            ],
            "count",
        )
        for name, a in changed.items()
    }
    ends = {
        f"{name} {end}": getattr(array.where(mask), end)() for name, array in changed.items() for end in ("min", "max")
    }
    found = xr.Dataset(counts | ends).compute()
    for name, array in changed.items():
        array.attrs[ACTUAL_RANGE] = np.array([found[f"{name} min"], found[f"{name} max"]], dtype=np.float32)
    findings = []
    for name in changed:
        missing, low, high = (int(n) for n in found[name].values)
        var = about[name]
        if missing:
            findings.append(
                Finding(name, f"has {missing:,} values that are not finite after the change", "fill the change")
            )
        if low:
            remedy = f'multiply it instead: factor={{"{name}": ...}}' if var.lower == 0 else "change it less"
            findings.append(
                Finding(name, f"has {low:,} values below {var.lower:g} {var.units} after the change", remedy)
            )
        if high:
            problem = f"has {high:,} values above {var.upper:g} {var.units} after the change"
            findings.append(Finding(name, problem, "change it less"))
    return findings


# -- by gradients ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Slopes(Runner):
    """Gives, in place of an output, the derivative of its mean by each forcing on each day.

    `fields` holds that output once for each forcing.
    """

    days: tuple[int, ...] = ()

    def run(
        self, rows: list[int], forcing: np.ndarray, static: np.ndarray, before: np.ndarray | None
    ) -> list[np.ndarray]:
        """Derivatives (cell, fold, time), one array a forcing."""
        with torch.enable_grad():
            x = self.tensor(rows, forcing).clone().requires_grad_()  # a copy for each fold
            series = self.walk(rows, x, self.tensor(rows, static), self.start(before))[1][self.fields[0]]
            (slopes,) = torch.autograd.grad(series[:, :, list(self.days)].nanmean(-1).nansum(), x)
            slopes = slopes.where(x.isfinite().all(-1, keepdim=True), torch.nan)
        return [slope.transpose(0, 1).cpu().numpy() for slope in slopes.unbind(-1)]


@undisturbed()
def sensitivity(dataset: xr.Dataset, options: SensitivityOptions, *, maps: xr.Dataset | None = None) -> xr.Dataset:
    """Differentiate an output of a checked dataset by its forcing; see `xh2cm.sensitivity`.

    Parameters
    ----------
    dataset : Dataset
        As `check` gives it for what the fit needs; Dask arrays stay lazy.
    options : SensitivityOptions
    maps : Dataset, optional
        From `maps_for`: those of the fit if not given.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError, FitError
        As `xh2cm.sensitivity`.
    """
    fit, member, period = cast("Fit", options.fit), options.member, options.period
    findings = []
    name, field = next(iter(chosen_fields(fit, [options.variable]).items()))
    if getattr(fit.model.outputs[field], "varies", "daily") != "daily":
        findings.append(
            Finding(f"variable {name}", "does not change with the forcing", "give a daily output such as 'GPP'")
        )
    if member == "held-out" and fit.labels is not None and "time" in fit.labels.dims:
        problem = "a derivative runs through all years, so no fold has held its days out"
        findings.append(Finding("member", problem, 'give "mean", "all" or the number of a fold'))
    time = dataset["time"]
    days = xr.DataArray(np.arange(time.size), {"time": time}).sel(time=slice(None) if period is None else period).values
    if not days.size:
        findings.append(Finding("period", f"{period} holds no day of the record", f"give days of {span(time)}"))
    if findings:
        raise InputError(findings)
    belongs(fit, dataset, member)
    runner = Slopes(
        fit,
        scaling_of(fit, dataset),
        (field,) * len(fit.model.forcing),
        member,
        None if options.device is None else str(options.device),
        spun(options.spinup) or fit.spinup,
        options.batch,
        "plain",
        indexed(dataset["mask"]),
        time.values,
        days=tuple(days.tolist()),
    )
    output, seen = fit.model.outputs[field], {name: fit.model.driving[name] for name in fit.model.forcing}
    maps = maps_for(fit, {}, dataset, dataset["mask"]) if maps is None else maps
    order = [*(["fold"] if member == "all" else []), "time", *dataset["mask"].dims]
    found = {
        forcing: array.transpose(*order)
        .drop_attrs(deep=False)
        .assign_attrs(
            long_name=f"derivative of the mean of {output.long_name} by {var.long_name} of the day",
            units=per(output.units, var.units),
        )
        for (forcing, var), array in zip(seen.items(), over_land(runner, dataset, maps), strict=True)
    }
    title = {"title": f"Sensitivity of {name} to the forcing", "mean_over": span(time[days])}
    coords = {n: c for n, c in dataset.coords.items() if n != "feature"}
    result = xr.Dataset(found, attrs=about(fit, member) | title).assign_coords(coords)
    return result.assign_coords(fold=list(fit.folds)) if member == "all" else result


def per(above: str, below: str) -> str:
    """Units of a ratio, as UDUNITS and pint read them."""
    return f"1e6 {above}" if below == "1e-6" else f"({above})/({below})"


def span(time: xr.DataArray) -> str:
    """First and last day."""
    return f"{time.values[0]!s:.10} to {time.values[-1]!s:.10}"
