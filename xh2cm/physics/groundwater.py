"""Groundwater: what the store releases as baseflow."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from xh2cm.variables import Parameter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LinearGroundwater"]


@dataclasses.dataclass(frozen=True)
class LinearGroundwater:
    """A linear reservoir: baseflow is a fixed fraction of yesterday's storage.

    References
    ----------
    Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(
            "baseflow_coefficient",
            "fraction of groundwater released a day",
            "d-1",
            upper=1.0,
            varies="global",
            start=-6.0,
        ),
    )

    def __call__(self, groundwater: Tensor, baseflow_coefficient: Tensor) -> Tensor:
        """Baseflow of a day.

        Parameters
        ----------
        groundwater : Tensor, (fold, cell), kg m-2
            At the end of yesterday.
        baseflow_coefficient : Tensor, (fold, 1), d-1

        Returns
        -------
        Tensor, (fold, cell), kg m-2 d-1
            At most `groundwater`.
        """
        return baseflow_coefficient * groundwater
