"""NVIDIA's compiler takes the walk of a GPU, and where there is a GPU it gives the plain numbers."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from loops import MODELS, close, given, result
from torch.utils._pytree import tree_map

from xh2cm.loop import cache, nvrtc
from xh2cm.model import Scaling


@pytest.fixture(autouse=True)
def compiled_anew(tmp_path, monkeypatch):
    """Compile anew."""
    monkeypatch.setenv("XH2CM_CACHE", str(tmp_path))


def test_without_nvidias_bindings_that_is_the_reason(monkeypatch):
    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(cache.Unbuilt, match=r"pip install 'xh2cm\[gpu\]'"):
        nvrtc.compiled("", "sm_90")


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("name", ["published", "another physics and table"])
def test_nvidias_compiler_takes_it(architecture, name):
    try:
        assert nvrtc.bindings("nvrtc").nvrtcVersion()
    except (cache.Unbuilt, RuntimeError) as reason:
        pytest.skip(f"NVRTC is not there: {reason}")
    sizes = "#define CELLS 4\n#define THREADS 256\n"
    program = nvrtc.compiled(sizes + MODELS[name].scheme.source("cuda.cu"), architecture)
    for kernel in nvrtc.KERNELS:
        assert f"{kernel}_shared".encode() in program
    with pytest.raises(cache.Unbuilt, match=r"NVRTC failed: .*error"):
        nvrtc.compiled("no program", architecture)


@pytest.fixture
def gpu():
    """Where there is one."""
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    return "cuda"


@pytest.mark.parametrize("name", MODELS)
def test_a_gpu_gives_the_plain_numbers(gpu, name):
    model = MODELS[name]
    weights, forcing, static, scaling = given(model)
    there = [x.to(gpu) for x in (weights, forcing, static)] + [Scaling(*(x.to(gpu) for x in scaling))]
    found = tree_map(lambda x: x.cpu(), result(model, "fast", inputs=there))
    close(found, result(model, "plain", torch.float64))


def test_a_fit_from_a_gpu_is_that_of_a_cpu_and_runs_anywhere(gpu, twin):
    how = {"folds": 2, "scheme": "cells", "epochs": 2, "width": 8, "progress": False, "loop": "fast"}
    fits = {device: twin.h2cm.fit(device=device, **how) for device in ("cpu", gpu)}
    assert fits[gpu].weights.device.type == "cpu"
    assert torch.allclose(fits[gpu].weights, fits["cpu"].weights, atol=1e-4)
    for loop in ("plain", "fast"):
        here, there = (twin.h2cm.predict(fits[gpu], device=device, loop=loop) for device in ("cpu", gpu))
        for name, values in here.data_vars.items():
            np.testing.assert_allclose(there[name], values, atol=1e-4 * float(abs(values).max()), err_msg=name)
