"""One HTML page of a run, whole in itself: it opens from disk, without scripts and without a network.

Each section is a function of what was given. What it lacks it says, and how to give it.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import importlib.metadata
import io
import math
import os
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xh2cm.data.forcing import check
from xh2cm.disk import replace
from xh2cm.errors import Finding, InputError, StoreError
from xh2cm.markup import STYLE, Markup, details, items, number, pairs, table
from xh2cm.results import paint, plot
from xh2cm.results.emergent import QUANTITIES, emergent_quantities
from xh2cm.results.scores import HEADLINES, REFERENCES, WHY_NOT, by_whom, held_out, score, score_table
from xh2cm.variables import OUTPUTS, Residuals, variable_table

if TYPE_CHECKING:
    from xh2cm.data.report import Report
    from xh2cm.fit import Fit
    from xh2cm.targets import Target

__all__ = ["SHOWN", "write_page"]

SHOWN = ("ET", "runoff", "TWS", "SWE", "GPP", "TER", "NEE")
"""Variables whose maps and seasons are shown at once; those of others are behind a title."""

WATER = ("precipitation_corrected", "ET", "runoff", "TWS")
CARBON = ("GPP", "Ra", "Rh", "TER", "NPP", "NEP", "NEE")

RATIOS = ("runoff_ratio", "evaporation_ratio", "evaporative_fraction", "transpiration_share", "WUE", "CUE")
"""Emergent quantities that mean something of all land together: sums over sums of what is linear in both."""

JUMP = 0.01
"""What storage jumps by from a day to the next, at least, to be no rounding; kg m-2."""

FEW = 8
"""So many places have a picture and a line of their own."""

DPI = 110

MONTHS = "January February March April May June July August September October November December".split()

RESIDUALS = [var.name for var in variable_table(Residuals).values()]

PAGE_STYLE = Markup("""
:root { color-scheme: light dark; }
body { max-width: 76em; margin: 0 auto; padding: 1em 1.5em 4em; color: #1c2024; background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7em; margin: 0.4em 0 0.2em; } h2 { font-size: 1.3em; margin: 2em 0 0.4em; padding-bottom: 0.2em;
  border-bottom: 2px solid #0072B2; } h3 { font-size: 1.05em; margin: 1.4em 0 0.3em; }
nav { margin: 1em 0; } nav a { margin-right: 1.1em; white-space: nowrap; }
a { color: #0065a0; } code { font-size: 0.92em; overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(22em, 1fr)); gap: 0.8em; align-items: start; }
figure { margin: 0.5em 0; break-inside: avoid; } figcaption { font-size: 0.9em; }
figure img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; display: block; }
.missing, .beware { border-left: 4px solid #8a8f98; padding: 0.3em 0.8em; margin: 0.6em 0;
  background: rgba(128, 128, 128, 0.1); } .beware { border-left-color: #D55E00; }
.missing code { white-space: pre-wrap; }
footer { margin-top: 3em; font-size: 0.9em; }
@media (prefers-color-scheme: dark) { body { color: #e3e6ea; background: #16191d; } a { color: #6db9e8; }
  figure img { padding: 4px; } }
@media print { body { max-width: none; padding: 0; font-size: 10pt; color: #000; background: #fff; }
  nav { display: none; } h2, h3 { break-after: avoid; } tr { break-inside: avoid; }
  details::details-content { content-visibility: visible; height: auto; } .xh2cm .wide { overflow: visible; } }
""")


@dataclasses.dataclass(frozen=True)
class Given:
    """What a page is made of; each part may be absent."""

    fit: Fit | None
    prediction: xr.Dataset | None
    data: xr.Dataset | None
    targets: Sequence[str | Target] | None
    names: Mapping[str, str | float] | None
    units: Mapping[str, str] | None
    told: Mapping[str, Any]

    @cached_property
    def report(self) -> Report | InputError | None:
        """What `check` says of the data."""
        if self.data is None:
            return None
        told: dict[str, Any] = {"names": self.names, "units": self.units, **self.told}
        if self.fit is not None:
            told["forcing"] = self.fit.model.forcing
            if told["static"] is None and {*self.fit.features} <= {*self.data.variables}:
                told["static"] = self.fit.features
        try:
            return check(self.data, **told)
        except InputError as error:
            return error

    @cached_property
    def checked(self) -> xr.Dataset | None:
        """The data, in the units and under the names of the model."""
        return None if self.report is None or isinstance(self.report, InputError) else self.report.dataset

    @cached_property
    def scores(self) -> xr.Dataset | InputError | None:
        """What the prediction is worth."""
        if self.prediction is None or self.data is None:
            return None
        try:
            return score(self.prediction, self.data, targets=self.targets, names=self.names, units=self.units)
        except InputError as error:
            return error

    @property
    def scored(self) -> list[str]:
        """Variables that have scores."""
        found = self.scores
        return [str(name) for name in found["variable"].values] if isinstance(found, xr.Dataset) else []

    @property
    def daily(self) -> list[str]:
        """Fluxes and storages of the prediction, those that are shown at once first."""
        found = [] if self.prediction is None else self.prediction
        known = {var.name for var in OUTPUTS.values()} - {*RESIDUALS}
        there = [str(name) for name in found if str(name) in known]
        return sorted(there, key=lambda name: ([*SHOWN, name].index(name), there.index(name)))

    @property
    def land(self) -> list[Hashable]:
        """Axes of the land."""
        first = None if self.prediction is None else next(iter(self.prediction[name] for name in self.daily), None)
        return [] if first is None else [dim for dim in first.dims if dim not in ("time", "fold")]

    @cached_property
    def means(self) -> xr.Dataset:
        """Means of fluxes and storages over the land by area (and over folds), day by day."""
        assert self.prediction is not None  # noqa: S101  (asked for by sections that have one)
        names = [name for name in (*WATER, *CARBON, "transpiration", *RESIDUALS) if name in self.prediction]
        chosen = self.prediction[names].drop_vars("fold", errors="ignore").astype(float)
        over_folds = chosen.mean("fold") if "fold" in chosen.dims else chosen
        return self.over_land(over_folds).compute()

    @cached_property
    def area(self) -> xr.DataArray | None:
        """Area of the cells that were predicted, m2, where it is known."""
        assert self.prediction is not None  # noqa: S101
        first = self.prediction[self.daily[0]]
        there = first.isel({dim: 0 for dim in ("time", "fold") if dim in first.dims}, drop=True).notnull().compute()
        there = there.drop_vars(list(there.coords))
        if self.checked is not None and "area" in self.checked:
            given = self.checked["area"].drop_vars(list(self.checked["area"].coords))
            if dict(given.sizes) == dict(there.sizes) and not bool((given == 1).all()):  # ones: nothing is known
                return given.where(there, 0.0).fillna(0.0).compute()
        known = plot.known_area(self.prediction, first)
        return None if known is None else known.where(there, 0.0)

    def over_land(self, arrays: xr.Dataset) -> xr.Dataset:
        """Means over the land, by area where that is known."""
        if not self.land:
            return arrays
        return arrays.mean(self.land) if self.area is None else arrays.weighted(self.area).mean(self.land)


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
    >>> from xh2cm.results.page import write_page
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
    with paint.plain_style():
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
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
        "style-src 'unsafe-inline'\"><title>{}</title><style>{}{}</style></head><body class=xh2cm>"
        '<header>{}<nav aria-label="Sections">{}</nav></header><main>{}</main>{}</body></html>\n'
    ).format(title_of(given), STYLE, PAGE_STYLE, head(given), links, sections, foot())


# -- pieces ----------------------------------------------------------------------------------------------------------


def missing(what: str, *remedies: str) -> Markup:
    """Say what is not there, and how to give it."""
    how = Markup(" or ").join(Markup("<code>{}</code>").format(remedy) for remedy in remedies)
    return Markup("<p class=missing><strong>Not shown:</strong> {}{}</p>").format(
        what, Markup(" Give it: {}").format(how) if remedies else ""
    )


def beware(text: str) -> Markup:
    """Say what must not be overlooked."""
    return Markup("<p class=beware>{}</p>").format(text)


def paragraph(text: object) -> Markup:
    """A paragraph."""
    return Markup("<p>{}</p>").format(text)


def heading(text: str) -> Markup:
    """A heading within a section."""
    return Markup("<h3>{}</h3>").format(text)


def because(error: InputError) -> str:
    """What an error says, in a sentence."""
    return "; ".join(f"{finding.variable} {finding.problem} ({finding.remedy})" for finding in error.findings)


def picture(caption: str, draw: Callable[[], Any]) -> Markup:
    """Draw a figure into the page, with what it shows in words; or say why it cannot be drawn."""
    try:
        image, alt = paint.png(draw, dpi=DPI)
    except InputError as error:
        return missing(f"{caption}, because {because(error)}.")
    data = base64.b64encode(image).decode()
    return Markup('<figure><img src="data:image/png;base64,{}" alt="{}"><figcaption>{}</figcaption></figure>').format(
        data, alt, caption
    )


def unit(text: object) -> str:
    """Units as they are printed, on one line."""
    return paint.pretty(str(text)).replace(" ", "\N{NO-BREAK SPACE}")


def small(draw: Callable[..., Any]) -> Callable[[], Any]:
    """Draw on axes that three of stand side by side."""
    return lambda: draw(ax=paint.canvas((4.4, 3.3)))


def figures(drawn: Sequence[Markup]) -> Markup:
    """Figures side by side."""
    return Markup("<div class=figures>{}</div>").format(Markup("").join(drawn))


PREDICT = 'out = ds.h2cm.predict(fit, variables="all", member="held-out"); out.h2cm.report("report.html", ds, fit=fit)'
IN_SHELL = "xh2cm report RUN --data PATH"


def no_prediction(what: str) -> Markup:
    """Say that a prediction was not given."""
    return missing(f"{what} need a prediction.", PREDICT, "xh2cm report RUN --data PATH --prediction STORE")


def no_data(what: str) -> Markup:
    """Say that data were not given."""
    return missing(f"{what} need the data.", 'out.h2cm.report("report.html", ds, fit=fit)', IN_SHELL)


def no_fit(what: str) -> Markup:
    """Say that a fit was not given."""
    return missing(f"{what} need the fit.", 'out.h2cm.report("report.html", ds, fit=fit)', "xh2cm report RUN")


# -- head and foot ---------------------------------------------------------------------------------------------------


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
        told = [f"{name} {number(round(value, 2))}" for name, value in best.items() if math.isfinite(value)]
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


# -- sections --------------------------------------------------------------------------------------------------------


def data_check(given: Given) -> Markup:
    """What `check` says."""
    if given.report is None:
        return no_data("What was found, converted and derived")
    if isinstance(given.report, InputError):
        return beware("The data cannot be used as they are:") + items(map(str, given.report.findings))
    return Markup(given.report.__html__())


def folds(given: Given) -> Markup:
    """Which fold does not see what."""
    if given.fit is None:
        return no_fit("Folds")
    labels = given.fit.labels
    if labels is None:
        return missing("the fit holds no fold labels: it was trained elsewhere, or joined without them.")
    what = "days" if labels.dims == ("time",) else "days of a cell" if "time" in labels.dims else "cells"
    values, counts = np.unique(labels.values[labels.notnull().values], return_counts=True)
    rows = [
        [
            "test, seen by no fold" if value < 0 else str(int(value)),
            int(count),
            f"{100 * count / counts.sum():.1f} %",
            "–" if value < 0 else "yes" if int(value) in given.fit.folds else "no",
        ]
        for value, count in zip(values, counts, strict=True)
    ]
    caption = f"What each fold does not see in training ({what})"
    shown = table(caption, ["fold", what, "share", "in this fit"], rows, numbers=[what, "share"])
    return picture("Which fold does not see what", partial(plot.folds, labels)) + shown


def training(given: Given) -> Markup:
    """Losses by epoch and target."""
    from xh2cm.fit import loss_table

    if given.fit is None:
        return no_fit("Training curves")
    if not given.fit.losses.sizes["epoch"]:
        return missing("the fit holds no losses: it was trained elsewhere.")
    skipped = given.fit.losses["skipped_steps"]
    each = ", ".join(f"fold {fold}: {n}" for fold, n in zip(given.fit.folds, skipped.values.tolist(), strict=True) if n)
    return (
        picture("Loss by epoch: each fold, and their mean", partial(plot.losses, given.fit))
        + loss_table(given.fit.losses)
        + paragraph(f"Steps skipped because something was not finite: {each or 'none'}.")
    )


def scores(given: Given) -> Markup:
    """Tables by variable and scale, with what is missing counted."""
    if given.prediction is None:
        return no_prediction("Scores")
    if given.data is None:
        return no_data("Scores")
    if isinstance(given.scores, InputError):
        return missing(f"there are no scores, because {because(given.scores)}.")
    assert given.scores is not None  # noqa: S101
    said = f"Held out? {held_out(given.prediction.attrs.get('member')).capitalize()}."
    parts = [paragraph(said) if given.prediction.attrs.get("member") == "held-out" else beware(said)]
    parts.append(score_rows("Scores by variable and scale", given.scores))
    parts.append(
        paragraph(
            "Median: of the cells, by area. Pooled: of all values of all cells as one sample. RMSE and bias (predicted "
            "less observed) are pooled, in the units of the variable. NSE and KGE are 1 at best; at the interannual scale a "
            "place's own climatology has an NSE of 0."
        )
    )
    trained = [] if given.fit is None else [row["name"] for row in given.fit.provenance.get("targets", [])]
    if absent := [name for name in trained if name not in given.scored]:
        parts.append(missing(f"scores of {', '.join(absent)}, trained on.", "targets=[xh2cm.Target(...), ...]"))
    if "comment" in given.scores.attrs:
        parts.append(details("Left out", items(given.scores.attrs["comment"].split("; "))))
    parts += places(given)
    return Markup("").join(parts)


def score_rows(caption: str, scores: xr.Dataset) -> Markup:
    """Scores as a table."""
    frame = score_table(scores)
    titles = [str(name) for name in frame.index.names]
    rows, last = [], ""
    for index, row in zip(frame.index, frame.itertuples(index=False), strict=True):
        first, *others = map(str, index if isinstance(index, tuple) else (index,))
        shown = [unit(v) if title == "units" else v for title, v in zip(HEADLINES, row, strict=True)]
        rows.append(["" if first == last else first, *others, *shown])
        last = first
    right = [*({*HEADLINES} - {"units", WHY_NOT})]
    return table(caption, [*titles, *HEADLINES], rows, numbers=right, groups=True)


def places(given: Given) -> list[Markup]:
    """The same of each place, where they are few."""
    found = given.scores
    if not isinstance(found, xr.Dataset) or len(given.land) != 1 or "fold" in found.dims:
        return []
    (dim,) = given.land
    if dim not in found["NSE"].dims or found.sizes[dim] > FEW:
        return []
    rows = []
    for variable in given.scored:
        for k, name in enumerate(names_of(found, dim)):
            one = found.sel(variable=variable).isel({dim: k})
            if one["count"].any():
                values = [float(one[m].sel(scale=s)) for m in ("NSE", "KGE", "bias") for s in ("daily", "monthly")]
                first = "" if rows and variable in (row[0] for row in rows) else variable
                rows.append([first, name, *(round(x, 2) for x in values), int(one["count"].sel(scale="monthly"))])
    titles = [f"{m}, {s}" for m in ("NSE", "KGE", "bias") for s in ("daily", "monthly")]
    head = ["variable", str(dim), *titles, "months"]
    return [table("Scores by place, of those that were observed", head, rows, numbers=head[2:], groups=True)]


def names_of(dataset: xr.Dataset, dim: Hashable) -> list[str]:
    """Names of the places along an axis."""
    return [str(x) for x in dataset[dim].values] if dim in dataset.coords else [f"{k}" for k in range(dataset.sizes[dim])]


def maps(given: Given) -> Markup:
    """Skill and means, where they lie."""
    if given.prediction is None:
        return no_prediction("Maps")
    if not given.daily:
        return missing("the prediction holds no flux and no storage that is known.", PREDICT)
    parts = [means(given)]
    if not given.land:
        return parts[0] + missing("maps: this is a single cell, which no map shows.")
    if isinstance(given.scores, xr.Dataset):
        mappable = [name for name in given.scored if given.scores["NSE"].sel(variable=name).notnull().any()]
        parts += [heading("Skill"), figures([skill(given.scores, name) for name in mappable])]
        if flat := [name for name in given.scored if name not in mappable]:
            parts.append(missing(f"maps of the skill of {', '.join(flat)}: no cell has an NSE of its own (see Scores)."))
    else:
        parts.append(missing("maps of skill, for there are no scores (see there)."))
    shown = [name for name in given.daily if name in {*SHOWN, *given.scored}]
    others = [name for name in given.daily if name not in shown]
    parts += [heading("Means of the record"), figures([mapped(given, name) for name in shown])]
    if others:
        parts.append(details(f"Maps of {len(others)} others", figures([mapped(given, name) for name in others])))
    if absent := [name for name in SHOWN if name not in given.daily]:
        parts.append(missing(f"maps of {', '.join(absent)}, which are not in the prediction.", PREDICT))
    return Markup("").join(parts)


def skill(scores: xr.Dataset, name: str) -> Markup:
    """A map of NSE at the first scale that has one."""
    there = [s for s in ("monthly", "daily", "seasonal") if scores["NSE"].sel(variable=name, scale=s).notnull().any()]
    scale: Any = there[0] if there else "monthly"
    return picture(f"NSE of {name}, {scale}", small(partial(plot.skill, scores, name, scale=scale)))


def mapped(given: Given, name: str) -> Markup:
    """A map of a mean."""
    assert given.prediction is not None  # noqa: S101
    return picture(f"Mean of {name}", small(partial(plot.values, given.prediction, name)))


def means(given: Given) -> Markup:
    """A line for each variable: its mean over time and land, and the range over the land."""
    assert given.prediction is not None  # noqa: S101
    found = given.prediction[given.daily]
    about = {name: found[name].attrs for name in given.daily}
    steady = found.mean([dim for dim in ("time", "fold") if dim in found.dims]).astype(float).compute()
    mean = given.over_land(steady)
    rows = [
        [
            name,
            str(about[name].get("long_name", "")),
            *(float(x) for x in (mean[name], steady[name].min(), steady[name].max())),
            unit(about[name].get("units", "")),
        ]
        for name in given.daily
    ]
    by = "by area" if given.area is not None else "every cell alike, for areas are not known"
    caption = f"Means of the record: of the land ({by}), of the lowest and of the highest cell"
    head = ["variable", "what", "mean", "lowest", "highest", "units"]
    return table(caption, head, rows, numbers=["mean", "lowest", "highest"])


def seasons(given: Given) -> Markup:
    """Mean seasonal cycles beside what was observed."""
    if given.prediction is None:
        return no_prediction("Seasonal cycles")
    varies = [name for name in given.daily if "time" in given.prediction[name].dims]
    shown = [name for name in varies if name in {*SHOWN, *given.scored}]
    if not shown:
        return missing("the prediction holds no flux and no storage that varies in time.", PREDICT)
    parts = [no_data("Observations beside the predicted seasons")] if given.data is None else []
    parts.append(figures([season(given, name) for name in shown]))
    if len(given.land) == 1 and 1 < given.prediction.sizes[given.land[0]] <= FEW:
        parts += [heading("Place by place"), *(each_season(given, name) for name in shown)]
    if without := [name for name in shown if name not in given.scored]:
        parts.append(paragraph(f"Nothing observed is shown of {', '.join(without)}."))
    return Markup("").join(parts)


def season(given: Given, name: str) -> Markup:
    """Of all land."""
    beside = given.data if name in given.scored else None
    told = {"names": given.names, "units": given.units} if beside is not None else {}
    return picture(f"Seasonal cycle of {name}", small(partial(plot.season, given.prediction, name, beside, **told)))


def each_season(given: Given, name: str) -> Markup:
    """Of each place."""
    assert given.prediction is not None  # noqa: S101
    prediction, data = given.prediction, given.data
    (dim,) = given.land
    there = names_of(prediction, dim)

    def draw() -> np.ndarray:
        axes = paint.several(None, len(there), (12.0, 3.0 * -(-len(there) // 3)), columns=3)
        for k, (place, ax) in enumerate(zip(there, axes, strict=True)):
            one = prediction.isel({dim: k})
            try:
                observed = data.isel({dim: k}) if data is not None and name in given.scored else None
                plot.season(one, name, observed, names=given.names, units=given.units, ax=ax)
            except InputError:
                ax.clear()
                plot.season(one, name, ax=ax)
                place = f"{place} (not observed)"
            ax.set_title(place, fontsize="medium")
        return axes

    return picture(f"Seasonal cycle of {name}, place by place", draw)


def parameters(given: Given) -> Markup:
    """What was learned: constants, and parameters that vary."""
    if given.fit is None:
        return no_fit("Learned parameters")
    constants, table_of = given.fit.constants(), given.fit.model.parameters
    priors = {p["parameter"]: p for p in given.fit.provenance.get("priors", [])}
    rows = []
    for name in (str(n) for n in constants if str(n) in table_of):
        known = priors.get(name)
        rows.append(
            [
                name,
                table_of[name].long_name,
                *(float(constants[f"{name}_{statistic}"]) for statistic in ("mean", "std")),
                unit(table_of[name].units),
                f"{number(known['mean'])} ± {number(known['std'])}" if known else "none",
                ", ".join(number(float(value)) for value in constants[name].values),
            ]
        )
    head = ["constant", "what", "mean", "std", "units", "prior", "each fold"]
    parts = [table("Constants, one number a fold", head, rows, numbers=["mean", "std"])] if rows else []
    if fixed := {name: str(to) for name, to in given.fit.model.pinned.items()}:
        parts.append(heading("Pinned") + pairs(fixed))
    vary = [given.fit.model.outputs[name].name for name in table_of if name not in constants]
    if given.prediction is None:
        return Markup("").join([*parts, no_prediction("Maps of parameters that vary")]) if vary else Markup("").join(parts)
    there = [name for name in vary if name in given.prediction]
    if there and given.land:
        parts += [heading("Means of parameters that vary"), figures([mapped(given, name) for name in there])]
    elif there:
        values = {name: number(float(given.prediction[name].mean())) for name in there}
        parts += [heading("Means of parameters that vary"), pairs(values)]
    if absent := [name for name in vary if name not in given.prediction]:
        parts.append(missing(f"parameters that are not in the prediction: {', '.join(absent)}.", PREDICT))
    return Markup("").join(parts)


def budgets(given: Given) -> Markup:
    """Water and carbon by year, what they leave, and ratios that a reader knows the size of."""
    if given.prediction is None:
        return no_prediction("Budgets")
    there = [name for name in RESIDUALS if name in given.prediction]
    parts = [yearly_water(given), yearly_carbon(given), ratios(given)]
    parts += [heading("What each day leaves")]
    if there:
        rows = [
            [name, *residual(given.prediction[name]), unit(given.prediction[name].attrs.get("units", ""))]
            for name in there
        ]
        head = ["residual", "largest of a day and cell", "mean", "units"]
        parts.append(table("What the budgets of a day leave: rounding, if they close", head, rows, numbers=head[1:3]))
        parts.append(picture("What each day leaves", partial(plot.closure, given.prediction)))
    carbon = given.fit is None or given.fit.model.processes.carbon
    if absent := [name for name in RESIDUALS if name not in there and (carbon or not name.startswith("carbon"))]:
        parts.append(missing(f"{', '.join(absent)}: not in the prediction.", f"variables=[..., {absent}]"))
    return Markup("").join(parts)


def residual(array: xr.DataArray) -> list[float]:
    """The largest of all, and the mean."""
    return [float(abs(array).max()), float(array.mean())]


def yearly(given: Given, daily: xr.Dataset, caption: str, units: str, scale: float, total: str) -> Markup:
    """Sums of each year, means a year, and what that is of all land."""
    sums = daily.groupby("time.year").sum("time")
    days = daily["time"].groupby("time.year").count("time")
    names = [str(name) for name in daily]
    rows: list[list[object]] = [
        [str(int(year)), int(days.sel(year=year)), *(float(sums[name].sel(year=year)) for name in names)]
        for year in sums["year"].values
    ]
    rates = {name: 365.25 * float(daily[name].mean("time")) for name in names}
    rows.append(["mean of a year", daily.sizes["time"], *rates.values()])
    if given.area is not None and given.land:
        rows.append([f"all land, {total}", daily.sizes["time"], *(x * float(given.area.sum()) * scale for x in rates.values())])
    return table(f"{caption} ({units}), of the land as a whole", ["year", "days", *names], rows, numbers=["days", *names])


def yearly_water(given: Given) -> Markup:
    """Precipitation, evapotranspiration, runoff, change of storage."""
    daily, absent = given.means, [name for name in WATER if name not in given.means]
    if absent:
        return missing(f"the water budget of {', '.join(absent)}, which are not in the prediction.", PREDICT)
    if daily.sizes["time"] < 2:
        return missing("the water budget of a single day, whose change of storage is not known.")
    found = {}
    forcing = forced(given)
    if isinstance(forcing, xr.Dataset) and "precipitation" in forcing:
        found["P, as given"] = forcing["precipitation"].drop_vars("time")
    found |= {"P, corrected": daily[WATER[0]], "ET": daily["ET"], "runoff": daily["runoff"]}
    balance = xr.Dataset(found, coords={"time": daily["time"]}).isel(time=slice(1, None))
    balance["change of TWS"] = daily["TWS"].diff("time")
    left = balance["P, corrected"] - balance["ET"] - balance["runoff"] - balance["change of TWS"]
    said = (
        "The first day is left out: the storage before it is not known. P, corrected: after the undercatch correction "
        "of snowfall. Left: P, corrected - ET - runoff - change of TWS"
    )
    jumps = left - daily["water_residual"] if "water_residual" in daily else xr.zeros_like(left)
    if float(abs(jumps).max()) > JUMP:
        balance["jumps"], left = jumps, left - jumps
        said += (
            " - jumps. Jumps: what one day ends with is not what the next begins with, for another fold predicts from "
            'there, as where years are held out. A record of one piece is that of member="mean", or of one fold'
        )
    balance["left"] = left
    return yearly(given, balance, "Water", "kg m⁻², or mm", 1e-12, "km³ a⁻¹") + paragraph(f"{said}.")


def yearly_carbon(given: Given) -> Markup:
    """Uptake and release."""
    if given.fit is not None and not given.fit.model.processes.carbon:
        return paragraph("The fit walks water alone: there is no carbon budget.")
    there = [name for name in CARBON if name in given.means]
    if not there:
        return missing("the carbon budget: no carbon flux is in the prediction.", PREDICT)
    daily = given.means[there]
    said = ""
    if {"GPP", "Ra", "Rh", "NEP"} <= {*there}:
        daily = daily.assign(left=daily["GPP"] - daily["Ra"] - daily["Rh"] - daily["NEP"])
        said = "Left: GPP - Ra - Rh - NEP. "
    return (
        yearly(given, daily, "Carbon", "g m⁻²", 1e-12, "Tg a⁻¹")
        + paragraph(f"{said}NEE is upward positive, all others are amounts that flow.")
        + (missing(f"{', '.join(n for n in CARBON if n not in there)}: not in the prediction.", PREDICT)
           if len(there) < len(CARBON) else Markup(""))
    )  # fmt: skip


def forced(given: Given) -> xr.Dataset | str:
    """Precipitation and net radiation of the land as a whole, or why there are none."""
    assert given.prediction is not None  # noqa: S101
    if given.checked is None:
        return "the data are not given, or cannot be used"
    names = [name for name in ("precipitation", "net_radiation") if name in given.checked]
    series = given.checked[names]
    series = series.drop_vars([name for name in series.coords if name not in series.dims])
    first = given.prediction[given.daily[0]]
    first = first.isel(fold=0, drop=True) if "fold" in first.dims else first
    try:
        xr.align(first, series, join="exact")
    except ValueError as error:
        return f"the data are of other days or cells than the prediction ({str(error).splitlines()[0]})"
    there = first.isel(time=0, drop=True).notnull() if "time" in first.dims else first.notnull()
    return given.over_land(series.astype(float).where(there)).compute()


def ratios(given: Given) -> Markup:
    """Ratios of sums of the land as a whole, by year and of all years."""
    forcing = forced(given) if given.daily else "the prediction holds no flux"
    with_forcing = forcing if isinstance(forcing, xr.Dataset) else None
    try:
        known = [emergent_quantities(given.means, with_forcing, over=over) for over in ("year", "record")]
    except InputError as error:
        return missing(f"ratios, because {because(error)}.")
    shown = [name for name in RATIOS if name in known[0]]
    rows: list[list[object]] = [
        [str(int(year)), *(float(known[0][name].sel(year=year)) for name in shown)] for year in known[0]["year"].values
    ]
    rows.append(["all", *(float(known[1][name]) for name in shown)])
    what = items(f"{name}: {QUANTITIES[name].long_name} ({QUANTITIES[name].units})" for name in shown)
    found = table("Ratios of sums, of the land as a whole", ["year", *shown], rows, numbers=shown) + what
    if absent := [name for name in RATIOS if name not in shown]:
        why = forcing if isinstance(forcing, str) else known[0].attrs.get("not_computed", "")
        found += missing(f"{', '.join(absent)}: {why}.", PREDICT)
    return found


def provenance(given: Given) -> Markup:
    """Settings, targets, versions, history, references."""
    parts = []
    if given.fit is None:
        parts.append(no_fit("Settings"))
    else:
        said = given.fit.provenance
        plain = {key: value for key, value in said.items() if isinstance(value, str)}
        sizes = {
            "fingerprint": given.fit.fingerprint,
            "weights of a fold": f"{given.fit.weights.shape[1]:,}",
            "static features": ", ".join(given.fit.features) or "none",
            "spin-up": str(given.fit.spinup),
        }
        parts += [heading("The fit"), pairs({**plain, **sizes})]
        if "training" in said:
            rows = [[key, listed(value)] for key, value in said["training"].items()]
            parts.append(table("Settings of the training", ["setting", "value"], rows))
        if said.get("targets"):
            head = ["name", "fields", "compare", "weight", "quality", "cells", "mapping"]
            rows = [[listed(row.get(key)) for key in head] for row in said["targets"]]
            parts.append(table("Targets", ["target", "shown by", *head[2:]], rows))
        model = given.fit.model
        rows = [[slot, type(getattr(model.processes, slot)).__name__] for slot in model.processes.slots]
        parts.append(table("Processes", ["slot", "process"], rows))
        rows = [[net.name, net.kind, listed(net.inputs), listed(net.outputs)] for net in model.networks]
        parts.append(table("Networks", ["network", "kind", "sees", "gives"], rows))
    for title, dataset in {"The prediction": given.prediction, "The data": given.data}.items():
        if dataset is not None:
            parts += [heading(title), pairs(dataset.attrs) if dataset.attrs else paragraph("It says nothing of itself.")]
    references = ["Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026", *REFERENCES.split("; ")]
    return Markup("").join([*parts, heading("References"), items(map(linked, references))])


def listed(value: object) -> str:
    """A setting in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {listed(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "–"
    return "none" if value is None else str(value) or "–"


def linked(reference: str) -> Markup:
    """A reference whose DOI is a link."""
    found = re.search(r"doi:(\S+)", reference)
    if found is None:
        return Markup("{}").format(reference)
    return Markup('{}<a href="https://doi.org/{}">{}</a>').format(reference[: found.start()], found[1], found[0])


SECTIONS: Mapping[str, Callable[[Given], Markup]] = {
    "Data check": data_check,
    "Folds": folds,
    "Training": training,
    "Scores": scores,
    "Maps": maps,
    "Seasonal cycles": seasons,
    "Parameters": parameters,
    "Budgets": budgets,
    "Provenance": provenance,
}
"""The page, from top to bottom."""
