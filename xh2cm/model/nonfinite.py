"""Find where a run failed: the network or process that first gave a value that is not finite, and the day."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch.utils._pytree import tree_leaves

from xh2cm.errors import Finding

if TYPE_CHECKING:
    from torch import Tensor

    from xh2cm.model.hybrid import Carry, HybridModel, Scaling
    from xh2cm.model.spinup import SpinUp
    from xh2cm.physics import Processes

__all__ = ["Failure", "first_failure"]


class Failure(NamedTuple):
    """The first value that was not finite.

    Parameters
    ----------
    part : str
        A slot and its process, or the networks.
    problem : str
        What it gave, and what it was given.
    day : int
        Of the record, from 0.
    spinning : bool
        Whether that was before the record, in the spin-up.
    """

    part: str
    problem: str
    day: int
    spinning: bool

    def finding(self, day: str, cell: str) -> Finding:
        """Return the finding, with the day and the cell by name."""
        when = f"on {day}{' of the spin-up' if self.spinning else ''}"
        remedy = "let it give a finite number, with a finite slope, for all it may be given: clamp what it divides by"
        return Finding(self.part, f"{self.problem}, {when}, at {cell}", remedy)


class Blamed(Exception):  # noqa: N818
    """Raised where a process gives a value that is not finite."""


@dataclasses.dataclass(frozen=True)
class Watched:
    """Processes whose values are checked while they are called."""

    processes: Processes

    def __getattr__(self, name: str) -> Any:
        return getattr(self.processes, name)

    @property
    def calls(self) -> dict[str, tuple[Callable[..., Any], tuple[str, ...]]]:
        """Calls of the processes, checked."""
        return {
            slot: (partial(self.ask, slot, call, names), names) for slot, (call, names) in self.processes.calls.items()
        }

    def ask(self, slot: str, call: Callable[..., Any], names: tuple[str, ...], *given: Tensor) -> Any:
        """Call a process, and raise if only its results are not finite."""
        found = call(*given)
        if all(finite(x) for x in given) and not all(finite(x) for x in tree_leaves(found)):
            process = self.processes.evaporation if slot == "limit" else self.processes.all[slot]
            with_what = ", ".join(f"{n} = {float(x.flatten()[0]):.6g}" for n, x in zip(names, given, strict=True))
            gives = ", ".join(f"{float(x.flatten()[0]):.6g}" for x in tree_leaves(found))
            raise Blamed(f"{slot} ({type(process).__name__})", f"gives {gives} for {with_what}")
        return found


def finite(x: Tensor) -> bool:
    """Return whether all values are finite."""
    return bool(x.isfinite().all())


def first_failure(
    model: HybridModel,
    weights: Tensor,
    spin: Tensor,
    forcing: Tensor,
    static: Tensor,
    scaling: Scaling,
    spinup: SpinUp,
    carry: Carry | None = None,
) -> Failure | None:
    """Run one cell day by day until a value is not finite.

    Parameters
    ----------
    model : HybridModel
    weights : Tensor, (1, weight)
    spin, forcing : Tensor, (1, 1, time, forcing)
        Of the spin-up, and of the record.
    static : Tensor, (1, 1, feature)
    scaling : Scaling
        Of this fold.
    spinup : SpinUp
    carry : Carry, optional
        Where to start, without a spin-up; bare land if not given.

    Returns
    -------
    Failure or None
        None if all is well.
    """
    passes = 0 if carry is not None else spinup.passes
    carry = model.start(forcing[:, :, 0, 0]) if carry is None else carry
    with torch.no_grad():
        for record, spinning in [*((spin, True) for _ in range(passes)), (forcing, False)]:
            for day, today in enumerate(record.split(1, 2)):
                after, _ = model.run(weights, today, static, scaling, (), carry)
                if not all(finite(x) for x in tree_leaves(after)):
                    return Failure(*blamed(model, weights, today, static, scaling, carry), day, spinning)
                carry = after
    return None


def blamed(
    model: HybridModel, weights: Tensor, today: Tensor, static: Tensor, scaling: Scaling, carry: Carry
) -> tuple[str, str]:
    """Return the part that failed on a day, and the problem."""
    watched = dataclasses.replace(model, processes=cast("Processes", Watched(model.processes)))
    try:
        watched.run(weights, today, static, scaling, (), carry)
    except Blamed as blame:
        return blame.args[0], blame.args[1]
    return (
        "the networks",
        f"give something that is not finite (the weights are{'' if finite(weights) else ' not'} finite)",
    )
