"""Hybrid modelling of the land's water and carbon cycles on xarray datasets."""

from __future__ import annotations

__version__ = "0.1.0.dev0"
