"""Parameters that are pinned instead of inferred: to a number, to a map, or to one learned constant of the domain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xh2cm.data.align import align
from xh2cm.data.read_land import place
from xh2cm.data.times import time_dimension
from xh2cm.data.units import conversion
from xh2cm.errors import Finding, InputError, closest
from xh2cm.model.hybrid import PIN_REMEDY, is_number, pin_findings
from xh2cm.model.model import spelled_out
from xh2cm.variables import OUTPUTS, Parameter, Var

__all__ = ["Pin", "Pins", "read_pins", "spelled_out", "variables_of"]

Pin = float | str | xr.DataArray
"""A number; a map, or the name of a variable that is one; or ``"global"``."""

QUANTITIES = {var.units: var.quantity for var in OUTPUTS.values()}
"""What a parameter of some units measures: conversions are allowed for these."""


class Pins(NamedTuple):
    """Pinned parameters: by name the number, ``"map"`` or ``"global"``, and the maps on the land of the data."""

    how: dict[str, float | str]
    maps: xr.Dataset


def variables_of(pin: Mapping[str, Any], ds: xr.Dataset) -> list[str]:
    """Return the variables of a dataset that are pinned maps, and therefore not static features.

    Parameters
    ----------
    pin : mapping of str to Pin
    ds : Dataset

    Returns
    -------
    list of str
    """
    named = {value for value in pin.values() if isinstance(value, str) and value != "global"}
    taken = {id(value.variable) for value in pin.values() if isinstance(value, xr.DataArray)}
    return [str(n) for n in ds.data_vars if n in named or id(ds.variables[n]) in taken]


def read_pins(pin: Mapping[str, Any], parameters: Iterable[Parameter], ds: xr.Dataset, mask: xr.DataArray) -> Pins:
    """Read the numbers and maps that parameters are pinned to.

    Parameters
    ----------
    pin : mapping of str to Pin
        From `spelled_out`.
    parameters : iterable of Parameter
        Those that may be pinned.
    ds : Dataset
        The user's, in which maps may be named.
    mask : DataArray
        Usable cells, which every map must cover.

    Returns
    -------
    Pins

    Raises
    ------
    InputError
        If a parameter is unknown, a number or map outside its bounds, a map daily, elsewhere, or with holes; all
        findings at once.
    """
    findings: list[Finding] = []
    how: dict[str, Any] = {}
    maps = {}
    named = {p.name: p for p in parameters}
    for name, given in pin.items():
        value = given
        if isinstance(given, str) and given != "global":
            if given not in ds.variables:
                problem = f"is {given!r}, which the dataset does not hold"
                remedy = f"{closest(given, [str(n) for n in ds.data_vars])} Or {PIN_REMEDY}"
                findings.append(Finding(f"pin {name}", problem, remedy))
                continue
            value = ds[given]
        if isinstance(value, xr.DataArray):
            found = on_land(value, mask, name, named.get(name))
            if isinstance(found, Finding):
                findings.append(found)
            else:
                findings += value_findings(found, mask, name, named.get(name))
                maps[name] = found
            value = "map"
        how[name] = float(value) if is_number(value) else value
    findings += pin_findings(how, named)
    if findings:
        raise InputError(findings)
    attrs = {name: {"long_name": named[name].long_name, "units": named[name].units} for name in maps}
    whole = {name: array.assign_coords(mask.coords).assign_attrs(attrs[name]) for name, array in maps.items()}
    return Pins(how, xr.Dataset(whole))


def on_land(array: xr.DataArray, mask: xr.DataArray, name: str, p: Parameter | None) -> xr.DataArray | Finding:
    """Align a map with the land, by coordinates where there are some and else by position, in its units.

    Parameters
    ----------
    array, mask : DataArray
    name : str
        Of the parameter.
    p : Parameter or None
        None if there is no such parameter.

    Returns
    -------
    DataArray or Finding
        Float32, without coordinates, on the axes of the mask; or why it does not fit.
    """
    said = f"pin {name}"
    if array.dtype.kind not in "fiu":
        return Finding(said, f"holds {array.dtype}, no numbers", PIN_REMEDY)
    factor = 1.0 if p is None else scale_to(p, array.attrs.get("units"), said)
    if isinstance(factor, Finding):
        return factor
    day = "time" if "time" in array.dims else time_dimension(array)
    if day is not None:
        remedy = f'pin its mean: .mean("{day}"); what changes from day to day is left to the networks'
        return Finding(said, f"varies along {day!r}, and a pin is one number, or one for each cell", remedy)
    here = f'give it on this land: pin={{"{name}": ...}}, as .interp_like(...) or .reindex_like(...) makes it'
    if strange := [
        dim for dim in array.dims if dim not in mask.dims and not (dim in array.indexes and dim in mask.coords)
    ]:
        problem = f"lies on the axes {axes(array)}, and the land on {axes(mask)}: it has {strange[0]!r} besides"
        return Finding(said, problem, here)
    if not array.ndim and mask.ndim:
        remedy = f'if it is meant as one number: pin={{"{name}": float(...)}}'
        return Finding(said, f"lies on the axes {axes(array)}, and the land on {axes(mask)}", remedy)
    try:
        found = align(array, mask, said, on=mask.dims, what="the land", remedy=here)
    except InputError as error:
        return error.findings[0]
    return (factor * found.drop_vars(list(found.coords)).transpose(*mask.dims)).astype("float32").compute()


def scale_to(p: Parameter, units: object, said: str) -> float | Finding:
    """Return the factor that converts units to those of a parameter; 1 where no units are stated."""
    if units is None or str(units).strip() == p.units:
        return 1.0
    if p.units in QUANTITIES:
        try:
            return conversion(p.name, units, Var(p.name, p.long_name, p.units, QUANTITIES[p.units]))[0]
        except InputError:
            pass
    remedy = f'convert it, or if it is already, say so: .assign_attrs(units="{p.units}")'
    return Finding(said, f"is in {str(units)!r}, and {p.name} in {p.units!r}", remedy)


def value_findings(array: xr.DataArray, mask: xr.DataArray, name: str, p: Parameter | None) -> list[Finding]:
    """Return findings about missing values of a map, and values outside the bounds of its parameter."""
    values, usable = array.values, mask.values

    def where(cells: np.ndarray) -> tuple[str, str]:
        """Describe the number of affected usable cells, and the first of them."""
        return f"{cells.sum():,} of {usable.sum():,} usable cells", place(mask, int(np.flatnonzero(cells)[0]))

    holes = usable & ~np.isfinite(values)
    found = []
    if holes.any():
        cells, first = where(holes)
        remedy = "fill it, .fillna(...), or leave these cells out: mask=..."
        found.append(Finding(f"pin {name}", f"has no value in {cells}, the first at {first}", remedy))
    if p is not None and (outside := usable & ~holes & ~p.holds(values)).any():
        cells, first = where(outside)
        limits = f"{p.lower:g}" if np.isinf(p.upper) else f"{p.lower:g}, {p.upper:g}"
        problem = f"is in {cells} not {p.range}: the first {values[outside][0]:g}, at {first}"
        found.append(Finding(f"pin {name}", problem, f"correct it, or .clip({limits})"))
    return found


def axes(array: xr.DataArray) -> str:
    """The axes of a map, to be read."""
    return f"({', '.join(map(str, array.dims))})"
