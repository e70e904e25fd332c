"""A synthetic twin: made-up forcing, and what land with known parameters would show under it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from xh2cm.data.derive import ALBEDO, FREEZING, day_angle, extraterrestrial_radiation, saturation_vapour_pressure
from xh2cm.errors import Finding, InputError
from xh2cm.variables import FORCING, OUTPUTS, STATIC, TARGETS, Forcing, State

__all__ = ["observe", "truth", "twin"]

CONSTANTS = {"snowfall_correction": 0.95, "baseflow_coefficient": 0.01, "q10": 1.5, "co2_sensitivity": 0.0015}
"""The twin's global constants: what a model trained on it should find again."""


def twin(*, cells: tuple[int, int] = (6, 8), years: int = 3, seed: int = 0) -> xr.Dataset:
    """Make up forcing that looks like land's, where the real one cannot be had.

    Storms are the wet side of a random field that is smooth in space and remembers yesterday; they cool and moisten
    the air and dim the sun. Temperature follows latitude, season and elevation. Nothing here is observed.

    Parameters
    ----------
    cells : (int, int)
        Number of latitudes, from 65 N to 35 S, and of longitudes.
    years : int
        Whole years from 2001.
    seed : int
        The same seed gives the same numbers.

    Returns
    -------
    xarray.Dataset
        The five forcings on (time, lat, lon), CO2 on time alone, in the library's units, and five static features.

    Raises
    ------
    InputError
        Fewer than one year, latitude or longitude.

    Examples
    --------
    >>> from xh2cm.datasets.twin import twin
    >>> dict(twin(cells=(2, 3), years=1).sizes)
    {'time': 365, 'lat': 2, 'lon': 3}
    """
    wanted = {"cells": min(cells), "years": years}
    if short := [
        Finding(name, f"is {least}, below 1", f"twin({name}=...) of 1 or more")
        for name, least in wanted.items()
        if least < 1
    ]:
        raise InputError(short)
    random = np.random.default_rng(seed)
    days = pd.date_range("2001-01-01", f"{2000 + years}-12-31", freq="D")
    grid = xr.Dataset(
        coords={
            "time": ("time", days, {"standard_name": "time"}),
            "lat": ("lat", np.linspace(65, -35, cells[0]), STATIC["latitude"].attrs),
            "lon": ("lon", (np.arange(cells[1]) + 0.5) * (360 / cells[1]), STATIC["longitude"].attrs),
        },
        attrs={"Conventions": "CF-1.11", "title": "Synthetic twin of land forcing", "source": f"made up, seed {seed}"},
    )
    # What is near is alike: the correlation falls by e over 2500 km.
    phi, theta = np.deg2rad(np.meshgrid(grid["lat"], grid["lon"], indexing="ij")).reshape(2, -1)
    place = np.stack([np.cos(phi) * np.cos(theta), np.cos(phi) * np.sin(theta), np.sin(phi)])
    mix = np.linalg.cholesky(np.exp(-np.arccos(np.clip(place.T @ place, -1, 1)) / 0.4)).T

    def lasting() -> xr.DataArray:
        """Noise of unit variance, alike in neighbouring cells."""
        return xr.DataArray((random.standard_normal(len(mix)) @ mix).reshape(cells), dims=("lat", "lon"))

    def passing(memory: float) -> xr.DataArray:
        """The same for every day, each remembering the one before."""
        noise = random.standard_normal((len(days), len(mix))) @ mix
        for day in range(1, len(days)):
            noise[day] = memory * noise[day - 1] + (1 - memory**2) ** 0.5 * noise[day]
        return xr.DataArray(noise.reshape(-1, *cells), dims=("time", "lat", "lon"))

    latitude, angle = np.deg2rad(grid["lat"]), day_angle(grid["time"])
    elevation = 400 * np.exp(0.8 * lasting())
    moist = 0.35 * np.cos(2 * latitude) + 0.25 * lasting()
    storm = passing(0.45) + moist - 0.55
    cloud = 1 / (1 + np.exp(-3 * storm))
    summer = np.cos(angle - day_angle(grid["time"][200])) * np.sign(latitude)
    yearly = 30 + FREEZING - 0.45 * np.abs(grid["lat"]) - 0.0065 * elevation
    weather = 3 * passing(0.7) - 2 * cloud * summer.clip(0)
    temperature = yearly + (2 + 15 * np.sin(latitude) ** 2) * summer + weather
    shortwave = (0.72 - 0.45 * cloud) * extraterrestrial_radiation(grid["lat"], angle)
    year = (grid["time"] - grid["time"][0]) / np.timedelta64(1, "D") / 365.25
    sand = (0.45 + 0.15 * lasting()).clip(0.05, 0.9)
    forcing = {
        "net_radiation": (1 - ALBEDO) * shortwave - 60 * (1 - 0.6 * cloud),
        "precipitation": 9 * storm.clip(0) ** 1.5,
        "air_temperature": temperature,
        "vpd": (0.55 - 0.45 * cloud) * saturation_vapour_pressure(temperature),
        "co2": 371 + 2.1 * year + 3 * np.sin(angle - 0.6),
    }
    features = {
        "elevation": (elevation, "m", "elevation"),
        "slope": (0.03 * np.exp(lasting()), "1", "mean slope, rise over run"),
        "sand": (sand, "1", "sand share of the soil"),
        "clay": (0.4 * (1 - sand), "1", "clay share of the soil"),
        "tree_cover": (1 / (1 + np.exp(-4 * moist)), "1", "tree share of the area"),
    }
    forced = {name: a.astype("float32").assign_attrs(FORCING[name].attrs) for name, a in forcing.items()}
    static = {
        n: a.astype("float32").drop_attrs(deep=False).assign_attrs(long_name=text, units=u)
        for n, (a, u, text) in features.items()
    }
    return grid.assign(forced | static).transpose("time", "lat", "lon")


