"""``Dataset.h2cm``: the names under which the library's functions are called on a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

from xh2cm.evaluate.ensemble import coverage, spread
from xh2cm.evaluate.scores import score, score_table
from xh2cm.io.cmip import write_cmip
from xh2cm.io.netcdf import write_netcdf
from xh2cm.io.zarr import rechunk, write_zarr
from xh2cm.methods import READ_BY_A_TYPE_CHECKER, FitMethod, FittedMethod, Method, later
from xh2cm.prepared import check, folds

if TYPE_CHECKING:
    from xh2cm.fitted import Fit
    from xh2cm.plots.plots import Plots

if READ_BY_A_TYPE_CHECKER:
    from xh2cm import workflow
else:
    workflow = later("xh2cm.workflow")

__all__ = ["H2CMAccessor"]


@xr.register_dataset_accessor("h2cm")  # type: ignore[no-untyped-call]
class H2CMAccessor:
    """Hybrid modelling of water and carbon on a Dataset of daily forcing, or on a prediction.

    Each method is a function of the library, called on this dataset. Those on daily forcing take the options of
    `check` that say what is what in the dataset: ``names``, ``units``, ``static``, ``mask`` and ``missing``. Each of
    them checks the dataset: to check it once and go on with it, use the methods of what `check` returns.

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 60), month=slice(0, 2))
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
    >>> sorted(ds.h2cm.predict(fit).data_vars)
    ['ET', 'GPP', 'NEE', 'TER', 'TWS', 'runoff']
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset
        self._fit: Fit | None = None

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]

    check = Method(check)
    folds = Method(folds)
    to_tensors = Method(workflow.to_tensors)
    fit = FitMethod(workflow.fit)
    predict = FittedMethod(workflow.predict)
    response = FittedMethod(workflow.response)
    sensitivity = FittedMethod(workflow.sensitivity)
    emergent = Method(workflow.emergent)
    rain_pulses = Method(workflow.rain_pulses)
    report = Method(workflow.report)

    score = Method(score)
    score_table = Method(score_table)
    spread = Method(spread)
    coverage = Method(coverage)
    to_zarr = Method(write_zarr)
    rechunk = Method(rechunk)
    to_netcdf = Method(write_netcdf)
    to_cmip = Method(write_cmip)

    @property
    def plot(self) -> Plots:
        """Figures of this dataset; see `xh2cm.plots.plots.Plots`.

        Examples
        --------
        >>> import xh2cm
        >>> ds = xh2cm.tutorial.open_dataset("twin")
        >>> ds.h2cm.plot.map("precipitation", when="2001-07-14").get_title()
        'precipitation, 2001-07-14'
        """
        from xh2cm.plots.plots import Plots

        return Plots(self._dataset)
