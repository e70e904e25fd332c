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
    """Sound on the days that processes are tried on; 0 / 0 where it is hotter, or the air richer, than on those."""

    hottest: float = 46.0
    richest: float = 900.0
    slope: bool = False

    def __call__(self, groundwater, baseflow_coefficient, temperature, co2):
        flow = baseflow_coefficient * groundwater
        off = ((temperature > self.hottest) | (co2 > self.richest)).to(flow.dtype)
        if self.slope:  # the gradient of a square root at 0 is infinite
            return flow + torch.sqrt(0.0 * groundwater + 1.0 - off) - 1.0 + off
        return flow * (1 - off) / (1 - off)


LEAKY = Processes(groundwater=Leak())


@pytest.fixture(scope="module")
def short(twin):
    return twin.isel(time=slice(0, 90), month=slice(0, 3))


@pytest.fixture(scope="module")
def hot(short):
    """The same with one hot day in one cell, and how these are called."""
    where = {"time": 40, "lat": 1, "lon": 2}
    temperature = short["air_temperature"].copy()
    temperature[where] = 325.0
    at = temperature.isel(where)
    return (
        short.assign(air_temperature=temperature),
        f"{at['time'].values!s:.10}",
        f"at lat {at['lat'].item()}, lon {at['lon'].item()}",
    )


def rich(ds):
    return ds.assign(co2=ds["co2"] + 700)


def test_a_process_that_fails_everywhere_ends_the_training_with_its_name(short):
    with pytest.raises(
        InputError, match=r"groundwater \(Leak\): gives nan for groundwater = .*2001-01-01 of the spin-up"
    ):
        rich(short).h2cm.fit(2, processes=LEAKY, **QUICK)


def test_a_process_that_fails_in_one_cell_on_one_day_is_counted_and_named(hot):
    ds, day, cell = hot
    with pytest.warns(xh2cm.H2CMWarning, match=rf"groundwater \(Leak\) gives nan .* on {day} .*{cell}"):
        fit = ds.h2cm.fit(2, processes=LEAKY, **QUICK)
    skipped = fit.losses["skipped_steps"]
    assert 0 < int(skipped.sum()) < 8
    assert fit.weights.isfinite().all()


def test_a_slope_that_is_not_finite_is_told_from_a_flux(short):
    with pytest.warns(xh2cm.H2CMWarning, match="the gradient by .* not finite: a process has a slope"):
        fit = rich(short).h2cm.fit(2, processes=Processes(groundwater=Leak(slope=True)), **QUICK)
    assert (fit.losses["skipped_steps"] == 4).all()


@pytest.mark.filterwarnings("ignore:the forcing is far outside:xh2cm.errors.H2CMWarning")
@pytest.mark.parametrize("lazy", [False, True])
def test_a_prediction_that_is_no_number_is_an_error_with_day_and_cell(short, hot, lazy):
    ds, day, cell = hot
    fit = short.h2cm.fit(2, processes=LEAKY, **QUICK)
    ds = ds.chunk(lat=1, lon=2) if lazy else ds
    with pytest.raises(InputError, match=rf"groundwater \(Leak\): gives nan .*\n?.*on {day}, {cell}"):
        ds.h2cm.predict(fit, spinup=xh2cm.SpinUp(passes=0)).compute(scheduler="synchronous")
    with pytest.raises(InputError, match=rf"on {day} of the spin-up, {cell}"):
        ds.h2cm.predict(fit).compute(scheduler="synchronous")


def test_weights_that_are_no_numbers_are_blamed_on_the_networks(short):
    fit = short.h2cm.fit(2, **QUICK)
    broken = dataclasses.replace(fit, weights=fit.weights * torch.tensor([[1.0], [torch.nan]]))
    with pytest.raises(
        InputError, match=r"the networks: give something that is not finite \(the weights are not finite\)"
    ):
        short.h2cm.predict(broken)
