"""Runs of samples that differ in length: each is run for its own days and no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch.utils._pytree import tree_map

if TYPE_CHECKING:
    from torch import Tensor

    from xh2cm.loop.compiled import Loop
    from xh2cm.model.hybrid import Carry, HybridModel, Scaling
    from xh2cm.model.spinup import SpinUp

__all__ = ["run", "spun_up"]

T = TypeVar("T")


def run(
    model: HybridModel,
    weights: Tensor,
    forcing: Tensor,
    static: Tensor,
    scaling: Scaling,
    names: Sequence[str],
    carry: Carry | None,
    loop: Loop,
    days: Tensor,
) -> tuple[Carry, dict[str, Tensor]]:
    """Run samples for the first `days` of their forcing.

    Parameters
    ----------
    model : HybridModel
    weights, forcing, static, scaling, names, carry, loop
        As for `HybridModel.run`.
    days : Tensor of int, (fold, sample)
        At least 1.

    Returns
    -------
    carry : Carry
        After the last day of each sample, if the folds order them alike by length.
    outputs : dict of str to Tensor
        As `HybridModel.run` gives them; 0 behind the last day of a sample.
    """
    if bool((days == forcing.shape[2]).all()):
        return model.run(weights, forcing, static, scaling, names, carry, loop)
    order, length = by_length(days)
    forcing, static = picked((forcing, static), order)
    now = model.start(forcing[:, :, 0, 0]) if carry is None else picked(carry, order)
    ended, pieces, begin = [], [], 0
    for end, number in steps(length):
        now, left = (tree_map(lambda x, at=at: x[:, at], now) for at in (slice(number), slice(number, None)))
        ended.append(left)
        now, outputs = model.run(weights, forcing[:, :number, begin:end], static[:, :number], scaling, names, now, loop)
        pieces.append(outputs)
        begin = end
    back = order.argsort(1)
    ended.append(now)
    after = ended[-1]
    for left in ended[-2::-1]:
        after = tree_map(lambda x, y: torch.cat([x, y], 1), after, left)
    found = {}
    for name in names:
        parts = [piece[name] for piece in pieces]
        if parts[0].ndim < 3:
            found[name] = parts[0] if parts[0].ndim < 2 else picked(parts[0], back)
        else:
            padded = [torch.nn.functional.pad(x, (0, 0, 0, forcing.shape[1] - x.shape[1])) for x in parts]
            whole = torch.cat(padded, 2)
            found[name] = picked(torch.nn.functional.pad(whole, (0, forcing.shape[2] - whole.shape[2])), back)
    return picked(after, back), found


def spun_up(
    model: HybridModel,
    weights: Tensor,
    forcing: Tensor,
    static: Tensor,
    scaling: Scaling,
    spinup: SpinUp,
    loop: Loop,
    days: Tensor,
) -> Carry:
    """Spin samples up, each on the first `days` of its forcing.

    Parameters
    ----------
    model : HybridModel
    weights, forcing, static, scaling, spinup, loop
        As for `HybridModel.spun_up`.
    days : Tensor of int, (fold, sample)
        At least 1.

    Returns
    -------
    Carry
    """
    if bool((days == forcing.shape[2]).all()):
        return model.spun_up(weights, forcing, static, scaling, spinup, loop)
    carry = model.start(forcing[:, :, 0, 0])
    for _ in range(spinup.passes):
        before = carry
        carry, _ = run(model, weights, forcing, static, scaling, (), before, loop, days)
        if spinup.settled(before.state, carry.state, model.processes.water_storages):
            break
    return carry


def by_length(days: Tensor) -> tuple[Tensor, list[int]]:
    """Order of the samples of each fold from the longest to the shortest, and the days of each rank."""
    order = days.argsort(dim=1, descending=True, stable=True)
    return order, days.gather(1, order).amax(0).tolist()


def steps(length: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Days at which samples end, and how many of them run until then."""
    for end in sorted(set(length)):
        yield end, sum(one >= end for one in length)


def picked(values: T, order: Tensor) -> T:
    """The same in another order of the samples, (fold, sample, ...)."""
    rows = torch.arange(len(order), device=order.device).unsqueeze(1)
    return tree_map(lambda x: x[rows, order], values)  # type: ignore[no-any-return]
