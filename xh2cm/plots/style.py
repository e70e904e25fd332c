"""Colours, labels and axes of figures, in one style."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from xh2cm.data.folds import TEST
from xh2cm.errors import Finding, InputError
from xh2cm.targets import UNCONSTRAINED
from xh2cm.text import printable
from xh2cm.variables import FORCING, OUTPUTS, SOURCES, STATIC, TARGETS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "BAND",
    "KNOWN",
    "NOTHING",
    "OBSERVED",
    "PREDICTED",
    "WORTHLESS",
    "Look",
    "axis_label",
    "canvas",
    "drawable",
    "key",
    "label_of",
    "look_of_folds",
    "look_of_score",
    "look_of_variable",
    "masked",
    "name_axes",
    "plain_style",
    "png",
    "pretty",
    "several",
    "time_axis",
    "title",
    "usual_limits",
    "with_bar",
]

COLOURS: Mapping[str, tuple[str, str]] = {
    "water flux": ("YlGnBu", "BrBG"),
    "water amount": ("YlGnBu", "BrBG"),
    "carbon flux": ("YlGn", "PuOr_r"),
    "temperature": ("inferno", "RdBu_r"),
    "radiation": ("inferno", "RdBu_r"),
}
"""Colour maps by quantity, for one sign and for both signs. All are safe for colour-blind readers."""

OTHER_COLOURS = ("viridis", "RdBu_r")

PALEST = {"YlGnBu": 0.12, "YlGn": 0.15}
"""Colour maps begin here, so that their palest colour differs from paper and from missing values."""

FOLD_COLOURS = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499", "#661100",
)  # fmt: skip
"""Qualitative colours for up to ten folds, after Tol (2021), safe for colour-blind readers."""

KNOWN = {var.name: var for var in [*FORCING.values(), *SOURCES.values(), *TARGETS.values(), *OUTPUTS.values()]}
"""Variables by public name."""

EFFICIENCIES = ("NSE", "KGE", "r")
"""Scores of which 1 is best and 0 has no skill."""

WORTHLESS = "#D55E00"
"""Colour of scores below 0: an orange that stands out from blue and yellow to all readers."""

NOTHING = "0.88"
"""Colour of missing values and of cells outside the land."""

PREDICTED, OBSERVED = "#0072B2", "black"

BAND = 0.3
"""Opacity of the range over folds and of single folds."""

WIDTH = 32
"""Characters of a line beside an axis."""

LONGEST = 120
"""Characters of a label or title; the rest is left out."""


# -- text ------------------------------------------------------------------------------------------------------------


def drawable(text: str, width: int = WIDTH) -> str:
    """Wrap text for a figure, with control characters shown; labels from data may hold anything."""
    shown = printable(text)
    return textwrap.fill(shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…", width)


def pretty(units: str) -> str:
    """Format units with raised exponents: ``kg m-2 d-1`` as ``kg m⁻² d⁻¹``."""
    place = {STATIC["latitude"].units: "°N", STATIC["longitude"].units: "°E"}
    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    return place.get(units) or re.sub(r"(?<=[A-Za-z])(?<!\d[eE])-?\d+", lambda found: found[0].translate(raised), units)


def label_of(array: xr.DataArray, name: str, more: str = "") -> str:
    """Return long name and units, from the attributes or else from the table; no units for a pure number."""
    known = KNOWN.get(name, STATIC.get(name))
    about = {**(known.attrs if known else {}), **array.attrs}
    units = pretty(str(about.get("units", "no units given"))).replace(" ", "\N{NO-BREAK SPACE}")
    return f"{about.get('long_name', name)}{more}" + (f" ({units})" if units not in ("1", "") else "")


def axis_label(array: xr.DataArray, name: str) -> str:
    """Return the label of an axis of the land, or its name where it has no units."""
    return label_of(array, name) if "units" in array.attrs or name in STATIC else name


def name_axes(ax: Axes, x: str | None = None, y: str | None = None) -> None:
    """Label axes with text that is never read as mathematics."""
    if x is not None:
        ax.set_xlabel(drawable(x, 60), parse_math=False)
    if y is not None:
        ax.set_ylabel(drawable(y), parse_math=False)


def title(ax: Axes, text: str, array: xr.DataArray | None = None) -> None:
    """Write a title, which says where no target constrains what is shown."""
    free = array is not None and UNCONSTRAINED in str(array.attrs.get("comment", ""))
    ax.set_title(drawable(f"{text} ({UNCONSTRAINED})" if free else text, 46), fontsize="medium", parse_math=False)


def key(ax: Axes) -> None:
    """Add a legend in a strip above the lines."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.25 * (high - low))
    legend = ax.legend(frameon=False, fontsize="small", ncols=2, loc="upper center")
    for text in legend.get_texts():
        text.set_parse_math(False)
        text.set_text(drawable(text.get_text()))


