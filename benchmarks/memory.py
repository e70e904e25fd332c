"""Memory of this process: ``python benchmarks/memory.py fits`` or ``step``.

``fits`` prints what is resident after each of many fits; nothing is collected or trimmed in between: what a user who
fits in a loop would see. ``step`` prints the most that was resident until the end of one training step of many folds,
cells and years with the published networks; with ``--loop blocks`` of all that a GPU would hold, on this machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

import xh2cm
from xh2cm.datasets.twin import observe, truth, twin
from xh2cm.loop.compiled import walk
from xh2cm.loop.cuda import Blocks
from xh2cm.model import HybridModel, hybrid
from xh2cm.targets import TARGET_TABLE
from xh2cm.train import Portions, Training, normalisation, train
from xh2cm.train.tensors import to_tensors

SETTLED = 3
"""The fit after which memory should no longer grow: until then libraries are loaded and pools filled."""


def mebibytes(what: str) -> float:
    """Memory of this process by its name in Linux: resident now (VmRSS) or at most (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(what)).split()[1]) / 1024


def fits(number: int, loop: str) -> None:
    """Fit, predict with it, and forget both, so often."""
    forcing = twin(cells=(4, 6), years=2)
    land = forcing.merge(observe(truth(forcing, passes=1)))
    held = []
    for count in range(1, number + 1):
        fit = land.h2cm.fit(2, scheme="cells", epochs=2, width=16, batch_size=8, loop=loop, progress=False, seed=count)
        land.h2cm.predict(fit, loop=loop)
        held.append(mebibytes("VmRSS"))
        print(f"fit {count:2d}  {held[-1]:8.1f} MiB  {100 * (held[-1] / held[min(count, SETTLED) - 1] - 1):+6.2f} %")
    if number > SETTLED:
        growth = 100 * (held[-1] / held[SETTLED - 1] - 1)
        print(f"growth after fit {SETTLED}: {growth:+.2f} % ({xh2cm.__version__}, loop {loop})")


class Untold:
    """A GPU of so many processors, which is never told to do anything."""

    processors, shared = 132, 2**40

    def needs(self, kernel: str) -> int:
        return 0


class Touched(Blocks):
    """The walk of a GPU: all that it needs there is in memory here, and nothing is computed."""

    def launch(self, kernel: str, sizes: Sequence[int], places: Sequence[torch.Tensor | None]) -> None:
        for x in places:
            if x is not None:
                x.data.zero_()


def in_blocks(model: HybridModel) -> None:
    """Let a model hold what it would hold on a GPU."""
    held = partial(walk, Touched(model.scheme, torch.device("cpu"), lambda *_: Untold()))
    hybrid.choose = lambda *_: held


def step(folds: int, rows: int, years: int, loop: str) -> None:
    """One step of so many folds on rows of 16 cells, every one of which each fold sees."""
    forcing = twin(cells=(rows, 16), years=years)
    land = forcing.merge(observe(truth(forcing, passes=0)))
    checked = land.h2cm.check().dataset
    targets = [t for t in TARGET_TABLE if t.name in checked]
    cells = to_tensors(checked, "cpu")
    label = torch.full((len(cells.forcing), 1), folds)
    portions, model = Portions.whole(cells, label), HybridModel(len(cells.features))
    scales = normalisation(portions, range(folds), targets)
    if loop == "blocks":
        in_blocks(model)
    before, begun = mebibytes("VmHWM"), time.monotonic()
    once = Training(epochs=1, patience=None, batch_size=len(label))
    train(portions, range(folds), model, targets, scales, once, progress=False, loop=loop)
    print(
        f"{folds} folds x {len(label)} cells x {cells.forcing.shape[1]} days, {len(targets)} targets, loop {loop}, "
        f"{torch.get_num_threads()} threads: {mebibytes('VmHWM') / 1024:.2f} GiB at most "
        f"({before / 1024:.2f} before the step of {time.monotonic() - begun:.0f} s)"
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["fits", "step"])
    parser.add_argument("--number", type=int, default=20, help="of fits")
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--rows", type=int, default=8, help="of 16 cells")
    parser.add_argument("--years", type=int, default=20)
    parser.add_argument(
        "--loop", choices=["plain", "fast", "blocks"], help="plain for fits, fast for a step if not given"
    )
    told = parser.parse_args()
    if told.what == "fits":
        fits(told.number, told.loop or "plain")
    else:
        step(told.folds, told.rows, told.years, told.loop or "fast")


if __name__ == "__main__":
    main()
