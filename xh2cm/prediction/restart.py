"""The land at the end of a day, kept with a prediction so that the next one can start from it."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import torch
import xarray as xr
from torch.utils._pytree import tree_flatten, tree_unflatten

from xh2cm.data.align import align
from xh2cm.errors import Finding, InputError
from xh2cm.model.hybrid import Carry, HybridModel

if TYPE_CHECKING:
    from torch import Tensor

    from xh2cm.fitted import Fit

__all__ = ["AXES", "NAME", "about_state", "carried", "packed", "read_state", "unpacked"]

NAME = "state"
"""Name of the variable."""

ENDED = float("inf")
"""The state of a cell whose record ended too long before the last day: it is spun up anew when it is gone on with."""

AXES = ("state_fold", "carried")
"""Its axes beside those of the land: the folds, and all that a cell hands from one day to the next."""


def carried(model: HybridModel) -> int:
    """Return the size of the state that a cell carries from one day to the next.

    Examples
    --------
    >>> from xh2cm.model import HybridModel
    >>> carried(HybridModel(features=0))  # five storages, and the memory of three LSTMs of 100 units
    605
    """
    return packed(model.start(torch.zeros(1, 1))).shape[-1]


def packed(carry: Carry) -> Tensor:
    """Pack the carried state in one tensor, (fold, cell, carried)."""
    flat, _ = tree_flatten(carry)
    columns = [x.unsqueeze(-1) if x.ndim < 3 else x for x in flat]
    shape = torch.broadcast_shapes(*(x.shape[:2] for x in columns))
    return torch.cat([x.expand(*shape, -1) for x in columns], -1)


def unpacked(model: HybridModel, values: Tensor) -> Carry:
    """The carry of a model from one tensor, (fold, cell, carried)."""
    flat, nesting = tree_flatten(model.start(values[..., 0]))
    parts = values.split([x.shape[2] if x.ndim > 2 else 1 for x in flat], -1)
    whole = [part.reshape(x.shape).contiguous() for part, x in zip(parts, flat, strict=True)]
    return tree_unflatten(whole, nesting)  # type: ignore[no-any-return]


def about_state(fit: Fit, member: str | int, time: xr.DataArray) -> dict[str, Any]:
    """Attributes of a state: whose it is, and of which day."""
    storages = fit.model.processes.State._fields
    memory = carried(fit.model) - len(storages)
    return {
        "long_name": "storages of the land and memory of the networks at the end of a day",
        "comment": f"{', '.join(storages)}, then {memory} numbers of the networks, to predict on from",
        "day": f"{time.values[-1]!s:.10}",
        "fit": fit.fingerprint,
        "member": str(member),
    }


def read_state(state: xr.Dataset, fit: Fit, dataset: xr.Dataset, member: str | int) -> xr.DataArray:
    """The state to start from, after it was found to be of this fit, these cells and the day before.

    Parameters
    ----------
    state : Dataset
        A prediction with ``keep_state=True``.
    fit : Fit
    dataset : Dataset
        Checked.
    member : {"mean", "all", "held-out"} or int

    Returns
    -------
    DataArray, (state_fold, land..., carried)
        Of the folds that are needed; lazy if `state` is. Its values have not been looked at.

    Raises
    ------
    InputError
        If it is of something else; all findings at once.
    """
    again = "predict the days before with keep_state=True, and give what comes of it"
    if not isinstance(state, xr.Dataset) or NAME not in state:
        held = (
            f"holds {', '.join(map(str, state))}" if isinstance(state, xr.Dataset) else f"is a {type(state).__name__}"
        )
        raise InputError([Finding(NAME, f"is not in what was given, which {held}", again)])
    found, mask, first = state[NAME], dataset["mask"], dataset.indexes["time"][0]
    if not {"day", "fit", "member"} <= found.attrs.keys():
        gone = ", ".join(sorted({"day", "fit", "member"} - found.attrs.keys()))
        raise InputError([Finding(NAME, f"has lost its attributes {gone}", "save it with them: " + again)])
    findings = []
    if found.attrs["fit"] != fit.fingerprint:
        problem = f"is of the fit {found.attrs['fit']}, this is {fit.fingerprint}"
        findings.append(Finding(NAME, problem, "predict with the fit it was made with, or " + again))
    before = f"{first - datetime.timedelta(days=1)!s:.10}"
    if found.attrs["day"] != before:
        begins = f"the dataset begins on {first!s:.10}: it needs that of {before}"
        problem = f"is of the end of {found.attrs['day']}, and {begins}"
        findings.append(Finding(NAME, problem, f"cut the dataset to begin the day after {found.attrs['day']}"))
    try:
        found = align(found, mask, NAME, on=mask.dims, remedy=f"keep the state of all cells of the dataset: {again}")
    except InputError as error:
        findings += error.findings
    needed = [member] if isinstance(member, int) else list(fit.folds)
    held = found[AXES[0]].values.tolist() if AXES[0] in found.coords else []
    only_held_out = found.attrs["member"] == "held-out" and not (fit.labels is not None and "time" in fit.labels.dims)
    if lost := [k for k in needed if k not in held]:
        problem = f"holds the folds {held}, and member={member!r} needs {', '.join(map(str, lost))} too"
        findings.append(Finding(NAME, problem, "keep it in a prediction of the same member"))
    elif only_held_out and member != "held-out":
        problem = f"was kept with member='held-out', so of one fold a cell, and member={member!r} was asked for"
        findings.append(Finding(NAME, problem, 'give member="held-out", or keep it in a prediction with member="mean"'))
    size = carried(fit.model)
    if not findings and found.sizes[AXES[1]] != size:
        findings.append(Finding(NAME, f"has {found.sizes[AXES[1]]} numbers a cell, this fit carries {size}", again))
    if findings:
        raise InputError(findings)
    return found.sel({AXES[0]: needed}).transpose(AXES[0], *mask.dims, AXES[1]).drop_attrs(deep=False)
