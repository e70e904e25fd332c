"""Spread of the folds of a fit, and coverage of observations by it.

The spread over folds says how much a prediction depends on which cells or years were trained on, and on chance in
training. It is not the whole uncertainty: it knows nothing of the error of observations and forcing, all folds share
the model's form, and each two of them most of their data.

References
----------
Fortin et al. (2014), doi:10.1175/JHM-D-14-0008.1; Hamill (2001), doi:10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from xh2cm.ambient import undisturbed
from xh2cm.errors import Finding, InputError
from xh2cm.evaluate.align import SCALES, Pairs, Together, at_scale, pair_up, split
from xh2cm.evaluate.scores import COUNTS, along, attributes, everywhere, placed
from xh2cm.targets import Target

__all__ = ["coverage", "spread"]

STATISTICS: Mapping[str, tuple[str, str]] = {
    "mean": ("mean", "mean over the folds"),
    "std": ("standard_deviation", "standard deviation over the folds"),
    "min": ("minimum", "lowest of the folds"),
    "max": ("maximum", "highest of the folds"),
}
"""Statistic to its CF cell method, and what to call it."""

CAVEAT = (
    "The spread over folds is not the whole uncertainty: it holds no error of observations, forcing or model form, and "
    "the folds share most of their training data."
)


@undisturbed()
def spread(prediction: xr.Dataset) -> xr.Dataset:
    """Compute the mean, standard deviation, minimum and maximum over the folds, lazily.

    Parameters
    ----------
    prediction : Dataset
        Of ``member="all"``.

    Returns
    -------
    Dataset
        For each variable with a dimension ``fold``, global constants too, ``_mean``, ``_std`` (of a sample, divided
        by the number of folds less one), ``_min`` and ``_max``, with its attributes.

    Raises
    ------
    InputError
        Without a dimension ``fold``, or with a single fold along it.

    Examples
    --------
    >>> import xarray as xr
    >>> from xh2cm.evaluate.ensemble import spread
    >>> every = xr.Dataset({"q10": ("fold", [1.4, 1.5, 1.6], {"units": "1"})})
    >>> {name: round(array.item(), 2) for name, array in spread(every).items()}
    {'q10_mean': 1.5, 'q10_std': 0.1, 'q10_min': 1.4, 'q10_max': 1.6}
    """
    _several_folds(prediction)
    found = {}
    for name, array in prediction.items():
        if "fold" not in array.dims:
            continue
        for suffix, (method, words) in STATISTICS.items():
            statistic = array.std("fold", ddof=1) if suffix == "std" else getattr(array, suffix)("fold")
            kept = {key: value for key, value in array.attrs.items() if suffix != "std" or key != "valid_range"}
            methods = f"{array.attrs.get('cell_methods', '')} realization: {method}".strip()
            long_name = f"{array.attrs.get('long_name', name)}, {words}"
            statistic.attrs = kept | {"long_name": long_name, "cell_methods": methods}
            found[f"{name}_{suffix}"] = statistic
    return xr.Dataset(found, attrs=prediction.attrs | {"comment": CAVEAT})


@undisturbed()
def coverage(
    prediction: xr.Dataset,
    observations: xr.Dataset,
    *,
    levels: Sequence[float] = (0.5, 0.8, 0.9),
    groups: str | xr.DataArray | None = None,
    targets: Sequence[str | Target] | None = None,
    names: Mapping[str, str | float] | None = None,
    units: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Compute how often observations lie within the spread of the folds, and the expected frequency.

    Parameters
    ----------
    prediction : Dataset
        Of ``member="all"``.
    observations : Dataset
        On the same land, see `score`.
    levels : sequence of float
        Central intervals, between 0 and 1.
    groups : str or DataArray, optional
        Labels of cells or days that are looked at apart, see `score`.
    targets, names, units : optional
        As for `check`.

    Returns
    -------
    Dataset
        On (variable, scale), all cells together, weighted by area: ``coverage`` and ``expected`` (interval), the
        interval ``range`` from the lowest to the highest fold being the last; ``rank_histogram`` (rank), the share of
        observations above 0, 1, ... folds, flat where the spread is right; ``spread`` (root-mean-square standard
        deviation over the folds), ``error`` (root-mean-square error of their mean), and ``spread_skill``, their ratio
        made fair to a small ensemble, 1 where the spread is right and less where it is too narrow; the counts of
        `score`.

    Raises
    ------
    InputError
        A single fold, levels that are none, and what `score` raises.

    Notes
    -----
    Where observation and K folds are draws of one distribution, the observation lies below the i-th lowest fold with
    the probability i / (K + 1). The quantiles of the folds are taken so (Weibull's positions, linear in between, where
    few folds give up to 0.03 too much), and a level that reaches beyond them ends at the lowest and highest fold, where
    ``(K - 1) / (K + 1)`` is expected: five folds cannot span 90 %. A bound belongs to its interval: where folds and
    observation are equal (no snow in summer) the observation is inside, and its rank is shared out. ``spread_skill`` is
    ``sqrt((K + 1) / K)`` times ``spread / error``, Fortin et al. (2014).

    References
    ----------
    Fortin et al. (2014), doi:10.1175/JHM-D-14-0008.1

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xh2cm.evaluate.ensemble import coverage
    >>> days = np.arange("2001-01-01", "2002-01-01", dtype="datetime64[D]").astype("datetime64[ns]")
    >>> zero = xr.DataArray(np.zeros(365), coords={"time": days}, attrs={"units": "g m-2 d-1"})
    >>> every = xr.Dataset({"GPP": zero + xr.DataArray([3.0, 4.0, 6.0], dims="fold")})
    >>> found = coverage(every, xr.Dataset({"GPP": zero + 5.0}))
    >>> found["coverage"].sel(variable="GPP", scale="daily", interval="range").item()
    1.0
    >>> found["expected"].sel(interval="range").item()
    0.5
    """
    _several_folds(prediction)
    wrong = [level for level in levels if not 0 < level < 1]
    if wrong:
        raise InputError([Finding("levels", f"{wrong[0]!r} is not between 0 and 1", "levels=(0.5, 0.9)")])
    pairs = pair_up(prediction, observations, targets, names, units)
    if groups is None:
        found = _covered(pairs, levels)
    else:
        parts = split(pairs, groups, observations)
        found = along("group", {label: _covered(part, levels) for label, part in parts})
    return _described(found, pairs, prediction, levels)