def time_axis(ax: Axes) -> None:
    """Set few dates along the time axis."""
    where = AutoDateLocator(minticks=3, maxticks=7)
    ax.xaxis.set_major_locator(where)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(where, show_offset=False))
    ax.set_xlabel("time")


# -- colours ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Look:
    """Colours of a map, and the label of their bar."""

    drawn: Mapping[str, Any]
    label: str
    extend: Literal["neither", "both", "min", "max"] = "neither"
    ticks: tuple[Sequence[float], Sequence[str]] | None = None


def look_of_variable(variable: str, array: xr.DataArray, *, limits: tuple[float, float] | None = None) -> Look:
    """Return colours by quantity, centred on zero where there are both signs (of temperatures never)."""
    known = KNOWN.get(variable)
    one_sign, both_signs = COLOURS.get(known.quantity if known else "", OTHER_COLOURS)
    if variable == "fAPAR":
        one_sign = "YlGn"
    low, high = limits or usual_limits(array.values)
    centred = low < 0 < high and min(-low, high) > 0.05 * (high - low) and str(array.attrs.get("units")) != "degC"
    if centred and limits is None:
        low, high = -max(-low, high), max(-low, high)
    downward = low < -abs(high) and known is not None and known.quantity.endswith("flux")  # the larger the darker
    shades = both_signs if centred else f"{one_sign}_r" if downward else one_sign
    return coloured(array, shades, low, high, label_of(array, variable))


def look_of_score(metric: str, array: xr.DataArray, *, limits: tuple[float, float] | None = None) -> Look:
    """Return colours of a score: from no skill to perfect, centred on the best value, or from least to most."""
    label = label_of(array, metric)
    if metric in EFFICIENCIES:
        low, high = limits or (0.0, 1.0)
        return coloured(array, mpl.colormaps["cividis"].with_extremes(under=WORTHLESS), low, high, label)
    low, high = limits or usual_limits(array.values)
    if metric == "RMSE":
        return coloured(array, "viridis", low, high, label)
    best = 0.0 if metric == "bias" else 1.0
    if limits is None:
        most = max(best - low, high - best)
        low, high = best - most, best + most
    return coloured(array, "RdBu_r", low, high, label)


def coloured(array: xr.DataArray, colours: str | Colormap, low: float, high: float, label: str) -> Look:
    """Return colours between two limits."""
    if not low < high:
        low, high = low - (abs(low) or 1.0) / 20, high + (abs(high) or 1.0) / 20
    beyond = (bool((array < low).any()), bool((array > high).any()))
    extend: Any = {(True, True): "both", (True, False): "min", (False, True): "max"}.get(beyond, "neither")
    if isinstance(colours, str):
        shades: Colormap = mpl.colormaps[colours]
        if palest := PALEST.get(colours.removesuffix("_r")):
            shown = np.linspace(0, 1 - palest, 256) if colours.endswith("_r") else np.linspace(palest, 1, 256)
            shades = ListedColormap(shades(shown), name=colours)
    else:
        shades = colours
    return Look({"cmap": shades, "vmin": low, "vmax": high}, label, extend)


