"""Fixtures shared by the tests: twins, published numbers, real data where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr

from xh2cm.datasets.twin import observe, truth
from xh2cm.datasets.twin import twin as make_twin

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """Path below the folder ``shared`` beside the repository; skips the test where it is absent."""

    def path(relative: str) -> Path:
        found = SHARED / relative
        if not found.exists():
            pytest.skip(f"needs ../shared/{relative}, which is not beside this checkout")
        return found

    return path


@pytest.fixture(scope="session")
def parity() -> Path:
    """Folder of numbers computed with the published code; its README says how."""
    return Path(__file__).parent / "data/parity"


@pytest.fixture(scope="session")
def twin() -> xr.Dataset:
    """Two years of a small synthetic twin with monthly targets; a test that changes it must copy it."""
    forcing = make_twin(cells=(2, 4), years=2)
    return forcing.merge(observe(truth(forcing, passes=1)))


@pytest.fixture(scope="session")
def compiler() -> str:
    """Path of what compiles the fast loop of a CPU; skips the test where there is none."""
    from xh2cm.loop import cache

    try:
        return cache.compiler()[0]
    except cache.Unbuilt as reason:
        pytest.skip(str(reason))
