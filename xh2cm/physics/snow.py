"""Snow: how precipitation splits into rain and snowfall, and how much snow melts."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import torch

from xh2cm.variables import Parameter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DegreeDaySnow"]


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
        Parameter("snowfall_correction", "snowfall undercatch correction", "1", upper=1.0, varies="global", start=3.0),
    )

    def __call__(
        self,
        swe: Tensor,
        precipitation: Tensor,
        temperature: Tensor,
        snow_melt_rate: Tensor,
        snowfall_correction: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Snowfall, rainfall and melt of a day.

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
