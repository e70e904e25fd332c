"""How numbers look and where they lie: colours by quantity, labels with units, land as a map, as points or as bars.

Coastlines are drawn where cartopy has them on its disk already; nothing is ever downloaded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import re
import textwrap
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xh2cm.data.folds import TEST
from xh2cm.data.match import find_variables
from xh2cm.errors import Finding, H2CMWarning, InputError
from xh2cm.variables import FORCING, OUTPUTS, SOURCES, STATIC, TARGETS

try:
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import MaxNLocator
except ModuleNotFoundError as error:
    raise InputError([Finding("pictures", f"need {error.name}", "pip install 'xh2cm[plot]'")]) from None

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "BAND",
    "BELOW",
    "KNOWN",
    "NOTHING",
    "OBSERVED",
    "PREDICTED",
    "Look",
    "canvas",
    "edges",
    "keyed",
    "labelled",
    "look",
    "look_of_folds",
    "look_of_score",
    "masked",
    "on_days",
    "on_land",
    "places",
    "plain_style",
    "png",
    "several",
    "titled",
    "with_bar",
]

COLOURS: Mapping[str, tuple[str, str]] = {
    "water flux": ("YlGnBu", "BrBG"),
    "water amount": ("YlGnBu", "BrBG"),
    "carbon flux": ("YlGn", "PuOr_r"),
    "temperature": ("inferno", "RdBu_r"),
    "radiation": ("inferno", "RdBu_r"),
}
"""Colour maps by quantity: of what has one sign, and of what has both. All of them safe for colour-blind readers."""

OTHER_COLOURS = ("viridis", "RdBu_r")

KNOWN = {var.name: var for var in [*FORCING.values(), *SOURCES.values(), *TARGETS.values(), *OUTPUTS.values()]}
"""What is known of a variable by its public name."""

EFFICIENCIES = ("NSE", "KGE", "r")
"""Scores of which 1 is best and 0 is worthless."""

BELOW = "#D55E00"
"""Colour of what is worse than worthless: an orange that stands out from blue and yellow to all eyes."""

NOTHING = "0.9"
"""Colour of land without a value, and of what is no land."""

PREDICTED, OBSERVED = "#0072B2", "black"

BAND = 0.3
"""Opacity of the range over folds."""

WIDTH = 32
"""Letters of a line beside an axis."""

TALL = 1.2

MOST_NAMES = 40
"""Bars that can have their names below them."""


# -- how a number looks ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Look:
    """Colours, and what is written beside them."""

    drawn: Mapping[str, Any]
    label: str
    extend: Literal["neither", "both", "min", "max"] = "neither"
    ticks: tuple[Sequence[float], Sequence[str]] | None = None


def look(variable: str, array: xr.DataArray, *, limits: tuple[float, float] | None = None) -> Look:
    """Colours of a variable by its quantity, about zero where it has both signs; of temperatures never."""
    known = KNOWN.get(variable)
    one_sign, both_signs = COLOURS.get(known.quantity if known else "", OTHER_COLOURS)
    low, high = limits or usual(array.values)
    centred = low < 0 < high and min(-low, high) > 0.05 * (high - low) and str(array.attrs.get("units")) != "degC"
    if centred and limits is None:
        low, high = -max(-low, high), max(-low, high)
    downward = low < -abs(high) and known is not None and known.quantity.endswith("flux")  # the larger the darker
    shades = both_signs if centred else f"{one_sign}_r" if downward else one_sign
    return coloured(array, shades, low, high, labelled(array, variable))


def look_of_score(metric: str, array: xr.DataArray, *, limits: tuple[float, float] | None = None) -> Look:
    """Colours of a score: from worthless to best, about what is best, or from least to most."""
    label = labelled(array, metric)
    if metric in EFFICIENCIES:
        low, high = limits or (0.0, 1.0)
        return coloured(array, mpl.colormaps["cividis"].with_extremes(under=BELOW), low, high, label)
    low, high = limits or usual(array.values)
    if metric == "RMSE":
        return coloured(array, "viridis", low, high, label)
    best = 0.0 if metric == "bias" else 1.0
    if limits is None:
        most = max(best - low, high - best)
        low, high = best - most, best + most
    return coloured(array, "RdBu_r", low, high, label)


def coloured(array: xr.DataArray, colours: str | Colormap, low: float, high: float, label: str) -> Look:
    """The look of numbers between two limits."""
    if not low < high:
        low, high = low - (abs(low) or 1.0) / 20, high + (abs(high) or 1.0) / 20
    beyond = (bool((array < low).any()), bool((array > high).any()))
    extend: Any = {(True, True): "both", (True, False): "min", (False, True): "max"}.get(beyond, "neither")
    shades = mpl.colormaps[colours] if isinstance(colours, str) else colours
    return Look({"cmap": shades, "vmin": low, "vmax": high}, label, extend)


def look_of_folds(array: xr.DataArray) -> Look:
    """A colour for each fold, and grey for cells put aside for a test."""
    there = [int(number) for number in np.unique(array.values[array.notnull().values])]
    count = max(1, *(number + 1 for number in there))
    colours: list[Any] = [*mpl.colormaps["viridis"](np.linspace(0, 1, count))]
    first = TEST if TEST in there else 0
    colours = ["0.5", *colours] if first == TEST else colours
    numbers = range(first, count)
    norm = BoundaryNorm(np.arange(first - 0.5, count + 0.5), len(colours))
    names = ["test" if number == TEST else str(number) for number in numbers]
    drawn = {"cmap": ListedColormap(colours), "norm": norm}
    return Look(drawn, labelled(array, "fold"), ticks=(list(numbers), names))


def usual(numbers: np.ndarray) -> tuple[float, float]:
    """Limits that hold all numbers, or 96 % of them where the others lie far out."""
    finite = numbers[np.isfinite(numbers)]
    low, high = float(finite.min()), float(finite.max())
    inner = [float(x) for x in np.quantile(finite, [0.02, 0.98])]
    return (inner[0], inner[1]) if 0 < 2 * (inner[1] - inner[0]) < high - low else (low, high)


def pretty(units: str) -> str:
    """Units as they are printed: ``kg m-2 d-1`` with raised exponents."""
    place = {STATIC["latitude"].units: "°N", STATIC["longitude"].units: "°E"}
    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    return place.get(units) or re.sub(r"(?<=[A-Za-z])(?<!\d[eE])-?\d+", lambda found: found[0].translate(raised), units)


def labelled(array: xr.DataArray, name: str, more: str = "") -> str:
    """Long name and units, from the attributes, or else from the table."""
    known = KNOWN.get(name, STATIC.get(name))
    about = {**(known.attrs if known else {}), **array.attrs}
    units = pretty(str(about.get("units", "no units given"))).replace(" ", "\N{NO-BREAK SPACE}")
    return textwrap.fill(f"{about.get('long_name', name)}{more} ({units})", WIDTH)


def titled(ax: Axes, title: str) -> None:
    """Write what is shown above it."""
    ax.set_title(textwrap.fill(title, 44), fontsize="medium")


def keyed(ax: Axes) -> None:
    """Say which line is which, in a strip above them."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.3 * (high - low))
    ax.legend(frameon=False, fontsize="small", ncols=2, loc="upper center")


