"""Compare the folds of one fit: skill per fold, ensemble spread, and agreement of the learned parameters.

``python examples/folds.py`` takes the fit of ``make demo`` (the Delaware basin), or trains it first, which takes
about a minute. Each fold was trained without the gauges of a fifth of the catchments and started from other random
numbers. Every fold predicts all catchments: those it was trained on and those held out from it. The example compares
their skill, counts how often the observation lies between them, and shows on which parameters they agree. Runoff is
the only target: agreement on other variables comes from the physics, and variables without agreement are not
constrained.
"""

from __future__ import annotations

import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from delaware import OUTPUT, TRAINING, open_data

import xh2cm

FLUXES = ["runoff", "ET", "TWS", "SWE", "GPP", "TER"]


def opened() -> tuple[xr.Dataset, xh2cm.Fit]:
    """Return the units with a gauge, and the fit of the demo."""
    name, ds = open_data()
    if name != "delaware":
        raise SystemExit("This example looks at the Delaware basin, which could not be had.")
    learnt = ds.isel(nhru=(ds["catchment"] >= 0).values)
    try:
        return learnt, xh2cm.load_fit(OUTPUT / "delaware_fit")
    except xh2cm.FitError:
        print("training with the settings of the demo")
        how = {"folds": 5, "groups": "catchment", "targets": {"runoff": "daily"}, "epochs": 10}
        return learnt, learnt.h2cm.fit(**how, **TRAINING)