def true_parameters(forcing: xr.Dataset) -> dict[str, xr.DataArray]:
    """Parameter fields of the twin: simple functions of its features, the season and the air."""
    recent = forcing["air_temperature"].rolling(time=15, min_periods=1).mean() - FREEZING
    warm = 1 / (1 + np.exp((8 - recent) / 3))
    tree, clay, one = forcing["tree_cover"], forcing["clay"], xr.ones_like(forcing["vpd"])
    return {
        "snow_melt_rate": 3.0 * one,
        "interception_capacity": 0.3 + 2.0 * tree,
        "soil_evaporation_fraction": 0.5 * one,
        "transpiration_fraction": 0.8 / (1 + forcing["vpd"] / 40),
        "soil_capacity": 80 + 500 * clay,
        "soil_recharge_fraction": 0.6 + 0.3 * clay + 0 * one,
        "groundwater_recharge_fraction": 0.8 - 3 * forcing["slope"].clip(max=0.15) + 0 * one,
        "fapar": (0.1 + 0.8 * tree) * (0.25 + 0.75 * warm),
        "wue": 12.0 / (1 + forcing["vpd"] / 20),
        "cue": xr.DataArray(0.5 - 0.1 * warm),
        "basal_respiration": 0.4 + 1.2 * tree * (0.3 + 0.7 * warm),
    }


