"""Net exchange of carbon between land and air."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from xh2cm.variables import Parameter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BiogenicNEE"]


@dataclasses.dataclass(frozen=True)
class BiogenicNEE:
    """Respiration less uptake: no fire, no harvest, no other loss.

    A process of one's own may add such a loss here. NEE and NEP then no longer cancel, and their sum is the loss.

    References
    ----------
    Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026
    """

    parameters: ClassVar[tuple[Parameter, ...]] = ()

    def __call__(self, gpp: Tensor, ter: Tensor) -> Tensor:
        """Return net ecosystem exchange of a day, positive where the land loses carbon.

        Parameters
        ----------
        gpp, ter : Tensor, (fold, cell), gC m-2 d-1

        Returns
        -------
        Tensor, (fold, cell), gC m-2 d-1
        """
        return ter - gpp
