"""The loop over days: readable, or compiled for the model and the device."""

from __future__ import annotations

from xh2cm.loop.reference import walk

__all__ = ["walk"]
