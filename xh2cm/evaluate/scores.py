"""Scores of a prediction at every time scale, per cell and over all cells, with counts of missing values.

References
----------
Nash and Sutcliffe (1970), doi:10.1016/0022-1694(70)90255-6; Gupta et al. (2009), doi:10.1016/j.jhydrol.2009.08.003
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xh2cm.ambient import undisturbed
from xh2cm.errors import Finding, InputError
from xh2cm.evaluate.align import (
    ROUNDING,
    SCALES,
    Pairs,
    Scale,
    Together,
    at_scale,
    pair_up,
    split,
    together,
)
from xh2cm.targets import Target

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["METRICS", "REASONS", "attributes", "by_whom", "held_out", "metrics", "score", "score_table"]

METRICS: Mapping[str, str] = {
    "NSE": "Nash-Sutcliffe efficiency",
    "KGE": "Kling-Gupta efficiency",
    "r": "Pearson correlation, also of KGE",
    "KGE_alpha": "ratio of standard deviations, predicted over observed, of KGE",
    "KGE_beta": "ratio of means, predicted over observed, of KGE",
    "RMSE": "root-mean-square error",
    "bias": "predicted less observed mean",
}

COUNTS: Mapping[str, str] = {
    "count": "observations compared",
    "missing": "steps with a prediction and without an observation",
    "unused": "observations not compared: no prediction for all of their time, or nothing to take an anomaly from",
}

REASONS: Mapping[str, str] = {
    "scored": "all scores are there",
    "not_at_this_scale": "a monthly observation has no days, an anomaly no cycle and no mean",
    "no_prediction": "nothing was predicted where something was observed, or at all",
    "no_observation": "nothing was observed",
    "no_overlap": "prediction and observation are never there together",
    "too_few_values": "fewer than three: RMSE and bias only",
    "constant_observation": "nothing to explain: RMSE, bias and KGE_beta only",
    "constant_prediction": "no correlation: neither r nor KGE",
    "no_mean": "anomalies, or a mean of zero: neither KGE_beta nor KGE",
}
"""Why scores are absent; the first that applies."""

NOT_REACHED = [*REASONS].index("not_at_this_scale")

FEWEST = 3
"""Two values always correlate."""

MEMBERS: Mapping[str, str] = {"held-out": "held out", "mean": "mean of the folds", "all": "each fold"}
"""What a figure says of the member that predicted."""

HELD_OUT: Mapping[str, str] = {
    "held-out": "yes: each cell or year by the fold that was not trained on it (an early stop, if there was one, has "
    "looked at it), by the mean of the folds where none was",
    "mean": "no, unless these cells or years are new to the fit: the mean of folds, most of them trained on each cell "
    'of the training data; for held-out skill predict with member="held-out"',
    "all": "no, unless these cells or years are new to the fit: every fold everywhere, also where it was trained; for "
    'held-out skill predict with member="held-out"',
}


REFERENCES = (
    "Nash and Sutcliffe (1970), doi:10.1016/0022-1694(70)90255-6; "
    "Gupta et al. (2009), doi:10.1016/j.jhydrol.2009.08.003"
)


WHY_NOT = "absent because"

HEADLINES: Mapping[str, str] = {
    "NSE, median": "NSE_median",
    "KGE, median": "KGE_median",
    "NSE, pooled": "NSE_pooled",
    "KGE, pooled": "KGE_pooled",
    "r": "r_pooled",
    "RMSE": "RMSE_pooled",
    "bias": "bias_pooled",
    "units": "units",
    "cells": "cells",
    "observations": "count_pooled",
    "missing": "missing_pooled",
    WHY_NOT: "reason_pooled",
}
"""Columns of `score_table`, and what they hold."""


def metrics(
    predicted: xr.DataArray,
    observed: xr.DataArray,
    dim: Hashable | Sequence[Hashable],
    *,
    weights: xr.DataArray | None = None,
) -> xr.Dataset:
    """Score one series against another.

    Parameters
    ----------
    predicted, observed : DataArray
        Compared where both have a value.
    dim : dimension or sequence of them
        Taken together as one sample.
    weights : DataArray, optional
        Of the values, on some of these dimensions, such as the area of the cells.

    Returns
    -------
    Dataset
        `METRICS`, NaN where they are not defined, `COUNTS`, and ``reason``, a CF flag that says why.

    Notes
    -----
    ``KGE = 1 - sqrt((r - 1)^2 + (KGE_alpha - 1)^2 + (KGE_beta - 1)^2)``, the form of 2009. A series is constant where
    it varies by less than a millionth of its size.

    Examples
    --------
    >>> import xarray as xr
    >>> from xh2cm.evaluate.scores import metrics
    >>> observed = xr.DataArray([1.0, 2.0, 3.0, 4.0], dims="time")
    >>> found = metrics(observed + 1, observed, "time")
    >>> found["NSE"].item().__round__(6), found["bias"].item(), found["r"].item().__round__(6)
    (0.2, 1.0, 1.0)
    """
    dims = [dim] if isinstance(dim, str) or not isinstance(dim, Iterable) else list(dim)
    pair = together(predicted.astype(float), observed.astype(float))
    return _metrics(pair, dims, weights=weights)


def _metrics(
    pair: Together, dims: Sequence[Hashable], *, weights: xr.DataArray | None = None, relative: bool = False
) -> xr.Dataset:
    """The same of a pair masked alike; ``relative`` where its mean says nothing."""
    from scores.continuous import additive_bias, mse
    from scores.processing import aggregate

    def mean(array: xr.DataArray) -> xr.DataArray:
        return aggregate(array, reduce_dims=dims, weights=weights)  # type: ignore[no-any-return]

    predicted, observed = pair.predicted, pair.observed
    unused = pair.seen & observed.isnull()
    count = observed.notnull().sum(dims)
    few = count < FEWEST
    flat_observed, flat_predicted = (_constant(side, dims) for side in (observed, predicted))
    mean_predicted, mean_observed = mean(predicted), mean(observed)
    no_mean = abs(mean_observed) <= ROUNDING * abs(observed).max(dims)
    no_mean = xr.ones_like(no_mean) if relative else no_mean

    # From weighted moments: scores.nse takes a weighted error about an unweighted mean, and kge and pearsonr no weights
    error = mse(predicted, observed, reduce_dims=dims, weights=weights)
    variance = mse(mean_observed, observed, reduce_dims=dims, weights=weights).where(~(few | flat_observed))
    variance_predicted = mse(mean_predicted, predicted, reduce_dims=dims, weights=weights)
    covariance = mean((predicted - mean_predicted) * (observed - mean_observed))
    r = covariance / np.sqrt(variance * variance_predicted.where(~flat_predicted))
    alpha = np.sqrt(variance_predicted / variance)
    beta = mean_predicted / mean_observed.where(~(few | no_mean))
    found = {
        "NSE": 1 - error / variance,
        "KGE": 1 - np.sqrt((r - 1) ** 2 + (alpha - 1) ** 2 + (beta - 1) ** 2),
        "r": r,
        "KGE_alpha": alpha,
        "KGE_beta": beta,
        "RMSE": np.sqrt(error),
        "bias": additive_bias(predicted, observed, reduce_dims=dims, weights=weights),
    }
    reason = xr.zeros_like(found["NSE"], dtype=np.int8)
    applies = {
        "no_prediction": ~pair.expected.any(dims),
        "no_observation": ~pair.seen.any(dims),
        "no_overlap": count == 0,
        "too_few_values": few,
        "constant_observation": flat_observed,
        "constant_prediction": flat_predicted,
        "no_mean": no_mean,
    }
    for name in reversed(applies):
        reason = reason.where(~applies[name], np.int8([*REASONS].index(name)))
    counts = {"count": count, "missing": (pair.expected & ~pair.seen).sum(dims), "unused": unused.sum(dims)}
    return xr.Dataset({**found, **counts, "reason": reason})


def _constant(array: xr.DataArray, dims: Sequence[Hashable]) -> xr.DataArray:
    """Return whether a series is constant but for rounding."""
    return array.max(dims) - array.min(dims) <= ROUNDING * abs(array).max(dims)


@undisturbed()
def score(
    prediction: xr.Dataset,
    observations: xr.Dataset,
    *,
    groups: str | xr.DataArray | None = None,
    targets: Sequence[str | Target] | None = None,
    names: Mapping[str, str | float] | None = None,
    units: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Score a prediction against whatever was observed of it.

    Parameters
    ----------
    prediction : Dataset
        As `predict` gives it: daily, any member.
    observations : Dataset
        On the same land: the user's own, or the dataset of `check`. No forcing is needed.
    groups : str or DataArray, optional
        Labels of cells or days that are scored apart, such as ``fit.labels``, or the name of a variable that holds
        them.
    targets, names, units : optional
        As for `check`: which variables, where they are, and what they are in.

    Returns
    -------
    Dataset
        Each of `METRICS` on (variable, scale, land); with ``_pooled`` of all values of all cells as one sample,
        weighted by area, and with ``_median`` the area-weighted median over the cells, on (variable, scale); before
        these ``fold`` or ``group`` where there is one. ``count``, ``missing``, ``unused`` and ``reason`` per cell and
        pooled; ``cells``, how many hold a value. RMSE and bias are in the coordinate ``units``.

    Raises
    ------
    InputError
        Nothing in common, another land or time, units that are not known; all of it at once.

    Notes
    -----
    A prediction is only compared where there is an observation, and both sides are averaged over the same days and
    months. Scales: see ``xh2cm.evaluate.align.at_scale``; ``mean`` is one mean a cell, so pooled it is the pattern in
    space. Of total water storage the anomalies from each cell's own mean over the common months (or days) are compared.

    References
    ----------
    Nash and Sutcliffe (1970), doi:10.1016/0022-1694(70)90255-6; Gupta et al. (2009), doi:10.1016/j.jhydrol.2009.08.003

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xh2cm.evaluate.scores import score
    >>> days = np.arange("2001-01-01", "2003-01-01", dtype="datetime64[D]").astype("datetime64[ns]")
    >>> season = xr.DataArray(5 + np.sin(np.arange(730) / 58), coords={"time": days}, attrs={"units": "g m-2 d-1"})
    >>> found = score(xr.Dataset({"GPP": season + 0.5}), xr.Dataset({"GPP": season.where(season > 4.5)}))
    >>> found["bias"].sel(variable="GPP", scale="monthly").item().__round__(6)
    0.5
    >>> found[["count", "missing"]].sel(variable="GPP", scale="daily").to_array().values.tolist()
    [487, 243]
    """
    pairs = pair_up(prediction, observations, targets, names, units)
    if groups is None:
        found = _scored(pairs)
    else:
        parts = split(pairs, groups, observations)
        found = along("group", {label: _scored(part) for label, part in parts})
    median = {f"{name}_median": _median(found[name], pairs.area, found[f"{name}_pooled"]) for name in METRICS}
    found = found.assign(median)
    return _described(found.assign(cells=(found["count"] > 0).sum(pairs.area.dims)), pairs, prediction)


