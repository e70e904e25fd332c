"""Evaporation: the energy limit, evaporation from soil, transpiration."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import torch

from xh2cm.variables import Parameter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "LATENT_HEAT",
    "MEGAJOULE_PER_DAY",
    "PenmanMonteithEvaporation",
    "PriestleyTaylorEvaporation",
    "SoilAndCanopyEvaporation",
]

LATENT_HEAT = 2.45
"""Latent heat of vaporisation, MJ kg-1 (FAO-56, at 20 degC)."""

MEGAJOULE_PER_DAY = 0.0864
"""1 W m-2 over a day, in MJ m-2 d-1."""

PSYCHROMETRIC = 0.674
"""Psychrometric constant, hPa K-1 (FAO-56, at 1013 hPa)."""

HEAT_OF_AIR = 1.2 * 1013.0
"""Heat capacity of a volume of air, J m-3 K-1: density at 20 degC and sea level times specific heat (FAO-56)."""


@dataclasses.dataclass(frozen=True)
class SoilAndCanopy:
    """Soil and canopy share the water that the day could evaporate; the energy limit is each subclass's own."""

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("soil_evaporation_fraction", "fraction of possible soil evaporation", "1", upper=1.0),
        Parameter("transpiration_fraction", "fraction of possible transpiration", "1", upper=1.0),
    )

    def __call__(
        self,
        soil_moisture: Tensor,
        available_energy: Tensor,
        fapar: Tensor,
        soil_evaporation_fraction: Tensor,
        transpiration_fraction: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return soil evaporation and transpiration of a day.

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


@dataclasses.dataclass(frozen=True)
class SoilAndCanopyEvaporation(SoilAndCanopy):
    """Soil and canopy share the energy that interception leaves, in the ratio of bare to absorbed light.

    Soil evaporation is ``(1 - fapar) min(energy, soil_moisture) soil_evaporation_fraction``; transpiration is
    ``fapar min(energy, soil_moisture) transpiration_fraction`` of what soil evaporation has left of both. The energy is
    all net radiation.

    References
    ----------
    Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026
    """

    def limit(self, net_radiation: Tensor) -> Tensor:
        """Return the water that the net radiation of the day can evaporate.

        Parameters
        ----------
        net_radiation : Tensor, (fold, cell), W m-2

        Returns
        -------
        Tensor, (fold, cell), kg m-2 d-1
        """
        return (MEGAJOULE_PER_DAY * net_radiation / LATENT_HEAT).clamp(min=0.0)


@dataclasses.dataclass(frozen=True)
class PriestleyTaylorEvaporation(SoilAndCanopy):
    """Evaporation as in `SoilAndCanopyEvaporation`, limited by the Priestley-Taylor evaporation of a wet surface.

    ``priestley_taylor * slope / (slope + psychrometric constant) * net_radiation / latent heat``, with the slope of the
    saturation vapour pressure at the day's temperature: cold days evaporate less of the same radiation than warm ones.
    Heat that goes into the ground over a day is neglected, and the psychrometric constant is that of sea level, which
    makes the limit some per cent too low in high mountains.

    References
    ----------
    Priestley and Taylor (1972), doi:10.1175/1520-0493(1972)100<0081:OTAOSH>2.3.CO;2
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        *SoilAndCanopy.parameters,
        Parameter(
            "priestley_taylor",
            "evaporation of a wet surface by that in equilibrium with the air",
            "1",
            lower=1.0,
            upper=1.5,
            varies="global",
            default=1.2599947,  # 1.26, as published
        ),
    )

    def limit(self, net_radiation: Tensor, temperature: Tensor, priestley_taylor: Tensor) -> Tensor:
        """Return the water that can evaporate from a wet surface.

        Parameters
        ----------
        net_radiation : Tensor, (fold, cell), W m-2
        temperature : Tensor, (fold, cell), degC
        priestley_taylor : Tensor, (fold, 1), 1

        Returns
        -------
        Tensor, (fold, cell), kg m-2 d-1
        """
        slope = saturation_slope(temperature)
        share = slope / (slope + PSYCHROMETRIC)
        return priestley_taylor * share * (MEGAJOULE_PER_DAY * net_radiation / LATENT_HEAT).clamp(min=0.0)


@dataclasses.dataclass(frozen=True)
class PenmanMonteithEvaporation(SoilAndCanopy):
    """Evaporation as in `SoilAndCanopyEvaporation`, limited by the Penman-Monteith evaporation of a wet surface.

    ``(slope * net_radiation + heat of air * aerodynamic_conductance * vpd) / (slope + psychrometric constant)``, over
    the latent heat. This is the Penman-Monteith equation without a surface resistance: Penman's wet surface, an upper
    limit. What leaves and soil resist is in the two learned fractions. So that dry air can evaporate water on a day
    without net radiation, as it does in winter.

    The conductance is learned for each cell, since there is no wind in the forcing. Vapour pressure deficit enters the
    physics here and must really be in hPa. Heat into the ground is neglected and the air is that of sea level.

    References
    ----------
    Penman (1948), doi:10.1098/rspa.1948.0037; Monteith (1965), Symp. Soc. Exp. Biol. 19, 205-234
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        *SoilAndCanopy.parameters,
        Parameter(
            "aerodynamic_conductance",
            "conductance of the air above the surface",
            "m s-1",
            lower=0.001,
            upper=0.1,
            varies="static",
            default=0.01906013,  # 0.02, between grass and forest
        ),
    )

    def limit(self, net_radiation: Tensor, temperature: Tensor, vpd: Tensor, aerodynamic_conductance: Tensor) -> Tensor:
        """Return the water that can evaporate from a wet surface.

        Parameters
        ----------
        net_radiation : Tensor, (fold, cell), W m-2
        temperature : Tensor, (fold, cell), degC
        vpd : Tensor, (fold, cell), hPa
        aerodynamic_conductance : Tensor, (fold, cell), m s-1

        Returns
        -------
        Tensor, (fold, cell), kg m-2 d-1
        """
        slope = saturation_slope(temperature)
        heat = (slope * net_radiation + HEAT_OF_AIR * aerodynamic_conductance * vpd) / (slope + PSYCHROMETRIC)
        return (MEGAJOULE_PER_DAY * heat / LATENT_HEAT).clamp(min=0.0)


def saturation_slope(temperature: Tensor) -> Tensor:
    """Return the slope of the saturation vapour pressure with temperature.

    Parameters
    ----------
    temperature : Tensor, (fold, cell), degC

    Returns
    -------
    Tensor, (fold, cell), hPa K-1

    References
    ----------
    Allen et al. (1998), FAO Irrigation and Drainage Paper 56, equation 13
    """
    above = temperature + 237.3
    return 4098.0 * 6.108 * torch.exp(17.27 * temperature / above) / (above * above)
