"""Records with gaps: the days on which a cell has all its forcing, and the stretches they form."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Record", "stretches"]


def stretches(complete: np.ndarray, bridge: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the stretches of days with all forcing.

    Parameters
    ----------
    complete : ndarray of bool, (cell, time)
        Whether a cell has all its forcing on a day.
    bridge : int
        Longest gap, in days, over which the storages are held. A longer one begins a new stretch.

    Returns
    -------
    cell, first, days : ndarray of int, (stretch,)
        Cell of each stretch, the number of the cell's complete days before it, and of those within it; by cell, then
        in the order of time.

    Examples
    --------
    >>> import numpy as np
    >>> from xh2cm.train.record import stretches
    >>> stretches(np.array([[1, 1, 0, 1, 0, 0, 1, 1]], dtype=bool), bridge=1)
    (array([0, 0]), array([0, 3]), array([3, 2]))
    """
    cell, day = np.nonzero(complete)
    begins = np.ones(len(cell), dtype=bool)
    begins[1:] = (cell[1:] != cell[:-1]) | (np.diff(day) > bridge + 1)
    at = np.flatnonzero(begins)
    days = np.diff(at, append=len(cell))
    before = np.concatenate([[0], np.cumsum(complete.sum(1))[:-1]]) if len(complete) else np.zeros(0, dtype=int)
    return cell[at], at - before[cell[at]], days


@dataclasses.dataclass(frozen=True)
class Record:
    """The days on which each cell has all its forcing, in a row, and the stretches they form.

    Parameters
    ----------
    day : Tensor, (cell, n)
        Position of these days on the time axis; a cell with fewer than others repeats its last.
    cell, first, days : Tensor, (stretch,)
        As `stretches` gives them.
    """

    day: Tensor
    cell: Tensor
    first: Tensor
    days: Tensor

    @classmethod
    def of(cls, cells: int, time: int, complete: Tensor | None, bridge: int, device: torch.device) -> Record:
        """Return the record of some cells.

        Parameters
        ----------
        cells, time : int
            Their number, and that of days.
        complete : Tensor of bool, (cell, time), or None
            Whether a cell has all its forcing on a day; None where every cell has it on every day.
        bridge : int
            As for `stretches`.
        device : torch.device

        Returns
        -------
        Record
        """
        if complete is None:
            every = torch.arange(cells, device=device)
            return cls(
                torch.arange(time, device=device).expand(cells, -1), every, every * 0, torch.full_like(every, time)
            )
        known = complete.cpu().numpy()
        count = known.sum(1)
        position = np.argsort(~known, axis=1, kind="stable")[:, : max(int(count.max(initial=1)), 1)]
        last = np.take_along_axis(position, np.maximum(count - 1, 0)[:, None], 1)
        position = np.where(np.arange(position.shape[1]) < count[:, None], position, last)
        return cls(*(torch.from_numpy(x).to(device) for x in (position, *stretches(known, bridge))))

    @cached_property
    def key(self) -> Tensor:
        """Numbers by which `at` finds a stretch, ascending."""
        return self.cell * (self.day.shape[1] + 1) + self.first

    def at(self, cell: Tensor, start: Tensor) -> Tensor:
        """Return the number of the stretch that a day (by its number among those of its cell) belongs to."""
        return torch.searchsorted(self.key, cell * (self.day.shape[1] + 1) + start, right=True) - 1