def on_days(ax: Axes) -> None:
    """Few dates, which do not run into each other."""
    where = AutoDateLocator(minticks=3, maxticks=6)
    ax.xaxis.set_major_locator(where)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(where, show_offset=False))
    ax.set_xlabel("time (date)")


# -- where it lies ---------------------------------------------------------------------------------------------------


def on_land(
    dataset: xr.Dataset, array: xr.DataArray, look_at: Callable[[xr.DataArray], Look], title: str, ax: Axes | None
) -> Axes:
    """Show numbers where they lie: a grid as a map, places as points, what has no place as bars."""
    name = str(array.name)
    if not 1 <= array.ndim <= 2:
        problem = f"lies on {array.dims or 'no axis of the land'}, which no map shows"
        remedy = "print it: fit.constants() for learned ones" if not array.ndim else "select one of each other axis"
        raise InputError([Finding(name, problem, remedy)])
    latitude, longitude = places(dataset, array)
    array = array.compute()
    if not np.isfinite(array.values.astype(float)).any():
        raise InputError([Finding(name, "holds no number there", "show another variable or time")])
    seen = look_at(array)
    if array.ndim == 1 and (latitude is None or longitude is None):
        return bars(array, seen, title, ax)
    ax = ax or canvas((6.4, 4.0))
    ax.set_facecolor(NOTHING)
    mesh: Any
    projected = {} if not hasattr(ax, "projection") else {"transform": plate_carree()}
    if latitude is None or longitude is None:
        y, x = (axis_of(dataset, dim) for dim in array.dims)
        mesh = ax.pcolormesh(edges(x.values), edges(y.values), masked(array.values), **seen.drawn)
        ax.set(xlabel=labelled(x, str(x.name)), ylabel=labelled(y, str(y.name)), aspect="equal")
    else:
        east = continuous(longitude.values.astype(float))
        north = latitude.values.astype(float)
        if array.ndim == 1:
            size = float(np.clip(3000 / array.size, 8, 70))
            ax.set_facecolor("white")
            mesh = ax.scatter(
                east,
                north,
                c=array.values.astype(float),
                s=size,
                plotnonfinite=True,
                edgecolors="0.3",
                linewidths=0.3,
                zorder=2,
                **{**seen.drawn, "cmap": seen.drawn["cmap"].with_extremes(bad=NOTHING)},
                **projected,
            )
            ax.margins(0.08)
        elif latitude.ndim == 2:
            shown = masked(array.transpose(*latitude.dims).values)
            mesh = ax.pcolormesh(east, north, shown, shading="nearest", **seen.drawn, **projected)
        else:
            order = np.argsort(east, kind="stable")
            shown = masked(array.transpose(*latitude.dims, *longitude.dims).values[:, order])
            rows = edges(north).clip(-90, 90)
            mesh = ax.pcolormesh(edges(east[order]), rows, shown, **seen.drawn, **projected)
        if projected:
            ax.gridlines(draw_labels=True, color="0.7", linewidth=0.4)  # type: ignore[attr-defined]
        else:
            ax.set(xlabel=labelled(longitude, "longitude"), ylabel=labelled(latitude, "latitude"))
            middle, height = np.nanmean(north), np.ptp(north[np.isfinite(north)])
            ax.set_aspect(1 / np.cos(np.deg2rad(middle)) if height < 60 else 1, adjustable="box")
        with_coastlines(ax, bool(projected))
    titled(ax, title)
    with_bar(mesh, ax, seen, "vertical" if is_tall(ax) else "horizontal")
    return ax


