"""Whatever a dataset holds, there is a result or an error of ours: faults in units, time, shape, values, arguments.

A few faults are put into a small land that is without one, and all of ``check``,
``fit`` and ``predict`` are called.
The environment variable ``XH2CM_EXAMPLES`` says how many such datasets are tried.
"""

from __future__ import annotations

import functools
import os
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

import xh2cm
from xh2cm.datasets.twin import observe, truth, twin
from xh2cm.errors import FitError, H2CMWarning, InputError

EXAMPLES = int(os.environ.get("XH2CM_EXAMPLES", "60"))
QUICK = {"folds": 2, "scheme": "cells", "epochs": 1, "width": 4, "batch_size": 8, "progress": False, "loop": "plain"}
DAYS, MONTHS = 40, 2
WEATHER = ("net_radiation", "precipitation", "air_temperature", "vpd", "co2")
TARGETS = ("ET", "GPP", "runoff", "CUE")
ODD_NUMBERS = (0, -1, 1, 2, 1.5, 10**6, float("nan"), float("inf"), "2", None, True, (), [1], b"2", 1j, {})

Arguments = dict[str, Any]
Pick = Callable[[Any], Any]


@functools.cache
def land() -> xr.Dataset:
    """40 days of 2 x 3 cells without a fault."""
    forcing = twin(cells=(2, 3), years=1).isel(time=slice(0, 90))
    whole = forcing.merge(observe(truth(forcing, passes=1))).isel(time=slice(0, DAYS), month=slice(0, MONTHS))
    features = [name for name in whole.data_vars if whole[name].dims == ("lat", "lon")][:2]
    return whole[[*dict.fromkeys([*WEATHER, *TARGETS, *features])]].load()


