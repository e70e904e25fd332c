"""Section of the budgets: water and carbon by year, closure of the daily budgets, and ratios of sums."""

from __future__ import annotations

from functools import partial

import xarray as xr

from xh2cm.data.align import align
from xh2cm.errors import InputError
from xh2cm.evaluate.emergent import QUANTITIES, emergent_quantities
from xh2cm.html import Markup, items, table
from xh2cm.page.context import (
    PREDICT,
    RESIDUALS,
    Given,
    because,
    heading,
    missing,
    no_prediction,
    paragraph,
    picture,
    unit,
)
from xh2cm.plots import plots

__all__ = ["budgets"]

WATER = ("precipitation_corrected", "ET", "runoff", "TWS")
CARBON = ("GPP", "Ra", "Rh", "TER", "NPP", "NEP", "NEE")

RATIOS = ("runoff_ratio", "evaporation_ratio", "evaporative_fraction", "transpiration_share", "WUE", "CUE")
"""Emergent quantities that hold for all land together: ratios of sums."""

JUMP = 0.01
"""Smallest jump of the storage from one day to the next that is not rounding; kg m-2."""


def budgets(given: Given) -> Markup:
    """Return water and carbon by year, the closure of the daily budgets, and ratios of sums."""
    if given.prediction is None:
        return no_prediction("Budgets")
    there = [name for name in RESIDUALS if name in given.prediction]
    forcing = forced(given) if given.daily else "the prediction holds no flux"
    parts = [yearly_water(given, forcing), yearly_carbon(given), ratios(given, forcing)]
    parts += [heading("Closure of the daily budgets")]
    if there:
        rows = [
            [name, *residual(given.prediction[name]), unit(given.prediction[name].attrs.get("units", ""))]
            for name in there
        ]
        head = ["residual", "largest absolute value", "mean", "units"]
        caption = "Residuals of the daily budgets over all days and cells: rounding errors, where the budgets close"
        parts.append(table(caption, head, rows, numbers=head[1:3]))
        parts.append(picture("Residuals of the daily budgets", partial(plots.closure, given.prediction)))
    carbon = given.fit is None or given.fit.model.processes.carbon
    if absent := [name for name in RESIDUALS if name not in there and (carbon or not name.startswith("carbon"))]:
        parts.append(missing(f"{', '.join(absent)}, which are not in the prediction.", f"variables=[..., {absent}]"))
    return Markup("").join(parts)


def residual(array: xr.DataArray) -> list[float]:
    """Return the largest absolute value, and the mean."""
    return [float(abs(array).max()), float(array.mean())]


def yearly(given: Given, daily: xr.Dataset, caption: str, units: str, scale: float, total: str) -> Markup:
    """Return a table of annual sums, their mean, and the total over all land."""
    sums = daily.groupby("time.year").sum("time")
    days = daily["time"].groupby("time.year").count("time")
    names = [str(name) for name in daily]
    rows: list[list[object]] = [
        [str(int(year)), int(days.sel(year=year)), *(float(sums[name].sel(year=year)) for name in names)]
        for year in sums["year"].values
    ]
    rates = {name: 365.25 * float(daily[name].mean("time")) for name in names}
    rows.append(["annual mean", daily.sizes["time"], *rates.values()])
    if given.area is not None and given.land:
        totals = [rate * float(given.area.sum()) * scale for rate in rates.values()]
        rows.append([f"all land, {total}", daily.sizes["time"], *totals])
    head = ["year", "days", *names]
    return table(f"{caption} ({units}), averaged over the land", head, rows, numbers=head[1:])


def yearly_water(given: Given, forcing: xr.Dataset | str) -> Markup:
    """Return precipitation, evapotranspiration, runoff and change of storage by year."""
    daily, absent = given.means, [name for name in WATER if name not in given.means]
    if absent:
        return missing(f"the water budget of {', '.join(absent)}, which are not in the prediction.", PREDICT)
    if free := [name for name in WATER[1:] if name in given.unconstrained]:
        return missing(f"the water budget: no training target constrains {', '.join(free)}.")
    if daily.sizes["time"] < 2:
        return missing("the water budget of a single day, whose change of storage is not known.")
    found = {}
    if isinstance(forcing, xr.Dataset) and "precipitation" in forcing:
        found["P, as given"] = forcing["precipitation"].drop_vars("time")
    found |= {"P, corrected": daily[WATER[0]], "ET": daily["ET"], "runoff": daily["runoff"]}
    balance = xr.Dataset(found, coords={"time": daily["time"]}).isel(time=slice(1, None))
    balance["change of TWS"] = daily["TWS"].diff("time")
    left = balance["P, corrected"] - balance["ET"] - balance["runoff"] - balance["change of TWS"]
    text = (
        "The first day is left out, since the storage before it is not known. P, corrected: precipitation after the "
        "undercatch correction of snowfall. Residual: P, corrected - ET - runoff - change of TWS"
    )
    jumps = left - daily["water_residual"] if "water_residual" in daily else xr.zeros_like(left)
    if float(abs(jumps).max()) > JUMP:
        balance["jumps"], left = jumps, left - jumps
        text += (
            " - jumps. Jumps: where years are held out, the prediction changes to another fold, with other storages, "
            'at the start of a year. member="mean" or a single fold predicts a record without jumps'
        )
    balance["residual"] = left
    return yearly(given, balance, "Water", "kg m⁻², or mm", 1e-12, "km³ a⁻¹") + paragraph(f"{text}.")


