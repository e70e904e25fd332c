"""Routing of runoff to the outlet."""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, ClassVar

from xh2cm.variables import Flux, Parameter, Storage

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CascadeRouting"]


@dataclasses.dataclass(frozen=True)
class CascadeRouting:
    """Delay runoff by a cascade of linear stores, the discrete form of a gamma unit hydrograph.

    Each store releases a fraction of what it holds, with today's inflow, to the next store, the last one to the river.
    Of runoff on one day, the fraction that arrives ``d`` days later is
    ``binomial(stores + d - 1, d) release ** stores (1 - release) ** d``, with a mean delay of
    ``stores (1 - release) / release`` days. With a release of 1 it arrives on the same day. The output ``runoff`` is
    then what arrives, and water on its way is part of TWS. It is given as `Processes.more`.

    Parameters
    ----------
    stores : int

    References
    ----------
    Nash (1957), IAHS Publication 45, 114-121

    Examples
    --------
    >>> from xh2cm.physics import CascadeRouting, Processes
    >>> [storage.name for storage in Processes(more=(CascadeRouting(2),)).storages]
    ['channel_1', 'channel_2']
    """

    stores: int = 3

    after: ClassVar[str] = "groundwater"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(
            "channel_release",
            "fraction of the water of a channel store released a day",
            "d-1",
            upper=1.0,
            varies="static",
            default=0.7,
        ),
    )

    @property
    def storages(self) -> tuple[Storage, ...]:
        """One for each store."""
        return tuple(
            Storage(f"channel_{i}", f"water on its way to the outlet, store {i} of {self.stores}", scale=10.0)
            for i in range(1, self.stores + 1)
        )

    @property
    def fluxes(self) -> tuple[Flux, ...]:
        """Into the first store, from each to the next, and from the last to the river."""
        places = ["river", *(storage.name for storage in self.storages), "river"]
        names = ["channel_inflow", *(f"channel_flow_{i}" for i in range(1, self.stores)), "routed_runoff"]
        texts = ["runoff generated on the day", *(f"flow out of channel store {i}" for i in range(1, self.stores))]
        ends = zip(names, places[:-1], places[1:], [*texts, "runoff that arrives on the day"], strict=True)
        return tuple(Flux(name, source, sink, text) for name, source, sink, text in ends)

    @property
    def __call__(self) -> Cascade:
        """The stores, called by name."""
        return Cascade(self.stores)


class Cascade:
    """The stores of a cascade, asked by as many names as there are."""

    def __init__(self, stores: int) -> None:
        names = ("river", "channel_release", *(f"channel_{i}" for i in range(1, stores + 1)))
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        self.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])

    def __call__(self, river: Tensor, channel_release: Tensor, *held: Tensor) -> tuple[Tensor, ...]:
        """Return the flow into each store, and out of the last.

        Parameters
        ----------
        river : Tensor, (fold, cell), kg m-2 d-1
            Runoff generated on the day.
        channel_release : Tensor, (fold, cell), d-1
        *held : Tensor, (fold, cell), kg m-2
            In each store at the end of yesterday.

        Returns
        -------
        tuple of Tensor, (fold, cell), kg m-2 d-1
        """
        flows = [river]
        for store in held:
            flows.append(channel_release * (store + flows[-1]))
        return tuple(flows)
