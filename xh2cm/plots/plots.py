"""Figures of predictions, scores and fits, each on matplotlib axes that are labelled with units."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from matplotlib.ticker import LogLocator, NullFormatter

from xh2cm.data.match import find_variables
from xh2cm.data.read_land import grid_area, read_area
from xh2cm.data.reading import Input
from xh2cm.data.times import datetime_dimensions, label, month_numbers
from xh2cm.errors import Finding, InputError, closest
from xh2cm.evaluate.align import (
    SCALES,
    Scale,
    Series,
    Together,
    at_scale,
    pair_up,
    together,
)
from xh2cm.evaluate.scores import METRICS, by_whom, score
from xh2cm.methods import Method
from xh2cm.plots.computed import computed
from xh2cm.plots.maps import edges, on_land, places
from xh2cm.plots.style import (
    BAND,
    KNOWN,
    NOTHING,
    OBSERVED,
    PREDICTED,
    WORTHLESS,
    axis_label,
    canvas,
    drawable,
    key,
    label_of,
    look_of_folds,
    look_of_score,
    look_of_variable,
    masked,
    name_axes,
    several,
    time_axis,
    title,
    with_bar,
)
from xh2cm.targets import UNCONSTRAINED, unconstrained
from xh2cm.variables import OUTPUTS, Residuals, variable_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from xh2cm.fitted import Fit

__all__ = ["Plots", "closure", "folds", "latitudes", "losses", "overview", "season", "series", "skill", "values"]

MONTHS = "JFMAMJJASOND"

DENSE = 750
"""Days of a record from which on daily values are drawn pale, behind their running mean."""

RUNNING = 30
"""Days of the running mean; half of them must have a value."""

FEW = 36
"""Steps up to which observations are marked one by one."""

SAID = {"daily": "daily", "monthly": "monthly means", "interannual": "monthly anomalies from the mean seasonal cycle"}
"""Titles of a series at each scale."""

FIRST = ("ET", "GPP", "runoff", "TWS", "NEE", "SWE", "TER", "fAPAR", "NPP")
"""Variables in the order in which an overview shows them."""

COLUMNS = 4
"""Most variables of an overview."""


# -- maps ------------------------------------------------------------------------------------------------------------


def values(
    dataset: xr.Dataset,
    variable: str,
    *,
    when: str | slice | None = None,
    limits: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Map a variable: a flux, a storage, a learned parameter, forcing.

    Parameters
    ----------
    dataset : Dataset
        A prediction, or data.
    variable : str
    when : str or slice, optional
        A day, month or year, such as ``"2001-07-14"`` or ``"2001-07"``, or a slice of them; the mean over all time if
        not given.
    limits : (float, float), optional
        Of the colours. They span all values if not given; where a few lie far from the others they span 96 % of the
        values, and the colour bar ends in an arrow.
    ax : Axes, optional
        Axes of cartopy work as well, in any projection.

    Returns
    -------
    Axes
        A map of a grid; towers and catchments as points where they have latitude and longitude, else as bars.

    Raises
    ------
    InputError
        If the variable or time is absent, holds no number, or does not lie on the land.

    Examples
    --------
    >>> import xh2cm
    >>> from xh2cm.plots.plots import values
    >>> ds = xh2cm.tutorial.open_dataset("twin")
    >>> values(ds, "precipitation", when="2001-07-14").get_title()
    'precipitation, 2001-07-14'
    """
    array = named(dataset, variable)
    times = [dim for dim in datetime_dimensions(dataset) if dim in array.dims]
    said = [variable]
    for dim in times:
        name = datetime_dimensions(dataset)[dim]
        array, days = within(array, dim, dataset[name], when)
        said.append(days)
    if when is not None and not times:
        raise InputError([Finding("when", f"{variable} does not vary in time", "leave it out")])
    if "fold" in array.dims:
        said.append(f"mean of {array.sizes['fold']} folds")
    elif member := dataset.attrs.get("member"):
        said.append(by_whom(str(member)))
    about = dict(array.attrs)
    array = array.mean([dim for dim in array.dims if dim in times or dim == "fold"]).assign_attrs(about)
    return on_land(dataset, array, partial(look_of_variable, variable, limits=limits), ", ".join(said), ax)


