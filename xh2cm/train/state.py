"""State of a training: everything on which its next step depends, as tensors that can be saved."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr

from xh2cm.errors import Finding
from xh2cm.model.loss import SPLITS
from xh2cm.model.optimiser import AdamW

if TYPE_CHECKING:
    from torch import Tensor

    from xh2cm.model.hybrid import HybridModel

__all__ = ["Course"]


LARGE_PRIME = 1_000_003


@dataclasses.dataclass
class Course:
    """The state of a training: where it is in the epoch, and what it has come to.

    Parameters
    ----------
    optimiser : AdamW
    best : Tensor, (fold, weight)
        Weights of the best epoch so far, of the last where none is better than another.
    best_loss : Tensor, (fold,), float64
        Validation loss of that epoch.
    waited : Tensor of int, (fold,)
        Epochs since.
    skipped : Tensor of int, (fold,)
        Steps that were skipped because loss or gradient was not finite.
    alive : Tensor of bool, (fold,)
        Folds that have not ended.
    dice : Tensor of uint8, (fold + 1, n)
        States of the generators that order the samples of each fold, and the blocks: as they were before this portion.
    groups : list of list of int
        Blocks of each portion of this epoch; none before it has begun.
    portion, step : int
        How many portions of this epoch, and steps of this portion, are done.
    running : dict of str to Tensor, (2, fold)
        Of each loss the sum over the samples of this epoch, and how many there were.
    history : list of dict of str to Tensor, (split, fold)
        Losses of the epochs that are done.
    reasons : dict of int to Finding
        Why a fold's first step was skipped.
    """

    optimiser: AdamW
    best: Tensor
    best_loss: Tensor
    waited: Tensor
    skipped: Tensor
    alive: Tensor
    dice: Tensor
    groups: list[list[int]] = dataclasses.field(default_factory=list)
    portion: int = 0
    step: int = 0
    running: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    history: list[dict[str, Tensor]] = dataclasses.field(default_factory=list)
    reasons: dict[int, Finding] = dataclasses.field(default_factory=dict)

    @classmethod
    def begun(cls, model: HybridModel, folds: Sequence[int], seed: int, device: torch.device) -> Course:
        """Before the first step, each fold with initial weights of its own."""
        dice = [torch.Generator().manual_seed(seed * LARGE_PRIME + k) for k in (*folds, -1)]
        optimiser = AdamW.fresh(torch.stack([model.initial(one) for one in dice[:-1]]).to(device))
        number = len(folds)
        return cls(
            optimiser=optimiser,
            best=optimiser.weights.clone(),
            best_loss=torch.full((number,), math.inf, dtype=torch.float64),
            waited=torch.zeros(number, dtype=torch.int64),
            skipped=torch.zeros(number, dtype=torch.int64),
            alive=torch.ones(number, dtype=torch.bool),
            dice=torch.stack([one.get_state() for one in dice]),
        )

    @property
    def epoch(self) -> int:
        """Epochs that are done."""
        return len(self.history)

    @property
    def place(self) -> tuple[int, int, int]:
        """Return its progress, which grows with each step."""
        return self.epoch, self.portion, self.step

    def generators(self) -> list[torch.Generator]:
        """The generators of the folds, and that of the blocks, as they were before this portion."""
        return [torch.Generator().set_state(state.clone()) for state in self.dice]  # a view of a row would crash

    def tensors(self) -> dict[str, Tensor]:
        """Tensors of the state, by name, on the CPU."""
        parts = {f"optimiser.{name}": x for name, x in self.optimiser._asdict().items()}
        parts |= {name: getattr(self, name) for name in TENSORS}
        parts |= {f"running.{name}": x for name, x in self.running.items()}
        if self.history:
            parts |= {f"history.{name}": torch.stack([h[name] for h in self.history]) for name in self.history[0]}
        return {name: x.detach().cpu().contiguous() for name, x in parts.items()}

    def described(self) -> dict[str, str]:
        """The rest, as text."""
        return {
            "groups": json.dumps(self.groups),
            "portion": str(self.portion),
            "step": str(self.step),
            "losses": json.dumps(list(self.history[0] if self.history else self.running)),  # files keep no order
            "reasons": json.dumps({str(k): list(reason) for k, reason in self.reasons.items()}),
        }

    @classmethod
    def recalled(cls, tensors: dict[str, Tensor], described: dict[str, str], device: torch.device) -> Course:
        """Restore a state from the results of `tensors` and `described`."""
        names = json.loads(described["losses"])
        history = [tensors[f"history.{name}"] for name in names if f"history.{name}" in tensors]
        return cls(
            optimiser=AdamW(*(tensors[f"optimiser.{name}"].to(device) for name in AdamW._fields)),
            groups=json.loads(described["groups"]),
            portion=int(described["portion"]),
            step=int(described["step"]),
            running={name: tensors[f"running.{name}"] for name in names if f"running.{name}" in tensors},
            history=[dict(zip(names, of_epoch, strict=True)) for of_epoch in zip(*history, strict=True)],
            reasons={int(k): Finding(*reason) for k, reason in json.loads(described["reasons"]).items()},
            **{name: tensors[name].to(device if name == "best" else "cpu") for name in TENSORS},
        )

    def losses(self, folds: Sequence[int]) -> xr.Dataset:
        """Every loss of every epoch: ``loss(split, target, epoch, fold)`` and ``skipped_steps(fold)``."""
        names = list(self.history[0])
        values = torch.stack([torch.stack([of_epoch[name] for name in names]) for of_epoch in self.history])
        return xr.Dataset(
            {
                "loss": (
                    ("split", "target", "epoch", "fold"),
                    values.permute(2, 1, 0, 3).numpy(),
                    {"long_name": "standardised squared error", "units": "1"},
                ),
                "skipped_steps": (
                    "fold",
                    self.skipped.numpy().copy(),
                    {"long_name": "steps skipped because loss or gradient was not finite", "units": "1"},
                ),
            },
            coords={
                "split": list(SPLITS),
                "target": names,
                "epoch": np.arange(1, self.epoch + 1),
                "fold": list(folds),
            },
        )


TENSORS = ("best", "best_loss", "waited", "skipped", "alive", "dice")
"""Fields of a course that are one tensor each."""
