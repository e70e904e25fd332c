"""NVIDIA's compiler takes the walk of a GPU, where it is there; no GPU is needed."""

from __future__ import annotations

import importlib

import pytest
from test_loop import MODELS

from xh2cm.loop import build, nvidia


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Compile anew."""
    monkeypatch.setenv("XH2CM_CACHE", str(tmp_path))


def test_without_nvidias_bindings_that_is_the_reason(monkeypatch):
    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(build.Unbuilt, match=r"pip install 'xh2cm\[gpu\]'"):
        nvidia.compiled("", "sm_90")


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("name", ["published", "another physics and table"])
def test_nvidias_compiler_takes_it(architecture, name):
    try:
        assert nvidia.bindings("nvrtc").nvrtcVersion()
    except (build.Unbuilt, RuntimeError) as reason:
        pytest.skip(f"NVRTC is not there: {reason}")
    sizes = "#define CELLS 4\n#define THREADS 256\n"
    program = nvidia.compiled(sizes + MODELS[name].scheme.source("blocks.cu"), architecture)
    for kernel in nvidia.KERNELS:
        assert f"{kernel}_shared".encode() in program
    with pytest.raises(build.Unbuilt, match=r"NVRTC failed: .*error"):
        nvidia.compiled("no program", architecture)
