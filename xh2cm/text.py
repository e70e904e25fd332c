"""Text from data, made safe to print, draw and write."""

from __future__ import annotations

import re

__all__ = ["not_a_formula", "printable"]

UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""Control characters but for tabs and line feeds, marks that reorder or hide text, and lone surrogates."""


def printable(text: object) -> str:
    r"""Return text with escapes in place of characters that control a terminal, hide text or cannot be encoded.

    Parameters
    ----------
    text : object
        Its ``str`` is taken.

    Returns
    -------
    str

    Examples
    --------
    >>> from xh2cm.text import printable
    >>> printable("a site\x1b[2J\u202e")
    'a site\\x1b[2J\\u202e'
    """
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def not_a_formula(value: object) -> object:
    """Return text for a table of comma-separated values so that no spreadsheet computes it.

    Parameters
    ----------
    value : object

    Returns
    -------
    object
        Text that a spreadsheet would take for a formula, with an apostrophe before it; everything else as it is.

    Examples
    --------
    >>> from xh2cm.text import not_a_formula
    >>> not_a_formula("=1+1"), not_a_formula("ET"), not_a_formula(-1.5)
    ("'=1+1", 'ET', -1.5)
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\n")) else text