def skill(
    scores: xr.Dataset,
    variable: str,
    *,
    metric: str = "NSE",
    scale: Scale = "monthly",
    limits: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Map a score.

    Parameters
    ----------
    scores : Dataset
        As ``out.h2cm.score(ds)`` returns them.
    variable : str
    metric : str
        One of `xh2cm.evaluate.scores.METRICS`.
    scale : {"daily", "monthly", "seasonal", "interannual", "mean"}
    limits : (float, float), optional
        Of the colours. Efficiencies and correlations span 0 to 1 if not given, and are orange below 0.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If the variable, metric or scale has not been scored.

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 59), month=slice(0, 2))
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
    >>> scores = ds.h2cm.predict(fit, variables=["ET"], member="held-out").h2cm.score(ds)
    >>> scores.h2cm.plot.skill("ET", metric="bias").get_title()
    'bias of ET, monthly'
    """
    findings = []
    known = [str(name) for name in scores.get("variable", xr.DataArray([], dims="variable")).values]
    if not {*METRICS} <= {*scores.data_vars}:
        findings.append(Finding("scores", "hold no scores", "scores = out.h2cm.score(ds)"))
    elif variable not in known:
        findings.append(Finding(f"variable {variable!r}", "has not been scored", closest(variable, known)))
    if metric not in METRICS:
        findings.append(Finding("metric", f"{metric!r} is unknown", closest(metric, METRICS)))
    if scale not in SCALES:
        findings.append(Finding("scale", f"{scale!r} is unknown", closest(scale, SCALES)))
    if findings:
        raise InputError(findings)
    one = scores[metric].sel(variable=variable, scale=scale)
    said = [f"{metric} of {variable}", scale]
    if "fold" in one.dims:
        said.append(f"median of {one.sizes['fold']} folds")
        one = one.median("fold", keep_attrs=True)
    if "units" in scores[metric].attrs:
        one.attrs["units"] = scores[metric].attrs["units"]
    else:
        one.attrs["units"] = str(one["units"].item())
    return on_land(scores, one, partial(look_of_score, metric, limits=limits), ", ".join(said), ax)


def folds(labels: xr.DataArray | Fit, *, ax: Axes | None = None) -> Axes:
    """Show the cross-validation folds: the fold in which each cell or year is held out.

    Parameters
    ----------
    labels : DataArray or Fit
        As ``ds.h2cm.folds()`` or ``fit.labels`` has them.
    ax : Axes, optional

    Returns
    -------
    Axes
        A map of cells, or years along a line.

    Raises
    ------
    InputError
        If there are no labels.

    Examples
    --------
    >>> import xh2cm
    >>> from xh2cm.plots import plots
    >>> ds = xh2cm.tutorial.open_dataset("twin")
    >>> plots.folds(ds.h2cm.folds(3, scheme="cells")).get_title()
    'Cross-validation folds, scheme "cells"'
    """
    found = labels if isinstance(labels, xr.DataArray) else labels.labels
    if found is None or not found.notnull().any():
        raise InputError([Finding("labels", "there are none", "give ds.h2cm.folds(), or a fit made with folds")])
    found = found.compute()
    scheme = str(found.attrs.get("scheme", "own"))
    text = "Cross-validation folds" + ("" if scheme == "own" else f', scheme "{scheme}"')
    if "time" not in found.dims:
        return on_land(xr.Dataset(coords=found.coords), found, look_of_folds, text, ax)
    ax = ax or canvas((7.0, 2.6))
    found = found.transpose("time", ...)
    cells = found.values.reshape(found.sizes["time"], -1).T
    days = every_day(found["time"])
    look = look_of_folds(found)
    ends = np.append(days, days[-1] + 1)
    mesh = ax.pcolormesh(ends, np.arange(len(cells) + 1) + 0.5, masked(cells), **look.drawn)
    if len(cells) == 1:
        ax.set_yticks([])
    name_axes(ax, y="all cells" if len(cells) == 1 else "cell number")
    time_axis(ax)
    title(ax, text)
    with_bar(mesh, ax, look, "horizontal")
    return ax


# -- lines -----------------------------------------------------------------------------------------------------------


def season(
    prediction: xr.Dataset,
    variable: str,
    observations: xr.Dataset | None = None,
    *,
    names: Mapping[str, str | float] | None = None,
    units: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the mean seasonal cycle, averaged over the land by area, beside observations.

    Parameters
    ----------
    prediction : Dataset
        Daily; select cells beforehand to draw them alone. The range over a dimension ``fold`` is shaded.
    variable : str
    observations : Dataset, optional
        On the same land. Only cells and months that have both are compared, as in `xh2cm.evaluate.scores.score`.
    names, units : optional
        Names and units of variables in the observations, as for `check`.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If the variable is absent, or was not observed.

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 59), month=slice(0, 2))
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
    >>> ds.h2cm.predict(fit).h2cm.plot.season("ET", ds).get_xlabel()
    'month of the year'
    """
    lines = beside(prediction, variable, observations, "seasonal", names, units)
    ax = ax or canvas((6.4, 4.4))
    month = {"step": lines.predicted["step"].values + 1}
    draw(ax, lines.assign_coords(month))
    ax.set_xticks(range(1, 13), list(MONTHS))
    ax.set_xlabel("month of the year")
    title(ax, f"{variable}, mean seasonal cycle", lines.predicted)
    return ax


