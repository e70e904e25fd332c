"""Pictures of predictions, scores and fits, each on matplotlib axes, with units on every one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xh2cm.data.match import closest, find_variables
from xh2cm.data.read_land import grid_area, read_area
from xh2cm.data.reading import Input
from xh2cm.data.times import datetime_dimensions, label, month_numbers
from xh2cm.errors import Finding, InputError
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
from xh2cm.plots.maps import (
    BAND,
    BELOW,
    KNOWN,
    NOTHING,
    OBSERVED,
    PREDICTED,
    canvas,
    edges,
    keyed,
    labelled,
    look,
    look_of_folds,
    look_of_score,
    masked,
    on_days,
    on_land,
    places,
    several,
    titled,
    with_bar,
)
from xh2cm.variables import Residuals, variable_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from xh2cm.fitted import Fit

__all__ = ["Plots", "closure", "folds", "latitudes", "losses", "overview", "season", "series", "skill", "values"]

MONTHS = "JFMAMJJASOND"


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
        A day, month or year, ``"2001-07-14"`` or ``"2001-07"``, or a slice of them; the mean of all time if not given.
    limits : (float, float), optional
        Of the colours. If not given all values have a colour of their own, but where a few lie far from the others:
        then 96 % have, and the bar ends in an arrow.
    ax : Axes, optional
        Also one of cartopy, in any projection.

    Returns
    -------
    Axes
        A grid as a map; towers and catchments as points where they have latitude and longitude, else as bars.

    Raises
    ------
    InputError
        A variable or time that is not there, nothing to show, or no land to show it on.

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
    told = [variable]
    for dim in times:
        name = datetime_dimensions(dataset)[dim]
        array, days = within(array, dim, dataset[name], when)
        told.append(days)
    if when is not None and not times:
        raise InputError([Finding("when", f"{variable} does not vary in time", "leave it out")])
    if "fold" in array.dims:
        told.append(f"mean of {array.sizes['fold']} folds")
    elif member := dataset.attrs.get("member"):
        told.append(by_whom(member))
    about = dict(array.attrs)
    array = array.mean([dim for dim in array.dims if dim in times or dim == "fold"]).assign_attrs(about)
    return on_land(dataset, array, partial(look, variable, limits=limits), ", ".join(told), ax)


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
        What ``out.h2cm.score(ds)`` gives.
    variable : str
    metric : str
        One of `xh2cm.evaluate.scores.METRICS`.
    scale : {"daily", "monthly", "seasonal", "interannual", "mean"}
    limits : (float, float), optional
        Of the colours. Efficiencies and correlations go from 0 to 1 if not given, and are orange below.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        What has not been scored.

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 59), month=slice(0, 2))
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
    >>> scores = ds.h2cm.predict(fit, variables=["ET"], member="held-out").h2cm.score(ds)
    >>> scores.h2cm.plot.skill("ET", metric="bias").get_title()
    'ET, monthly'
    """
    findings = []
    known = [str(name) for name in scores.get("variable", xr.DataArray([], dims="variable")).values]
    if not {*METRICS} <= {*scores.data_vars}:
        findings.append(Finding("scores", "are none", "scores = out.h2cm.score(ds)"))
    elif variable not in known:
        findings.append(Finding(f"variable {variable!r}", "has not been scored", closest(variable, known)))
    if metric not in METRICS:
        findings.append(Finding("metric", f"{metric!r} is unknown", closest(metric, METRICS)))
    if scale not in SCALES:
        findings.append(Finding("scale", f"{scale!r} is unknown", closest(scale, SCALES)))
    if findings:
        raise InputError(findings)
    one = scores[metric].sel(variable=variable, scale=scale)
    told = [variable, scale]
    if "fold" in one.dims:
        told.append(f"median of {one.sizes['fold']} folds")
        one = one.median("fold", keep_attrs=True)
    if "units" in scores[metric].attrs:
        one.attrs["units"] = scores[metric].attrs["units"]
    else:
        one.attrs["units"] = str(one["units"].item())
    return on_land(scores, one, partial(look_of_score, metric, limits=limits), ", ".join(told), ax)


