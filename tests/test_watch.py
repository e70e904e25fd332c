"""A process that gives no number is named, with the day and the cell where that began."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import xh2cm
from xh2cm.errors import InputError
from xh2cm.physics import LinearGroundwater, Processes

QUICK = {"scheme": "cells", "width": 4, "batch_size": 3, "progress": False, "epochs": 2, "patience": None}


@dataclasses.dataclass(frozen=True)
class Leak(LinearGroundwater):
    """Sound on all days but those of one kind, where it is 0 / 0."""

    warmest: float = 1e9
    slope: bool = False

    def __call__(self, groundwater, baseflow_coefficient, temperature):
        flow = baseflow_coefficient * groundwater
        if self.slope:  # the gradient of a square root at 0 is infinite
            return flow + torch.sqrt(0.0 * groundwater)
        off = (temperature > self.warmest).to(flow.dtype)
        return flow * (1 - off) / (1 - off)


@pytest.fixture(scope="module")
def short(twin):
    return twin.isel(time=slice(0, 90), month=slice(0, 3))


def warmest(ds, rank=0):
    """Temperature that only the so many warmest days and cells exceed, degC; and where the warmest is."""
    celsius = ds["air_temperature"] - 273.15
    ordered = celsius.stack(all=("time", "lat", "lon")).sortby("all").values
    top = sorted(ordered.tolist())
    hot = celsius.where(celsius == celsius.max(), drop=True)
    return (top[-1 - rank] + top[-2 - rank]) / 2, hot


def test_a_process_that_fails_everywhere_ends_the_training_with_its_name(short):
    processes = Processes(groundwater=Leak(warmest=-200.0))
    with pytest.raises(
        InputError, match=r"groundwater \(Leak\): gives nan for groundwater = .*2001-01-01 of the spin-up"
    ):
        short.h2cm.fit(2, processes=processes, **QUICK)


def test_a_process_that_fails_in_one_cell_on_one_day_is_counted_and_named(short):
    limit, hot = warmest(short)
    day, lat, lon = f"{hot['time'].values[0]!s:.10}", hot["lat"].item(), hot["lon"].item()
    with pytest.warns(
        xh2cm.H2CMWarning, match=rf"groundwater \(Leak\) gives nan .* on {day} .*at lat {lat}, lon {lon}"
    ):
        fit = short.h2cm.fit(2, processes=Processes(groundwater=Leak(warmest=limit)), **QUICK)
    skipped = fit.losses["skipped_steps"]
    assert 0 < int(skipped.sum()) < 8
    assert fit.weights.isfinite().all()


def test_a_slope_that_is_not_finite_is_told_from_a_flux(short):
    with pytest.warns(xh2cm.H2CMWarning, match="the gradient by .* not finite: a process has a slope"):
        fit = short.h2cm.fit(2, processes=Processes(groundwater=Leak(slope=True)), **QUICK)
    assert (fit.losses["skipped_steps"] == 4).all()
