"""Folds on the workers of a Dask cluster."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dask
import numpy as np
import torch
import xarray as xr

from xh2cm.data.folds import FoldOptions, fold_labels
from xh2cm.disk.places import local
from xh2cm.errors import Finding, InputError
from xh2cm.fitted import FINISHED, Fit, gather
from xh2cm.options import part
from xh2cm.train.fitting import fit_dataset
from xh2cm.train.normalisation import SUMMED

if TYPE_CHECKING:
    from distributed import Client

    from xh2cm.data.pins import Pins
    from xh2cm.data.scan import Facts
    from xh2cm.train.fitting import FitOptions

__all__ = ["connected", "fit_on"]

PATIENCE = 10
"""Seconds to wait for the answer of a scheduler."""

TRIES = 3
"""How often the folds of a worker that died are tried again elsewhere; with a `run` they go on where they were."""


def fit_on(
    client: Client, dataset: xr.Dataset, options: FitOptions, *, pins: Pins | None = None, facts: Facts | None = None
) -> Fit:
    """Train the folds on the workers of a cluster, several stacked on each.

    Weights are those of `fit_dataset` except for rounding, which depends on what is stacked.

    Parameters
    ----------
    client : distributed.Client
    dataset : Dataset
        As `check` gives it; lazy arrays are read by the workers.
    options : FitOptions
        Progress is shown by the dashboard, which has a task for the folds of each worker. A `run` must be a folder that
        all workers reach: it holds a run for the folds of each worker, and the fit in the end.
    pins : Pins, optional
        From `read_pins`.
    facts : Facts, optional
        See `fit_dataset`.

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        If there is no worker, or as `fit_dataset`.
    """
    labels = fold_labels(dataset, **vars(part(options, FoldOptions)), seed=1).compute()
    only, run = options.only, options.run
    summed = {fact: values for fact, values in (facts or {}).items() if fact[2] in SUMMED}
    own = dataclasses.replace(options, folds=labels, scheme=None, size=None, groups=None, test=None, client=None)
    numbers = np.unique(labels)
    chosen = list(only) if only is not None else [int(k) for k in numbers[numbers >= 0]]
    workers = len(client.scheduler_info(n_workers=-1)["workers"])
    if not workers:
        raise InputError([Finding("client", "has no worker", "wait for one: client.wait_for_workers(1)")])
    parts = [some.tolist() for some in np.array_split(chosen, min(workers, len(chosen)))]
    place = None if run is None else local(run).absolute()
    names = ["-".join(map(str, some)) for some in parts]
    futures = [
        client.submit(
            train_part, dataset,
            dataclasses.replace(own, only=some, run=place and place / f"folds-{name}"), pins, summed,
            key=f"h2cm-fit-{name}-{dask.base.tokenize(object())}", pure=False, retries=TRIES,
        )
        for some, name in zip(parts, names, strict=True)
    ]  # fmt: skip
    found = [future.result() for future in futures]
    for _, said in found:
        for warning in said:
            warnings.warn(warning, stacklevel=2)
    fit = gather([one for one, _ in found], labels)
    if place is not None:
        fit.save(place / FINISHED, overwrite=True)
    return fit


def train_part(dataset: xr.Dataset, options: FitOptions, pins: Pins | None, facts: Facts) -> tuple[Fit, list[Warning]]:
    """Train some folds on this worker, with the threads it has been given."""
    from distributed import get_worker

    torch.set_num_threads(get_worker().state.nthreads)
    with dask.config.set(scheduler="threads"), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ResourceWarning)  # of whatever else the worker holds
        fit = fit_dataset(dataset, dataclasses.replace(options, progress=False), pins=pins, facts=facts)
    return fit, [one.message for one in said if isinstance(one.message, Warning)]


@contextlib.contextmanager
def connected(client: Client | str) -> Iterator[Client]:
    """Connect to a cluster, if its address is given, for as long as it is used.

    Parameters
    ----------
    client : distributed.Client or str
        Client or address, such as ``"tcp://host:8786"``.

    Yields
    ------
    distributed.Client

    Raises
    ------
    InputError
        If distributed is not installed, there is no answer within ten seconds, or it is neither.
    """
    if not isinstance(client, str):
        if not hasattr(client, "submit"):
            problem = f"is a {type(client).__name__}"
            raise InputError(
                [Finding("client", problem, 'give a distributed.Client or its address, "tcp://host:8786"')]
            )
        yield client
        return
    try:
        from distributed import Client

        with Client(client, timeout=PATIENCE, set_as_default=False):  # one that fails would stay what Dask asks
            pass
    except ModuleNotFoundError:
        raise InputError([Finding("client", "needs distributed", "pip install 'xh2cm[distributed]'")]) from None
    except (OSError, ValueError) as error:
        problem = f"{client} does not answer: {error}"
        raise InputError([Finding("client", problem, "give the address that the scheduler prints")]) from None
    with Client(client, timeout=PATIENCE) as found:
        yield found
