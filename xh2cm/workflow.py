"""Train a model, predict with it and look into it: on a dataset, or on one that was checked before."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from xh2cm.data.check import check, checked
from xh2cm.data.options import CheckOptions, NameOptions
from xh2cm.data.pins import read_pins, spelled_out, variables_of
from xh2cm.data.report import Report
from xh2cm.errors import FitError, H2CMWarning, outside
from xh2cm.evaluate import emergent as emerging
from xh2cm.fitted import Fit
from xh2cm.jobs.dask import connected, fit_on
from xh2cm.model import HybridModel
from xh2cm.options import keywords_of, part
from xh2cm.physics import Processes
from xh2cm.prediction import sensitivity as slopes
from xh2cm.prediction.predict import maps_for, predict_dataset
from xh2cm.settings import DeviceOptions, PageOptions, PinOptions, PredictOptions, ResponseOptions, SensitivityOptions
from xh2cm.targets import Target
from xh2cm.train.fitting import FitOptions, fit_dataset
from xh2cm.train.tensors import Cells
from xh2cm.train.tensors import to_tensors as cells_of
from xh2cm.variables import Var

__all__ = ["emergent", "fit", "predict", "rain_pulses", "report", "response", "sensitivity", "to_tensors"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorOptions(CheckOptions, DeviceOptions):
    """Options of `to_tensors`."""


@keywords_of(TensorOptions)
def to_tensors(ds: xr.Dataset | Report, options: TensorOptions) -> Cells:
    """Load forcing, static features and targets of the usable cells as tensors on a device.

    Parameters
    ----------
    ds : Dataset or Prepared

    Returns
    -------
    Cells
        See `xh2cm.train.tensors.Cells`.

    Raises
    ------
    InputError
        Data that cannot be used, all findings at once.

    Examples
    --------
    >>> import xh2cm
    >>> cells = xh2cm.tutorial.open_dataset("twin").h2cm.to_tensors(device="cpu")
    >>> tuple(cells.forcing.shape)  # cell, day, forcing
    (48, 1095, 5)
    """
    targets = None if options.targets is None else listed(options.targets)
    return cells_of(checked(ds, options, forcing=options.forcing, targets=targets).dataset, options.device)


@keywords_of(FitOptions)
def fit(ds: xr.Dataset | Report, options: FitOptions) -> Fit:
    """Train the model, all folds in one pass, on whichever targets the dataset holds.

    Parameters
    ----------
    ds : Dataset or Prepared

    Returns
    -------
    Fit
        `Dataset.h2cm` also remembers it, for `predict`.

    Raises
    ------
    InputError
        Data, folds or arguments that cannot be used, all findings at once.
    FitError, StoreError
        A run in which another model was trained, that another process is using, or that cannot be written.

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 60), month=slice(0, 2))
    >>> how = {"scheme": "cells", "epochs": 1, "width": 8, "loop": "plain", "progress": False}
    >>> fit = ds.h2cm.fit(folds=2, targets={"GPP": "monthly", "runoff": "monthly"}, weights={"GPP": 2}, **how)
    >>> list(fit.losses.coords)
    ['split', 'target', 'epoch', 'fold']

    The same options as values, which can be printed and kept:

    >>> training = xh2cm.Training(epochs=1)
    >>> again = ds.h2cm.fit(2, scheme="cells", training=training, width=8, loop="plain", progress=False)
    """
    land = given(ds)
    options = dataclasses.replace(options, processes=options.processes or Processes())
    pinned = spelled_out(options.pin, options.processes.parameters)
    targets = None if options.targets is None else listed(options.targets)
    if targets is not None and not isinstance(options.targets, Mapping):
        options = dataclasses.replace(options, targets=targets)  # a generator can be read only once
    report = checked(
        ds,
        options,
        forcing=needed_forcing(options, pinned),
        targets=targets,
        pinned=maps_in(land, pinned, options.static),
    )
    for text in report.left_out:
        warnings.warn(text, H2CMWarning, stacklevel=outside())
    pins = read_pins(pinned, options.processes.parameters, land, report.dataset["mask"])
    options = dataclasses.replace(options, groups=report.scan.named(options.groups))
    if options.client is None:
        return fit_dataset(report.dataset, options, pins=pins, facts=report.scan.facts)
    with connected(options.client) as client:
        return fit_on(client, report.dataset, options, pins=pins, facts=report.scan.facts)


@keywords_of(PredictOptions)
def predict(ds: xr.Dataset | Report, options: PredictOptions) -> xr.Dataset:
    """Compute fluxes, storages and learned parameters, lazily where the dataset is lazy.

    Parameters
    ----------
    ds : Dataset or Prepared

    Returns
    -------
    Dataset
        Labelled and CF-annotated, float32, on the coordinates of the data; NaN where a cell is not usable. Fluxes are
        means of a day, whose bounds are ``time_bnds``; storages are those at its end.

    Raises
    ------
    FitError
        Before any fit, or if the fit does not belong to this dataset.
    InputError
        If the data cannot be used, a variable is unknown, or the state is of other cells, days or folds or of
        another fit. On Dask arrays what is found in the values themselves is raised by their computation.

    Notes
    -----
    Two halves, the second from the state of the first, give the numbers of the whole record, bit for bit if the
    same `loop` runs them (``"auto"`` may choose another for a shorter record).

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 60), month=slice(0, 2))
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, progress=False)
    >>> first = ds.isel(time=slice(0, 40)).h2cm.predict(fit, keep_state=True, loop="plain")
    >>> second = ds.isel(time=slice(40, 60)).h2cm.predict(fit, state=first, loop="plain")
    >>> second.sizes["time"], first["state"].attrs["day"]
    (20, '2001-02-09')
    """
    fit, dataset, maps = ready(ds, options)
    return predict_dataset(dataset, dataclasses.replace(options, fit=fit), maps=maps)


@keywords_of(ResponseOptions)
def response(ds: xr.Dataset | Report, options: ResponseOptions) -> xr.Dataset:
    """Predict under changed forcing, and subtract the prediction without the change.

    Parameters
    ----------
    ds : Dataset or Prepared

    Returns
    -------
    Dataset
        The differences, laid out as by `predict`; the attribute ``change`` says what was changed.

    Raises
    ------
    InputError
        If a forcing is unknown or changed twice, a change is not finite or lies elsewhere, or values come out that
        cannot be, such as negative precipitation: counted, and all findings at once. What `predict` raises.

    Notes
    -----
    The changed forcing also goes through the spin-up, so that storages adapt to it before the record begins, as far as
    the spin-up lets them (``SpinUp(passes=20, drift=1.0)`` until they move less than 1 kg m-2): the response is that of
    another climate. For that of a change that comes on a certain day give a DataArray that is 0 before it, and a
    `spinup` of days before it: ``SpinUp(days=365)``.

    Only what is named is changed: warmer air keeps its vapour pressure deficit. The networks have seen no climate but
    that of their training, and a change beyond its range is an extrapolation.

    On Dask arrays the changed forcings are read once, to count impossible values.

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 60), month=slice(0, 2))
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
    >>> changed = ds.h2cm.response(fit, {"air_temperature": 1.0}, factor={"precipitation": 1.1})  # a kelvin, 10 %
    >>> bool(changed["TWS"].mean() > 0)
    True
    """
    fit, dataset, maps = ready(ds, options)
    return slopes.forcing_response(dataset, dataclasses.replace(options, fit=fit), maps=maps)


@keywords_of(SensitivityOptions)
def sensitivity(ds: xr.Dataset | Report, options: SensitivityOptions) -> xr.Dataset:
    """Differentiate the mean of an output by each forcing on each day, through networks and physics.

    Parameters
    ----------
    ds : Dataset or Prepared

    Returns
    -------
    Dataset
        For each forcing an array on (time, land) in units of the output per unit of the forcing. Summed over time it is
        the response of the mean to a forcing that is changed by one unit on every day, to first order.

    Raises
    ------
    InputError
        If the variable is unknown or does not change with the forcing, the period holds no day, or years were held
        out. What `predict` raises.

    Notes
    -----
    The spin-up is differentiated too, as `response` changes its forcing: where it runs days of the record, what they do
    there is part of their derivative.

    A threshold has no derivative: that warmer air turns snowfall into rain is in `response`, and not here. Nor is what
    lies beyond a limit that is not reached, such as more energy where water is short.

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 30), month=slice(0, 1))
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
    >>> list(ds.h2cm.sensitivity(fit, "runoff").data_vars)
    ['net_radiation', 'precipitation', 'air_temperature', 'vpd', 'co2']
    """
    fit, dataset, maps = ready(ds, options)
    return slopes.sensitivity(dataset, dataclasses.replace(options, fit=fit), maps=maps)


# -- on a prediction -------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class EmergentOptions(emerging.EmergentOptions, NameOptions):
    """Options of `emergent`."""


@keywords_of(EmergentOptions)
def emergent(prediction: xr.Dataset, options: EmergentOptions) -> xr.Dataset:
    """Compute efficiencies and shares of a prediction; see `xh2cm.evaluate.emergent.emergent_quantities`.

    Parameters
    ----------
    prediction : Dataset

    Returns
    -------
    Dataset

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 60), month=slice(0, 2))
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
    >>> sorted(ds.h2cm.predict(fit).h2cm.emergent(ds).data_vars)
    ['PUE', 'WUE', 'evaporation_ratio', 'evaporative_fraction', 'runoff_ratio']
    """
    forcing = options.forcing
    if forcing is not None:  # net radiation may be derived from air temperature
        forcing = forcing_of(forcing, options, "net_radiation", "precipitation", "air_temperature")
    told = vars(part(options, emerging.EmergentOptions))
    return emerging.emergent_quantities(prediction, **told | {"forcing": forcing})


@dataclasses.dataclass(frozen=True)
class PulseOptions(emerging.PulseOptions, NameOptions):
    """Options of `rain_pulses`."""


@keywords_of(PulseOptions)
def rain_pulses(prediction: xr.Dataset, options: PulseOptions) -> xr.Dataset:
    """Compose a flux of a prediction around rains after dry spells; see `xh2cm.evaluate.emergent.rain_pulses`.

    Parameters
    ----------
    prediction : Dataset

    Returns
    -------
    Dataset

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 365), month=slice(0, 12))
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
    >>> ds.h2cm.predict(fit, variables=["TER"]).h2cm.rain_pulses(ds, dry_days=3)["TER_pulse"].sizes["lag"]
    14
    """
    forcing = forcing_of(options.forcing, options, "precipitation")
    return emerging.rain_pulses(prediction, **vars(part(options, emerging.PulseOptions)) | {"forcing": forcing})


def forcing_of(ds: xr.Dataset | Report, options: NameOptions, *names: str) -> xr.Dataset:
    """Return some forcing of a dataset in canonical units."""
    if isinstance(ds, Report):
        return ds.dataset
    return check(ds, **vars(part(options, NameOptions)), forcing=names, targets=[], static=[]).dataset


@dataclasses.dataclass(frozen=True)
class PathOptions:
    """Path of a page.

    Parameters
    ----------
    path : str or path
        A file that does not exist yet.
    """

    path: str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class ReportOptions(PageOptions, PathOptions):
    """Options of `report`."""


@keywords_of(ReportOptions)
def report(prediction: xr.Dataset, options: ReportOptions) -> Path:
    """Write one HTML page of a prediction, the data and the fit, which opens from disk.

    Parameters
    ----------
    prediction : Dataset

    Returns
    -------
    Path

    Raises
    ------
    InputError
        Data that are not a Dataset, or a fit that is not a Fit.
    StoreError
        A file that exists, or that cannot be written.

    Examples
    --------
    >>> import tempfile, xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 59), month=slice(0, 2))
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
    >>> out = ds.h2cm.predict(fit, variables=["ET"], member="held-out")
    >>> out.h2cm.report(tempfile.mkdtemp() + "/report.html", ds, fit=fit).name
    'report.html'
    """
    from xh2cm.page.page import write_page  # which needs matplotlib

    return write_page(options.path, prediction=prediction, **vars(part(options, PageOptions)))


# -- what a model needs ----------------------------------------------------------------------------------------------


def ready(ds: xr.Dataset | Report, options: PinOptions) -> tuple[Fit, xr.Dataset, xr.Dataset]:
    """Return the fit, the dataset checked for it, and the maps of its pinned parameters there.

    Raises
    ------
    FitError
        If there is no fit.
    InputError
        If the data or the maps cannot be used.
    """
    fit, land, static = options.fit, given(ds), options.static
    if fit is None:
        raise FitError(
            "no fit yet: give one, `ds.h2cm.predict(fit)`, or fit first on this very object "
            "(a copy or selection of a dataset does not remember the fit of the original)"
        )
    if not isinstance(fit, Fit):
        raise FitError(f"{fit!r:.60} is no fit: read one with xh2cm.load_fit(path)")
    if isinstance(ds, Report) and static is None:
        static = ds.scan.options.static
    pinned = spelled_out(options.pin, [fit.model.parameters[name] for name in fit.model.maps])
    features = fit.features if static is None and set(fit.features) <= set(land.variables) else None
    maps = maps_in(land, pinned, static or features)
    report = checked(ds, options, forcing=fit.model.needs, targets=[], static=features, pinned=maps)
    return fit, report.dataset, maps_for(fit, pinned, land, report.dataset["mask"])


def needed_forcing(options: FitOptions, pinned: Collection[str]) -> list[str | Var]:
    """Return the forcing that a model needs, before it is known whether its pins can be used."""
    pins = tuple((p.name, "global") for p in options.processes.parameters if p.name in pinned)
    return HybridModel(0, options.processes, tuple(options.networks or ()), pins=pins).needs


def given(ds: xr.Dataset | Report) -> xr.Dataset:
    """Return the dataset as the user gave it."""
    if isinstance(ds, Report):
        return ds.scan.ds
    return ds if isinstance(ds, xr.Dataset) else check(ds).dataset  # which says what it is instead


def maps_in(ds: xr.Dataset, pinned: Mapping[str, Any], static: Sequence[str] | None) -> list[str]:
    """Return the variables that are pinned maps, which are not static features unless named as such."""
    return [name for name in variables_of(pinned, ds) if name not in (static or ())]


def listed(targets: Any) -> list[Any]:
    """Return targets one by one, however they are given."""
    several = isinstance(targets, Iterable) and not isinstance(targets, str | Target)
    return list(targets) if several else [targets]
