"""Report of the variables that `check` found, converted, derived or dropped: as text, HTML and data."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import xarray as xr

from xh2cm.html import Markup, block, details, items, table

if TYPE_CHECKING:
    import pandas as pd

    from xh2cm.data.options import CheckOptions
    from xh2cm.data.reading import Found, Input
    from xh2cm.data.scan import Facts
    from xh2cm.targets import Target

__all__ = ["Report", "Role", "Row", "Scan"]

Role = Literal["forcing", "source", "target", "static"]

ACTUAL_RANGE = "actual_range"
"""CF attribute of the forcing in the canonical dataset: the least and the greatest value on land."""

_WIDTH = 110

_FEW = 12
"""So many static features are shown at once."""


class Row(NamedTuple):
    """Row of the report for one variable.

    Parameters
    ----------
    role : {"forcing", "source", "target", "static"}
        A source is what a forcing was derived from.
    name : str
        Name in the canonical dataset; for a source its name in the table.
    found : str
        Name in the user's dataset, the number given, or empty where derived.
    by : str
        "mapping", "name" or "standard name"; empty where derived.
    units_from, units_to : str
    lowest, highest : float
        In ``units_to``, over the cells within the mask; NaN where there is no value.
    missing : int
        Values that are not finite there.
    size : int
        Values there.
    derivation : str
        Formula and reference, where derived.
    """

    role: Role
    name: str
    found: str
    by: str
    units_from: str
    units_to: str
    lowest: float
    highest: float
    missing: int
    size: int
    derivation: str = ""


class Scan(NamedTuple):
    """A dataset that was looked at once, as it was given and as it was read.

    Parameters
    ----------
    ds : Dataset
        As the user gave it.
    options : CheckOptions
    source : Input
    found : Found
    facts : Facts
        Counts, ranges and sums of every variable, which need no second look at the data.
    wanted : mapping of str to Target
    asked : set of str
        Targets whose absence is an error.
    notes, left_out : sequence of str
    """

    ds: xr.Dataset
    options: CheckOptions
    source: Input
    found: Found
    facts: Facts
    wanted: Mapping[str, Target]
    asked: set[str]
    notes: Sequence[str]
    left_out: Sequence[str]

    def named(self, array: str | xr.DataArray | None) -> str | xr.DataArray | None:
        """Return the variable of the dataset that is called so, as the user gave it; anything else as it is."""
        return self.ds[array] if isinstance(array, str) and array in self.ds.variables else array


@dataclass(frozen=True, repr=False)
class Report:
    """Report on a dataset by `check`, with the canonical dataset.

    Parameters
    ----------
    dataset : Dataset
        Canonical: what everything downstream takes.
    rows : tuple of Row
    period : str
        First and last day, number of days, calendar.
    cells : int
        All cells of the land axes.
    outside : int
        Cells outside the mask.
    dropped : mapping of str to int
        Why cells within the mask cannot be used; a cell counts for every reason it has.
    notes : tuple of str
        What else is worth knowing.
    left_out : tuple of str
        Those of the notes that say which target is left out, and why; `fit` warns of them.
    scan : Scan
        Everything that was read and counted, from which `narrowed` makes the report for one model.
    """

    dataset: xr.Dataset
    rows: tuple[Row, ...]
    period: str
    cells: int
    outside: int
    dropped: Mapping[str, int]
    notes: tuple[str, ...]
    left_out: tuple[str, ...]
    scan: Scan = dataclasses.field(repr=False, compare=False)

    @property
    def usable(self) -> int:
        """Number of cells a model can be run in."""
        return int(self.dataset["mask"].sum())

    def to_dataframe(self) -> pd.DataFrame:
        """Return the rows as a DataFrame.

        Returns
        -------
        DataFrame
            One row a variable, the fields of `Row` as columns.
        """
        import pandas as pd

        return pd.DataFrame(list(self.rows), columns=list(Row._fields))

    def __str__(self) -> str:
        lines = [f"xh2cm check: {self._headline()}", f"{self.period}; {_extent(self.dataset)}", ""]
        lines += _table(self._shown())
        for title, texts in self._paragraphs():
            lines += ["", title]
            for text in texts:
                lines += textwrap.wrap(text, _WIDTH, initial_indent="  - ", subsequent_indent="    ")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return block(self)

    def __html__(self) -> Markup:
        head, *body = self._shown()
        names, features = [row for row in body if row], len(self.dataset["feature"])
        told = [
            details(title, items(texts), shown=not title.startswith("Static") or features <= _FEW)
            for title, texts in self._paragraphs()
        ]
        caption = f"xh2cm check: {self._headline()}. {self.period}; {_extent(self.dataset)}."
        return table(caption, head, names, numbers=("range", "missing"), groups=True) + Markup("").join(told)

    def _gaps(self) -> str:
        """Say how many days the cells with gaps in their forcing have."""
        days, every = self.dataset["forcing_days"].values, self.dataset.sizes["time"]
        short = np.sort(days[(days > 0) & (days < every)])
        if not short.size:
            return ""
        number = f"{short[0]:,}" if short[0] == short[-1] else f"{short[0]:,} to {short[-1]:,}"
        cells = f"{short.size:,} of {_cells(self.usable)}" if self.usable > 1 else "the cell"
        have = "have" if short.size > 1 else "has"
        return (
            f"{cells} {have} all forcing on {number} of {every:,} days (median {np.median(short):,.0f}); each is "
            "trained and predicted on the days it has"
        )

    def _headline(self) -> str:
        return f"{self.usable:,} of {self.cells:,} {'cell' if self.cells == 1 else 'cells'} usable"

    def _shown(self) -> list[tuple[str, ...]]:
        """Lines of the table, an empty one between the roles; features are many and stand in a paragraph."""
        lines: list[tuple[str, ...]] = [("", "variable", "found as", "units", "range", "missing")]
        last = ""
        for row in self.rows:
            if row.role == "static":
                continue
            if last not in {"", row.role}:
                lines.append(())
            lines.append(_line(row, row.role if row.role != last else ""))
            last = row.role
        return lines

    def _paragraphs(self) -> Iterable[tuple[str, list[str]]]:
        derived = [f"{row.name}: {row.derivation}" for row in self.rows if row.derivation]
        features = [str(name) for name in self.dataset["feature"].values]
        dropped = [f"{reason}: {_cells(count)}" for reason, count in self.dropped.items() if count]
        if self.outside:
            dropped.insert(0, f"outside the land mask: {_cells(self.outside)}")
        if derived:
            yield "Derived", derived
        if dropped:
            yield "Cells not used", dropped
        if gaps := self._gaps():
            yield "Records with gaps", [gaps]
        yield f"Static features ({len(features)})", [", ".join(features) or "none"]
        if self.notes:
            yield "Notes", list(self.notes)


def _cells(count: int) -> str:
    return f"{count:,} {'cell' if count == 1 else 'cells'}"


def _extent(dataset: xr.Dataset) -> str:
    """Size of the land axes."""
    mask = dataset["mask"]
    return "land: " + (", ".join(f"{dim} {size}" for dim, size in mask.sizes.items()) or "one cell")


def _line(row: Row, role: str) -> tuple[str, ...]:
    units = row.units_to if row.units_from in {"", row.units_to} else f"{row.units_from} -> {row.units_to}"
    interval = "no value" if row.lowest != row.lowest else f"{row.lowest:.4g} .. {row.highest:.4g}"
    missing = f"{row.missing:,} ({100 * row.missing / row.size:.2g} %)" if row.missing else "0"
    by = f" ({row.by})" if row.by == "standard name" else ""
    return (role, row.name, f"{row.found}{by}" if row.found else "derived", units, interval, missing)


def _table(lines: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns as wide as what they hold, cut to the width of a page."""
    columns = list(zip(*(line for line in lines if line), strict=True))
    widths = [max(map(len, column)) for column in columns]
    spare = _WIDTH - 2 * (len(widths) - 1) - sum(widths)
    while spare < 0:
        widest = widths.index(max(widths))
        widths[widest] -= 1
        spare += 1
    shown = ["  ".join(map(_fit, line, widths)).rstrip() for line in lines]
    return [shown[0], "-" * max(map(len, shown)), *shown[1:]]


def _fit(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "~"
