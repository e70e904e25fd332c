"""The same seed gives the same bits, whatever the number of threads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys, warnings
import numpy as np, torch
from xh2cm.datasets.twin import observe, truth, twin
torch.set_num_threads(int(sys.argv[1]))
forcing = twin(cells=(4, 8), years=1)
ds = forcing.merge(observe(truth(forcing, passes=1)))
how = dict(folds=2, scheme="cells", width=32, epochs=1, progress=False, loop=sys.argv[2], patience=None)
if sys.argv[2] == "plain":
    ds, how = ds.isel(time=slice(0, 59), month=slice(0, 2)), {**how, "spinup": 5}
fit = ds.h2cm.fit(**how)
out = ds.isel(time=slice(0, 59)).drop_dims("month").h2cm.predict(fit, loop=sys.argv[2])
digest = hash(out["GPP"].values.tobytes()) & 0xFFFFFFFF
print(fit.fingerprint, fit.losses["loss"].values.tobytes().hex()[:400], digest, torch.get_num_threads())
"""


def trained(threads: int, loop: str) -> list[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(threads), loop]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    *found, number = done.stdout.split()
    assert int(number) == threads  # what a user has set is as it was
    return found


@pytest.mark.parametrize("loop", ["plain", "fast"])
def test_bits_do_not_depend_on_the_number_of_threads(loop, request):
    if loop == "fast":
        request.getfixturevalue("compiler")
    one, *others = (trained(threads, loop) for threads in (1, 2, 4))
    assert others == [one, one]