def is_tall(ax: Axes) -> bool:
    """Whether a map is clearly higher than wide: a bar below it would leave it little room."""
    aspect = ax.get_aspect()
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    return not isinstance(aspect, str) and abs(high - low) * aspect > TALL * abs(right - left)


def bars(array: xr.DataArray, seen: Look, title: str, ax: Axes | None) -> Axes:
    """One bar for each place that lies nowhere."""
    ax = ax or canvas((6.4, 3.6))
    (dim,) = array.dims
    numbers = np.arange(array.size)
    if seen.ticks:
        ax.scatter(numbers, array.values, c=array.values, marker="s", **seen.drawn)
    else:
        ax.bar(numbers, array.values, color=PREDICTED)
    if dim in array.coords and array.size <= MOST_NAMES:
        ax.set_xticks(numbers, [str(name) for name in array[dim].values], rotation=90, fontsize="small")
        ax.set_xlabel(str(dim))
    else:
        ax.set_xlabel(f"{dim} (its number)")
    ax.set_ylabel(seen.label)
    if seen.ticks:
        ax.set_yticks(*seen.ticks)
    titled(ax, title)
    return ax


def with_bar(mesh: Any, ax: Axes, seen: Look, orientation: Literal["horizontal", "vertical"]) -> None:
    """Add the bar that says what the colours are."""
    room: Any = {"shrink": 0.9, "aspect": 35} if orientation == "horizontal" else {}
    bar = ax.figure.colorbar(mesh, ax=ax, label=seen.label, orientation=orientation, extend=seen.extend, **room)
    if seen.ticks:
        bar.set_ticks(seen.ticks[0], labels=seen.ticks[1])
        bar.ax.minorticks_off()
    else:
        bar.locator = MaxNLocator(5)
        bar.update_ticks()


