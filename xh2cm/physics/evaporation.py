"""Evaporation: the energy limit, evaporation from soil, transpiration."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import torch

from xh2cm.variables import Parameter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LATENT_HEAT", "SoilAndCanopyEvaporation"]

LATENT_HEAT = 2.45
"""Latent heat of vaporisation, MJ kg-1 (FAO-56, at 20 degC)."""

MEGAJOULE_PER_DAY = 0.0864
"""1 W m-2 over a day, in MJ m-2 d-1."""


@dataclasses.dataclass(frozen=True)
class SoilAndCanopyEvaporation:
    """Soil and canopy share the energy that interception leaves, in the ratio of bare to absorbed light.

    Soil evaporation is ``(1 - fapar) min(energy, soil_moisture) soil_evaporation_fraction``; transpiration is
    ``fapar min(energy, soil_moisture) transpiration_fraction`` of what soil evaporation has left of both.

    References
    ----------
    Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("soil_evaporation_fraction", "fraction of possible soil evaporation", "1", upper=1.0),
        Parameter("transpiration_fraction", "fraction of possible transpiration", "1", upper=1.0),
    )

    def limit(self, net_radiation: Tensor) -> Tensor:
        """Water that the day's net radiation could evaporate.

        Parameters
        ----------
        net_radiation : Tensor, (fold, cell), W m-2

        Returns
        -------
        Tensor, (fold, cell), kg m-2 d-1
        """
        return (MEGAJOULE_PER_DAY * net_radiation / LATENT_HEAT).clamp(min=0.0)

    def __call__(
        self,
        soil_moisture: Tensor,
        available_energy: Tensor,
        fapar: Tensor,
        soil_evaporation_fraction: Tensor,
        transpiration_fraction: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Soil evaporation and transpiration of a day.

        Parameters
        ----------
        soil_moisture : Tensor, (fold, cell), kg m-2
        available_energy : Tensor, (fold, cell), kg m-2 d-1
            What interception has left of the limit.
        fapar : Tensor, (fold, cell), 1
        soil_evaporation_fraction, transpiration_fraction : Tensor, (fold, cell), 1

        Returns
        -------
        soil_evaporation, transpiration : Tensor, (fold, cell), kg m-2 d-1
            Together at most `soil_moisture`.
        """
        soil = (1.0 - fapar) * torch.minimum(available_energy, soil_moisture) * soil_evaporation_fraction
        canopy = fapar * torch.minimum(available_energy - soil, soil_moisture - soil) * transpiration_fraction
        return soil, canopy
