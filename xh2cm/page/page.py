"""Report of a run: one self-contained HTML page, which opens from disk without scripts and without a network."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from xh2cm.disk.atomic import replace, writing
from xh2cm.disk.places import local
from xh2cm.errors import Finding, InputError, StoreError
from xh2cm.evaluate.scores import by_whom
from xh2cm.html import Markup, pairs, render
from xh2cm.options import keywords_of
from xh2cm.page import sections
from xh2cm.page.budgets import budgets
from xh2cm.page.context import RESIDUALS, Given, beware, share, unit
from xh2cm.plots import plots, style
from xh2cm.plots.computed import computed
from xh2cm.settings import PageOptions

if TYPE_CHECKING:
    pass

__all__ = ["write_page"]

SECTIONS: Mapping[str, Callable[[Given], Markup]] = {
    "Data check": sections.data_check,
    "Model and training settings": sections.settings,
    "Cross-validation folds": sections.folds,
    "Training": sections.training,
    "Scores": sections.scores,
    "Maps": sections.output_maps,
    "Seasonal cycles": sections.seasons,
    "Parameters": sections.parameters,
    "Budgets": budgets,
    "Provenance": sections.provenance,
}
"""The page, from top to bottom."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WholePage(PageOptions):
    """Options of the contents of a report, with the prediction.

    Parameters
    ----------
    prediction : Dataset, optional
        For maps, seasons and budgets; ``variables="all"`` fills them all, and ``member="held-out"`` gives held-out
        scores. A lazy one is computed once.
    """

    prediction: xr.Dataset | None = None


@keywords_of(WholePage)
def write_page(path: str | os.PathLike[str], options: WholePage) -> Path:
    """Write one HTML page of a fit, a prediction and the data: check, folds, training, scores, maps, budgets, settings.

    Parameters
    ----------
    path : str or path
        A file that does not exist yet.

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
    Each section says what it lacks and how to provide it, and why a figure cannot be drawn. Fluxes that no training
    target constrains are marked, and their totals are not shown.

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
    fit, prediction, data = options.fit, options.prediction, options.data
    refuse(fit, prediction, data)
    target = local(path)
    if os.path.lexists(target) and not options.overwrite:
        raise StoreError(f"{target} exists: give another path, or overwrite=True to replace it")
    if (target.parent / "SHA256SUMS").exists():
        raise StoreError(f"{target.parent} is sealed by its checksums: write the page to another folder")
    told = {"static": options.static, "mask": options.mask, "missing": options.missing}
    targets = None if options.targets is None else [*options.targets]
    lazy = xr.Dataset() if prediction is None else prediction
    with (
        writing(target),
        style.plain_style(),
        computed(lazy, target.parent) as held,
    ):
        shown = None if prediction is None else plots.marked(held, fit)
        replace(target, whole(Given(fit, shown, data, targets, options.names, options.units, told)).encode())
    return target


def refuse(fit: object, prediction: object, data: object) -> None:
    """Refuse objects that no page can be written of."""
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
    """Return the title of the page."""
    about = [str(given.data.attrs["title"])] if given.data is not None and "title" in given.data.attrs else []
    return ": ".join(["xh2cm report", *about])


def head(given: Given) -> Markup:
    """Return what the page is about: data, fit, prediction and first results."""
    fit, prediction = given.fit, given.prediction
    about: dict[str, object] = {}
    if fit is not None:
        known = fit.provenance
        about["fit"] = Markup("<code>{}</code>").format(fit.fingerprint)
        about |= {key: known[key] for key in ("source", "period", "cells") if key in known}
        version = known.get("xh2cm", "of an unknown version")
        about["trained"] = f"{known.get('trained', 'elsewhere')}, by xh2cm {version}"
        about["trained on"] = ", ".join(given.trained) or "unknown"
        about |= {key: value for key, value in sections.compared(fit).items() if key in ("folds", "epochs")}
    if prediction is not None:
        member = prediction.attrs.get("member")
        about["predicted by"] = "unknown" if member is None else by_whom(str(member))
    about |= found_first(given)
    warning = Markup("")
    if fit is not None and prediction is not None and fit.fingerprint not in str(prediction.attrs.get("source", "")):
        source = prediction.attrs.get("source", "none given")
        warning = beware(f"The prediction does not name this fit, {fit.fingerprint}, as its source: {source}.")
    return pairs(about) + warning


def found_first(given: Given) -> dict[str, str]:
    """Return the first results: skill, and closure of the budgets."""
    found = {}
    if isinstance(given.scores, xr.Dataset):
        monthly = given.scores["NSE_median"].sel(scale="monthly")
        best = {name: float(monthly.sel(variable=name).mean()) for name in given.scored}
        told = [f"{name} {share(value)}" for name, value in best.items() if math.isfinite(value)]
        found["monthly NSE (median over cells)"] = ", ".join(told) or "none"
    if given.prediction is not None:
        arrays = [given.prediction[name] for name in RESIDUALS if name in given.prediction]
        left = [f"{a.name} {float(abs(a).max()):.1e} {unit(a.attrs.get('units', ''))}" for a in arrays]
        if left:
            found["largest daily residual"] = ", ".join(left)
    return found
