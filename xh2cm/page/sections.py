"""Sections of a report other than the budgets: each a function of the data given, which says what it lacks."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xh2cm.errors import InputError
from xh2cm.evaluate.scores import (
    HEADLINES,
    NOT_REACHED,
    REASONS,
    REFERENCES,
    WHY_NOT,
    held_out,
    score_table,
)
from xh2cm.html import (
    NONE,
    Markup,
    details,
    items,
    number,
    pairs,
    table,
)
from xh2cm.page.context import (
    PREDICT,
    SHOWN,
    Given,
    because,
    beware,
    figures,
    heading,
    missing,
    no_data,
    no_fit,
    no_prediction,
    paragraph,
    picture,
    share,
    small,
    unit,
)
from xh2cm.plots import plots, style
from xh2cm.targets import UNCONSTRAINED
from xh2cm.variables import OUTPUTS

if TYPE_CHECKING:
    from xh2cm.fitted import Fit
    from xh2cm.model import SpinUp

__all__ = [
    "data_check",
    "folds",
    "output_maps",
    "parameters",
    "provenance",
    "scores",
    "seasons",
    "settings",
    "training",
]

FEW = 8
"""Most places that have a figure and a row each."""

FREE = f"variables {UNCONSTRAINED}"


def data_check(given: Given) -> Markup:
    """Return the findings of `check`."""
    if given.report is None:
        return no_data("The findings of the check")
    if isinstance(given.report, InputError):
        return beware("The data cannot be used as they are:") + items(map(str, given.report.findings))
    return Markup(given.report.__html__())


def settings(given: Given) -> Markup:
    """Return the settings by which fits are compared, the targets, and the model."""
    if given.fit is None:
        return no_fit("Settings")
    parts = [pairs(compared(given.fit))]
    if rows := given.fit.provenance.get("targets"):
        head = ["target", "compared with", "comparison", "weight", "quality", "cells", "mapping"]
        keys = ["name", "fields", "compare", "weight", "quality", "cells", "mapping"]
        shown = [[listed(public(row.get(key)) if key == "fields" else row.get(key)) for key in keys] for row in rows]
        used = [k for k in range(len(head)) if k < 4 or any(row[k] not in (NONE, "none") for row in shown)]
        parts.append(table("Targets", [head[k] for k in used], [[row[k] for k in used] for row in shown]))
    if given.unconstrained:
        names = ", ".join(given.unconstrained)
        parts.append(beware(f"No training target constrains {names}: do not read them as results of this fit."))
    rows = [[turn, type(process).__name__] for turn, process in given.fit.model.processes.all.items()]
    parts.append(details("Model", table("Processes", ["slot", "process"], rows), given.fit.model.__html__()))
    return Markup("").join(parts)


def compared(fit: Fit) -> dict[str, str]:
    """Return the settings by which fits are compared, in words."""
    about = fit.provenance.get("training", {})
    labels = fit.labels
    scheme = "" if labels is None or "scheme" not in labels.attrs else f", scheme {labels.attrs['scheme']}"
    found = {"folds": f"{len(fit.folds)}{scheme}"}
    if about:
        most = about["epochs"]
        patience = about["patience"]
        found |= {
            "epochs": f"{fit.losses.sizes['epoch']:,} of at most {most:,}",
            "early stopping": "none"
            if patience is None
            else f"after {patience} epochs without a better validation loss",
            "learning rate": f"{about['learning_rate']:g}",
            "batch size": f"{about['batch_size']:,}",
            "window": "whole records" if about["window"] is None else f"{about['window']:,} days",
            "seed": str(about["seed"]),
        }
    return found | {
        "spin-up": spun_up(fit.spinup),
        "hidden units": "as published" if fit.model.width is None else str(fit.model.width),
        "weights": f"{fit.weights.shape[1]:,} in each fold",
        "static features": ", ".join(fit.features) or "none",
        "pinned": ", ".join(f"{name} = {value}" for name, value in fit.model.pinned.items()) or "none",
    }


def spun_up(spinup: SpinUp) -> str:
    """Return a spin-up in words."""
    if not spinup.passes:
        return "none"
    length = "the whole record" if spinup.days is None else f"{spinup.days:,} days"
    passes = f"{length}, {spinup.passes} times" if spinup.passes > 1 else length
    return passes if spinup.drift is None else f"{passes} at most, until storages drift by less than {spinup.drift:g}"


def public(fields: Iterable[str] | None) -> list[str]:
    """Return public names of fields of the model."""
    return [OUTPUTS[field].name if field in OUTPUTS else str(field) for field in fields or ()]


def folds(given: Given) -> Markup:
    """Return the cells or days that are held out in each fold."""
    if given.fit is None:
        return no_fit("Cross-validation folds")
    labels = given.fit.labels
    if labels is None:
        return missing("the fit holds no fold labels: it was trained elsewhere, or gathered without them.")
    unit_of = "days" if labels.dims == ("time",) else "days of a cell" if "time" in labels.dims else "cells"
    values, counts = np.unique(labels.values[labels.notnull().values], return_counts=True)
    rows = [
        [
            "test, not seen by any fold" if value < 0 else str(int(value)),
            int(count),
            f"{100 * count / counts.sum():.1f} %",
            NONE if value < 0 else "yes" if int(value) in given.fit.folds else "no",
        ]
        for value, count in zip(values, counts, strict=True)
    ]
    head = ["fold", unit_of, "share", "in this fit"]
    shown = table(f"Held out in each fold ({unit_of})", head, rows, numbers=head[1:3])
    return picture("Fold in which each cell or day is held out", partial(plots.folds, labels)) + shown


def training(given: Given) -> Markup:
    """Return losses by epoch and target."""
    from xh2cm.fitted import loss_table

    if given.fit is None:
        return no_fit("Training curves")
    if not given.fit.losses.sizes["epoch"]:
        return missing("the fit holds no losses: it was trained elsewhere.")
    skipped = given.fit.losses["skipped_steps"]
    each = ", ".join(f"fold {fold}: {n}" for fold, n in zip(given.fit.folds, skipped.values.tolist(), strict=True) if n)
    return (
        picture("Loss by epoch: single folds (pale) and their mean", partial(plots.losses, given.fit))
        + loss_table(given.fit.losses)
        + paragraph(f"Steps skipped because a gradient was not finite: {each or 'none'}.")
    )


def scores(given: Given) -> Markup:
    """Return tables by variable and scale, with missing values counted."""
    if given.prediction is None:
        return no_prediction("Scores")
    if given.data is None:
        return no_data("Scores")
    if isinstance(given.scores, InputError):
        return missing(f"there are no scores, because {because(given.scores)}.")
    assert given.scores is not None  # noqa: S101
    member = given.prediction.attrs.get("member")
    answer, _, reason = held_out(None if member is None else str(member)).partition(": ")
    text = f"Held-out prediction: {answer}. {reason[:1].upper()}{reason[1:]}."
    parts = [paragraph(text) if member == "held-out" else beware(text)]
    parts.append(score_rows("Scores by variable and scale", given.scores))
    given_for = {int(k) for k in np.unique(given.scores["reason_pooled"]) if k} - {NOT_REACHED}
    if reasons := [f"{name.replace('_', ' ')}: {REASONS[name]}" for k, name in enumerate(REASONS) if k in given_for]:
        parts.append(details("Why some scores are absent", items(reasons), shown=True))
    parts.append(
        paragraph(
            "Median: over the cells, weighted by area. Pooled: over all values of all cells as one sample. RMSE and "
            "bias (predicted minus observed) are pooled, in the units of the variable. NSE and KGE are 1 for a perfect "
            "prediction; at the interannual scale a cell's own climatology has an NSE of 0."
        )
    )
    if absent := [name for name in given.trained if name not in given.scored]:
        parts.append(missing(f"scores of the targets {', '.join(absent)}.", "targets=[xh2cm.Target(...), ...]"))
    if "comment" in given.scores.attrs:
        parts.append(details("Left out", items(str(given.scores.attrs["comment"]).split("; "))))
    parts += places(given)
    return Markup("").join(parts)


def score_rows(caption: str, scores: xr.Dataset) -> Markup:
    """Return scores as a table, with the units beside the variable."""
    frame = score_table(scores)
    titles = [str(name) for name in frame.index.names]
    columns = [title for title in HEADLINES if title != "units"]
    rows, last = [], ""
    for index, row in zip(frame.index, frame.to_dict("records"), strict=True):
        *groups, variable, scale = map(str, index)
        units = unit(row["units"])
        begins = [*groups, f"{variable} ({units})" if units else variable]
        shown = [share(row[title]) if title.startswith(("NSE", "KGE", "r")) else row[title] for title in columns]
        rows.append(["" if begins[0] == last else begins[0], *begins[1:], scale, *shown])
        last = begins[0]
    return table(caption, [*titles, *columns], rows, numbers={*columns} - {WHY_NOT}, groups=True)


def places(given: Given) -> list[Markup]:
    """Return the scores of each place, where they are few."""
    found = given.scores
    if not isinstance(found, xr.Dataset) or len(given.land) != 1 or "fold" in found.dims:
        return []
    (dim,) = given.land
    if dim not in found["NSE"].dims or found.sizes[dim] > FEW:
        return []
    rows: list[list[object]] = []
    for variable in given.scored:
        for k, name in enumerate(names_of(found, dim)):
            one = found.sel(variable=variable).isel({dim: k})
            if one["count"].any():
                values = [float(one[m].sel(scale=s)) for m in ("NSE", "KGE", "bias") for s in ("daily", "monthly")]
                first = "" if rows and variable in (row[0] for row in rows) else variable
                rows.append([first, name, *map(share, values), int(one["count"].sel(scale="monthly"))])
    titles = [f"{m}, {s}" for m in ("NSE", "KGE", "bias") for s in ("daily", "monthly")]
    head = ["variable", str(dim), *titles, "months"]
    return [table("Scores by place, where observed", head, rows, numbers=head[2:], groups=True)]


def names_of(dataset: xr.Dataset, dim: Hashable) -> list[str]:
    """Return the names of the places along an axis."""
    return (
        [str(x) for x in dataset[dim].values] if dim in dataset.coords else [f"{k}" for k in range(dataset.sizes[dim])]
    )


def output_maps(given: Given) -> Markup:
    """Return maps of skill and of means."""
    if given.prediction is None:
        return no_prediction("Maps")
    if not given.daily:
        return missing("the prediction holds no flux and no storage of the model.", PREDICT)
    parts = [means(given)]
    if not given.land:
        return parts[0] + missing("maps: this is a single cell, which no map shows.")
    if isinstance(given.scores, xr.Dataset):
        mappable = [name for name in given.scored if given.scores["NSE"].sel(variable=name).notnull().any()]
        parts += [heading("Skill"), figures([skill(given.scores, name) for name in mappable])]
        if flat := [name for name in given.scored if name not in mappable]:
            parts.append(
                missing(f"maps of the skill of {', '.join(flat)}: no cell has an NSE of its own (see Scores).")
            )
    else:
        parts.append(missing("maps of skill, since there are no scores (see Scores)."))
    parts += [heading("Means over the record"), figures([mapped(given, name) for name in given.main])]
    free = [name for name in given.daily if name in given.unconstrained]
    others = [name for name in given.daily if name not in {*given.main, *free}]
    for text, names in ((f"Maps of {len(others)} other variables", others), (f"Maps of {len(free)} {FREE}", free)):
        if names:
            parts.append(details(text, figures([mapped(given, name) for name in names])))
    if absent := [name for name in SHOWN if name not in given.daily]:
        parts.append(missing(f"maps of {', '.join(absent)}, which are not in the prediction.", PREDICT))
    return Markup("").join(parts)


def skill(scores: xr.Dataset, name: str) -> Markup:
    """Return a map of NSE at the first scale that has one."""
    there = [s for s in ("monthly", "daily", "seasonal") if scores["NSE"].sel(variable=name, scale=s).notnull().any()]
    scale: Any = there[0] if there else "monthly"
    return picture(f"NSE of {name}, {scale}", small(partial(plots.skill, scores, name, scale=scale)))


def mapped(given: Given, name: str) -> Markup:
    """Return a map of a mean."""
    assert given.prediction is not None  # noqa: S101
    about = given.prediction[name].attrs.get("long_name", "")
    return picture(f"{name}: {about}", small(partial(plots.values, given.prediction, name)))


def means(given: Given) -> Markup:
    """Return a row for each variable: its mean over time and land, and the range over the land."""
    assert given.prediction is not None  # noqa: S101
    found = given.prediction[given.daily]
    about = {name: found[name].attrs for name in given.daily}
    steady = found.mean([dim for dim in ("time", "fold") if dim in found.dims]).astype(float).compute()
    mean = given.over_land(steady)
    rows = [
        [
            f"{name} *" if name in given.unconstrained else name,
            str(about[name].get("long_name", "")),
            *(float(x) for x in (mean[name], steady[name].min(), steady[name].max())),
            unit(about[name].get("units", "")),
        ]
        for name in given.daily
    ]
    by = "by area" if given.area is not None else "with equal weights, since the areas of the cells are not known"
    caption = f"Means over the record: average over the land ({by}), lowest and highest cell"
    head = ["variable", "description", "mean", "lowest", "highest", "units"]
    shown = table(caption, head, rows, numbers=["mean", "lowest", "highest"])
    return shown + paragraph(f"* {UNCONSTRAINED}") if given.unconstrained else shown


def seasons(given: Given) -> Markup:
    """Return mean seasonal cycles beside observations."""
    if given.prediction is None:
        return no_prediction("Seasonal cycles")
    varies = [name for name in given.daily if "time" in given.prediction[name].dims]
    if not varies:
        return missing("the prediction holds no flux and no storage that varies in time.", PREDICT)
    shown = [name for name in varies if name in given.main]
    free = [name for name in varies if name in given.unconstrained and name in SHOWN]
    parts = [no_data("Observations beside the predicted seasons")] if given.data is None else []
    parts.append(figures([season(given, name) for name in shown]))
    if len(given.land) == 1 and 1 < given.prediction.sizes[given.land[0]] <= FEW:
        parts += [heading("By place"), *(each_season(given, name) for name in shown)]
    if without := [name for name in shown if name not in given.scored]:
        parts.append(paragraph(f"Without observations: {', '.join(without)}."))
    if free:
        parts.append(details(f"{len(free)} {FREE}", figures([season(given, name) for name in free])))
    return Markup("").join(parts)


def season(given: Given, name: str) -> Markup:
    """Return the seasonal cycle of all land."""
    assert given.prediction is not None  # noqa: S101
    beside = given.data if name in given.scored else None
    draw = partial(plots.season, given.prediction, name, beside, names=given.names, units=given.units)
    return picture(f"Seasonal cycle of {name}", small(draw))


def each_season(given: Given, name: str) -> Markup:
    """Return the seasonal cycle of each place."""
    assert given.prediction is not None  # noqa: S101
    prediction, data = given.prediction, given.data
    (dim,) = given.land
    there = names_of(prediction, dim)

    def draw() -> np.ndarray:
        axes = style.several(None, len(there), (12.0, 3.0 * -(-len(there) // 3)), columns=3)
        for k, (place, ax) in enumerate(zip(there, axes, strict=True)):
            one = prediction.isel({dim: k})
            try:
                observed = data.isel({dim: k}) if data is not None and name in given.scored else None
                plots.season(one, name, observed, names=given.names, units=given.units, ax=ax)
            except InputError:
                ax.clear()
                plots.season(one, name, ax=ax)
                place = f"{place} (not observed)"
            style.title(ax, place)
        return axes

    return picture(f"Seasonal cycle of {name} by place", draw)


def parameters(given: Given) -> Markup:
    """Return learned constants, and maps of parameters that vary."""
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
    head = ["constant", "description", "mean", "std", "units", "prior", "each fold"]
    parts = [table("Constants, one in each fold", head, rows, numbers=["mean", "std"])] if rows else []
    if fixed := {name: str(to) for name, to in given.fit.model.pinned.items()}:
        parts.append(heading("Pinned") + pairs(fixed))
    vary = [given.fit.model.outputs[name].name for name in table_of if name not in constants]
    if given.prediction is None:
        return (
            Markup("").join([*parts, no_prediction("Maps of parameters that vary")]) if vary else Markup("").join(parts)
        )
    there = [name for name in vary if name in given.prediction]
    if there and given.land:
        parts += [heading("Means of parameters that vary"), figures([mapped(given, name) for name in there])]
    elif there:
        values = {name: number(float(given.prediction[name].mean())) for name in there}
        parts += [heading("Means of parameters that vary"), pairs(values)]
    if absent := [name for name in vary if name not in given.prediction]:
        parts.append(missing(f"parameters that are not in the prediction: {', '.join(absent)}.", PREDICT))
    return Markup("").join(parts)


def provenance(given: Given) -> Markup:
    """Return versions, dates, attributes and references."""
    parts = []
    if given.fit is None:
        parts.append(no_fit("Versions and dates"))
    else:
        texts = {key: value for key, value in given.fit.provenance.items() if isinstance(value, str)}
        parts += [heading("The fit"), pairs({"fingerprint": given.fit.fingerprint, **texts})]
        if "training" in given.fit.provenance:
            rows = [[key, listed(value)] for key, value in given.fit.provenance["training"].items()]
            parts.append(details("Training options", table("Training options", ["option", "value"], rows)))
    for title, dataset in {"The prediction": given.prediction, "The data": given.data}.items():
        if dataset is not None:
            about = pairs(dataset.attrs) if dataset.attrs else paragraph("No attributes.")
            parts += [heading(title), about]
    references = ["Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026", *REFERENCES.split("; ")]
    return Markup("").join([*parts, heading("References"), items(map(linked, references))])


def listed(value: object) -> str:
    """Return a setting in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {listed(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or NONE
    return "none" if value is None else str(value) or NONE


def linked(reference: str) -> Markup:
    """Return a reference whose DOI is a link."""
    found = re.search(r"doi:(\S+)", reference)
    if found is None:
        return Markup("{}").format(reference)
    return Markup('{}<a href="https://doi.org/{}">{}</a>').format(reference[: found.start()], found[1], found[0])
