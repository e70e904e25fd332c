"""HTML of representations and reports from templates, in one style; every value from data is escaped."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from xh2cm.text import printable

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["NONE", "Markup", "block", "details", "items", "number", "pairs", "render", "table"]

NONE = "\N{EN DASH}"
"""Stands for a missing value."""


@functools.cache
def environment() -> Environment:
    """Return the templates of this package, all of which escape what is inserted."""
    import jinja2  # here, since importing xh2cm writes no HTML

    found = jinja2.Environment(
        loader=jinja2.PackageLoader("xh2cm", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    found.filters["shown"] = shown
    return found


def shown(value: object) -> object:
    """Return a value as a table shows it: numbers by `number`, integers with separators."""
    return number(value) if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value


def render(template: str, **values: Any) -> Markup:
    """Fill in a template of this package.

    Parameters
    ----------
    template : str
        Its path within the package.
    **values
        The variables it inserts.

    Returns
    -------
    Markup
    """
    return Markup(printable(environment().get_template(template).render(**values)))  # noqa: S704  (escaped there)


def piece(name: str, *values: object) -> Markup:
    """Fill in one of the macros of ``html.jinja``."""
    module: Any = environment().get_template("html.jinja").module
    return Markup(str(getattr(module, name)(*values)).strip())  # noqa: S704  (escaped there)


def block(inside: object) -> str:
    """Return HTML with its style, for ``_repr_html_``.

    Parameters
    ----------
    inside : Markup, or an object with ``__html__``

    Returns
    -------
    str

    Examples
    --------
    >>> from xh2cm.html import block, items
    >>> block(items(["a < b"])).endswith('<div class="xh2cm"><ul><li>a &lt; b</li></ul></div>')
    True
    """
    return printable(str(piece("block", inside)))


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numbers: Collection[str] = (),
    groups: bool = False,
) -> Markup:
    """Return a table with a caption; the first entry of each row is its heading.

    Parameters
    ----------
    caption : str
    head : sequence of str
    rows : iterable of sequences
        Text, or Markup; numbers are formatted by `number`.
    numbers : collection of str
        Titles of the columns that are aligned to the right.
    groups : bool
        A first entry that is not empty begins a group, with a line above.

    Returns
    -------
    Markup

    Examples
    --------
    >>> from xh2cm.html import table
    >>> '<td class="n">0.5</td>' in table("Scores", ["variable", "NSE"], [["ET", 0.5]], numbers=["NSE"])
    True
    """
    return piece("table", caption, head, rows, numbers, groups)


def number(value: float) -> str:
    """Format a number for reading: four digits and a proper minus, `NONE` if it is not finite.

    Examples
    --------
    >>> from xh2cm.html import NONE, number
    >>> number(1234.5678), number(0.0123456), number(float("nan")) == NONE
    ('1,235', '0.01235', True)
    """
    if not math.isfinite(value):
        return NONE
    text = f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value + 0.0:.4g}"
    return text.replace("-", "\N{MINUS SIGN}")


def pairs(entries: Mapping[str, object]) -> Markup:
    """Return a list of names and values.

    Examples
    --------
    >>> from xh2cm.html import pairs
    >>> str(pairs({"version": "0.1"}))
    '<dl><dt>version</dt><dd>0.1</dd></dl>'
    """
    return piece("pairs", entries)


def items(entries: Iterable[object]) -> Markup:
    """Return a list of items.

    Examples
    --------
    >>> from xh2cm.html import items
    >>> str(items(["a", "b"]))
    '<ul><li>a</li><li>b</li></ul>'
    """
    return piece("items", entries)


def details(title: str, *inside: Markup, shown: bool = False) -> Markup:
    """Return pieces behind a title that unfolds them.

    Parameters
    ----------
    title : str
    *inside : Markup
    shown : bool
        Unfolded from the start.

    Returns
    -------
    Markup

    Examples
    --------
    >>> from xh2cm.html import details, items
    >>> str(details("Notes", items(["one"])))
    '<details><summary>Notes</summary><ul><li>one</li></ul></details>'
    """
    return piece("details", title, Markup("").join(inside), shown)
