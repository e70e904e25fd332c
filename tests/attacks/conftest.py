"""Fixtures of the attacks."""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray as xr


@pytest.fixture(scope="session")
def short(twin: xr.Dataset) -> xr.Dataset:
    """Ninety days of the twin."""
    return twin.isel(time=slice(0, 90), month=slice(0, 3)).drop_encoding().load()


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that only code which must not run would make."""
    return tmp_path / "canary"
