"""Soil: retention of the water that reaches it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import torch

from xh2cm.variables import Parameter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BetaSoil", "BucketSoil"]


@dataclasses.dataclass(frozen=True)
class BucketSoil:
    """A bucket takes a learned fraction of the water input, at most what it has room for.

    References
    ----------
    Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("soil_recharge_fraction", "fraction of the water input that the soil retains", "1", upper=1.0),
    )

    def __call__(
        self, soil_moisture: Tensor, water_input: Tensor, soil_capacity: Tensor, soil_recharge_fraction: Tensor
    ) -> Tensor:
        """Return the fraction of the water input that stays in the soil.

        Parameters
        ----------
        soil_moisture : Tensor, (fold, cell), kg m-2
            After evaporation.
        water_input : Tensor, (fold, cell), kg m-2 d-1
        soil_capacity : Tensor, (fold, cell), kg m-2
        soil_recharge_fraction : Tensor, (fold, cell), 1

        Returns
        -------
        Tensor, (fold, cell), 1
        """
        return room(soil_moisture, water_input, soil_capacity).clamp(max=1.0) * soil_recharge_fraction


@dataclasses.dataclass(frozen=True)
class BetaSoil:
    """The wetter the soil, the more of the water input runs through it: the soil routine of HBV.

    It retains ``1 - (soil_moisture / soil_capacity) ** recharge_exponent`` of the water input, at most what it has room
    for. There is nothing to learn from day to day: with its one exponent for a cell it suits a calibrated model, and it
    leaves a network less to explain than `BucketSoil` does.

    References
    ----------
    Lindstrom et al. (1997), doi:10.1016/S0022-1694(97)00041-3, after Bergstrom
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(
            "recharge_exponent",
            "exponent of the share of water running through the soil, by its wetness",
            "1",
            lower=0.5,
            upper=6.0,
            varies="static",
            default=2.324967,  # 2.3
        ),
    )

    def __call__(
        self, soil_moisture: Tensor, water_input: Tensor, soil_capacity: Tensor, recharge_exponent: Tensor
    ) -> Tensor:
        """Return the fraction of the water input that stays in the soil.

        Parameters
        ----------
        soil_moisture : Tensor, (fold, cell), kg m-2
            After evaporation.
        water_input : Tensor, (fold, cell), kg m-2 d-1
        soil_capacity : Tensor, (fold, cell), kg m-2
        recharge_exponent : Tensor, (fold, cell), 1

        Returns
        -------
        Tensor, (fold, cell), 1
        """
        wetness = (soil_moisture / soil_capacity).clamp(1e-6, 1.0)  # dry soil has no logarithm
        retained = 1.0 - torch.exp(recharge_exponent * torch.log(wetness))
        return torch.minimum(retained, room(soil_moisture, water_input, soil_capacity))


def room(soil_moisture: Tensor, water_input: Tensor, soil_capacity: Tensor) -> Tensor:
    """Return the fraction of the water input that fits into the soil; above 1 where more would."""
    return (soil_capacity - soil_moisture) / water_input.clamp(min=1e-8)
