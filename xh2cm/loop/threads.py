"""Keep results independent of the number of threads.

PyTorch splits products and sums between its threads, so their last bits depend on how many there are, and training
turns last bits into other weights. Its operations therefore run in one thread; the compiled loop, which does most of
the work and sums in a fixed order, takes as many as PyTorch was given.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["loop_threads", "reproducible_threads"]

GIVEN: ContextVar[int | None] = ContextVar("GIVEN", default=None)
"""Threads that PyTorch had before its own operations were kept to one."""


def loop_threads() -> int:
    """Return the number of threads that the compiled loop takes."""
    return GIVEN.get() or torch.get_num_threads()


@contextlib.contextmanager
def reproducible_threads() -> Iterator[None]:
    """Run PyTorch's own operations in one thread, the compiled loop in as many as PyTorch has.

    Examples
    --------
    >>> import torch
    >>> from xh2cm.loop.threads import loop_threads, reproducible_threads
    >>> before = torch.get_num_threads()
    >>> with reproducible_threads():
    ...     torch.get_num_threads(), loop_threads() == before
    (1, True)
    >>> torch.get_num_threads() == before
    True
    """
    number = torch.get_num_threads()
    token = GIVEN.set(loop_threads())
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(number)
        GIVEN.reset(token)