def score_table(scores: xr.Dataset) -> pd.DataFrame:
    """Return the main scores as a table, with a row for each variable and scale, rounded for reading.

    Parameters
    ----------
    scores : Dataset
        What `score` gives.

    Returns
    -------
    DataFrame
        By variable and scale (and fold or group): NSE and KGE as the median of the cells and of all values pooled,
        correlation, RMSE and bias (both in ``units``) pooled, the cells and observations compared, the steps without an
        observation, and why a score is absent. Scales at which nothing can be compared are left out.

    Raises
    ------
    InputError
        Something else than scores.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xh2cm.evaluate.scores import score, score_table
    >>> days = np.arange("2001-01-01", "2003-01-01", dtype="datetime64[D]").astype("datetime64[ns]")
    >>> season = xr.DataArray(5 + np.sin(np.arange(730) / 58), coords={"time": days}, attrs={"units": "g m-2 d-1"})
    >>> table = score_table(score(xr.Dataset({"GPP": season + 0.5}), xr.Dataset({"GPP": season})))
    >>> table.loc[("GPP", "daily"), ["NSE, pooled", "bias", "units", "observations"]].to_dict()
    {'NSE, pooled': 0.5, 'bias': 0.5, 'units': 'g m-2 d-1', 'observations': 730}
    """
    if not {*HEADLINES.values()} <= {*scores.variables}:
        raise InputError([Finding("scores", "are none", "scores = out.h2cm.score(ds)")])
    kept = scores.reset_coords("units")[list(HEADLINES.values())]
    order = [*(dim for dim in kept.dims if dim not in ("variable", "scale")), "variable", "scale"]
    frame = kept.to_dataframe(dim_order=order)[list(HEADLINES.values())]
    frame = frame.set_axis(list(HEADLINES), axis=1)[frame["reason_pooled"].values != NOT_REACHED]
    frame["bias"] = frame["bias"].where(abs(frame["bias"]) > ROUNDING * frame["RMSE"], 0.0)
    for title, name in HEADLINES.items():
        if name in ("RMSE_pooled", "bias_pooled"):
            frame[title] = [float(f"{value:.3g}") for value in frame[title]]
        elif frame[title].dtype.kind == "f":
            frame[title] = frame[title].round(2)
    names = list(REASONS)
    frame[WHY_NOT] = ["" if k == 0 else names[int(k)].replace("_", " ") for k in frame[WHY_NOT]]
    return frame


