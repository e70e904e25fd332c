"""Print log messages of xh2cm where no handler is configured."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from tqdm.contrib.logging import logging_redirect_tqdm

from xh2cm.text import printable

__all__ = ["printed"]


class Printable(logging.Formatter):
    """Lines of a log in which control characters are shown as codes."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return printable(super().format(record))


@contextlib.contextmanager
def printed(name: str = "xh2cm") -> Iterator[None]:
    """Print what a part of xh2cm logs on standard error, above a bar, and leave its logger as it was.

    Parameters
    ----------
    name : str
        Of the logger. Nothing changes where its information is wanted already.

    Examples
    --------
    >>> import logging
    >>> from xh2cm.console import printed
    >>> with printed():
    ...     logging.getLogger("xh2cm.loop").isEnabledFor(logging.INFO)
    True
    """
    logger = logging.getLogger(name)
    if logger.isEnabledFor(logging.INFO):
        yield
        return
    handler = logging.StreamHandler()
    handler.setFormatter(Printable("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # a handler of the root would say it twice
    try:
        with logging_redirect_tqdm([logger]):
            yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before
