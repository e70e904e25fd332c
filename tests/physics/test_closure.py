"""The water budget closes to rounding, which is relative to the water stored."""

from __future__ import annotations

import pytest
import torch

from xh2cm.physics import Processes, residuals, step
from xh2cm.variables import Forcing, State


@pytest.mark.parametrize("stored", [30.0, 4e3, 4e4, 1e6])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 2.5e-7), (torch.float64, 5e-16)])
def test_the_residual_is_rounding_of_the_largest_storage(stored, dtype, bound):
    dice = torch.Generator().manual_seed(0)
    cells = torch.ones(1, 500, dtype=dtype)

    def between(low: float, high: float) -> torch.Tensor:
        return (low + (high - low) * torch.rand(1, 500, generator=dice, dtype=torch.float64)).to(dtype)

    state = State(
        swe=between(0, 300),
        soil_moisture=between(0, 90),
        groundwater=stored * between(0.5, 1),
        fapar=0.5 * cells,
        npp=cells,
    )
    forcing = Forcing(between(-50, 300), between(0, 60), between(250, 310), between(0, 40), 400 * cells)
    parameters = {p.name: cells * max(p.lower, 0.3) for p in Processes().parameters}
    parameters |= {"soil_capacity": 90 * cells, "baseflow_coefficient": 1e-5 * cells}
    after, fluxes = step(Processes(), state, forcing, parameters)
    largest = max(stored, 500.0)
    assert float(residuals(state, after, fluxes).water_residual.abs().max()) <= bound * largest
