"""Time the import of xh2cm beside that of the libraries it is built on: `python benchmarks/imports.py`.

Each import runs in a fresh process, in turn, and the median of the runs is printed with their ratio.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

CODE = {"libraries": "import xarray, pandas, pint, cf_xarray", "xh2cm": "import xh2cm"}
TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def seconds(code: str) -> float:
    """Time some imports in a fresh process."""
    return float(subprocess.run([sys.executable, "-c", TIMED.format(code)], capture_output=True, check=True).stdout)


def main() -> None:
    """Print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    for code in CODE.values():
        seconds(code)  # so that all files have been read once
    found = [{name: seconds(code) for name, code in CODE.items()} for _ in range(runs)]
    medians = {name: statistics.median(run[name] for run in found) for name in CODE}
    for name, median in medians.items():
        print(f"{CODE[name]:<45} {median:6.3f} s")
    print(f"ratio {medians['xh2cm'] / medians['libraries']:.3f}, median of {runs} fresh processes each")


if __name__ == "__main__":
    main()
