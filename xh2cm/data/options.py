"""Options that say what is what in a dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import xarray as xr

    from xh2cm.targets import Target
    from xh2cm.variables import Var

__all__ = ["CheckOptions", "DataArguments", "DataOptions", "ForcingOptions", "NameOptions", "TargetOptions"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NameOptions:
    """Names and units of variables.

    Parameters
    ----------
    names : mapping of str to str or number, optional
        Name of a variable of the model to its name in the dataset, ``{"precipitation": "P"}``, or to a number that
        stands for it, ``{"co2": 410.0}``. What is not named is found by name and standard name.
    units : mapping of str to str, optional
        Units of variables of the dataset, by their names there, in place of what their attributes say.
    """

    names: Mapping[str, str | float] | None = None
    units: Mapping[str, str] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions(NameOptions):
    """Options of reading a dataset: names, units, static features, land mask and missing values.

    Parameters
    ----------
    static : sequence of str, optional
        Static features by name in the dataset. By default every numeric variable on the land axes that has no role of
        its own; ``[]`` for none.
    mask : str or DataArray, optional
        Land mask: true, or 0.5 and more. By default a variable such as ``mask`` or ``lsm``, or wherever there is
        forcing.
    missing : {"skip", "drop", "raise"}
        What to do about missing forcing. ``"skip"``: a cell is used on the days on which it has all forcing, in
        stretches between gaps. ``"drop"``: a cell with a gap is left out. ``"raise"``: it is an error. Cells without a
        static feature are left out and counted, or an error with ``"raise"``.
    fill : mapping of str to str or (str, int), optional
        Rules by which short gaps of the forcing are filled, by variable: ``"linear"``, ``"zero"``, ``"climatology"``,
        ``"neighbour"`` or the name of a variable that stands in; with the longest gap in days, if not that of the rule:
        ``{"air_temperature": "linear", "precipitation": ("zero", 2)}``. Nothing is filled by default.

    Examples
    --------
    >>> import xh2cm
    >>> options = xh2cm.DataOptions(names={"co2": 410.0}, static=[])
    >>> xh2cm.tutorial.open_dataset("twin").h2cm.check(options=options).dataset.sizes["feature"]
    0
    """

    static: Sequence[str] | None = None
    mask: str | xr.DataArray | None = None
    missing: Literal["skip", "drop", "raise"] = "skip"
    fill: Mapping[str, str | tuple[str, int]] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetOptions:
    """Choice of targets.

    Parameters
    ----------
    targets : sequence of str or Target, or mapping of str to str, optional
        Targets that must be there and usable, by name; rows of one's own; or a mapping that says how each is compared,
        ``{"GPP": "daily"}``. By default all targets that the dataset holds, compared as in the publication.
    """

    targets: Sequence[str | Target] | Mapping[str, str] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataArguments(DataOptions):
    """Options of reading a dataset, one by one or as a value.

    Parameters
    ----------
    options : DataOptions, optional
        Options of reading the dataset as one value, in place of single keywords.
    """

    options: DataOptions | None = dataclasses.field(default=None, metadata={"value": DataOptions})


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForcingOptions(DataArguments):
    """Options of reading a dataset, and which forcing to read.

    Parameters
    ----------
    forcing : sequence of str or Var, optional
        Forcing that the model needs, `Model.needs`; the five of the published model by default. Others are not looked
        at. A `Var` is forcing that a process brings.
    """

    forcing: Sequence[str | Var] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckOptions(TargetOptions, ForcingOptions):
    """Options of `check`."""
