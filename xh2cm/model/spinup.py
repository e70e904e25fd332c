"""Spin-up: the run that fills the storages before the record begins."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from xh2cm.errors import InputError, number_findings


@dataclasses.dataclass(frozen=True)
class SpinUp:
    """Spin-up: bring the storages into balance before a record is run.

    Parameters
    ----------
    days : int, optional
        Length of the period that is walked; the whole record if not given, as published.
    passes : int
        How often it is walked, at most.
    drift : float, optional
        Stop earlier, once no storage of any cell changes by more than this over a pass, kg m-2.
    bridge : int
        Longest gap in the forcing of a cell, in days, over which its storages are held as they are. A longer gap ends
        a stretch of its record, and the next one has a spin-up of its own.

    Raises
    ------
    InputError
        If there is nothing to walk.

    Examples
    --------
    Walk the first year up to ten times, until no storage of any cell changes by more than a millimetre:

    >>> import xh2cm
    >>> xh2cm.SpinUp(365, passes=10, drift=1.0)
    SpinUp(days=365, passes=10, drift=1.0, bridge=30)
    """

    days: int | None = None
    passes: int = 1
    drift: float | None = None
    bridge: int = 30

    def __post_init__(self) -> None:
        given = {f"spinup.{name}": value for name, value in vars(self).items()}
        if findings := number_findings(
            given,
            {"spinup.days": 1, "spinup.passes": 0, "spinup.drift": 0.0, "spinup.bridge": 0},
            optional=("spinup.days", "spinup.drift"),
        ):
            raise InputError(findings)

    def settled(self, before: Any, after: Any, storages: Iterable[str]) -> bool:
        """Return whether no change of `storages` exceeds `drift` between the states before and after a pass."""
        return self.drift is not None and all(
            bool(((getattr(after, name) - getattr(before, name)).abs() <= self.drift).all()) for name in storages
        )
