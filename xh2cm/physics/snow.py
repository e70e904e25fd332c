"""Snow: partition of precipitation into rain and snowfall, and snow melt."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import torch

from xh2cm.physics.evaporation import MEGAJOULE_PER_DAY
from xh2cm.variables import SURFACE_WATER, Flux, Parameter, Storage

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DegreeDaySnow", "LiquidWaterSnow", "RadiationSnow"]

LATENT_HEAT_OF_FUSION = 0.334
"""MJ kg-1."""

SNOWFALL_CORRECTION = Parameter(
    "snowfall_correction", "snowfall undercatch correction", "1", upper=1.0, varies="global", default=0.95257413
)


@dataclasses.dataclass(frozen=True)
class DegreeDaySnow:
    """Snow falls at or below 0 degC and melts in proportion to the temperature above it.

    Snowfall is the precipitation of a frosty day, corrected for undercatch by one learned number; melt is
    ``min(swe, snow_melt_rate * max(temperature, 0))``.

    References
    ----------
    Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("snow_melt_rate", "melt per day and degree above freezing", "kg m-2 d-1 K-1"),
        SNOWFALL_CORRECTION,
    )

    def __call__(
        self,
        swe: Tensor,
        precipitation: Tensor,
        temperature: Tensor,
        snow_melt_rate: Tensor,
        snowfall_correction: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return snowfall, rainfall and melt of a day.

        Parameters
        ----------
        swe : Tensor, (fold, cell), kg m-2
            At the end of yesterday.
        precipitation : Tensor, (fold, cell), kg m-2 d-1
        temperature : Tensor, (fold, cell), degC
        snow_melt_rate : Tensor, (fold, cell), kg m-2 d-1 K-1
        snowfall_correction : Tensor, (fold, 1), 1

        Returns
        -------
        snowfall, rainfall, snow_melt : Tensor, (fold, cell), kg m-2 d-1
        """
        frost = temperature <= 0.0
        nothing = torch.zeros_like(precipitation)
        snowfall = torch.where(frost, snowfall_correction * precipitation, nothing)
        rainfall = torch.where(frost, nothing, precipitation)
        return snowfall, rainfall, torch.minimum(swe, snow_melt_rate * temperature.clamp(min=0.0))


@dataclasses.dataclass(frozen=True)
class RadiationSnow:
    """Snow melts by net radiation and by the warmth of the air; around a learned temperature, rain and snow mix.

    The restricted degree-day method: on days above 0 degC, melt is what net radiation can melt, plus a rate times the
    temperature that is left with the heat of the air alone and so varies less than that of `DegreeDaySnow`,
    ``min(swe, radiation_melt_fraction * net_radiation / latent heat of fusion + restricted_melt_rate * temperature)``.
    The net radiation of the forcing is that of the whole cell, with its trees and bare ground: one learned fraction of
    it melts snow, and none of it on days below 0 degC, when it warms the pack first.

    The share of snow in precipitation falls with temperature as ``sigmoid(snow_temperature - temperature)``, from 0.9
    to 0.1 over 4.4 K, where `DegreeDaySnow` has a step at 0 degC. The width is chosen, not published.

    References
    ----------
    Kustas et al. (1994), doi:10.1029/94WR00152; temperature of equal shares: Jennings et al. (2018),
    doi:10.1038/s41467-018-03629-7
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(
            "restricted_melt_rate",
            "melt per day and degree above freezing, without that by radiation",
            "kg m-2 d-1 K-1",
            upper=10.0,
            default=1.978161,
        ),
        Parameter(  # learned by cell, it let snow pile up in a cell held out
            "radiation_melt_fraction", "fraction of net radiation that melts snow", "1", upper=1.0, varies="global"
        ),
        Parameter(
            "snow_temperature",
            "temperature at which half of the precipitation is snow",
            "degC",
            lower=-1.0,
            upper=3.0,
            varies="global",
        ),
        SNOWFALL_CORRECTION,
    )

    def __call__(
        self,
        swe: Tensor,
        precipitation: Tensor,
        temperature: Tensor,
        net_radiation: Tensor,
        restricted_melt_rate: Tensor,
        radiation_melt_fraction: Tensor,
        snow_temperature: Tensor,
        snowfall_correction: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return snowfall, rainfall and melt of a day.

        Parameters
        ----------
        swe : Tensor, (fold, cell), kg m-2
            At the end of yesterday.
        precipitation : Tensor, (fold, cell), kg m-2 d-1
        temperature : Tensor, (fold, cell), degC
        net_radiation : Tensor, (fold, cell), W m-2
        restricted_melt_rate : Tensor, (fold, cell), kg m-2 d-1 K-1
        radiation_melt_fraction : Tensor, (fold, 1), 1
        snow_temperature : Tensor, (fold, 1), degC
        snowfall_correction : Tensor, (fold, 1), 1

        Returns
        -------
        snowfall, rainfall, snow_melt : Tensor, (fold, cell), kg m-2 d-1
            Melt at most `swe`.
        """
        frozen = precipitation * torch.sigmoid(snow_temperature - temperature)
        by_radiation = (
            radiation_melt_fraction * net_radiation.clamp(min=0.0) * MEGAJOULE_PER_DAY / LATENT_HEAT_OF_FUSION
        )
        melt = torch.where(temperature > 0.0, by_radiation + restricted_melt_rate * temperature, torch.zeros_like(swe))
        return snowfall_correction * frozen, precipitation - frozen, torch.minimum(swe, melt)


@dataclasses.dataclass(frozen=True)
class LiquidWaterSnow:
    """A snowpack holds melt water up to a fraction of its ice, and freezes it again: the snow routine of HBV.

    Ice melts as in `DegreeDaySnow`. Melt water above ``liquid_water_capacity`` times the ice leaves the pack as
    ``snow_melt``; on days below 0 degC, ``refreezing_coefficient`` times the melt rate times the frost turns to ice
    again. The liquid water is a storage of its own, ``snow_liquid``: `SWE` is the ice alone, TWS holds both. Rain falls
    through the pack.

    References
    ----------
    Lindstrom et al. (1997), doi:10.1016/S0022-1694(97)00041-3
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        *DegreeDaySnow.parameters,
        Parameter(
            "liquid_water_capacity",
            "liquid water that a snowpack can hold by its ice",
            "1",
            upper=0.2,
            varies="global",
        ),
        Parameter(
            "refreezing_coefficient",
            "rate of refreezing by that of melting",
            "1",
            upper=0.2,
            varies="global",
            default=0.05,
        ),
    )
    storages: ClassVar[tuple[Storage, ...]] = (Storage("snow_liquid", "liquid water in snow"),)
    fluxes: ClassVar[tuple[Flux, ...]] = (
        Flux("snow_melt", "snow_liquid", SURFACE_WATER),
        Flux("ice_melt", "swe", "snow_liquid", "melt of ice in the snowpack"),
        Flux("refreezing", "snow_liquid", "swe", "refreezing of melt water in the snowpack"),
    )

    def __call__(
        self,
        swe: Tensor,
        snow_liquid: Tensor,
        precipitation: Tensor,
        temperature: Tensor,
        snow_melt_rate: Tensor,
        snowfall_correction: Tensor,
        liquid_water_capacity: Tensor,
        refreezing_coefficient: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return snowfall, rainfall, outflow, melt and refreezing of a day.

        Parameters
        ----------
        swe, snow_liquid : Tensor, (fold, cell), kg m-2
            At the end of yesterday.
        precipitation : Tensor, (fold, cell), kg m-2 d-1
        temperature : Tensor, (fold, cell), degC
        snow_melt_rate : Tensor, (fold, cell), kg m-2 d-1 K-1
        snowfall_correction, liquid_water_capacity, refreezing_coefficient : Tensor, (fold, 1), 1

        Returns
        -------
        snowfall, rainfall, snow_melt, ice_melt, refreezing : Tensor, (fold, cell), kg m-2 d-1
        """
        snowfall, rainfall, melt = DegreeDaySnow()(swe, precipitation, temperature, snow_melt_rate, snowfall_correction)
        frost = (-temperature).clamp(min=0.0)
        refreezing = torch.minimum(snow_liquid, refreezing_coefficient * snow_melt_rate * frost)
        liquid, ice = snow_liquid + melt - refreezing, swe + snowfall - melt + refreezing
        return snowfall, rainfall, (liquid - liquid_water_capacity * ice).clamp(min=0.0), melt, refreezing
