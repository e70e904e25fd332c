"""Validation of processes on plausible days, so that water from nowhere is an error when the model is made.

The days are wet, dry and frozen, the storages empty, filled and full, the parameters anywhere between their bounds, and
always the same. Each process is asked alone, with made-up fluxes before it, so that it answers for itself only.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.functional import softplus

from xh2cm.errors import Finding
from xh2cm.variables import SURFACE_WATER, Forcing, Parameter, Storage, Var

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["probe"]

Known = Mapping[str, "Tensor"]

FOLDS, CELLS = 8, 48

ROUNDING = 1e-3
"""What float32 may leave of a budget of some 1000 kg m-2, as in the test that budgets close."""

UNDERCATCH = 2.0
"""Snow and rain may be more than was measured, by up to this factor: gauges catch too little, of snow above all."""

HOW = "it is given tensors (fold, cell), a global parameter as (fold, 1), and must leave them as they are"

Between = Callable[..., "Tensor"]


class Brought(NamedTuple):
    """The storages, forcing and fluxes that processes bring, and the turn of one of them.

    Parameters
    ----------
    storages, forcing, fluxes : tuple
        All that is brought.
    before : str
        Slot before which it is asked; empty where the surface water has moved on.
    usual : bool
        Whether the fluxes of its slot come from and go to where they do in the published model.
    """

    storages: tuple[Storage, ...]
    forcing: tuple[Var, ...]
    fluxes: tuple[str, ...]
    before: str
    usual: bool


CONTENT: Mapping[str, Callable[[Known], Tensor]] = {
    "snow": lambda x: torch.zeros_like(x["rainfall"]),
    "interception": lambda x: x["rainfall"] + x["snow_melt"],
    "evaporation": lambda x: x["water_input"],
    "soil": lambda x: x["water_input"],
    "runoff": lambda x: x["excess_water"],
    "groundwater": lambda x: x["groundwater_recharge"],
}
"""How much surface water there is before a slot."""


class Rule(NamedTuple):
    """An upper bound of a flux, and the message where it is exceeded."""

    flux: Callable[[Known], Tensor]
    bound: Callable[[Known], Tensor]
    says: str
    remedy: str


RULES: Mapping[str, tuple[Rule, ...]] = {
    "snow": (
        Rule(
            lambda x: x["snow_melt"],
            lambda x: x["swe"] + x["snowfall"],
            "melts {0} of {1} kg m-2 that are there",
            "give torch.minimum(snow_melt, swe + snowfall)",
        ),
        Rule(
            lambda x: x["snowfall"] + x["rainfall"],
            lambda x: UNDERCATCH * x["precipitation"],
            "makes {0} kg m-2 d-1 of snow and rain, of which twice the precipitation is only {1}",
            "share out precipitation, corrected by a factor of at most 2",
        ),
    ),
    "interception": (
        Rule(
            lambda x: x["interception"],
            lambda x: x["rainfall"],
            "intercepts {0} of {1} kg m-2 d-1 of rain",
            "give torch.minimum(interception, rainfall)",
        ),
    ),
    "evaporation": (
        Rule(
            lambda x: x["soil_evaporation"] + x["transpiration"],
            lambda x: x["soil_moisture"],
            "evaporates {0} of {1} kg m-2 that are in the soil",
            "limit transpiration to torch.minimum(transpiration, soil_moisture - soil_evaporation)",
        ),
    ),
    "soil": (
        Rule(
            lambda x: x["soil_retention"] * x["water_input"],
            lambda x: x["water_input"],
            "retains {0} of {1} kg m-2 d-1 of water input",
            "give a fraction: soil_retention.clamp(0.0, 1.0)",
        ),
        Rule(
            lambda x: x["soil_retention"] * x["water_input"],
            lambda x: x["soil_capacity"] - x["soil_moisture"],
            "retains {0} kg m-2, with room for {1}",
            "give torch.minimum(soil_retention, (soil_capacity - soil_moisture) / water_input.clamp(min=1e-8))",
        ),
    ),
    "runoff": (
        Rule(
            lambda x: x["surface_runoff"],
            lambda x: x["excess_water"],
            "runs off {0} of {1} kg m-2 d-1 of excess water",
            "give torch.minimum(surface_runoff, excess_water)",
        ),
    ),
    "groundwater": (
        Rule(
            lambda x: x["baseflow"],
            lambda x: x["groundwater"] + x["groundwater_recharge"],
            "releases {0} of {1} kg m-2 that are there",
            "give torch.minimum(baseflow, groundwater)",
        ),
    ),
    "nee": (
        Rule(
            lambda x: x["ter"] - x["gpp"],
            lambda x: x["nee"],
            "respiration less uptake is {0} and NEE only {1} gC m-2 d-1: carbon vanishes",
            "give ter - gpp, plus further losses if you like",
        ),
    ),
}
"""What no process may exceed, by slot. Carbon has no storages, so only NEE has a bound there."""


def probe(
    turn: str,
    process: Any,
    call: Callable[..., Any],
    names: Sequence[str],
    fluxes: Sequence[str],
    flows: Mapping[str, tuple[str, str]] | None = None,
    brought: Brought | None = None,
) -> list[Finding]:
    """Call a process on plausible days and return what is wrong.

    Parameters
    ----------
    turn : str
        Slot, or ``"limit"``.
    process : Process
    call : callable
        The process, or its method `limit`.
    names : sequence of str
        What it asks for.
    fluxes : sequence of str
        What it must give.
    flows : mapping of str to (str, str), optional
        Source and sink of those that are fluxes.
    brought : Brought, optional
        What processes bring.

    Returns
    -------
    list of Finding
        Wrong number or shape, what is not finite or has no finite gradient, negative fluxes, water from nowhere.
    """
    who = f"{'evaporation.limit' if turn == 'limit' else turn} ({type(process).__name__})"
    with torch.inference_mode(False), torch.enable_grad():
        days = {**drawn(process.parameters), **plausible(), **invented(brought)}
        learned = {*days} - UNLEARNED - {var.name for var in (brought.forcing if brought else ())}
        given = {n: days[n].clone().requires_grad_(n in learned) for n in names}
        try:
            answer = call(*given.values())
        except Exception as error:  # whatever a user's code may raise
            return [Finding(who, f"raises {type(error).__name__}: {error}", HOW)]
        if findings := misshapen(who, answer, fluxes):
            return findings
        gives = dict(zip(fluxes, (answer,) if len(fluxes) == 1 else answer, strict=True))
        if findings := not_finite(who, given, gives) or changed(who, given):
            return findings
        known = days | {n: x.detach() for n, x in gives.items()}
        rules = [*(RULES.get(turn, ()) if brought is None or brought.usual else ()), *drawn_from(flows or {})]
        return [*negative(who, known, fluxes), *from_nowhere(who, known, rules)]


def misshapen(who: str, answer: Any, fluxes: Sequence[str]) -> list[Finding]:
    """Return findings for a wrong number, type or shape of fluxes."""
    several = answer if isinstance(answer, tuple | list) else (answer,)
    count = f"{len(fluxes)} flux{'es' if len(fluxes) > 1 else ''}"
    tuple_of_one = several is answer and len(fluxes) == len(several) == 1
    if len(several) != len(fluxes) or tuple_of_one:
        problem = f"gives {len(several)}{' in a tuple' if tuple_of_one else ''} where {count} must be given"
        return [Finding(who, problem, f"return {', '.join(fluxes)}")]
    return [
        Finding(who, f"gives {type(x).__name__} for {flux}, not a tensor", "for nothing, torch.zeros_like(an argument)")
        if not isinstance(x, torch.Tensor)
        else Finding(
            who,
            f"gives {flux} with shape {tuple(x.shape)} for {FOLDS} folds and {CELLS} cells",
            "treat every element alike; a constant or global number times torch.ones_like(an argument)",
        )
        for flux, x in zip(fluxes, several, strict=True)
        if not isinstance(x, torch.Tensor) or x.shape != (FOLDS, CELLS)
    ]


def not_finite(who: str, given: Known, gives: Known) -> list[Finding]:
    """Return findings for values or gradients that are not finite for finite arguments."""

    def found(what: str, x: Tensor) -> Finding:
        at = int((~x.isfinite()).flatten().nonzero()[0])
        where = ", ".join(f"{n}={y.expand(FOLDS, CELLS).flatten()[at].item():.4g}" for n, y in given.items())
        remedy = "keep away from it what is divided by, or has a root, power or logarithm: x.clamp(min=1e-6)"
        return Finding(who, f"{what} is {x.flatten()[at].item()} at {where}", remedy)

    if findings := [found(flux, x) for flux, x in gives.items() if not x.isfinite().all()]:
        return findings
    total = [x.sum() for x in gives.values() if x.requires_grad]
    learned = [n for n, x in given.items() if x.requires_grad]
    if not total or not learned:
        return []
    try:
        slopes = torch.autograd.grad(torch.stack(total).sum(), [given[n] for n in learned], allow_unused=True)
    except Exception as error:  # a gradient of the user's own, or none for what was changed in place
        return [Finding(who, f"has no gradient, {type(error).__name__}: {error}", HOW)]
    return [
        found(f"the gradient by {n}", slope.expand(FOLDS, CELLS))
        for n, slope in zip(learned, slopes, strict=True)
        if slope is not None and not slope.isfinite().all()
    ]


def changed(who: str, given: Known) -> list[Finding]:
    """Return findings for arguments that were changed in place."""
    return [
        Finding(who, f"changes {n} in place", f"work on {n}.clone(): only the step moves storages")
        for n, x in given.items()
        if x._version
    ]


def negative(who: str, known: Known, fluxes: Sequence[str]) -> list[Finding]:
    """Return findings for negative fluxes; NEE may be negative."""
    lowest = {flux: known[flux].min().item() for flux in fluxes if flux != "nee"}
    return [
        Finding(who, f"{flux} is {low:.4g}, which is negative", f"{flux}.clamp(min=0.0)")
        for flux, low in lowest.items()
        if low < -ROUNDING
    ]


def from_nowhere(who: str, known: Known, rules: Sequence[Rule]) -> list[Finding]:
    """Return findings for fluxes that exceed their bounds."""
    findings = []
    for rule in rules:
        flux, bound = rule.flux(known).flatten(), rule.bound(known).flatten()
        at = int((flux - bound).argmax())
        if flux[at] - bound[at] > ROUNDING:
            says = rule.says.format(*(f"{x[at].item():.4g}" for x in (flux, bound)))
            findings.append(Finding(who, says, rule.remedy))
    return findings


def drawn_from(flows: Mapping[str, tuple[str, str]]) -> list[Rule]:
    """Make the rules that no more leaves a storage than it holds and is brought to it."""
    rules = []
    for source in dict.fromkeys(source for source, _ in flows.values()):
        gone = [name for name, ends in flows.items() if ends[0] == source]
        come = [name for name, ends in flows.items() if ends[1] == source]
        if source in UNBOUNDED:
            continue

        def flux(x: Known, gone: Sequence[str] = gone) -> Tensor:
            return torch.stack([x[name] for name in gone]).sum(0)

        def bound(x: Known, source: str = source, come: Sequence[str] = come) -> Tensor:
            return torch.stack([x[name] for name in (source, *come)]).sum(0)

        says = f"takes {{0}} of {{1}} that are in {source}"
        rules.append(
            Rule(flux, bound, says, f"limit {' + '.join(gone)} to {source}, with torch.minimum(..., {source})")
        )
    return rules


UNBOUNDED = {"precipitation", "atmosphere", "outside", "biosphere"}
"""Sources that hold as much as is taken; a flux that is taken from precipitation is of a process's own making."""


