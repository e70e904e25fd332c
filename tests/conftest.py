"""What the tests share: the reference numbers and real data beside the repository, where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

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