def agreement(every: xr.Dataset) -> pd.DataFrame:
    """Compare the folds: correlation of their maps, in pairs, and their spread beside that of the land."""
    rows = {}
    for name, array in every.items():
        of_land = array.mean("time") if "time" in array.dims else array
        if "nhru" not in of_land.dims:
            continue
        flat = of_land.transpose("fold", ...).values
        pairs = np.corrcoef(flat)[np.triu_indices(len(flat), 1)]
        size = abs(flat.mean())
        rows[name] = {
            "mean": flat.mean(),
            "land varies by %": 100 * flat.mean(0).std() / size,
            "folds differ by %": 100 * np.sqrt(flat.var(0, ddof=1).mean()) / size,
            "r between folds": pairs.mean(),
            "lowest r": pairs.min(),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def draw(matrix: pd.DataFrame, covered: xr.Dataset, agreed: pd.DataFrame, constants: xr.Dataset) -> None:
    """Draw the skill of each fold in each fifth, ranks of the observation among the folds, agreement, constants."""
    figure = plt.figure(figsize=(13, 9.5), layout="constrained")
    figure.suptitle("Delaware, five folds trained on runoff: agreement between folds", fontsize=14)
    top, below = figure.subfigures(2, 1, height_ratios=[1, 1.25])
    skill, ranks, numbers = top.subplots(1, 3, width_ratios=[1.1, 1, 1.3])
    image = skill.imshow(matrix, cmap="cividis")
    for (i, j), value in np.ndenumerate(matrix.values):
        dark = value < (np.nanmin(matrix) + np.nanmax(matrix)) / 2
        weight = "bold" if i == j else "normal"
        skill.text(j, i, f"{value:.2f}", ha="center", va="center", color="white" if dark else "black", weight=weight)
    skill.set(xlabel="fold that predicts", ylabel="catchments held out from fold", title="Daily NSE of runoff, pooled")
    skill.set_xticks(range(matrix.shape[1]), matrix.columns)
    skill.set_yticks(range(matrix.shape[0]), matrix.index.astype(int))
    top.colorbar(image, ax=skill, label="NSE; bold: held out in training", shrink=0.8)

    counts = covered["rank_histogram"].sel(variable="runoff")
    for scale, colour in {"daily": "#0072B2", "monthly": "#E69F00"}.items():
        ranks.plot(counts["rank"] - 1, counts.sel(scale=scale), "o-", color=colour, label=scale)
    ranks.axhline(1 / counts.sizes["rank"], color="black", lw=0.8, ls="--", label="calibrated spread")
    ranks.set(xlabel="number of folds below the observation", ylabel="share of observations", ylim=(0, None))
    ranks.set_title("Observed runoff among the folds")
    ranks.legend(frameon=False)

    names = [name for name in constants if f"{name}_std" in constants]
    for row, name in enumerate(names):
        relative = constants[name] / constants[f"{name}_mean"] - 1
        numbers.plot(100 * relative, [row] * relative.size, "o", color="#0072B2", alpha=0.6)
    units = [constants[name].attrs["units"] for name in names]
    means = [float(constants[f"{name}_mean"]) for name in names]
    told = [f"{n}\n{mean:.3g} {unit if unit != '1' else ''}" for n, mean, unit in zip(names, means, units, strict=True)]
    numbers.set_yticks(range(len(names)), told)
    numbers.axvline(0, color="black", lw=0.6)
    numbers.set(xlabel="difference from the mean of the folds (%)", title="Global constants by fold")
    numbers.margins(y=0.15)

    axes = below.subplots()
    ordered = agreed.sort_values("r between folds")
    colours = ["#D55E00" if name in FLUXES else "#0072B2" for name in ordered.index]
    axes.hlines(range(len(ordered)), ordered["lowest r"], ordered["r between folds"], color=colours, lw=1.5, alpha=0.5)
    axes.scatter(ordered["r between folds"], range(len(ordered)), color=colours, zorder=3)
    axes.set_yticks(range(len(ordered)), ordered.index)
    axes.axvline(0, color="black", lw=0.6)
    axes.grid(axis="x", alpha=0.3)
    axes.set(xlabel="correlation between the maps of two folds: mean of all pairs, line to the lowest")
    axes.set_title(
        "Means over time in each unit. Orange: fluxes and storages; blue: parameters", loc="left", fontsize=11
    )
    figure.savefig(OUTPUT / "folds.png", dpi=100)
    plt.close(figure)


def main() -> None:
    """Predict all catchments with every fold and compare."""
    began = time.monotonic()
    learnt, fit = opened()
    inside = [p.name if p.name != "fapar" else "fAPAR" for p in fit.model.parameters.values() if p.varies != "global"]
    every = learnt.h2cm.predict(fit, member="all", variables=[*FLUXES, *inside])
    groups = fit.labels
    scored = every[["runoff"]].h2cm.score(learnt, groups=groups, targets=["runoff"])
    of_runoff = scored.sel(variable="runoff", scale="daily")
    matrix = of_runoff["NSE_pooled"].transpose("group", "fold").to_pandas().rename(int)
    held = learnt.h2cm.predict(fit, member="held-out", variables=["runoff"])
    by_fold = held.h2cm.score(learnt, groups=groups, targets=["runoff"]).sel(variable="runoff")
    rows = {
        (scale, metric): by_fold[metric].sel(scale=scale).to_series()
        for scale in ("daily", "monthly")
        for metric in ("NSE_pooled", "NSE_median", "KGE_median")
    }
    print("Held-out skill of each fold (rows: folds):")
    print(f"{pd.DataFrame(rows).round(2).to_string()}\n")
    print("Daily NSE of runoff, pooled; rows: catchments held out from that fold, columns: fold that predicts:")
    print(f"{matrix.round(2).to_string()}\n")
    seen, unseen = matrix.values[~np.eye(len(matrix), dtype=bool)].mean(), np.diag(matrix).mean()
    print(f"mean in training catchments {seen:.2f}, in held-out catchments {unseen:.2f}\n")

    covered = every[["runoff"]].h2cm.coverage(learnt, targets=["runoff"])
    shares = (
        covered[["coverage", "expected"]].sel(variable="runoff").to_dataframe()[["coverage", "expected"]].unstack(0)
    )
    heading = "Share of observed runoff within the range of the folds (most of which were trained on it):"
    print(f"{heading}\n{shares.round(2).to_string()}\n")
    ratio = covered["spread_skill"].sel(variable="runoff").to_series().dropna()
    print(f"ratio of spread to error, 1 if the spread is right: {ratio.round(2).to_dict()}\n")

    constants = fit.constants()
    names = [name for name in constants if f"{name}_std" in constants]
    told = pd.DataFrame({name: constants[name].to_series() for name in names}).T
    print(f"Global constants per fold:\n{told.round(4).to_string()}\n")
    agreed = agreement(every)
    print(f"Means over time per unit:\n{agreed.to_string(float_format='{:.2f}'.format)}\n")
    draw(matrix, covered, agreed, constants)
    print(f"figure: {OUTPUT / 'folds.png'}\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
