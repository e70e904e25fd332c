"""A row of the table of networks: its kind, inputs, outputs and width."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import ClassVar

from xh2cm.variables import FORCING

EMBEDDING = 12
"""Numbers the static net hands to every daily net."""

STATE_INPUTS: Mapping[str, float] = {
    "relative_soil_moisture": 1.0,
    "swe": 100.0,
    "groundwater": 200.0,
    "fapar": 1.0,
    "npp": 1.0,
}
"""What a net may see of the state at the end of yesterday, and what it is divided by."""


@dataclasses.dataclass(frozen=True)
class Net:
    """A row of the table.

    Parameters
    ----------
    name : str
        Prefix of its weights.
    kind : str
        A key of `KINDS`.
    inputs : tuple of str
        In order: names of forcings (standardised), of `STATE_INPUTS`, of forcings and storages that the processes
        bring, or ``"static"``.
    outputs : tuple of str
        Parameters it gives. One row may give ``"*"``: every daily parameter that no row names.
    width : int, optional
        Hidden units; the kind's own width if not given.

    Examples
    --------
    >>> import xh2cm
    >>> row = xh2cm.Net("snow", "mlp", ("air_temperature", "static"), ("snow_melt_rate",), width=32)
    >>> row.forcing
    ['air_temperature']
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    width: int | None = None

    driving: ClassVar[Collection[str]] = FORCING

    def _group(self, name: str) -> str:
        """Return whether an input is ``"forcing"``, ``"state"`` or ``"static"``."""
        return "static" if name == "static" else "forcing" if name in self.driving else "state"

    @property
    def forcing(self) -> list[str]:
        """Inputs that are forcing."""
        return [name for name in self.inputs if self._group(name) == "forcing"]

    @property
    def state(self) -> list[str]:
        """Inputs that are storages or made of them."""
        return [name for name in self.inputs if self._group(name) == "state"]

    def columns(self, which: str) -> list[int]:
        """Columns of the first weight matrix that are `which` of ``"forcing"``, ``"state"`` and ``"static"``."""
        found: dict[str, list[int]] = {"forcing": [], "state": [], "static": []}
        at = 0
        for name in self.inputs:
            size = EMBEDDING if name == "static" else 1
            found[self._group(name)].extend(range(at, at + size))
            at += size
        return found[which]

    @property
    def size(self) -> int:
        """Number of input features."""
        return sum(EMBEDDING if name == "static" else 1 for name in self.inputs)


@dataclasses.dataclass(frozen=True)
class DrivenNet(Net):
    """A row of a model whose processes bring forcing: `driving` names all that there is."""

    driving: Collection[str] = tuple(FORCING)  # type: ignore[misc]
