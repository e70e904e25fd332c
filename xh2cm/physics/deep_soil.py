"""A second soil layer below the root zone."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import torch

from xh2cm.variables import Flux, Parameter, Storage

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DeepSoil"]


@dataclasses.dataclass(frozen=True)
class DeepSoil:
    """Let water percolate by gravity to a deep soil layer, from which plants draw and groundwater is recharged.

    Percolation is the hydraulic conductivity of the upper layer,
    ``saturated_conductivity * (soil_moisture / soil_capacity) ** conductivity_exponent``, at most what is there and
    what the deep layer has room for. Plants draw ``fapar * min(energy, deep_soil) * deep_uptake_fraction``, with the
    energy that evaporation and transpiration have left; of the rest, ``deep_release`` recharges groundwater. GPP
    depends on the transpiration from the upper layer alone. It is given as `Processes.more`.

    References
    ----------
    Liang et al. (1994), doi:10.1029/94JD00483; the uptake is that of the published model from its one layer
    """

    after: ClassVar[str] = "soil"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(
            "saturated_conductivity", "percolation from a saturated soil", "kg m-2 d-1", varies="static", default=10.0
        ),
        Parameter(
            "conductivity_exponent",
            "exponent of percolation by wetness",
            "1",
            lower=3.0,
            upper=30.0,
            varies="static",
            default=10.0,
        ),
        Parameter("deep_capacity", "water the deep soil can hold", "kg m-2", lower=1.0, varies="static", default=201.0),
        Parameter("deep_uptake_fraction", "fraction of possible uptake from the deep soil", "1", upper=1.0),
        Parameter(
            "deep_release",
            "fraction of the deep soil's water released a day",
            "d-1",
            upper=1.0,
            varies="static",
            default=0.01,
        ),
    )
    storages: ClassVar[tuple[Storage, ...]] = (Storage("deep_soil", "soil moisture below the root zone"),)
    fluxes: ClassVar[tuple[Flux, ...]] = (
        Flux("percolation", "soil_moisture", "deep_soil", "percolation to the deep soil"),
        Flux("deep_transpiration", "deep_soil", "atmosphere", "transpiration of water from the deep soil"),
        Flux("deep_drainage", "deep_soil", "groundwater", "drainage of the deep soil"),
    )

    def __call__(
        self,
        soil_moisture: Tensor,
        soil_capacity: Tensor,
        deep_soil: Tensor,
        available_energy: Tensor,
        soil_evaporation: Tensor,
        transpiration: Tensor,
        fapar: Tensor,
        saturated_conductivity: Tensor,
        conductivity_exponent: Tensor,
        deep_capacity: Tensor,
        deep_uptake_fraction: Tensor,
        deep_release: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return percolation, transpiration and drainage of a day.

        Parameters
        ----------
        soil_moisture, soil_capacity, deep_soil, deep_capacity : Tensor, (fold, cell), kg m-2
        available_energy, soil_evaporation, transpiration : Tensor, (fold, cell), kg m-2 d-1
        fapar, conductivity_exponent, deep_uptake_fraction : Tensor, (fold, cell), 1
        saturated_conductivity : Tensor, (fold, cell), kg m-2 d-1
        deep_release : Tensor, (fold, cell), d-1

        Returns
        -------
        percolation, deep_transpiration, deep_drainage : Tensor, (fold, cell), kg m-2 d-1
        """
        wetness = (soil_moisture / soil_capacity).clamp(1e-6, 1.0)  # dry soil has no logarithm
        conductivity = saturated_conductivity * torch.exp(conductivity_exponent * torch.log(wetness))
        room = (deep_capacity - deep_soil).clamp(min=0.0)
        percolation = torch.minimum(torch.minimum(conductivity, soil_moisture), room)
        energy = (available_energy - soil_evaporation - transpiration).clamp(min=0.0)
        uptake = fapar * torch.minimum(energy, deep_soil) * deep_uptake_fraction
        return percolation, uptake, deep_release * (deep_soil - uptake)
