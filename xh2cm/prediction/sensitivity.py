"""How the land of a fit responds to its forcing: by another forcing, and by gradients."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import xarray as xr

from xh2cm.data.align import align
from xh2cm.data.match import closest
from xh2cm.data.report import ACTUAL_RANGE
from xh2cm.errors import Finding, InputError
from xh2cm.loop.compiled import Loop
from xh2cm.prediction.block import Member, Runner
from xh2cm.prediction.predict import (
    about,
    belongs,
    chosen_fields,
    indexed,
    maps_for,
    over_land,
    predict_dataset,
    scaling_of,
)
from xh2cm.variables import FORCING

if TYPE_CHECKING:
    from xh2cm.fitted import Fit
    from xh2cm.model import SpinUp

__all__ = ["Change", "forcing_response", "sensitivity"]

Change = Mapping[str, float | xr.DataArray]
"""By forcing, a number or a DataArray on days or cells."""

NOTHING = 1e-6
"""Mean, in a variable's own units, below which nothing is said relative to it."""


# -- by another forcing ----------------------------------------------------------------------------------------------


def forcing_response(
    dataset: xr.Dataset,
    fit: Fit,
    change: Change | None = None,
    *,
    factor: Change | None = None,
    relative: bool = False,
    variables: Sequence[str] | Literal["all"] | None = None,
    member: Member = "mean",
    spinup: SpinUp | None = None,
    maps: xr.Dataset | None = None,
    device: str | torch.device | None = None,
    batch: int = 256,
    loop: Loop = "auto",
) -> xr.Dataset:
    """Prediction under changed forcing less the prediction without the change.

    Parameters
    ----------
    dataset : Dataset
        As `check` gives it; Dask arrays stay lazy.
    fit : Fit
    change : mapping of str to float or DataArray, optional
        What is added to a forcing, in canonical units: ``{"air_temperature": 1.0}``.
    factor : mapping of str to float or DataArray, optional
        What a forcing is multiplied by: ``{"precipitation": 1.1}``.
    relative : bool
        Divide by the absolute mean over time of the prediction without the change; NaN where that is below `NOTHING`.
    variables, member, spinup, maps, device, batch, loop
        As for `predict_dataset`.

    Returns
    -------
    Dataset
        The differences, as `predict_dataset` lays them out; the attribute ``change`` says what was changed.

    Raises
    ------
    InputError
        If a forcing is unknown or changed twice, a change is not finite or lies elsewhere, or values come out that
        cannot be, such as negative precipitation: counted, and all findings at once. What `predict_dataset` raises.

    Notes
    -----
    The changed forcing also goes through the spin-up, so that storages adapt to it before the record begins, as far as
    the spin-up lets them (``SpinUp(passes=20, drift=1.0)`` until they move less than 1 kg m-2): the response is that of
    another climate. For that of a change that comes on a certain day give a DataArray that is 0 before it, and a
    `spinup` of days before it: ``SpinUp(days=365)``.

    Only what is named is changed: warmer air keeps its vapour pressure deficit. The networks have seen no climate but
    that of their training, and a change beyond its range is an extrapolation.

    On Dask arrays the changed forcings are read once, to count impossible values.

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 60), month=slice(0, 2))
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=6, progress=False)
    >>> wetter = forcing_response(ds.h2cm.check().dataset, fit, factor={"precipitation": 1.1})
    >>> wetter.attrs["change"], bool(wetter["runoff"].mean() > 0)
    ('precipitation times 1.1', True)
    """
    rule, other = altered(dataset, change or {}, factor or {})
    settings: dict[str, Any] = {
        "variables": variables,
        "member": member,
        "spinup": spinup,
        "maps": maps,
        "device": device,
        "batch": batch,
        "loop": loop,
    }
    before, after = (predict_dataset(ds, fit, **settings) for ds in (dataset, other))
    found = {}
    for name, array in before.data_vars.items():
        difference = after[name] - array
        attrs = {"long_name": f"change of {array.attrs['long_name']}", "units": array.attrs["units"]}
        if relative:
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
    """What is done to the forcing in words, and the dataset with it done."""
    walked = [name for name in FORCING if name in dataset]
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
    if findings := impossible(changed, dataset["mask"]):
        raise InputError(findings)

    def told(value: float | xr.DataArray) -> str:
        return f"{value:+g}" if not isinstance(value, xr.DataArray) else f"a field on {', '.join(map(str, value.dims))}"

    words = [f"{name} {told(value)} {FORCING[name].units}" for name, value in change.items()]
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


def impossible(changed: Mapping[str, xr.DataArray], mask: xr.DataArray) -> list[Finding]:
    """Find values on usable cells that are not finite, or beyond what a forcing can be; read in one pass.

    The range of each changed forcing becomes its attribute `ACTUAL_RANGE`.
    """
    counts = {
        name: xr.concat(
            [
                (~np.isfinite(a) & mask).sum(),
                ((a < FORCING[name].lower) & mask).sum(),
                ((a > FORCING[name].upper) & mask).sum(),
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
        var = FORCING[name]
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
            (slopes,) = torch.autograd.grad(series[:, :, list(self.days)].mean(-1).sum(), x)
        return [slope.transpose(0, 1).cpu().numpy() for slope in slopes.unbind(-1)]


def sensitivity(
    dataset: xr.Dataset,
    fit: Fit,
    variable: str,
    *,
    period: slice | None = None,
    member: Member = "mean",
    spinup: SpinUp | None = None,
    maps: xr.Dataset | None = None,
    device: str | torch.device | None = None,
    batch: int = 128,
) -> xr.Dataset:
    """Derivative of an output's mean over time by each forcing on each day, through networks and physics.

    Parameters
    ----------
    dataset : Dataset
        As `check` gives it; Dask arrays stay lazy.
    fit : Fit
    variable : str
        Public name of a daily output.
    period : slice, optional
        Labels of time, ``slice("2003-06", "2003-08")``: the mean over these days only. Days before it matter by what
        the storages and the networks remember, days after it do not.
    member : {"mean", "all", "held-out"} or int
        As for `predict_dataset`; ``"held-out"`` for cells only.
    spinup, maps : optional
        As for `predict_dataset`.
    device : str or torch.device, optional
    batch : int
        Cells run at once; memory grows with it.

    Returns
    -------
    Dataset
        For each forcing an array on (time, land) in units of the output per unit of the forcing. Summed over time it is
        the response of the mean to a forcing that is changed by one unit on every day, to first order.

    Raises
    ------
    InputError
        If the variable is unknown or does not change with the forcing, the period holds no day, or years were held
        out. What `predict_dataset` raises.

    Notes
    -----
    The spin-up is differentiated too, as `forcing_response` changes its forcing: where it walks days of the record,
    what they do there is part of their derivative.

    A threshold has no derivative: that warmer air turns snowfall into rain is in `forcing_response`, and not here. Nor
    is what lies beyond a limit that is not reached, such as more energy where water is short.

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 30), month=slice(0, 1))
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=6, progress=False)
    >>> slopes = sensitivity(ds.h2cm.check().dataset, fit, "runoff")
    >>> slopes["precipitation"].dims, bool(slopes["precipitation"].sum("time").mean() > 0)
    (('time', 'lat', 'lon'), True)
    """
    findings = []
    name, field = next(iter(chosen_fields(fit, [variable]).items()))
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
        None if device is None else str(device),
        spinup or fit.spinup,
        batch,
        "plain",
        indexed(dataset["mask"]),
        time.values,
        days=tuple(days.tolist()),
    )
    output, seen = fit.model.outputs[field], {name: FORCING[name] for name in fit.model.forcing}
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
