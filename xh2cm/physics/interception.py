"""Interception: rain that evaporates from leaves."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import torch

from xh2cm.variables import Parameter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CanopyInterception"]


@dataclasses.dataclass(frozen=True)
class CanopyInterception:
    """Rain caught by the canopy evaporates on the day it falls.

    ``min(rainfall, fapar * interception_capacity, available_energy)``

    References
    ----------
    Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("interception_capacity", "rain a full canopy can hold on a day", "kg m-2 d-1", varies="static"),
    )

    def __call__(
        self, rainfall: Tensor, available_energy: Tensor, fapar: Tensor, interception_capacity: Tensor
    ) -> Tensor:
        """Evaporation of intercepted rain.

        Parameters
        ----------
        rainfall : Tensor, (fold, cell), kg m-2 d-1
        available_energy : Tensor, (fold, cell), kg m-2 d-1
            Water the energy of the day could evaporate.
        fapar : Tensor, (fold, cell), 1
            Of today.
        interception_capacity : Tensor, (fold, cell), kg m-2 d-1

        Returns
        -------
        Tensor, (fold, cell), kg m-2 d-1
        """
        return torch.minimum(torch.minimum(rainfall, fapar * interception_capacity), available_energy)
