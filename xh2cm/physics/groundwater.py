"""Groundwater: baseflow from the storage."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import torch

from xh2cm.variables import Parameter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LinearGroundwater", "PowerGroundwater"]

REFERENCE_STORAGE = 100.0
"""Storage at which the fraction of `PowerGroundwater` is given, kg m-2."""


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
            default=0.002472623,
        ),
    )

    def __call__(self, groundwater: Tensor, baseflow_coefficient: Tensor) -> Tensor:
        """Return baseflow of a day.

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


@dataclasses.dataclass(frozen=True)
class PowerGroundwater:
    """A nonlinear reservoir: the fuller it is, the larger the fraction it releases.

    Baseflow is ``reference_release * groundwater * (groundwater / 100) ** (recession_exponent - 1)``, at most all that
    was stored yesterday: high flow recedes faster and low flow lasts longer than in `LinearGroundwater`, which is the
    same with an exponent of 1. Recessions of rivers are matched by an exponent near 2, that is baseflow with the
    storage squared, and there it starts.

    References
    ----------
    Wittenberg (1999), doi:10.1002/(SICI)1099-1085(19990415)13:5<715::AID-HYP775>3.0.CO;2-N
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(
            "reference_release",
            "fraction of groundwater released a day, where there are 100 kg m-2",
            "d-1",
            upper=1.0,
            varies="global",
            default=0.002472623,
        ),
        Parameter(
            "recession_exponent",
            "exponent of baseflow by groundwater",
            "1",
            lower=1.0,
            upper=4.0,
            varies="global",
            default=1.995437,  # 2
        ),
    )

    def __call__(self, groundwater: Tensor, reference_release: Tensor, recession_exponent: Tensor) -> Tensor:
        """Return baseflow of a day.

        Parameters
        ----------
        groundwater : Tensor, (fold, cell), kg m-2
            At the end of yesterday.
        reference_release : Tensor, (fold, 1), d-1
        recession_exponent : Tensor, (fold, 1), 1

        Returns
        -------
        Tensor, (fold, cell), kg m-2 d-1
            At most `groundwater`.
        """
        filled = torch.log(groundwater.clamp(min=1e-3) / REFERENCE_STORAGE)  # an empty store has no logarithm
        fraction = reference_release * torch.exp((recession_exponent - 1.0) * filled)
        return groundwater * fraction.clamp(max=1.0)
