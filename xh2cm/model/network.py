"""The parameter networks as a table: kind, inputs and outputs of each network.

The fold is an axis: weights are (fold, out, in), what flows is (fold, cell, feature), and every product is a batched
one. What a net sees of the static features does not change from day to day and is multiplied once per record.

References
----------
Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xh2cm.errors import Finding, InputError
from xh2cm.model.layers import KINDS
from xh2cm.model.net import Net

if TYPE_CHECKING:
    pass

__all__ = [
    "PUBLISHED_NETWORKS",
    "WATER_NETWORKS",
    "nearest",
    "networks",
    "row_findings",
]


PUBLISHED_NETWORKS: tuple[Net, ...] = (
    Net("static", "static", (), ("soil_capacity", "interception_capacity")),
    Net(
        "partition",
        "lstm",
        ("net_radiation", "precipitation", "relative_soil_moisture", "swe", "groundwater", "fapar", "static"),
        ("snow_melt_rate", "soil_recharge_fraction", "groundwater_recharge_fraction", "*"),
    ),
    Net(
        "water_use",
        "mlp",
        ("net_radiation", "vpd", "relative_soil_moisture", "static"),
        ("wue", "transpiration_fraction"),
    ),
    Net(
        "productivity",
        "lstm",
        ("net_radiation", "air_temperature", "vpd", "co2", "relative_soil_moisture", "fapar", "npp", "static"),
        ("cue", "fapar"),
    ),
    Net(
        "respiration",
        "lstm",
        ("net_radiation", "precipitation", "npp", "fapar", "static"),
        ("basal_respiration", "soil_evaporation_fraction"),
    ),
)
"""The published model: a static net and four daily ones."""

WATER_NETWORKS: tuple[Net, ...] = (
    *PUBLISHED_NETWORKS[:2],
    Net(
        "water_use",
        "mlp",
        ("net_radiation", "vpd", "relative_soil_moisture", "static"),
        ("transpiration_fraction",),
    ),
    Net(
        "vegetation",
        "lstm",
        ("net_radiation", "air_temperature", "vpd", "relative_soil_moisture", "fapar", "static"),
        ("fapar",),
    ),
    Net(
        "bare_soil",
        "lstm",
        ("net_radiation", "precipitation", "fapar", "static"),
        ("soil_evaporation_fraction",),
    ),
)
"""The published rows without carbon: no CO2 and no NPP is seen, and no parameter of carbon given."""


def networks(table: Sequence[Net] = PUBLISHED_NETWORKS, /, **changes: Any) -> tuple[Net, ...]:
    """Return a table of networks with some of its rows changed.

    Parameters
    ----------
    table : sequence of Net
        Not changed itself.
    **changes : dict of str to Any
        New values of ``kind``, ``inputs``, ``outputs`` and ``width``, by the name of a row, or by a kind for all its
        rows; what is said of a row itself counts more. In ``inputs`` and ``outputs``, ``...`` stands for what the
        row has.

    Returns
    -------
    tuple of Net

    Raises
    ------
    InputError
        If there is no such row, field or kind; all findings at once. Inputs and outputs depend on the processes and are
        checked with them, by `Model`.

    Examples
    --------
    >>> import xh2cm
    >>> [net.kind for net in xh2cm.networks(lstm={"kind": "gru"})]
    ['static', 'gru', 'mlp', 'gru', 'gru']
    >>> table = xh2cm.networks(respiration={"inputs": (..., "air_temperature"), "width": 64})
    >>> table[-1].inputs
    ('net_radiation', 'precipitation', 'npp', 'fapar', 'static', 'air_temperature')
    """
    known = [*(net.name for net in table), *(net.kind for net in table)]
    findings: list[Finding] = []
    good: dict[str, dict[str, Any]] = {}
    for name, change in changes.items():
        where = f"networks({name}=...)"
        if name not in known:
            findings.append(Finding(where, "there is no such row, and no row of such a kind", nearest(name, known)))
        if not isinstance(change, Mapping):
            findings.append(Finding(where, f"{change!r} names no field", f'write {name}={{"kind": "gru"}}'))
            continue
        for field, value in change.items():
            if field not in FIELDS:
                findings.append(Finding(where, f"unknown field {field!r}", nearest(field, FIELDS)))
            elif field in LISTS and not isinstance(value, list | tuple):
                findings.append(Finding(where, f"{field} are {value!r}", "give a tuple of names"))
            else:
                good.setdefault(name, {})[field] = value
    changed = tuple(with_changes(net, {**good.get(net.kind, {}), **good.get(net.name, {})}) for net in table)
    if findings := [*findings, *row_findings(changed)]:
        raise InputError(findings)
    return changed


FIELDS = ("kind", "inputs", "outputs", "width")
"""What may be changed of a row."""

LISTS = {"inputs", "outputs"}
"""Which of them are names in order."""


def with_changes(net: Net, change: Mapping[str, Any]) -> Net:
    """Return a row with some fields changed, and ``...`` filled in."""
    lists = {}
    for field in LISTS & change.keys():
        lists[field] = tuple(name for x in change[field] for name in (getattr(net, field) if x is ... else [x]))
    return dataclasses.replace(net, **{**change, **lists})


def row_findings(table: Sequence[Net], known: Collection[str] | None = None) -> list[Finding]:
    """Say what is wrong with rows; inputs are looked for among those that are `known`, if these are given."""
    names = [net.name for net in table]
    findings = [
        Finding("networks", f"{names.count(name)} rows are called {name!r}", "give each a name of its own")
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    for net in table:
        where = f"network {net.name}"
        if net.kind not in ("static", *KINDS):
            remedy = f"use one of {', '.join(KINDS)}, or add yours to xh2cm.model.KINDS"
            findings.append(Finding(where, f"unknown kind {net.kind!r}", remedy))
        if net.width is not None and not (isinstance(net.width, int) and net.width > 0):
            findings.append(Finding(where, f"a width of {net.width!r}", "give the number of hidden units, or None"))
        for name in dict.fromkeys(net.inputs):
            if known is not None and name not in known:
                findings.append(Finding(where, f"unknown input {name!r}", nearest(name, known)))
            elif net.inputs.count(name) > 1:
                findings.append(Finding(where, f"sees {name!r} {net.inputs.count(name)} times", "name it once"))
    return findings


def nearest(name: object, known: Iterable[str]) -> str:
    """Return the remedy for an unknown name."""
    near = difflib.get_close_matches(str(name), known := list(dict.fromkeys(known)), n=1)
    return f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(known)}"
