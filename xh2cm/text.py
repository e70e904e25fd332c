"""Text from data, made safe to print, draw and write."""

from __future__ import annotations

import re

__all__ = ["printable"]

UNSEEN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""Control characters but for tabs and line ends, marks that reorder or hide text, and lone surrogates."""


def printable(text: str) -> str:
    r"""Return text with escapes in place of characters that control a terminal, hide text or cannot be encoded.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> from xh2cm.text import printable
    >>> printable("a site\x1b[2J\u202e")
    'a site\\x1b[2J\\u202e'
    """
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