def yearly_carbon(given: Given) -> Markup:
    """Return uptake and release of carbon by year, of the fluxes that targets constrain."""
    if given.fit is not None and not given.fit.model.processes.carbon:
        return paragraph("The model computes water only: there is no carbon budget.")
    there = [name for name in CARBON if name in given.means]
    if not there:
        return missing("the carbon budget: no carbon flux is in the prediction.", PREDICT)
    shown = [name for name in there if name not in given.unconstrained]
    notes = Markup("")
    if free := [name for name in there if name in given.unconstrained]:
        notes += missing(f"annual sums of {', '.join(free)}: no training target constrains them.")
    if absent := [name for name in CARBON if name not in there]:
        notes += missing(f"annual sums of {', '.join(absent)}, which are not in the prediction.", PREDICT)
    if not shown:
        return notes
    daily, text = given.means[shown], ""
    if {"GPP", "Ra", "Rh", "NEP"} <= {*shown}:
        daily = daily.assign(residual=daily["GPP"] - daily["Ra"] - daily["Rh"] - daily["NEP"])
        text = "Residual: GPP - Ra - Rh - NEP. "
    table = yearly(given, daily, "Carbon", "g m⁻²", 1e-12, "Tg a⁻¹")
    return table + paragraph(f"{text}NEE is positive upward; all other fluxes are amounts.") + notes


def forced(given: Given) -> xr.Dataset | str:
    """Return precipitation and net radiation averaged over the land, or why there are none."""
    assert given.prediction is not None  # noqa: S101
    if given.checked is None:
        return "the data are not given, or cannot be used"
    names = [name for name in ("precipitation", "net_radiation") if name in given.checked]
    series = given.checked[names]
    series = series.drop_vars([name for name in series.coords if name not in series.dims])
    first = given.prediction[given.daily[0]]
    first = first.isel(fold=0, drop=True) if "fold" in first.dims else first
    try:
        series = align(series, first, "the data", on=first.dims, what="the prediction")
    except InputError as error:
        return f"the data are of other days or cells than the prediction ({because(error)})"
    there = first.isel(time=0, drop=True).notnull() if "time" in first.dims else first.notnull()
    return given.over_land(series.astype(float).where(there)).compute()


def ratios(given: Given, forcing: xr.Dataset | str) -> Markup:
    """Return ratios of sums over the land, by year and of all years, of what targets constrain."""
    with_forcing = forcing if isinstance(forcing, xr.Dataset) else None
    means = given.means.drop_vars(given.unconstrained, errors="ignore")
    try:
        known = [emergent_quantities(means, with_forcing, over=over) for over in ("year", "record")]
    except InputError as error:
        also = f"; {forcing}" if isinstance(forcing, str) else ""
        return missing(f"ratios, because {because(error)}{also}.")
    shown = [name for name in RATIOS if name in known[0]]
    rows: list[list[object]] = [
        [str(int(year)), *(float(known[0][name].sel(year=year)) for name in shown)] for year in known[0]["year"].values
    ]
    rows.append(["all", *(float(known[1][name]) for name in shown)])
    about = items(
        f"{name}: {QUANTITIES[name].long_name}" + (f" ({units})" if (units := unit(QUANTITIES[name].units)) else "")
        for name in shown
    )
    found = table("Ratios of sums over the land", ["year", *shown], rows, numbers=shown) + about
    if absent := [name for name in RATIOS if name not in shown]:
        why = forcing if isinstance(forcing, str) else known[0].attrs.get("not_computed", "")
        why += f"; no training target constrains {', '.join(given.unconstrained)}" if given.unconstrained else ""
        found += missing(f"{', '.join(absent)}: {why}.", PREDICT)
    return found
