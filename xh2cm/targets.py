"""Targets and priors as tables: observations, the outputs they constrain, and the comparison.

References
----------
Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

from xh2cm.variables import OUTPUTS, Residuals, Var, variable_table

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "PRIORS",
    "TARGET_TABLE",
    "UNCONSTRAINED",
    "Comparison",
    "Prior",
    "Target",
    "leaf_area_index",
    "unconstrained",
]

Comparison = Literal["anomaly", "seasonal", "monthly", "daily", "standardised", "static", "interannual", "ratio"]


@dataclasses.dataclass(frozen=True)
class Target:
    """A row of the table of targets: an observation, the outputs it is compared with, and the comparison.

    Parameters
    ----------
    name : str
        Public name of the observation, or of any other variable of the dataset that is one.
    fields : str or tuple of str
        What the model must record for it, by public or field name; a ratio has two. That of the table if not given.
    compare : str
        ``"daily"``, ``"monthly"``, ``"seasonal"`` (mean of each calendar month), ``"anomaly"`` (from each cell's own
        mean), ``"standardised"`` (less each cell's own mean, over its own standard deviation: for what is proportional
        to a variable of the model, in whatever units), ``"static"`` (mean over time), ``"interannual"`` or
        ``"ratio"``. That of the table if not given; for a variable outside the table as often as it was observed.
    weight : float
        In the total loss.
    mapping : callable, optional
        From the fields, each a tensor (fold, cell, time), to what was observed. It treats every number alike and is
        differentiable. The observation then stays in the units it comes in.
    quality : str, optional
        Variable of the dataset on the axes of the observation, between 0 and 1: what each observation weighs.
    cells : str, optional
        Variable of the dataset on the land and the one other axis of the observation, such as ``gauge``: which cells,
        with what weight, the observation is the mean of. The cells of a gauge are always walked together.

    Examples
    --------
    >>> from xh2cm import Target
    >>> flow = Target("gauge_runoff", "runoff", "daily", cells="catchment_weight")
    >>> measured = Target("GPP", compare="daily", weight=4.0, quality="gpp_qc")
    >>> wetness = Target("swc", "SM", "standardised")
    """

    name: str
    fields: str | tuple[str, ...] = ()
    compare: Comparison | Literal[""] = ""
    weight: float = 1.0
    mapping: Callable[..., Tensor] | None = None
    quality: str = ""
    cells: str = ""

    def __post_init__(self) -> None:
        given = (self.fields,) if isinstance(self.fields, str) else tuple(self.fields)
        by_name = {var.name: field for field, var in OUTPUTS.items()}
        object.__setattr__(self, "fields", tuple(by_name.get(name, name) for name in given))

    @property
    def var(self) -> Var:
        """Variable of the observation: in the units of its field, or in its own if it is mapped."""
        var = OUTPUTS.get(self.fields[0]) if len(self.fields) == 1 else None
        if var is None or self.mapping is not None or self.compare == "standardised":
            return Var(self.name, self.name, "", "any", cell_methods="")
        return dataclasses.replace(
            var, name=self.name, standard_name=None, standard_names=(), aliases=(), cmip=None, cell_methods=""
        )

    @property
    def described(self) -> dict[str, Any]:
        """Fields that are saved."""
        return dataclasses.asdict(self) | {"mapping": getattr(self.mapping, "__qualname__", None)}


@dataclasses.dataclass(frozen=True)
class Prior:
    """A prior of a global constant: ``((x - mean) / std) ** 2`` is added to the loss."""

    parameter: str
    mean: float
    std: float


TARGET_TABLE: tuple[Target, ...] = (
    Target("TWS", "tws", "anomaly"),
    Target("ET", "et", "seasonal"),
    Target("runoff", "runoff", "seasonal"),
    Target("SWE", "swe", "monthly"),
    Target("fAPAR", "fapar", "monthly"),
    Target("GPP", "gpp", "seasonal"),
    Target("NEE", "nee", "monthly"),
    Target("NEE_IAV", "nee", "interannual"),
    Target("CUE", ("npp", "gpp"), "ratio"),
    Target("TER", "ter", "monthly"),
    Target("NPP", "npp", "monthly"),
)
"""The published comparisons; respiration and NPP, which the published model is not trained on, month by month."""

PRIORS: tuple[Prior, ...] = (Prior("co2_sensitivity", 0.0015, 0.0005), Prior("q10", 1.5, 0.3))
"""What is known of global constants beforehand, as published."""

UNCONSTRAINED = "not constrained by any training target"
"""Comment of a predicted flux or storage that `unconstrained` names."""

RESIDUALS = {*variable_table(Residuals)}

CARBON_BALANCES = (
    ("gpp", "npp", "ra"),
    ("ter", "ra", "rh"),
    ("npp", "nep", "rh"),
    ("nep", "gpp", "ter"),
    ("nee", "nep"),
)
"""Sums that hold by construction: where all but one of a row are constrained, so is the last."""


def unconstrained(targets: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """Return the predicted fluxes and storages that no training target constrains.

    The water balance ties all fluxes and storages of water together, so any target of water constrains them. Carbon
    fluxes are constrained one by one: by a target, or by the carbon balances from others that are.

    Parameters
    ----------
    targets : iterable of iterables of str
        The fields of each target, as a fit records them.

    Returns
    -------
    tuple of str
        Public names.

    Examples
    --------
    >>> from xh2cm.targets import unconstrained
    >>> unconstrained([["runoff"], ["gpp"]])
    ('Ra', 'Rh', 'TER', 'NEP', 'NEE', 'NPP')
    >>> unconstrained([["runoff"], ["gpp"], ["nee"], ["npp", "gpp"]])
    ()
    """
    rows = [{*fields} for fields in targets]
    fields = {field for row in rows if len(row) == 1 for field in row}
    of_water = {field for field, var in OUTPUTS.items() if var.quantity in ("water flux", "water amount")}
    known = fields | (of_water if fields & of_water else set())
    balances = [{*row} for row in CARBON_BALANCES] + [row for row in rows if len(row) > 1]
    while found := {field for row in balances if len(missing := row - known) == 1 for field in missing}:
        known |= found
    carbon = {field for field, var in OUTPUTS.items() if var.quantity == "carbon flux"}
    return tuple(var.name for field, var in OUTPUTS.items() if field in (of_water | carbon) - known - RESIDUALS)


def leaf_area_index(fapar: Tensor, extinction: float = 0.5) -> Tensor:
    """Leaf area that absorbs a fraction of the light, for a target that was observed as leaf area index.

    ``-log(1 - fapar) / extinction``, at most at 99 % absorption.

    Parameters
    ----------
    fapar : Tensor, (fold, cell, time), 1
    extinction : float
        Of light on its way through leaves that point everywhere alike.

    Returns
    -------
    Tensor, (fold, cell, time), m2 m-2

    References
    ----------
    Monsi and Saeki (1953), in English: (2005), doi:10.1093/aob/mci052

    Examples
    --------
    >>> import torch
    >>> from xh2cm.targets import Target, leaf_area_index
    >>> leaf_area_index(torch.tensor([0.0, 0.5])).tolist()[1] > 1.3
    True
    >>> row = Target("lai", "fAPAR", "monthly", mapping=leaf_area_index)
    """
    return -(1.0 - fapar.clamp(max=0.99)).log() / extinction
