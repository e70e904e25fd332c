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

from xh2cm.errors import Finding, InputError, StoreError
from xh2cm.evaluate.scores import by_whom
from xh2cm.html import STYLE, Markup, pairs
from xh2cm.io.atomic import replace
from xh2cm.page import sections
from xh2cm.page.budgets import budgets
from xh2cm.page.context import RESIDUALS, Given, beware, share, unit
from xh2cm.plots import maps

if TYPE_CHECKING:
    from xh2cm.fitted import Fit
    from xh2cm.targets import Target

__all__ = ["write_page"]

PAGE_STYLE = Markup("""
:root { color-scheme: light dark; }
body { max-width: 76em; margin: 0 auto; padding: 1em 1.5em 4em; color: #1c2024; background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7em; margin: 0.4em 0 0.2em; } h2 { font-size: 1.3em; margin: 2em 0 0.4em; padding-bottom: 0.2em;
  border-bottom: 2px solid #0072B2; } h3 { font-size: 1.05em; margin: 1.4em 0 0.3em; }
nav { margin: 1em 0; display: flex; flex-wrap: wrap; gap: 0.2em 1.1em; }
a { color: #0065a0; } code { font-size: 0.92em; overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(22em, 100%), 1fr)); gap: 0.8em;
  align-items: start; }
figure { margin: 0.5em 0; break-inside: avoid; } figcaption { font-size: 0.9em; }
figure img { max-width: 100%; box-sizing: border-box; height: auto; background: #fff; border-radius: 4px;
  display: block; }
.missing, .beware { border-left: 4px solid #8a8f98; padding: 0.3em 0.8em; margin: 0.6em 0;
  background: rgba(128, 128, 128, 0.1); } .beware { border-left-color: #D55E00; }
.missing code { white-space: pre-wrap; }
footer { margin-top: 3em; font-size: 0.9em; }
@media (max-width: 50em) { body { padding: 0.5em 0.8em 2em; } .xh2cm dl { grid-template-columns: minmax(0, 1fr); }
  .xh2cm dd { margin: 0 0 0.5em; } }
@media (prefers-color-scheme: dark) { body { color: #e3e6ea; background: #16191d; } a { color: #6db9e8; }
  figure img { padding: 4px; } }
@page { size: A4 landscape; margin: 12mm; }
@media print { body { max-width: none; padding: 0; font-size: 9pt; color: #000; background: #fff; }
  nav { display: none; } h2, h3 { break-after: avoid; } tr { break-inside: avoid; }
  details::details-content { content-visibility: visible; height: auto; } .xh2cm .wide { overflow: visible; } }
""")

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
    target = Path(path)
    if os.path.lexists(target) and not overwrite:
        raise StoreError(f"{target} exists: give another path, or overwrite=True to replace it")
    if (target.parent / "SHA256SUMS").exists():
        raise StoreError(f"{target.parent} is sealed by its checksums: write the page to another folder")
    told = {"static": static, "mask": mask, "missing": missing}
    given = Given(fit, prediction, data, targets, names, units, told)
    with maps.plain_style():
        text = whole(given)
    try:
        replace(target, text.encode())
    except (OSError, ValueError) as error:
        raise StoreError(f"{target} cannot be written: {error}") from error
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
    """The page."""
    bodies = {title: section(given) for title, section in SECTIONS.items()}
    ids = {title: title.lower().replace(" ", "-") for title in bodies}
    links = Markup("").join(Markup('<a href="#{}">{}</a>').format(ids[title], title) for title in bodies)
    sections = Markup("").join(
        Markup('<section id="{}"><h2>{}</h2>{}</section>').format(ids[title], title, body)
        for title, body in bodies.items()
    )
    return Markup(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\"><title>{}</title><style>{}{}</style></head><body class=xh2cm>"
        '<header>{}<nav aria-label="Sections">{}</nav></header><main>{}</main>{}</body></html>\n'
    ).format(title_of(given), STYLE, PAGE_STYLE, head(given), links, sections, foot())


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
    return Markup("<h1>{}</h1>{}{}").format("xh2cm report", pairs(about), warning)


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


def foot() -> Markup:
    """When and by what the page was written."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    version = importlib.metadata.version("xh2cm")
    return Markup("<footer><p>Written by xh2cm {} on {}.</p></footer>").format(version, now)
