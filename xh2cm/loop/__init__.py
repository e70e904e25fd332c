"""The walk through time."""

from __future__ import annotations

from xh2cm.loop.reference import walk

__all__ = ["walk"]