def with_coastlines(ax: Axes, projected: bool) -> None:
    """Add coastlines where cartopy has them already: it would otherwise download them when a figure is drawn."""
    limits = ax.get_xlim(), ax.get_ylim()
    lines = coastlines()
    if projected and lines:
        from shapely.geometry import LineString

        ax.add_geometries(  # type: ignore[attr-defined]
            [LineString(line) for line in lines], plate_carree(), facecolor="none", edgecolor="0.3", linewidth=0.5
        )
    elif lines:
        twice = [line + np.array([turn, 0.0]) for line in lines for turn in (0.0, 360.0)]
        ax.add_collection(LineCollection(twice, colors="0.3", linewidths=0.5, zorder=3), autolim=False)
        ax.set(xlim=limits[0], ylim=limits[1])


def coastlines() -> list[np.ndarray]:
    """Coastlines of Natural Earth as (point, 2) in degrees; none where cartopy or its files are not there."""
    if importlib.util.find_spec("cartopy") is None:
        return []
    from cartopy import config
    from cartopy.io.shapereader import Reader

    source = config["downloaders"]["shapefiles", "natural_earth"]
    which = {"config": config, "category": "physical", "name": "coastline", "resolution": "110m", "extension": "shp"}
    for path in (source.pre_downloaded_path(which), source.target_path(which)):
        if path is not None and path.exists():
            try:
                shapes = [part for shape in Reader(path).geometries() for part in getattr(shape, "geoms", [shape])]
                return [np.asarray(part.coords)[:, :2] for part in shapes]
            except Exception as error:  # a map is whole without, and a damaged file may fail anywhere in its reader
                text = f"no coastlines, as {path} cannot be read ({error}): delete it, and let cartopy load it again"
                warnings.warn(text, H2CMWarning, stacklevel=2)
    return []


def plate_carree() -> Any:
    """Longitude and latitude, for axes of cartopy."""
    from cartopy.crs import PlateCarree

    return PlateCarree()


def places(dataset: xr.Dataset, array: xr.DataArray) -> tuple[xr.DataArray | None, xr.DataArray | None]:
    """Latitude and longitude on the land axes of a variable, by CF attributes or common names; both or neither."""
    found = find_variables(dataset, {}, {}, [])
    sides = []
    for key in ("latitude", "longitude"):
        names = [match.source for match in found.get(key, [])]
        near = [dataset[name] for name in names if dataset[name].dims and {*dataset[name].dims} <= {*array.dims}]
        sides.append(near[0] if near else None)
    latitude, longitude = sides
    if latitude is None or longitude is None:
        return None, None
    return latitude, longitude


def axis_of(dataset: xr.Dataset, dim: Hashable) -> xr.DataArray:
    """Numbers along a dimension: its coordinate where it has one, else counted."""
    if dim in dataset.coords and dataset[dim].dtype.kind in "fiu":
        return dataset[dim].astype(float)
    counted = np.arange(float(dataset.sizes.get(dim, 0)))
    return xr.DataArray(counted, dims=(dim,), name=dim, attrs={"units": "number"})


