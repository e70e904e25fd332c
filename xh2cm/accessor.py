"""``Dataset.h2cm``: the names under which the library's functions are called on a dataset."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import xarray as xr

from xh2cm.data.folds import Scheme, fold_labels
from xh2cm.data.forcing import check
from xh2cm.errors import FitError

if TYPE_CHECKING:
    import torch

    from xh2cm.data.cells import Cells
    from xh2cm.data.report import Report
    from xh2cm.fit import Fit
    from xh2cm.loop.lanes import Loop
    from xh2cm.model import Net, SpinUp
    from xh2cm.physics import Processes

__all__ = ["H2CMAccessor"]


@xr.register_dataset_accessor("h2cm")  # type: ignore[no-untyped-call]
class H2CMAccessor:
    """Hybrid modelling of water and carbon on a Dataset of daily forcing.

    Every method takes the arguments of `check` that say what is what in the dataset: ``names``, ``units``,
    ``static``, ``mask`` and ``missing``.

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin")
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, progress=False)
    >>> sorted(ds.h2cm.predict(fit).data_vars)
    ['ET', 'GPP', 'NEE', 'TER', 'TWS', 'runoff']
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset
        self._fit: Fit | None = None

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]

    def check(
        self,
        *,
        names: Mapping[str, str | float] | None = None,
        units: Mapping[str, str] | None = None,
        targets: Sequence[str] | None = None,
        static: Sequence[str] | None = None,
        mask: str | xr.DataArray | None = None,
        missing: Literal["drop", "raise"] = "drop",
    ) -> Report:
        """Find, convert and derive what the model needs, and report on it; see `xh2cm.check`."""
        return check(
            self._dataset, names=names, units=units, targets=targets, static=static, mask=mask, missing=missing
        )

    def to_tensors(
        self,
        *,
        device: str | torch.device | None = None,
        names: Mapping[str, str | float] | None = None,
        units: Mapping[str, str] | None = None,
        targets: Sequence[str] | None = None,
        static: Sequence[str] | None = None,
        mask: str | xr.DataArray | None = None,
        missing: Literal["drop", "raise"] = "drop",
    ) -> Cells:
        """Bring forcing, static features and targets of the usable cells to a device; see `xh2cm.data.cells.Cells`."""
        from xh2cm.data.cells import to_tensors

        report = self.check(names=names, units=units, targets=targets, static=static, mask=mask, missing=missing)
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
        static: Sequence[str] | None = None,
        mask: str | xr.DataArray | None = None,
        missing: Literal["drop", "raise"] = "drop",
    ) -> xr.DataArray:
        """Label which cells (or years) each fold does not see; see `xh2cm.data.folds.fold_labels`."""
        report = self.check(names=names, units=units, static=static, mask=mask, missing=missing)
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
        targets: Sequence[str] | Mapping[str, str] | None = None,
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
        normalise: Literal["training", "stored"] = "training",
        seed: int = 0,
        device: str | torch.device | None = None,
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
        targets : sequence of str or mapping of str to str, optional
            Which targets, and how to compare them: ``{"GPP": "daily"}``. All, as published, if not given.
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
        normalise : {"training", "stored"}
            By each fold's own training cells, or by the attributes ``mean`` and ``std`` of the variables.
        device : str or torch.device, optional
            The best there is if not given.
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
        """
        from xh2cm.fit import fit_dataset
        from xh2cm.model import PUBLISHED_NETWORKS, SpinUp
        from xh2cm.train import Training

        report = self.check(
            names=names,
            units=units,
            targets=None if targets is None else list(targets),
            static=static,
            mask=mask,
            missing=missing,
        )
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
            networks=networks or PUBLISHED_NETWORKS,
            width=width,
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
        device : str or torch.device, optional
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
            If the data cannot be used or a variable is unknown.
        """
        from xh2cm.model import SpinUp
        from xh2cm.predict import predict_dataset

        fit = fit or self._fit
        if fit is None:
            raise FitError(
                "no fit yet: give one, `ds.h2cm.predict(fit)`, or fit first on this very object "
                "(a copy or selection of a dataset does not remember the fit of the original)"
            )
        if static is None and set(fit.features) <= set(self._dataset.variables):
            static = fit.features
        report = self.check(names=names, units=units, targets=[], static=static, mask=mask, missing=missing)
        start = SpinUp(spinup) if isinstance(spinup, int) else spinup
        return predict_dataset(
            report.dataset, fit, variables=variables, member=member, spinup=start, device=device, loop=loop
        )

    def to_zarr(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the dataset to a new Zarr store, chunk by chunk; see `xh2cm.predict.write_zarr`."""
        from xh2cm.predict import write_zarr

        return write_zarr(self._dataset, path, overwrite=overwrite)

    def _groups(self, groups: str | xr.DataArray | None) -> str | xr.DataArray | None:
        """Groups by name, from the user's dataset."""
        return self._dataset[groups] if isinstance(groups, str) and groups in self._dataset.variables else groups