class Pen:
    """What a fault draws from, and writes to."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any], ds: xr.Dataset) -> None:
        self.draw, self.ds = draw, ds
        self.arguments: Arguments = {}
        self.trained: Arguments = {}
        self.predicted: Arguments = {}

    def one(self, *choices: Any) -> Any:
        """One of these."""
        return choices[self.draw(st.integers(0, len(choices) - 1))]

    def name(self) -> str:
        """A variable."""
        present = [name for name in self.ds.data_vars if isinstance(name, str)]
        return str(self.one(*present)) if present else reject()

    def dice(self) -> np.random.Generator:
        """A source of randomness that depends on the example alone."""
        return np.random.default_rng(self.draw(st.integers(0, 2**16)))

    def put(self, name: str, array: xr.DataArray) -> None:
        """Put a variable in the place of another, whatever axes it had."""
        self.ds = self.ds.drop_vars(name).assign({name: array})


Fault = Callable[[Pen], None]
FAULTS: dict[str, Fault] = {}


def fault(function: Fault) -> Fault:
    """Enter a fault in the table."""
    FAULTS[function.__name__] = function
    return function


# -- units -------------------------------------------------------------------------------------------------------------

ODD_UNITS = (
    "", " ", "1", "K", "degC", "mm", "mm/month", "kg m-2 s-1", "W m-2", "furlong", "m-", "()", "1/0",
    "10**10**10", "9" * 50,
    "°C", "mm d⁻¹", "µmol m⁻² s⁻¹", "K\u200b", "\x00", "🌧", "%", "%%", "kg*", "__import__('os')",
    "days since 2001-01-01",
    b"K", b"\xff", None, 3, 2.5, float("nan"), ["K"], np.array([1, 2]), True, {}, "a" * 5000, "(" * 300,
    "m**1e308", "1e400 mm d-1",
)  # fmt: skip


@fault
def other_units(pen: Pen) -> None:
    name = pen.name()
    pen.ds = pen.ds.assign({name: pen.ds[name].assign_attrs(units=pen.one(*ODD_UNITS))})


@fault
def no_units(pen: Pen) -> None:
    name = pen.name()
    array = pen.ds[name].copy()
    array.attrs.pop("units", None)
    pen.ds = pen.ds.assign({name: array})


@fault
def no_attributes(pen: Pen) -> None:
    pen.ds = pen.ds.drop_attrs()


@fault
def odd_attributes(pen: Pen) -> None:
    name = pen.name()
    key = pen.one(
        "standard_name", "long_name", "cell_methods", "mean", "std", "ancillary_variables", "original_name", "calendar"
    )
    value = pen.one(None, 3, b"x", "", "x" * 1000, "air_temperature", ["a"], np.nan, np.array([1.0, 2.0]), {"a": 1})
    pen.ds = pen.ds.assign({name: pen.ds[name].assign_attrs({key: value})})


@fault
def stated_units(pen: Pen) -> None:
    pen.arguments["units"] = {pen.one(pen.name(), "nowhere", 3): pen.one(*ODD_UNITS)}


# -- time --------------------------------------------------------------------------------------------------------------


def on_time(pen: Pen, values: Any, axis: str = "time") -> None:
    if axis in pen.ds.dims:
        pen.ds = pen.ds.assign_coords({axis: (axis, values)})


@fault
def unsorted_days(pen: Pen) -> None:
    axis = pen.one("time", "month")
    pen.ds = pen.ds.isel({axis: pen.dice().permutation(pen.ds.sizes.get(axis, 0))}, missing_dims="ignore")


@fault
def repeated_days(pen: Pen) -> None:
    axis = pen.one("time", "month")
    size = pen.ds.sizes.get(axis, 0)
    pen.ds = pen.ds.isel({axis: np.sort(pen.dice().integers(0, max(size, 1), size))}, missing_dims="ignore")


@fault
def missing_days(pen: Pen) -> None:
    size = pen.ds.sizes.get("time", 0)
    pen.ds = pen.ds.isel(time=np.flatnonzero(pen.dice().random(size) < 0.9), missing_dims="ignore")


@fault
def other_steps(pen: Pen) -> None:
    axis = pen.one("time", "month")
    frequency = pen.one("h", "3h", "MS", "ME", "YS", "W", "D", "s", "36h")
    on_time(pen, pd.date_range("2001-01-01", periods=pen.ds.sizes.get(axis, 1), freq=frequency), axis)


@fault
def shifted_days(pen: Pen) -> None:
    axis = pen.one("time", "month")
    start = pen.one(
        "2001-01-01T12:00", "2001-01-01T00:00:00.000000001", "1950-06-30", "2200-01-01", "1677-09-22", "2030-02-28"
    )
    on_time(pen, pd.date_range(start, periods=pen.ds.sizes.get(axis, 1), freq="D" if axis == "time" else "MS"), axis)


@fault
def another_calendar(pen: Pen) -> None:
    axis = pen.one("time", "month")
    calendar = pen.one("360_day", "noleap", "all_leap", "julian", "proleptic_gregorian", "standard")
    start = pen.one("2001-01-01", "2001-02-10", "0001-01-01", "9998-12-01")
    times = xr.date_range(
        start,
        periods=pen.ds.sizes.get(axis, 1),
        freq="D" if axis == "time" else "MS",
        calendar=calendar,
        use_cftime=True,
    )
    on_time(pen, times, axis)


@fault
def mixed_calendars(pen: Pen) -> None:
    size = pen.ds.sizes.get("time", 1)
    days = [
        cftime.DatetimeNoLeap(2001, 1, 1 + k % 28) if k % 2 else cftime.Datetime360Day(2001, 1, 1 + k % 28)
        for k in range(size)
    ]
    on_time(pen, np.array(days, dtype=object))


@fault
def no_dates(pen: Pen) -> None:
    axis = pen.one("time", "month")
    size = pen.ds.sizes.get(axis, 1)
    days = pd.date_range("2001-01-01", periods=size)
    on_time(
        pen,
        pen.one(
            np.arange(size), np.arange(size) * 1.0, [str(day) for day in days], np.array(list(days), dtype=object),
            np.array([None] * size, dtype=object),
            np.arange(size).astype("timedelta64[D]").astype("timedelta64[ns]"),
            np.full(size, np.datetime64("NaT", "ns")), np.array(days.strftime("%Y-%m-%d"), dtype="S10"),
            np.full(size, np.nan),
            np.array([day.date() for day in days], dtype=object), np.array(["noon"] * size), np.zeros(size, bool),
            np.array([1, "a", None, *[2.0] * max(size - 3, 0)][:size], dtype=object),
        ),
        axis,
    )  # fmt: skip


@fault
def undecoded_dates(pen: Pen) -> None:
    size = pen.ds.sizes.get("time", 1)
    units = pen.one(
        "days since 2001-01-01",
        "days since",
        "moons since 2001-01-01",
        "hours since nowhere",
        3,
        b"days since 2001-01-01",
    )
    pen.ds = pen.ds.assign_coords(time=("time", np.arange(size), {"units": units})) if "time" in pen.ds.dims else pen.ds


@fault
def days_that_are_none(pen: Pen) -> None:
    axis = pen.one("time", "month")
    if axis in pen.ds.indexes and pen.ds[axis].dtype.kind == "M":
        values = pen.ds[axis].values.copy()
        values[pen.dice().random(values.size) < 0.1] = np.datetime64("NaT")
        on_time(pen, values, axis)


@fault
def few_days(pen: Pen) -> None:
    pen.ds = pen.ds.isel({pen.one("time", "month"): slice(0, pen.one(0, 1, 2, 27, 28))}, missing_dims="ignore")


@fault
def other_resolution(pen: Pen) -> None:
    axis = pen.one("time", "month")
    if axis in pen.ds.coords and pen.ds[axis].dtype.kind == "M":
        on_time(pen, pen.ds[axis].values.astype(f"datetime64[{pen.one('s', 'ms', 'us')}]"), axis)


@fault
def time_without_coordinate(pen: Pen) -> None:
    pen.ds = pen.ds.drop_vars(pen.one("time", "month"), errors="ignore")


@fault
def targets_at_another_time(pen: Pen) -> None:
    if "month" in pen.ds.dims:
        start = pen.one("1950-01-01", "2100-01-01", "2001-02-01", "2000-12-31", "2001-01-15")
        on_time(pen, pd.date_range(start, periods=pen.ds.sizes["month"], freq=pen.one("MS", "D", "YS", "8D")), "month")


# -- shape -------------------------------------------------------------------------------------------------------------


def some_axis(pen: Pen) -> str:
    return str(pen.one(*pen.ds.dims)) if pen.ds.dims else "lat"


@fault
def renamed_axis(pen: Pen) -> None:
    axis, name = (
        some_axis(pen),
        pen.one("x", "time", "lat", "feature", "month", "fold", "label", "cell", "ET", "mask", "étage", "a b", "split"),
    )
    if axis in pen.ds.dims and name not in pen.ds.variables and name not in pen.ds.dims:
        pen.ds = pen.ds.rename({axis: name})


@fault
def axis_of_one(pen: Pen) -> None:
    pen.ds = pen.ds.isel({some_axis(pen): [0]}, missing_dims="ignore")


@fault
def axis_of_nothing(pen: Pen) -> None:
    pen.ds = pen.ds.isel({some_axis(pen): slice(0, 0)}, missing_dims="ignore")


@fault
def one_place(pen: Pen) -> None:
    axis = some_axis(pen)
    if pen.ds.sizes.get(axis, 0):
        pen.ds = pen.ds.isel({axis: 0}, drop=pen.one(True, False))


@fault
def variable_at_one_place(pen: Pen) -> None:
    name = pen.name()
    if name in pen.ds and pen.ds[name].ndim and pen.ds[name].size:
        pen.put(name, pen.ds[name].isel({pen.one(*pen.ds[name].dims): 0}, drop=pen.one(True, False)))


@fault
def one_number(pen: Pen) -> None:
    name = pen.name()
    pen.put(name, xr.DataArray(pen.one(0.0, 300.0, np.nan, 5, True, "a"), attrs=pen.ds[name].attrs))


@fault
def an_axis_more(pen: Pen) -> None:
    axis, size = pen.one("member", "height", "quantile", "feature", "fold"), pen.one(1, 2)
    if axis not in pen.ds.dims:
        if pen.one(True, False):
            pen.ds = pen.ds.expand_dims({axis: size})
        else:
            name = pen.name()
            pen.put(name, pen.ds[name].expand_dims({axis: size}))


@fault
def transposed(pen: Pen) -> None:
    name = pen.name()
    if name in pen.ds and pen.ds[name].ndim > 1:
        pen.put(name, pen.ds[name].transpose(*reversed(pen.ds[name].dims)))


@fault
def on_other_land(pen: Pen) -> None:
    name = pen.name()
    axes = [dim for dim in pen.ds[name].dims if dim in ("lat", "lon")] if name in pen.ds else []
    if axes:
        axis = pen.one(*axes)
        array = pen.ds[name].rename({axis: "elsewhere"})
        pen.put(name, array.drop_vars("elsewhere", errors="ignore") if pen.one(True, False) else array)


@fault
def stacked(pen: Pen) -> None:
    if {"lat", "lon"} <= {*pen.ds.dims} and "cell" not in pen.ds.variables:
        pen.ds = pen.ds.stack(cell=("lat", "lon"), create_index=pen.one(True, False))
        if pen.one(True, False):
            pen.ds = pen.ds.reset_index("cell") if "cell" in pen.ds.indexes else pen.ds


@fault
def stacked_time(pen: Pen) -> None:
    if {"time", "lat"} <= {*pen.ds.dims} and "sample" not in pen.ds.variables:
        pen.ds = pen.ds.stack(sample=("time", "lat"))


@fault
def odd_places(pen: Pen) -> None:
    axis = pen.one("lat", "lon")
    size = pen.ds.sizes.get(axis, 0)
    values = pen.one(
        np.arange(size)[::-1], np.zeros(size), np.full(size, np.nan), np.arange(size) * 1000.0,
        np.full(size, np.inf),
        np.array([f"p{k}" for k in range(size)]), pd.date_range("2001-01-01", periods=size),
        np.linspace(-90, 90, size),
        pen.dice().permutation(size) * 1.0, np.where(np.arange(size) == 0, np.nan, 1.0),
        np.array([None] * size, dtype=object),
        np.arange(size) % 2 == 0, np.arange(size) * 1j,
    )  # fmt: skip
    if axis in pen.ds.dims:
        pen.ds = pen.ds.assign_coords({axis: (axis, values)})


@fault
def curvilinear(pen: Pen) -> None:
    if {"lat", "lon"} <= {*pen.ds.dims}:
        shape = pen.ds.sizes["lat"], pen.ds.sizes["lon"]
        pen.ds = (
            pen.ds.drop_vars(["lat", "lon"], errors="ignore").rename(lat="y", lon="x")
            if "y" not in pen.ds.dims
            else pen.ds
        )
        where = pen.one(np.zeros(shape), np.full(shape, np.nan), pen.dice().normal(0, 60, shape))
        if "y" in pen.ds.dims:
            pen.ds = pen.ds.assign_coords(lat=(("y", "x"), where), lon=(("y", "x"), where))


@fault
def scalar_coordinates(pen: Pen) -> None:
    name = pen.one(
        "height", "member", "feature", "fold", "label", "mask", "static", "area", "spatial_ref", "month", "split"
    )
    if name not in pen.ds.variables and name not in pen.ds.dims:
        pen.ds = pen.ds.assign_coords(
            {name: pen.one(2.0, "r1i1p1", np.datetime64("2001-01-01", "ns"), None, cftime.datetime(2001, 1, 1))}
        )


@fault
def chunked(pen: Pen) -> None:
    dice = pen.dice()
    if pen.one(True, False):
        pen.ds = pen.ds.chunk(
            {dim: max(1, int(dice.integers(1, 1 + max(size, 1)))) for dim, size in pen.ds.sizes.items()}
        )
    else:
        name = pen.name()
        pen.put(name, pen.ds[name].chunk(dict.fromkeys(pen.ds[name].dims[:1], 1)))


@fault
def renamed_variable(pen: Pen) -> None:
    old, new = (
        pen.name(),
        pen.one(
            "x",
            "pr",
            "tas",
            "ET",
            "static",
            "feature",
            "mask",
            "Rn",
            "NEP",
            "time_",
            "LE",
            "lat2",
            "area",
            "runoff_quality",
            "fold",
        ),
    )
    if old in pen.ds and new not in pen.ds.variables and new not in pen.ds.dims:
        pen.ds = pen.ds.rename({old: new})


@fault
def missing_variable(pen: Pen) -> None:
    pen.ds = pen.ds.drop_vars(pen.name())


@fault
def doubled_variable(pen: Pen) -> None:
    old, new = (
        pen.name(),
        pen.one("tas", "pr", "q", "Rn", "evapotranspiration", "gpp", "elev", "mask", "area", "static", "lat_"),
    )
    if old in pen.ds and new not in pen.ds.variables and new not in pen.ds.dims:
        pen.ds = pen.ds.assign({new: pen.ds[old]})


@fault
def names_that_are_no_text(pen: Pen) -> None:
    old, new = pen.name(), pen.one(3, ("a", "b"), None, 2.5, b"x", "", "a/b", "ü", "\x00")
    if old in pen.ds and new not in pen.ds.variables:
        pen.ds = pen.ds.rename({old: new})


# -- values ------------------------------------------------------------------------------------------------------------

FILLS = (np.nan, np.inf, -np.inf, -9999.0, 1e20, 0.0, -1.0, 1e-30, 1e38, 9.96921e36, 273.15)


@fault
def one_value_everywhere(pen: Pen) -> None:
    name = pen.name()
    pen.put(name, xr.full_like(pen.ds[name], pen.one(*FILLS), dtype=float))


@fault
def some_values(pen: Pen) -> None:
    name = pen.name()
    array = pen.ds[name]
    if array.dtype.kind in "fiu":
        share = pen.one(0.01, 0.3, 0.9)
        pen.put(name, array.where(pen.dice().random(array.shape) > share, pen.one(*FILLS)))


@fault
def a_place_without_values(pen: Pen) -> None:
    name = pen.name()
    if name in pen.ds and pen.ds[name].dtype.kind == "f" and pen.ds[name].ndim:
        axis = pen.one(*pen.ds[name].dims)
        keep = xr.DataArray(np.arange(pen.ds[name].sizes[axis]) > 0, dims=axis)
        pen.put(name, pen.ds[name].where(keep, pen.one(*FILLS[:4])))


@fault
def scaled(pen: Pen) -> None:
    name = pen.name()
    if pen.ds[name].dtype.kind == "f":
        pen.put(name, (pen.ds[name] * pen.one(-1.0, 1e3, 1e-3, 1e10, 0.0, 1e300)).assign_attrs(pen.ds[name].attrs))


@fault
def another_type(pen: Pen) -> None:
    name = pen.name()
    kind = pen.one(
        "float16",
        "float64",
        ">f4",
        "longdouble",
        "int32",
        "uint8",
        "int8",
        "bool",
        "complex64",
        "str",
        "S8",
        "object",
        "datetime64[ns]",
        "timedelta64[ns]",
    )
    array = pen.ds[name]
    if array.dtype.kind in "fiub":
        with np.errstate(all="ignore"):
            pen.put(
                name,
                array.fillna(0).astype("int64").astype(kind)
                if kind.startswith(("datetime", "timedelta"))
                else array.astype(kind),
            )
        pen.ds[name].attrs = array.attrs


@fault
def objects(pen: Pen) -> None:
    name = pen.name()
    array = pen.ds[name].astype(object)
    if array.size:
        array.values.reshape(-1)[0] = pen.one(None, "a", [1], 1.0, pd.NA, {})
    pen.put(name, array)


@fault
def a_mask(pen: Pen) -> None:
    axes = [dim for dim in ("lat", "lon") if dim in pen.ds.dims and "mask" not in pen.ds.variables]
    if axes:
        shape = tuple(pen.ds.sizes[dim] for dim in axes)
        values = pen.one(
            np.zeros(shape), np.ones(shape), np.full(shape, np.nan), np.zeros(shape, bool),
            np.full(shape, "land"), np.full(shape, 0.5),
            pen.dice().random(shape) < 0.5, np.full(shape, None, dtype=object), np.full(shape, 7),
        )  # fmt: skip
        pen.ds = pen.ds.assign(mask=(axes, values))


@fault
def an_area(pen: Pen) -> None:
    axes = [dim for dim in ("lat", "lon") if dim in pen.ds.dims and "area" not in pen.ds.variables]
    if axes:
        values = np.full(tuple(pen.ds.sizes[dim] for dim in axes), pen.one(0.0, -1.0, np.nan, np.inf, 1e300, 1e-300))
        pen.ds = pen.ds.assign(area=(axes, values, {"units": pen.one("m2", "km2", "", "K", 3)}))


@fault
def a_feature(pen: Pen) -> None:
    axes = [dim for dim in ("lat", "lon") if dim in pen.ds.dims]
    shape = tuple(pen.ds.sizes[dim] for dim in axes)
    values = pen.one(
        np.full(shape, "loam"), np.ones(shape), np.full(shape, np.nan), np.full(shape, 1e38),
        np.full(shape, np.inf), pen.dice().random(shape) * 1e300,
        np.zeros(shape, bool), np.full(shape, None, dtype=object), np.full(shape, 1j),
        pen.dice().random(shape) * 1e-300,
    )  # fmt: skip
    if "soil" not in pen.ds.variables:
        pen.ds = pen.ds.assign(soil=(axes, values))


# -- arguments ---------------------------------------------------------------------------------------------------------


@fault
def odd_names(pen: Pen) -> None:
    key = pen.one(*WEATHER, "ET", "nonsense", 3, "latitude", "mask", "static")
    pen.arguments["names"] = {
        key: pen.one(pen.name(), "nowhere", 410.0, float("nan"), -1e9, None, True, np.float32(3), ["a"], "")
    }


@fault
def odd_check(pen: Pen) -> None:
    key, values = pen.one(
        ("static", (["nowhere"], [], "soil", ["ET"], [3], [None], 3, ["lat"], [pen.name()] * 2)),
        ("mask", ("nowhere", "ET", 3, xr.DataArray(True), xr.DataArray(np.ones(7), dims="lat"), np.ones((2, 3)))),
        ("missing", ("raise", "keep", None, 3)),
        ("names", ({}, [], "ET", {1: 2}, None)),
        ("units", ({}, [], "K", None)),
    )  # fmt: skip
    pen.arguments[key] = pen.one(*values)


@fault
def odd_folds(pen: Pen) -> None:
    cells = {dim: pen.ds.sizes[dim] for dim in ("lat", "lon") if dim in pen.ds.dims}
    labels = xr.DataArray(np.arange(int(np.prod([*cells.values()]))).reshape(tuple(cells.values())) % 2, dims=[*cells])
    pen.trained["folds"] = pen.one(
        *ODD_NUMBERS, 0, -3, 6, 7, labels, labels * 1.5, labels - 2, labels * np.nan, labels.astype(str),
        labels * 0, labels.isel(dict.fromkeys(list(cells)[:1], 0)),
        xr.DataArray(np.arange(9) % 2, dims="time"), xr.DataArray(1), np.ones((2, 3)),
        labels.assign_coords(fold=3), labels.expand_dims(member=2), labels * 10**6,
    )  # fmt: skip
    if isinstance(pen.trained["folds"], xr.DataArray):
        pen.trained["scheme"] = pen.one(None, "cells")


@fault
def odd_scheme(pen: Pen) -> None:
    pen.trained["scheme"] = pen.one("blocks", "degrees", "groups", "years", "none", 3, None)
    pen.trained[pen.one("size", "test", "groups")] = pen.one(
        *ODD_NUMBERS, "soil", "nowhere", 0.5, 0.99, xr.DataArray([1, 2], dims="lat")
    )


@fault
def odd_targets(pen: Pen) -> None:
    pen.trained["targets"] = pen.one(
        ["Evap"], [], "ET", ["ET", "ET"], {"ET": "daily"}, {"ET": "monthly"}, {"ET": 3}, {"CUE": "ratio"}, [3],
        [None], 3, {}, ["CUE"], ["runoff", "et"],
        [xh2cm.Target("ET", ("evapotranspiration",), "monthly")], [xh2cm.Target("GPP", ("nothing",))],
        [xh2cm.Target("ET", quality="nowhere")],
        [xh2cm.Target("ET", weight=float("nan"))], {"GPP": "interannual"}, {"ET": "standardised"}, ("ET",),
        [pen.name()],
    )  # fmt: skip


@fault
def odd_weights(pen: Pen) -> None:
    pen.trained[pen.one("weights", "priors")] = pen.one(
        {"ET": 0.0}, {"ET": -1.0}, {"ET": "a"}, {"ET": None}, {"nowhere": 1.0}, {"q10": (1.5, 0.0)}, {"q10": 1.5},
        {"q10": (1, 2, 3)}, {"q10": ("a", "b")},
        {"q10": (float("nan"), 1.0)}, [], 3, {"ET": float("inf")}, {"q10": (1e30, 1e-30)}, {},
    )  # fmt: skip


@fault
def odd_training(pen: Pen) -> None:
    key = pen.one(
        "epochs",
        "patience",
        "batch_size",
        "learning_rate",
        "window",
        "spinup",
        "width",
        "seed",
        "only",
        "device",
        "loop",
        "normalise",
    )
    value = pen.one(*ODD_NUMBERS, 28, 39, 41, "plain", "cpu", "stored", [0], [7])
    if key not in ("epochs", "width") or value != 10**6:  # would only take long, or more memory than there is
        pen.trained[key] = value


@fault
def odd_pins(pen: Pen) -> None:
    pen.trained["pin"] = pen.one(
        {"q10": 1.5}, {"q10": float("nan")}, {"q10": -1.0}, {"q11": 1.0}, {"soil_capacity": "soil"},
        {"soil_capacity": pen.name()}, {"q10": pen.ds.get("ET", 3)},
        "global", "local", 3, {"q10": None}, {"q10": True},
        {"soil_capacity": xr.DataArray(np.ones((2, 3)) * 50, dims=("lat", "lon"))}, {"*": 3}, {3: 1.0},
        {"q10": [1.5]},
        {"snow_melt_rate": "global"},
    )  # fmt: skip


@fault
def odd_prediction(pen: Pen) -> None:
    key, values = pen.one(
        ("variables", (["ET"], "all", "ET", [], ["nowhere"], 3, [3], ["q10", "soil_capacity"])),
        ("member", ("mean", "all", "held-out", 0, 1, 7, -1, 1.5, None, "none", True, (0,))),
        ("spinup", ODD_NUMBERS),
        ("device", ("cpu", "cuda:99", "toaster", 3, "")),
        ("loop", ("plain", "slow", None, 3)),
        ("pin", ({}, {"q10": 1.0}, 3, {"soil_capacity": 1e9})),
    )
    pen.predicted[key] = pen.one(*values)


# -- the property ------------------------------------------------------------------------------------------------------

EXPECTED = (
    "overflow encountered in cast",  # what is too large for single precision
    "Mean of empty slice",  # losses of a training in which no step was finite
)
"""Beginnings of warnings of other libraries that are right to be heard."""


def tried(pen: Pen) -> str:
    """Check, fit and predict; how far it came, or the name of our error."""
    try:
        pen.ds.h2cm.check(**pen.arguments)
        fit = pen.ds.h2cm.fit(**{**QUICK, **pen.arguments, **pen.trained})
        with tempfile.TemporaryDirectory() as folder:
            assert xh2cm.load_fit(fit.save(f"{folder}/fit")).fingerprint == fit.fingerprint
        found = pen.ds.h2cm.predict(fit, **{"loop": "plain", **pen.arguments, **pen.predicted}).compute()
    except (InputError, FitError) as error:  # no StoreError: what was fitted can be saved
        return type(error).__name__
    assert all(array.dtype.kind == "f" for array in found.data_vars.values())
    assert all(array.notnull().any() and not np.isinf(array).any() for array in found.data_vars.values())
    return "result"


def test_a_dataset_with_faults_gives_a_result_or_an_error_of_ours() -> None:
    """Always the same ones; a thousand or more, by the environment variable ``XH2CM_EXAMPLES``, are drawn anew."""
    counts = Counter[str]()

    @settings(
        max_examples=EXAMPLES,
        derandomize=EXAMPLES < 1000,
        deadline=None,
        database=None,
        suppress_health_check=[*HealthCheck],
    )
    @given(st.lists(st.sampled_from(sorted(FAULTS)), max_size=3), st.data())
    def attempt(names: list[str], data: st.DataObject) -> None:
        pen = Pen(data.draw, land())
        with warnings.catch_warnings(action="ignore"):
            for name in names:
                try:
                    FAULTS[name](pen)
                except Exception:  # no such dataset can be made
                    reject()
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            counts[tried(pen)] += 1
        foreign = [w for w in heard if not (issubclass(w.category, H2CMWarning) or str(w.message).startswith(EXPECTED))]
        assert [(w.category, str(w.message), w.filename, w.lineno) for w in foreign] == []

    attempt()
    print(f"{counts.total()} datasets: {dict(counts)}")
    assert {"result", "InputError"} <= counts.keys()  # neither does every dataset fail, nor none


# -- what it has found -------------------------------------------------------------------------------------------------


def mixed(ds: xr.Dataset) -> xr.Dataset:
    days = [cftime.DatetimeNoLeap(2001, 1, 1), *[cftime.Datetime360Day(2001, 1, 2)] * (DAYS - 1)]
    return ds.assign_coords(time=("time", np.array(days, dtype=object)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (mixed, "time: mixes the calendars 360_day and noleap"),
        (lambda ds: ds.drop_vars("time"), "no axis of the forcing, only month of other variables is a time axis"),
        (lambda ds: ds.stack(sample=("time", "lat")), "time: is stacked with others along 'sample'"),
        (lambda ds: ds.rename(elevation=3), "variable 3: has a name that is no text"),
        (lambda ds: ds.rename(lat="mask"), "mask: is an axis of the land, and the name of something else here"),
        (lambda ds: ds.rename(lon="feature"), "feature: is an axis of the land"),
        (lambda ds: ds.rename(lon="label"), "label: is an axis of the land"),
        (
            lambda ds: ds.rename(month="mask")[[*WEATHER, "ET"]].h2cm.check(targets=["ET"]),
            "ET: has an axis called mask",
        ),
    ],
)
def test_datasets_that_were_no_error_of_ours(change: Callable[[xr.Dataset], xr.Dataset], says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        change(land()).h2cm.check()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"static": 3}, "static: 3: is not in the dataset"),
        ({"static": [["elevation"]]}, "static: ['elevation']: is not in the dataset"),
        ({"only": 7}, "fold 7: there is no such fold"),
        ({"only": "stored"}, "fold 's': there is no such fold"),
        ({"only": []}, "only: names no fold"),
        ({"units": {3: "K"}}, "units[3]: names no variable of the dataset"),
        ({"names": "ET"}, "names: 'ET' is no mapping"),
        ({"mask": np.ones((2, 3))}, "mask: is a ndarray"),
        ({"targets": 3}, "targets: 3: is no name of a target"),
        ({"targets": ["ET", None]}, "targets: None: is no name of a target"),
        ({"priors": 3}, "priors: 3 is no mapping"),
        ({"priors": {"q10": -1.0}}, "mean -1.0 and standard deviation None are no prior"),
        ({"priors": {"q10": ("a", "b")}}, "mean 'a' and standard deviation 'b' are no prior"),
        ({"weights": 3}, "weights: 3 is no mapping"),
        ({"weights": {"ET": None}}, "target ET: has the weight None"),
        ({"weights": {"ET": "a"}}, "target ET: has the weight 'a'"),
        ({"width": -6}, "width: -6 is too small"),
        ({"width": 2.5}, "width: 2.5 is no whole number"),
        ({"epochs": None}, "epochs: None is no whole number"),
        ({"batch_size": None}, "batch_size: None is no whole number"),
        ({"learning_rate": None}, "learning_rate: None is no finite number"),
        ({"device": {}}, "device: {} cannot be used here"),
        ({"epochs": float("nan")}, "epochs: nan is no whole number"),
        ({"learning_rate": float("inf")}, "learning_rate: inf is no finite number"),
        ({"spinup": "all"}, "spinup.days: 'all' is no whole number"),
    ],
)
def test_arguments_that_were_no_error_of_ours(arguments: Arguments, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        land().h2cm.fit(**{**QUICK, **arguments})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"spinup": float("inf")}, "spinup.days: inf is no whole number"),
        ({"variables": 3}, "variable 3: the model does not compute it"),
    ],
)
def test_predictions_that_were_no_error_of_ours(arguments: Arguments, says: str) -> None:
    fit = land().h2cm.fit(**QUICK)
    with pytest.raises(InputError, match=re.escape(says)):
        land().h2cm.predict(fit, **arguments)


@pytest.mark.parametrize("fit", ["somewhere", 3, {}, land])
def test_what_is_no_fit(fit: object) -> None:
    with pytest.raises(FitError, match=r"is no fit: read one with xh2cm.load_fit\(path\)"):
        land().h2cm.predict(fit)


def test_a_fit_on_stacked_land_is_saved(tmp_path: Path) -> None:
    stacked = land().stack(cell=("lat", "lon"))
    stacked = stacked.assign_coords(fold=3.0, crs="sphere")
    fit = stacked.h2cm.fit(**QUICK)
    back = xh2cm.load_fit(fit.save(tmp_path / "fit"))
    np.testing.assert_array_equal(back.labels["lat"], stacked["lat"])
    one, two = (stacked.h2cm.predict(f, member="held-out") for f in (back, fit))
    xr.testing.assert_identical(one, two)


def test_one_target_by_its_name_is_a_list_of_one() -> None:
    one, listed = (land().h2cm.fit(**QUICK, targets=targets) for targets in ("ET", ["ET"]))
    assert one.fingerprint == listed.fingerprint


def test_a_fold_asked_for_twice_is_trained_once() -> None:
    fits = [land().h2cm.fit(**QUICK, only=only) for only in (1, [1], (1, 1))]
    assert {fit.folds for fit in fits} == {(1,)}
    assert len({fit.fingerprint for fit in fits}) == 1


def test_numbers_of_numpy_are_saved(tmp_path: Path) -> None:
    told = QUICK | {
        "epochs": np.int64(1),
        "learning_rate": np.float32(0.01),
        "width": np.int16(4),
        "spinup": np.int8(9),
    }
    back = xh2cm.load_fit(land().h2cm.fit(**told).save(tmp_path / "fit"))
    assert back.provenance["training"]["epochs"] == 1
    assert back.spinup.days == 9


def test_static_features_alone_may_be_chunked() -> None:
    fit = land().h2cm.fit(**QUICK)
    chunked = land().assign(elevation=land()["elevation"].chunk(lat=1))
    xr.testing.assert_allclose(chunked.h2cm.predict(fit).compute(), land().h2cm.predict(fit), rtol=1e-4)


@pytest.mark.parametrize("places", [[np.inf, 1.0], [np.nan, 1.0], [0.0, 0.0], [100.0, 120.0]])
def test_places_that_cannot_be_give_no_area(places: list[float]) -> None:
    report = land().assign_coords(lat=("lat", places, {"units": "degrees_north"})).h2cm.check()
    assert (report.dataset["area"] == 1).all()
    assert "all cells weigh the same" in str(report)


@pytest.mark.parametrize("value", ["large", "", None, b"1", [1.0, 2.0]])
def test_statistics_that_are_no_numbers_are_none(value: object) -> None:
    odd = land().assign({n: land()[n].assign_attrs(mean=value, std=value) for n in ("elevation", "vpd", "ET")})
    checked = odd.h2cm.check().dataset
    assert not any({"mean", "std"} & checked[name].attrs.keys() for name in ("static", "vpd", "ET"))
