"""Show text that comes from files as text: no control of a terminal, no formula of a spreadsheet."""

from __future__ import annotations

import re

__all__ = ["not_a_formula", "visible"]

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that move a cursor, ring, recolour, reorder, or cannot be printed; a new line and a tab are text."""


def visible(text: object) -> str:
    r"""Write control characters as their codes.

    Parameters
    ----------
    text : object
        Its ``str`` is taken.

    Returns
    -------
    str

    Examples
    --------
    >>> print(visible("site \x1b]0;title\x07"))
    site \x1b]0;title\x07
    """
    return CONTROLS.sub(lambda found: ascii(found[0])[1:-1], str(text))


def not_a_formula(value: object) -> object:
    """Write text for a table of comma-separated values so that no spreadsheet computes it.

    Parameters
    ----------
    value : object

    Returns
    -------
    object
        Text that a spreadsheet would take for a formula, with an apostrophe before it; everything else as it is.

    Examples
    --------
    >>> not_a_formula("=1+1"), not_a_formula("ET"), not_a_formula(-1.5)
    ("'=1+1", 'ET', -1.5)
    """
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\n")) else text
