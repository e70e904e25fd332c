"""Units at the door: what a file says becomes the unit of the table, or a finding that says how to state it.

Conversions between quantities (a depth of water into its mass, latent heat into evaporation, moles into grams of
carbon) are allowed per variable, from `Var.quantity`, never for all: with water allowed everywhere a carbon flux in
``g m-2 d-1`` would silently become millimetres.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import functools
import logging
import re
from collections.abc import Mapping
from numbers import Real

import pint
import xarray as xr

from xh2cm.errors import Finding, InputError
from xh2cm.variables import Quantity, Var

__all__ = ["SPELLINGS", "amount_units", "conversion", "to_canonical"]

SPELLINGS: Mapping[Quantity, tuple[str, ...]] = {
    "radiation": ("W m-2", "MJ m-2 day-1", "J m-2 day-1", "J m-2 hour-1"),
    "water flux": ("mm day-1", "kg m-2 s-1", "kg m-2 day-1", "m day-1", "inch day-1", "m s-1", "mm hour-1", "m hour-1"),
    "water amount": ("mm", "kg m-2", "cm", "m"),
    "carbon flux": ("gC m-2 day-1", "kg m-2 s-1", "umolCO2 m-2 s-1", "g m-2 day-1"),
    "temperature": ("K", "degC", "degF"),
    "pressure": ("hPa", "kPa", "Pa"),
    "mole fraction": ("ppm", "1e-6", "mol mol-1", "umol mol-1"),
    "fraction": ("1", "%"),
    "area": ("m2", "km2", "acres"),
    "length": ("m", "km", "ft"),
    "angle": ("degrees_north", "degrees_east"),
    "any": (),
}
"""Units to suggest for a quantity, the likeliest first; whatever converts into the canonical unit works too."""

_BRIDGES: Mapping[Quantity, tuple[tuple[float, str], ...]] = {
    "water flux": ((1000.0, "kg m-3"),),  # density of water
    "water amount": ((1000.0, "kg m-3"),),
    "carbon flux": ((1.0, "g gcarbon-1"), (12.011, "g mol-1")),  # molar mass of carbon
}
_LATENT_HEAT = (1 / 2.45, "kg MJ-1")  # as the model uses it
_EVAPORATION = "surface_upward_latent_heat_flux"  # a variable also known by this name may come as latent heat

_NUMBER = re.compile(r"(10(?:\^|\*\*)-?\d+|\d+\.?\d*(?:[eE][-+]?\d+)?)?\s*(.*)")
_DIMENSIONLESS = {"fraction", "unitless", "none", "-", "proportion", "dimensionless"}
_WORDS = (
    (re.compile(r"\s+per\s+"), "/"),
    (re.compile(r"(?:\bdeg(?:rees?)?[ _]*|[°º] ?)([CFK])\b"), r"deg\1"),  # read apart, it is an angle times a unit
    (re.compile(r"(?<=[A-Za-z0-9])\.(?=[A-Za-z])"), " "),  # UDUNITS multiplies with a dot
    (re.compile(r"(?<=mol)[ _]?(CO2|C)\b"), ""),  # one carbon in each molecule
    (re.compile(r"\b([kMGTPmuµμ]?g)[ _]?CO2\b"), r"\1carbondioxide"),
    (re.compile(r"\b([kMGTPmuµμ]?g)[ _]?C\b"), r"\1carbon"),
)
_OF_WATER = re.compile(r"\s*(of )?\b(liquid )?(water equivalent|water|H2O|w\.? ?e\.?)(?![A-Za-z])")
_PER_STEP = re.compile(r"\s*(?:/|\bper\b)?\s*\(?(?:time[ _-]?)?steps?\)?(?:\^?-1)?$", re.IGNORECASE)
_MONTH = re.compile(r"\bmon(th)?s?(?=\b|\d)", re.IGNORECASE)
_MASS = re.compile(r"\b[kmuµμ]?g(?=\b|\d)")


def to_canonical(array: xr.DataArray, var: Var, units: str | None = None, axis: str = "time") -> xr.DataArray:
    """Convert an array to the canonical units of a variable, lazily.

    Parameters
    ----------
    array : DataArray
        Named as the user named it; what it says about itself is in ``attrs["units"]``.
    var : Var
        The variable of the table it is.
    units : str, optional
        The units it is in, stated by the user; taken before ``attrs["units"]``.
    axis : str
        What the user calls its time axis, for the error.

    Returns
    -------
    DataArray
        float32 (float64 stays), same dimensions and coordinates, with the attributes of the table, and where they
        differ ``original_name`` and ``original_units``. Dask arrays stay Dask arrays.

    Raises
    ------
    InputError
        Where the units are missing, unknown, ambiguous, or those of another quantity.

    Examples
    --------
    >>> import xarray as xr
    >>> from xh2cm.data.units import to_canonical
    >>> from xh2cm.variables import FORCING
    >>> rain = xr.DataArray([0.0, 1e-4], dims="time", name="pr", attrs={"units": "kg m-2 s-1"})
    >>> to_canonical(rain, FORCING["precipitation"]).values.round(3).tolist()
    [0.0, 8.64]
    """
    name = var.name if array.name is None else str(array.name)
    stated = array.attrs.get("units") if units is None else units
    if var.quantity == "any" and not var.units:  # in whatever units it comes
        var = dataclasses.replace(var, units=str(stated or "1"))
        stated = var.units
        scale, offset = 1.0, 0.0
    else:
        scale, offset = conversion(name, stated, var, axis)
    values = array if array.dtype.kind == "f" else array.astype("float32")
    if (scale, offset) != (1.0, 0.0):
        values = values * scale + offset
    # Old attributes (valid_range, cell_methods...) and encoding (scale_factor...) speak of the old numbers.
    converted = values.drop_encoding().rename(var.name)
    converted.attrs = dict(var.attrs)
    if name != var.name:
        converted.attrs["original_name"] = name
    if stated is not None and str(stated).strip() != var.units:
        converted.attrs["original_units"] = str(stated).strip()
    stored = array.attrs  # what a published layout is standardised by stays with the numbers, in their new units
    if all(isinstance(stored.get(key), Real) for key in ("mean", "std")):
        converted.attrs |= {"mean": float(stored["mean"]) * scale + offset, "std": float(stored["std"]) * scale}
    return converted


def conversion(name: str, units: object, var: Var, axis: str = "time") -> tuple[float, float]:
    """Scale and offset that turn numbers in ``units`` into the canonical units of ``var``.

    Parameters
    ----------
    name : str
        What the user calls the variable, for the error.
    units : object
        What the file or the user says the units are; None where nothing is said.
    var : Var
    axis : str
        What the user calls its time axis.

    Returns
    -------
    scale, offset : float
        ``canonical = scale * number + offset``

    Raises
    ------
    InputError
        Where the units are missing, unknown, ambiguous, or those of another quantity.

    Examples
    --------
    >>> from xh2cm.data.units import conversion
    >>> from xh2cm.variables import FORCING
    >>> conversion("tair", "degC", FORCING["air_temperature"])
    (1.0, 273.15)
    """
    text = "" if units is None else str(units).strip()
    if not text:
        raise _refusal(name, "has no units", spellings(var)[0], var)
    if "flux" in var.quantity and _MONTH.search(text):
        problem = f"is in {text!r}, and months are 28 to 31 days long"
        per_day = _MONTH.sub("day", text)
        array = f'ds["{name}"]'
        remedy = f'{array} = {array} / ds["{axis}"].dt.days_in_month, then units={{"{name}": "{per_day}"}}'
        raise InputError([Finding(name, problem, remedy)])
    if var.quantity == "mole fraction" and _MASS.search(text):
        problem = f"is in {text!r}, a ratio of masses, where {var.long_name} is a ratio of moles"
        remedy = f'ds["{name}"] = ds["{name}"] * 28.965 / 44.009, then units={{"{name}": "mol mol-1"}}'
        raise InputError([Finding(name, problem, remedy)])
    registry = _registry()
    try:
        factor, unit = _parse(text, var)
    except Exception as error:  # pint lets through whatever its tokenizer and evaluator raise
        problem = f"has units {text!r}, which are not known"
        raise _refusal(name, problem, _nearest(text, var), var) from error
    canonical_factor, canonical = _parse(var.units, var)
    for bridge_factor, bridge in ((1.0, ""), *_bridges(var)):
        source = unit * registry.parse_units(bridge)
        if source.dimensionality == canonical.dimensionality:
            zero, one = (float(registry.Quantity(number, source).to(canonical).magnitude) for number in (0.0, 1.0))
            scale = (one - zero) * factor * bridge_factor / canonical_factor
            return float(f"{scale:.13g}"), float(f"{zero / canonical_factor:.13g}")  # without the last bits' noise
        if (source / registry.day).dimensionality == canonical.dimensionality:
            problem = f"is in {text!r}, an amount that does not say of how long, where {var.long_name} is a flux"
            raise _refusal(name, problem, f"{text} day-1", var)
    problem = f"is in {text!r}, which is no unit of {var.long_name} ({var.quantity}, {var.units})"
    other = f'give the right variable, names={{"{var.name}": ...}}, or '
    raise _refusal(name, problem, _nearest(text, var, 0.99), var, other)


def amount_units(units: object, var: Var) -> str:
    """Return the units of an amount where a flux is wanted, without the words "per time step".

    Parameters
    ----------
    units : object
    var : Var

    Returns
    -------
    str
        Empty where the units are those of a flux, or of something else.

    Examples
    --------
    >>> from xh2cm.data.units import amount_units
    >>> from xh2cm.variables import FORCING
    >>> amount_units("mm timestep-1", FORCING["precipitation"]), amount_units("mm d-1", FORCING["precipitation"])
    ('mm', '')
    """
    if "flux" not in var.quantity and var.quantity != "radiation":
        return ""
    text = _PER_STEP.sub("", str(units).strip())
    registry = _registry()
    try:
        _, unit = _parse(text, var)
        _, canonical = _parse(var.units, var)
        for _, bridge in ((1.0, ""), *_bridges(var)):
            if (unit * registry.parse_units(bridge) / registry.day).dimensionality == canonical.dimensionality:
                return text
    except Exception:  # whatever pint raises; unknown units are told when they are converted
        return ""
    return ""


def spellings(var: Var) -> tuple[str, ...]:
    """Return how units of a variable may be written: those of its quantity, or its own."""
    return SPELLINGS.get(var.quantity, (var.units,))


def _bridges(var: Var) -> tuple[tuple[float, str], ...]:
    """Return the factors that convert other physical dimensions to this variable."""
    latent = (_LATENT_HEAT,) if _EVAPORATION in var.standard_names else ()
    return (*_BRIDGES.get(var.quantity, ()), *latent)


def _parse(text: str, var: Var) -> tuple[float, pint.Unit]:
    """Leading number and unit of what stands in an attribute."""
    if var.quantity.startswith("water"):
        text = _OF_WATER.sub("", text)
    for words, plain in _WORDS:
        text = words.sub(plain, text)
    if text.lower() in _DIMENSIONLESS:
        text = "1"
    match = _NUMBER.fullmatch(text)
    number, unit = match.groups() if match else (None, text)
    if number and number.startswith(("10^", "10**")):
        factor = 10.0 ** int(re.split(r"\^|\*\*", number)[1])
    else:
        factor = float(number or 1.0)
    return factor, _registry().parse_units(unit)


def _nearest(text: str, var: Var, likeness: float = 0.5) -> str:
    """Find the spelling for this variable that looks most like ``text``, or else the usual one."""
    usual = spellings(var)
    folded = {spelling.lower(): spelling for spelling in usual}
    return next((folded[near] for near in difflib.get_close_matches(text.lower(), folded, 1, likeness)), usual[0])


def _refusal(name: str, problem: str, suggestion: str, var: Var, before: str = "") -> InputError:
    others = ", ".join(spelling for spelling in spellings(var) if spelling != suggestion)
    remedy = f'{before}state what it is in: units={{"{name}": "{suggestion}"}}'
    return InputError([Finding(name, problem, f"{remedy} (or {others})" if others else remedy)])


@functools.cache
def _registry() -> pint.UnitRegistry[float]:
    """cf-xarray's units and what files of land data say besides, apart from the user's registry."""
    users = pint.application_registry.get()
    log = logging.getLogger("pint")
    before = log.level
    log.setLevel(logging.ERROR)  # that cf-xarray defines units anew concerns nobody
    try:
        from cf_xarray.units import units as cf_units  # puts itself in the place of the application registry
    finally:
        log.setLevel(before)
    pint.set_application_registry(users)
    registry: pint.UnitRegistry[float] = copy.deepcopy(cf_units)
    for definition in (
        "gcarbon = [carbon]",  # a dimension of its own: grams of carbon are no grams of water
        "gcarbondioxide = 12.011 / 44.009 * gcarbon",
        "mb = 1e-3 bar",
        "@alias ppm = ppmv",
        "@alias kelvin = Kelvin",
        "@alias degC = degree_celsius = degrees_celsius = degree_C",
        "@alias degF = degree_fahrenheit = degrees_fahrenheit = degree_F = degrees_F = deg_F = Fahrenheit",
    ):
        registry.define(definition)
    return registry
