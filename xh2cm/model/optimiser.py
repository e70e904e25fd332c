"""AdamW for many folds at once, each with its own step count."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["AdamW"]

FIRST, SECOND = 0.9, 0.999
"""Memory of the gradient and of its square."""

EPSILON = 1e-8
DECAY = 0.01


class AdamW(NamedTuple):
    """Weights of all folds and the moments of their gradients.

    Equal to `torch.optim.AdamW` with its defaults for every fold alone; a fold that sits a step out is left as it was.

    References
    ----------
    Loshchilov and Hutter (2019), doi:10.48550/arXiv.1711.05101
    """

    weights: Tensor  # (fold, weight)
    mean: Tensor  # (fold, weight)
    square: Tensor  # (fold, weight)
    steps: Tensor  # (fold,)

    @classmethod
    def fresh(cls, weights: Tensor) -> AdamW:
        """Return the state before the first step."""
        return cls(
            weights.clone(),
            torch.zeros_like(weights),
            torch.zeros_like(weights),
            weights.new_zeros(len(weights), dtype=torch.float64),
        )

    def step(self, gradient: Tensor, rate: Tensor | float, folds: Tensor) -> None:
        """Update the weights of some folds, in place.

        Parameters
        ----------
        gradient : Tensor, (fold, weight)
        rate : float or Tensor, (fold,)
            Learning rate.
        folds : Tensor of bool, (fold,)
            Those that take the step.
        """
        at = folds.nonzero().squeeze(1)
        g, steps = gradient[at], self.steps[at] + 1
        mean = torch.lerp(self.mean[at], g, 1 - FIRST)
        square = self.square[at] * SECOND + (1 - SECOND) * g * g
        rate = torch.as_tensor(rate, dtype=torch.float64, device=g.device).expand(len(folds))[at]
        size = (rate / (1 - FIRST**steps)).to(g.dtype).unsqueeze(1)
        root = (1 - SECOND**steps).sqrt().to(g.dtype).unsqueeze(1)
        decayed = self.weights[at] * (1 - rate * DECAY).to(g.dtype).unsqueeze(1)
        self.weights[at] = decayed - size * mean / (square.sqrt() / root + EPSILON)
        self.mean[at], self.square[at], self.steps[at] = mean, square, steps