def folds(labels: xr.DataArray | Fit, *, ax: Axes | None = None) -> Axes:
    """Show which fold does not see what: places on a map, years on a line.

    Parameters
    ----------
    labels : DataArray or Fit
        As ``ds.h2cm.folds()`` or ``fit.labels`` has them.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        No labels.

    Examples
    --------
    >>> import xh2cm
    >>> from xh2cm.plots import plots
    >>> ds = xh2cm.tutorial.open_dataset("twin")
    >>> plots.folds(ds.h2cm.folds(3, scheme="cells")).get_title()
    'folds (scheme cells)'
    """
    found = labels if isinstance(labels, xr.DataArray) else labels.labels
    if found is None or not found.notnull().any():
        raise InputError([Finding("labels", "there are none", "give ds.h2cm.folds(), or a fit made with folds")])
    found = found.compute()
    title = f"folds (scheme {found.attrs['scheme']})" if "scheme" in found.attrs else "folds"
    told = found.assign_attrs({"long_name": "fold that does not see it"} | found.attrs | {"units": "number"})
    if "time" not in found.dims:
        return on_land(xr.Dataset(coords=found.coords), told, look_of_folds, title, ax)
    if ax is None:
        ax = canvas((7.0, 2.6))
    told = told.transpose("time", ...)
    cells = told.values.reshape(told.sizes["time"], -1).T
    days = every_day(found["time"])
    seen = look_of_folds(told)
    ends = np.append(days, days[-1] + 1)
    mesh = ax.pcolormesh(ends, np.arange(len(cells) + 1) + 0.5, masked(cells), **seen.drawn)
    if len(cells) == 1:
        ax.set_yticks([])
    ax.set_ylabel("all land" if len(cells) == 1 else "land (number of the cell)")
    on_days(ax)
    titled(ax, title)
    with_bar(mesh, ax, seen, "horizontal")
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
    """Draw the mean seasonal cycle, of all land by area, beside what was observed.

    Parameters
    ----------
    prediction : Dataset
        Daily; select cells beforehand to look at them alone. Where there is a dimension ``fold``, its range is shaded.
    variable : str
    observations : Dataset, optional
        On the same land. Only what has both is compared, as in `xh2cm.evaluate.scores.score`.
    names, units : optional
        What is what in the observations, as for `check`.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        A variable that is not there, or was not observed.

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 59), month=slice(0, 2))
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
    >>> ds.h2cm.predict(fit).h2cm.plot.season("ET", ds).get_xlabel()
    'month of the year'
    """
    lines = beside(prediction, variable, observations, "seasonal", names, units)
    ax = drawn(lines, lines.predicted["step"].values + 1, ax)
    ax.set_xticks(range(1, 13), list(MONTHS))
    ax.set_xlabel("month of the year")
    titled(ax, f"{variable}, seasonal cycle")
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
    """Draw the course over time, of all land by area, beside what was observed.

    Parameters
    ----------
    prediction, variable, observations, names, units, ax
        As for `season`.
    scale : {"daily", "monthly", "interannual"}
        Days, months, or months less their mean seasonal cycle.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        A variable that is not there, or was not observed at this scale.

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 59), month=slice(0, 2))
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
    >>> every = ds.h2cm.predict(fit, member="all")
    >>> [line.get_label() for line in every.h2cm.plot.series("ET", ds).get_lines()]
    ['mean of 2 folds', 'observed']
    """
    lines = beside(prediction, variable, observations, scale, names, units)
    ax = drawn(lines, dates(lines.predicted["step"].values, scale == "daily"), ax)
    on_days(ax)
    titled(ax, f"{variable}, {scale}")
    return ax


@dataclasses.dataclass(frozen=True)
class Lines:
    """Means over the land along ``step``, the prediction perhaps along ``fold``, and how they are spoken of."""

    predicted: xr.DataArray
    observed: xr.DataArray | None
    label: str
    who: str
    cells: int


