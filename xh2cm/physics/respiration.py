"""Respiration of plants and of soil."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from xh2cm.variables import Parameter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Q10Respiration"]


@dataclasses.dataclass(frozen=True)
class Q10Respiration:
    """Plants respire a fraction of their uptake; soil respires faster the warmer it is.

    Autotrophic: ``gpp - cue * gpp``. Heterotrophic: ``basal_respiration * q10 ** ((temperature - 15) / 10)``.

    References
    ----------
    Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("cue", "carbon-use efficiency, NPP / GPP", "1", upper=1.0),
        Parameter("basal_respiration", "heterotrophic respiration at 15 degC", "g m-2 d-1"),
        Parameter(
            "q10",
            "increase of heterotrophic respiration per 10 K",
            "1",
            lower=1.0,
            upper=10.0,
            varies="global",
            start=-3.0,
        ),
    )

    def __call__(
        self, gpp: Tensor, temperature: Tensor, cue: Tensor, basal_respiration: Tensor, q10: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Autotrophic and heterotrophic respiration of a day.

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
