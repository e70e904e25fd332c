"""Read from names and attributes in which direction a flux is counted as positive."""

from __future__ import annotations

import re

import xarray as xr

from xh2cm.variables import Var

__all__ = ["opposite_names", "reason_to_turn"]

_STANDARD = re.compile(r"(?:^|_)(upward|downward)(?=_)")
_IN_WORDS = re.compile(
    r"(?:positive\s*(?:is|=|:|when|for)?\s*(?:an?\s+)?(up|down|uptake|sink|emission|source)|(up|down)(?:wards?)?[\s:=-]+positive)",
    re.IGNORECASE,
)
_WORDS = {"upward": "up", "downward": "down", "uptake": "down", "sink": "down", "emission": "up", "source": "up"}


def reason_to_turn(array: xr.DataArray, var: Var) -> str:
    """Say why the sign of a variable is opposite to that of the table.

    Parameters
    ----------
    array : DataArray
        As it is in the file.
    var : Var

    Returns
    -------
    str
        Empty where the sign is that of the table, or nothing is said about it. ECMWF counts latent heat and evaporation
        as positive downward whatever the standard name says, so its names for them go first; then the direction in
        the standard name, the attribute ``positive`` of CMIP, names such as ``nep`` for NEE, and words such as
        "positive downward" in the long name.
    """
    if not var.positive:
        return ""
    names = {str(name).lower() for name in (array.name, array.attrs.get("GRIB_shortName"))}
    opposite = sorted(names & set(var.opposites))
    if opposite and var.name == "ET":
        return f"{opposite[0]} is positive downward, as all fluxes of ECMWF"
    standard = _STANDARD.search(str(array.attrs.get("standard_name", "")))
    words = _IN_WORDS.search(str(array.attrs.get("long_name", "")))
    if standard:
        stated, where = _WORDS[standard[1]], "standard name"
    elif array.attrs.get("positive") in ("up", "down"):
        stated, where = str(array.attrs["positive"]), "attribute positive"
    elif opposite:
        return f"{opposite[0]} is positive {'down' if var.positive == 'up' else 'up'}ward"
    elif words:
        word = (words[1] or words[2]).lower()
        stated, where = _WORDS.get(word, word), "long name"
    else:
        return ""
    return "" if stated == var.positive else f"its {where} says positive {stated}ward"


def opposite_names(var: Var) -> set[str]:
    """Return the standard names of the same flux, counted in the opposite direction.

    Parameters
    ----------
    var : Var

    Returns
    -------
    set of str
    """
    if not var.positive:
        return set()
    names = {name for name in (var.standard_name, *var.standard_names) if name}
    turned = {"upward": "downward", "downward": "upward"}
    return {_STANDARD.sub(lambda found: found[0].replace(found[1], turned[found[1]]), name) for name in names} - names