def _scored(pairs: Pairs) -> xr.Dataset:
    """Score all variables at all scales, per cell and of all cells as one sample."""
    variables = {}
    for name, series in pairs.series.items():
        scales = {}
        for scale in SCALES:
            if (pair := at_scale(series, scale)) is not None:
                pair = Together(*(array.drop_vars("step") for array in pair))  # aligned already
                relative = series.compare == "anomaly" or scale == "interannual"
                cells = _metrics(pair, ["step"], relative=relative)
                pooled = _metrics(pair, ["step", *pairs.area.dims], weights=pairs.area, relative=relative)
                scales[scale] = cells.assign({f"{key}_pooled": array for key, array in pooled.items()})
        variables[name] = everywhere(scales, {"reason": NOT_REACHED, "reason_pooled": NOT_REACHED})
    return along("variable", variables)


def _median(cells: xr.DataArray, area: xr.DataArray, pooled: xr.DataArray) -> xr.DataArray:
    """Median over the cells, weighted by area."""
    if not area.dims:
        return cells
    found = cells.drop_vars(list(cells.coords)).weighted(area).quantile(0.5, dim=area.dims).drop_vars("quantile")
    return found.broadcast_like(pooled).transpose(*pooled.dims)  # for xarray squeezes what it finds


def along(dim: str, parts: Mapping[Any, xr.Dataset]) -> xr.Dataset:
    """Concatenate datasets of the same shape under their labels."""
    labels = xr.DataArray(list(parts), dims=dim, name=dim)
    return xr.concat(list(parts.values()), labels, join="exact", coords="minimal", compat="override")


