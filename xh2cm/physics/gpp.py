"""Gross primary production."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from xh2cm.variables import Parameter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["WaterUseGPP"]


@dataclasses.dataclass(frozen=True)
class WaterUseGPP:
    """Carbon is taken up in proportion to the water transpired and to the CO2 around the leaf.

    ``transpiration * wue * co2 * co2_sensitivity``

    References
    ----------
    Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("wue", "water-use efficiency of transpiration", "g kg-1"),
        Parameter("co2_sensitivity", "CO2 effect on gross primary production", "1e6", varies="global", start=-6.5),
    )

    def __call__(self, transpiration: Tensor, co2: Tensor, wue: Tensor, co2_sensitivity: Tensor) -> Tensor:
        """Gross primary production of a day.

        Parameters
        ----------
        transpiration : Tensor, (fold, cell), kg m-2 d-1
        co2 : Tensor, (fold, cell), ppm
        wue : Tensor, (fold, cell), gC kg-1
        co2_sensitivity : Tensor, (fold, 1), ppm-1

        Returns
        -------
        Tensor, (fold, cell), gC m-2 d-1
        """
        return transpiration * wue * co2 * co2_sensitivity