def beside(
    prediction: xr.Dataset,
    variable: str,
    observations: xr.Dataset | None,
    scale: Scale,
    names: Mapping[str, str | float] | None,
    units: Mapping[str, str] | None,
) -> Lines:
    """Lay a variable beside what was observed of it, at a scale, as means of the land."""
    if scale not in SCALES[:4]:
        raise InputError([Finding("scale", f"{scale!r} is no course over time", closest(scale, SCALES[:4]))])
    array = named(prediction, variable)
    if observations is None:
        pair, area = alone(prediction, array, scale), area_of(prediction, array)
        level = True
    else:
        pairs = pair_up(prediction, observations, [variable], names, units)
        record, area = pairs.series[variable], pairs.area
        found = at_scale(record, scale)
        if found is None:
            problem = f"was not observed often enough to be looked at by {scale} values"
            raise InputError([Finding(variable, problem, 'season(...), or scale="monthly"')])
        pair, level = found, record.compare != "anomaly"
    predicted, observed = (
        side.weighted(area).mean(area.dims).dropna("step", how="all") for side in (pair.predicted, pair.observed)
    )
    if not observed.size:
        raise InputError([Finding(variable, f"has no {scale} values to show", "look at another scale or time")])
    several = predicted.sizes.get("fold")
    about = labelled(array, variable) if level and scale != "interannual" else labelled(array, variable, ", anomaly")
    return Lines(
        predicted,
        None if observations is None else observed,
        about,
        f"mean of {several} folds" if several else f"predicted{member_of(prediction)}",
        int(pair.observed.notnull().any("step").sum()),
    )


def alone(dataset: xr.Dataset, array: xr.DataArray, scale: Scale) -> Together:
    """A variable at a scale that nothing is laid beside."""
    if "time" not in array.dims or "time" not in datetime_dimensions(dataset):
        problem = "does not vary from day to day"
        raise InputError([Finding(str(array.name), problem, f'out.h2cm.plot.map("{array.name}")')])
    daily = array.drop_vars(list(array.coords)).rename(time="step").compute()
    daily = daily.assign_coords(step=month_numbers(dataset["time"]) * 32 + dataset["time"].dt.day.values)
    same = daily.mean("fold") if "fold" in daily.dims else daily
    found = at_scale(Series(together(daily, same), "day", ""), scale)
    assert found is not None  # noqa: S101  (days reach every scale)
    return found


def drawn(lines: Lines, steps: np.ndarray, ax: Axes | None) -> Axes:
    """Draw the lines."""
    ax = ax or canvas((6.4, 4.4))
    predicted = lines.predicted
    if "fold" in predicted.dims:
        least, most = predicted.min("fold"), predicted.max("fold")
        ax.fill_between(steps, least, most, color=PREDICTED, alpha=BAND, linewidth=0, label="range of the folds")
        predicted = predicted.mean("fold")
    ax.plot(steps, predicted, color=PREDICTED, label=lines.who)
    if lines.observed is not None:
        ax.plot(steps, lines.observed, color=OBSERVED, linestyle="--", marker=".", markersize=4, label="observed")
    ax.set_ylabel(lines.label)
    ax.margins(x=0.02)
    ax.grid(color=NOTHING)
    keyed(ax)
    return ax


# -- latitudes, budgets, training ------------------------------------------------------------------------------------


