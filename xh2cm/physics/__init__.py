"""One day of land: processes, and the step that updates the storages."""

from __future__ import annotations

from xh2cm.physics.deep_soil import DeepSoil
from xh2cm.physics.evaporation import PenmanMonteithEvaporation, PriestleyTaylorEvaporation, SoilAndCanopyEvaporation
from xh2cm.physics.gpp import LightUseGPP, WaterUseGPP
from xh2cm.physics.groundwater import LinearGroundwater, PowerGroundwater
from xh2cm.physics.interception import CanopyInterception, StoredInterception
from xh2cm.physics.nee import BiogenicNEE
from xh2cm.physics.processes import Process, Processes
from xh2cm.physics.respiration import LloydTaylorRespiration, Q10Respiration
from xh2cm.physics.routing import CascadeRouting
from xh2cm.physics.runoff import FractionalRunoff
from xh2cm.physics.snow import DegreeDaySnow, LiquidWaterSnow, RadiationSnow
from xh2cm.physics.soil import BetaSoil, BucketSoil
from xh2cm.physics.step import residuals, step

__all__ = [
    "BetaSoil",
    "BiogenicNEE",
    "BucketSoil",
    "CanopyInterception",
    "CascadeRouting",
    "DeepSoil",
    "DegreeDaySnow",
    "FractionalRunoff",
    "LightUseGPP",
    "LinearGroundwater",
    "LiquidWaterSnow",
    "LloydTaylorRespiration",
    "PenmanMonteithEvaporation",
    "PowerGroundwater",
    "PriestleyTaylorEvaporation",
    "Process",
    "Processes",
    "Q10Respiration",
    "RadiationSnow",
    "SoilAndCanopyEvaporation",
    "StoredInterception",
    "WaterUseGPP",
    "residuals",
    "step",
]
