"""Runoff: partition of the excess water of the soil into surface runoff and recharge."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from xh2cm.variables import Parameter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FractionalRunoff"]


@dataclasses.dataclass(frozen=True)
class FractionalRunoff:
    """A learned fraction of the excess water recharges groundwater; the rest runs off.

    References
    ----------
    Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(
            "groundwater_recharge_fraction", "fraction of excess water that recharges groundwater", "1", upper=1.0
        ),
    )

    def __call__(self, excess_water: Tensor, groundwater_recharge_fraction: Tensor) -> Tensor:
        """Return surface runoff of a day; the remainder of the excess recharges groundwater.

        Parameters
        ----------
        excess_water : Tensor, (fold, cell), kg m-2 d-1
            Water input that the soil does not retain.
        groundwater_recharge_fraction : Tensor, (fold, cell), 1

        Returns
        -------
        Tensor, (fold, cell), kg m-2 d-1
            At most `excess_water`.
        """
        return (1.0 - groundwater_recharge_fraction) * excess_water
