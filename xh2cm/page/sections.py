"""The sections of a page but for the budgets: each a function of what was given, that says what it lacks."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from functools import partial
from typing import Any

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

__all__ = ["data_check", "folds", "output_maps", "parameters", "provenance", "scores", "seasons", "training"]

FEW = 8
"""So many places have a picture and a line of their own."""


def data_check(given: Given) -> Markup:
    """What `check` says."""
    if given.report is None:
        return no_data("The findings of the check")
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
            NONE if value < 0 else "yes" if int(value) in given.fit.folds else "no",
        ]
        for value, count in zip(values, counts, strict=True)
    ]
    caption = f"What each fold does not see in training ({what})"
    shown = table(caption, ["fold", what, "share", "in this fit"], rows, numbers=[what, "share"])
    return picture("Which fold does not see what", partial(plots.folds, labels)) + shown


def training(given: Given) -> Markup:
    """Losses by epoch and target."""
    from xh2cm.fitted import loss_table

    if given.fit is None:
        return no_fit("Training curves")
    if not given.fit.losses.sizes["epoch"]:
        return missing("the fit holds no losses: it was trained elsewhere.")
    skipped = given.fit.losses["skipped_steps"]
    each = ", ".join(f"fold {fold}: {n}" for fold, n in zip(given.fit.folds, skipped.values.tolist(), strict=True) if n)
    return (
        picture("Loss by epoch: each fold, and their mean", partial(plots.losses, given.fit))
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
    given_for = {int(k) for k in np.unique(given.scores["reason_pooled"]) if k} - {NOT_REACHED}
    if reasons := [f"{name.replace('_', ' ')}: {REASONS[name]}" for k, name in enumerate(REASONS) if k in given_for]:
        parts.append(details("Why some are absent", items(reasons), shown=True))
    parts.append(
        paragraph(
            "Median: of the cells, by area. Pooled: of all values of all cells as one sample. RMSE and bias (predicted "
            "less observed) are pooled, in the units of the variable. NSE and KGE are 1 at best; at the interannual "
            "scale a place's own climatology has an NSE of 0."
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
        shown = [
            unit(value) if title == "units" else share(value) if title.startswith(("NSE", "KGE", "r")) else value
            for title, value in zip(HEADLINES, row, strict=True)
        ]
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
    return [table("Scores by place, of those that were observed", head, rows, numbers=head[2:], groups=True)]


def names_of(dataset: xr.Dataset, dim: Hashable) -> list[str]:
    """Names of the places along an axis."""
    return (
        [str(x) for x in dataset[dim].values] if dim in dataset.coords else [f"{k}" for k in range(dataset.sizes[dim])]
    )


def output_maps(given: Given) -> Markup:
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
            parts.append(
                missing(f"maps of the skill of {', '.join(flat)}: no cell has an NSE of its own (see Scores).")
            )
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
    return picture(f"NSE of {name}, {scale}", small(partial(plots.skill, scores, name, scale=scale)))


def mapped(given: Given, name: str) -> Markup:
    """A map of a mean."""
    assert given.prediction is not None  # noqa: S101
    about = given.prediction[name].attrs.get("long_name", "")
    return picture(f"{name}: {about}", small(partial(plots.values, given.prediction, name)))


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
    assert given.prediction is not None  # noqa: S101
    beside = given.data if name in given.scored else None
    draw = partial(plots.season, given.prediction, name, beside, names=given.names, units=given.units)
    return picture(f"Seasonal cycle of {name}", small(draw))


def each_season(given: Given, name: str) -> Markup:
    """Of each place."""
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
        rows = [[turn, type(process).__name__] for turn, process in model.processes.all.items()]
        parts.append(table("Processes", ["slot", "process"], rows))
        rows = [[net.name, net.kind, listed(net.inputs), listed(net.outputs)] for net in model.networks]
        parts.append(table("Networks", ["network", "kind", "sees", "gives"], rows))
    for title, dataset in {"The prediction": given.prediction, "The data": given.data}.items():
        if dataset is not None:
            parts += [
                heading(title),
                pairs(dataset.attrs) if dataset.attrs else paragraph("It says nothing of itself."),
            ]
    references = ["Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026", *REFERENCES.split("; ")]
    return Markup("").join([*parts, heading("References"), items(map(linked, references))])


def listed(value: object) -> str:
    """A setting in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {listed(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or NONE
    return "none" if value is None else str(value) or NONE


def linked(reference: str) -> Markup:
    """A reference whose DOI is a link."""
    found = re.search(r"doi:(\S+)", reference)
    if found is None:
        return Markup("{}").format(reference)
    return Markup('{}<a href="https://doi.org/{}">{}</a>').format(reference[: found.start()], found[1], found[0])
