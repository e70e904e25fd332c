"""A dataset that was checked once, and everything that is done with it."""

from __future__ import annotations

import dataclasses

import xarray as xr

from xh2cm.data.check import check as checking
from xh2cm.data.check import checked
from xh2cm.data.folds import LabelOptions, fold_labels
from xh2cm.data.options import CheckOptions, ForcingOptions
from xh2cm.data.report import Report
from xh2cm.methods import READ_BY_A_TYPE_CHECKER, FitMethod, FittedMethod, Method, later
from xh2cm.options import keywords_of, part

if READ_BY_A_TYPE_CHECKER:
    from xh2cm import workflow
else:
    workflow = later("xh2cm.workflow")

__all__ = ["Prepared", "check", "folds"]


@dataclasses.dataclass(frozen=True)
class FoldsOptions(LabelOptions, ForcingOptions):
    """Options of `folds`."""


@keywords_of(FoldsOptions)
def folds(ds: xr.Dataset | Report, options: FoldsOptions) -> xr.DataArray:
    """Assign cells (or years) to the folds of a cross-validation.

    Parameters
    ----------
    ds : Dataset or Prepared

    Returns
    -------
    DataArray
        Labels of the cells (or days) that each fold does not see, as `fit` and `xh2cm.plots.plots.folds` take them.

    Raises
    ------
    InputError
        Data or folds that cannot be used, all findings at once.

    Examples
    --------
    >>> import numpy as np, xh2cm
    >>> labels = xh2cm.tutorial.open_dataset("twin").h2cm.folds(3, scheme="cells")
    >>> np.unique(labels, return_counts=True)[1].tolist()
    [16, 16, 16]
    """
    report = checked(ds, options, forcing=options.forcing)
    told = vars(part(options, LabelOptions))
    return fold_labels(report.dataset, **told | {"groups": report.scan.named(options.groups)})


class Prepared(Report):
    """A checked dataset: the report of `check`, the canonical dataset, and what can be done with it.

    Each chunk of the data was read once. What a model needs of it, such as the usable cells, follows from what was
    counted then: a model of water alone uses cells that lack CO2. Parameters are those of `xh2cm.data.report.Report`.

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 60), month=slice(0, 2))
    >>> prepared = ds.h2cm.check()
    >>> prepared.usable
    48
    >>> labels = prepared.folds(2, scheme="cells")
    >>> fit = prepared.fit(labels, epochs=1, width=8, loop="plain", progress=False)
    >>> sorted(prepared.predict(fit).data_vars)
    ['ET', 'GPP', 'NEE', 'TER', 'TWS', 'runoff']
    """

    folds = Method(folds)
    to_tensors = Method(workflow.to_tensors)
    fit = FitMethod(workflow.fit)
    predict = FittedMethod(workflow.predict)
    response = FittedMethod(workflow.response)
    sensitivity = FittedMethod(workflow.sensitivity)


@keywords_of(CheckOptions)
def check(ds: xr.Dataset, options: CheckOptions) -> Prepared:
    """Find, convert, derive and check everything a model needs in a dataset.

    Parameters
    ----------
    ds : Dataset
        Daily, on any land: a regular or curvilinear grid, catchments, towers, one cell. NumPy or Dask.

    Returns
    -------
    Prepared
        Prints as a report; ``prepared.dataset`` is the canonical dataset, in which Dask arrays are still lazy;
        ``prepared.fit()`` and the other methods go on with it.

    Raises
    ------
    InputError
        With everything that is wrong, each with what to do about it.

    Notes
    -----
    Every chunk of a Dask array is computed once, for the ranges, gaps and sums of all variables together.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xh2cm
    >>> days = np.arange("2001-01-01", "2002-01-01", dtype="datetime64[D]").astype("datetime64[ns]")
    >>> season = xr.DataArray(-np.cos(np.arange(365) * 2 * np.pi / 365), coords={"time": days}, dims="time")
    >>> ds = xr.Dataset({
    ...     "rn": (80 + 70 * season).assign_attrs(units="W m-2"),
    ...     "tas": (9 + 10 * season).assign_attrs(units="degC"),
    ...     "rh": (75 - 10 * season).assign_attrs(units="%"),
    ...     "pr": (0 * season + 3e-5).assign_attrs(units="kg m-2 s-1"),
    ... })
    >>> prepared = xh2cm.check(ds, names={"co2": 371.0})
    >>> prepared.usable
    1
    >>> prepared.dataset["vpd"].attrs["units"]
    'hPa'
    """
    return Prepared(**vars(checking(ds, **vars(options))))
