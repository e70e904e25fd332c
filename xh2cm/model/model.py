"""The model as a value: processes, networks, their width and what is pinned; before any data are seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from xh2cm.errors import Finding, InputError
from xh2cm.html import Markup, block
from xh2cm.model.hybrid import HybridModel, is_number
from xh2cm.model.net import Net
from xh2cm.physics import Processes
from xh2cm.variables import Parameter, Var

if TYPE_CHECKING:
    pass

__all__ = ["Model", "spelled_out"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Model:
    """A hybrid model: which processes, which networks, and which parameters no network gives.

    Printed, it is a table of its parameters and one of its networks. It is trained by ``fit(model=...)``.

    Parameters
    ----------
    processes : Processes
        The published ones if not given.
    networks : sequence of Net
        The published ones if not given; those of `WATER_NETWORKS` where the processes leave out carbon.
    width : int, optional
        Hidden units of every daily network that has no width of its own.
    pin : mapping of str to number, DataArray or str, or "global", optional
        Parameters that no network gives: a number; a map (an array on the land, or the name of a variable of the
        dataset); or ``"global"``, one learned constant. ``pin="global"`` makes constants of all parameters, and the
        name ``"*"`` of all that are not named.

    Raises
    ------
    InputError
        If processes, networks and pins do not make a model; all findings at once.

    Examples
    --------
    >>> import xh2cm
    >>> model = xh2cm.Model(width=32, pin={"q10": 1.5})
    >>> model.parameters["wue"].units, model.pins
    ('g kg-1', {'q10': 1.5})
    >>> xh2cm.Model(processes=xh2cm.Processes.water()).forcing
    ('net_radiation', 'precipitation', 'air_temperature', 'vpd')
    """

    processes: Processes = Processes()
    networks: Sequence[Net] | None = None
    width: int | None = None
    pin: Mapping[str, Any] | str | None = None

    def __post_init__(self) -> None:
        given = () if self.networks is None else self.networks
        table = tuple(given) if isinstance(given, list | tuple) else (given,)
        if odd := [net for net in table if not isinstance(net, Net)]:
            remedy = "give a tuple of rows, such as the one that xh2cm.networks(...) returns"
            raise InputError([Finding("networks", f"holds {odd[0]!r:.60}, which is not a Net", remedy)])
        object.__setattr__(self, "networks", table)
        object.__setattr__(self, "pin", spelled_out(self.pin, self.processes.parameters))
        self.realised(0)

    def realised(self, features: int) -> HybridModel:
        """Return the model for a number of static features.

        Parameters
        ----------
        features : int

        Returns
        -------
        HybridModel

        Examples
        --------
        >>> import xh2cm
        >>> xh2cm.Model(width=8).realised(features=30).size
        9473
        """
        return HybridModel(features, self.processes, tuple(self.networks or ()), self.width, tuple(self.pins.items()))

    @property
    def pins(self) -> dict[str, float | str]:
        """Number, ``"map"`` or ``"global"`` of each pinned parameter."""
        assert isinstance(self.pin, dict)  # noqa: S101 - it was spelled out
        return {
            name: float(to) if is_number(to) else to if isinstance(to, str) and to == "global" else "map"
            for name, to in self.pin.items()
        }

    @cached_property
    def _bare(self) -> HybridModel:
        return self.realised(0)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Parameters by name, as they vary in this model."""
        return self._bare.parameters

    @property
    def forcing(self) -> tuple[str, ...]:
        """Names of the forcings that a process or a network asks for."""
        return self._bare.forcing

    @property
    def needs(self) -> list[str | Var]:
        """The forcing that is asked for, as `check` wants it: what processes bring as a `Var`."""
        return self._bare.needs

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Model):
            return NotImplemented
        parts = (self.processes, self.networks, self.width) == (other.processes, other.networks, other.width)
        mine, yours = dict(self.pin or {}), dict(other.pin or {})  # type: ignore[arg-type]
        return parts and mine.keys() == yours.keys() and all(alike(mine[n], yours[n]) for n in mine)

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def __repr__(self) -> str:
        return self._bare.tables(self._maps()).text("Model")

    def _repr_html_(self) -> str:
        return block(self)

    def __html__(self) -> Markup:
        return self._bare.tables(self._maps()).html("Model")

    def _maps(self) -> dict[str, str]:
        return {name: to for name, to in dict(self.pin or {}).items() if isinstance(to, str)}  # type: ignore[arg-type]


def alike(one: Any, other: Any) -> bool:
    """Return whether two pins are the same; arrays are compared with their coordinates."""
    if hasattr(one, "identical") and hasattr(other, "identical"):
        return bool(one.identical(other))
    return type(one) is type(other) and bool(one == other)


def spelled_out(pin: object, parameters: Iterable[Parameter]) -> dict[str, Any]:
    """Return the pins, parameter by parameter.

    Parameters
    ----------
    pin : mapping of str to number, DataArray or str, or str, optional
        ``"global"`` stands for every parameter, and so does the name ``"*"`` for all that are not named.
    parameters : iterable of Parameter
        Of the processes.

    Returns
    -------
    dict

    Raises
    ------
    InputError
        If it is no mapping, or pins all parameters to anything but ``"global"``.

    Examples
    --------
    >>> from xh2cm.physics import FractionalRunoff
    >>> spelled_out("global", FractionalRunoff.parameters)
    {'groundwater_recharge_fraction': 'global'}
    """
    named: object = {"*": pin} if isinstance(pin, str) else {} if pin is None else pin
    if not isinstance(named, Mapping) or not alike(named.get("*", "global"), "global"):
        remedy = 'say which parameter: pin={"q10": 1.5}; or pin="global" for all of them'
        raise InputError([Finding("pin", f"is {pin!r}", remedy)])
    rest = dict.fromkeys((p.name for p in parameters), named["*"]) if "*" in named else {}
    return rest | {name: value for name, value in named.items() if name != "*"}
