"""The section of a page that closes the books: water and carbon by year, what they leave, and ratios of sums."""

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
"""Emergent quantities that mean something of all land together: sums over sums of what is linear in both."""

JUMP = 0.01
"""What storage jumps by from a day to the next, at least, to be no rounding; kg m-2."""


def budgets(given: Given) -> Markup:
    """Water and carbon by year, what they leave, and ratios that a reader knows the size of."""
    if given.prediction is None:
        return no_prediction("Budgets")
    there = [name for name in RESIDUALS if name in given.prediction]
    forcing = forced(given) if given.daily else "the prediction holds no flux"
    parts = [yearly_water(given, forcing), yearly_carbon(given), ratios(given, forcing)]
    parts += [heading("What each day leaves")]
    if there:
        rows = [
            [name, *residual(given.prediction[name]), unit(given.prediction[name].attrs.get("units", ""))]
            for name in there
        ]
        head = ["residual", "largest of a day and cell", "mean", "units"]
        parts.append(table("What the budgets of a day leave: rounding, if they close", head, rows, numbers=head[1:3]))
        parts.append(picture("What each day leaves", partial(plots.closure, given.prediction)))
    carbon = given.fit is None or given.fit.model.processes.carbon
    if absent := [name for name in RESIDUALS if name not in there and (carbon or not name.startswith("carbon"))]:
        parts.append(missing(f"{', '.join(absent)}: not in the prediction.", f"variables=[..., {absent}]"))
    return Markup("").join(parts)


def residual(array: xr.DataArray) -> list[float]:
    """The largest of all, and the mean."""
    return [float(abs(array).max()), float(array.mean())]


def yearly(given: Given, daily: xr.Dataset, caption: str, units: str, scale: float, total: str) -> Markup:
    """Sums of each year, means a year, and what that is of all land."""
    sums = daily.groupby("time.year").sum("time")
    days = daily["time"].groupby("time.year").count("time")
    names = [str(name) for name in daily]
    rows: list[list[object]] = [
        [str(int(year)), int(days.sel(year=year)), *(float(sums[name].sel(year=year)) for name in names)]
        for year in sums["year"].values
    ]
    rates = {name: 365.25 * float(daily[name].mean("time")) for name in names}
    rows.append(["mean of a year", daily.sizes["time"], *rates.values()])
    if given.area is not None and given.land:
        rows.append(
            [f"all land, {total}", daily.sizes["time"], *(x * float(given.area.sum()) * scale for x in rates.values())]
        )
    return table(
        f"{caption} ({units}), of the land as a whole", ["year", "days", *names], rows, numbers=["days", *names]
    )


def yearly_water(given: Given, forcing: xr.Dataset | str) -> Markup:
    """Precipitation, evapotranspiration, runoff, change of storage."""
    daily, absent = given.means, [name for name in WATER if name not in given.means]
    if absent:
        return missing(f"the water budget of {', '.join(absent)}, which are not in the prediction.", PREDICT)
    if daily.sizes["time"] < 2:
        return missing("the water budget of a single day, whose change of storage is not known.")
    found = {}
    if isinstance(forcing, xr.Dataset) and "precipitation" in forcing:
        found["P, as given"] = forcing["precipitation"].drop_vars("time")
    found |= {"P, corrected": daily[WATER[0]], "ET": daily["ET"], "runoff": daily["runoff"]}
    balance = xr.Dataset(found, coords={"time": daily["time"]}).isel(time=slice(1, None))
    balance["change of TWS"] = daily["TWS"].diff("time")
    left = balance["P, corrected"] - balance["ET"] - balance["runoff"] - balance["change of TWS"]
    said = (
        "The first day is left out: the storage before it is not known. P, corrected: after the undercatch correction "
        "of snowfall. Left: P, corrected - ET - runoff - change of TWS"
    )
    jumps = left - daily["water_residual"] if "water_residual" in daily else xr.zeros_like(left)
    if float(abs(jumps).max()) > JUMP:
        balance["jumps"], left = jumps, left - jumps
        said += (
            " - jumps. Jumps: what one day ends with is not what the next begins with, for another fold predicts from "
            'there, as where years are held out. A record of one piece is that of member="mean", or of one fold'
        )
    balance["left"] = left
    return yearly(given, balance, "Water", "kg m⁻², or mm", 1e-12, "km³ a⁻¹") + paragraph(f"{said}.")


def yearly_carbon(given: Given) -> Markup:
    """Uptake and release."""
    if given.fit is not None and not given.fit.model.processes.carbon:
        return paragraph("The fit walks water alone: there is no carbon budget.")
    there = [name for name in CARBON if name in given.means]
    if not there:
        return missing("the carbon budget: no carbon flux is in the prediction.", PREDICT)
    daily = given.means[there]
    said = ""
    if {"GPP", "Ra", "Rh", "NEP"} <= {*there}:
        daily = daily.assign(left=daily["GPP"] - daily["Ra"] - daily["Rh"] - daily["NEP"])
        said = "Left: GPP - Ra - Rh - NEP. "
    return (
        yearly(given, daily, "Carbon", "g m⁻²", 1e-12, "Tg a⁻¹")
        + paragraph(f"{said}NEE is upward positive, all others are amounts that flow.")
        + (missing(f"{', '.join(n for n in CARBON if n not in there)}: not in the prediction.", PREDICT)
           if len(there) < len(CARBON) else Markup(""))
    )  # fmt: skip


def forced(given: Given) -> xr.Dataset | str:
    """Precipitation and net radiation of the land as a whole, or why there are none."""
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
    """Ratios of sums of the land as a whole, by year and of all years."""
    with_forcing = forcing if isinstance(forcing, xr.Dataset) else None
    try:
        known = [emergent_quantities(given.means, with_forcing, over=over) for over in ("year", "record")]
    except InputError as error:
        also = f"; {forcing}" if isinstance(forcing, str) else ""
        return missing(f"ratios, because {because(error)}{also}.")
    shown = [name for name in RATIOS if name in known[0]]
    rows: list[list[object]] = [
        [str(int(year)), *(float(known[0][name].sel(year=year)) for name in shown)] for year in known[0]["year"].values
    ]
    rows.append(["all", *(float(known[1][name]) for name in shown)])
    what = items(f"{name}: {QUANTITIES[name].long_name} ({QUANTITIES[name].units})" for name in shown)
    found = table("Ratios of sums, of the land as a whole", ["year", *shown], rows, numbers=shown) + what
    if absent := [name for name in RATIOS if name not in shown]:
        why = forcing if isinstance(forcing, str) else known[0].attrs.get("not_computed", "")
        found += missing(f"{', '.join(absent)}: {why}.", PREDICT)
    return found