def series(
    prediction: xr.Dataset,
    variable: str,
    observations: xr.Dataset | None = None,
    *,
    scale: Literal["daily", "monthly", "interannual"] = "monthly",
    names: Mapping[str, str | float] | None = None,
    units: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a time series, averaged over the land by area, beside observations.

    Parameters
    ----------
    prediction, variable, observations, names, units, ax
        As for `season`.
    scale : {"daily", "monthly", "interannual"}
        Daily values, monthly means, or monthly means minus their mean seasonal cycle. Daily values of more than two
        years are drawn pale, behind their running mean over 30 days.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If the variable is absent, or was not observed at this scale.

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 59), month=slice(0, 2))
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
    >>> every = ds.h2cm.predict(fit, member="all")
    >>> [line.get_label() for line in every.h2cm.plot.series("ET", ds).get_lines()]
    ['predicted, mean of 2 folds', 'observed']
    """
    if scale not in SAID:
        raise InputError([Finding("scale", f"{scale!r} is not a time series", closest(scale, SAID))])
    lines = beside(prediction, variable, observations, scale, names, units)
    days = dates(lines["step"].values, scale == "daily").astype("datetime64[s]")
    lines = lines.assign_coords(step=days)
    if lines.indexes["step"].is_unique:  # two days of February may be one date where months have 30 days
        step = "D" if scale == "daily" else "M"
        first, last = (days[k].astype(f"datetime64[{step}]") for k in (0, -1))
        lines = lines.reindex(step=np.arange(first, last + 1).astype("datetime64[s]"))  # lines end at gaps
    steps = lines.sizes["step"]
    ax = ax or canvas((8.4, 3.8) if steps > FEW else (6.4, 4.4))
    draw(ax, lines, dense=scale == "daily" and steps > DENSE)
    time_axis(ax)
    title(ax, f"{variable}, {SAID[scale]}", lines.predicted)
    return ax


def beside(
    prediction: xr.Dataset,
    variable: str,
    observations: xr.Dataset | None,
    scale: Scale,
    names: Mapping[str, str | float] | None,
    units: Mapping[str, str] | None,
) -> xr.Dataset:
    """Return means over the land along ``step``, ``predicted`` (perhaps along ``fold``) and ``observed`` if given."""
    array = named(prediction, variable)
    if observations is None:
        pair, area = alone(prediction, array, scale), area_of(prediction, array)
        level = True
    else:
        pairs = pair_up(prediction, observations, [variable], names, units)
        record, area = pairs.series[variable], pairs.area
        found = at_scale(record, scale)
        if found is None:
            problem = f"was not observed often enough for {scale} values"
            raise InputError([Finding(variable, problem, 'season(...), or scale="monthly"')])
        pair, level = found, record.compare != "anomaly"
    predicted, observed = (
        side.weighted(area).mean(area.dims).dropna("step", how="all") for side in (pair.predicted, pair.observed)
    )
    if not observed.size:
        raise InputError([Finding(variable, f"has no {scale} values to show", "look at another scale or time")])
    folds = predicted.sizes.get("fold")
    about = label_of(array, variable, "" if level and scale != "interannual" else ", anomaly")
    by = f", mean of {folds} folds" if folds else member_of(prediction)
    attrs = {"label": about, "by": f"predicted{by}", "comment": array.attrs.get("comment", "")}
    lines = xr.Dataset({"predicted": predicted.assign_attrs(attrs)})
    return lines if observations is None else lines.assign(observed=observed)


def alone(dataset: xr.Dataset, array: xr.DataArray, scale: Scale) -> Together:
    """Bring a variable without observations to a scale."""
    if "time" not in array.dims or "time" not in datetime_dimensions(dataset):
        problem = "does not vary from day to day"
        raise InputError([Finding(str(array.name), problem, f'out.h2cm.plot.map("{array.name}")')])
    daily = array.drop_vars(list(array.coords)).rename(time="step").compute()
    daily = daily.assign_coords(step=month_numbers(dataset["time"]) * 32 + dataset["time"].dt.day.values)
    same = daily.mean("fold") if "fold" in daily.dims else daily
    found = at_scale(Series(together(daily, same), "day", ""), scale)
    assert found is not None  # noqa: S101  (days reach every scale)
    return found


def draw(ax: Axes, lines: xr.Dataset, *, dense: bool = False) -> None:
    """Draw predicted and observed lines; dense ones pale, behind their running means."""
    predicted, steps = lines.predicted, lines["step"].values
    about = predicted.attrs
    if "fold" in predicted.dims:
        least, most = predicted.min("fold"), predicted.max("fold")
        ax.fill_between(steps, least, most, color=PREDICTED, alpha=BAND, linewidth=0, label="range of the folds")
        predicted = predicted.mean("fold")
    drawn: list[tuple[xr.DataArray, str, dict[str, Any]]] = [(predicted, about["by"], {"color": PREDICTED})]
    if "observed" in lines:
        style: dict[str, Any] = {"color": OBSERVED}
        if predicted.size <= FEW:
            style |= {"linestyle": "--", "marker": ".", "markersize": 4}
        drawn.append((lines["observed"], "observed", style | ({} if dense else {"linewidth": 1.0})))
    for line, who, style in drawn:
        if dense:
            ax.plot(steps, line, linewidth=0.4, alpha=BAND, **style)
            running = line.rolling(step=RUNNING, center=True, min_periods=RUNNING // 2).mean()
            ax.plot(steps, running, label=f"{who}, {RUNNING}-day mean", **style)
        else:
            ax.plot(steps, line, label=who, **style)
    name_axes(ax, y=about["label"])
    ax.margins(x=0.02)
    ax.grid(color=NOTHING)
    key(ax)


# -- latitudes, budgets, training ------------------------------------------------------------------------------------


def latitudes(
    prediction: xr.Dataset,
    variable: str,
    *,
    limits: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Show monthly means by latitude over time (a Hovmöller diagram).

    Parameters
    ----------
    prediction : Dataset
        Daily, on a grid of latitude and longitude.
    variable : str
    limits : (float, float), optional
        Of the colours.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If the land is not such a grid, or the variable does not vary in time.

    References
    ----------
    Hovmöller (1949), doi:10.1111/j.2153-3490.1949.tb01260.x

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin")
    >>> ds.h2cm.plot.latitudes("precipitation").get_ylabel()
    'latitude (°N)'
    """
    array = named(prediction, variable)
    latitude, longitude = places(prediction, array)
    if latitude is None or longitude is None or latitude.ndim > 1 or latitude.dims == longitude.dims:
        remedy = f'out.h2cm.plot.map("{variable}"), or series("{variable}")'
        raise InputError([Finding("land", "is not a grid of latitude and longitude", remedy)])
    pair = alone(prediction, array, "monthly")
    others = [dim for dim in pair.predicted.dims if dim not in ("step", latitude.dims[0])]
    monthly = pair.predicted.mean(others).transpose(latitude.dims[0], "step").assign_attrs(array.attrs)
    look = look_of_variable(variable, monthly, limits=limits)
    ax = ax or canvas((6.4, 4.4))
    numbers = monthly["step"].values
    ends = dates(np.append(numbers, numbers[-1] + 1), False)
    mesh = ax.pcolormesh(ends, edges(latitude.values).clip(-90, 90), masked(monthly.values), **look.drawn)
    ax.set_facecolor(NOTHING)
    who = f", mean of {array.sizes['fold']} folds" if "fold" in array.dims else member_of(prediction)
    name_axes(ax, y=axis_label(latitude, "latitude"))
    time_axis(ax)
    title(ax, f"{variable}, monthly means{who}", array)
    with_bar(mesh, ax, look, "horizontal")
    return ax