UNLEARNED = {*Forcing._fields, "temperature"}
"""What nothing is learned through."""


def dice(seed: int) -> Between:
    """Draw (fold, cell) between bounds, a sixth of all on either of them; randomness of its own."""
    generator = torch.Generator("cpu").manual_seed(seed)

    def between(low: float | Tensor, high: float | Tensor, cells: int = CELLS) -> Tensor:
        spread = torch.rand(FOLDS, cells, generator=generator, dtype=torch.float32, device="cpu")
        return low + (high - low) * (1.5 * spread - 0.25).clamp(0.0, 1.0)

    return between


@functools.cache
def plausible() -> dict[str, Tensor]:
    """Return forcing, storages and fluxes of plausible days by name, (fold, cell), consistent with one another."""
    between = dice(1)
    temperature, precipitation = between(-35.0, 45.0), between(0.0, 80.0)
    temperature[:, ::12] = 0.0
    capacity, swe = between(2.0, 800.0), between(0.0, 600.0)
    moisture = capacity * between(0.0, 1.0)
    frost = temperature <= 0.0
    snowfall, rainfall = precipitation * frost, precipitation * ~frost
    melt = swe * between(0.0, 0.1)
    interception = rainfall * between(0.0, 1.0)
    water = rainfall + melt - interception
    retention = torch.minimum(between(0.0, 1.0), (capacity - moisture) / water.clamp(min=1e-6))
    excess = (1.0 - retention) * water
    runoff, groundwater = excess * between(0.0, 1.0), between(0.0, 1000.0)
    gpp, rh = between(0.0, 20.0), between(0.0, 8.0)
    ra = gpp * between(0.0, 1.0)
    return {
        **Forcing(
            between(-100.0, 350.0), precipitation, temperature + 273.15, between(0.0, 60.0), between(280.0, 800.0)
        )._asdict(),
        "temperature": temperature,
        "swe": swe,
        "soil_moisture": moisture,
        "groundwater": groundwater,
        "fapar": between(0.0, 1.0),
        "npp": between(0.0, 10.0),
        "soil_capacity": capacity,
        "snowfall": snowfall,
        "rainfall": rainfall,
        "snow_melt": melt,
        "available_energy": between(0.0, 12.0),
        "interception": interception,
        "soil_evaporation": torch.minimum(between(0.0, 3.0), moisture),
        "transpiration": torch.minimum(between(0.0, 6.0), moisture),
        "water_input": water,
        "soil_retention": retention,
        "excess_water": excess,
        "surface_runoff": runoff,
        "groundwater_recharge": excess - runoff,
        "baseflow": groundwater * between(0.0, 0.1),
        "gpp": gpp,
        "ra": ra,
        "rh": rh,
        "ter": ra + rh,
    }


def invented(brought: Brought | None) -> dict[str, Tensor]:
    """Return storages, forcing and fluxes that processes bring, on the days of `plausible`."""
    if brought is None:
        return {}
    between, days = dice(3), plausible()
    found = {}
    for var in brought.forcing:
        low = var.lower if math.isfinite(var.lower) else -100.0
        found[var.name] = between(low, var.upper if math.isfinite(var.upper) else low + 200.0)
    found |= {storage.name: between(0.0, 400.0) for storage in brought.storages}
    found |= {name: between(0.0, 3.0) for name in brought.fluxes}
    if brought.before in CONTENT:
        found[SURFACE_WATER] = CONTENT[brought.before](days)
    return found | {"river": days["surface_runoff"] + days["baseflow"]}


def drawn(parameters: Sequence[Parameter]) -> dict[str, Tensor]:
    """Draw parameters between their bounds; without an upper bound, around their default."""
    between = dice(2)
    found = {}
    for p in parameters:
        place = between(1e-4, 1 - 1e-4, cells=1 if p.varies == "global" else CELLS)
        found[p.name] = (
            p.lower + softplus(torch.logit(place) + p.start)
            if math.isinf(p.upper)
            else p.lower + (p.upper - p.lower) * place
        )
    return found
