"""Half of net primary production becomes litter, which decays by soil temperature: a carbon storage of one's own."""

import dataclasses
from typing import ClassVar

import torch

from xh2cm import Flux, Parameter, Storage, Var


@dataclasses.dataclass(frozen=True)
class Litter:
    """Let half of net primary production fall as litter, and respire it the faster the warmer the soil is."""

    forcing: ClassVar = (
        Var("soil_temperature", "soil temperature", "K", "temperature", "soil_temperature", lower=200, upper=340),
    )
    storages: ClassVar = (Storage("litter", "carbon in litter", "carbon", start=100.0),)
    fluxes: ClassVar = (
        Flux("litterfall", "biosphere", "litter", "litterfall"),
        Flux("litter_respiration", "litter", "atmosphere", "heterotrophic respiration of litter"),
    )
    parameters: ClassVar = (
        Parameter("turnover", "fraction of litter respired a day at 15 degC", "d-1", upper=0.1, default=0.003),
    )

    def __call__(self, gpp, ra, litter, soil_temperature, turnover):
        """Return litterfall and respiration, g m-2 d-1."""
        share = (turnover * torch.exp(0.07 * (soil_temperature - 288.15))).clamp(max=1.0)
        return 0.5 * (gpp - ra).clamp(min=0.0), share * litter
