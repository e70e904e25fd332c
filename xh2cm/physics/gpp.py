"""Gross primary production."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from xh2cm.physics.evaporation import MEGAJOULE_PER_DAY
from xh2cm.variables import Parameter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LightUseGPP", "WaterUseGPP"]

CO2_SENSITIVITY = Parameter(
    "co2_sensitivity", "CO2 effect on gross primary production", "1e6", varies="global", default=0.00150231
)

COLDEST = -8.0
"""Temperature at which uptake ends (MOD17, of the daily minimum), degC."""

OPEN_VPD = 6.5
"""Vapour pressure deficit up to which uptake is not reduced (MOD17), hPa."""


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
        CO2_SENSITIVITY,
    )

    def __call__(self, transpiration: Tensor, co2: Tensor, wue: Tensor, co2_sensitivity: Tensor) -> Tensor:
        """Return gross primary production of a day.

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


@dataclasses.dataclass(frozen=True)
class LightUseGPP:
    """Carbon is taken up in proportion to the light absorbed, less when it is cold or the air is dry.

    ``light_use_efficiency * fapar * light * warmth * moistness * co2 * co2_sensitivity``. Warmth rises from 0 at
    -8 degC to 1 at ``optimal_temperature``; moistness falls from 1 at 6.5 hPa of vapour pressure deficit to 0 at
    ``closing_vpd``. Their form and their lower ends are those of MOD17, which takes the daily minimum temperature where
    this has the mean; the upper ends, which differ between its biomes, are learned for each cell. The CO2 effect is
    that of `WaterUseGPP`.

    **Light is approximated by positive net radiation**, since the forcing holds no photosynthetically active one (PAR).
    Over a summer's day net radiation is of the size of PAR; under snow or in the dark of a high winter it is negative
    and PAR is not, so that there is no uptake then. The efficiency is therefore carbon by energy of *net* radiation, at
    a CO2 effect of 1, and must not be compared with one by PAR. Soil moisture acts through the network that gives
    the efficiency, which by default sees it (the row ``"*"``), and not through transpiration: here carbon and water are
    coupled by light and by air alone.

    References
    ----------
    Monteith (1972), doi:10.2307/2401901; Running et al. (2004), doi:10.1641/0006-3568(2004)054[0547:ACSMOG]2.0.CO;2
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(
            "light_use_efficiency",
            "carbon taken up by net radiation absorbed, warm, moist and at a CO2 effect of 1",
            "g MJ-1",
            upper=5.0,
            default=1.344707,
        ),
        Parameter(
            "optimal_temperature",
            "temperature from which uptake is not reduced",
            "degC",
            lower=0.0,
            upper=30.0,
            varies="static",
            default=9.95437,  # 10
        ),
        Parameter(
            "closing_vpd",
            "vapour pressure deficit at which uptake ends",
            "hPa",
            lower=15.0,
            upper=80.0,
            varies="static",
        ),
        CO2_SENSITIVITY,
    )

    def __call__(
        self,
        net_radiation: Tensor,
        temperature: Tensor,
        vpd: Tensor,
        co2: Tensor,
        fapar: Tensor,
        light_use_efficiency: Tensor,
        optimal_temperature: Tensor,
        closing_vpd: Tensor,
        co2_sensitivity: Tensor,
    ) -> Tensor:
        """Return gross primary production of a day.

        Parameters
        ----------
        net_radiation : Tensor, (fold, cell), W m-2
        temperature : Tensor, (fold, cell), degC
        vpd : Tensor, (fold, cell), hPa
        co2 : Tensor, (fold, cell), ppm
        fapar : Tensor, (fold, cell), 1
            Of today.
        light_use_efficiency : Tensor, (fold, cell), gC MJ-1
        optimal_temperature : Tensor, (fold, cell), degC
        closing_vpd : Tensor, (fold, cell), hPa
        co2_sensitivity : Tensor, (fold, 1), ppm-1

        Returns
        -------
        Tensor, (fold, cell), gC m-2 d-1
        """
        absorbed = fapar * MEGAJOULE_PER_DAY * net_radiation.clamp(min=0.0)
        warmth = ((temperature - COLDEST) / (optimal_temperature - COLDEST)).clamp(0.0, 1.0)
        moistness = ((closing_vpd - vpd) / (closing_vpd - OPEN_VPD)).clamp(0.0, 1.0)
        return light_use_efficiency * absorbed * warmth * moistness * co2 * co2_sensitivity
