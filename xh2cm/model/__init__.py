"""Networks around the physics."""

from __future__ import annotations

from xh2cm.model.hybrid import Carry, HybridModel, Scaling, SpinUp
from xh2cm.model.network import KINDS, PUBLISHED_NETWORKS, WATER_NETWORKS, Net

__all__ = ["KINDS", "PUBLISHED_NETWORKS", "WATER_NETWORKS", "Carry", "HybridModel", "Net", "Scaling", "SpinUp"]