def closure(prediction: xr.Dataset, *, ax: Axes | Sequence[Axes] | None = None) -> np.ndarray:
    """Show the residuals of the daily water and carbon budgets, which are rounding errors.

    Parameters
    ----------
    prediction : Dataset
        With ``water_residual``, ``carbon_residual`` or both.
    ax : Axes, or as many of them as there are residuals, optional

    Returns
    -------
    ndarray of Axes
        One for each residual: its range over the land (and folds) and its mean; by month for more than two years.

    Raises
    ------
    InputError
        If there are no residuals, or not as many axes.

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 59), month=slice(0, 2))
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
    >>> out = ds.h2cm.predict(fit, variables=["water_residual", "carbon_residual"])
    >>> len(out.h2cm.plot.closure())
    2
    """
    table = variable_table(Residuals)
    found = [name for name in table if name in prediction]
    if not found:
        remedy = f"out = ds.h2cm.predict(fit, variables={list(table)})"
        raise InputError([Finding("prediction", "has no residuals", remedy)])
    axes = several(ax, len(found), (6.4, 2.6 * len(found)), columns=1)
    months = month_numbers(prediction["time"])
    for name, one in zip(found, axes, strict=True):
        array = prediction[name].drop_vars("time").compute()
        rest = [dim for dim in array.dims if dim != "time"]
        least, mean, most = array.min(rest), array.mean(rest), array.max(rest)
        steps = every_day(prediction["time"])
        if steps.size > DENSE:
            of_month = [line.groupby(xr.DataArray(months, dims="time", name="month")) for line in (least, mean, most)]
            least, mean, most = of_month[0].min(), of_month[1].mean(), of_month[2].max()
            steps = dates(np.unique(months), False)
        one.fill_between(steps, least, most, color=PREDICTED, alpha=BAND, linewidth=0, label="range")
        one.plot(steps, mean, color=PREDICTED, linewidth=0.8, label="mean")
        one.axhline(0, color=OBSERVED, linewidth=0.6)
        one.margins(x=0.02)
        one.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3))
        units = label_of(xr.DataArray(attrs={"units": array.attrs.get("units", table[name].units)}), "residual")
        name_axes(one, y=units)
        time_axis(one)
        title(one, f"daily {name.removesuffix('_residual')} budget, closed to {float(abs(array).max()):.1e}")
        key(one)
    return axes


