"""Soil: how much of the water that reaches it stays."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from xh2cm.variables import Parameter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BucketSoil"]


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
        """Fraction of the water input that stays in the soil.

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
        room = (soil_capacity - soil_moisture) / water_input.clamp(min=1e-8)
        return room.clamp(max=1.0) * soil_recharge_fraction
