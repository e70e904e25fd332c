"""One day of land: nine processes, and the step that books what they say."""

from __future__ import annotations

from xh2cm.physics.evaporation import SoilAndCanopyEvaporation
from xh2cm.physics.gpp import WaterUseGPP
from xh2cm.physics.groundwater import LinearGroundwater
from xh2cm.physics.interception import CanopyInterception
from xh2cm.physics.nee import BiogenicNEE
from xh2cm.physics.processes import Process, Processes
from xh2cm.physics.respiration import Q10Respiration
from xh2cm.physics.runoff import FractionalRunoff
from xh2cm.physics.snow import DegreeDaySnow
from xh2cm.physics.soil import BucketSoil
from xh2cm.physics.step import residuals, step

__all__ = [
    "BiogenicNEE",
    "BucketSoil",
    "CanopyInterception",
    "DegreeDaySnow",
    "FractionalRunoff",
    "LinearGroundwater",
    "Process",
    "Processes",
    "Q10Respiration",
    "SoilAndCanopyEvaporation",
    "WaterUseGPP",
    "residuals",
    "step",
]