def losses(fit: Fit, targets: Sequence[str] | None = None, *, ax: Axes | Sequence[Axes] | None = None) -> np.ndarray:
    """Show the losses by epoch, for each target: training and validation, single folds and their mean.

    Parameters
    ----------
    fit : Fit
    targets : sequence of str, optional
        All of ``fit.losses["target"]`` if not given: the total, the targets, and the priors of global constants.
    ax : Axes, or as many of them as targets, optional

    Returns
    -------
    ndarray of Axes

    Raises
    ------
    InputError
        If a target was not trained on, there are no epochs, or not as many axes.

    Examples
    --------
    >>> import xh2cm
    >>> from xh2cm.plots import plots
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 59), month=slice(0, 2))
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
    >>> [ax.get_ylabel() for ax in plots.losses(fit, ["total"])]
    ['loss']
    """
    loss = fit.losses["loss"]
    trained = sorted((str(name) for name in loss["target"].values), key=lambda name: name != "total")
    wanted = trained if targets is None else [targets] if isinstance(targets, str) else list(targets)
    findings = [
        Finding(f"target {name!r}", "was not trained on", closest(name, trained))
        for name in wanted
        if name not in trained
    ]
    if not loss.sizes["epoch"]:
        findings.append(Finding("fit", "holds no losses: it was trained elsewhere", "look at a fit made here"))
    if findings:
        raise InputError(findings)
    columns = min(3, len(wanted))
    rows = -(-len(wanted) // columns)
    axes = several(ax, len(wanted), (3.4 * columns + 1, 2.4 * rows + 0.6), columns=columns)
    for name, one in zip(wanted, axes, strict=True):
        for split, colour in (("training", PREDICTED), ("validation", WORTHLESS)):
            course = loss.sel(target=name, split=split).transpose("epoch", "fold")
            epochs = course["epoch"].values
            line = {"color": colour, "marker": "." if epochs.size < 30 else ""}
            if course.sizes["fold"] > 1:
                one.plot(epochs, course, alpha=BAND, linewidth=0.8, color=colour)
            one.plot(epochs, course.mean("fold"), label=split, **line)
        shown = loss.sel(target=name)
        ratio = float(shown.max() / shown.min()) if shown.min() > 0 else 0.0
        if ratio > 10:
            one.set_yscale("log")
            one.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if ratio < 100 else (1.0,)))
            one.yaxis.set_major_formatter("{x:g}")
            one.yaxis.set_minor_formatter(NullFormatter())
        one.xaxis.get_major_locator().set_params(integer=True)
        one.grid(color=NOTHING)
        name_axes(one, "epoch", "loss")
        title(one, "total loss" if name == "total" else name)
    axes[0].legend(frameon=False, fontsize="small")
    return axes


