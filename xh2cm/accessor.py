"""``Dataset.h2cm``: the names under which the library's functions are called on a dataset."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from xh2cm.data.check import check
from xh2cm.data.folds import Scheme, fold_labels
from xh2cm.errors import FitError, H2CMWarning
from xh2cm.evaluate.ensemble import coverage, spread
from xh2cm.evaluate.scores import score, score_table
from xh2cm.io.cmip import write_cmip
from xh2cm.io.netcdf import write_netcdf
from xh2cm.io.zarr import rechunk, write_zarr
from xh2cm.methods import Method

if TYPE_CHECKING:
    import torch
    from distributed import Client

    from xh2cm.data.pins import Pin
    from xh2cm.fitted import Fit
    from xh2cm.loop.compiled import Loop
    from xh2cm.model import Net, SpinUp
    from xh2cm.physics import Processes
    from xh2cm.plots.plots import Plots
    from xh2cm.prediction.sensitivity import Change
    from xh2cm.targets import Target
    from xh2cm.train.tensors import Cells

__all__ = ["H2CMAccessor"]


@xr.register_dataset_accessor("h2cm")  # type: ignore[no-untyped-call]
class H2CMAccessor:
    """Hybrid modelling of water and carbon on a Dataset of daily forcing.

    Every method takes the arguments of `check` that say what is what in the dataset: ``names``, ``units``,
    ``static``, ``mask`` and ``missing``. Which ``forcing`` is needed `fit` and `predict` know from the model.

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

    def to_tensors(
        self,
        *,
        device: str | torch.device | None = None,
        names: Mapping[str, str | float] | None = None,
        units: Mapping[str, str] | None = None,
        forcing: Sequence[str] | None = None,
        targets: Sequence[str | Target] | None = None,
        static: Sequence[str] | None = None,
        mask: str | xr.DataArray | None = None,
        missing: Literal["drop", "raise"] = "drop",
    ) -> Cells:
        """Bring forcing, static features and targets of the usable cells to a device.

        Parameters
        ----------
        device : str or torch.device, optional
            The best there is if not given.
        names, units, forcing, targets, static, mask, missing
            See `check`.

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
        from xh2cm.train.tensors import to_tensors

        report = self.check(
            names=names, units=units, forcing=forcing, targets=targets, static=static, mask=mask, missing=missing
        )
        return to_tensors(report.dataset, device)

    def folds(
        self,
        folds: int | xr.DataArray = 10,
        *,
        scheme: Scheme | None = None,
        size: float | None = None,
        groups: str | xr.DataArray | None = None,
        test: float | None = None,
        seed: int = 1,
        names: Mapping[str, str | float] | None = None,
        units: Mapping[str, str] | None = None,
        forcing: Sequence[str] | None = None,
        static: Sequence[str] | None = None,
        mask: str | xr.DataArray | None = None,
        missing: Literal["drop", "raise"] = "drop",
    ) -> xr.DataArray:
        """Label which cells (or years) each fold does not see.

        Parameters
        ----------
        folds, scheme, size, groups, test, seed
            See `xh2cm.fold_labels`; ``groups`` may be the name of a variable.
        names, units, forcing, static, mask, missing
            See `check`.

        Returns
        -------
        DataArray
            What `fit` and `xh2cm.plots.plots.folds` take.

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
        report = self.check(names=names, units=units, forcing=forcing, static=static, mask=mask, missing=missing)
        return fold_labels(
            report.dataset, folds, scheme=scheme, size=size, groups=self._groups(groups), test=test, seed=seed
        )

    def fit(
        self,
        folds: int | xr.DataArray = 10,
        *,
        scheme: Scheme | None = None,
        size: float | None = None,
        groups: str | xr.DataArray | None = None,
        test: float | None = None,
        only: Sequence[int] | None = None,
        targets: Sequence[str | Target] | Mapping[str, str] | None = None,
        weights: Mapping[str, float] | None = None,
        priors: Mapping[str, tuple[float, float]] | None = None,
        epochs: int = 5000,
        patience: int | None = 10,
        batch_size: int = 128,
        learning_rate: float = 0.005,
        window: int | None = None,
        spinup: int | SpinUp | None = None,
        width: int | None = None,
        processes: Processes | None = None,
        networks: Sequence[Net] | None = None,
        pin: Mapping[str, Pin] | Literal["global"] | None = None,
        normalise: Literal["training", "stored"] = "training",
        seed: int = 0,
        device: str | torch.device | None = None,
        memory: int | str | None = None,
        run: str | os.PathLike[str] | None = None,
        save_every: float = 10.0,
        client: Client | None = None,
        loop: Loop = "auto",
        progress: bool = True,
        names: Mapping[str, str | float] | None = None,
        units: Mapping[str, str] | None = None,
        static: Sequence[str] | None = None,
        mask: str | xr.DataArray | None = None,
        missing: Literal["drop", "raise"] = "drop",
    ) -> Fit:
        """Train the model, all folds in one pass, on whichever targets the dataset holds.

        Parameters
        ----------
        folds : int or DataArray
            How many folds, or labels of one's own.
        scheme, size, groups, test
            How cells (or years) are dealt to the folds; see `folds`.
        only : sequence of int, optional
            Train these folds only.
        targets : sequence of str or Target, or mapping of str to str, optional
            Which targets, and how to compare them: ``{"GPP": "daily"}``, or rows of one's own. All, as published, if
            not given.
        weights : mapping of str to float, optional
            Weights of the targets in the total loss.
        priors : mapping of str to (float, float), optional
            What is known of global constants beforehand, ``{"q10": (1.5, 0.3)}``: mean and standard deviation. ``{}``
            for nothing; the published two if not given. A constant without much evidence stays where its prior is.
        epochs, patience, batch_size, learning_rate, window, seed
            See `xh2cm.train.Training`; the defaults are the published ones.
        spinup : int or SpinUp, optional
            Days that are walked once before every window; its whole length if not given, as published.
        width : int, optional
            Hidden units of the daily networks, 100 (LSTM) and 150 (MLP) if not given.
        processes : Processes, optional
        networks : sequence of Net, optional
        pin : mapping of str to number, DataArray or str, or "global", optional
            Parameters that no network gives: ``{"q10": 1.5, "soil_capacity": ds["awc"], "snow_melt_rate": "global"}``
            fixes the first to a number and the second to a map (an array on the land, or the name of a variable that
            is one, which is then no static feature unless ``static`` names it), and learns the third as one constant.
            ``pin="global"`` does so with all: a conventional model, calibrated. ``"*"`` names all the others.
        normalise : {"training", "stored"}
            By each fold's own training cells, or by the attributes ``mean`` and ``std`` of the variables.
        device : str or torch.device, optional
            The best there is if not given.
        memory : int or str, optional
            What the data may take, such as ``"4 GiB"``; half of what is free if not given. A dataset that is larger is
            streamed: an epoch goes through its chunks in a random order, and the next are read meanwhile.
        run : str or path, optional
            A folder that the state of the training is kept in after each epoch, and every `save_every` minutes within
            one; in the end it holds the fit, for `xh2cm.load_fit`. After a kill the same call goes on where it was,
            and ends with the very weights of a run that nothing disturbed.
        save_every : float
        client : distributed.Client, optional
            Train the folds on the workers of this Dask cluster, some stacked on each; see `xh2cm.jobs.dask.fit_on`.
        loop : {"auto", "plain", "fast"}
            How days are walked: readably, or compiled for this model and processor; ``"auto"`` compiles where that is
            possible and pays. The numbers are the same but for rounding.
        progress : bool
        names, units, static, mask, missing
            See `check`.

        Returns
        -------
        Fit
            Also remembered by this accessor, for `predict`.

        Raises
        ------
        InputError
            Data, folds or arguments that cannot be used, all findings at once.
        FitError, StoreError
            A run in which something else was trained, that another process is at, or that cannot be written.

        Examples
        --------
        >>> import xh2cm
        >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 60), month=slice(0, 2))
        >>> how = {"scheme": "cells", "epochs": 1, "width": 8, "loop": "plain", "progress": False}
        >>> fit = ds.h2cm.fit(folds=2, targets={"GPP": "monthly", "runoff": "monthly"}, weights={"GPP": 2}, **how)
        >>> list(fit.losses.coords)
        ['split', 'target', 'epoch', 'fold']
        """
        from xh2cm.data.pins import read_pins, spelled_out
        from xh2cm.model import SpinUp
        from xh2cm.physics import Processes
        from xh2cm.train import Training
        from xh2cm.train.fitting import fit_dataset, needed_forcing

        processes = processes or Processes()
        pinned = spelled_out(pin, processes.parameters)
        report = self._without(pinned, static).h2cm.check(
            names=names,
            units=units,
            forcing=needed_forcing(processes, networks, pinned),
            targets=list(targets) if isinstance(targets, Mapping) else targets,
            static=static,
            mask=mask,
            missing=missing,
        )
        for text in report.left_out:
            warnings.warn(text, H2CMWarning, stacklevel=2)
        if client is not None:
            from xh2cm.jobs.dask import fit_on

            fit_dataset = partial(fit_on, client)
        self._fit = fit_dataset(
            report.dataset,
            folds,
            scheme=scheme,
            size=size,
            groups=self._groups(groups),
            test=test,
            only=only,
            targets=targets,
            weights=weights,
            priors=priors,
            processes=processes,
            networks=networks,
            width=width,
            pins=read_pins(pinned, processes.parameters, self._dataset, report.dataset["mask"]),
            normalise=normalise,
            training=Training(
                epochs=epochs,
                patience=patience,
                batch_size=batch_size,
                learning_rate=learning_rate,
                window=window,
                spinup=spinup if isinstance(spinup, SpinUp) else SpinUp(spinup),
                seed=seed,
            ),
            device=device,
            memory=memory,
            run=run,
            save_every=save_every,
            loop=loop,
            progress=progress,
        )
        return self._fit

    def predict(
        self,
        fit: Fit | None = None,
        *,
        variables: Sequence[str] | Literal["all"] | None = None,
        member: Literal["mean", "all", "held-out"] | int = "mean",
        spinup: int | SpinUp | None = None,
        state: xr.Dataset | None = None,
        keep_state: bool = False,
        pin: Mapping[str, Pin] | None = None,
        device: str | torch.device | None = None,
        loop: Loop = "auto",
        names: Mapping[str, str | float] | None = None,
        units: Mapping[str, str] | None = None,
        static: Sequence[str] | None = None,
        mask: str | xr.DataArray | None = None,
        missing: Literal["drop", "raise"] = "drop",
    ) -> xr.Dataset:
        """Compute fluxes, storages and learned parameters, lazily where the dataset is lazy.

        Parameters
        ----------
        fit : Fit, optional
            The last one made on this very object if not given.
        variables : sequence of str or "all", optional
            ET, runoff, TWS, GPP, TER and NEE if not given.
        member : {"mean", "all", "held-out"} or int
            Mean over folds, every fold, for each cell the fold that did not see it, or one fold.
        spinup : int or SpinUp, optional
            As in training if not given.
        state : Dataset, optional
            A prediction of the days before, made by the same fit with ``keep_state=True``, also read back from disk:
            this one starts from it, without a spin-up.
        keep_state : bool
            Add a variable ``state``: all that each fold and cell hands to the day after the last.
        pin : mapping of str to number, DataArray or str, optional
            Other maps for parameters that were pinned to one, where those of the fit do not reach this land.
        device : str or torch.device, optional
            The best there is where it is run, on Dask arrays by the worker, if not given.
        loop : {"auto", "plain", "fast"}
            As in `fit`.
        names, units, static, mask, missing
            See `check`.

        Returns
        -------
        Dataset
            On the coordinates of the data, with CF attributes.

        Raises
        ------
        FitError
            Before any fit, or if the fit does not belong to this dataset.
        InputError
            If the data cannot be used, a variable is unknown, or the state is of other cells, days or folds or of
            another fit.

        Notes
        -----
        Two halves, the second from the state of the first, give the numbers of the whole record, bit for bit if the
        same `loop` walks them (``"auto"`` may choose another for a shorter record).

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
        from xh2cm.prediction.predict import predict_dataset

        fit, checked, maps = self._ready(fit, pin, names=names, units=units, static=static, mask=mask, missing=missing)
        start = self._spinup(spinup)
        return predict_dataset(
            checked,
            fit,
            variables=variables,
            member=member,
            spinup=start,
            maps=maps,
            state=state,
            keep_state=keep_state,
            device=device,
            loop=loop,
        )

    def response(
        self,
        fit: Fit | None = None,
        change: Change | None = None,
        *,
        factor: Change | None = None,
        relative: bool = False,
        variables: Sequence[str] | Literal["all"] | None = None,
        member: Literal["mean", "all", "held-out"] | int = "mean",
        spinup: int | SpinUp | None = None,
        device: str | torch.device | None = None,
        loop: Loop = "auto",
        pin: Mapping[str, Pin] | None = None,
        names: Mapping[str, str | float] | None = None,
        units: Mapping[str, str] | None = None,
        static: Sequence[str] | None = None,
        mask: str | xr.DataArray | None = None,
        missing: Literal["drop", "raise"] = "drop",
    ) -> xr.Dataset:
        """Predict the response to changed forcing; see `xh2cm.prediction.sensitivity.forcing_response`.

        Parameters
        ----------
        fit, variables, member, spinup, device, loop, pin, names, units, static, mask, missing
            See `predict`.
        change, factor : mapping of str to number or DataArray, optional
            What is added to a forcing, and what it is multiplied by, in the units of the model.
        relative : bool
            Divide by the absolute mean over time of the prediction without.

        Returns
        -------
        Dataset

        Examples
        --------
        >>> import xh2cm
        >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 60), month=slice(0, 2))
        >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
        >>> changed = ds.h2cm.response(fit, {"air_temperature": 1.0}, factor={"precipitation": 1.1})  # a kelvin, 10 %
        >>> bool(changed["TWS"].mean() > 0)
        True
        """
        from xh2cm.prediction.sensitivity import forcing_response

        fit, checked, maps = self._ready(fit, pin, names=names, units=units, static=static, mask=mask, missing=missing)
        return forcing_response(
            checked,
            fit,
            change,
            factor=factor,
            relative=relative,
            variables=variables,
            member=member,
            spinup=self._spinup(spinup),
            maps=maps,
            device=device,
            loop=loop,
        )

    score = Method(score)
    score_table = Method(score_table)
    spread = Method(spread)
    coverage = Method(coverage)

    def sensitivity(
        self,
        fit: Fit | None = None,
        variable: str = "GPP",
        *,
        period: slice | None = None,
        member: Literal["mean", "all", "held-out"] | int = "mean",
        spinup: int | SpinUp | None = None,
        device: str | torch.device | None = None,
        batch: int = 128,
        pin: Mapping[str, Pin] | None = None,
        names: Mapping[str, str | float] | None = None,
        units: Mapping[str, str] | None = None,
        static: Sequence[str] | None = None,
        mask: str | xr.DataArray | None = None,
        missing: Literal["drop", "raise"] = "drop",
    ) -> xr.Dataset:
        """Differentiate an output's mean by each forcing on each day; see `xh2cm.prediction.sensitivity.sensitivity`.

        Parameters
        ----------
        variable : str
        period : slice, optional
            Days that the mean is of; the whole record if not given.
        batch : int
            Cells at once.
        fit, member, spinup, device, pin, names, units, static, mask, missing
            See `predict`.

        Returns
        -------
        Dataset

        Examples
        --------
        >>> import xh2cm
        >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 30), month=slice(0, 1))
        >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
        >>> list(ds.h2cm.sensitivity(fit, "runoff").data_vars)
        ['net_radiation', 'precipitation', 'air_temperature', 'vpd', 'co2']
        """
        from xh2cm.prediction.sensitivity import sensitivity

        fit, checked, maps = self._ready(fit, pin, names=names, units=units, static=static, mask=mask, missing=missing)
        start = self._spinup(spinup)
        return sensitivity(
            checked, fit, variable, period=period, member=member, spinup=start, maps=maps, device=device, batch=batch
        )

    def emergent(
        self,
        forcing: xr.Dataset | None = None,
        *,
        quantities: Sequence[str] | None = None,
        over: Literal["record", "year", "month"] = "record",
        names: Mapping[str, str | float] | None = None,
        units: Mapping[str, str] | None = None,
    ) -> xr.Dataset:
        """Compute efficiencies and shares of this prediction; see `xh2cm.evaluate.emergent.emergent_quantities`.

        Parameters
        ----------
        forcing : Dataset, optional
            What was predicted on; `names` and `units` are what `check` must know of it.
        quantities : sequence of str, optional
            Whatever can be computed if not given.
        over : {"record", "year", "month"}
        names, units
            See `check`.

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
        from xh2cm.evaluate.emergent import emergent_quantities

        if forcing is not None:
            needed = (
                "net_radiation",
                "precipitation",
                "air_temperature",
            )  # the last as the first may be derived from it
            forcing = check(forcing, names=names, units=units, forcing=needed, targets=[], static=[]).dataset
        return emergent_quantities(self._dataset, forcing, quantities=quantities, over=over)

    def rain_pulses(
        self,
        forcing: xr.Dataset,
        *,
        flux: str = "TER",
        rain: float = 5.0,
        dry: float = 1.0,
        dry_days: int = 7,
        before: int = 3,
        after: int = 10,
        names: Mapping[str, str | float] | None = None,
        units: Mapping[str, str] | None = None,
    ) -> xr.Dataset:
        """Compose a flux of this prediction around rains after dry spells; see `xh2cm.evaluate.emergent.rain_pulses`.

        Parameters
        ----------
        forcing : Dataset
            What was predicted on.
        flux : str
        rain, dry : float
            A day of at least `rain` after days below `dry`, kg m-2 d-1.
        dry_days, before, after : int
            Length of the dry spell, and days shown before and after the rain.
        names, units
            See `check`.

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
        from xh2cm.evaluate.emergent import rain_pulses

        checked = check(forcing, names=names, units=units, forcing=["precipitation"], targets=[], static=[]).dataset
        return rain_pulses(
            self._dataset, checked, flux=flux, rain=rain, dry=dry, dry_days=dry_days, before=before, after=after
        )

    @property
    def plot(self) -> Plots:
        """Pictures of this dataset; see `xh2cm.plots.plots.Plots`.

        Examples
        --------
        >>> import xh2cm
        >>> ds = xh2cm.tutorial.open_dataset("twin")
        >>> ds.h2cm.plot.map("precipitation", when="2001-07-14").get_title()
        'precipitation, 2001-07-14'
        """
        from xh2cm.plots.plots import Plots

        return Plots(self._dataset)

    def report(
        self,
        path: str | os.PathLike[str],
        data: xr.Dataset | None = None,
        *,
        fit: Fit | None = None,
        targets: Sequence[str | Target] | None = None,
        names: Mapping[str, str | float] | None = None,
        units: Mapping[str, str] | None = None,
        static: Sequence[str] | None = None,
        mask: str | xr.DataArray | None = None,
        missing: Literal["drop", "raise"] = "drop",
        overwrite: bool = False,
    ) -> Path:
        """Write one HTML page of this prediction, the data and the fit, which opens from disk.

        Parameters
        ----------
        path : str or path
            A file that does not exist yet.
        data : Dataset, optional
            What was trained or predicted on: for the check, the scores and what the budgets say of the forcing.
        fit : Fit, optional
            For folds, training, constants and settings.
        targets, names, units, static, mask, missing : optional
            What is what in the data, as for `check`; `targets` as for `score`.
        overwrite : bool
            Replace a file.

        Returns
        -------
        Path

        Raises
        ------
        InputError
            What is given is no Dataset or no fit.
        StoreError
            A file that exists, or that cannot be written.

        Examples
        --------
        >>> import tempfile, xh2cm
        >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 59), month=slice(0, 2))
        >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
        >>> out = ds.h2cm.predict(fit, variables=["ET"], member="held-out")
        >>> out.h2cm.report(tempfile.mkdtemp() + "/report.html").name
        'report.html'
        """
        from xh2cm.page.page import write_page

        return write_page(
            path,
            fit=fit,
            prediction=self._dataset,
            data=data,
            targets=targets,
            names=names,
            units=units,
            static=static,
            mask=mask,
            missing=missing,
            overwrite=overwrite,
        )

    to_zarr = Method(write_zarr)
    rechunk = Method(rechunk)
    to_netcdf = Method(write_netcdf)
    to_cmip = Method(write_cmip)

    def _without(self, pinned: Mapping[str, Any], static: Sequence[str] | None) -> xr.Dataset:
        """The dataset without the variables that are pinned maps, which are no static features unless named as such."""
        from xh2cm.data.pins import variables_of

        return self._dataset.drop_vars([n for n in variables_of(pinned, self._dataset) if n not in (static or ())])

    def _ready(
        self, fit: object, pin: Mapping[str, Pin] | None, *, static: Sequence[str] | None, **told: Any
    ) -> tuple[Fit, xr.Dataset, xr.Dataset]:
        """The fit given, or the last one, this dataset checked for it, and the maps of its pins there."""
        from xh2cm.data.pins import spelled_out
        from xh2cm.fitted import Fit
        from xh2cm.prediction.predict import maps_for

        fit = self._fit if fit is None else fit
        if not isinstance(fit, Fit | None):
            raise FitError(f"{fit!r:.60} is no fit: read one with xh2cm.load_fit(path)")
        if fit is None:
            raise FitError(
                "no fit yet: give one, `ds.h2cm.predict(fit)`, or fit first on this very object "
                "(a copy or selection of a dataset does not remember the fit of the original)"
            )
        if static is None and set(fit.features) <= set(self._dataset.variables):
            static = fit.features
        pinned = spelled_out(pin, [fit.model.parameters[name] for name in fit.model.maps])
        land = self._without(pinned, static).h2cm
        checked = land.check(static=static, targets=[], forcing=fit.model.forcing, **told).dataset
        return fit, checked, maps_for(fit, pinned, self._dataset, checked["mask"])

    def _spinup(self, spinup: int | SpinUp | None) -> SpinUp | None:
        """A number of days, as a spin-up."""
        from xh2cm.model import SpinUp

        return spinup if spinup is None or isinstance(spinup, SpinUp) else SpinUp(spinup)

    def _groups(self, groups: str | xr.DataArray | None) -> str | xr.DataArray | None:
        """Groups by name, from the user's dataset."""
        return self._dataset[groups] if isinstance(groups, str) and groups in self._dataset.variables else groups