def latitudes(
    prediction: xr.Dataset,
    variable: str,
    *,
    limits: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Show the monthly means of each latitude over time (a Hovmöller diagram).

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
        Other land than such a grid, or a variable that does not vary in time.

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
    if (
        latitude is None
        or longitude is None
        or not latitude.ndim == longitude.ndim == 1
        or latitude.dims == longitude.dims
    ):
        remedy = f'out.h2cm.plot.map("{variable}"), or series("{variable}")'
        raise InputError([Finding("land", "is no grid of latitude and longitude", remedy)])
    pair = alone(prediction, array, "monthly")
    others = [dim for dim in pair.predicted.dims if dim not in ("step", latitude.dims[0])]
    monthly = pair.predicted.mean(others).transpose(latitude.dims[0], "step").assign_attrs(array.attrs)
    seen = look(variable, monthly, limits=limits)
    ax = ax or canvas((6.4, 4.4))
    numbers = monthly["step"].values
    ends = dates(np.append(numbers, numbers[-1] + 1), False)
    mesh = ax.pcolormesh(ends, edges(latitude.values).clip(-90, 90), masked(monthly.values), **seen.drawn)
    ax.set_facecolor(NOTHING)
    who = f", mean of {array.sizes['fold']} folds" if "fold" in array.dims else member_of(prediction)
    ax.set_ylabel(labelled(latitude, "latitude"))
    on_days(ax)
    titled(ax, f"{variable}, monthly{who}")
    with_bar(mesh, ax, seen, "horizontal")
    return ax


def closure(prediction: xr.Dataset, *, ax: Axes | Sequence[Axes] | None = None) -> np.ndarray:
    """Show what the water and carbon budgets leave unexplained on each day: nothing but rounding.

    Parameters
    ----------
    prediction : Dataset
        With ``water_residual``, ``carbon_residual`` or both.
    ax : Axes, or as many of them as there are residuals, optional

    Returns
    -------
    ndarray of Axes
        One for each residual: its range over the land (and folds), and the mean.

    Raises
    ------
    InputError
        No residuals, or not as many axes.

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
    for name, one in zip(found, axes, strict=True):
        array = prediction[name].compute()
        rest = [dim for dim in array.dims if dim != "time"]
        days = every_day(prediction["time"])
        one.fill_between(
            days, array.min(rest), array.max(rest), color=PREDICTED, alpha=BAND, linewidth=0, label="range"
        )
        one.plot(days, array.mean(rest), color=PREDICTED, linewidth=0.8, label="mean")
        one.axhline(0, color=OBSERVED, linewidth=0.6)
        one.margins(x=0.02)
        one.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3))
        one.set_ylabel(labelled(array, name))
        on_days(one)
        titled(one, f"{name}, at most {float(abs(array).max()):.1e}")
        keyed(one)
    return axes


def losses(fit: Fit, targets: Sequence[str] | None = None, *, ax: Axes | Sequence[Axes] | None = None) -> np.ndarray:
    """Show the losses by epoch, one picture a target: training and validation, each fold and their mean.

    Parameters
    ----------
    fit : Fit
    targets : sequence of str, optional
        All of ``fit.losses["target"]`` if not given, ``"total"`` and what is known of constants among them.
    ax : Axes, or as many of them as targets, optional

    Returns
    -------
    ndarray of Axes

    Raises
    ------
    InputError
        A target that was not trained on, no epochs, or not as many axes.

    Examples
    --------
    >>> import xh2cm
    >>> from xh2cm.plots import plots
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 59), month=slice(0, 2))
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
    >>> [ax.get_ylabel() for ax in plots.losses(fit, ["total"])]
    ['loss (1)']
    """
    loss = fit.losses["loss"]
    trained = [str(name) for name in loss["target"].values]
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
        for split, colour in (("training", PREDICTED), ("validation", BELOW)):
            course = loss.sel(target=name, split=split).transpose("epoch", "fold")
            epochs = course["epoch"].values
            line = {"color": colour, "marker": "." if epochs.size < 30 else ""}
            if course.sizes["fold"] > 1:
                one.plot(epochs, course, alpha=BAND, linewidth=0.8, color=colour)
            one.plot(epochs, course.mean("fold"), label=split, **line)
        shown = loss.sel(target=name)
        if 10 * shown.min() < shown.max() and shown.min() > 0:
            one.set_yscale("log")
        one.xaxis.get_major_locator().set_params(integer=True)
        one.grid(color=NOTHING)
        one.set(xlabel="epoch (1)", ylabel="loss (1)")
        titled(one, name)
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
    """Draw one page: maps and seasonal cycles of a water flux, a storage and a carbon flux, skill, training, budgets.

    Parameters
    ----------
    prediction : Dataset
    observations : Dataset, optional
        For the seasonal cycles, and a map of skill.
    fit : Fit, optional
        For its losses and folds.
    figure : Figure, optional

    Returns
    -------
    ndarray of Axes
        Without those of the colour bars.

    Raises
    ------
    InputError
        Nothing in the prediction that is known.

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 59), month=slice(0, 2))
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
    >>> len(ds.h2cm.predict(fit).h2cm.plot.overview(ds, fit=fit))
    9
    """
    residual = {var.name for var in variable_table(Residuals).values()}
    daily = [n for n, a in prediction.items() if str(n) in KNOWN and str(n) not in residual and "time" in a.dims]
    firsts = {KNOWN[str(name)].quantity: str(name) for name in reversed(daily)}
    shown = [str(name) for name in daily if name in firsts.values()][:3]
    if not shown:
        remedy = 'out = ds.h2cm.predict(fit, variables=["ET", "GPP"])'
        raise InputError([Finding("prediction", "holds no flux and no storage", remedy)])
    panels: list[Callable[..., Any]] = [partial(values, prediction, name) for name in shown]
    scores = None if observations is None else score(prediction, observations)
    scored = [] if scores is None else [str(name) for name in scores["variable"].values]
    panels += [partial(season, prediction, name, observations if name in scored else None) for name in shown]
    latitude, longitude = places(prediction, prediction[shown[0]])
    on_grid = latitude is not None and longitude is not None and latitude.dims != longitude.dims
    panels.append(partial(latitudes if on_grid else series, prediction, shown[0]))
    if scores is not None:
        monthly = scores["NSE"].sel(scale="monthly")
        panels += [partial(skill, scores, name) for name in scored if monthly.sel(variable=name).notnull().any()][:1]
    if fit is not None:
        panels += [partial(losses, fit, ["total"])] if fit.losses.sizes["epoch"] else []
        panels += [partial(folds, fit)] if fit.labels is not None else []
    left = [name for name in residual if name in prediction]
    panels += [partial(closure, prediction[[name]]) for name in sorted(left, reverse=True)]
    columns = max(3, len(shown)) if len(shown) > 1 else 2
    rows = -(-len(panels) // columns)
    size = (4.4 * columns, 3.1 * rows)
    axes = several(None, len(panels), size, columns=columns, figure=figure)
    for panel, ax in zip(panels, axes, strict=True):
        panel(ax=ax)
    if "source" in prediction.attrs:
        axes[0].figure.suptitle(str(prediction.attrs["source"]))
    return axes


# -- what is there ---------------------------------------------------------------------------------------------------


def named(dataset: xr.Dataset, variable: str) -> xr.DataArray:
    """A variable of numbers, or an error that says what there is."""
    usable = [str(name) for name, array in dataset.items() if array.dtype.kind in "fiub"]
    if variable not in usable:
        raise InputError([Finding(f"variable {variable!r}", "is not there as numbers", closest(variable, usable))])
    return dataset[variable]


def within(
    array: xr.DataArray, dim: Hashable, time: xr.DataArray, when: str | slice | None
) -> tuple[xr.DataArray, str]:
    """The part of a variable that is asked for, and how it is spoken of."""
    if when is not None:
        index = time.to_index()
        try:
            chosen = (
                index.slice_indexer(when.start, when.stop)
                if isinstance(when, slice)
                else index.slice_indexer(when, when)
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError([Finding("when", f"{when!r} is no time: {error}", 'when="2001-07"')]) from None
        array, time = array.isel({dim: chosen}), time[chosen]
    if not time.size:
        raise InputError([Finding("when", f"{when!r} is not among the days", 'when="2001-07", or leave it out')])
    first, last = (label(time[k]).split("T")[0] for k in (0, -1))
    return array, first if time.size == 1 else f"mean of {first} to {last}"


def member_of(prediction: xr.Dataset) -> str:
    """Who predicted, in words that follow others."""
    member = prediction.attrs.get("member")
    return "" if member is None else f", {by_whom(member)}"


def area_of(dataset: xr.Dataset, array: xr.DataArray) -> xr.DataArray:
    """Area of the cells, or ones."""
    land = tuple(dim for dim in array.dims if dim not in ("time", "fold"))
    area = known_area(dataset, array)
    return xr.DataArray(np.ones([array.sizes[dim] for dim in land]), dims=land) if area is None else area


def known_area(dataset: xr.Dataset, array: xr.DataArray) -> xr.DataArray | None:
    """Area of the cells, m2, where it is known."""
    land = tuple(dim for dim in array.dims if dim not in ("time", "fold"))
    source = Input(dataset, find_variables(dataset, {}, {}, []), {}, land)
    findings: list[Finding] = []
    area = read_area(source, findings)
    if findings:
        raise InputError(findings)
    area = grid_area(source) if area is None else area
    return None if area is None else area.fillna(0.0).drop_vars(list(area.coords)).compute()


def dates(numbers: np.ndarray, daily: bool) -> np.ndarray:
    """Days (32 months + day) or months (since year 0) as dates of the usual calendar."""
    months = (numbers // 32 if daily else numbers) - 12 * 1970
    first = months.astype("datetime64[M]").astype("datetime64[D]")
    return first + (numbers % 32 - 1).astype("timedelta64[D]") if daily else first


def every_day(time: xr.DataArray) -> np.ndarray:
    """Days as dates of the usual calendar, whatever their own."""
    return dates(month_numbers(time) * 32 + time.dt.day.values, True)


class Plots:
    """``out.h2cm.plot``: pictures of this dataset; each takes ``ax=`` and returns matplotlib axes.

    Parameters
    ----------
    dataset : Dataset
        A prediction, or, for `values`, data; for `skill` scores.

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