# -- one page --------------------------------------------------------------------------------------------------------


def overview(
    prediction: xr.Dataset,
    observations: xr.Dataset | None = None,
    *,
    fit: Fit | None = None,
    figure: Figure | None = None,
) -> np.ndarray:
    """Draw an overview: maps, skill and seasonal cycles of the main variables, a series, training, folds, budgets.

    Parameters
    ----------
    prediction : Dataset
    observations : Dataset, optional
        For the maps of skill, and beside the predicted lines.
    fit : Fit, optional
        For its targets, losses and folds.
    figure : Figure, optional

    Returns
    -------
    ndarray of Axes
        Without those of the colour bars.

    Raises
    ------
    InputError
        If the prediction holds no flux and no storage.

    Notes
    -----
    Evapotranspiration comes first, then the trained targets (without a fit: the observed variables), then a variable
    of each other quantity.

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 59), month=slice(0, 2))
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
    >>> len(ds.h2cm.predict(fit).h2cm.plot.overview(ds, fit=fit))
    14
    """
    residuals = {var.name for var in variable_table(Residuals).values()}
    left = sorted((name for name in residuals if name in prediction), reverse=True)
    daily = [str(n) for n, a in prediction.items() if str(n) in KNOWN and str(n) not in residuals and "time" in a.dims]
    if not daily:
        remedy = 'out = ds.h2cm.predict(fit, variables=["ET", "GPP"])'
        raise InputError([Finding("prediction", "holds no flux and no storage", remedy)])
    with computed(marked(prediction[[*daily, *left]], fit)) as held:
        trained = [OUTPUTS[field].name for row in target_fields(fit) for field in row if field in OUTPUTS]
        scores = None if observations is None else score(held, observations)
        scored = [] if scores is None else [str(name) for name in scores["variable"].values]
        shown = main_variables(daily, trained or scored)
        mapped = [] if scores is None else [name for name in shown if name in scored and has_map(scores, name)]
        panels: list[Callable[..., Any]] = [partial(values, held, name) for name in shown]
        skills = [] if scores is None else [partial(skill, scores, name) for name in mapped]
        panels += skills if mapped == shown else []
        seen = {name: observations if name in scored else None for name in shown}
        panels += [partial(lines, held, name, seen[name]) for lines in (season, series) for name in shown]
        panels += skills if mapped != shown else []
        if fit is not None:
            panels += [partial(losses, fit, ["total"])] if fit.losses.sizes["epoch"] else []
            panels += [partial(folds, fit)] if fit.labels is not None else []
        panels += [partial(closure, held[[name]]) for name in left]
        columns = max(2, len(shown))
        size = (4.4 * columns, 3.2 * -(-len(panels) // columns))
        axes = several(None, len(panels), size, columns=columns, figure=figure)
        for panel, ax in zip(panels, axes, strict=True):
            panel(ax=ax)
    if "source" in prediction.attrs:
        axes[0].figure.suptitle(drawable(str(prediction.attrs["source"]), 120), parse_math=False)
    return axes


def has_map(scores: xr.Dataset, variable: str) -> bool:
    """Return whether cells have a monthly efficiency of their own."""
    of_cells = scores["NSE"].sel(variable=variable, scale="monthly")
    return bool({*of_cells.dims} - {"fold"}) and bool(of_cells.notnull().any())


def target_fields(fit: Fit | None) -> list[list[str]]:
    """Return the fields of each target that a fit was trained on, as far as it says."""
    rows = [] if fit is None else fit.provenance.get("targets", [])
    return [[str(field) for field in row["fields"]] for row in rows]


def marked(prediction: xr.Dataset, fit: Fit | None) -> xr.Dataset:
    """Note on fluxes and storages that no training target constrains them."""
    fields = target_fields(fit)
    free = [name for name in unconstrained(fields) if name in prediction] if fields else []
    return prediction.assign({name: prediction[name].assign_attrs(comment=UNCONSTRAINED) for name in free})


def main_variables(daily: Sequence[str], trained: Sequence[str]) -> list[str]:
    """Choose what an overview shows: evapotranspiration, trained targets, one variable of each other quantity."""
    order = sorted(daily, key=lambda name: [*FIRST, name].index(name))
    chosen = [name for name in order if name == "ET" or name in trained][:COLUMNS]
    for name in order:
        if len(chosen) < 3 and KNOWN[name].quantity not in {KNOWN[one].quantity for one in chosen}:
            chosen.append(name)
    return chosen


# -- variables, times and areas --------------------------------------------------------------------------------------


def named(dataset: xr.Dataset, variable: str) -> xr.DataArray:
    """Return a numeric variable, or raise an error that names those there are."""
    usable = [str(name) for name, array in dataset.items() if array.dtype.kind in "fiub"]
    if variable not in usable:
        problem = "is not a numeric variable of the dataset"
        raise InputError([Finding(f"variable {variable!r}", problem, closest(variable, usable))])
    return dataset[variable]


def within(
    array: xr.DataArray, dim: Hashable, time: xr.DataArray, when: str | slice | None
) -> tuple[xr.DataArray, str]:
    """Select the days that are asked for, and put them into words."""
    if when is not None:
        index = time.to_index()
        start, stop = (when.start, when.stop) if isinstance(when, slice) else (when, when)
        try:
            chosen = index.slice_indexer(start, stop)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError([Finding("when", f"{when!r} is not a time: {error}", 'when="2001-07"')]) from None
        array, time = array.isel({dim: chosen}), time[chosen]
    if not time.size:
        raise InputError([Finding("when", f"{when!r} is not among the days", 'when="2001-07", or leave it out')])
    first, last = (label(time[k]).split("T")[0] for k in (0, -1))
    if time.size == 1:
        return array, first
    if time.dt.day[0] == 1 and time.dt.day[-1] == time.dt.days_in_month[-1]:
        whole = slice(4) if (first[5:7], last[5:7]) == ("01", "12") else slice(7)
        first, last = first[whole], last[whole]
    return array, f"mean of {first}" + (f" to {last}" if last != first else "")


def member_of(prediction: xr.Dataset) -> str:
    """Return in words which member of a fit predicted, to follow others."""
    member = prediction.attrs.get("member")
    return "" if member is None else f", {by_whom(str(member))}"


def area_of(dataset: xr.Dataset, array: xr.DataArray) -> xr.DataArray:
    """Return the area of the cells, or ones."""
    land = tuple(dim for dim in array.dims if dim not in ("time", "fold"))
    area = known_area(dataset, array)
    return xr.DataArray(np.ones([array.sizes[dim] for dim in land]), dims=land) if area is None else area


def known_area(dataset: xr.Dataset, array: xr.DataArray) -> xr.DataArray | None:
    """Return the area of the cells, m2, where it is known."""
    land = tuple(dim for dim in array.dims if dim not in ("time", "fold"))
    source = Input(dataset, find_variables(dataset, {}, {}, []), {}, land)
    findings: list[Finding] = []
    area = read_area(source, findings)
    if findings:
        raise InputError(findings)
    area = grid_area(source) if area is None else area
    return None if area is None else area.fillna(0.0).drop_vars(list(area.coords)).compute()


def dates(numbers: np.ndarray, daily: bool) -> np.ndarray:
    """Convert days (32 months + day) or months (since year 0) to dates of the standard calendar."""
    months = (numbers // 32 if daily else numbers) - 12 * 1970
    first = months.astype("datetime64[M]").astype("datetime64[D]")
    return first + (numbers % 32 - 1).astype("timedelta64[D]") if daily else first


def every_day(time: xr.DataArray) -> np.ndarray:
    """Convert days of any calendar to dates of the standard calendar."""
    return dates(month_numbers(time) * 32 + time.dt.day.values, True)


class Plots:
    """Figures of a dataset, as ``out.h2cm.plot``; each takes ``ax=`` and returns matplotlib axes.

    Parameters
    ----------
    dataset : Dataset
        A prediction; data for `map`; scores for `skill`.

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin")
    >>> ax = ds.h2cm.plot.map("air_temperature")
    >>> ax.get_xlabel()
    'longitude (°E)'
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    map = Method(values)
    skill = Method(skill)
    season = Method(season)
    series = Method(series)
    latitudes = Method(latitudes)
    closure = Method(closure)
    overview = Method(overview)
