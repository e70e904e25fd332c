"""Folds on the workers of a Dask cluster."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import torch
import xarray as xr

from xh2cm.data.folds import fold_labels
from xh2cm.errors import Finding, InputError
from xh2cm.fitted import FINISHED, Fit, gather
from xh2cm.train.fitting import fit_dataset

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["fit_on"]

TRIES = 3
"""How often the folds of a worker that died are tried again elsewhere; with a `run` they go on where they were."""


def fit_on(
    client: Client,
    dataset: xr.Dataset,
    folds: int | xr.DataArray = 10,
    *,
    only: Sequence[int] | None = None,
    run: str | os.PathLike[str] | None = None,
    progress: bool = True,  # noqa: ARG001 - the dashboard shows it
    scheme: Any = None,
    size: float | None = None,
    groups: str | xr.DataArray | None = None,
    test: float | None = None,
    **training: Any,
) -> Fit:
    """Train the folds on the workers of a cluster, each some of them stacked.

    Weights are those of `fit_dataset` but for rounding, which depends on what is stacked.

    Parameters
    ----------
    client : distributed.Client
    dataset : Dataset
        As `check` gives it; lazy arrays are read by the workers.
    folds, only, scheme, size, groups, test
        As for `fit_dataset`.
    run : str or path, optional
        Folder that all workers reach: a run for each worker's folds, and the fit in the end.
    progress : bool
        Nothing is shown here: the dashboard has a task for each worker's folds.
    **training
        The other arguments of `fit_dataset`.

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        If there is no worker, or as `fit_dataset`.
    """
    labels = fold_labels(dataset, folds, scheme=scheme, size=size, groups=groups, test=test, seed=1).compute()
    numbers = np.unique(labels)
    chosen = list(only) if only is not None else [int(k) for k in numbers[numbers >= 0]]
    workers = len(client.scheduler_info(n_workers=-1)["workers"])
    if not workers:
        raise InputError([Finding("client", "has no worker", "wait for one: client.wait_for_workers(1)")])
    parts = [part.tolist() for part in np.array_split(chosen, min(workers, len(chosen)))]
    place = None if run is None else Path(run).absolute()
    names = ["-".join(map(str, part)) for part in parts]
    futures = [
        client.submit(
            train_part, dataset, labels, part, place and place / f"folds-{name}", training,
            key=f"h2cm-fit-{name}-{dask.base.tokenize(object())}", pure=False, retries=TRIES,
        )
        for part, name in zip(parts, names, strict=True)
    ]  # fmt: skip
    found = [future.result() for future in futures]
    for _, said in found:
        for warning in said:
            warnings.warn(warning, stacklevel=2)
    fit = gather([part for part, _ in found], labels)
    if place is not None:
        fit.save(place / FINISHED, overwrite=True)
    return fit


def train_part(
    dataset: xr.Dataset, labels: xr.DataArray, folds: list[int], run: Path | None, training: dict[str, Any]
) -> tuple[Fit, list[Warning]]:
    """Train some folds on this worker, with the threads it has been given."""
    from distributed import get_worker

    torch.set_num_threads(get_worker().state.nthreads)
    with dask.config.set(scheduler="threads"), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit = fit_dataset(dataset, labels, only=folds, run=run, progress=False, **training)
    return fit, [one.message for one in said if isinstance(one.message, Warning)]
