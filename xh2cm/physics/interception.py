"""Interception: rain that evaporates from leaves."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import torch

from xh2cm.variables import SURFACE_WATER, Flux, Parameter, Storage

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CanopyInterception", "StoredInterception"]


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
        """Return the evaporation of intercepted rain.

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


@dataclasses.dataclass(frozen=True)
class StoredInterception:
    """Leaves hold rain over days, and the wet part of them evaporates it at the energy limit.

    Rain is held up to ``fapar * interception_capacity``; of what the canopy holds,
    ``min(canopy_water, energy * (canopy_water / (fapar * interception_capacity)) ** (2 / 3))`` evaporates. The water on
    leaves is a storage of its own, ``canopy_water``, and part of TWS. What a canopy that loses its leaves holds beyond
    its capacity drips to the ground.

    References
    ----------
    Deardorff (1978), doi:10.1029/JC083iC04p01889
    """

    parameters: ClassVar[tuple[Parameter, ...]] = CanopyInterception.parameters
    storages: ClassVar[tuple[Storage, ...]] = (Storage("canopy_water", "water held by the canopy", scale=2.0),)
    fluxes: ClassVar[tuple[Flux, ...]] = (
        Flux("interception", "canopy_water", "atmosphere"),
        Flux("canopy_catch", SURFACE_WATER, "canopy_water", "rain held by the canopy"),
        Flux("canopy_drip", "canopy_water", SURFACE_WATER, "water that drips from the canopy"),
    )

    def __call__(
        self,
        rainfall: Tensor,
        available_energy: Tensor,
        fapar: Tensor,
        canopy_water: Tensor,
        interception_capacity: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return evaporation of intercepted rain, and what the canopy holds and loses of water.

        Parameters
        ----------
        rainfall : Tensor, (fold, cell), kg m-2 d-1
        available_energy : Tensor, (fold, cell), kg m-2 d-1
        fapar : Tensor, (fold, cell), 1
            Of today.
        canopy_water : Tensor, (fold, cell), kg m-2
            At the end of yesterday.
        interception_capacity : Tensor, (fold, cell), kg m-2 d-1

        Returns
        -------
        interception, canopy_catch, canopy_drip : Tensor, (fold, cell), kg m-2 d-1
        """
        capacity = fapar * interception_capacity
        drip = (canopy_water - capacity).clamp(min=0.0)
        caught = torch.minimum(rainfall, capacity - (canopy_water - drip))
        held = canopy_water - drip + caught
        wet = (held / capacity.clamp(min=1e-6)).clamp(1e-6, 1.0)  # at 0 the power has no finite slope
        evaporated = torch.minimum(held, available_energy * torch.exp(torch.log(wet) * (2.0 / 3.0)))
        return evaporated, caught, drip