def truth(forcing: xr.Dataset, passes: int = 3, constants: Mapping[str, float] | None = None) -> xr.Dataset:
    """Run the published physics on forcing of `twin` with known parameters.

    Parameters
    ----------
    forcing : Dataset
        From `twin`.
    passes : int
        How often the record is walked before the one that counts.
    constants : mapping of str to float, optional
        Global constants that shall differ from `CONSTANTS`.

    Returns
    -------
    xarray.Dataset
        Every flux and storage by public name, daily, and the parameters by theirs; global constants as attributes.

    Raises
    ------
    InputError
        There is no such constant.

    Examples
    --------
    >>> from xh2cm.datasets.twin import truth, twin
    >>> known = truth(twin(cells=(2, 2), years=1), constants={"q10": 2.0})
    >>> known.attrs["q10"], bool((abs(known["water_residual"]) < 1e-4).all())
    (2.0, True)
    """
    import torch

    asked = dict(constants or {})
    if unknown := [
        Finding(f"constant {name}", "the twin has none", f"give one of {', '.join(close or CONSTANTS)}")
        for name in asked
        if name not in CONSTANTS
        for close in [difflib.get_close_matches(name, CONSTANTS, n=1)]
    ]:
        raise InputError(unknown)
    chosen = CONSTANTS | asked

    from xh2cm.physics import Processes, residuals, step

    def tensors(array: xr.DataArray) -> torch.Tensor:
        whole = array.broadcast_like(forcing["vpd"]).transpose("time", "lat", "lon")
        return torch.from_numpy(whole.values.astype(np.float64)).flatten(1)

    fields = true_parameters(forcing)
    daily = Forcing(*(tensors(forcing[name]) for name in FORCING))
    given = {name: tensors(array) for name, array in fields.items()}
    fixed = {name: torch.tensor(value, dtype=torch.float64) for name, value in chosen.items()}
    zero = torch.zeros_like(daily.vpd[0])
    state, kept = State(zero, zero, zero, zero, zero + 1.0), {name: torch.empty_like(daily.vpd) for name in OUTPUTS}
    for _ in range(passes + 1):
        for day in range(len(daily.vpd)):
            before = state
            today = {name: values[day] for name, values in given.items()}
            state, fluxes = step(Processes(), before, Forcing(*(x[day] for x in daily)), today | fixed)
            values = fluxes._asdict() | state._asdict() | residuals(before, state, fluxes)._asdict()
            for name, series in kept.items():
                series[day] = values[name]
    shape = forcing["vpd"].transpose("time", "lat", "lon")
    outputs = {
        v.name: shape.copy(data=kept[f].unflatten(1, shape.shape[1:]).numpy())
        .drop_attrs(deep=False)
        .assign_attrs(v.attrs)
        for f, v in OUTPUTS.items()
    }
    return xr.Dataset(outputs | {name: a for name, a in fields.items() if name not in OUTPUTS}, attrs=chosen)


def observe(known: xr.Dataset, *, noise: float = 0.05, gaps: float = 0.1, seed: int = 0) -> xr.Dataset:
    """Observe a truth as satellites and towers would: monthly, noisy, with gaps.

    Parameters
    ----------
    known : Dataset
        From `truth`.
    noise : float
        Standard deviation of the error, as a share of each variable's own.
    gaps : float
        Share of the values that are missing.
    seed : int

    Returns
    -------
    xarray.Dataset
        TWS (as an anomaly), ET, runoff, SWE, fAPAR, GPP and NEE along ``month``, and the mean CUE.

    Examples
    --------
    >>> from xh2cm.datasets.twin import observe, truth, twin
    >>> observe(truth(twin(cells=(2, 2), years=1))).sizes["month"]
    12
    """
    random = np.random.default_rng(seed)
    names = ("TWS", "ET", "runoff", "SWE", "fAPAR", "GPP", "NEE")
    monthly = known[list(names)].resample(time="MS").mean().rename(time="month")
    monthly["TWS"] = monthly["TWS"] - monthly["TWS"].mean("month")
    found = {}
    for name in names:
        exact = monthly[name]
        error = noise * float(exact.std()) * random.standard_normal(exact.shape)
        seen = (exact + error).where(random.random(exact.shape) >= gaps)
        found[name] = (
            seen.clip(min=TARGETS[name].lower, max=TARGETS[name].upper)
            .astype("float32")
            .drop_attrs(deep=False)
            .assign_attrs(TARGETS[name].attrs)
        )
    cue = (known["NPP"].mean("time") / known["GPP"].mean("time")).astype("float32")
    return xr.Dataset(found | {"CUE": cue.drop_attrs(deep=False).assign_attrs(TARGETS["CUE"].attrs)})
