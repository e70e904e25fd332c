"""Networks around the physics."""

from __future__ import annotations

from xh2cm.model.hybrid import Carry, HybridModel, Scaling
from xh2cm.model.layers import KINDS
from xh2cm.model.model import Model
from xh2cm.model.net import Net
from xh2cm.model.network import PUBLISHED_NETWORKS, WATER_NETWORKS, networks
from xh2cm.model.spinup import SpinUp

__all__ = [
    "KINDS",
    "PUBLISHED_NETWORKS",
    "WATER_NETWORKS",
    "Carry",
    "HybridModel",
    "Model",
    "Net",
    "Scaling",
    "SpinUp",
    "networks",
]
