"""Resident memory after each of many fits in one process: ``python benchmarks/memory.py fits``.

Nothing is collected or trimmed in between: what a user who fits in a loop would see.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import xh2cm
from xh2cm.data.twin import observe, truth, twin

SETTLED = 3
"""The fit after which memory should no longer grow: until then libraries are loaded and pools filled."""


def resident() -> float:
    """Resident memory of this process, MiB (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def fits(number: int, loop: str) -> None:
    """Fit, predict with it, and forget both, so often."""
    forcing = twin(cells=(4, 6), years=2)
    land = forcing.merge(observe(truth(forcing, passes=1)))
    held = []
    for count in range(1, number + 1):
        fit = land.h2cm.fit(2, scheme="cells", epochs=2, width=16, batch_size=8, loop=loop, progress=False, seed=count)
        land.h2cm.predict(fit, loop=loop)
        held.append(resident())
        print(f"fit {count:2d}  {held[-1]:8.1f} MiB  {100 * (held[-1] / held[min(count, SETTLED) - 1] - 1):+6.2f} %")
    if number > SETTLED:
        growth = 100 * (held[-1] / held[SETTLED - 1] - 1)
        print(f"growth after fit {SETTLED}: {growth:+.2f} % ({xh2cm.__version__}, loop {loop})")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["fits"])
    parser.add_argument("--number", type=int, default=20)
    parser.add_argument("--loop", choices=["plain", "fast"], default="plain")
    told = parser.parse_args()
    fits(told.number, told.loop)


if __name__ == "__main__":
    main()
