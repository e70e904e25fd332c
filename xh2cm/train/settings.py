"""How a model is trained."""

from __future__ import annotations

import dataclasses

from xh2cm.errors import InputError, number_findings
from xh2cm.model.spinup import SpinUp

__all__ = ["Training"]


@dataclasses.dataclass(frozen=True)
class Training:
    """How a model is trained; the defaults are the published ones.

    Parameters
    ----------
    epochs : int
        At most so many.
    patience : int or None
        Stop a fold after so many epochs without a better validation loss and keep its best weights; None trains all
        epochs and keeps the last.
    batch_size : int
        Samples a fold sees in a step.
    learning_rate : float
        Times 0.7 every 30 epochs.
    clip : float
        Gradients are clipped by value.
    window : int, optional
        Cut records into windows of so many days, each with a spin-up of its own; whole records if not given.
    spinup : SpinUp
    seed : int
    """

    epochs: int = 5000
    patience: int | None = 10
    batch_size: int = 128
    learning_rate: float = 0.005
    clip: float = 0.5
    window: int | None = None
    spinup: SpinUp = SpinUp()
    seed: int = 0

    DECAY = 0.7
    DECAY_EVERY = 30

    def __post_init__(self) -> None:
        least = {"epochs": 1, "patience": 1, "batch_size": 1, "learning_rate": 0.0, "clip": 0.0, "window": 28}
        if findings := number_findings(vars(self), {**least, "seed": 0}, optional=("patience", "window")):
            raise InputError(findings)

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch."""
        return float(self.learning_rate * self.DECAY ** (epoch // self.DECAY_EVERY))
