"""Every public verb takes its inputs by label: in another order the result is the same, at other places an error."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xh2cm.errors import InputError
from xh2cm.evaluate.ensemble import coverage

FIT = {"epochs": 1, "width": 4, "progress": False, "loop": "plain"}

quick = settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

ORDERS = st.tuples(st.permutations(range(2)), st.permutations(range(4)), st.booleans(), st.booleans())


def reordered(
    ds: xr.Dataset | xr.DataArray, order: tuple[list[int], list[int], bool, bool]
) -> xr.Dataset | xr.DataArray:
    """The same cells in another order, by choice with other longitudes and in single precision."""
    lat, lon, other, single = order
    ds = ds.isel(lat=lat, lon=lon)
    ds = ds.assign_coords(lon=(ds["lon"] + 180) % 360 - 180) if other else ds
    return ds.assign_coords(lat=ds["lat"].astype("float32")) if single else ds


def back(array: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    """In the order of another, by what its labels say."""
    rounded = array.assign_coords(lon=array["lon"] % 360, lat=array["lat"].astype(float).round(3))
    wanted = {"lat": like["lat"].astype(float).round(3), "lon": like["lon"] % 360}
    return rounded.sel(wanted).transpose(*like.dims)


@pytest.fixture(scope="module")
def ds(twin):
    return twin.isel(time=slice(0, 90), month=slice(0, 3))[
        ["net_radiation", "precipitation", "air_temperature", "vpd", "co2", "ET", "GPP", "clay"]
    ]


@pytest.fixture(scope="module")
def fit(ds):
    return ds.h2cm.fit(2, scheme="cells", **FIT)


@pytest.fixture(scope="module")
def every(ds, fit):
    return ds.h2cm.predict(fit, member="all", variables=["ET", "GPP", "TWS"]).compute()


@quick
@given(order=ORDERS)
def test_predict(ds, fit, every, order):
    out = reordered(ds, order).h2cm.predict(fit, member="all", variables=["ET"])
    np.testing.assert_allclose(back(out["ET"], every["ET"]), every["ET"], rtol=2e-5, atol=1e-6)


@quick
@given(order=ORDERS)
def test_predict_held_out(ds, fit, every, order):
    out = reordered(ds, order).h2cm.predict(fit, member="held-out", variables=["ET"])
    expected = every["ET"].where(fit.labels == every["fold"]).sum("fold")
    np.testing.assert_allclose(back(out["ET"], expected), expected, rtol=2e-5, atol=1e-6)


@quick
@given(order=ORDERS)
def test_score_coverage_and_spread(ds, every, order):
    observed = reordered(ds[["ET", "GPP"]], order)
    mean = every.mean("fold", keep_attrs=True)
    xr.testing.assert_allclose(mean.h2cm.score(observed), mean.h2cm.score(ds[["ET", "GPP"]]))
    xr.testing.assert_allclose(coverage(every, observed), coverage(every, ds[["ET", "GPP"]]))
    turned = reordered(every, order)
    again = turned.h2cm.spread()["ET_std"]
    expected = every.h2cm.spread()["ET_std"]
    np.testing.assert_allclose(back(again, expected), expected, rtol=1e-4, atol=1e-6)


@quick
@given(order=ORDERS)
def test_score_by_groups(ds, fit, every, order):
    mean = every.mean("fold", keep_attrs=True)
    found = mean.h2cm.score(ds[["ET", "GPP"]], groups=reordered(fit.labels, order))
    xr.testing.assert_allclose(found, mean.h2cm.score(ds[["ET", "GPP"]], groups=fit.labels))


@quick
@given(order=ORDERS)
def test_emergent(ds, every, order):
    mean = every.mean("fold", keep_attrs=True)
    forcing = ds.h2cm.check().dataset
    expected = mean.h2cm.emergent(forcing)
    found = mean.h2cm.emergent(reordered(forcing.drop_dims("feature"), order))
    xr.testing.assert_allclose(found.drop_vars(["lat", "lon"]), expected.drop_vars(["lat", "lon"]))


@settings(parent=quick, max_examples=2)
@given(order=ORDERS)
def test_fit_with_labels_a_mask_and_pins(ds, fit, order):
    labels = fit.labels.drop_attrs()
    mask = labels.notnull() & ((labels["lat"] > 0) | (labels["lon"] < 300))
    capacity = (ds["clay"] * 0 + 100 + ds["lat"]).drop_attrs()
    inputs = {"mask": mask, "pin": {"soil_capacity": capacity}}
    expected = ds.h2cm.fit(labels, **inputs, **FIT)
    turned = {"mask": reordered(mask, order), "pin": {"soil_capacity": reordered(capacity, order)}}
    assert ds.h2cm.fit(reordered(labels, order), **turned, **FIT).fingerprint == expected.fingerprint


@quick
@given(order=ORDERS)
def test_response_to_a_field(ds, fit, order):
    change = (0.01 * ds["lat"] + 0 * ds["clay"]).drop_attrs()
    expected = ds.h2cm.response(fit, {"air_temperature": change}, variables=["ET"])["ET"]
    found = ds.h2cm.response(fit, {"air_temperature": reordered(change, order)}, variables=["ET"])["ET"]
    np.testing.assert_array_equal(found, expected)


OTHERS: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "shifted": lambda a: a.assign_coords(lat=a["lat"] + 0.25),
    "renamed": lambda a: a.rename(lat="y"),
    "fewer": lambda a: a.isel(lon=[0, 1, 2]),
    "doubled": lambda a: a.isel(lon=[0, 0, 1, 2, 3]),
}


@pytest.mark.filterwarnings("ignore::xh2cm.errors.H2CMWarning")
@pytest.mark.parametrize("change", OTHERS)
def test_other_places_are_refused_everywhere(ds, fit, every, change):
    other = OTHERS[change]
    mean = every.mean("fold", keep_attrs=True)
    labels, observed, forcing = (other(x) for x in (fit.labels.drop_attrs(), ds[["ET"]], ds))
    for call in (
        lambda: ds.h2cm.fit(labels, **FIT),
        lambda: ds.h2cm.fit(2, scheme="groups", groups=labels, **FIT),
        lambda: ds.h2cm.fit(2, scheme="cells", mask=labels.notnull(), **FIT),
        lambda: ds.h2cm.fit(2, scheme="cells", pin={"soil_capacity": other(ds["clay"].drop_attrs() + 100)}, **FIT),
        lambda: mean.h2cm.score(observed),
        lambda: coverage(every, observed),
        lambda: mean.h2cm.score(ds[["ET"]], groups=labels),
        lambda: mean.h2cm.emergent(other(ds.h2cm.check().dataset)),
        lambda: ds.h2cm.response(fit, {"air_temperature": other(0 * ds["clay"] + 1.0)}),
    ):
        with pytest.raises(InputError):
            call()
    if change in ("shifted", "renamed"):
        with pytest.raises(InputError):
            forcing.h2cm.predict(fit, member="held-out")
