"""Numbers on the land: a grid as a map, places as points, and land without coordinates as bars.

Coastlines are drawn where cartopy has them on its disk already; nothing is ever downloaded.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import MaxNLocator

from xh2cm.data.match import find_variables
from xh2cm.errors import Finding, H2CMWarning, InputError
from xh2cm.plots.style import (
    NOTHING,
    PREDICTED,
    Look,
    axis_label,
    canvas,
    drawable,
    masked,
    name_axes,
    title,
    with_bar,
)

__all__ = ["edges", "on_land", "places"]

TALL = 1.2
"""A map is tall where it is higher than wide by this factor: its colour bar then stands beside it."""

MOST_BARS = 40
"""Largest number of bars with names below them."""

MOST_NAMES = 12
"""Largest number of points with names beside them."""


def on_land(
    dataset: xr.Dataset, array: xr.DataArray, look_at: Callable[[xr.DataArray], Look], text: str, ax: Axes | None
) -> Axes:
    """Draw numbers on the land, in the colours that ``look_at`` gives, under a title.

    Parameters
    ----------
    dataset : Dataset
        Holds the coordinates.
    array : DataArray
        On one or two axes of the land.
    look_at : callable
    text : str
        The title.
    ax : Axes or None

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        Other axes than those of the land, or no number.
    """
    name = str(array.name)
    if not 1 <= array.ndim <= 2:
        problem = f"lies on {', '.join(map(str, array.dims)) or 'no axis of the land'}, which no map shows"
        remedy = "print it: fit.constants() for learned ones" if not array.ndim else "select one of each other axis"
        raise InputError([Finding(name, problem, remedy)])
    latitude, longitude = places(dataset, array)
    array = array.compute()
    if not np.isfinite(array.values.astype(float)).any():
        raise InputError([Finding(name, "holds no number there", "show another variable or time")])
    look = look_at(array)
    if array.ndim == 1 and (latitude is None or longitude is None):
        return bars(array, look, text, ax)
    ax = ax or canvas((6.4, 4.0))
    ax.set_facecolor(NOTHING)
    mesh: Any
    projected = {} if not hasattr(ax, "projection") else {"transform": plate_carree()}
    if latitude is None or longitude is None:
        y, x = (axis_of(dataset, dim) for dim in array.dims)
        mesh = ax.pcolormesh(edges(x.values), edges(y.values), masked(array.values), **look.drawn)
        name_axes(ax, axis_label(x, str(x.name)), axis_label(y, str(y.name)))
        ax.set_aspect("equal")
    else:
        east = continuous(longitude.values.astype(float))
        north = latitude.values.astype(float)
        if array.ndim == 1:
            mesh = points(array, east, north, look, ax, projected)
        elif latitude.ndim == 2:
            shown = masked(array.transpose(*latitude.dims).values)
            mesh = ax.pcolormesh(east, north, shown, shading="nearest", **look.drawn, **projected)
        else:
            order = np.argsort(east, kind="stable")
            shown = masked(array.transpose(*latitude.dims, *longitude.dims).values[:, order])
            rows = edges(north).clip(-90, 90)
            mesh = ax.pcolormesh(edges(east[order]), rows, shown, **look.drawn, **projected)
        if projected:
            ax.gridlines(draw_labels=True, color="0.7", linewidth=0.4)  # type: ignore[attr-defined]
        else:
            name_axes(ax, axis_label(longitude, "longitude"), axis_label(latitude, "latitude"))
            middle, height = np.nanmean(north), np.ptp(north[np.isfinite(north)])
            ax.set_aspect(1 / np.cos(np.deg2rad(middle)) if height < 60 else 1, adjustable="box")
            ax.xaxis.set_major_locator(MaxNLocator(2 if is_tall(ax) else 6))
        with_coastlines(ax, bool(projected))
    title(ax, text, array)
    with_bar(mesh, ax, look, "vertical" if is_tall(ax) else "horizontal")
    return ax


def points(
    array: xr.DataArray, east: np.ndarray, north: np.ndarray, look: Look, ax: Axes, projected: dict[str, Any]
) -> Any:
    """Draw places as points, with their names where they are few."""
    ax.set_facecolor("white")
    mesh = ax.scatter(
        east,
        north,
        c=array.values.astype(float),
        s=float(np.clip(3000 / array.size, 8, 70)),
        plotnonfinite=True,
        edgecolors="0.2",
        linewidths=0.4,
        zorder=2,
        **{**look.drawn, "cmap": look.drawn["cmap"].with_extremes(bad=NOTHING)},
        **projected,
    )
    (dim,) = array.dims
    few = array.size <= MOST_NAMES and dim in array.coords and array[dim].dtype.kind in "OUT"
    ax.margins(0.15 if few else 0.08)
    if few:
        write_names([str(name) for name in array[dim].values], east, north, ax, projected)
    return mesh


def write_names(names: list[str], east: np.ndarray, north: np.ndarray, ax: Axes, projected: dict[str, Any]) -> None:
    """Write names beside points, on the side away from the nearest other point."""
    place = {"xycoords": projected["transform"]._as_mpl_transform(ax)} if projected else {}
    west, width = np.nanmin(east), max(np.ptp(east[np.isfinite(east)]), 1e-9)

    def across(x: float) -> float:
        return float((x - west) / width)

    far = np.hypot(east[:, None] - east, north[:, None] - north)
    np.fill_diagonal(far, np.inf)
    for name, x, y, distance in zip(names, east, north, far, strict=True):
        if np.isfinite([x, y]).all():
            crowded = np.isfinite(distance).any() and east[np.nanargmin(distance)] > x
            left = across(x) > 0.8 or (crowded and across(x) > 0.2)
            side: dict[str, Any] = {"xytext": (-5 if left else 5, 4), "ha": "right" if left else "left"}
            text = drawable(name)
            ax.annotate(text, (x, y), textcoords="offset points", fontsize="x-small", parse_math=False, **side, **place)


def is_tall(ax: Axes) -> bool:
    """Return whether a map is clearly higher than wide: a bar below it would leave it little room."""
    aspect = ax.get_aspect()
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    return not isinstance(aspect, str) and abs(high - low) * aspect > TALL * abs(right - left)


def bars(array: xr.DataArray, look: Look, text: str, ax: Axes | None) -> Axes:
    """Draw one bar for each place without coordinates."""
    ax = ax or canvas((6.4, 3.6))
    (dim,) = array.dims
    numbers = np.arange(array.size)
    if look.ticks:
        ax.scatter(numbers, array.values, c=array.values, marker="s", **look.drawn)
        ax.set_yticks(*look.ticks)
    else:
        ax.bar(numbers, array.values, color=PREDICTED)
    named = dim in array.coords and array.size <= MOST_BARS
    if named:
        names = [drawable(str(name)) for name in array[dim].values]
        ax.set_xticks(numbers, names, rotation=90, fontsize="small", parse_math=False)
    name_axes(ax, str(dim) if named else f"number along {dim}", look.label)
    title(ax, text, array)
    return ax


def with_coastlines(ax: Axes, projected: bool) -> None:
    """Add coastlines where cartopy has them already; it would otherwise download them when a figure is drawn."""
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
    """Return coastlines of Natural Earth as (point, 2) in degrees; none where cartopy or its files are absent."""
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
            except Exception as error:  # a map is complete without, and a damaged file may fail anywhere in its reader
                text = f"no coastlines: {path} cannot be read ({error}); delete it and let cartopy load it again"
                warnings.warn(text, H2CMWarning, stacklevel=2)
    return []


def plate_carree() -> Any:
    """Return the projection of longitude and latitude, for axes of cartopy."""
    from cartopy.crs import PlateCarree

    return PlateCarree()


def places(dataset: xr.Dataset, array: xr.DataArray) -> tuple[xr.DataArray | None, xr.DataArray | None]:
    """Find latitude and longitude on the land axes of a variable, by CF attributes or common names; both or neither."""
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
    """Return numbers along a dimension: its coordinate, or a count."""
    if dim in dataset.coords and dataset[dim].dtype.kind in "fiu":
        return dataset[dim].astype(float)
    counted = np.arange(float(dataset.sizes.get(dim, 0)))
    return xr.DataArray(counted, dims=(dim,), name=dim)


def continuous(east: np.ndarray) -> np.ndarray:
    """Return longitudes from -180 to 180, or from 0 to 360 where land then lies closer together."""
    west_east, eastward = (east + 180) % 360 - 180, east % 360
    nearer = np.ptp(eastward[np.isfinite(east)]) < np.ptp(west_east[np.isfinite(east)]) - 1e-6
    return eastward if nearer else west_east


def edges(centres: np.ndarray) -> np.ndarray:
    """Return bounds halfway between centres, and as far beyond the first and last; half a unit for a single one."""
    if centres.size == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    inner = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - inner[0]], inner, [2 * centres[-1] - inner[-1]]])