def continuous(east: np.ndarray) -> np.ndarray:
    """Longitudes from -180 to 180, or from 0 to 360 where land then lies closer together."""
    west_east, eastward = (east + 180) % 360 - 180, east % 360
    return (
        eastward
        if np.nanmax(eastward) - np.nanmin(eastward) < np.nanmax(west_east) - np.nanmin(west_east)
        else west_east
    )


def edges(centres: np.ndarray) -> np.ndarray:
    """Bounds halfway between centres, and as far beyond the first and last; of a single one half a unit away."""
    if centres.size == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    inner = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - inner[0]], inner, [2 * centres[-1] - inner[-1]]])


def masked(numbers: np.ndarray) -> np.ma.MaskedArray:
    """Numbers that are there."""
    return np.ma.masked_invalid(numbers.astype(float))


# -- axes ------------------------------------------------------------------------------------------------------------


def canvas(size: tuple[float, float]) -> Axes:
    """Axes on a figure of their own."""
    _, ax = plt.subplots(figsize=size, layout="constrained")
    return ax


def several(
    ax: Axes | Sequence[Axes] | None,
    count: int,
    size: tuple[float, float],
    *,
    columns: int,
    figure: Figure | None = None,
) -> np.ndarray:
    """As many axes as are needed: those given, or on a figure of their own."""
    if ax is None:
        rows = -(-count // columns)
        figure = figure or plt.figure(figsize=size, layout="constrained")
        return np.array([figure.add_subplot(rows, columns, k + 1) for k in range(count)])
    axes = np.ravel(np.asarray(ax, dtype=object))
    if axes.size != count:
        problem = f"{axes.size} given where {count} are needed"
        raise InputError([Finding("ax", problem, f"figure, ax = plt.subplots({count})")])
    return axes


# -- pictures for pages ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def plain_style() -> Iterator[None]:
    """Draw as on white paper, whatever style the user has chosen for the screen."""
    with mpl.style.context("default"):
        yield


def png(draw: Callable[[], Any], *, dpi: float) -> tuple[bytes, str]:
    """Draw a figure as PNG, and put what it shows into words; it is closed afterwards.

    Parameters
    ----------
    draw : callable
        Gives axes, or several.
    dpi : float

    Returns
    -------
    bytes, str
    """
    before = {*plt.get_fignums()}
    try:
        axes = np.ravel(np.asarray(draw(), dtype=object))
        buffer = io.BytesIO()
        axes[0].figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight")
        return buffer.getvalue(), ". ".join(map(in_words, axes))
    finally:
        for number in {*plt.get_fignums()} - before:
            plt.close(number)


def in_words(ax: Axes) -> str:
    """What axes show: their title, and the range of each line, surface or set of bars."""
    told, label = [], str(ax.get_ylabel())
    for line in ax.get_lines():
        heights = masked(np.asarray(line.get_ydata(), dtype=float))
        if not str(line.get_label()).startswith("_") and heights.count():
            told.append(f"{line.get_label()} {ranged(heights)}")
    for artist in ax.collections:
        colours, bar = artist.get_array(), getattr(artist, "colorbar", None)
        if colours is not None and bar is not None and np.ma.count(colours):
            label = str(bar.ax.get_xlabel() or bar.ax.get_ylabel())
            told.append(ranged(masked(np.ma.filled(np.ma.asarray(colours, dtype=float), np.nan))))
    if bars := [patch.get_height() for patch in ax.patches if hasattr(patch, "get_height")]:
        told.append(ranged(masked(np.array(bars))))
    return f"{ax.get_title()}; {label}: {', '.join(told) or 'nothing'}".replace("\n", " ")


def ranged(values: np.ma.MaskedArray) -> str:
    """Lowest and highest."""
    return f"{float(values.min()):.3g} to {float(values.max()):.3g}"
