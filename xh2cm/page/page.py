"""One HTML page of a run, whole in itself: it opens from disk, without scripts and without a network."""

from __future__ import annotations

import datetime
import importlib.metadata
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import xarray as xr

from xh2cm.disk.atomic import replace, writing
from xh2cm.disk.places import local
from xh2cm.errors import Finding, InputError, StoreError
from xh2cm.evaluate.scores import by_whom
from xh2cm.html import Markup, pairs, render
from xh2cm.page import sections
from xh2cm.page.budgets import budgets
from xh2cm.page.context import RESIDUALS, Given, beware, share, unit
from xh2cm.plots import style

if TYPE_CHECKING:
    from xh2cm.fitted import Fit
    from xh2cm.targets import Target

__all__ = ["write_page"]

SECTIONS: Mapping[str, Callable[[Given], Markup]] = {
    "Data check": sections.data_check,
    "Folds": sections.folds,
    "Training": sections.training,
    "Scores": sections.scores,
    "Maps": sections.output_maps,
    "Seasonal cycles": sections.seasons,
    "Parameters": sections.parameters,
    "Budgets": budgets,
    "Provenance": sections.provenance,
}
"""The page, from top to bottom."""


def write_page(
    path: str | os.PathLike[str],
    *,
    fit: Fit | None = None,
    prediction: xr.Dataset | None = None,
    data: xr.Dataset | None = None,
    targets: Sequence[str | Target] | None = None,
    names: Mapping[str, str | float] | None = None,
    units: Mapping[str, str] | None = None,
    static: Sequence[str] | None = None,
    mask: str | xr.DataArray | None = None,
    missing: Literal["drop", "raise"] = "drop",
    overwrite: bool = False,
) -> Path:
    """Write one HTML page of a fit, a prediction and the data: check, folds, training, scores, maps, budgets, settings.

    Parameters
    ----------
    path : str or path
        A file that does not exist yet.
    fit : Fit, optional
        For folds, training, constants and settings.
    prediction : Dataset, optional
        For maps, seasons and budgets; ``variables="all"`` for all of them, ``member="held-out"`` for honest scores. A
        lazy one is computed anew by each picture: write it to Zarr first.
    data : Dataset, optional
        What was trained or predicted on: for the check, the scores and what the budgets say of the forcing.
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
        Nothing given to write of, or something that is no Dataset and no fit.
    StoreError
        A file that exists, or that cannot be written.

    Notes
    -----
    The page says what was not given, and how to give it, and of each picture that cannot be drawn why.

    Examples
    --------
    >>> import tempfile, xh2cm
    >>> from xh2cm.page.page import write_page
    >>> ds = xh2cm.tutorial.open_dataset("twin").isel(time=slice(0, 59), month=slice(0, 2))
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, loop="plain", progress=False)
    >>> page = write_page(tempfile.mkdtemp() + "/report.html", fit=fit)
    >>> page.read_text(encoding="utf-8").count("<h1>")
    1
    """
    refuse(fit, prediction, data)
    target = local(path)
    if os.path.lexists(target) and not overwrite:
        raise StoreError(f"{target} exists: give another path, or overwrite=True to replace it")
    if (target.parent / "SHA256SUMS").exists():
        raise StoreError(f"{target.parent} is sealed by its checksums: write the page to another folder")
    told = {"static": static, "mask": mask, "missing": missing}
    given = Given(fit, prediction, data, targets, names, units, told)
    with style.plain_style():
        text = whole(given)
    with writing(target):
        replace(target, text.encode())
    return target


def refuse(fit: object, prediction: object, data: object) -> None:
    """Refuse what no page can be written of."""
    findings = [
        Finding(name, f"is a {type(value).__name__}", "give a Dataset")
        for name, value in {"prediction": prediction, "data": data}.items()
        if not isinstance(value, xr.Dataset | None)
    ]
    if fit is not None and not (hasattr(fit, "fingerprint") and hasattr(fit, "losses")):
        findings.append(Finding("fit", f"is a {type(fit).__name__}", 'give what xh2cm.load_fit("run") returns'))
    if fit is None and prediction is None and data is None:
        findings.append(Finding("page", "has nothing to be written of", "give fit=, prediction= or data="))
    if findings:
        raise InputError(findings)


def whole(given: Given) -> Markup:
    """Return the page."""
    return render(
        "page/report.jinja",
        title=title_of(given),
        head=head(given),
        sections={title.lower().replace(" ", "-"): (title, section(given)) for title, section in SECTIONS.items()},
        version=importlib.metadata.version("xh2cm"),
        written=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def title_of(given: Given) -> str:
    """What the page is about, for the window."""
    about = [str(given.data.attrs["title"])] if given.data is not None and "title" in given.data.attrs else []
    return ": ".join(["xh2cm report", *about])


def head(given: Given) -> Markup:
    """What this is, what made it and when, and what is found first."""
    fit, prediction = given.fit, given.prediction
    about: dict[str, object] = {}
    if given.data is not None and "title" in given.data.attrs:
        about["data"] = given.data.attrs["title"]
    if fit is not None:
        said = fit.provenance
        trained = [row["name"] for row in said.get("targets", [])]
        about["fit"] = Markup("<code>{}</code>").format(fit.fingerprint)
        about |= {key: said[key] for key in ("source", "period", "cells") if key in said}
        about["trained"] = f"{said.get('trained', 'elsewhere')}, by xh2cm {said.get('xh2cm', 'of an unknown version')}"
        about["folds"] = f"{len(fit.folds)}, {fit.losses.sizes['epoch']} epochs"
        about["trained on"] = ", ".join(trained) or "unknown"
    if prediction is not None:
        member = prediction.attrs.get("member")
        about["predicted by"] = "unknown" if member is None else by_whom(member)
    about |= found_first(given)
    warning = Markup("")
    if fit is not None and prediction is not None and fit.fingerprint not in str(prediction.attrs.get("source", "")):
        source = prediction.attrs.get("source", "it does not say which")
        warning = beware(f"The prediction is not of this fit, {fit.fingerprint}, as far as it says: {source}.")
    return pairs(about) + warning


def found_first(given: Given) -> dict[str, str]:
    """The two numbers a reader wants first: how good, and whether it closes."""
    found = {}
    if isinstance(given.scores, xr.Dataset):
        monthly = given.scores["NSE_median"].sel(scale="monthly")
        best = {name: float(monthly.sel(variable=name).mean()) for name in given.scored}
        told = [f"{name} {share(value)}" for name, value in best.items() if math.isfinite(value)]
        found["monthly NSE, median of the cells"] = ", ".join(told) or "none"
    if given.prediction is not None:
        there = [name for name in RESIDUALS if name in given.prediction]
        left = [f"{name} {float(abs(given.prediction[name]).max()):.1e}" for name in there]
        if left:
            units = unit(given.prediction[there[0]].attrs.get("units", ""))
            found["largest residual of a day and cell"] = f"{', '.join(left)} ({units}, and alike)"
    return found
