"""Means and standard deviations of forcing, static features and targets, for each fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
import xarray as xr

from xh2cm.data.split import TEST
from xh2cm.errors import Finding, InputError
from xh2cm.model.hybrid import Scaling
from xh2cm.targets import Target
from xh2cm.train.sampling import gauge_label
from xh2cm.train.streaming import Portion, Portions
from xh2cm.train.tensors import Cells

if TYPE_CHECKING:
    from torch import Tensor

    from xh2cm.data.scan import Facts

__all__ = ["Normalisation", "forcing_sums", "normalisation"]


class Normalisation(NamedTuple):
    """Means and standard deviations of forcing, static features and targets, for each fold."""

    scaling: Scaling
    targets: dict[str, Tensor]  # (fold,) standard deviation


Sums = dict[str, dict[int, "Tensor"]]
"""Of each variable and label: number, sum and sum of squares, (3, feature)."""

AT_ONCE = 2**22
"""Values that are summed at once, in double precision."""


def sums(values: Tensor, label: Tensor) -> dict[int, Tensor]:
    """Number, sum and sum of squares of the values (cell, time, feature) of each label; NaN counts for nothing."""
    found: dict[int, Tensor] = {}
    cells = max(AT_ONCE // max(values[:1].numel(), 1), 1)
    for some, of_some in zip(values.split(cells), label.split(cells), strict=True):
        for one in of_some.unique().tolist():
            if one != TEST:
                chosen = (
                    some[of_some[:, 0] == one]
                    if label.shape[1] == 1
                    else some.where((of_some == one).unsqueeze(2), torch.nan)
                )
                finite = chosen.isfinite()
                whole = torch.where(finite, chosen, 0.0).double()
                part = torch.stack([finite.sum((0, 1)).double(), whole.sum((0, 1)), whole.square().sum((0, 1))])
                found[one] = found[one] + part if one in found else part
    return found


def moments(found: dict[int, Tensor], folds: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (fold, feature) over what each fold trains on; a deviation of 0 becomes 1."""
    total = torch.stack([sum((x for one, x in found.items() if one != k), torch.zeros_like(like)) for k in folds])
    count = total[:, 0].clamp(min=1)
    mean = total[:, 1] / count
    std = (total[:, 2] / count - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(std > 1e-6 * mean.abs(), std, 1.0).float()


def sums_of(portion: Portion, targets: Sequence[Target], everyone: int) -> Sums:
    """Sums of the forcing, the static features and the targets of some cells; `everyone` is a label of no fold."""
    cells, label = portion
    whole = label if label.shape[1] == 1 else torch.where((label != TEST).any(1, keepdim=True), everyone, TEST)
    features = cells.static[:, : len(cells.features)].unsqueeze(1)  # behind them stand maps, which no net sees
    found = {"static": sums(features, whole)}  # years share their cells
    if cells.forcing.shape[2]:
        found["forcing"] = sums(cells.forcing, label)
    for target in targets:
        seen = cells.targets[target.name]
        of_cell = (
            label
            if label.shape[1] == 1 or seen.step == "daily"
            else first_of_month(label, cells)
            if seen.step == "monthly"
            else whole
        )
        if seen.shares is not None:
            of_cell = gauge_label(of_cell, seen.shares)
        found[f"target {target.name}"] = sums(seen.values.unsqueeze(2), of_cell)
    return found


def forcing_sums(facts: Facts, dataset: xr.Dataset, labels: xr.DataArray, driving: Sequence[str]) -> Sums | None:
    """Return the sums of the forcing over the cells of each label, from what was counted when the data were checked.

    Parameters
    ----------
    facts : Facts
    dataset : Dataset
        As `check` gives it.
    labels : DataArray
        From `fold_labels`.
    driving : sequence of str
        Names of the forcing.

    Returns
    -------
    Sums or None
        None if labels change from day to day, records have gaps, or sums were not counted.
    """
    mask = dataset["mask"].values
    whole = bool((dataset["forcing_days"].values[mask] == dataset.sizes["time"]).all())
    if "time" in labels.dims or not whole or not all(("forcing", name, "sum") in facts for name in driving):
        return None
    label = np.nan_to_num(labels.transpose(*dataset["mask"].dims).values, nan=TEST)[mask].astype(int)
    each = [[np.broadcast_to(facts["forcing", n, what], mask.shape)[mask] for what in SUMMED] for n in driving]
    found: dict[int, Tensor] = {}
    for one in np.unique(label[label != TEST]).tolist():
        chosen = [[values[label == one].astype(np.float64).sum() for values in parts] for parts in each]
        found[one] = torch.tensor(chosen, dtype=torch.float64).T
    return {"forcing": found}


SUMMED = ("count", "sum", "squares")
"""Facts that moments follow from."""


def normalisation(
    portions: Portions,
    folds: Sequence[int],
    targets: Sequence[Target],
    source: Literal["training", "stored"] = "training",
    *,
    known: Sums | None = None,
    beside: Callable[[Portion], None] | None = None,
) -> Normalisation:
    """Compute means and standard deviations over the training cells of each fold, or take those of the dataset.

    Parameters
    ----------
    portions : Portions
        All of them are read, but for ``"stored"``.
    folds : sequence of int
    targets : sequence of Target
    source : {"training", "stored"}
        ``"stored"`` takes the attributes ``mean`` and ``std``, as the published layout has them.
    known : Sums, optional
        From `forcing_sums`: the forcing is not read then.
    beside : callable, optional
        Called with each portion that is read.

    Returns
    -------
    Normalisation

    Raises
    ------
    InputError
        If attributes are asked for that are not there.
    """
    if source == "stored":
        return stored(portions.first.cells, folds, targets)
    if source != "training":
        raise InputError([Finding("normalise", f"{source!r} is unknown", 'give "training" or "stored"')])
    found: Sums = {}
    everyone = max(folds) + 1
    for portion in portions.walk(portions.grouped(), forcing=not known):
        if beside is not None:
            beside(portion)
        for name, parts in sums_of(portion, targets, everyone).items():
            so_far = found.setdefault(name, {})
            for one, part in parts.items():
                so_far[one] = so_far[one] + part if one in so_far else part
        cells = portion.cells
    found |= {name: {k: x.to(cells.static.device) for k, x in of.items()} for name, of in (known or {}).items()}
    nothing = torch.zeros(3, len(cells.driving), dtype=torch.float64, device=cells.forcing.device)
    features, single = nothing.new_zeros(3, len(cells.features)), nothing.new_zeros(3, 1)
    scaling = Scaling(*moments(found["forcing"], folds, nothing), *moments(found["static"], folds, features))
    stds: dict[str, Tensor] = {}
    for target in targets:
        std = moments(found[f"target {target.name}"], folds, single)[1][:, 0]
        stds[target.name] = torch.ones_like(std) if target.compare == "standardised" else std
    return Normalisation(scaling, stds)


def stored(cells: Cells, folds: Sequence[int], targets: Sequence[Target]) -> Normalisation:
    """Return the means and standard deviations that the dataset states."""
    observed = [t.name for t in targets if t.compare != "standardised"]
    names = [*cells.driving, *(["static"] if cells.features else []), *observed]
    if missing := [name for name in names if name not in cells.scales]:
        remedy = 'write them, or give normalise="training"'
        raise InputError(Finding(name, "has no attributes `mean` and `std`", remedy) for name in missing)

    def of(name: str) -> tuple[Tensor, Tensor]:
        pair = (torch.as_tensor(np.atleast_1d(np.asarray(x, dtype=np.float32))) for x in cells.scales[name])
        mean, std = (x.to(cells.forcing.device).expand(len(folds), -1) for x in pair)
        return mean, std

    mean, std = (torch.cat(x, 1) for x in zip(*map(of, cells.driving), strict=True))
    empty = cells.static.new_zeros(len(folds), 0)
    static = of("static") if cells.features else (empty, empty)
    one = torch.ones(len(folds), device=cells.forcing.device)
    own = {t.name: one if t.compare == "standardised" else of(t.name)[1][:, 0] for t in targets}
    return Normalisation(Scaling(mean, std, *static), own)


def first_of_month(label: Tensor, cells: Cells) -> Tensor:
    """Labels (cell, month) of the first day of each month."""
    first = torch.searchsorted(cells.calendar.month, torch.arange(len(cells.calendar.days), device=label.device))
    return label[:, first]
