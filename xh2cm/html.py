"""Pieces of HTML for notebooks and pages, in one style; whatever comes from data is escaped on its way in."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from markupsafe import Markup

__all__ = ["NONE", "STYLE", "Markup", "block", "details", "items", "number", "pairs", "table"]

STYLE = Markup("""
.xh2cm { line-height: 1.45; }
.xh2cm .wide { overflow-x: auto; }
.xh2cm table { border-collapse: collapse; border: none; margin: 0.4em 0 1em; font-variant-numeric: tabular-nums; }
.xh2cm table caption { caption-side: top; text-align: left; font-weight: 600; padding: 0.2em 0; color: inherit; }
.xh2cm table th, .xh2cm table td { text-align: left; vertical-align: top; padding: 0.15em 1em 0.15em 0;
  border: none; border-bottom: 1px solid rgba(128, 128, 128, 0.3); background: none; max-width: 36em;
  overflow-wrap: normal; white-space: normal; font-size: 0.95em; }
.xh2cm table thead th { border-bottom: 1px solid rgba(128, 128, 128, 0.8); vertical-align: bottom; }
.xh2cm table tbody th { font-weight: normal; }
.xh2cm table .n { text-align: right; }
.xh2cm table td.n { white-space: nowrap; }
.xh2cm table tr.first th, .xh2cm table tr.first td { border-top: 1px solid rgba(128, 128, 128, 0.8); }
.xh2cm dl { display: grid; grid-template-columns: max-content auto; gap: 0.1em 1.2em; margin: 0.4em 0 1em; }
.xh2cm dt { font-weight: 600; }
.xh2cm dd { margin: 0; overflow-wrap: anywhere; }
.xh2cm details { margin: 0.4em 0; }
.xh2cm details > summary { cursor: pointer; font-weight: 600; }
.xh2cm ul { margin: 0.3em 0; padding-left: 1.4em; }
""")
"""How they look, in notebooks that are dark, too: colours are those of what is around."""

NONE = "\N{EN DASH}"
"""What stands where there is nothing."""


def block(inside: object) -> str:
    """Give what is written its style, for ``_repr_html_``.

    Parameters
    ----------
    inside : Markup, or what has ``__html__``

    Returns
    -------
    str

    Examples
    --------
    >>> from xh2cm.html import block, items
    >>> block(items(["a < b"])).endswith('<div class="xh2cm"><ul><li>a &lt; b</li></ul></div>')
    True
    """
    return str(Markup('<style>{}</style><div class="xh2cm">{}</div>').format(STYLE, inside))


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numbers: Collection[str] = (),
    groups: bool = False,
) -> Markup:
    """Write a table with its caption; the first entry of a row is its title.

    Parameters
    ----------
    caption : str
    head : sequence of str
    rows : iterable of sequences
        Text, or Markup; numbers are written by `number`.
    numbers : collection of str
        Titles of the columns that are set to the right.
    groups : bool
        A first entry that is not empty begins a group, and has a line above.

    Returns
    -------
    Markup

    Examples
    --------
    >>> from xh2cm.html import table
    >>> "<td class=n>0.5</td>" in table("Scores", ["what", "NSE"], [["ET", 0.5]], numbers=["NSE"])
    True
    """
    titles = Markup("").join(_cell("th scope=col", title, title in numbers) for title in head)
    lines: list[Markup] = []
    for row in rows:
        first, *others = row
        cells = [_cell("th scope=row", first, head[0] in numbers)]
        cells += [_cell("td", entry, title in numbers) for entry, title in zip(others, head[1:], strict=True)]
        begins = Markup(" class=first") if groups and first and lines else Markup("")
        lines.append(Markup("<tr{}>{}</tr>").format(begins, Markup("").join(cells)))
    return Markup(
        '<div class="wide"><table><caption>{}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(caption, titles, Markup("").join(lines))


def _cell(tag: str, entry: object, right: bool) -> Markup:
    shown = number(entry) if isinstance(entry, float) else f"{entry:,}" if isinstance(entry, int) else entry
    aside = Markup(" class=n") if right else Markup("")
    return Markup("<{}{}>{}</{}>").format(tag, aside, shown, tag.split()[0])


def number(value: float) -> str:
    """Write a number as a reader wants it: four digits, a proper minus, `NONE` where there is none.

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
    """Write what is what, one line each.

    Parameters
    ----------
    entries : mapping of str to object

    Returns
    -------
    Markup

    Examples
    --------
    >>> from xh2cm.html import pairs
    >>> str(pairs({"version": "0.1"}))
    '<dl><dt>version</dt><dd>0.1</dd></dl>'
    """
    return Markup("<dl>{}</dl>").format(
        Markup("").join(Markup("<dt>{}</dt><dd>{}</dd>").format(name, value) for name, value in entries.items())
    )


def items(entries: Iterable[object]) -> Markup:
    """Write a list.

    Parameters
    ----------
    entries : iterable

    Returns
    -------
    Markup

    Examples
    --------
    >>> from xh2cm.html import items
    >>> str(items(["a", "b"]))
    '<ul><li>a</li><li>b</li></ul>'
    """
    return Markup("<ul>{}</ul>").format(Markup("").join(Markup("<li>{}</li>").format(entry) for entry in entries))


def details(title: str, *inside: Markup, shown: bool = False) -> Markup:
    """Put pieces behind a title that opens them.

    Parameters
    ----------
    title : str
    *inside : Markup
    shown : bool
        Open from the start.

    Returns
    -------
    Markup

    Examples
    --------
    >>> from xh2cm.html import details, items
    >>> str(details("Notes", items(["one"])))
    '<details><summary>Notes</summary><ul><li>one</li></ul></details>'
    """
    opened = Markup(" open") if shown else Markup("")
    return Markup("<details{}><summary>{}</summary>{}</details>").format(opened, title, Markup("").join(inside))
