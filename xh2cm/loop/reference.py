"""The readable loop over days: the reference that every faster one must agree with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["walk"]

Day = Callable[[Any, Any, tuple["Tensor", ...]], tuple[Any, Mapping[str, "Tensor"]]]
Days = Callable[..., tuple[Any, dict[str, "Tensor"]]]


def walk(
    day: Day, shared: Any, carry: Any, record: Sequence[Tensor], names: Sequence[str], stretch: int = 32
) -> tuple[Any, dict[str, Tensor]]:
    """Run a record day by day and record the requested outputs.

    Parameters
    ----------
    day : callable
        ``day(shared, carry, today) -> (carry, outputs)``; `today` holds a (fold, cell, feature) tensor of each of
        `record`. Everything it needs a gradient for comes to it through `shared` and `carry`.
    shared : Any
        What is the same every day, as any nesting of tuples and dicts of tensors.
    carry : Any
        What yesterday hands to today: state of the land and memory of the networks.
    record : sequence of Tensor, (fold, cell, time, feature)
    names : sequence of str
        Outputs to keep.
    stretch : int
        With gradients, only what passes from one stretch of so many days to the next is kept; what happened inside is
        worked out again on the way back. So memory grows with the number of stretches and not of days.

    Returns
    -------
    carry : Any
        At the end of the last day.
    outputs : dict of str to Tensor, (fold, cell, time)
    """

    def days(shared: Any, carry: Any, part: Sequence[Tensor]) -> tuple[Any, dict[str, Tensor]]:
        series: dict[str, list[Tensor]] = {name: [] for name in names}
        for today in zip(*(x.unbind(2) for x in part), strict=True):
            carry, outputs = day(shared, carry, today)
            for name, kept in series.items():
                kept.append(outputs[name])
        return carry, {name: torch.stack(kept, -1) for name, kept in series.items()}

    again = recomputed(days) if torch.is_grad_enabled() else days
    pieces = []
    for part in zip(*(x.split(stretch, 2) for x in record), strict=True):  # slices inside autograd would be quadratic
        carry, piece = again(shared, carry, part)
        pieces.append(piece)
    return carry, {name: torch.cat([piece[name] for piece in pieces], -1) for name in names}


def recomputed(days: Days) -> Days:
    """Let a function of nested tensors save only its arguments, and recompute the rest in the backward pass."""

    def call(*arguments: Any) -> tuple[Any, dict[str, Tensor]]:
        flat, nesting = tree_flatten(arguments)
        shape: list[Any] = []

        class Again(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *flat: Tensor) -> tuple[Tensor, ...]:
                ctx.save_for_backward(*flat)
                results, told = tree_flatten(days(*tree_unflatten(list(flat), nesting)))
                shape.append(told)
                return tuple(results)

            @staticmethod
            def backward(ctx: Any, *by_results: Tensor) -> tuple[Tensor | None, ...]:
                needs = ctx.needs_input_grad
                fresh = [x.detach().requires_grad_(need) for x, need in zip(ctx.saved_tensors, needs, strict=True)]
                with torch.enable_grad():
                    results, _ = tree_flatten(days(*tree_unflatten(fresh, nesting)))
                told = [(r, by) for r, by in zip(results, by_results, strict=True) if r.requires_grad]
                wanted = [x for x, need in zip(fresh, needs, strict=True) if need]
                grads = iter(
                    torch.autograd.grad([r for r, _ in told], wanted, [by for _, by in told], allow_unused=True)
                )
                return tuple(next(grads) if need else None for need in needs)

        results = Again.apply(*flat)  # type: ignore[no-untyped-call]
        return tree_unflatten(list(results), shape[0])  # type: ignore[no-any-return]

    return call
