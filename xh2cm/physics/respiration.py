"""Respiration of plants and of soil."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import torch

from xh2cm.variables import Parameter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LloydTaylorRespiration", "Q10Respiration"]

CUE = Parameter("cue", "carbon-use efficiency, NPP / GPP", "1", upper=1.0)
BASAL_RESPIRATION = Parameter("basal_respiration", "heterotrophic respiration at 15 degC", "g m-2 d-1")


@dataclasses.dataclass(frozen=True)
class Q10Respiration:
    """Plants respire a fraction of their uptake; soil respires faster the warmer it is.

    Autotrophic: ``gpp - cue * gpp``. Heterotrophic: ``basal_respiration * q10 ** ((temperature - 15) / 10)``.

    References
    ----------
    Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        CUE,
        BASAL_RESPIRATION,
        Parameter(
            "q10",
            "increase of heterotrophic respiration per 10 K",
            "1",
            lower=1.0,
            upper=10.0,
            varies="global",
            default=1.426833,
        ),
    )

    def __call__(
        self, gpp: Tensor, temperature: Tensor, cue: Tensor, basal_respiration: Tensor, q10: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return autotrophic and heterotrophic respiration of a day.

        Parameters
        ----------
        gpp : Tensor, (fold, cell), gC m-2 d-1
        temperature : Tensor, (fold, cell), degC
        cue : Tensor, (fold, cell), 1
        basal_respiration : Tensor, (fold, cell), gC m-2 d-1
        q10 : Tensor, (fold, 1), 1

        Returns
        -------
        ra, rh : Tensor, (fold, cell), gC m-2 d-1
        """
        return gpp - cue * gpp, basal_respiration * q10 ** ((temperature - 15.0) / 10.0)


@dataclasses.dataclass(frozen=True)
class LloydTaylorRespiration:
    """Plants respire a fraction of their uptake; soil respires faster the warmer it is, and most so in the cold.

    Autotrophic: as `Q10Respiration`. Heterotrophic: ``basal_respiration * exp(activation * (1 / 61.02 - 1 /
    (temperature + 46.02)))``, with the published end of all respiration at -46.02 degC and the reference of 15 degC
    that `Q10Respiration` has, so that both learn the same ``basal_respiration``. An activation of 308.56 K, as
    published, is a Q10 of 2.3 at 15 degC, 151 K one of 1.5.

    References
    ----------
    Lloyd and Taylor (1994), doi:10.2307/2389824
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        CUE,
        BASAL_RESPIRATION,
        Parameter(
            "activation",
            "temperature sensitivity of heterotrophic respiration (E0)",
            "K",
            lower=10.0,
            upper=600.0,
            varies="global",
            default=305.0,
        ),
    )

    def __call__(
        self, gpp: Tensor, temperature: Tensor, cue: Tensor, basal_respiration: Tensor, activation: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return autotrophic and heterotrophic respiration of a day.

        Parameters
        ----------
        gpp : Tensor, (fold, cell), gC m-2 d-1
        temperature : Tensor, (fold, cell), degC
        cue : Tensor, (fold, cell), 1
        basal_respiration : Tensor, (fold, cell), gC m-2 d-1
        activation : Tensor, (fold, 1), K

        Returns
        -------
        ra, rh : Tensor, (fold, cell), gC m-2 d-1
        """
        above = (temperature + 46.02).clamp(min=1.0)  # colder still, nothing respires
        return gpp - cue * gpp, basal_respiration * torch.exp(activation * (1.0 / 61.02 - 1.0 / above))