def look_of_folds(array: xr.DataArray) -> Look:
    """Return a colour for each fold, and grey for what is set aside as a test."""
    there = [int(number) for number in np.unique(array.values[array.notnull().values])]
    count = max(1, *(number + 1 for number in there))
    colours: list[Any] = list(FOLD_COLOURS[:count])
    if count > len(FOLD_COLOURS):
        colours = [*mpl.colormaps["viridis"](np.linspace(0, 1, count))]
    first = TEST if TEST in there else 0
    colours = ["0.5", *colours] if first == TEST else colours
    numbers = range(first, count)
    norm = BoundaryNorm(np.arange(first - 0.5, count + 0.5), len(colours))
    names = ["test" if number == TEST else str(number) for number in numbers]
    drawn = {"cmap": ListedColormap(colours), "norm": norm}
    return Look(drawn, "held out in fold", ticks=(list(numbers), names))


def usual_limits(numbers: np.ndarray) -> tuple[float, float]:
    """Return limits that hold all numbers, or 96 % of them where the others lie far out."""
    finite = numbers[np.isfinite(numbers)]
    low, high = float(finite.min()), float(finite.max())
    inner = [float(x) for x in np.quantile(finite, [0.02, 0.98])]
    return (inner[0], inner[1]) if 0 < 2 * (inner[1] - inner[0]) < high - low else (low, high)


def with_bar(mesh: Any, ax: Axes, look: Look, orientation: Literal["horizontal", "vertical"]) -> None:
    """Add a colour bar."""
    room: Any = {"shrink": 0.9, "aspect": 35} if orientation == "horizontal" else {}
    bar = ax.figure.colorbar(mesh, ax=ax, orientation=orientation, extend=look.extend, **room)
    bar.set_label(drawable(look.label, 46 if orientation == "horizontal" else 30), parse_math=False)
    if look.ticks:
        bar.set_ticks(look.ticks[0], labels=look.ticks[1])
        bar.ax.minorticks_off()
    else:
        bar.locator = MaxNLocator(5)
        bar.update_ticks()


def masked(numbers: np.ndarray) -> np.ma.MaskedArray:
    """Mask numbers that are not finite."""
    return np.ma.masked_invalid(numbers.astype(float))


# -- axes ------------------------------------------------------------------------------------------------------------


def canvas(size: tuple[float, float]) -> Axes:
    """Return axes on a figure of their own."""
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
    """Return as many axes as are needed: those given, or on a figure of their own."""
    if ax is None:
        rows = -(-count // columns)
        if figure is None:
            figure = plt.figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.07, w_pad=0.06))
        return np.array([figure.add_subplot(rows, columns, k + 1) for k in range(count)])
    axes = np.ravel(np.asarray(ax, dtype=object))
    if axes.size != count:
        problem = f"{axes.size} given where {count} are needed"
        raise InputError([Finding("ax", problem, f"figure, ax = plt.subplots({count})")])
    return axes


# -- figures for pages -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def plain_style() -> Iterator[None]:
    """Draw as on white paper, whatever style the user has chosen for the screen."""
    with mpl.style.context("default"):
        yield


def png(draw: Callable[[], Any], *, dpi: float) -> tuple[bytes, str]:
    """Draw a figure as PNG and describe it in words; it is closed afterwards.

    Parameters
    ----------
    draw : callable
        Returns axes, or several.
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
    """Describe axes: their title, and the range of each line, surface or set of bars."""
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
    return f"{ax.get_title()}; {label}: {', '.join(told) or 'no values'}".replace("\n", " ")


def ranged(values: np.ma.MaskedArray) -> str:
    """Return lowest and highest."""
    return f"{float(values.min()):.3g} to {float(values.max()):.3g}"
