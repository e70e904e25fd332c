"""Prediction of one block of cells: what a Dask task runs."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr
from torch.utils._pytree import tree_map

from xh2cm.ambient import undisturbed
from xh2cm.data.folds import TEST
from xh2cm.data.read_land import place
from xh2cm.errors import Finding, InputError
from xh2cm.loop.compiled import Loop
from xh2cm.loop.threads import reproducible_threads
from xh2cm.model import Scaling, SpinUp, ragged
from xh2cm.model.nonfinite import first_failure
from xh2cm.prediction.restart import (
    ENDED,
    NAME,
    carried,
    packed,
    unpacked,
)
from xh2cm.settings import Member
from xh2cm.train.record import Record, stretches
from xh2cm.train.tensors import to_device

if TYPE_CHECKING:
    from torch import Tensor

    from xh2cm.fitted import Fit
    from xh2cm.model.hybrid import Carry

AGAIN = "open the store again and check it: it was changed, or lacks a chunk, since it was checked"
"""What to do about data that are not what they were."""


@dataclasses.dataclass(frozen=True)
class Runner:
    """What a block of cells needs to be run: picklable, so that it can go to any worker."""

    fit: Fit
    scaling: Scaling
    fields: tuple[str, ...]
    member: Member
    device: str | None  # None for the best there is where it runs
    spinup: SpinUp
    batch: int
    loop: Loop
    land: xr.DataArray  # with its coordinates, to say where a run went wrong
    time: np.ndarray
    keeps: bool = False  # whether the state at the end comes behind the fields

    def __call__(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...] | np.ndarray:
        """Run a block.

        Parameters
        ----------
        *arrays : ndarray
            The forcings (..., time), static features (..., feature), number of days with all forcing, 0 where there is
            no prediction (...), fold labels (..., 1 or time), for each axis of the land what it adds to the number of a
            cell (...), and the state to start from (..., fold, carried), without which there is a spin-up.

        Returns
        -------
        ndarray, or a tuple of them
            For each field (..., time) or (...), with a fold axis before the time for ``member="all"``, then the state
            (..., fold, carried); NaN where and when there is no prediction.

        Raises
        ------
        InputError
            Where the forcing is not what was checked, the state has gaps, or a process or network gives something that
            is no number.
        """
        count = len(self.fit.model.forcing)
        forcing, (static, known, labels, *rest) = arrays[:count], arrays[count:]
        numbers, starts = rest[: self.land.ndim], rest[self.land.ndim :]
        land, days, carry = known.shape, len(self.time), carried(self.fit.model)
        self.raise_unless_as_checked(forcing, land)

        def cells(array: np.ndarray, rank: int = 1) -> np.ndarray:
            """One axis of cells; an array on time or features alone is the same for all."""
            own = array.shape[array.ndim - rank :]
            return np.broadcast_to(array, (*land, *own)).reshape(known.size, *own)

        *flat, features, label = (cells(array) for array in (*forcing, static, labels))
        number, start = cells(np.asarray(sum(numbers)), 0), [cells(array, 2) for array in starts]
        index = np.flatnonzero(known.reshape(-1))
        kept = (len(self.fit.folds),) if self.member == "all" else ()
        shapes = [(*kept, *((days,) if self.varies(field) else ())) for field in self.fields]
        shapes += [(len(self.everyone), carry)] if self.keeps else []
        results = [np.full((known.size, *shape), np.nan, np.float32) for shape in shapes]
        for at in range(0, len(index), self.batch):
            some = index[at : at + self.batch]
            for rows, positions in self.groups(label[some]):
                chosen = some[positions]
                places = [self.everyone.index(row) for row in rows]
                inputs = np.stack([x[chosen] for x in flat], -1), features[chosen, : self.columns]
                before = start[0][chosen[:, None], places] if start else None
                self.raise_unless_complete(*inputs, before, known.reshape(-1)[chosen], number[chosen])
                found = self.run(rows, *inputs, before)
                self.raise_unless_finite(found, rows, *inputs, before, number[chosen])
                for result, values in zip(results, found[: len(self.fields)], strict=False):
                    result[chosen] = self.reduced(values, label[chosen])
                if self.keeps:
                    results[-1][chosen[:, None], places] = found[-1]
        whole = tuple(r.reshape((*land, *r.shape[1:])) for r in results)
        return whole if len(whole) > 1 else whole[0]

    @property
    def columns(self) -> int:
        """Number of static features and of maps of pinned parameters behind them."""
        return len(self.fit.features) + len(self.fit.model.maps)

    @property
    def everyone(self) -> list[int]:
        """Rows of the folds that may run, in the order their states are kept in."""
        return [self.fit.folds.index(self.member)] if isinstance(self.member, int) else [*range(len(self.fit.folds))]

    def varies(self, field: str) -> bool:
        """Whether an output has a value each day."""
        return self.fit.model.daily_output(field)

    def groups(self, label: np.ndarray) -> list[tuple[list[int], np.ndarray]]:
        """Which folds to run on which cells: all on all, but for cells whose fold is one and known."""
        if self.member != "held-out" or label.shape[1] > 1:
            return [(self.everyone, np.arange(len(label)))]
        groups = []
        for one in np.unique(label[:, 0]):
            positions = np.flatnonzero(label[:, 0] == one)
            groups.append(([self.fit.folds.index(int(one))] if one != TEST else self.everyone, positions))
        return groups

    def run(
        self, rows: list[int], forcing: np.ndarray, static: np.ndarray, before: np.ndarray | None
    ) -> list[np.ndarray]:
        """Outputs (cell, fold, time) or (cell, fold) of some folds on some cells, and the state they leave."""
        x, s = self.tensor(rows, forcing), self.tensor(rows, static)
        with torch.no_grad():
            carry, outputs = self.walk(rows, x, s, self.start(before))
        full = [
            outputs[f] if outputs[f].ndim > 1 else outputs[f].unsqueeze(1).expand(-1, x.shape[1]) for f in self.fields
        ]
        full += [packed(carry).expand(*x.shape[:2], -1)] if self.keeps else []
        return [o.transpose(0, 1).cpu().numpy() for o in full]

    def tensor(self, rows: list[int], values: np.ndarray) -> Tensor:
        """The same values for each of some folds, (fold, cell, ...)."""
        whole = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self.device)
        return whole.expand(len(rows), *whole.shape)

    def start(self, before: np.ndarray | None) -> Carry | None:
        """What was carried, from (cell, fold, carried)."""
        if before is None:
            return None
        values = torch.from_numpy(np.ascontiguousarray(before.swapaxes(0, 1), dtype=np.float32)).to(self.device)
        return unpacked(self.fit.model, values)

    def of(self, rows: list[int]) -> tuple[Tensor, Scaling]:
        """Weights and scaling of some folds."""
        return self.fit.weights[rows].to(self.device), Scaling(*(x[rows].to(self.device) for x in self.scaling))

    def walk(
        self, rows: list[int], forcing: Tensor, static: Tensor, carry: Carry | None
    ) -> tuple[Carry, dict[str, Tensor]]:
        """Run the record from a state, or after a spin-up; see `HybridModel.run`.

        Where the forcing has gaps each stretch of days is run by itself, NaN on the days between: the first from the
        state, if the gap before it is no longer than `SpinUp.bridge` days.
        """
        weights, scaling = self.of(rows)
        model, period = self.fit.model, slice(0, self.spinup.days or forcing.shape[2])
        complete = forcing[0].isfinite().all(-1)
        goes_on = carry is None or bool(carry.state[0].isfinite().all())
        if not (complete.all() and goes_on):
            return self.walk_stretches(rows, forcing, static, carry, complete)
        if carry is None:
            carry = model.spun_up(weights, forcing[:, :, period], static, scaling, self.spinup, self.loop)
        return model.run(weights, forcing, static, scaling, self.fields, carry, self.loop)

    def walk_stretches(
        self, rows: list[int], forcing: Tensor, static: Tensor, carry: Carry | None, complete: Tensor
    ) -> tuple[Carry, dict[str, Tensor]]:
        """Run the stretches of days that are `complete` (cell, time), and lay what they give on the time axis."""
        (weights, scaling), model, time = self.of(rows), self.fit.model, forcing.shape[2]
        record = Record.of(len(complete), time, complete, self.spinup.bridge, forcing.device)
        cell, length = record.cell, record.days
        nth = torch.arange(int(length.max()), device=cell.device)
        day = record.day[cell[:, None], record.first[:, None] + nth.minimum(length[:, None] - 1)]
        x, s = forcing[:, cell[:, None], day], static[:, cell]
        spin = length.clamp(max=self.spinup.days or time)
        how, folds = (model, weights), (len(rows), -1)
        now = ragged.spun_up(*how, x[:, :, : int(spin.max())], s, scaling, self.spinup, self.loop, spin.expand(folds))
        if carry is not None:
            held = (record.first == 0) & (day[:, 0] <= self.spinup.bridge)

            def begun(own: Tensor, given: Tensor) -> Tensor:
                given = given[:, cell]
                return torch.where(held.view(-1, *[1] * (own.ndim - 2)) & given.isfinite(), given, own)

            now = tree_map(begun, now, carry)
        after, outputs = ragged.run(*how, x, s, scaling, self.fields, now, self.loop, length.expand(folds))
        inside = nth < length[:, None]
        where = cell[:, None].expand_as(inside)[inside], day[inside]
        last = torch.searchsorted(cell, torch.arange(len(complete), device=cell.device), right=True) - 1
        laid = {}
        for name, values in outputs.items():
            if values.ndim == 3:
                laid[name] = values.new_full((len(rows), len(complete), time), torch.nan)
                laid[name][:, where[0], where[1]] = values[:, inside]
            else:
                laid[name] = values[:, last] if values.ndim == 2 else values
        ended = time - 1 - record.day[:, -1] > self.spinup.bridge
        return tree_map(lambda x: torch.where(ended.view(-1, *[1] * (x.ndim - 2)), ENDED, x[:, last]), after), laid

    def raise_unless_as_checked(self, forcing: Sequence[np.ndarray], land: tuple[int, ...]) -> None:
        """Say which forcing is of another shape than when the dataset was opened."""
        wanted = (*land, len(self.time))
        findings = [
            Finding(name, f"was read as {x.shape}, where {wanted} was announced", AGAIN)
            for name, x in zip(self.fit.model.forcing, forcing, strict=True)
            if x.shape[-1] != wanted[-1]
            or any(n not in (1, m) for n, m in zip(x.shape[-2::-1], land[::-1], strict=False))
        ]
        if findings:
            raise InputError(findings)

    def raise_unless_complete(
        self,
        forcing: np.ndarray,
        static: np.ndarray,
        before: np.ndarray | None,
        known: np.ndarray,
        numbers: np.ndarray,
    ) -> None:
        """Say what has other gaps than when it was checked, on which day and where."""
        findings = []
        complete = np.isfinite(forcing).all(-1)
        lost = known - complete.sum(1)
        if (lost > 0).any():
            cell = int(np.argmax(lost > 0))
            day = int(np.argmin(complete[cell]))
            k = int(np.argmin(np.isfinite(forcing[cell, day])))
            when = f"{self.time[day]!s:.10}, at {place(self.land, int(numbers[cell]))}"
            problem = f"was complete when it was checked, and now is {forcing[cell, day, k]} on {when}"
            more = int(lost.clip(0).sum()) - 1
            name = self.fit.model.forcing[k]
            findings.append(Finding(name, f"{problem} (and on {more:,} more days of cells of this chunk)", AGAIN))
        for k, name in enumerate((*self.fit.features, *self.fit.model.maps)):
            if not np.isfinite(static[:, k]).all():
                cell = int(np.argmin(np.isfinite(static[:, k])))
                where = place(self.land, int(numbers[cell]))
                problem = f"was complete when it was checked, and now is {static[cell, k]} at {where}"
                findings.append(Finding(name, problem, AGAIN))
        if before is not None and len(gaps := np.argwhere(np.isnan(before).any(-1))):
            where = place(self.land, int(numbers[gaps[0, 0]]))
            problem = f"has gaps at {where}, where there is forcing now"
            remedy = "start from one of the same cells and member, kept whole; or leave these cells out with mask=..."
            findings.append(Finding(NAME, problem, remedy))
        if findings:
            raise InputError(findings)

    def raise_unless_finite(
        self,
        found: list[np.ndarray],
        rows: list[int],
        forcing: np.ndarray,
        static: np.ndarray,
        before: np.ndarray | None,
        numbers: np.ndarray,
    ) -> None:
        """Say which process or network gave something that is no number, on which day and where."""
        complete = np.isfinite(forcing).all(-1)
        fields = found[: len(self.fields)]
        lost = [~np.isfinite(x) & complete[:, None] if x.ndim > 2 else ~np.isfinite(x)[..., None] for x in fields]
        lost += [np.isnan(x) for x in found[len(self.fields) :]]
        if not any(x.any() for x in lost):
            return
        cell, row, day = next(np.argwhere(x)[0] for x in lost if x.any())
        weights, scaling = self.of([rows[row]])
        stretch = self.stretch(complete[cell], int(day))
        x, s = (self.tensor([rows[row]], values[cell : cell + 1]) for values in (forcing[:, stretch], static))
        spin = x[:, :, : self.spinup.days or x.shape[2]]
        held = before is not None and stretch[0] <= self.spinup.bridge and np.isfinite(before[cell, row]).all()
        carry = self.start(before[cell : cell + 1, row : row + 1]) if before is not None and held else None
        failure = first_failure(self.fit.model, weights, spin, x, s, scaling, self.spinup, carry)
        where = place(self.land, int(numbers[cell]))
        if failure is None:
            raise InputError([Finding("prediction", f"is not finite at {where}", 'look at it with loop="plain"')])
        raise InputError([failure.finding(f"{self.time[stretch[failure.day]]!s:.10}", where)])

    def stretch(self, complete: np.ndarray, day: int) -> np.ndarray:
        """Return the days of the stretch of a cell, `complete` (time,), that holds a day, or else of its last."""
        _, first, days = stretches(complete[None], self.spinup.bridge)
        every = [np.flatnonzero(complete)[at : at + n] for at, n in zip(first, days, strict=True)]
        return next((one for one in every if day in one), every[-1])

    def reduced(self, values: np.ndarray, label: np.ndarray) -> np.ndarray:
        """From (cell, fold, ...) to what is asked for."""
        if self.member == "all":
            return values
        if self.member == "held-out" and label.shape[1] > 1 and values.ndim == 3:
            known = label != TEST
            rows = np.searchsorted(self.fit.folds, np.where(known, label, self.fit.folds[0]).astype(int))
            single = np.take_along_axis(values, rows[:, None, :], 1)[:, 0]
            return np.where(known, single, values.mean(1))
        return values.mean(1)  # type: ignore[no-any-return]


CORES = torch.get_num_threads()
"""What PyTorch takes where nothing runs beside it: all cores, or ``OMP_NUM_THREADS``."""


@contextlib.contextmanager
def threads_of_a_task() -> Iterator[None]:
    """Take one thread where other tasks may run beside: in a thread or process that is not the first.

    PyTorch keeps the number for each thread, and the compiled loop asks it.
    """
    first = threading.current_thread() is threading.main_thread() and multiprocessing.parent_process() is None
    if first:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(CORES)


@undisturbed()
def h2cm_predict(*arrays: np.ndarray, runner: Runner) -> tuple[np.ndarray, ...] | np.ndarray:
    """Run a block with what the machine it is on has; its name is that of the task."""
    here = dataclasses.replace(runner, device=str(to_device(runner.device)))
    with threads_of_a_task(), reproducible_threads():
        return here(*arrays)