def everywhere(scales: Mapping[Scale, xr.Dataset], fill: Mapping[Hashable, int]) -> xr.Dataset:
    """Expand scores of some scales to the axis of all scales: NaN and counts of 0 at the others."""
    found = along("scale", scales)
    empty = {name: 0 if array.dtype.kind == "i" else np.nan for name, array in found.items()}
    return found.reindex(scale=list(SCALES), fill_value={**empty, **fill})


# -- what is written beside the numbers ------------------------------------------------------------------------------


def held_out(member: str | None) -> str:
    """Describe whether a prediction is held out from the training of its folds.

    Parameters
    ----------
    member : str or None
        Attribute ``member`` of a prediction.

    Returns
    -------
    str
        Begins with yes, no, only or unknown.
    """
    if member is None:
        return "unknown: the prediction does not say which member of a fit made it"
    own = f"only where fold {member} was not trained: give groups=fit.labels and look at group {member}"
    return HELD_OUT.get(member, own)


def by_whom(member: str) -> str:
    """Return the member of a fit as part of the title of a figure.

    Parameters
    ----------
    member : str
        Attribute ``member`` of a prediction.

    Returns
    -------
    str
    """
    return MEMBERS.get(member, f"fold {member}")


def attributes(pairs: Pairs, prediction: xr.Dataset, title: str) -> dict[str, str]:
    """Global attributes of what is computed from pairs: whose prediction it was, and what was left out."""
    member = prediction.attrs.get("member")
    known = {key: str(prediction.attrs[key]) for key in ("source", "member") if key in prediction.attrs}
    left_out = {"comment": "; ".join(pairs.notes)} if pairs.notes else {}
    return {"Conventions": "CF-1.11", "title": title, **known, "held_out": held_out(member), **left_out}


def placed(found: xr.Dataset, pairs: Pairs) -> xr.Dataset:
    """Add to results the coordinates of the compared values, and the units of each variable."""
    kept = {name: c for name, c in pairs.frame.coords.items() if set(c.dims) <= {*found.dims}}
    units = ("variable", list(pairs.units.values()), {"long_name": "units of RMSE and bias"})
    return found.assign_coords({**kept, "units": units})


def _described(found: xr.Dataset, pairs: Pairs, prediction: xr.Dataset) -> xr.Dataset:
    member = prediction.attrs.get("member")
    who = "" if member is None else f" ({by_whom(member)})"
    whose = {
        "": "",
        "_pooled": ", all values of all cells, weighted by area",
        "_median": ", median of the cells by area",
    }
    for suffix, of in whose.items():
        for name, long_name in METRICS.items():
            units = (
                {"comment": "in the units of the coordinate `units`"} if name in ("RMSE", "bias") else {"units": "1"}
            )
            found[name + suffix].attrs = {"long_name": f"{long_name}{of}{who}", **units}
        if suffix == "_median":
            continue
        for name, long_name in COUNTS.items():
            found[name + suffix].attrs = {"long_name": f"{long_name}{of}", "units": "1"}
        found["reason" + suffix].attrs = {
            "long_name": f"why scores are absent{of}",
            "flag_values": np.arange(len(REASONS), dtype=np.int8),
            "flag_meanings": " ".join(REASONS),
            "comment": "; ".join(f"{name}: {meaning}" for name, meaning in REASONS.items()),
        }
    found["cells"].attrs = {"long_name": "cells with an observation compared", "units": "1"}
    attrs = attributes(pairs, prediction, "Scores of a prediction against observations")
    return placed(found, pairs).assign_attrs(attrs | {"references": REFERENCES})
