"""The data that a report is written from, worked out once, and the pieces its sections are written with."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import xarray as xr

from xh2cm.data.align import align
from xh2cm.data.check import check
from xh2cm.errors import InputError
from xh2cm.evaluate.scores import score
from xh2cm.html import Markup, number
from xh2cm.plots import plots, style
from xh2cm.targets import UNCONSTRAINED
from xh2cm.variables import OUTPUTS, Residuals, variable_table

if TYPE_CHECKING:
    from xh2cm.data.report import Report
    from xh2cm.fitted import Fit
    from xh2cm.targets import Target

__all__ = [
    "PREDICT",
    "RESIDUALS",
    "SHOWN",
    "Given",
    "because",
    "beware",
    "figures",
    "heading",
    "missing",
    "no_data",
    "no_fit",
    "no_prediction",
    "paragraph",
    "picture",
    "share",
    "small",
    "unit",
]

SHOWN = ("ET", "runoff", "TWS", "SWE", "GPP", "TER", "NEE")
"""Variables with figures that are always unfolded."""

AVERAGED = (*SHOWN, "precipitation_corrected", "Ra", "Rh", "NPP", "NEP", "transpiration")
"""Variables of the budgets and ratios."""

RESIDUALS = [var.name for var in variable_table(Residuals).values()]

DPI = 110


@dataclasses.dataclass(frozen=True)
class Given:
    """The fit, prediction and data of a report; each may be absent."""

    fit: Fit | None = None
    prediction: xr.Dataset | None = None
    data: xr.Dataset | None = None
    targets: Sequence[str | Target] | None = None
    names: Mapping[str, str | float] | None = None
    units: Mapping[str, str] | None = None
    told: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @cached_property
    def report(self) -> Report | InputError | None:
        """The result of `check` for the data."""
        if self.data is None:
            return None
        told: dict[str, Any] = {"names": self.names, "units": self.units, **self.told}
        if self.fit is not None:
            told["forcing"] = self.fit.model.forcing
            if told.get("static") is None and {*self.fit.features} <= {*self.data.variables}:
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
        """Scores of the prediction."""
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
    def trained(self) -> list[str]:
        """Names of the targets of the fit."""
        return [] if self.fit is None else [str(row["name"]) for row in self.fit.provenance.get("targets", [])]

    @cached_property
    def daily(self) -> list[str]:
        """Fluxes and storages of the prediction: those of `SHOWN` first, and last those that no target constrains."""
        found = [] if self.prediction is None else self.prediction
        known = {var.name for var in OUTPUTS.values()} - {*RESIDUALS}
        there = [str(name) for name in found if str(name) in known]
        return sorted(there, key=lambda n: (n in self.unconstrained, [*SHOWN, n].index(n), there.index(n)))

    @cached_property
    def unconstrained(self) -> list[str]:
        """Fluxes and storages of the prediction that no training target constrains."""
        found = {} if self.prediction is None else self.prediction.data_vars
        return [str(name) for name, a in found.items() if UNCONSTRAINED in str(a.attrs.get("comment", ""))]

    @property
    def main(self) -> list[str]:
        """Fluxes and storages whose figures are unfolded."""
        return [name for name in self.daily if name in {*SHOWN, *self.scored} and name not in self.unconstrained]

    @property
    def land(self) -> list[Hashable]:
        """Axes of the land."""
        first = None if self.prediction is None else next(iter(self.prediction[name] for name in self.daily), None)
        return [] if first is None else [dim for dim in first.dims if dim not in ("time", "fold")]

    @cached_property
    def means(self) -> xr.Dataset:
        """Means of fluxes and storages over the land by area (and over folds), day by day."""
        assert self.prediction is not None  # noqa: S101  (asked for by sections that have one)
        names = [name for name in (*AVERAGED, *RESIDUALS) if name in self.prediction]
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
            try:
                given = align(self.checked["area"], first, "area", on=self.land)
            except InputError:  # of other cells
                given = xr.ones_like(self.checked["area"])
            if not bool((given == 1).all()):  # ones: nothing is known
                return given.drop_vars(list(given.coords)).where(there, 0.0).fillna(0.0).compute()
        known = plots.known_area(self.prediction, first)
        return None if known is None else known.where(there, 0.0)

    def over_land(self, arrays: xr.Dataset) -> xr.Dataset:
        """Average over the land, by area where that is known."""
        if not self.land:
            return arrays
        return arrays.mean(self.land) if self.area is None else arrays.weighted(self.area).mean(self.land)


# -- pieces ----------------------------------------------------------------------------------------------------------


def missing(text: str, *remedies: str) -> Markup:
    """Return a note on what the report lacks, and how to provide it."""
    how = Markup(" or ").join(Markup("<code>{}</code>").format(remedy) for remedy in remedies)
    return Markup("<p class=missing><strong>Not shown:</strong> {}{}</p>").format(
        text, Markup(" To include it: {}").format(how) if remedies else ""
    )


def beware(text: str) -> Markup:
    """Return a warning."""
    return Markup("<p class=beware>{}</p>").format(text)


def paragraph(text: object) -> Markup:
    """Return a paragraph."""
    return Markup("<p>{}</p>").format(text)


def heading(text: str) -> Markup:
    """Return a heading within a section."""
    return Markup("<h3>{}</h3>").format(text)


def because(error: InputError) -> str:
    """Return the findings of an error as a sentence."""
    return "; ".join(f"{finding.variable} {finding.problem} ({finding.remedy})" for finding in error.findings)


def picture(caption: str, draw: Callable[[], Any]) -> Markup:
    """Return a figure with its description, or a note on why it cannot be drawn."""
    try:
        image, alt = style.png(draw, dpi=DPI)
    except InputError as error:
        return missing(f"{caption}, because {because(error)}.")
    data = base64.b64encode(image).decode()
    return Markup('<figure><img src="data:image/png;base64,{}" alt="{}"><figcaption>{}</figcaption></figure>').format(
        data, alt, caption
    )


def unit(text: object) -> str:
    """Format units on one line; a pure number has none."""
    return "" if str(text) == "1" else style.pretty(str(text)).replace(" ", "\N{NO-BREAK SPACE}")


def share(value: float) -> str:
    """Format an efficiency or correlation with two digits."""
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}") if math.isfinite(value) else number(value)


def small(draw: Callable[..., Any]) -> Callable[[], Any]:
    """Draw on axes of which several stand side by side."""
    return lambda: draw(ax=style.canvas((4.4, 3.3)))


def figures(drawn: Sequence[Markup]) -> Markup:
    """Return figures side by side."""
    return Markup("<div class=figures>{}</div>").format(Markup("").join(drawn))


PREDICT = 'out = ds.h2cm.predict(fit, variables="all", member="held-out"); out.h2cm.report("report.html", ds, fit=fit)'
IN_SHELL = "xh2cm report RUN --data PATH"


def no_prediction(text: str) -> Markup:
    """Return a note that a prediction is needed."""
    return missing(f"{text} need a prediction.", PREDICT, "xh2cm report RUN --data PATH --prediction STORE")


def no_data(text: str) -> Markup:
    """Return a note that data are needed."""
    return missing(f"{text} need the data.", 'out.h2cm.report("report.html", ds, fit=fit)', IN_SHELL)


def no_fit(text: str) -> Markup:
    """Return a note that a fit is needed."""
    return missing(f"{text} need the fit.", 'out.h2cm.report("report.html", ds, fit=fit)', "xh2cm report RUN")
