"""Options of training, prediction and sensitivity, each declared once; those of data and folds are in ``data``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import xarray as xr

from xh2cm.data.options import DataArguments, TargetOptions
from xh2cm.errors import InputError, number_findings

if TYPE_CHECKING:
    import torch
    from distributed import Client

    from xh2cm.data.pins import Pin
    from xh2cm.fitted import Fit
    from xh2cm.loop.compiled import Loop
    from xh2cm.model.spinup import SpinUp

__all__ = [
    "Change",
    "DeviceOptions",
    "LoopOptions",
    "LossOptions",
    "Member",
    "PageOptions",
    "PinOptions",
    "PredictOptions",
    "ResponseOptions",
    "RunOptions",
    "SensitivityOptions",
    "Training",
    "VariableOptions",
]

Member = Literal["mean", "all", "held-out"] | int
"""Which folds a prediction is of."""

Change = Mapping[str, float | xr.DataArray]
"""By forcing, a number or a DataArray on days or cells."""

# -- training --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """Options of training; the defaults are those of the publication.

    Parameters
    ----------
    epochs : int
        Maximum number of epochs.
    patience : int or None
        Number of epochs without a lower validation loss after which a fold stops and keeps its best weights; None
        trains all epochs and keeps the last weights.
    batch_size : int
        Number of samples of each fold in an optimiser step.
    learning_rate : float
        Learning rate of the first 30 epochs; it is multiplied by 0.7 every 30 epochs.
    clip : float
        Limit of each gradient component, by absolute value.
    window : int, optional
        Length in days of the windows that records are cut into, each with a spin-up of its own; whole records if not
        given.
    spinup : int or SpinUp, optional
        Days that are run once before every window; its whole length if not given, as published.
    seed : int
        Seed of the initial weights and of the order of the samples.

    Raises
    ------
    InputError
        If a number is none, or too small.

    Examples
    --------
    >>> import xh2cm
    >>> training = xh2cm.Training(epochs=50, spinup=365)
    >>> training.learning_rate
    0.005
    """

    epochs: int = 5000
    patience: int | None = 10
    batch_size: int = 128
    learning_rate: float = 0.005
    clip: float = 0.5
    window: int | None = None
    spinup: SpinUp | int | None = None
    seed: int = 0

    DECAY = 0.7
    DECAY_EVERY = 30

    def __post_init__(self) -> None:
        least = {"epochs": 1, "patience": 1, "batch_size": 1, "learning_rate": 0.0, "clip": 0.0, "window": 28}
        if findings := number_findings(vars(self), {**least, "seed": 0}, optional=("patience", "window")):
            raise InputError(findings)
        object.__setattr__(self, "spinup", self.start)  # also compared and printed as such

    @property
    def start(self) -> SpinUp:
        """Spin-up before every window."""
        from xh2cm.model.spinup import SpinUp

        return self.spinup if isinstance(self.spinup, SpinUp) else SpinUp(self.spinup)

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch."""
        return float(self.learning_rate * self.DECAY ** (epoch // self.DECAY_EVERY))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """Device of a model.

    Parameters
    ----------
    device : str or torch.device, optional
        Device, such as ``"cpu"`` or ``"cuda:1"``; the best there is by default.
    """

    device: str | torch.device | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """Implementation of the loop over days.

    Parameters
    ----------
    loop : {"auto", "plain", "fast"}
        How the days of a record are run: in PyTorch, or compiled for this model and processor; ``"auto"`` compiles
        where that is possible and pays. The numbers are the same except for rounding.
    """

    loop: Loop = "auto"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions(LoopOptions, DeviceOptions):
    """Running a training: memory, checkpoints, cluster and progress.

    Parameters
    ----------
    memory : int or str, optional
        Memory that the data may take, such as ``"4 GiB"``; half of what is free by default. A larger dataset is
        streamed: an epoch reads its chunks in random order, the next ones during the training on those before.
    run : str or path, optional
        Folder for checkpoints, one after each epoch and every `save_every` minutes, and finally for the fit, which
        `xh2cm.load_fit` reads. After an interruption the same call resumes, with the weights of a training that was
        not interrupted.
    save_every : float
        Minutes between two checkpoints within an epoch.
    client : distributed.Client or str, optional
        Dask cluster, or its address, whose workers train the folds, several at once on each.
    progress : bool
        Show progress: a bar in terminals and notebooks, elsewhere a line an epoch on standard error.
    """

    memory: int | str | None = None
    run: str | os.PathLike[str] | None = None
    save_every: float = 10.0
    client: Client | str | None = None
    progress: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossOptions(TargetOptions):
    """Targets, folds and priors that enter the loss.

    Parameters
    ----------
    only : sequence of int, optional
        Train these folds only.
    weights : mapping of str to float, optional
        Weights of the targets in the total loss, 1 by default.
    priors : mapping of str to (float, float), optional
        Prior mean and standard deviation of global constants, ``{"q10": (1.5, 0.3)}``; ``{}`` for none, the two
        published ones by default. A constant that the data say little about stays close to its prior.
    normalise : {"training", "stored"}
        Normalise by the training cells of each fold, or by the attributes ``mean`` and ``std`` of the variables.
    """

    only: Sequence[int] | None = None
    weights: Mapping[str, float] | None = None
    priors: Mapping[str, tuple[float, float]] | None = None
    normalise: Literal["training", "stored"] = "training"


# -- prediction ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class FittedOptions(DeviceOptions):
    """Fit, member and spin-up of a prediction.

    Parameters
    ----------
    fit : Fit, optional
        Trained model; the last one that was trained on this very object by default.
    member : {"mean", "all", "held-out"} or int
        Mean over the folds, every fold along a dimension ``fold``, for each cell (or year) the fold that did not see it
        in training (the mean where every fold did), or one fold.
    spinup : int or SpinUp, optional
        Days that are run once before the record; as in training by default.
    """

    fit: Fit | None = None
    _: dataclasses.KW_ONLY
    member: Member = "mean"
    spinup: int | SpinUp | None = None


@dataclasses.dataclass(frozen=True)
class PinOptions(FittedOptions, DataArguments):
    """Fit, data and maps of pinned parameters of a prediction.

    Parameters
    ----------
    pin : mapping of str to number, DataArray or str, optional
        Other maps for parameters that were pinned to one, where those of the fit do not reach this land.
    """

    _: dataclasses.KW_ONLY
    pin: Mapping[str, Pin] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class VariableOptions(LoopOptions):
    """Variables of a prediction.

    Parameters
    ----------
    variables : sequence of str or "all", optional
        Public names of fluxes, storages and learned parameters; ET, runoff, TWS, GPP, TER and NEE by default, as far as
        the model computes them.
    """

    variables: Sequence[str] | Literal["all"] | None = None


@dataclasses.dataclass(frozen=True)
class PredictOptions(VariableOptions, PinOptions):
    """Options of `predict`.

    Parameters
    ----------
    state : Dataset, optional
        A prediction of the days before, made by the same fit with ``keep_state=True``, also read back from disk:
        this one starts from it, without a spin-up.
    keep_state : bool
        Add a variable ``state``: everything that each fold and cell hands to the day after the last.
    """

    _: dataclasses.KW_ONLY
    state: xr.Dataset | None = None
    keep_state: bool = False


@dataclasses.dataclass(frozen=True)
class ResponseOptions(VariableOptions, PinOptions):
    """Options of `response`.

    Parameters
    ----------
    change : mapping of str to float or DataArray, optional
        What is added to a forcing, in canonical units: ``{"air_temperature": 1.0}``.
    factor : mapping of str to float or DataArray, optional
        What a forcing is multiplied by: ``{"precipitation": 1.1}``.
    relative : bool
        Divide by the absolute mean over time of the prediction without the change; NaN where that is below 1e-6.
    """

    change: Change | None = None
    _: dataclasses.KW_ONLY
    factor: Change | None = None
    relative: bool = False


@dataclasses.dataclass(frozen=True)
class SensitivityOptions(PinOptions):
    """Options of `sensitivity`.

    Parameters
    ----------
    variable : str
        Public name of a daily output.
    period : slice, optional
        Labels of time, ``slice("2003-06", "2003-08")``: the mean over these days only, of the whole record by default.
        Days before it matter by what the storages and the networks remember, days after it do not.
    batch : int
        Number of cells that are run at once; memory grows with it.
    """

    variable: str = "GPP"
    _: dataclasses.KW_ONLY
    period: slice | None = None
    batch: int = 128


# -- reports ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class PageOptions(TargetOptions, DataArguments):
    """Options of the contents of a report.

    Parameters
    ----------
    data : Dataset, optional
        What was trained or predicted on: for the check, the scores and what the budgets say of the forcing.
    fit : Fit, optional
        For folds, training, constants and settings.
    overwrite : bool
        Replace a file.
    """

    data: xr.Dataset | None = None
    _: dataclasses.KW_ONLY
    fit: Fit | None = None
    overwrite: bool = False
