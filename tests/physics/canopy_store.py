"""Rain is held on leaves, from which the wind dries it: a process of one's own, with a forcing and a storage."""

import dataclasses
from typing import ClassVar

import torch

from xh2cm import Flux, Parameter, Storage, Var


@dataclasses.dataclass(frozen=True)
class CanopyStore:
    """Hold half of the rain on leaves as far as there is room, and dry it by the wind."""

    after: ClassVar = "interception"
    forcing: ClassVar = (
        Var("wind_speed", "wind speed", "m s-1", "any", "wind_speed", aliases=("ws", "wind"), lower=0, upper=60),
    )
    storages: ClassVar = (Storage("canopy_water", "water on leaves", scale=2.0),)
    fluxes: ClassVar = (
        Flux("canopy_catch", "surface_water", "canopy_water", "rain held by leaves"),
        Flux("canopy_drying", "canopy_water", "atmosphere", "evaporation of water held by leaves"),
    )
    parameters: ClassVar = (
        Parameter("leaf_capacity", "water that a full canopy holds", "kg m-2", varies="static", default=1.0),
        Parameter("wind_drying", "rate of drying by wind speed", "s m-1 d-1", upper=1.0, default=0.1),
    )

    def __call__(self, surface_water, canopy_water, fapar, wind_speed, leaf_capacity, wind_drying):
        """Return what is caught and what dries, kg m-2 d-1."""
        room = (fapar * leaf_capacity - canopy_water).clamp(min=0.0)
        dried = canopy_water * (1.0 - torch.exp(-wind_drying * wind_speed))
        return torch.minimum(0.5 * surface_water, room), dried