def _several_folds(prediction: xr.Dataset) -> None:
    size = prediction.sizes.get("fold", 0)
    if size < 2:
        problem = "has no dimension fold" if not size else "has a single fold, which has no spread"
        raise InputError([Finding("prediction", problem, 'out = ds.h2cm.predict(fit, member="all")')])


def _covered(pairs: Pairs, levels: Sequence[float]) -> xr.Dataset:
    """Compute all variables at all scales."""
    variables = {}
    for name, series in pairs.series.items():
        reached = {scale: pair for scale in SCALES if (pair := at_scale(series, scale)) is not None}
        scales = {scale: _of_sample(pair, pairs.area, levels) for scale, pair in reached.items()}
        variables[name] = everywhere(scales, {})
    return along("variable", variables)


def _of_sample(pair: Together, area: xr.DataArray, levels: Sequence[float]) -> xr.Dataset:
    """Pool all values of all cells as one sample, weighted by area."""
    pair = Together(*(array.drop_vars("step") for array in pair))
    there = pair.observed.notnull()
    counts = {"count": there, "missing": pair.expected & ~pair.seen, "unused": pair.seen & ~there}
    values = {"folds": pair.predicted, "observed": pair.observed, "weight": area.broadcast_like(pair.observed)}
    sample = xr.Dataset(values).stack(sample=("step", *area.dims), create_index=False)
    used = np.flatnonzero(sample["observed"].notnull() & (sample["weight"] > 0))
    folds, observed, weight = (sample[name].isel(sample=used) for name in values)
    nothing = not used.size
    found = _of_none(folds.sizes["fold"], levels) if nothing else _of_values(folds, observed, weight, levels)
    return found.assign({name: where.sum() for name, where in counts.items()})


def _of_values(
    folds: xr.DataArray, observed: xr.DataArray, weight: xr.DataArray, levels: Sequence[float]
) -> xr.Dataset:
    """Folds (fold, sample) beside observations (sample), none of them missing."""
    from scores.continuous import rmse
    from scores.probability import rank_histogram
    from scores.processing import aggregate

    def mean(array: xr.DataArray) -> xr.DataArray:
        return aggregate(array, reduce_dims="sample", weights=weight)  # type: ignore[no-any-return]

    ends = [folds.quantile([(1 - level) / 2, (1 + level) / 2], "fold", method="weibull") for level in levels]
    intervals = [(end.isel(quantile=0, drop=True), end.isel(quantile=1, drop=True)) for end in ends]
    intervals.append((folds.min("fold"), folds.max("fold")))
    inside = [mean(((low <= observed) & (observed <= high)).astype(float)) for low, high in intervals]
    spread = mean(folds.var("fold", ddof=1)) ** 0.5
    error = rmse(folds.mean("fold"), observed, reduce_dims="sample", weights=weight)
    fair = (1 + 1 / folds.sizes["fold"]) ** 0.5
    return xr.Dataset(
        {
            "coverage": xr.concat(inside, "interval"),
            "rank_histogram": rank_histogram(folds, observed, "fold", weights=weight),
            "spread": spread,
            "error": error,
            "spread_skill": fair * spread / error.where(error > 0),
        }
    )


def _of_none(size: int, levels: Sequence[float]) -> xr.Dataset:
    """The same where nothing was observed."""
    ranks = xr.DataArray(np.full(size + 1, np.nan), coords={"rank": np.arange(1, size + 2)})
    nothing = dict.fromkeys(("spread", "error", "spread_skill"), np.nan)
    return xr.Dataset({"coverage": ("interval", np.full(len(levels) + 1, np.nan)), "rank_histogram": ranks, **nothing})


def _described(found: xr.Dataset, pairs: Pairs, prediction: xr.Dataset, levels: Sequence[float]) -> xr.Dataset:
    size = prediction.sizes["fold"]
    most = (size - 1) / (size + 1)
    found = found.assign_coords(interval=[*(f"{100 * level:g} %" for level in levels), "range"])
    found = found.assign(expected=("interval", [*(min(level, most) for level in levels), most]))
    about = {
        "coverage": "share of observations within the interval of the folds",
        "expected": f"share within the interval if observation and {size} folds were draws of one distribution",
        "rank_histogram": "share of observations below all folds, between each two neighbours, and above all",
        "spread": "root-mean-square standard deviation over the folds",
        "error": "root-mean-square error of the mean of the folds",
        "spread_skill": "ratio of spread to error, made fair to the number of folds",
        **COUNTS,
    }
    for name, long_name in about.items():
        units = {"comment": "in the units of the coordinate `units`"} if name in ("spread", "error") else {"units": "1"}
        found[name].attrs = {"long_name": long_name, **units}
    found["rank"].attrs = {"long_name": "rank of the observation among the folds, from 1", "units": "1"}
    attrs = attributes(pairs, prediction, "Observations within the spread of the folds")
    notes = f"{attrs['comment']}; {CAVEAT}" if "comment" in attrs else CAVEAT
    return placed(found, pairs).assign_attrs(attrs | {"comment": notes})
