"""Which variable of a user's dataset is which variable of the tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import cf_xarray  # noqa: F401  (registers .cf)
import numpy as np
import xarray as xr

from xh2cm.data.signs import opposite_names
from xh2cm.errors import Finding, closest
from xh2cm.variables import FORCING, SOURCES, STATIC, TARGETS, Var

__all__ = ["KNOWN", "Match", "closest", "find_variables"]

KNOWN: Mapping[str, Var] = {**FORCING, **SOURCES, **STATIC, **TARGETS}
"""Every variable looked for in a dataset, by its name in the tables."""

_COMPANION = re.compile(r"_(qc|qa|qf|flag|quality|std|err|error|unc|uncertainty|randunc|se|n|count)$", re.IGNORECASE)
_EXTREME = {"minimum": re.compile("min|tmn|^tn", re.IGNORECASE), "maximum": re.compile("max|tmx|^tx", re.IGNORECASE)}
_ENERGY = re.compile(r"\b[kM]?[WJ]\b")


class Match(NamedTuple):
    """A variable of the dataset, or a number given in its place, and what it was recognised by."""

    source: str | float
    by: str


def find_variables(
    dataset: xr.Dataset, variables: Mapping[str, str | float], units: Mapping[str, str], findings: list[Finding]
) -> dict[str, list[Match]]:
    """Find what the tables know in a dataset.

    The user's mapping comes first, then names and aliases (without case), then standard names. Quality flags and
    other companions are passed over; a daily minimum or maximum is never taken for the mean.

    Parameters
    ----------
    dataset : Dataset
    variables : mapping of str to str or float
        Name in the tables to name in the dataset, or to a number.
    units : mapping of str to str
        Units the user states, by name in the dataset.
    findings : list of Finding
        What is wrong with the mapping is added here.

    Returns
    -------
    dict of str to list of Match
        By name in the tables. More than one match: equally good ones, between which the user must choose. None: the
        user's mapping leads nowhere.
    """
    mapped = _mapped(dataset, variables, findings)
    matches = dict(mapped)
    given = {match.source for options in matches.values() for match in options}
    attributes = [var.attrs for var in dataset.variables.values()]
    told = {word for attrs in attributes for word in str(attrs.get("ancillary_variables", "")).split()}
    present = [name for name in map(str, dataset.variables) if name not in given | told and not _COMPANION.search(name)]
    named = {key: _by_name(dataset, present, key) for key in KNOWN if key not in matches}
    taken = {name for names in named.values() for name in names}
    for key, names in named.items():
        direct = [name for name in names if not _is_latent_heat(dataset, name, key, units)]
        standard = [] if direct else _by_standard_name(dataset, (n for n in present if n not in taken), key)
        flux = [name for name in standard if not _is_latent_heat(dataset, name, key, units)]
        # Latent heat is evaporation by way of a constant: taken where no evaporation is there.
        ranks = ((direct, "name"), (flux, "standard name"), (names, "name"), (standard, "standard name"))
        best, by = next((rank for rank in ranks if rank[0]), ([], ""))
        matches[key] = [Match(name, by) for name in best]
    for key in ("latitude", "longitude"):
        if not matches[key] and key not in mapped:
            found = dataset.cf.coordinates.get(key, [])
            matches[key] = [Match(str(name), "CF attributes") for name in found]
    return {key: options for key, options in matches.items() if options or key in mapped}


def _mapped(dataset: xr.Dataset, variables: Mapping[str, object], findings: list[Finding]) -> dict[str, list[Match]]:
    keys = {alias.lower(): key for key, var in KNOWN.items() for alias in var.aliases}
    keys |= {name.lower(): key for key, var in KNOWN.items() for name in (var.name, key)}
    matches: dict[str, list[Match]] = {}
    for wanted, source in variables.items():
        key = keys.get(str(wanted).lower())
        if key is None:
            problem = "names no variable of the model"
            findings.append(Finding(f"names[{wanted!r}]", problem, closest(str(wanted), KNOWN)))
        elif isinstance(source, (int, float, np.number)) and not isinstance(source, bool):
            matches[key] = [Match(float(source), "mapping")]
        elif isinstance(source, str) and source in dataset.variables:
            matches[key] = [Match(source, "mapping")]
        else:
            names = [str(name) for name in dataset.variables]
            problem = f"is mapped to {source!r}, which the dataset does not hold"
            findings.append(Finding(key, problem, closest(str(source), names)))
            matches[key] = []  # not looked for elsewhere: the user said which it is
    return matches


def _by_name(dataset: xr.Dataset, present: Iterable[str], key: str) -> list[str]:
    """Variables with the table's own name, or else with an alias of it."""
    var = KNOWN[key]
    own = {key.lower(), var.name.lower(), *([var.cmip.lower()] if var.cmip else [])}
    aliases = {alias.lower() for alias in var.aliases}
    usable = [name for name in present if _may_hold(dataset, name, key)]
    exact = [name for name in usable if name.lower() in own]
    known = [name for name in usable if name.lower() in aliases and not _is_another(dataset, name, key)]
    turned = {alias for alias in var.opposites if len(alias) > 1}  # a single letter stands for too much
    return exact or known or [n for n in usable if n.lower() in turned and not _is_another(dataset, n, key)]


def _by_standard_name(dataset: xr.Dataset, present: Iterable[str], key: str) -> list[str]:
    var = KNOWN[key]
    names = {name for name in (var.standard_name, *var.standard_names) if name}
    wanted = names | opposite_names(var)
    return [
        name
        for name in present
        if dataset.variables[name].attrs.get("standard_name") in wanted
        and _may_hold(dataset, name, key)
        and _extreme(str(dataset.variables[name].attrs.get("cell_methods")), name) == _extreme(var.cell_methods, "")
    ]


def _may_hold(dataset: xr.Dataset, name: str, key: str) -> bool:
    """Tell numbers from words; the index of a dimension can only be a place."""
    if key in STATIC:
        return dataset.variables[name].dtype.kind in "fiub"
    return dataset.variables[name].dtype.kind in "fiu" and name not in dataset.dims


def _is_another(dataset: xr.Dataset, name: str, key: str) -> bool:
    """Tell by the standard name: short aliases are shared (q is runoff or humidity)."""
    standard = dataset.variables[name].attrs.get("standard_name")
    if not standard:
        return False
    owners = {
        other
        for other, var in KNOWN.items()
        if standard in (var.standard_name, *var.standard_names) or standard in opposite_names(var)
    }
    return bool(owners) and key not in owners


def _is_latent_heat(dataset: xr.Dataset, name: str, key: str, units: Mapping[str, str]) -> bool:
    stated = units.get(name, dataset.variables[name].attrs.get("units", ""))
    return KNOWN[key].quantity == "water flux" and bool(_ENERGY.search(str(stated)))


def _extreme(methods: str, name: str) -> str:
    """Whether a variable is a minimum, a maximum, or neither, by its cell methods or its name."""
    return next((kind for kind, pattern in _EXTREME.items() if kind in methods or pattern.search(name)), "")
